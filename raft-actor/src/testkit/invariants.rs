//! What must be true of a cluster after every step of a core: the five properties of Raft Figure 3 under
//! the paper's names, and those that this crate adds. Whoever drives cores, or watches those of whole nodes,
//! shows them each write, each message and each node after it has stepped; a [`Violation`] says which
//! invariant was broken, and how.

mod held;

use std::collections::BTreeMap;

pub use self::held::{Held, HeldLog, Kept};

use crate::{
    core::Raft,
    message::{AppendOutcome, Message, ReadId},
    types::{Entry, HardState, LogId, LogIndex, NodeId, Payload, Role, SnapshotMeta, Term},
};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant} is broken: {what}")]
pub struct Violation {
    /// Its name, one of [`INVARIANTS`].
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// Raft Figure 3: at most one leader can be elected in a given term.
pub const ELECTION_SAFETY: &str = "Election Safety";
/// Raft Figure 3: a leader never overwrites or deletes entries in its log.
pub const LEADER_APPEND_ONLY: &str = "Leader Append-Only";
/// Raft Figure 3: logs with the same entry at an index are the same up to there.
pub const LOG_MATCHING: &str = "Log Matching";
/// Raft Figure 3: what is committed in a term is in the log of every later term's leader.
pub const LEADER_COMPLETENESS: &str = "Leader Completeness";
/// Raft Figure 3: no two servers apply different entries at the same index.
pub const STATE_MACHINE_SAFETY: &str = "State Machine Safety";
/// While a node runs, its commit index never falls, and never passes its log.
pub const COMMIT_NEVER_GOES_BACK: &str = "Commit never goes back";
/// While a node runs, its term never falls.
pub const TERM_NEVER_GOES_BACK: &str = "Term never goes back";
/// A state machine sees only what is committed and on its own node's disk, each index once, in order, and is
/// never taken back.
pub const APPLIED_WITHIN_COMMITTED: &str = "Applied within committed";
/// An acknowledgement names nothing that its sender has not flushed.
pub const ACKED_WITHIN_FLUSHED: &str = "Acked within flushed";
/// A message's term, and the vote that it gives, are on its sender's disk.
pub const FLUSHED_BEFORE_SAID: &str = "Flushed before said";
/// A node gives one vote a term, over all its restarts.
pub const ONE_VOTE_A_TERM: &str = "One vote a term";
/// While a node leads a term, what it knows of a peer's log only grows.
pub const MATCH_NEVER_FALLS: &str = "Match never falls";
/// A read sees everything that was committed when it began.
pub const READ_IS_NOT_STALE: &str = "A read is not stale";
/// What a node takes for committed is on the disks of a quorum, in which those count that have lost it and
/// are fenced.
pub const COMMITTED_IS_ON_A_QUORUM: &str = "Committed is on a quorum";
/// What a log no longer holds is in a durable snapshot beside it.
pub const PURGED_IS_IN_A_SNAPSHOT: &str = "Purged is in a snapshot";
/// What a disk has taken is there after a crash.
pub const FLUSHED_IS_KEPT: &str = "Flushed is kept";

// ANCHOR: invariants
/// All of them.
pub const INVARIANTS: [&str; 16] = [
    ELECTION_SAFETY,
    LEADER_APPEND_ONLY,
    LOG_MATCHING,
    LEADER_COMPLETENESS,
    STATE_MACHINE_SAFETY,
    COMMIT_NEVER_GOES_BACK,
    TERM_NEVER_GOES_BACK,
    APPLIED_WITHIN_COMMITTED,
    ACKED_WITHIN_FLUSHED,
    FLUSHED_BEFORE_SAID,
    ONE_VOTE_A_TERM,
    MATCH_NEVER_FALLS,
    READ_IS_NOT_STALE,
    COMMITTED_IS_ON_A_QUORUM,
    PURGED_IS_IN_A_SNAPSHOT,
    FLUSHED_IS_KEPT,
];
// ANCHOR_END: invariants

/// Holds, or breaks `invariant`.
pub(super) fn hold(
    holds: bool,
    invariant: &'static str,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

/// Whether a node that has lost this entry is kept by its fence from electing anybody who does not have it:
/// then it is as good as there.
pub fn lost_behind_fence(held: HardState, entry: LogId) -> bool {
    held.fence.is_some_and(|fence| entry.term <= fence)
}

/// A node as it is after a step.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The node.
    pub raft: &'a Raft,
    /// Its log once everything that was written is flushed.
    pub log: &'a dyn HeldLog,
    /// Its log as a restart would find it on the disk: one that a durable snapshot replaces is replaced.
    pub disk: &'a dyn HeldLog,
    /// What its state machine has seen in this run, after what it was restored to.
    pub applied: &'a dyn HeldLog,
    /// The log is the same up to here as at the last sight of the node, if there was one; 0 where nobody
    /// knows. What was checked before is not checked again.
    pub unchanged: LogIndex,
}

/// What was seen of a node before, in its present run.
#[derive(Clone, Debug, Default)]
struct Seen {
    term: Term,
    commit_index: LogIndex,
    applied: LogIndex,
    /// The term that it leads, its last entry, and what it knew of its peers.
    leading: Option<(Term, LogId, BTreeMap<NodeId, LogIndex>)>,
}

/// The record of a cluster that everything new is held against.
#[derive(Clone, Debug, Default)]
pub struct Invariants {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// Every entry that ever was: what comes before it, and what it says.
    known: BTreeMap<LogId, (LogId, Payload)>,
    /// In order: each committed entry, and the term in which that was first known.
    committed: Vec<(LogId, Term)>,
    /// Those of them that were first known when a later term had a leader already.
    late: Vec<(LogId, Term)>,
    seen: BTreeMap<NodeId, Seen>,
    /// How much was committed when each read began.
    reads: BTreeMap<(NodeId, ReadId), usize>,
    /// What each snapshot that was sent covers.
    snapshots: BTreeMap<u64, LogId>,
}

impl Invariants {
    /// In order: each committed entry, and the term in which that was first known.
    pub fn committed(&self) -> &[(LogId, Term)] {
        &self.committed
    }

