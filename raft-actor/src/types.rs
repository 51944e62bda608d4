//! The words everything else is written in: identities, positions in the log, and what a log holds.
//!
//! Each number has a type of its own, so a term cannot be passed where an index belongs. The words know
//! nothing of actors, storage or time-outs.

use std::{fmt, io, ops::Deref, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::membership::Membership;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A node of the cluster. Chosen by the operator, never reused for another folder; 0 is refused.
    NodeId(u64)
}
number! {
    /// A cluster. Nodes of different clusters refuse each other's messages.
    ClusterId(u64)
}
number! {
    /// A Raft group within a process. One group is all there is today; frames carry it from the start.
    GroupId(u32)
}
number! {
    /// A term: the logical clock of Raft §5.1. At most one leader exists in a term.
    Term(u64)
}
number! {
    /// A position in the log, counted from 1 (Raft §5.3). 0 stands before the first entry.
    LogIndex(u64)
}
number! {
    /// Nanoseconds since a runtime's own start. The core is told the time; it never asks.
    Time(u64)
}

impl Term {
    /// The term after this one, or `None` where numbers end (a peer that claims `u64::MAX` is refused).
    pub fn next(self) -> Option<Term> {
        self.0.checked_add(1).map(Term)
    }
}

impl LogIndex {
    /// The index after this one.
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }

    /// The index before this one; 0 stays 0.
    pub fn previous(self) -> LogIndex {
        LogIndex(self.0.saturating_sub(1))
    }
}

impl Time {
    /// This time, later by a duration. Saturates instead of wrapping.
    pub fn after(self, duration: std::time::Duration) -> Time {
        let whole = duration.as_secs().saturating_mul(1_000_000_000);
        Time(self.0.saturating_add(whole).saturating_add(u64::from(duration.subsec_nanos())))
    }

    /// How long it is from `earlier` to this time; zero if `earlier` is later.
    pub fn since(self, earlier: Time) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// An entry's identity: two logs that hold the same `LogId` are the same up to there (Log Matching, Raft
/// §5.3).
///
/// Ordered by term first, as the up-to-date check of Raft §5.4.1 compares logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The term of the leader that created the entry.
    pub term: Term,
    /// The entry's position.
    pub index: LogIndex,
}

impl LogId {
    /// Before the first entry.
    pub const ZERO: LogId = LogId { term: Term(0), index: LogIndex(0) };

    /// The identity of the entry of `term` at `index`.
    pub fn new(term: Term, index: LogIndex) -> LogId {
        LogId { term, index }
    }
}

impl fmt::Display for LogId {
    /// `index@term`, the notation of traces and logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// One entry of the log. Cloning is cheap: a command's bytes are shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where and by whose term.
    pub id: LogId,
    /// What it says.
    pub payload: Payload,
}

impl Entry {
    /// An entry of `payload` at `id`.
    pub fn new(id: LogId, payload: Payload) -> Entry {
        Entry { id, payload }
    }

    /// The bytes that this entry counts for in windows, caches and limits: its command, and 32 for the rest.
    pub fn size_bytes(&self) -> u64 {
        32 + match &self.payload {
            Payload::Command(command) => command.len() as u64,
            Payload::Noop | Payload::Membership(_) => 0,
        }
    }
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// A new leader's first entry: it commits what earlier terms left (Raft §5.4.2, §8).
    Noop,
    /// A command of the application, encoded once at the door.
    Command(Bytes),
    /// The members from this entry on, in force as soon as it is in the log (Raft §6). Boxed: every command
    /// would be as large as a membership otherwise.
    Membership(Box<Membership>),
}

/// A run of entries with consecutive indexes, shared: cloning or slicing copies no entry.
#[derive(Clone, Default)]
pub struct Entries {
    shared: Arc<Vec<Entry>>,
    start: usize,
    end: usize,
}

impl Entries {
    /// No entries.
    pub fn empty() -> Entries {
        Entries::default()
    }

    /// The part from `start` to `end`, counted within this run. Panics when out of bounds, as a slice does.
    pub fn slice(&self, start: usize, end: usize) -> Entries {
        assert!(start <= end && end <= self.len(), "slice {start}..{end} of {} entries", self.len());
        Entries { shared: self.shared.clone(), start: self.start + start, end: self.start + end }
    }

