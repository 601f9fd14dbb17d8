//! Commits: a round of requests at a time, built from one snapshot of the ledgers, and what their answers mean.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use tracing::{debug, warn};

use super::OffsetTracker;
use super::epoch::TrackedEpoch;
use crate::consume::command::{Commit, CommitEntry, PollerCommand};
use crate::consume::commit::{CommitReport, CommitWhen, PartitionCommit};
use crate::consume::error::{CommitFailure, ConsumerError, commit_failure};
use crate::consume::state::{Board, Cluster, Counters};
use crate::ids::Epoch;
use crate::invariants::At;
use crate::offsets::budget::{entry_bytes, requests};

/// How long commits are held after an answer that says that the group has moved on without this member, unless a rebalance ends it sooner: the
/// default heartbeat interval.
const HOLD: Duration = Duration::from_secs(3);

impl OffsetTracker {
    /// Sends a round if the policy, the app, or a commit that failed asks for one.
    pub(super) fn look(&mut self, now: Instant) {
        self.looked = now;
        // Half a look of room: a timer that is late for one look is not for the next, which must not wait for another for that.
        if let CommitWhen::Interval(interval) = self.options.policy.when
            && now.saturating_duration_since(self.ticked) + self.pace() / 2 >= interval
        {
            self.ticked = now;
            self.wanted = true;
        }
        if self.wanted {
            self.send_round(now);
        }
    }

    /// One round at a time, and none while commits are held or the last round is not paid off.
    fn send_round(&mut self, now: Instant) {
        if !self.in_flight.is_empty()
            || self.held_until.is_some_and(|until| now < until)
            || self.budget.wait(now).is_some()
        {
            return;
        }
        self.held_until = None;
        self.wanted = false;
        (0..self.epochs.len()).for_each(|slot| self.look_in_hand(slot));
        if !self.board.membership.commits() {
            return;
        }
        let manual = self.options.policy.when == CommitWhen::Manual;
        let cluster = self.board.cluster.get();
        let open = self.epochs.iter().flatten().filter(|tracked| !tracked.closed);
        let (held, open): (Vec<_>, Vec<_>) = open.partition(|tracked| tracked.is_held(now));
        self.wanted = !held.is_empty();
        let entries = open.into_iter().filter_map(|tracked| due_entry(tracked, manual || tracked.sealed, cluster));
        let entries: Vec<_> = entries.collect();
        if self.options.policy.awaited && matches!(self.options.policy.when, CommitWhen::Interval(_)) {
            for entry in &entries {
                self.current(entry.slot, entry.epoch).inspect(|tracked| tracked.cell.await_commit(entry.next));
            }
        }
        let owned = self.epochs.iter().flatten().count();
        self.check_owned_and_finished(&entries);
        let commits = self.requests(entries);
        let bytes: usize = commits.iter().map(|commit| self.bytes(&commit.entries)).sum();
        if bytes > 0 {
            let total = self.board.topic_partitions.load(Ordering::Relaxed) as usize;
            self.budget.spend(bytes, owned, total, now);
            self.board.note_pause(self.budget.pause());
        }
        for commit in commits {
            self.in_flight.insert(commit.id);
            self.poller.send(PollerCommand::Commit(commit));
        }
    }

    /// The last commits of what is given up: all that is finished, or where the app commits, and of the slots `only_asked`, what it has asked
    /// for.
    pub(super) fn last_commits(&mut self, stays: &[(usize, Epoch)], only_asked: &BTreeSet<usize>) -> Vec<Commit> {
        let membership = self.board.membership;
        if !membership.commits() && !membership.stores() {
            return Vec::new();
        }
        let cluster = self.board.cluster.get();
        let manual = self.options.policy.when == CommitWhen::Manual;
        let given_up = self.epochs.iter().flatten();
        let given_up = given_up.filter(|tracked| stays.contains(&(tracked.cell.slot, tracked.cell.epoch)));
        let entries = given_up.filter_map(|tracked| {
            // What is handed out was stored: all of what is not finished has to be taken back.
            if membership.stores() {
                return Some(tracked.entry(None));
            }
            due_entry(tracked, manual || only_asked.contains(&tracked.cell.slot), cluster)
        });
        let entries: Vec<_> = entries.collect();
        self.check_owned_and_finished(&entries);
        self.requests(entries)
    }

    pub(super) fn requests(&mut self, entries: Vec<CommitEntry>) -> Vec<Commit> {
        let group = &self.options.group;
        let requests = requests(entries, |entry| entry_bytes(group, &entry.partition.topic, entry.text()));
        let mut commits = Vec::with_capacity(requests.len());
        for entries in requests {
            self.last_id += 1;
            commits.push(Commit::new(self.last_id, entries));
        }
        commits
    }

