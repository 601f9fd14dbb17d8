//! Keys, values and headers as bytes.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

use crate::consume::{Cause, Json};

/// What becomes bytes: a record's key, its value, a header.
///
/// Bytes and text are themselves. Numbers are what Kafka's serializers for Java write: `i16` as `ShortSerializer`, `i32` as `IntegerSerializer`,
/// `i64` as `LongSerializer`, `f32` and `f64` as `FloatSerializer` and `DoubleSerializer`, all big endian. `None` is Kafka's null, which is not the same
/// as no bytes: a null value is a tombstone where the topic is compacted. [`Json`] writes what serde serializes. For another format implement it for a
/// type of yours around the value:
/// ```
/// use troupe_actors::consume::Cause;
/// use troupe_actors::produce::{Encode, Encoded, ProducerRecord};
///
/// struct Csv<'a>(&'a [&'a str]);
///
/// impl Encode for Csv<'_> {
///     fn encode(&self) -> Result<Option<Encoded<'_>>, Cause> {
///         if self.0.iter().any(|field| field.contains(',')) {
///             return Err("a field has a comma".into());
///         }
///         Ok(Some(self.0.join(",").into_bytes().into()))
///     }
/// }
/// let fields = Csv(&["EWR", "IAH"]);
/// let record = ProducerRecord::to("flights").key(&1545_i64).value(&fields);
/// # let _ = record;
/// ```
pub trait Encode {
    /// The bytes, borrowed where they are there already; `None` for null.
    ///
    /// # Errors
    /// As the format has it. Its text goes to log and errors: it should not repeat what the record holds.
    fn encode(&self) -> Result<Option<Encoded<'_>>, Cause>;
}

/// Bytes to be sent: borrowed, owned, or those of a number.
#[derive(Clone)]
pub struct Encoded<'a>(Bytes<'a>);

#[derive(Clone)]
enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Few { bytes: [u8; 8], length: u8 },
    Owned(Vec<u8>),
}

impl Encoded<'_> {
    fn number<const N: usize>(number: [u8; N]) -> Self {
        const { assert!(N <= 8) };
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&number);
        Self(Bytes::Few { bytes, length: N as u8 })
    }

    /// The same, borrowing nothing.
    pub(super) fn into_owned(self) -> Encoded<'static> {
        Encoded(match self.0 {
            Bytes::Borrowed(bytes) => Bytes::Owned(bytes.to_vec()),
            Bytes::Few { bytes, length } => Bytes::Few { bytes, length },
            Bytes::Owned(bytes) => Bytes::Owned(bytes),
        })
    }
}

impl Deref for Encoded<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Borrowed(bytes) => bytes,
            Bytes::Few { bytes, length } => &bytes[..usize::from(*length)],
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl<'a> From<&'a [u8]> for Encoded<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Bytes::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Encoded<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::Owned(bytes))
    }
}

/// Its length only: keys and values are never logged.
impl fmt::Debug for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

macro_rules! bytes {
    ($($(const $n:ident)? $type:ty),+ $(,)?) => {$(
        impl$(<const $n: usize>)? Encode for $type {
            fn encode(&self) -> Result<Option<Encoded<'_>>, Cause> {
                let bytes: &[u8] = self.as_ref();
                Ok(Some(bytes.into()))
            }
        }
    )+};
}

bytes!(str, String, [u8], const N [u8; N], Vec<u8>);

macro_rules! numbers {
    ($($type:ty),+ $(,)?) => {$(
        impl Encode for $type {
            fn encode(&self) -> Result<Option<Encoded<'_>>, Cause> {
                Ok(Some(Encoded::number(self.to_be_bytes())))
            }
        }
    )+};
}

numbers!(i16, i32, i64, f32);

impl Encode for f64 {
    fn encode(&self) -> Result<Option<Encoded<'_>>, Cause> {
        // Of the many that are not a number, Java's `DoubleSerializer` writes this one (`doubleToLongBits`); `FloatSerializer` leaves them as they are.
        const NOT_A_NUMBER: u64 = 0x7ff8_0000_0000_0000;
        let bits = if self.is_nan() { NOT_A_NUMBER } else { self.to_bits() };
        Ok(Some(Encoded::number(bits.to_be_bytes())))
    }
}

macro_rules! pointers {
    ($($type:ty),+ $(,)?) => {$(
        impl<T: Encode + ?Sized> Encode for $type {
            fn encode(&self) -> Result<Option<Encoded<'_>>, Cause> {
                (**self).encode()
            }
        }
    )+};
}

pointers!(&T, Box<T>, Arc<T>);

impl<T: Encode + ToOwned + ?Sized> Encode for Cow<'_, T> {
    fn encode(&self) -> Result<Option<Encoded<'_>>, Cause> {
        (**self).encode()
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self) -> Result<Option<Encoded<'_>>, Cause> {
        self.as_ref().map_or(Ok(None), T::encode)
    }
}

impl<T: Serialize> Encode for Json<T> {
    fn encode(&self) -> Result<Option<Encoded<'_>>, Cause> {
        let bytes = serde_json::to_vec(&self.0).map_err(|error| Cause::new(error.to_string()))?;
        Ok(Some(bytes.into()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn bytes(of: &(impl Encode + ?Sized)) -> Option<Vec<u8>> {
        of.encode().unwrap().map(|encoded| encoded.to_vec())
    }

    #[test]
    fn text_and_bytes_are_themselves_however_they_are_held() {
        for held in [bytes("ab"), bytes(b"ab"), bytes(&"ab".to_owned()), bytes(&Arc::<str>::from("ab"))] {
            assert_eq!(held.as_deref(), Some(&b"ab"[..]));
        }
        assert_eq!(bytes(&Cow::Borrowed("ab")), bytes(&Box::new(b"ab".to_vec())));
    }

    #[test]
    fn nothing_is_null_and_empty_is_not() {
        assert_eq!(bytes(&None::<&str>), None);
        assert_eq!(bytes(&Some("")), Some(Vec::new()));
    }

    /// What Java's `LongSerializer` and the others write: see the test that asks them.
    #[test]
    fn numbers_are_big_endian() {
        assert_eq!(bytes(&-2_i16), Some(vec![0xff, 0xfe]));
        assert_eq!(bytes(&1_i32), Some(vec![0, 0, 0, 1]));
        assert_eq!(bytes(&i64::MIN), Some(vec![0x80, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(bytes(&1.5_f32), Some(vec![0x3f, 0xc0, 0, 0]));
        // `DoubleSerializer` writes one NaN for all of them, `FloatSerializer` each as it is.
        let negative = f64::from_bits(0xfff8_0000_0000_0001);
        assert_eq!(bytes(&negative), Some(vec![0x7f, 0xf8, 0, 0, 0, 0, 0, 0]));
        assert_eq!(bytes(&f32::from_bits(0xffc0_0001)), Some(vec![0xff, 0xc0, 0, 1]));
    }

    #[test]
    fn json_is_what_serde_writes_and_what_it_cannot_is_an_error() {
        assert_eq!(bytes(&Json(("a", 1))), Some(br#"["a",1]"#.to_vec()));
        let nowhere: std::collections::BTreeMap<(u8, u8), u8> = [((1, 2), 3)].into();
        assert!(Json(nowhere).encode().is_err());
    }
}
