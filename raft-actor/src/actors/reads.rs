//! Reads under way on this node: waiting for a read index, for the state machine to get there, or for a
//! leader.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    core::Input,
    error::ReadError,
    message::ReadId,
    mutants::{Mutant, is_on},
    runtime::permits::Permit,
    state_machine::StateMachine,
    types::{LogIndex, NodeId, Time},
};

/// How much earlier than its own time a read may be given up along with those it waits with.
const PARK_TOGETHER: Duration = Duration::from_millis(20);

/// What a read does with the state, or with the reason why it may not see it.
pub(crate) type Answer<S> = Box<dyn FnOnce(Result<&S, ReadError>) + Send>;

/// How much a read asks of the state that it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Everything that was committed when it began, by a quorum's word.
    Linearizable,
    /// The same, by the leader's lease where it has one.
    Lease,
    /// Everything that was committed at a time no longer ago than this.
    Within(Duration),
}

impl Level {
    fn input(self, id: ReadId) -> Input {
        match self {
            Level::Linearizable => Input::Read { id },
            Level::Lease => Input::LeaseRead { id },
            Level::Within(bound) => Input::ReadWithin { id, bound },
        }
    }
}

/// One read.
pub(crate) struct Read<S: StateMachine> {
    pub(crate) answer: Answer<S>,
    pub(crate) permit: Permit,
    /// Nothing is asked of the state where it is read locally.
    pub(crate) level: Level,
}

impl<S: StateMachine> Read<S> {
    /// Gives the share back and answers.
    pub(crate) fn settle(self, state: Result<&S, ReadError>) {
        drop(self.permit);
        (self.answer)(state);
    }
}

/// Reads that go the same way together.
struct Batch<S: StateMachine> {
    deadline: Time,
    reads: Vec<Read<S>>,
}

/// See the module.
pub(crate) struct Reads<S: StateMachine> {
    next_id: u64,
    /// Waiting for a read index.
    asked: BTreeMap<ReadId, Batch<S>>,
    /// Waiting for the state machine to have applied so far.
    ready: Vec<(LogIndex, Batch<S>)>,
    /// Waiting for a leader to ask.
    parked: Vec<Batch<S>>,
}

impl<S: StateMachine> Reads<S> {
    /// `run` tells this run's questions from those of the node's other runs: an answer that comes so late
    /// that the node has restarted meanwhile would be stale.
    pub(crate) fn new(run: u32) -> Reads<S> {
        Reads { next_id: u64::from(run) << 32, asked: BTreeMap::new(), ready: Vec::new(), parked: Vec::new() }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.ready.is_empty() && self.parked.is_empty()
    }

    /// Takes in reads that arrived together, and gives what to ask the core: one question a level.
    pub(crate) fn ask(&mut self, reads: Vec<Read<S>>, deadline: Time) -> Vec<Input> {
        let mut levels: BTreeMap<Level, Vec<Read<S>>> = BTreeMap::new();
        for read in reads {
            levels.entry(read.level).or_default().push(read);
        }
        let ask = |(level, reads): (Level, _)| level.input(self.ask_batch(Batch { deadline, reads }));
        levels.into_iter().map(ask).collect()
    }

    fn ask_batch(&mut self, batch: Batch<S>) -> ReadId {
        let id = ReadId(self.next_id);
        self.next_id += 1;
        self.asked.insert(id, batch);
        id
    }

    /// These have their read index.
    pub(crate) fn confirmed(&mut self, ids: &[ReadId], read_index: LogIndex) {
        let batches = ids.iter().filter_map(|id| self.asked.remove(id));
        self.ready.extend(batches.map(|batch| (read_index, batch)));
    }

    /// These got none; they wait for a leader that will give them one.
    pub(crate) fn failed(&mut self, ids: &[ReadId]) {
        for batch in ids.iter().filter_map(|id| self.asked.remove(id)) {
            match self.parked.last_mut() {
                // Those that came at about the same time are asked again as one question.
                Some(last)
                    if (last.deadline..=last.deadline.after(PARK_TOGETHER)).contains(&batch.deadline) =>
                {
                    last.reads.extend(batch.reads);
                }
                _ => self.parked.push(batch),
            }
        }
    }

    /// Asks anew for those that waited for a leader.
    pub(crate) fn ask_again(&mut self) -> Vec<ReadId> {
        let parked = std::mem::take(&mut self.parked);
        parked.into_iter().map(|batch| self.ask_batch(batch)).collect()
    }

    /// Those that may be served, now that the state machine has applied up to `applied`.
    pub(crate) fn servable(&mut self, applied: LogIndex) -> Vec<Read<S>> {
        let served = self.ready.extract_if(.., |(read_index, _)| {
            *read_index <= applied || is_on(Mutant::ReadsBeforeItHasApplied)
        });
        served.flat_map(|(_, batch)| batch.reads).collect()
    }

    /// Gives up on what has waited too long.
    pub(crate) fn expire(&mut self, now: Time, leader: Option<NodeId>) {
        for batch in self.parked.extract_if(.., |batch| batch.deadline <= now) {
            batch.reads.into_iter().for_each(|read| read.settle(Err(ReadError::NotLeader { leader })));
        }
        let asked = self.asked.extract_if(.., |_, batch| batch.deadline <= now).map(|(_, batch)| batch);
        let ready = self.ready.extract_if(.., |(_, batch)| batch.deadline <= now).map(|(_, batch)| batch);
        for batch in asked.chain(ready) {
            batch.reads.into_iter().for_each(|read| read.settle(Err(ReadError::TimedOut)));
        }
    }
}
