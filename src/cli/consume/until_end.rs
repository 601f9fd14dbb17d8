use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_troupe::ConsumerHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::cluster::Cluster;
use super::edges::Edges;
use crate::cli::apart::apart;

/// How often it is looked whether the end is reached.
const LOOK: Duration = Duration::from_millis(250);

/// Where the topic ended when the command began, as far as it is not reached yet.
pub(super) struct UntilEnd {
    cluster: Arc<Cluster>,
    open: Edges,
    /// Where the group has committed nothing, it begins at the end or behind it.
    from_latest: bool,
}

impl UntilEnd {
    pub(super) fn new(cluster: Arc<Cluster>, edges: Edges, from_latest: bool) -> Self {
        Self { cluster, open: edges, from_latest }
    }

    /// Waits until the group has committed up to the end, whoever of its members did it.
    pub(super) async fn committed(mut self) {
        let mut looks = looks();
        loop {
            looks.tick().await;
            let (cluster, partitions) = (Arc::clone(&self.cluster), self.open.partitions());
            let look = apart(move || {
                let committed = cluster.committed(&partitions)?;
                // What retention takes away meanwhile is never committed: the begin of the log goes past it.
                let begins: Vec<_> = partitions.into_iter().filter(|each| !committed.contains_key(each)).collect();
                anyhow::Ok((cluster.begins(&begins)?, committed))
            });
            match look.await.flatten() {
                Ok((begins, committed)) => {
                    self.open.begin_at(&begins);
                    self.open.reached(|partition| committed.get(&partition).copied(), self.from_latest);
                }
                // The consumer meets it too, and ends where there is no hope.
                Err(error) => tracing::debug!(%error, "cannot see what the group has committed, for now"),
            }
            if self.open.is_empty() {
                return;
            }
        }
    }

    /// Waits until this consumer, which is in no group, has printed up to the end.
    pub(super) async fn printed(mut self, consumer: &ConsumerHandle) {
        let mut looks = looks();
        while !self.open.is_empty() {
            looks.tick().await;
            let watermarks: BTreeMap<_, _> =
                consumer.state().partitions.iter().map(|each| (each.partition, each.watermark)).collect();
            self.open.reached(|partition| watermarks.get(&partition).copied(), false);
        }
    }
}

fn looks() -> Interval {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}
