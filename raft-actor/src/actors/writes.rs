//! Writes under way on this node: in its own log, carried to the leader, or waiting for a leader.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::waiter::{Waiter, Waiters};
use crate::{
    error::WriteError,
    message::{ForwardWrites, ForwardWritesReply},
    mutants::{Mutant, is_on},
    runtime::permits::Permit,
    state_machine::StateMachine,
    types::{LogId, LogIndex, NodeId, Term, Time},
};

/// The bytes of commands that are carried to the leader in one message, about.
const FORWARD_BYTES_MAX: usize = 1 << 20;

/// Of so many runs of another node it is remembered what they have carried here.
const RUNS_MAX: usize = 16;

/// A write that is not in the log yet.
pub(crate) struct Pending<S: StateMachine> {
    pub(crate) command: Bytes,
    pub(crate) waiter: Waiter<S>,
    /// Until then it may wait for a leader.
    pub(crate) deadline: Time,
}

/// Writes that are not in the log yet, in the order in which they came. Held apart by what they are made of:
/// so those that are proposed together reach the core, and the log's waiters, without being moved one by one.
pub(crate) struct Arrivals<S: StateMachine> {
    commands: Vec<Bytes>,
    waiters: Vec<Waiter<S>>,
    deadlines: Vec<Time>,
}

impl<S: StateMachine> Default for Arrivals<S> {
    fn default() -> Arrivals<S> {
        Arrivals { commands: Vec::new(), waiters: Vec::new(), deadlines: Vec::new() }
    }
}

impl<S: StateMachine> Arrivals<S> {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// As many more are about to come, at the most.
    pub(crate) fn expect(&mut self, count: usize) {
        self.commands.reserve(count);
        self.waiters.reserve(count);
    }

    pub(crate) fn push(&mut self, command: Bytes, waiter: Waiter<S>, deadline: Time) {
        self.commands.push(command);
        self.waiters.push(waiter);
        self.deadlines.push(deadline);
    }

    pub(crate) fn extend(&mut self, writes: Vec<Pending<S>>) {
        writes.into_iter().for_each(|write| self.push(write.command, write.waiter, write.deadline));
    }

    /// All of them, one by one.
    pub(crate) fn into_pending(self) -> impl Iterator<Item = Pending<S>> {
        let writes = self.commands.into_iter().zip(self.waiters).zip(self.deadlines);
        writes.map(|((command, waiter), deadline)| Pending { command, waiter, deadline })
    }
}

/// Writes carried to the leader in one message.
struct Forwarded<S: StateMachine> {
    to: NodeId,
    /// The term that the leader led.
    term: Term,
    deadline: Time,
    writes: Vec<Pending<S>>,
}

/// See the module.
pub(crate) struct Writes<S: StateMachine> {
    /// What the core was given, without the commands; its answer comes with the same step's effects.
    proposing: Arrivals<S>,
    /// In this leader's log, ascending.
    waiting: VecDeque<Waiters<S>>,
    /// The same by batch: its last entry, and until when its callers may be left waiting.
    patience: VecDeque<(LogIndex, Time)>,
    /// Shares of writes in the log whose callers wait no more: what is under way stays counted.
    overdue: VecDeque<(LogIndex, Permit)>,
    /// Waiting for a leader.
    parked: Vec<Pending<S>>,
    /// The number of the next batch to be carried: this run's in the upper half, a count in the lower.
    next_forward: u64,
    forwarded: BTreeMap<u64, Forwarded<S>>,
    /// What each of the other nodes' latest runs will carry here next, at the earliest.
    expected: BTreeMap<NodeId, VecDeque<u64>>,
}

impl<S: StateMachine> Writes<S> {
    /// `run` tells this run's batches from those of the node's other runs.
    pub(crate) fn new(run: u32) -> Writes<S> {
        Writes {
            proposing: Arrivals::default(),
            waiting: VecDeque::new(),
            patience: VecDeque::new(),
            overdue: VecDeque::new(),
            parked: Vec::new(),
            next_forward: u64::from(run) << 32,
            forwarded: BTreeMap::new(),
            expected: BTreeMap::new(),
        }
    }

    /// Whether any outcome is still to come from the log or from the leader.
    pub(crate) fn any_under_way(&self) -> bool {
        !self.waiting.is_empty() || !self.forwarded.is_empty()
    }

    /// Whether anything here has a deadline.
    pub(crate) fn any_with_deadline(&self) -> bool {
        !self.parked.is_empty() || !self.forwarded.is_empty()
    }

    /// Takes over what the core is about to be asked, and gives the commands to ask with.
    pub(crate) fn propose(&mut self, writes: &mut Arrivals<S>) -> Vec<Bytes> {
        debug_assert!(self.proposing.is_empty(), "the core answers in the step that it is asked in");
        std::mem::swap(&mut self.proposing, writes);
        std::mem::take(&mut self.proposing.commands)
    }