    /// I2 and I4, of what is about to be sent.
    pub(super) fn check_owned_and_finished(&self, entries: &[CommitEntry]) {
        let invariants = &self.board.invariants;
        for entry in entries {
            let at = At { partition: &entry.partition, epoch: entry.epoch };
            let tracked = self.epochs.get(entry.slot).and_then(Option::as_ref);
            let tracked = tracked.filter(|tracked| tracked.cell.partition == entry.partition);
            invariants.commits_owned(at, entry.next, tracked.map(|tracked| tracked.cell.epoch));
            if let Some(tracked) = tracked.filter(|_| !entry.past_watermark) {
                invariants.commit_within_watermark(at, entry.next, tracked.ledger.watermark());
            }
        }
    }

    fn bytes(&self, entries: &[CommitEntry]) -> usize {
        entries.iter().map(|entry| entry_bytes(&self.options.group, &entry.partition.topic, entry.text())).sum()
    }

    pub(super) fn answered(&mut self, id: u64, results: Vec<(CommitEntry, Option<RDKafkaErrorCode>)>, now: Instant) {
        self.in_flight.remove(&id);
        let board = Arc::clone(&self.board);
        // Nothing is left of a request all of whose partitions were given up before it was sent.
        if !results.is_empty() {
            let failed = results.iter().any(|(_, failed)| failed.is_some());
            Counters::add(if failed { &board.counters.failed_commits } else { &board.counters.commits }, 1);
        }
        for (entry, failed) in &results {
            match failed {
                None => self.on_committed(entry, &board),
                Some(code) => self.on_refused(entry, *code, now),
            }
        }
        self.answer_waiters();
        if let Some(callback) = &self.options.callback
            && !results.is_empty()
        {
            let partitions = results.into_iter().map(|(entry, error)| PartitionCommit {
                topic_partition: entry.partition,
                offset: entry.next,
                error,
            });
            callback.tell(CommitReport { partitions: partitions.collect() });
        }
        if self.wanted {
            self.look(now);
        }
    }

    fn on_committed(&mut self, entry: &CommitEntry, board: &Board) {
        let known = self.epochs.get_mut(entry.slot).and_then(Option::as_mut);
        // An answer of an old epoch says nothing of the current one, which read the committed offset for itself.
        let Some(tracked) = known.filter(|tracked| tracked.cell.epoch == entry.epoch) else {
            return;
        };
        let at = At { partition: &entry.partition, epoch: entry.epoch };
        board.invariants.commits_rise(at, tracked.confirmed, entry.next);
        tracked.confirm(entry);
        debug!(topic = %entry.partition.topic, partition = entry.partition.partition.0, epoch = entry.epoch.0, offset = entry.next.0, "committed");
    }

    fn on_refused(&mut self, entry: &CommitEntry, code: RDKafkaErrorCode, now: Instant) {
        let (partition, epoch) = (&entry.partition, entry.epoch.0);
        let (topic, number, offset) = (&*partition.topic, partition.partition.0, entry.next.0);
        let detail = format!("commit of {partition} at {offset}: {code}");
        self.wanted = true;
        let failure = commit_failure(code);
        let (failure, detail) = match failure {
            // The commits of who is no member are taken only while there are none.
            CommitFailure::Hold | CommitFailure::Superseded if !self.board.membership.is_member() => {
                let group = &self.options.group;
                let todo = "give partitions that are named by hand a group that nobody subscribes in";
                (CommitFailure::Fatal, format!("{detail}: group {group} has members; {todo}"))
            }
            _ => (failure, detail),
        };
        match failure {
            // A rebalance is under way: usual, and over soon, perhaps without a word to this member.
            CommitFailure::Hold => {
                debug!(topic, partition = number, epoch, offset, error = %code, "a commit is sent again: a rebalance is under way");
                if let Some(tracked) = self.current(entry.slot, entry.epoch) {
                    tracked.fail(now);
                }
            }
            CommitFailure::Superseded => {
                debug!(topic, partition = number, epoch, offset, error = %code, "commits are held until the member is back in its group");
                // What is said of an epoch that is over says nothing of those that began since.
                if self.current(entry.slot, entry.epoch).is_some() {
                    self.held_until = self.held_until.max(Some(now + HOLD));
                }
            }
            CommitFailure::Retry => {
                if let Some(tracked) = self.current(entry.slot, entry.epoch) {
                    let failures = tracked.fail(now);
                    tracked.cell.set_last_error(detail);
                    if failures.is_power_of_two() {
                        warn!(topic, partition = number, epoch, offset, failures, error = %code, "a commit failed and is sent again");
                    }
                }
            }
            CommitFailure::Fatal => {
                self.held_until = self.held_until.max(Some(now + HOLD));
                if let Some(tracked) = self.current(entry.slot, entry.epoch) {
                    tracked.cell.set_last_error(detail.clone());
                }
                self.refuse_waiters(entry, code);
                self.fail(ConsumerError::Kafka { code, detail });
            }
        }
    }
}

/// What is to be committed of a partition: where the app commits, what it has asked for and nothing else.
fn due_entry(tracked: &TrackedEpoch, manual: bool, cluster: Option<&Cluster>) -> Option<CommitEntry> {
    let due = !manual && tracked.is_due();
    match tracked.asked {
        Some(asked) if !due || asked.next > tracked.ledger.watermark() => Some(tracked.asked_entry(asked, cluster)),
        _ => due.then(|| tracked.entry(cluster)),
    }
}
