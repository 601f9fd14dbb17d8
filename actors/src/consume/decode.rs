//! Records as values: what a record decodes into, JSON built in.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::consume::handler::{AsyncHandler, Cause, Failure, IntoOutcome, Outcome};
use crate::consume::record::Record;

/// What can be made of a record: of its value, its key, its headers.
///
/// [`Json`] is built in. For another format, implement it for a type of yours around the value, as `Json` is one:
/// ```
/// use troupe_actors::consume::{Decode, Record};
///
/// struct Csv(Vec<String>);
///
/// impl Decode for Csv {
///     type Error = &'static str;
///
///     fn decode(record: &Record) -> Result<Self, Self::Error> {
///         let value = std::str::from_utf8(record.value().unwrap_or_default()).map_err(|_| "not UTF-8")?;
///         Ok(Self(value.split(',').map(str::to_owned).collect()))
///     }
/// }
/// ```
/// An `Option<D>` is `None` for a null value (a tombstone), which most formats refuse.
pub trait Decode: Sized {
    /// Why not. Its text goes to log, state and errors: it should not repeat what the record holds.
    type Error: fmt::Display;

    /// Decodes one record.
    ///
    /// # Errors
    /// As the format has it.
    fn decode(record: &Record) -> Result<Self, Self::Error>;
}

impl<D: Decode> Decode for Option<D> {
    type Error = D::Error;

    fn decode(record: &Record) -> Result<Self, D::Error> {
        record.value().map(|_| D::decode(record)).transpose()
    }
}

/// A record's value, read as JSON by serde. What is in it but not in `T` is as `T`'s `Deserialize` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> Decode for Json<T> {
    type Error = Cause;

    fn decode(record: &Record) -> Result<Self, Cause> {
        let value = record.value().ok_or("its value is null, and no JSON")?;
        serde_json::from_slice(value).map(Self).map_err(|error| without_data(&error))
    }
}

/// serde's words, but for what they repeat of the value: that belongs in no log.
fn without_data(error: &serde_json::Error) -> Cause {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    if error.classify() != Category::Data {
        return text.into();
    }
    // These name the type's own fields.
    if text.starts_with("missing field") || text.starts_with("duplicate field") {
        return text.into();
    }
    // `invalid type: string "...", expected u64 at line 1 column 2`: what is expected comes last, and from the type.
    let kinds = ["invalid type", "invalid value", "invalid length", "unknown field", "unknown variant"];
    let kind = kinds.into_iter().find(|kind| text.starts_with(kind)).unwrap_or("not what its type takes");
    match text.rsplit_once(", expected ") {
        Some((_, expected)) => format!("{kind}, expected {expected}").into(),
        None => format!("{kind} at line {line} column {column}").into(),
    }
}

/// A handler that takes a decoded value, and beside it the record with its key, headers, offset, attempt and `revoking` token.
///
/// ```no_run
/// use serde::Deserialize;
/// use troupe_actors::consume::{Consumer, Json, Record, typed};
///
/// #[derive(Deserialize)]
/// struct Order {
///     amount: u64,
/// }
///
/// Consumer::builder().async_handler(typed(|Json(order): Json<Order>, record: Record| async move {
///     println!("offset {}: {}", record.offset(), order.amount);
/// }))
/// # ;
/// ```
/// Where the record cannot be decoded `handler` is not called, and the record fails as [`Undecodable`]: it goes through `on_failure`, and
/// counts as exhausted after this one attempt, for another would find the same bytes. A handler of another shape says the same by
/// [`record.decode()?`](Record::decode). It is decoded where the call begins, on the thread that runs the handlers; what is large is better
/// decoded by a [`CpuBound`](crate::consume::CpuBound) handler.
///
/// [`Undecodable`]: crate::consume::FailureKind::Undecodable
pub fn typed<D, F, Fut>(handler: F) -> Typed<D, F>
where
    D: Decode + 'static,
    F: Fn(D, Record) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send + 'static,
{
    Typed { handler, decodes: PhantomData }
}

/// See [`typed`].
pub struct Typed<D, F> {
    handler: F,
    decodes: PhantomData<fn() -> D>,
}

impl<D, F> fmt::Debug for Typed<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Typed")
    }
}

