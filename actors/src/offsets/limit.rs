//! How long a commit's metadata may be: learned from what the coordinator refuses, and remembered per cluster.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use dashmap::DashMap;

use super::memory::Packing;

/// What Apache Kafka lets through with its default `offset.metadata.max.bytes` of 4096 (measured on 4.3.1: 4,095 characters pass).
const LONGEST: usize = 4095;
/// A text shorter than this remembers next to nothing.
const SHORTEST: usize = 24;

/// The longest text that a cluster takes, as far as it is known.
///
/// A cluster counts characters (Apache Kafka's brokers: UTF-16 units) or bytes. A dense text holds most where characters are counted, a
/// base64 one where bytes are. What is refused is halved, dense and base64 in turn, until an answer tells the two apart; from then on the
/// limit is closed in on from both sides. Each refusal costs one request more, and there are at most a few dozen in a cluster's life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MetadataLimit {
    dense: Bounds,
    base64: Bounds,
    /// Which of the two the cluster's way of counting favours, once that is known.
    counted: Option<Packing>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bounds {
    /// The longest that was accepted.
    accepted: usize,
    /// The shortest that was refused.
    refused: Option<usize>,
}

impl Bounds {
    /// Half way between what passes and what does not, until they are close.
    fn next(self) -> usize {
        match self.refused {
            None => LONGEST,
            Some(refused) if refused - self.accepted <= 16 + self.accepted / 16 => self.accepted,
            Some(refused) => (self.accepted + refused) / 2,
        }
    }
}

impl MetadataLimit {
    /// How to write the next text and how long it may be, in characters; `None` where the cluster takes nothing of use.
    pub(crate) fn next(&self) -> Option<(Packing, usize)> {
        let (packing, length) = match (self.counted, self.dense.refused, self.base64.refused) {
            (Some(Packing::Dense), ..) | (None, None, _) => (Packing::Dense, self.dense.next()),
            (Some(Packing::Base64), ..) => (Packing::Base64, self.base64.next()),
            (None, Some(dense), Some(base64)) if base64 <= dense => (Packing::Dense, base64 / 2),
            (None, Some(dense), _) => (Packing::Base64, dense),
        };
        (length >= SHORTEST).then_some((packing, length))
    }

    /// A text of this length, in characters, is stored.
    pub(crate) fn accept(&mut self, packing: Packing, length: usize) {
        let bounds = self.bounds(packing);
        bounds.accepted = bounds.accepted.max(length);
        // A broker whose settings were changed.
        if bounds.refused.is_some_and(|refused| refused <= length) {
            bounds.refused = None;
        }
        if self.counted.is_some() {
            return;
        }
        match packing {
            // As long a dense one, of three bytes a character, is too long.
            Packing::Base64 if self.dense.refused.is_some_and(|refused| length >= refused) => {
                self.counted = Some(Packing::Base64);
            }
            // It takes more bytes than what was refused.
            Packing::Dense if self.base64.refused.is_some_and(|refused| length * 3 >= refused) => {
                self.counted = Some(Packing::Dense);
            }
            _ => {}
        }
    }

    /// A text of this length, in characters, is too long.
    pub(crate) fn refuse(&mut self, packing: Packing, length: usize) {
        let bounds = self.bounds(packing);
        bounds.refused = Some(bounds.refused.map_or(length, |refused| refused.min(length)));
        if bounds.accepted >= length {
            *bounds = Bounds { accepted: 0, refused: Some(length) };
            self.counted = None;
        }
    }

    fn bounds(&mut self, packing: Packing) -> &mut Bounds {
        match packing {
            Packing::Dense => &mut self.dense,
            Packing::Base64 => &mut self.base64,
        }
    }
}

/// A cluster's limit, shared by the consumers of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterLimit(Arc<Mutex<MetadataLimit>>);

impl ClusterLimit {
    /// What this process has learned of the cluster.
    pub(crate) fn of(cluster: &str) -> Self {
        static LIMITS: LazyLock<DashMap<String, ClusterLimit>> = LazyLock::new(DashMap::new);
        LIMITS.entry(cluster.to_owned()).or_default().clone()
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut MetadataLimit) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A broker that counts characters or bytes.
    #[derive(Debug, Clone, Copy)]
    struct Broker {
        counts_bytes: bool,
        most: usize,
    }

