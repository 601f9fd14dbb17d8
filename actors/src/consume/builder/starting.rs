//! The start: what was set is looked at once more, all of it together.

use std::sync::Arc;
use std::time::Duration;

use super::{CHUNK_BYTES, CHUNK_RECORDS, ConsumerBuilder};
use crate::consume::control::Credits;
use crate::consume::dead_letters::Letterbox;
use crate::consume::engine;
use crate::consume::error::ConsumerError;
use crate::consume::handle::{ConsumerHandle, on_the_clock};
use crate::consume::membership::Membership;
use crate::consume::memory::MemoryBounds;
use crate::consume::poller::PollerOptions;
use crate::consume::properties::configuration;
use crate::consume::resolver::ResolverOptions;
use crate::order::pump::Workload;

/// The most credits a partition may have: what a mailbox can be made for.
const MAX_CREDITS: u64 = 1 << 30;
impl ConsumerBuilder {
    /// Starts the consumer's threads. It joins its group, or looks up its partitions, in the background; call it from any runtime or none.
    ///
    /// # Errors
    /// [`ConsumerError::Configuration`] when something required is missing or a value is refused, [`ConsumerError::Start`] when a thread
    /// cannot be had. A cluster that cannot be reached is no error: the consumer waits for it, and logs.
    pub fn start(self) -> Result<ConsumerHandle, ConsumerError> {
        self.run(None)
    }

    /// With the handlers that were given, or with what an app pulls through.
    pub(super) fn run(mut self, pulled: Option<Arc<dyn Workload>>) -> Result<ConsumerHandle, ConsumerError> {
        let missing = |what: &str| configuration(format!("{what} is missing"));
        let membership = self.membership()?;
        let mut subscription = self.subscription(membership)?;
        for required in ["bootstrap.servers", "group.id"] {
            if self.properties.get(required).is_none_or(str::is_empty) {
                return Err(missing(required));
            }
        }
        if self.credits.records > MAX_CREDITS {
            return Err(configuration(format!("max_buffered_records must not be above {MAX_CREDITS}")));
        }
        if self.credits.records == 0 || self.credits.bytes == 0 {
            return Err(configuration("max_buffered_records and max_buffered_bytes must be above 0".to_owned()));
        }
        if self.total_credits.records == 0 || self.total_credits.bytes == 0 {
            return Err(configuration(
                "max_total_buffered_records and max_total_buffered_bytes must be above 0".to_owned(),
            ));
        }
        if self.threads == Some(0) {
            return Err(configuration("worker_threads must be above 0".to_owned()));
        }
        if self.listener_deadline.is_zero() {
            return Err(configuration("listener_deadline must be above 0".to_owned()));
        }
        self.check_commits(membership)?;
        self.check_dead_letters(&subscription)?;
        let reset = self.reset(membership)?;
        let order = self.order.unwrap_or_default();
        self.add_retry_topics(&mut subscription, membership, order)?;
        let (concurrency, partition_concurrency) = self.bounds(order)?;
        let workload = match pulled {
            Some(pulled) => pulled,
            None => self.routes.workload(&subscription, membership, order, self.runtime.as_ref())?,
        };
        if self.listener.is_some() && self.properties.new_protocol() {
            // They tell of a member that joined and got nothing.
            self.properties.set_default("statistics.interval.ms", "1000");
        }
        let group = self.properties.get("group.id").filter(|_| membership != Membership::Standalone);
        let letterbox = Letterbox::new(self.dead_letters, self.retry_topics, &self.properties, group)?;
        let listener_deadline = self.listener.as_ref().map_or(Duration::ZERO, |_| on_the_clock(self.listener_deadline));
        engine::start(engine::Settings {
            config: self.properties.client_config(membership.stores())?,
            membership,
            starts: ResolverOptions { start_at: self.start_at, reset, load: self.load },
            workload,
            threads: self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            commits: self.commits,
            commit_rate: self.commit_rate,
            order,
            concurrency,
            partition_concurrency,
            on_commit: self.on_commit,
            listener: self.listener,
            stop_deadline: on_the_clock(self.stop_deadline),
            naming: self.naming,
            failures: self.failures,
            letterbox,
            token: self.token,
            poller: PollerOptions {
                group: self.properties.get("group.id").unwrap_or_default().to_owned(),
                subscription,
                static_member: self.properties.static_member().filter(|_| membership.is_member()),
                new_protocol: self.properties.new_protocol(),
                drain_deadline: on_the_clock(self.drain_deadline),
                listener_deadline,
                commit_deadline: on_the_clock(self.commit_deadline),
                on_log_rewind: self.on_log_rewind,
                on_offset_out_of_range: self.on_offset_out_of_range,
                order,
                memory: MemoryBounds {
                    queue_bytes: self.properties.queue_bytes(),
                    per_partition: self.credits,
                    in_all: self.total_credits,
                    chunk: Credits { records: CHUNK_RECORDS as u64, bytes: CHUNK_BYTES as u64 },
                    budget: self.memory_budget,
                },
            },
        })
    }
}
