//! What is added to every record on its way out: the tracing context, a schema's id.

use std::borrow::Cow;
use std::sync::Arc;

use super::ProducerRecord;

/// What a layer adds to a record: see [`ProducerBuilder::layer`](super::ProducerBuilder::layer).
pub(super) type Layer = dyn Fn(&mut Outgoing<'_, '_>) + Send + Sync;

/// A record that a sender hands over, as a layer sees it: to be read, and to be given headers.
pub struct Outgoing<'r, 'a>(&'r mut ProducerRecord<'a>);

impl<'a> Outgoing<'_, 'a> {
    /// The record, with the headers that layers before this one have added.
    pub fn record(&self) -> &ProducerRecord<'a> {
        self.0
    }

    /// Adds a header behind those there are.
    pub fn add_header(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Vec<u8>>) {
        self.0.headers.push((name.into(), Some(value.into().into())));
    }
}

/// The layers of a producer, first to last.
#[derive(Clone, Default)]
pub(super) struct Layers(Vec<Arc<Layer>>);

impl Layers {
    pub(super) fn push(&mut self, layer: impl Fn(&mut Outgoing<'_, '_>) + Send + Sync + 'static) {
        self.0.push(Arc::new(layer));
    }

    pub(super) fn apply(&self, record: &mut ProducerRecord<'_>) {
        for layer in &self.0 {
            layer(&mut Outgoing(record));
        }
    }
}