    /// The core has put all of it into the log, from `first` on.
    pub(crate) fn proposed(&mut self, first: LogId) {
        let waiters = Waiters::new(first, std::mem::take(&mut self.proposing.waiters));
        if let Some(deadline) = self.proposing.deadlines.drain(..).next_back() {
            self.patience.push_back((waiters.last(), deadline));
            self.waiting.push_back(waiters);
        }
    }

    /// The core has refused it, and given the commands back.
    pub(crate) fn refused(&mut self, commands: Vec<Bytes>) -> impl Iterator<Item = Pending<S>> + use<S> {
        self.proposing.commands = commands;
        std::mem::take(&mut self.proposing).into_pending()
    }

    /// Takes out the waiters of all entries up to `last`.
    pub(crate) fn committed(&mut self, last: LogIndex) -> VecDeque<Waiters<S>> {
        while self.patience.pop_front_if(|(index, _)| *index <= last).is_some() {}
        while self.overdue.pop_front_if(|(index, _)| *index <= last).is_some() {}
        self.take_through(last)
    }

    fn take_through(&mut self, last: LogIndex) -> VecDeque<Waiters<S>> {
        let whole = self.waiting.partition_point(|waiters| waiters.last() <= last);
        if whole == self.waiting.len() {
            return std::mem::take(&mut self.waiting);
        }
        let later = self.waiting.split_off(whole);
        let mut taken = std::mem::replace(&mut self.waiting, later);
        taken.extend(self.waiting.front_mut().and_then(|waiters| waiters.split_through(last)));
        taken
    }

    /// This node no longer leads the term that the writes were proposed in: a later leader may commit them,
    /// or not.
    pub(crate) fn leadership_lost(&mut self) {
        self.patience.clear();
        self.overdue.clear();
        let is_refused = is_on(Mutant::RefusesWritesThatMayBeCommitted);
        for (_, waiter) in self.waiting.drain(..).flat_map(Waiters::into_each) {
            let refused = WriteError::NotLeader { leader: None };
            waiter.settle(Err(if is_refused { refused } else { WriteError::Unknown }));
        }
    }

    /// Keeps a write until there is a leader. Another node's is sent back instead: that node keeps it.
    pub(crate) fn park(&mut self, write: Pending<S>, leader: Option<NodeId>) {
        match write.waiter {
            Waiter::Remote { .. } => write.waiter.settle(Err(WriteError::NotLeader { leader })),
            Waiter::Local { .. } => self.parked.push(write),
        }
    }

    /// Takes out all that waited for a leader.
    pub(crate) fn unpark(&mut self) -> Vec<Pending<S>> {
        std::mem::take(&mut self.parked)
    }

    /// Puts writes of this node's clients into messages for the leader, and remembers them until the answer.
    pub(crate) fn forward(
        &mut self,
        (to, term): (NodeId, Term),
        writes: Vec<Pending<S>>,
    ) -> Vec<ForwardWrites> {
        let mut messages = Vec::new();
        let mut writes = writes.into_iter().peekable();
        while let Some(first) = writes.next() {
            let mut bytes = first.command.len();
            let deadline = first.deadline;
            let mut together = vec![first];
            while let Some(next) = writes.next_if(|next| bytes + next.command.len() <= FORWARD_BYTES_MAX) {
                bytes += next.command.len();
                together.push(next);
            }
            let id = self.next_forward;
            self.next_forward += 1;
            let commands = together.iter().map(|write| write.command.clone()).collect();
            messages.push(ForwardWrites { id, commands });
            self.forwarded.insert(id, Forwarded { to, term, deadline, writes: together });
        }
        messages
    }

    /// Whether a batch that `from` has carried here is one that has not come yet. A network that repeats or
    /// overtakes itself must not have a write done twice; the sender of a batch that is dropped here is told
    /// nothing, and takes its outcome as unknown.
    pub(crate) fn is_new(&mut self, from: NodeId, id: u64) -> bool {
        let runs = self.expected.entry(from).or_default();
        if let Some(expected) = runs.iter_mut().find(|expected| **expected >> 32 == id >> 32) {
            let is_new = id >= *expected || is_on(Mutant::TakesCarriedWritesTwice);
            // One past it, so that the same one is not new again.
            *expected = (*expected).max(id.saturating_add(1));
            return is_new;
        }
        // Another run. What the runs before it have said may still be on its way, a second time.
        if runs.len() == RUNS_MAX {
            runs.pop_front();
        }
        runs.push_back(id.saturating_add(1));
        true
    }

    /// The leader has answered. Gives back what it did nothing about, to be tried again.
    pub(crate) fn answered(&mut self, reply: ForwardWritesReply) -> Vec<Pending<S>> {
        let Some(forwarded) = self.forwarded.remove(&reply.id) else { return Vec::new() };
        let mut again = Vec::new();
        let mut results = reply.results.into_iter();
        for write in forwarded.writes {
            let outcome = match results.next() {
                Some(Ok((id, output))) => {
                    postcard::from_bytes(&output).map(|output| (id, output)).map_err(|_| WriteError::Unknown)
                }
                Some(Err(WriteError::NotLeader { .. })) => {
                    again.push(write);
                    continue;
                }
                Some(Err(error)) => Err(error),
                None => Err(WriteError::Unknown),
            };
            write.waiter.settle(outcome);
        }
        again
    }

