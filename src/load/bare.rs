//! The members of the group without the engine: plain loops of librdkafka's consumer, for comparison.
//!
//! Each polls on a thread of its own, handles record after record there, and marks each as done for librdkafka to commit (once a second unless
//! `auto.commit.interval.ms` says otherwise, when partitions are given up, and in the end).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::account::{Account, Call};
use super::ledger::Place;
use super::plan::Plan;
use super::work::{Tasks, Work, spin};

/// How long a stop may go unnoticed.
const POLL: Duration = Duration::from_millis(50);

pub(crate) struct BareMembers {
    members: Vec<Member>,
    stop: CancellationToken,
}

struct Member {
    seen: Arc<Seen>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

/// What librdkafka tells of a member.
#[derive(Default)]
struct Seen {
    assigned: Mutex<BTreeSet<i32>>,
    /// By partition, the offset behind what it has committed.
    committed: Mutex<BTreeMap<i32, i64>>,
    /// Why it has ended.
    failed: OnceLock<String>,
}

struct Watch {
    seen: Arc<Seen>,
    account: Arc<Account>,
}

impl BareMembers {
    /// # Errors
    /// The client cannot be made, or a thread not started.
    pub(crate) fn start(plan: &Plan, account: &Arc<Account>, client: &ClientConfig) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let member = |number: u16| {
            let seen = Arc::new(Seen::default());
            let mut client = client.clone();
            client
                .set("group.id", &plan.group)
                .set("auto.offset.reset", "earliest")
                .set("enable.auto.commit", "true")
                .set("enable.auto.offset.store", "false");
            if client.get("auto.commit.interval.ms").is_none() {
                client.set("auto.commit.interval.ms", "1000");
            }
            let consumer: BaseConsumer<Watch> = client
                .create_with_context(Watch { seen: Arc::clone(&seen), account: Arc::clone(account) })
                .with_context(|| format!("member {number} of the group cannot start"))?;
            consumer.subscribe(&[&plan.topic]).with_context(|| format!("member {number} cannot subscribe"))?;
            let (tell, ended) = oneshot::channel();
            let loop_ = Loop {
                consumer,
                topic: plan.topic.clone(),
                seen: Arc::clone(&seen),
                account: Arc::clone(account),
                tasks: plan.tasks(),
                stop: stop.clone(),
            };
            thread::Builder::new()
                .name(format!("load-bare-{number}"))
                .spawn(move || {
                    loop_.run();
                    drop(tell);
                })
                .context("a member's thread cannot be started")?;
            Ok(Member { seen, ended: Mutex::new(Some(ended)) })
        };
        (1..=plan.members).map(member).collect::<anyhow::Result<_>>().map(|members| Self { members, stop })
    }

    /// The partitions that each has.
    pub(crate) fn shares(&self) -> Vec<Vec<u32>> {
        let share = |assigned: &BTreeSet<i32>| assigned.iter().map(|it| *it as u32).collect();
        self.members.iter().map(|member| share(&locked(&member.seen.assigned))).collect()
    }

    /// # Errors
    /// Of a member that has ended.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (index, member) in self.members.iter().enumerate() {
            if let Some(why) = member.seen.failed.get() {
                anyhow::bail!("member {} of the group ended: {why}", index + 1);
            }
        }
        Ok(())
    }

    /// What they have committed, by partition, as far as they know.
    pub(crate) fn committed(&self, plan: &Plan) -> Vec<i64> {
        let mut all = vec![0; plan.partitions as usize];
        for member in &self.members {
            for (partition, committed) in locked(&member.seen.committed).iter() {
                if let Some(known) = all.get_mut(*partition as usize) {
                    *known = (*committed).max(*known);
                }
            }
        }
        all
    }

    /// They finish the record they are at, commit, and leave.
    ///
    /// # Errors
    /// Of the first that had ended before.
    pub(crate) async fn leave(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for member in &self.members {
            let ended = locked(&member.ended).take();
            if let Some(ended) = ended {
                // It tells by going away.
                let _ = ended.await;
            }
        }
        self.check()
    }
}

struct Loop {
    consumer: BaseConsumer<Watch>,
    topic: String,
    seen: Arc<Seen>,
    account: Arc<Account>,
    tasks: Tasks,
    stop: CancellationToken,
}

impl Loop {
    fn run(self) {
        while !self.stop.is_cancelled() {
            let result = match self.consumer.poll(POLL) {
                Some(Ok(record)) => self.handle(&record),
                Some(Err(error)) if is_fatal(&error) => Err(error),
                // librdkafka goes on by itself.
                Some(Err(error)) => {
                    tracing::debug!(%error, "a bare member");
                    Ok(())
                }
                None => Ok(()),
            };
            if let Err(error) = result {
                let _ = self.seen.failed.set(error.to_string());
                return;
            }
        }
        match self.consumer.commit_consumer_state(CommitMode::Sync) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => drop(self.seen.failed.set(format!("its last commit failed: {error}"))),
        }
    }

    /// Says whether it came to its end before the stop.
    fn sleep(&self, mut time: Duration) -> bool {
        while !time.is_zero() {
            if self.stop.is_cancelled() {
                return false;
            }
            let nap = time.min(POLL);
            thread::sleep(nap);
            time -= nap;
        }
        true
    }

    fn handle(&self, record: &BorrowedMessage<'_>) -> KafkaResult<()> {
        let place = Place { partition: record.partition() as u32, offset: record.offset() as u64 };
        let received = self.account.clock.now();
        for attempt in 1.. {
            match self.tasks.work {
                Work::None => {}
                Work::Spin(_) => spin(self.tasks.time(place)),
                Work::Sleep(_) if self.sleep(self.tasks.time(place)) => {}
                // It is not through with it, and marks nothing.
                Work::Sleep(_) => return Ok(()),
            }
            if !self.tasks.fails(place, attempt) {
                break;
            }
            self.account.attempt_failed();
        }
        // What it waited before is in librdkafka's queue, and tells nobody since when.
        let call = Call { received, called: Some(received) };
        self.account.handled(record.key(), record.payload(), place, call);
        match self.consumer.store_offset(&self.topic, record.partition(), record.offset()) {
            // It was given up meanwhile: who has it now gets the record again.
            Err(KafkaError::StoreOffset(RDKafkaErrorCode::State)) => Ok(()),
            stored => stored,
        }
    }
}

impl ClientContext for Watch {}

impl ConsumerContext for Watch {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            let mut assigned = locked(&self.seen.assigned);
            for partition in partitions.elements() {
                assigned.remove(&partition.partition());
            }
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            locked(&self.seen.assigned).extend(partitions.elements().iter().map(|it| it.partition()));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "a bare member's commit");
            return;
        }
        let elements = offsets.elements();
        let committed = elements.iter().filter(|it| it.error().is_ok()).filter_map(|it| match it.offset() {
            Offset::Offset(next) => Some((it.partition(), next)),
            _ => None,
        });
        let committed: Vec<(i32, i64)> = committed.collect();
        self.account.confirmed(committed.iter().copied());
        locked(&self.seen.committed).extend(committed);
    }
}

fn is_fatal(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
