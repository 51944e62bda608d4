//! The record of a run: every step of every node is held against the invariants, counted and hashed; the
//! first that is broken ends the run.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use super::{
    coverage::{self, Coverage},
    faults::Who,
    told::Meant,
};
use crate::{
    core::{Effect, Input, Raft},
    observer::{Observer, Step},
    testkit::invariants::{
        FLUSHED_IS_KEPT, Held, HeldLog, Invariants, Kept, STATE_MACHINE_SAFETY, Sight, Violation, hold,
        lost_behind_fence,
    },
    types::{Entry, LogId, LogIndex, LogState, LogWrite, NodeId, Payload, Role, Time},
};

/// What all parts of a run report to.
#[derive(Default)]
pub(super) struct Watch(Mutex<Record>);

#[derive(Default)]
struct Record {
    invariants: Invariants,
    nodes: BTreeMap<NodeId, Known>,
    /// What the first node to apply an entry has answered to it, by index.
    outputs: BTreeMap<LogIndex, u64>,
    coverage: Coverage,
    hash: u64,
    broken: Option<Violation>,
    /// Up to here, the log of the node that steps is as it was before.
    unchanged: LogIndex,
    waiting: Option<Waker>,
    meant: Meant,
}

/// What is known of one node.
#[derive(Default)]
struct Known {
    /// What its core has written.
    written: Kept,
    /// What its storage has acknowledged.
    disk: Kept,
    /// The last entry that its state machine was given.
    applied: LogId,
    /// The lowest entry that a write under way may have truncated already, and the highest that a purge may
    /// have taken.
    truncating: Option<LogIndex>,
    purging: LogIndex,
    /// The last entry that a durable snapshot covers: a restart goes on from there, whatever the log holds.
    snapshot: LogId,
}

/// What a restart would find: the log, and the newest snapshot before it.
impl HeldLog for Known {
    fn purged(&self) -> LogId {
        std::cmp::max_by_key(self.disk.purged(), self.snapshot, |id| id.index)
    }

    fn last(&self) -> LogId {
        std::cmp::max_by_key(self.disk.last(), self.snapshot, |id| id.index)
    }

    fn id_at(&self, index: LogIndex) -> Option<LogId> {
        if index == self.purged().index { Some(self.purged()) } else { self.disk.id_at(index) }
    }
}

impl Watch {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what `run` gives, or the first violation as soon as there is one.
    pub(super) async fn until_broken<T>(
        &self,
        run: impl Future<Output = Result<T, Violation>>,
    ) -> Result<T, Violation> {
        let mut run = pin!(run);
        poll_fn(|task| {
            {
                let mut record = self.record();
                if let Some(violation) = record.broken.take() {
                    return Poll::Ready(Err(violation));
                }
                record.waiting = Some(task.waker().clone());
            }
            run.as_mut().poll(task)
        })
        .await
    }

    /// Something is wrong: the run ends.
    pub(super) fn fail(&self, invariant: &'static str, what: String) {
        self.settle(Err(Violation { invariant, what }));
    }