    /// What an entry that was written anywhere says.
    pub fn known(&self, id: LogId) -> Option<&Payload> {
        self.known.get(&id).map(|(_, payload)| payload)
    }

    /// A node that has left the cluster comes back under its old id and knows nothing any more.
    pub fn forget(&mut self, id: NodeId) {
        self.votes.retain(|(voter, _), _| *voter != id);
        self.seen.remove(&id);
    }

    /// A node starts, or starts again, on a disk that holds this.
    pub fn start(&mut self, id: NodeId, held: HardState, log: Held<'_>) -> Result<(), Violation> {
        self.seen.insert(id, Seen { term: held.term, ..Seen::default() });
        if let Some(candidate) = held.voted_for {
            self.vote(id, held.term, candidate)?;
        }
        self.write(log.purged, log.entries)
    }

    /// Entries are written right after `before`.
    pub fn write(&mut self, mut before: LogId, entries: &[Entry]) -> Result<(), Violation> {
        for entry in entries {
            let now = (before, entry.payload.clone());
            let known = self.known.entry(entry.id).or_insert_with(|| now.clone());
            hold(*known == now, LOG_MATCHING, || {
                format!("{} is two entries: {known:?} and {now:?}", entry.id)
            })?;
            before = entry.id;
        }
        Ok(())
    }

    fn vote(&mut self, voter: NodeId, term: Term, candidate: NodeId) -> Result<(), Violation> {
        let first = *self.votes.entry((voter, term)).or_insert(candidate);
        hold(first == candidate, ONE_VOTE_A_TERM, || {
            format!("n{voter} votes for n{first} and for n{candidate} in term {term}")
        })
    }

