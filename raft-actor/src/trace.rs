//! Traces: a line of JSON for each step of a node's core, complete enough to check the run against a
//! specification, and short enough to be read by people.
//!
//! [`Trace`] is an [`Observer`] that writes the lines to wherever its caller wants them. [`merge`] reads
//! several traces as one, by time; [`Columns`] prints them for people. A line is a [`Record`]; the book's
//! page on the trace format says what stands in it.
//!
//! # What it costs
//!
//! Where nobody traces, nothing. Where somebody does, each step makes a line of some hundred bytes, and as
//! much again for every two or three entries that it moves, and gives it to the sink: all on the thread of
//! the node's actors, which wait for it.
//!
//! # Example
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use raft_actor::trace::Trace;
//!
//! let lines = Arc::new(Mutex::new(Vec::new()));
//! let kept = lines.clone();
//! let trace = Trace::new(move |line| kept.lock().expect("nobody panics here").push(line.to_owned()));
//! // Node::builder(...).observer(trace) ...
//! # drop(trace);
//! ```

mod columns;
mod merge;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::{
    columns::Columns,
    merge::{Merge, merge},
};
use crate::{
    core::{Effect, Input, Raft},
    membership::Membership,
    message::Message,
    observer::{Observer, Step},
    types::{Entries, Entry, LogId, LogIndex, NodeId, Payload, Role, Term, Time},
};

/// The version of the format, told by the first line of each run.
pub const FORMAT: u32 = 1;

/// One line of a trace: a step of a core, or the beginning of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When: nanoseconds of the node's runtime; where traces with a clock were merged, since 1970.
    pub at: Time,
    /// Which node.
    pub node: NodeId,
    /// A run begins here, with the state that was recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// What the core took in, in order; commands and parts of snapshots are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// What it wanted done, in order; commands and parts of snapshots are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
    /// What it is after that.
    pub state: State,
}

/// The beginning of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// [`FORMAT`].
    pub format: u32,
    /// The wall clock at [`Record::at`], in nanoseconds since 1970; none where the trace has no clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix: Option<u64>,
}

/// A core after a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What it is in its term.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Who got its vote in this term.
    pub voted_for: Option<NodeId>,
    /// The first entry still in the log.
    pub first_index: LogIndex,
    /// The last entry of the log.
    pub last_log_id: LogId,
    /// Up to here the log is on the disk.
    pub flushed_index: LogIndex,
    /// Up to here it is known to be committed.
    pub commit_index: LogIndex,
    /// Up to here the state machine has seen it.
    pub applied_index: LogIndex,
    /// When its next timeout is due. A step at that time or later is where it has run out.
    pub deadline: Time,
    /// The members in force, and the entry that they come from; only where they are not those of the step
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<(LogId, Membership)>,
}

/// Writes down what a core does. See the [module](self).
pub struct Trace {
    clock: Option<Box<dyn Fn() -> Duration + Send + Sync>>,
    state: Mutex<Writing>,
}

struct Writing {
    sink: Box<dyn FnMut(&str) + Send>,
    members: Option<(LogId, Membership)>,
    line: Vec<u8>,
}

impl Trace {
    /// A trace whose lines, without the end of the line, go to `sink`: on the thread of the node's actors,
    /// one after the other.
    pub fn new(sink: impl FnMut(&str) + Send + 'static) -> Trace {
        let state = Writing { sink: Box::new(sink), members: None, line: Vec::new() };
        Trace { clock: None, state: Mutex::new(state) }
    }

    /// The same, and `clock` tells the time since 1970 when a run begins: traces of nodes whose runtimes
    /// count time from different moments can be merged by it.
    pub fn with_clock(mut self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Trace {
        self.clock = Some(Box::new(clock));
        self
    }

    fn write(&self, at: Time, raft: &Raft, start: Option<Start>, inputs: Vec<Input>, effects: Vec<Effect>) {
        // A sink that panicked has lost its line, and the next may do better.
        let mut writing = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Writing { sink, members, line } = &mut *writing;
        let is_other = start.is_some()
            || members
                .as_ref()
                .is_none_or(|(id, members)| *id != raft.membership_log_id() || members != raft.membership());
        let membership = is_other.then(|| (raft.membership_log_id(), raft.membership().clone()));
        if let Some(now) = &membership {
            *members = Some(now.clone());
        }
        let state = State {
            role: raft.role(),
            term: raft.term(),
            leader: raft.leader(),
            voted_for: raft.voted_for(),
            first_index: raft.first_index(),
            last_log_id: raft.last_log_id(),
            flushed_index: raft.flushed_index(),
            commit_index: raft.commit_index(),
            applied_index: raft.applied_index(),
            deadline: raft.deadline(),
            membership,
        };
        let record = Record { at, node: raft.id(), start, inputs, effects, state };
        line.clear();
        // Numbers, names and text: nothing in a record can fail to be JSON, and JSON is text.
        if serde_json::to_writer(&mut *line, &record).is_ok()
            && let Ok(line) = std::str::from_utf8(line)
        {
            sink(line);
        }
    }
}

impl Observer for Trace {
    fn started(&self, now: Time, raft: &Raft) {
        let nanoseconds = |since: Duration| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let unix = self.clock.as_ref().map(|clock| nanoseconds(clock()));
        self.write(now, raft, Some(Start { format: FORMAT, unix }), Vec::new(), Vec::new());
    }

    fn stepped(&self, step: Step<'_>) {
        let inputs = step.inputs.iter().cloned().map(input_in_short).collect();
        let effects = step.effects.iter().cloned().map(effect_in_short).collect();
        self.write(step.now, step.raft, None, inputs, effects);
    }
}

fn input_in_short(input: Input) -> Input {
    match input {
        Input::Receive { from, message } => Input::Receive { from, message: message_in_short(message) },
        Input::Propose { commands } => Input::Propose { commands: vec![Bytes::new(); commands.len()] },
        Input::LogRead { reader, entries } => Input::LogRead { reader, entries: entries_in_short(&entries) },
        other => other,
    }
}

fn effect_in_short(effect: Effect) -> Effect {
    match effect {
        Effect::Send { to, message } => Effect::Send { to, message: message_in_short(message) },
        Effect::Write(mut write) => {
            write.entries = entries_in_short(&write.entries);
            Effect::Write(write)
        }
        Effect::Apply(entries) => Effect::Apply(entries_in_short(&entries)),
        Effect::StoreSnapshotChunk { snapshot, offset, .. } => {
            Effect::StoreSnapshotChunk { snapshot, offset, data: Bytes::new() }
        }
        other => other,
    }
}

fn message_in_short(message: Message) -> Message {
    match message {
        Message::AppendEntries(mut append) => {
            append.entries = entries_in_short(&append.entries);
            Message::AppendEntries(append)
        }
        Message::InstallSnapshot(mut install) => {
            install.data = Bytes::new();
            Message::InstallSnapshot(install)
        }
        other => other,
    }
}

fn entries_in_short(entries: &Entries) -> Entries {
    let in_short = |entry: &Entry| match &entry.payload {
        Payload::Command(_) => Entry::new(entry.id, Payload::Command(Bytes::new())),
        _ => entry.clone(),
    };
    entries.iter().map(in_short).collect::<Vec<_>>().into()
}
