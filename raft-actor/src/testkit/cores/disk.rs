//! What a node of a cluster of cores keeps: its disk, and a state machine whose state can be read. The state
//! is every command so far, in order, with a comma after each, so a snapshot's bytes say what it covers.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    membership::Membership,
    testkit::invariants::Held,
    types::{Entry, HardState, LogId, LogIndex, LogState, LogWrite, NodeId, Payload, SnapshotMeta},
};

/// What a node's disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Term and vote.
    pub hard_state: HardState,
    /// The last entry that was purged.
    pub purged: LogId,
    /// The log after it.
    pub entries: Vec<Entry>,
    /// Whole snapshots with their bytes, by id.
    pub snapshots: BTreeMap<u64, (SnapshotMeta, Bytes)>,
    /// What there is of a leader's snapshot.
    pub receiving: Option<(SnapshotMeta, Vec<u8>)>,
}

impl Disk {
    /// The log as it stands.
    pub fn log(&self) -> Held<'_> {
        Held { purged: self.purged, entries: &self.entries }
    }

    /// The newest whole snapshot.
    pub fn newest(&self) -> Option<&(SnapshotMeta, Bytes)> {
        self.snapshots.values().max_by_key(|(snapshot, _)| snapshot.last.index)
    }

    /// The log as a restart finds it: a snapshot that the log does not lead to replaces it (Raft Figure 13,
    /// 7).
    pub fn recovered(&self) -> Held<'_> {
        match self.newest() {
            Some((newest, _)) if !self.log().covers(newest.last) => {
                Held { purged: newest.last, entries: &[] }
            }
            _ => self.log(),
        }
    }

    /// Makes it so.
    pub(super) fn recover(&mut self) -> LogState {
        let Held { purged, entries } = self.recovered();
        (self.purged, self.entries) = (purged, entries.to_vec());
        let mut state = LogState { hard_state: self.hard_state, purged, last: purged, ..LogState::default() };
        for entry in &self.entries {
            state.note(entry);
        }
        state.tail = self.entries.clone().into();
        state
    }

    /// How many entries come before `index`.
    fn place(&self, index: LogIndex) -> usize {
        index.previous().0.saturating_sub(self.purged.index.0) as usize
    }

    /// The entries from `first` to at most `last`; none where the first was purged.
    pub(super) fn read(&self, first: LogIndex, last: LogIndex) -> Option<Vec<Entry>> {
        let end = self.place(last.next()).min(self.entries.len());
        let is_held = first > self.purged.index;
        is_held.then(|| self.entries.get(self.place(first)..end)).flatten().map(<[Entry]>::to_vec)
    }

    pub(super) fn write(&mut self, write: &LogWrite) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(from) = write.truncate_from {
            self.entries.truncate(self.place(from));
        }
        self.entries.extend(write.entries.iter().cloned());
    }

    pub(super) fn purge(&mut self, through: LogId) {
        self.entries.drain(..self.place(through.index.next()).min(self.entries.len()));
        self.purged = through;
    }

    /// Takes what is new of a part, if it leaves no gap. Up to where the snapshot is there.
    pub(super) fn receive(&mut self, snapshot: &SnapshotMeta, offset: u64, data: &[u8]) -> u64 {
        let there = self.receiving.take().filter(|(receiving, _)| receiving.id == snapshot.id);
        let (_, mut bytes) = there.unwrap_or_else(|| (snapshot.clone(), Vec::new()));
        if let Some(new) = bytes.len().checked_sub(offset as usize).and_then(|known| data.get(known..)) {
            bytes.extend_from_slice(new);
        }
        let next_offset = bytes.len() as u64;
        self.receiving = Some((snapshot.clone(), bytes));
        next_offset
    }

    /// What was received is whole.
    pub(super) fn finish(&mut self, snapshot: &SnapshotMeta) {
        if let Some((snapshot, bytes)) = self.receiving.take_if(|(receiving, _)| receiving.id == snapshot.id)
        {
            self.snapshots.insert(snapshot.id, (snapshot, bytes.into()));
        }
    }

    /// Removes every snapshot but the newest and those that are named.
    pub(super) fn retain(&mut self, ids: &[u64]) {
        let newest = self.newest().map(|(newest, _)| newest.id);
        self.snapshots.retain(|id, _| Some(*id) == newest || ids.contains(id));
    }
}

/// What a disk is still to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogWork {
    /// A write.
    Write(LogWrite),
    /// The log is to be forgotten up to here.
    Purge(LogId),
}

/// What is still to be done about snapshots, in order, beside the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotWork {
    /// The machine's state is to be written out.
    Take(SnapshotMeta, Bytes),
    /// A part of a leader's snapshot is to be kept.
    Store(SnapshotMeta, u64, Bytes),
    /// All of it is there.
    Finish(SnapshotMeta),
}

/// What the state machine is still to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineWork {
    /// Entries are to be applied.
    Apply(Vec<Entry>),
    /// A view of the state is wanted.
    Take,
    /// The state is to be replaced.
    Restore(SnapshotMeta),
}

/// A state machine, as of this run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// What its state covered at first, or when it was last replaced.
    pub restored: LogId,
    /// What it has seen since.
    pub applied: Vec<Entry>,
    /// Every command so far.
    pub state: Vec<u8>,
    membership: (LogId, Membership),
}

impl Machine {
    /// What it has seen.
    pub fn log(&self) -> Held<'_> {
        Held { purged: self.restored, entries: &self.applied }
    }

    pub(super) fn apply(&mut self, entries: Vec<Entry>) {
        for entry in &entries {
            match &entry.payload {
                Payload::Command(command) => {
                    self.state.extend_from_slice(command);
                    self.state.push(b',');
                }
                Payload::Membership(membership) => self.membership = (entry.id, (**membership).clone()),
                Payload::Noop => {}
            }
        }
        self.applied.extend(entries);
    }

    /// All that was is gone (Raft Figure 13, 8).
    pub(super) fn restore(&mut self, (snapshot, bytes): &(SnapshotMeta, Bytes)) {
        *self = Machine {
            restored: snapshot.last,
            applied: Vec::new(),
            state: bytes.to_vec(),
            membership: (snapshot.membership_log_id, (*snapshot.membership).clone()),
        };
    }

    /// A snapshot of what is applied, and the members as of there: not those of the log, which may never be
    /// committed.
    pub(super) fn snapshot(&self, node: NodeId, base: &Membership) -> (SnapshotMeta, Bytes) {
        let last = self.log().last();
        let (membership_log_id, membership) = self.membership.clone();
        let is_base = membership_log_id == LogId::ZERO;
        let membership = Box::new(if is_base { base.clone() } else { membership });
        let witness = membership.is_witness(node);
        let state = if witness { Bytes::new() } else { self.state.clone().into() };
        let size_bytes = state.len() as u64;
        // Two nodes' snapshots of the same place differ, as their bytes may.
        let id = last.index.0 * 100 + node.0;
        (SnapshotMeta { id, last, membership, membership_log_id, size_bytes, witness }, state)
    }
}