    fn settle(&self, outcome: Result<(), Violation>) {
        let Err(violation) = outcome else { return };
        let waiting = {
            let mut record = self.record();
            record.broken.get_or_insert(violation);
            record.waiting.take()
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn note(&self, name: &'static str) {
        self.record().coverage.note(name, 1);
    }

    pub(super) fn coverage(&self) -> Coverage {
        let record = self.record();
        let mut coverage = record.coverage.clone();
        coverage.note(coverage::COMMITTED, record.invariants.committed().len() as u64);
        coverage
    }

    /// A fault has come to this node.
    pub(super) fn means(&self, who: Who, node: Option<NodeId>) {
        self.record().meant.extend(node.map(|node| (who, node)));
    }

    pub(super) fn meant(&self) -> Meant {
        self.record().meant.clone()
    }

    pub(super) fn hash(&self) -> u64 {
        self.record().hash
    }

    pub(super) fn mix(&self, value: u64) {
        self.record().mix(value);
    }

    /// How many entries anybody knows to be committed.
    pub(super) fn committed(&self) -> LogIndex {
        LogIndex(self.record().invariants.committed().len() as u64)
    }

    /// All that was committed, in order.
    pub(super) fn committed_entries(&self) -> Vec<Entry> {
        let record = self.record();
        let committed = record.invariants.committed().iter();
        committed.filter_map(|(id, _)| Some(Entry::new(*id, record.invariants.known(*id)?.clone()))).collect()
    }

    /// A node under this id has lost its disk, and comes back as a new one.
    pub(super) fn forget(&self, id: NodeId) {
        let mut record = self.record();
        record.nodes.remove(&id);
        record.invariants.forget(id);
    }

    /// A state machine has answered an entry with an output of this digest.
    pub(super) fn applied(
        &self,
        node: NodeId,
        id: LogId,
        digest: u64,
        tell: impl FnOnce(Option<&Payload>) -> String,
    ) {
        let outcome = {
            let mut record = self.record();
            let first = *record.outputs.entry(id.index).or_insert(digest);
            hold(first == digest, STATE_MACHINE_SAFETY, || {
                let told = tell(record.invariants.known(id));
                format!("n{node}'s state machine answers {id}, {told}, otherwise than another node's did")
            })
        };
        self.settle(outcome);
    }

    /// A storage has recovered this.
    pub(super) fn recovered(&self, node: NodeId, state: &LogState) {
        let outcome = {
            let mut record = self.record();
            let known = record.nodes.entry(node).or_default();
            let held = Kept::of(state);
            let outcome = known.check_kept(node, &held);
            if known.is_repaired(&held) {
                known.snapshot = held.purged();
                record.coverage.note(coverage::REPAIRED_LOGS, 1);
            }
            let known = record.nodes.entry(node).or_default();
            known.disk = held;
            (known.truncating, known.purging) = (None, known.disk.purged().index);
            outcome
        };
        self.settle(outcome);
    }

    /// A storage is given these writes.
    pub(super) fn writes(&self, node: NodeId, writes: &[LogWrite]) {
        let mut record = self.record();
        let known = record.nodes.entry(node).or_default();
        let lowest = writes.iter().filter_map(|write| write.truncate_from).min();
        known.truncating = known.truncating.into_iter().chain(lowest).min();
    }

    /// A storage has acknowledged these writes.
    pub(super) fn wrote(&self, node: NodeId, writes: &[LogWrite]) {
        let mut record = self.record();
        let known = record.nodes.entry(node).or_default();
        for write in writes {
            known.disk.write(write);
        }
        known.truncating = None;
    }

    /// A storage is asked to purge, or has done so.
    pub(super) fn purges(&self, node: NodeId, through: LogId, is_done: bool) {
        let mut record = self.record();
        let known = record.nodes.entry(node).or_default();
        known.purging = known.purging.max(through.index);
        if is_done {
            known.disk.purge(through);
        }
    }

    /// A snapshot is durable.
    pub(super) fn snapshot_kept(&self, node: NodeId, last: LogId) {
        let mut record = self.record();
        let known = record.nodes.entry(node).or_default();
        known.snapshot = std::cmp::max_by_key(known.snapshot, last, |id| id.index);
    }

    /// A storage of snapshots has recovered one, or none.
    pub(super) fn snapshot_recovered(&self, node: NodeId, last: Option<LogId>) {
        let kept = self.record().nodes.entry(node).or_default().snapshot;
        self.settle(hold(last.unwrap_or_default().index >= kept.index, FLUSHED_IS_KEPT, || {
            format!("n{node} had a durable snapshot of {kept}, and finds {last:?}")
        }));
    }
}

impl Known {
    /// Whether what is found was repaired, and may have lost entries that were acknowledged.
    fn is_repaired(&self, found: &Kept) -> bool {
        let fence = found.hard_state.fence;
        fence.is_some() && fence != self.disk.hard_state.fence
    }

    /// What was acknowledged is there, but for what a write or a purge under way may have changed.
    fn check_kept(&self, node: NodeId, found: &Kept) -> Result<(), Violation> {
        let (had, has) = (self.disk.hard_state, found.hard_state);
        let is_vote_kept = has.term > had.term
            || (has.term == had.term && (had.voted_for.is_none() || had.voted_for == has.voted_for));
        hold(is_vote_kept, FLUSHED_IS_KEPT, || {
            format!("n{node} had {had:?} on its disk, and finds {has:?}")
        })?;
        if self.is_repaired(found) {
            return hold(has.fence >= Some(had.term), FLUSHED_IS_KEPT, || {
                format!("n{node} had {had:?} on its disk, and is fenced only by {has:?}")
            });
        }
        let purged = found.purged();
        hold(purged.index <= self.purging.max(self.disk.purged().index), FLUSHED_IS_KEPT, || {
            format!("n{node} finds its log purged through {purged}, which nobody asked for")
        })?;
        let end = self.truncating.map_or(self.disk.last().index, LogIndex::previous);
        let first = self.disk.purged().index.max(purged.index).next();
        for index in (first.0..=end.0.min(self.disk.last().index.0)).map(LogIndex) {
            let (had, has) = (self.disk.id_at(index), found.id_at(index));
            hold(had == has, FLUSHED_IS_KEPT, || {
                format!("n{node} had {had:?} on its disk, and finds {has:?}")
            })?;
        }
        Ok(())
    }
}

impl Record {
    fn mix(&mut self, value: u64) {
        self.hash = (self.hash.rotate_left(7) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn take_in(&mut self, id: NodeId, input: &Input) {
        match input {
            Input::Read { id: read } | Input::LeaseRead { id: read } => self.invariants.begin_read(id, *read),
            Input::SnapshotTaken { .. } => self.coverage.note(coverage::SNAPSHOTS, 1),
            Input::SnapshotRestored { .. } => self.coverage.note(coverage::INSTALLED, 1),
            _ => {}
        }
    }

    fn follow(&mut self, id: NodeId, effect: &Effect) -> Result<(), Violation> {
        let Record { invariants, nodes, coverage, .. } = self;
        let known = nodes.entry(id).or_default();
        match effect {
            Effect::Write(write) => {
                let before = known.written.write(write);
                self.unchanged = self.unchanged.min(before.index);
                invariants.write(before, &write.entries)
            }
            Effect::Purge { through } => {
                known.written.purge(*through);
                Ok(())
            }
            Effect::Send { to, message } => {
                invariants.say(id, *to, known.disk.hard_state, known.last().index, message)
            }
            Effect::RestoreSnapshot { snapshot } => {
                known.applied = snapshot.last;
                Ok(())
            }
            Effect::ReadReady { ids, read_index } => {
                ids.iter().try_for_each(|read| invariants.end_read(id, *read, *read_index))
            }
            Effect::RoleChanged { role: Role::Leader, .. } => {
                coverage.note(coverage::ELECTIONS, 1);
                Ok(())
            }
            Effect::FenceLifted { .. } => {
                coverage.note(coverage::FENCES_LIFTED, 1);
                Ok(())
            }
            Effect::MembershipChanged { .. } => {
                coverage.note(coverage::MEMBERSHIP_CHANGES, 1);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, step: Step<'_>) -> Result<(), Violation> {
        let id = step.raft.id();
        self.coverage.note(coverage::STEPS, 1);
        step.inputs.iter().for_each(|input| self.take_in(id, input));
        self.unchanged = LogIndex(u64::MAX);
        let mut given: Vec<Entry> = Vec::new();
        for effect in step.effects {
            self.follow(id, effect)?;
            match effect {
                Effect::Apply(entries) => given.extend(entries.iter().cloned()),
                // What was given before is within it.
                Effect::RestoreSnapshot { .. } => given.clear(),
                _ => {}
            }
        }
        let Record { invariants, nodes, unchanged, .. } = self;
        let Some(known) = nodes.get(&id) else { return Ok(()) };
        let applied = Held { purged: known.applied, entries: &given };
        let sight = Sight {
            raft: step.raft,
            log: &known.written,
            disk: known,
            applied: &applied,
            unchanged: *unchanged,
        };
        invariants.check(sight, |node, entry| {
            nodes
                .get(&node)
                .is_some_and(|node| node.covers(entry) || lost_behind_fence(node.disk.hard_state, entry))
        })?;
        if let (Some(known), Some(last)) = (nodes.get_mut(&id), given.last()) {
            known.applied = last.id;
        }
        for value in [
            id.0,
            step.now.0,
            step.raft.term().0,
            step.raft.last_log_id().index.0,
            step.raft.commit_index().0,
            (step.inputs.len() << 8 | step.effects.len()) as u64,
        ] {
            self.mix(value);
        }
        Ok(())
    }

    fn start(&mut self, raft: &Raft) -> Result<(), Violation> {
        let id = raft.id();
        let known = self.nodes.entry(id).or_default();
        known.written = Kept::by(raft);
        let applied = raft.applied_index();
        known.applied = known.written.id_at(applied).unwrap_or_default();
        let log = Held { purged: known.written.purged(), entries: &[] };
        self.coverage.note(coverage::STARTS, 1);
        self.invariants.start(id, known.disk.hard_state, log)
    }
}

/// Watches one node's core.
pub(super) struct Eye(pub(super) Arc<Watch>);

impl Observer for Eye {
    fn started(&self, _now: Time, raft: &Raft) {
        let outcome = self.0.record().start(raft);
        self.0.settle(outcome);
    }

    fn stepped(&self, step: Step<'_>) {
        let outcome = self.0.record().step(step);
        self.0.settle(outcome);
    }
}