impl<D, F, Fut> AsyncHandler for Typed<D, F>
where
    D: Decode + 'static,
    F: Fn(D, Record) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send + 'static,
{
    type Future = TypedFuture<Fut>;

    fn call(&self, record: Record) -> TypedFuture<Fut> {
        match record.decode() {
            Ok(value) => TypedFuture { call: Some((self.handler)(value, record)), undecodable: None },
            Err(failure) => TypedFuture { call: None, undecodable: Some(failure) },
        }
    }
}

pin_project! {
    /// A call of a [`Typed`] handler.
    #[derive(Debug)]
    pub struct TypedFuture<F> {
        // None: it was not called.
        #[pin]
        call: Option<F>,
        undecodable: Option<Failure>,
    }
}

impl<F: Future<Output: IntoOutcome>> Future for TypedFuture<F> {
    type Output = Result<Outcome, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.call.as_pin_mut() {
            Some(call) => call.poll(cx).map(IntoOutcome::into_outcome),
            None => this.undecodable.take().map_or(Poll::Pending, |failure| Poll::Ready(Err(failure))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::ready;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;
    use serde::Deserialize;

    use super::*;
    use crate::consume::handler::FailureKind;
    use crate::consume::record::tests::record;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        amount: u64,
        currency: Currency,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Currency {
        Euro,
    }

    fn decode(value: Option<&[u8]>) -> Result<Order, Failure> {
        record(None, value).decode::<Json<Order>>().map(|Json(order)| order)
    }

    #[test]
    fn json_is_decoded_from_the_value() {
        let order = decode(Some(br#"{"amount": 3, "currency": "euro"}"#));
        assert_eq!(order, Ok(Order { amount: 3, currency: Currency::Euro }));
    }

    #[test]
    fn a_tombstone_is_no_json_unless_it_may_be_one() {
        let failure = decode(None).unwrap_err();
        assert_eq!(
            failure,
            Failure::new(FailureKind::Undecodable, "cannot be decoded: its value is null, and no JSON")
        );
        assert_eq!(record(None, None).decode::<Option<Json<Order>>>(), Ok(None));
        assert!(record(None, Some(b"{")).decode::<Option<Json<Order>>>().is_err());
    }

    #[test]
    fn a_failure_to_decode_says_why_and_repeats_nothing_of_the_value() {
        for (value, says) in [
            (r#"{"amount": 1"#, "EOF"),
            (r#"{"amount": 1} zanzibar"#, "missing field `currency`"),
            (r#"{"amount": zanzibar}"#, "expected value"),
            (r#"{"amount": "zanzibar"}"#, "invalid type, expected u64 at line 1 column 21"),
            (r#"{"amount": ", expected zanzibar"}"#, "invalid type, expected u64"),
            (r#"{"amount": 1, "currency": "zanzibar"}"#, "unknown variant, expected `euro`"),
            (r#"{"zanzibar": 1}"#, "unknown field, expected `amount` or `currency`"),
            (r#"{"amount": -77}"#, "invalid value, expected u64"),
            (r#""zanzibar""#, "invalid type, expected struct Order"),
        ] {
            let Failure { kind, cause } = decode(Some(value.as_bytes())).unwrap_err();
            let cause = cause.to_string();
            assert_eq!(kind, FailureKind::Undecodable);
            assert!(cause.starts_with("cannot be decoded: ") && cause.contains(says), "{cause}");
            assert!(!cause.contains("zanzibar") && !cause.contains("77"), "{cause}");
        }
    }

    #[test]
    fn a_typed_handler_is_called_with_value_and_record_and_not_at_all_where_there_is_no_value() {
        let calls = std::sync::Arc::new(AtomicUsize::new(0));
        let handler = typed({
            let calls = std::sync::Arc::clone(&calls);
            move |Json(number): Json<i64>, record: Record| {
                calls.fetch_add(1, Ordering::Relaxed);
                ready(if number == record.offset().0 { Ok(()) } else { Err("another number") })
            }
        });
        let call = |value: &[u8]| handler.call(record(None, Some(value))).now_or_never();
        assert_eq!(call(b"7"), Some(Ok(Outcome::Done)));
        assert_eq!(call(b"8"), Some(Err(Failure::new(FailureKind::Error, "another number"))));
        assert!(matches!(call(b"x"), Some(Err(Failure { kind: FailureKind::Undecodable, .. }))));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