    /// A node whose disk holds `held`, and a log through `flushed`, says something.
    pub fn say(
        &mut self,
        from: NodeId,
        to: NodeId,
        held: HardState,
        flushed: LogIndex,
        message: &Message,
    ) -> Result<(), Violation> {
        let Some(term) = message.term() else { return Ok(()) };
        let asked_beyond = match message {
            Message::RequestVote(request) => request.pre_vote,
            Message::RequestVoteReply(reply) => reply.pre_vote && reply.vote_granted,
            _ => false,
        };
        hold(asked_beyond || term <= held.term, FLUSHED_BEFORE_SAID, || {
            format!("n{from} speaks of term {term}, and its disk holds {}", held.term)
        })?;
        match message {
            Message::RequestVoteReply(reply) if reply.vote_granted && !reply.pre_vote => {
                let is_flushed = held.term > term || held.voted_for == Some(to);
                hold(is_flushed, FLUSHED_BEFORE_SAID, || {
                    format!("n{from} votes for n{to} in term {term}, and its disk holds {held:?}")
                })?;
                self.vote(from, term, to)
            }
            Message::RequestVote(request) if !request.pre_vote => self.vote(from, term, from),
            Message::AppendEntriesReply(reply) => match reply.outcome {
                AppendOutcome::Matched { match_index } => {
                    hold(match_index <= flushed, ACKED_WITHIN_FLUSHED, || {
                        format!("n{from} acks {match_index}, and has flushed {flushed}")
                    })
                }
                _ => Ok(()),
            },
            Message::InstallSnapshot(request) => {
                let SnapshotMeta { id, last, .. } = request.snapshot;
                self.snapshots.insert(id, last);
                hold(self.is_committed(last), STATE_MACHINE_SAFETY, || {
                    format!("n{from} sends a snapshot of {last}, which was not committed")
                })
            }
            Message::InstallSnapshotReply(reply) if reply.installed => {
                let covered = self.snapshots.get(&reply.snapshot_id).copied().unwrap_or_default();
                hold(covered.index <= flushed, ACKED_WITHIN_FLUSHED, || {
                    format!("n{from} says that it has {covered}, and has flushed {flushed}")
                })
            }
            _ => Ok(()),
        }
    }

    /// A node's log begins after `purged`, and its newest durable snapshot covers what `snapshot` says.
    pub fn purged(&self, node: NodeId, purged: LogId, snapshot: LogId) -> Result<(), Violation> {
        hold(purged.index <= snapshot.index, PURGED_IS_IN_A_SNAPSHOT, || {
            format!("n{node} has purged {purged}, and its newest snapshot is of {snapshot}")
        })
    }

    /// A read begins that may miss the newest: it must see what was committed by its bound.
    pub fn begin_stale_read(&mut self, node: NodeId, read: ReadId, committed: usize) {
        self.reads.insert((node, read), committed);
    }

    fn is_committed(&self, entry: LogId) -> bool {
        let place = entry.index.0.checked_sub(1).map(|place| place as usize);
        place.and_then(|place| self.committed.get(place)).is_some_and(|(committed, _)| *committed == entry)
    }

    /// A client's read begins at a node.
    pub fn begin_read(&mut self, node: NodeId, read: ReadId) {
        self.reads.insert((node, read), self.committed.len());
    }

    /// The read may be served once `read_index` is applied.
    pub fn end_read(&mut self, node: NodeId, read: ReadId, read_index: LogIndex) -> Result<(), Violation> {
        let at_least = self.reads.get(&(node, read)).copied().unwrap_or(usize::MAX);
        hold(read_index.0 as usize >= at_least, READ_IS_NOT_STALE, || {
            format!("n{node} serves read {} at {read_index}, and {at_least} were committed", read.0)
        })
    }

    /// A node has stepped. `on_disk` tells whether a node's disk holds an entry.
    pub fn check(
        &mut self,
        sight: Sight<'_>,
        on_disk: impl Fn(NodeId, LogId) -> bool,
    ) -> Result<(), Violation> {
        self.check_terms(sight)?;
        self.check_leader(sight)?;
        self.check_commit(sight, on_disk)?;
        self.check_applied(sight)
    }

    fn check_terms(&mut self, sight: Sight<'_>) -> Result<(), Violation> {
        let raft = sight.raft;
        let id = raft.id();
        let last = sight.log.last();
        hold(raft.last_log_id() == last, LOG_MATCHING, || {
            format!("n{id} ends at {}, and has written through {last}", raft.last_log_id())
        })?;
        let flushed = sight.disk.last().index;
        hold(raft.flushed_index() <= flushed, ACKED_WITHIN_FLUSHED, || {
            format!("n{id} counts {} as flushed of {flushed}", raft.flushed_index())
        })?;
        let seen = self.seen.entry(id).or_default();
        hold(raft.term() >= seen.term, TERM_NEVER_GOES_BACK, || {
            format!("n{id} goes from term {} to {}", seen.term, raft.term())
        })?;
        seen.term = raft.term();
        Ok(())
    }

