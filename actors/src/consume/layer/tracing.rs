//! A span around each call.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tracing::Span;
use tracing::instrument::{Instrument, Instrumented};

use super::Layer;
use crate::consume::handler::{AsyncHandler, Handler};
use crate::consume::record::Record;

/// Opens a span for each call: `record`, level INFO, target `kafka_troupe::record`, with `topic`, `partition`, `offset` and `attempt`. All that
/// is logged within the call carries them. Nothing of the record's key, value or headers is in it.
///
/// A call costs what the subscriber makes of its span, and next to nothing where that is off.
#[derive(Debug, Clone, Copy)]
pub struct Tracing;

impl<H> Layer<H> for Tracing {
    type Handler = Traced<H>;

    fn layer(&self, inner: H) -> Traced<H> {
        Traced { inner }
    }
}

/// A handler within [`Tracing`].
#[derive(Debug, Clone)]
pub struct Traced<H> {
    inner: H,
}

fn span(record: &Record) -> Span {
    tracing::info_span!(
        target: "kafka_troupe::record", "record",
        topic = record.topic(), partition = record.partition().0, offset = record.offset().0, attempt = record.attempt()
    )
}

impl<H: AsyncHandler> AsyncHandler for Traced<H> {
    type Future = TracedFuture<H::Future>;

    fn call(&self, record: Record) -> Self::Future {
        let span = span(&record);
        let call = span.in_scope(|| self.inner.call(record));
        TracedFuture { call: call.instrument(span) }
    }
}

impl<H: Handler> Handler for Traced<H> {
    type Answer = H::Answer;

    async fn handle(&mut self, record: &Record) -> H::Answer {
        let span = span(record);
        let call = span.in_scope(|| self.inner.handle(record));
        call.instrument(span).await
    }
}

pin_project! {
    /// A call within [`Tracing`].
    #[derive(Debug)]
    pub struct TracedFuture<F> {
        #[pin]
        call: Instrumented<F>,
    }
}

impl<F: Future> Future for TracedFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().call.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fmt::{Debug, Write};
    use std::sync::{Arc, Mutex};

    use futures_util::FutureExt;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record as Values};
    use tracing::{Event, Metadata, Subscriber, info};

    use super::*;
    use crate::consume::record::tests::record;

    /// What happens to spans, one line each.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0, " {field}={value:?}").unwrap();
        }
    }

    impl Lines {
        fn push(&self, line: impl Into<String>) {
            self.0.lock().unwrap().push(line.into());
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "kafka_troupe::record" || metadata.target().ends_with("layer::tracing::tests")
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut fields = Fields(span.metadata().name().to_owned());
            span.record(&mut fields);
            self.push(fields.0);
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Values<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            self.push(fields.0.trim());
        }

        fn enter(&self, _: &Id) {
            self.push("enter");
        }

        fn exit(&self, _: &Id) {
            self.push("exit");
        }
    }

    #[test]
    fn a_call_and_each_of_its_polls_are_within_a_span_that_names_the_record_and_nothing_in_it() {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            let handler = Tracing.layer(|_: Record| {
                info!("called");
                async { info!("polled") }
            });
            let record = Record { attempt: 3, ..record(Some(b"zanzibar"), Some(b"zanzibar")) };
            assert_eq!(handler.call(record).now_or_never(), Some(()));
        });
        let lines = lines.0.lock().unwrap();
        assert_eq!(lines[0], r#"record topic="t" partition=2 offset=7 attempt=3"#);
        let within = ["enter", "message=called", "exit", "enter", "message=polled", "exit"];
        assert_eq!(lines[1..7], within);
    }
}