    /// A message to the leader never left: nothing was done.
    pub(crate) fn not_sent(&mut self, id: u64) -> Vec<Pending<S>> {
        self.forwarded.remove(&id).map(|forwarded| forwarded.writes).unwrap_or_default()
    }

    /// The link to `peer` broke: what it was carrying may have arrived, and its answers may be lost.
    pub(crate) fn link_lost(&mut self, peer: NodeId) {
        self.give_up_forwarded(|forwarded| forwarded.to == peer);
    }

    /// Somebody leads `term`. Leaders of earlier terms may be gone without a trace, and with them what was
    /// carried there: nothing more is sent to them that would show that the link is broken.
    pub(crate) fn new_leader(&mut self, term: Term) {
        self.give_up_forwarded(|forwarded| forwarded.term < term);
    }

    /// Gives up on what has waited too long.
    pub(crate) fn expire(&mut self, now: Time, leader: Option<NodeId>) {
        for write in self.parked.extract_if(.., |write| write.deadline <= now) {
            write.waiter.settle(Err(WriteError::NotLeader { leader }));
        }
        self.give_up_forwarded(|forwarded| forwarded.deadline <= now);
        while let Some((last, _)) = self.patience.pop_front_if(|(_, deadline)| *deadline <= now) {
            // Committed too late, or never: a quorum or this node's own disk does not answer.
            for (id, waiter) in self.take_through(last).into_iter().flat_map(Waiters::into_each) {
                self.overdue.push_back((id.index, waiter.give_up()));
            }
        }
    }

    /// The node is ending: what it has done nothing about is answered so.
    pub(crate) fn stop(&mut self) {
        for write in self.parked.drain(..) {
            write.waiter.settle(Err(WriteError::Stopped));
        }
    }

    fn give_up_forwarded(&mut self, hopeless: impl Fn(&Forwarded<S>) -> bool) {
        for (_, forwarded) in self.forwarded.extract_if(.., |_, forwarded| hopeless(forwarded)) {
            forwarded.writes.into_iter().for_each(|write| write.waiter.settle(Err(WriteError::Unknown)));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::{runtime::permits::Permits, state_machine::Witness};

    /// Two batches of three writes, in the log from 5 on, in terms 2 and 3.
    fn two_batches() -> (Writes<Witness>, Permits) {
        let (mut writes, permits) = (Writes::new(0), Permits::new(10, 0));
        for first in [LogId::new(Term(2), LogIndex(5)), LogId::new(Term(3), LogIndex(8))] {
            let mut arrivals = Arrivals::default();
            for _ in 0..3 {
                let permit = permits.try_acquire(0).expect("six of ten");
                let waiter = Waiter::Local { reply: oneshot::channel().0, permit };
                arrivals.push(Bytes::new(), waiter, Time(first.index.0));
            }
            assert_eq!(writes.propose(&mut arrivals).len(), 3);
            assert!(arrivals.is_empty());
            writes.proposed(first);
        }
        (writes, permits)
    }

    fn places(waiters: &VecDeque<Waiters<Witness>>) -> Vec<(u64, u64)> {
        let places = waiters.iter().flat_map(Waiters::places);
        places.map(|place| (place.term.0, place.index.0)).collect()
    }

    #[test]
    fn of_a_batch_that_is_committed_in_parts_each_part_has_its_own_waiters() {
        let (mut writes, permits) = two_batches();
        assert_eq!(places(&writes.committed(LogIndex(4))), []);
        assert_eq!(places(&writes.committed(LogIndex(6))), [(2, 5), (2, 6)]);
        assert_eq!(permits.count_out(), 4, "those that were taken out are gone, the others wait");
        assert_eq!(places(&writes.committed(LogIndex(8))), [(2, 7), (3, 8)]);
        assert_eq!(places(&writes.committed(LogIndex(20))), [(3, 9), (3, 10)]);
        assert!(!writes.any_under_way());
        assert_eq!(permits.count_out(), 0);
    }

    #[test]
    fn a_write_whose_caller_waits_no_longer_keeps_its_share_until_it_is_committed() {
        let (mut writes, permits) = two_batches();
        writes.expire(Time(5), None);
        assert_eq!(permits.count_out(), 6, "the first batch is told that its outcome is unknown, no more");
        assert_eq!(places(&writes.committed(LogIndex(6))), []);
        assert_eq!(permits.count_out(), 4);
        assert_eq!(places(&writes.committed(LogIndex(10))), [(3, 8), (3, 9), (3, 10)]);
        assert_eq!(permits.count_out(), 0);
    }
}