    fn check_leader(&mut self, sight: Sight<'_>) -> Result<(), Violation> {
        let raft = sight.raft;
        let (id, term) = (raft.id(), raft.term());
        let seen = self.seen.entry(id).or_default();
        let before = seen.leading.take();
        if raft.role() != Role::Leader {
            return Ok(());
        }
        let leader = *self.leaders.entry(term).or_insert(id);
        hold(leader == id, ELECTION_SAFETY, || format!("term {term} has two leaders: n{leader} and n{id}"))?;
        // One that has left and comes back may have lost its disk, and begins anew.
        let members = raft.match_indexes().filter(|(peer, _)| raft.membership().contains(*peer));
        let matches: BTreeMap<NodeId, LogIndex> = members.collect();
        let before = before.filter(|(led, ..)| *led == term);
        // A leader's log only grows, so once is enough for all but those of which nobody knew then.
        let to_be_there = if before.is_some() { &self.late } else { &self.committed };
        for (entry, since) in to_be_there.iter().filter(|(_, since)| *since < term) {
            hold(sight.log.covers(*entry), LEADER_COMPLETENESS, || {
                format!("n{id} leads term {term} without {entry}, committed in term {since}")
            })?;
        }
        if let Some((_, last, known)) = before {
            let kept = sight.log.covers(last);
            hold(kept, LEADER_APPEND_ONLY, || format!("n{id} leads term {term} and has lost {last}"))?;
            for (peer, index) in known {
                let now = matches.get(&peer).copied().unwrap_or(index);
                hold(now >= index, MATCH_NEVER_FALLS, || {
                    format!("n{id} knew n{peer} to match at {index}, and now at {now}")
                })?;
            }
        }
        seen.leading = Some((term, raft.last_log_id(), matches));
        Ok(())
    }

    fn check_commit(
        &mut self,
        sight: Sight<'_>,
        on_disk: impl Fn(NodeId, LogId) -> bool,
    ) -> Result<(), Violation> {
        let raft = sight.raft;
        let id = raft.id();
        let seen = self.seen.entry(id).or_default();
        let commit_index = raft.commit_index();
        hold(commit_index >= seen.commit_index, COMMIT_NEVER_GOES_BACK, || {
            format!("n{id} goes from {} to {commit_index}", seen.commit_index)
        })?;
        let checked = sight.unchanged.min(seen.commit_index);
        seen.commit_index = commit_index;
        // What a snapshot covers was committed before it was taken.
        let purged = sight.log.purged();
        hold(purged == LogId::ZERO || self.is_committed(purged), STATE_MACHINE_SAFETY, || {
            format!("n{id} has no log through {purged}, which was not committed")
        })?;
        let first = checked.max(purged.index).next();
        for index in (first.0..=commit_index.0).map(LogIndex) {
            let Some(entry) = sight.log.id_at(index) else {
                return hold(false, COMMIT_NEVER_GOES_BACK, || {
                    format!("n{id} commits {index}, past the end of its log")
                });
            };
            match self.committed.get(index.0 as usize - 1) {
                Some((committed, _)) => hold(*committed == entry, STATE_MACHINE_SAFETY, || {
                    format!("n{id} commits {entry}, where {committed} was committed")
                })?,
                None => {
                    hold(
                        raft.membership().has_quorum(|node| on_disk(node, entry)),
                        COMMITTED_IS_ON_A_QUORUM,
                        || format!("n{id} commits {entry}, which is on no quorum's disks"),
                    )?;
                    self.committed.push((entry, raft.term()));
                    if self.leaders.keys().next_back().is_some_and(|newest| *newest > raft.term()) {
                        self.late.push((entry, raft.term()));
                    }
                }
            }
        }
        Ok(())
    }

    fn check_applied(&mut self, sight: Sight<'_>) -> Result<(), Violation> {
        let id = sight.raft.id();
        let (restored, applied) = (sight.applied.purged(), sight.applied.last().index);
        let committed = LogIndex(self.committed.len() as u64);
        let bound = committed.min(sight.disk.last().index).min(sight.raft.commit_index());
        hold(applied <= bound, APPLIED_WITHIN_COMMITTED, || {
            format!("n{id} has applied {applied}, and only {bound} are committed and on its disk")
        })?;
        let seen = &mut self.seen.entry(id).or_default().applied;
        let before = std::mem::replace(seen, applied);
        hold(applied >= before, APPLIED_WITHIN_COMMITTED, || {
            format!("n{id} had applied {before}, and is taken back to {applied}")
        })?;
        let first = before.max(restored.index.previous()).next();
        for index in (first.0..=applied.0).map(LogIndex) {
            let committed = self.committed[index.0 as usize - 1].0;
            hold(sight.applied.id_at(index) == Some(committed), STATE_MACHINE_SAFETY, || {
                let applied = sight.applied.id_at(index);
                format!("n{id} applies {applied:?}, where {committed} was committed")
            })?;
        }
        Ok(())
    }
}