    impl Broker {
        fn takes(self, packing: Packing, length: usize) -> bool {
            let bytes = if packing == Packing::Dense { 3 * length } else { length };
            (if self.counts_bytes { bytes } else { length }) <= self.most
        }

        /// What this broker could be given at most, in bits.
        fn best(self) -> usize {
            if self.counts_bytes { self.most.min(LONGEST) * 6 } else { self.most.min(LONGEST) * 15 }
        }
    }

    /// Commits texts as long as allowed, up to `wanted`; returns how often it was refused.
    fn commit(limit: &mut MetadataLimit, broker: Broker, wanted: usize) -> usize {
        let mut refusals = 0;
        while let Some((packing, most)) = limit.next() {
            let length = most.min(wanted);
            if broker.takes(packing, length) {
                limit.accept(packing, length);
                break;
            }
            limit.refuse(packing, length);
            refusals += 1;
        }
        refusals
    }

    fn brokers() -> impl Strategy<Value = Broker> {
        (any::<bool>(), prop_oneof![Just(4095), Just(99), 0..10_000_usize])
            .prop_map(|(counts_bytes, most)| Broker { counts_bytes, most })
    }

    proptest! {
        #[test]
        fn a_limit_is_found_after_few_refusals_and_close_to_the_broker_s(broker in brokers(), first in prop::collection::vec(30..5000_usize, 0..10)) {
            let mut limit = MetadataLimit::default();
            let mut refusals: usize = first.iter().map(|wanted| commit(&mut limit, broker, *wanted)).sum();
            refusals += (0..20).map(|_| commit(&mut limit, broker, usize::MAX)).sum::<usize>();
            prop_assert!(refusals <= 40, "{refusals} refusals");
            prop_assert_eq!(commit(&mut limit, broker, usize::MAX), 0, "still looking: {:?}", limit);
            let found = limit.next().map_or(0, |(packing, length)| length * if packing == Packing::Dense { 15 } else { 6 });
            if broker.most >= 100 {
                prop_assert!(found * 10 >= broker.best() * 8, "{found} bits of {} by {limit:?}", broker.best());
            }
        }
    }

    #[test]
    fn nothing_is_refused_by_a_broker_with_kafka_s_default() {
        let mut limit = MetadataLimit::default();
        let broker = Broker { counts_bytes: false, most: 4095 };
        assert_eq!(commit(&mut limit, broker, usize::MAX), 0);
        assert_eq!(limit.next(), Some((Packing::Dense, 4095)));
    }

    #[test]
    fn where_bytes_are_counted_the_second_try_is_base64_and_stays() {
        let mut limit = MetadataLimit::default();
        let broker = Broker { counts_bytes: true, most: 4096 };
        assert_eq!(commit(&mut limit, broker, usize::MAX), 1);
        assert_eq!(limit.next(), Some((Packing::Base64, 4095)));
    }

    #[test]
    fn a_cluster_that_takes_no_metadata_gets_none() {
        let mut limit = MetadataLimit::default();
        commit(&mut limit, Broker { counts_bytes: false, most: 0 }, usize::MAX);
        assert_eq!(limit.next(), None);
    }

    #[test]
    fn a_broker_whose_limit_was_lowered_is_learned_anew() {
        let mut limit = MetadataLimit::default();
        commit(&mut limit, Broker { counts_bytes: false, most: 4095 }, usize::MAX);
        let broker = Broker { counts_bytes: false, most: 99 };
        for _ in 0..20 {
            commit(&mut limit, broker, usize::MAX);
        }
        assert!(matches!(limit.next(), Some((Packing::Dense, 80..=99))), "{limit:?}");
    }

    #[test]
    fn a_cluster_s_limit_is_shared_within_the_process() {
        let (one, other) = (ClusterLimit::of("limit-test"), ClusterLimit::of("limit-test"));
        one.with(|limit| limit.refuse(Packing::Dense, 100));
        assert_eq!(other.with(|limit| limit.next()), Some((Packing::Base64, 100)));
    }
}