    /// The sum of the entries' [`Entry::size_bytes`].
    pub fn size_bytes(&self) -> u64 {
        self.iter().map(Entry::size_bytes).sum()
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(entries: Vec<Entry>) -> Entries {
        let end = entries.len();
        Entries { shared: Arc::new(entries), start: 0, end }
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.shared[self.start..self.end]
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Entries) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Entries {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        Vec::<Entry>::deserialize(deserializer).map(Entries::from)
    }
}

/// What a node must never forget: its term and the vote it gave in it (Raft Figure 2, persistent state), and
/// whether there is something else that it may have forgotten.
///
/// They are one record, written and flushed together: a vote without its term is worth nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// The candidate that got this node's vote in `term`.
    pub voted_for: Option<NodeId>,
    /// Set where the log may have lost what it acknowledged, in terms up to this one: the node neither votes
    /// nor stands for election until its log holds an entry of a later term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Term>,
}

impl HardState {
    /// What a node goes on with whose log has lost entries: fenced, and one term further on, so that no
    /// leader that remembers those entries is heard any more. None where terms come to their end.
    pub fn fenced(self) -> Option<HardState> {
        let term = self.term.next().filter(|term| term.0 < u64::MAX)?;
        Some(HardState { term, voted_for: None, fence: Some(self.term) })
    }
}

/// What a node is in its term (Raft §5.1). A learner is a member without a vote, not a role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Answers leaders and candidates.
    #[default]
    Follower,
    /// Asks whether an election would succeed, in no new term yet (thesis §9.6).
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Replicates its log to the others.
    Leader,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Follower => "follower",
            Role::PreCandidate => "pre-candidate",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        })
    }
}

/// What a snapshot stands for: the state after a committed entry, and the members as of there (Raft §7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// A number of chance: two nodes may write different bytes for the same place.
    pub id: u64,
    /// The last entry that the snapshot covers (`lastIncludedIndex` and `lastIncludedTerm`).
    pub last: LogId,
    /// The members as of `last`. Boxed: what carries a snapshot's description also carries all other mail.
    pub membership: Box<Membership>,
    /// The entry that they come from.
    pub membership_log_id: LogId,
    /// The bytes of the state itself.
    pub size_bytes: u64,
    /// Made by a witness, or for one: it says where the log goes on and holds no state. A full member neither
    /// takes nor restores it.
    pub witness: bool,
}

/// A consistent view of a state machine, written out elsewhere while commands go on.
pub type SnapshotView = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// One durable step of the log: all of it is on the disk, or (after a crash) none of it and nothing after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogWrite {
    /// The core's number for this write: 1, 2, 3 ... Reported back once it is flushed.
    pub sequence: u64,
    /// The term and vote from now on.
    pub hard_state: Option<HardState>,
    /// Forget this entry and all after it, before `entries` are appended (Raft §5.3).
    pub truncate_from: Option<LogIndex>,
    /// What to append, consecutive, right after what is there.
    pub entries: Entries,
}

/// Which life of which cluster speaks: beside every message, so that a node which has lost its disk is not
/// taken for the one that it was, nor a cluster for another of the same id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// [`LogState::incarnation`] of the speaker's log; 0 where it is not known.
    pub incarnation: u64,
    /// What the speaker's cluster began with ([`Membership::genesis`]); 0 where the speaker does not belong
    /// to it yet.
    pub genesis: u64,
}

/// What a log storage holds when a node starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogState {
    /// A number of chance that was made when this storage was, and never changes: it tells the storage from
    /// one that takes its place under the same node id. 0 where the storage has none; then nobody can tell.
    pub incarnation: u64,
    /// The term and vote.
    pub hard_state: HardState,
    /// The last entry that was purged from the front; [`LogId::ZERO`] where nothing was.
    pub purged: LogId,
    /// The last entry; the same as `purged` where the log is empty.
    pub last: LogId,
    /// Where each term begins: the first index at which it is found, ascending, without gaps.
    pub terms: Vec<(LogIndex, Term)>,
    /// Every membership entry in the log, ascending.
    pub memberships: Vec<(LogId, Membership)>,
    /// The newest entries, consecutive up to `last`; as many as the storage cares to keep at hand, or none.
    pub tail: Entries,
}

impl LogState {
    /// The state of a log that holds exactly `entries`, which start at index 1.
    pub fn of(hard_state: HardState, entries: Vec<Entry>) -> LogState {
        let mut state = LogState { hard_state, ..LogState::default() };
        for entry in &entries {
            state.note(entry);
        }
        state.tail = entries.into();
        state
    }

    /// Takes note of the next entry's place, term and membership (and leaves `tail` alone).
    pub fn note(&mut self, entry: &Entry) {
        if self.terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
            self.terms.push((entry.id.index, entry.id.term));
        }
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.push((entry.id, (**membership).clone()));
        }
        self.last = entry.id;
    }

    /// Whether nothing was ever written: the folder of a node that has not lived yet.
    pub fn is_new(&self) -> bool {
        self.hard_state == HardState::default() && self.last == LogId::ZERO
    }
}
