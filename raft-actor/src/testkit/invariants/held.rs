//! A log as invariants look at it: which entry stands where, and nothing of what it says.

use crate::{
    core::Raft,
    types::{Entry, HardState, LogId, LogIndex, LogState, LogWrite, Term},
};

/// A log that somebody holds.
pub trait HeldLog {
    /// The last entry that was purged from the front; [`LogId::ZERO`] where nothing was.
    fn purged(&self) -> LogId;

    /// The last entry; as `purged` where there is none.
    fn last(&self) -> LogId;

    /// The entry at `index`, or the last that was purged; none where it is neither.
    fn id_at(&self, index: LogIndex) -> Option<LogId>;

    /// Whether a committed entry is held, or was. What is purged is committed, and so are all before it.
    fn covers(&self, committed: LogId) -> bool {
        committed.index < self.purged().index || self.id_at(committed.index) == Some(committed)
    }
}

/// A log, or what a state machine has seen: everything through `purged`, of which only the end is known, and
/// the entries that follow it. [`LogId::ZERO`] where it begins at index 1.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// What stands for all that was compacted away, or came in a snapshot.
    pub purged: LogId,
    /// What follows, without a gap.
    pub entries: &'a [Entry],
}

impl Held<'_> {
    /// The last entry.
    pub fn last(&self) -> LogId {
        self.entries.last().map_or(self.purged, |entry| entry.id)
    }

    /// The entry at `index`; none where it was purged or is not there yet.
    pub fn id_at(&self, index: LogIndex) -> Option<LogId> {
        if index == self.purged.index {
            return Some(self.purged);
        }
        let place = index.0.checked_sub(self.purged.index.0)?.checked_sub(1)?;
        self.entries.get(place as usize).map(|entry| entry.id)
    }

    /// Whether a committed entry is held, or was. What is purged is committed, and so are all before it.
    pub fn covers(&self, committed: LogId) -> bool {
        HeldLog::covers(self, committed)
    }
}

impl HeldLog for Held<'_> {
    fn purged(&self) -> LogId {
        self.purged
    }

    fn last(&self) -> LogId {
        Held::last(self)
    }

    fn id_at(&self, index: LogIndex) -> Option<LogId> {
        Held::id_at(self, index)
    }
}

impl std::fmt::Debug for dyn HeldLog + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "after {} through {}", self.purged(), self.last())
    }
}

/// What a disk holds of a node: its vote, and which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Term and vote.
    pub hard_state: HardState,
    purged: LogId,
    last: LogId,
    /// Where each term begins.
    terms: Vec<(LogIndex, Term)>,
}

impl Kept {
    /// What a storage has recovered.
    pub fn of(state: &LogState) -> Kept {
        let LogState { hard_state, purged, last, ref terms, .. } = *state;
        Kept { hard_state, purged, last, terms: terms.clone() }
    }

    /// The log of a core that has just started.
    pub fn by(raft: &Raft) -> Kept {
        let first = raft.first_index();
        let purged = raft.term_at(first.previous()).unwrap_or_default();
        let hard_state = HardState { term: raft.term(), voted_for: raft.voted_for(), fence: raft.fence() };
        let purged = LogId::new(purged, first.previous());
        let mut held = Kept { hard_state, purged, last: purged, terms: Vec::new() };
        for index in (first.0..=raft.last_log_id().index.0).map(LogIndex) {
            held.push(LogId::new(raft.term_at(index).unwrap_or_default(), index));
        }
        held
    }

    /// After this write. Returns the entry after which it has changed the log.
    pub fn write(&mut self, write: &LogWrite) -> LogId {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(from) = write.truncate_from {
            self.truncate(from);
        }
        let before = self.last;
        write.entries.iter().for_each(|entry| self.push(entry.id));
        before
    }

    fn truncate(&mut self, from: LogIndex) {
        if from > self.last.index {
            return;
        }
        let last = from.previous().max(self.purged.index);
        self.last = self.id_at(last).unwrap_or(self.purged);
        self.terms.retain(|(first, _)| *first <= last);
    }

    fn push(&mut self, id: LogId) {
        if self.terms.last().is_none_or(|(_, term)| *term != id.term) {
            self.terms.push((id.index, id.term));
        }
        self.last = id;
    }

    /// After a purge up to here.
    pub fn purge(&mut self, through: LogId) {
        if through.index <= self.purged.index {
            return;
        }
        self.purged = through;
        if through.index >= self.last.index {
            self.last = through;
            self.terms.clear();
        }
        let runs = self.terms.partition_point(|(first, _)| *first <= through.index.next());
        self.terms.drain(..runs.saturating_sub(1));
    }
}

impl HeldLog for Kept {
    fn purged(&self) -> LogId {
        self.purged
    }

    fn last(&self) -> LogId {
        self.last
    }

    fn id_at(&self, index: LogIndex) -> Option<LogId> {
        if index == self.purged.index {
            return Some(self.purged);
        }
        if index < self.purged.index || index > self.last.index {
            return None;
        }
        let runs = self.terms.partition_point(|(first, _)| *first <= index);
        runs.checked_sub(1).map(|run| LogId::new(self.terms[run].1, index))
    }
}
