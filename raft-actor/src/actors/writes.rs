//! Writes under way on this node: in its own log, carried to the leader, or waiting for a leader.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::waiter::Waiter;
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
    /// Whose commands the core was given, and until when they may wait; its answer comes with the same
    /// step's effects.
    proposing: Vec<(Waiter<S>, Time)>,
    /// In this leader's log, ascending.
    waiting: VecDeque<(LogId, Waiter<S>)>,
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
            proposing: Vec::new(),
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
    pub(crate) fn propose(&mut self, writes: &mut Vec<Pending<S>>) -> Vec<Bytes> {
        let mut commands = Vec::with_capacity(writes.len());
        self.proposing.extend(writes.drain(..).map(|Pending { command, waiter, deadline }| {
            commands.push(command);
            (waiter, deadline)
        }));
        commands
    }

    /// The core has put the oldest `count` into the log.
    pub(crate) fn proposed(&mut self, first: LogId, count: usize) {
        if let Some(last) = count.checked_sub(1).and_then(|last| self.proposing.get(last)) {
            self.patience.push_back((LogIndex(first.index.0 + count as u64 - 1), last.1));
        }
        let writes = self.proposing.drain(..count).enumerate();
        self.waiting.extend(writes.map(|(offset, (waiter, _))| {
            let index = LogIndex(first.index.0 + offset as u64);
            (LogId::new(first.term, index), waiter)
        }));
    }

    /// The core has refused the oldest, and given their commands back.
    pub(crate) fn refused(&mut self, commands: Vec<Bytes>) -> Vec<Pending<S>> {
        let writes = self.proposing.drain(..commands.len()).zip(commands);
        writes.map(|((waiter, deadline), command)| Pending { command, waiter, deadline }).collect()
    }

    /// Takes out the waiters of all entries up to `last`.
    pub(crate) fn committed(&mut self, last: LogIndex) -> VecDeque<(LogId, Waiter<S>)> {
        while self.patience.pop_front_if(|(index, _)| *index <= last).is_some() {}
        while self.overdue.pop_front_if(|(index, _)| *index <= last).is_some() {}
        let count = self.waiting.partition_point(|(id, _)| id.index <= last);
        if count == self.waiting.len() {
            return std::mem::take(&mut self.waiting);
        }
        let later = self.waiting.split_off(count);
        std::mem::replace(&mut self.waiting, later)
    }

    /// This node no longer leads the term that the writes were proposed in: a later leader may commit them,
    /// or not.
    pub(crate) fn leadership_lost(&mut self) {
        self.patience.clear();
        self.overdue.clear();
        let is_refused = is_on(Mutant::RefusesWritesThatMayBeCommitted);
        for (_, waiter) in self.waiting.drain(..) {
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
            while let Some((id, waiter)) = self.waiting.pop_front_if(|(id, _)| id.index <= last) {
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
