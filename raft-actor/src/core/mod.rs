//! The core decides. [`Raft`] is a pure function of state: `step(now, input) -> effects`. It never waits,
//! never asks the time, and draws its own random numbers from a seed, so the same state and the same input
//! have the same effects.
//!
//! Whoever carries the effects out does so in order, one after the other, and reports back: that a write is
//! flushed, that entries are applied, that a message has come. Inputs may be handed over in batches
//! ([`Raft::step_all`]); a batch has at most one write, and normally one AppendEntries a peer and one apply.
//!
//! # Elections (Raft §5.2, §5.4.1; thesis §4.2.3, §9.6)
//!
//! A voter that hears no leader for a random time between `election_timeout_min` and `_max` (once it has
//! heard one: in its own turn within that range) first asks the others whether they would vote for it
//! (*pre-vote*), and raises its term only if a quorum would. A node that has heard a leader within
//! `election_timeout_min` does not answer candidates, unless the leader itself asked for the election. A
//! leader that hears no quorum for `election_timeout_max` steps down (*check-quorum*). A follower that is
//! told that its leader's process is gone does not wait for the timeout, unless leases rest on it. A vote is
//! given once a term, to a log at least as new as the voter's own, and is on the disk before it is told, to
//! oneself too. Until then nobody stands anew, and where votes take long to be written, waits are drawn from
//! a range as wide as that asks for (Raft §5.6).
//!
//! Where members have priorities, those below the highest let others stand first; one with priority 0 never
//! stands. A witness, which has no state machine, stands last of all, takes no proposals when it leads, and
//! hands over to the first full voter that has its last entry.
//!
//! # Replication (Raft §5.3; thesis §10.2)
//!
//! The leader sends a window of AppendEntries to each peer, while its own disk writes the same entries: its
//! own flush is one vote among the others. A follower answers with `match_index`, what this leader has
//! verified *and* is flushed. Where logs part, both sides skip whole terms to find the place. An entry is
//! truncated only where the leader has another in its place, and never at or below the commit index.
//!
//! # Commit and apply (Raft §5.4.2)
//!
//! An entry of the leader's own term is committed once a quorum has flushed it, and with it all before it.
//! A node applies what is committed and on its own disk, each index once, in order.
//!
//! # Reads (thesis §6.4) and handing over (thesis §3.10)
//!
//! A read waits for a round of heartbeats which proves that no later leader has taken over, and is then
//! answered with the commit index that was known when the round began. Any node takes reads; a follower
//! asks its leader. A leader that hands over stops taking proposals, brings its successor up to date, and
//! tells it to campaign. A leader whose own disk hangs, while a quorum's do not, hands over unasked; and a
//! node whose disk hangs does not stand for election.
//!
//! # Snapshots (Raft §7; thesis §5)
//!
//! Once enough has been applied the state machine is asked for a snapshot. When that is durable, the log is
//! purged up to `trailing_entries` before it. A peer that needs what was purged is sent the newest snapshot,
//! a window of parts at a time, from where it says that it has got to; heartbeats go on meanwhile. A follower
//! installs a snapshot only beyond its commit index; a log that holds the snapshot's last entry stays, any
//! other is discarded whole.
//!
//! # Changing the members (Raft §6)
//!
//! A new node learns before it votes. Any set of voters follows any other through a joint configuration,
//! which the leader leaves by itself as soon as it is committed, also a leader that did not begin it. What is
//! in the log is in force, committed or not. A leader that is removed leads until that is committed.
//!
//! # Whom to believe
//!
//! A node is its id and its log's incarnation. The leader records the incarnation of every member in the
//! membership; what a peer says that comes with another is dropped, and so is what comes from a cluster with
//! another genesis ([`Raft::disbelief`]).
//!
//! # Repair
//!
//! A node whose log has lost entries that it had acknowledged is *fenced*: it takes its leader's entries as
//! any follower does, but neither votes nor stands for election until its log holds an entry of a later term
//! than any in which it can have acknowledged what is lost.
//!
//! # What is refused
//!
//! A term more than [`TERM_JUMP_MAX`] above the node's own, or `u64::MAX`, comes from a broken node: its
//! message is dropped, or one bad message could push the cluster to the end of the numbers and stop
//! elections for ever. Entries that are not consecutive, or are newer than the leader that sends them, are
//! dropped too. Nothing that a peer says makes a node panic, except a leader that contradicts a committed
//! entry: to go on would lose data.
//!
//! # Caveats
//!
//! Without [`Raft::with_snapshots`] the log is never purged, and snapshots of others are not taken in.
//!
//! # Example
//!
//! A cluster of one elects itself and commits a command:
//!
//! ```
//! use raft_actor::{
//!     config::Config,
//!     core::{Effect, Input, Raft},
//!     membership::Membership,
//!     types::{LogIndex, LogState, NodeId, Role, Time},
//! };
//!
//! let members = Membership::new([(NodeId(1), "here".to_owned())])?;
//! let mut raft = Raft::new(NodeId(1), &Config::default(), 42, Time(0), LogState::default(), members);
//!
//! // Nobody else is there: when its election timeout has passed, it writes down the vote for itself ...
//! let now = raft.deadline();
//! let effects = raft.step(now, Input::Tick);
//! assert!(matches!(&effects[0], Effect::Write(write) if write.hard_state.is_some()));
//! // ... which counts once it is flushed. The first entry of its term is written next.
//! raft.step(now, Input::Flushed { sequence: 1 });
//! assert_eq!(raft.role(), Role::Leader);
//!
//! raft.step(now, Input::Propose { commands: vec!["x = 1".into()] });
//! assert_eq!(raft.commit_index(), LogIndex(0));
//! let effects = raft.step(now, Input::Flushed { sequence: 3 });
//! assert_eq!(raft.commit_index(), LogIndex(2));
//! assert!(effects.iter().any(|effect| matches!(effect, Effect::Apply(entries) if entries.len() == 2)));
//! # Ok::<(), raft_actor::membership::MembershipError>(())
//! ```

mod cache;
mod commit;
mod disk;
mod effect;
mod election;
mod fence;
mod finish;
mod follow;
mod identity;
mod log;
mod progress;
mod random;
mod read;
mod receive;
mod reconfigure;
mod replication;
mod snapshot;
mod standing;
mod transfer;
mod view;

use std::collections::BTreeMap;

pub use effect::{Effect, Effects, Input, LogReader};
pub use receive::TERM_JUMP_MAX;

use self::{
    commit::Applying,
    disk::Disk,
    election::{Tally, Turn},
    finish::Output,
    follow::Following,
    identity::Identities,
    log::Log,
    random::Random,
    reconfigure::Reconfiguration,
    replication::Leadership,
};
use crate::{
    config::Config,
    membership::Membership,
    mutants::{Mutant, is_on},
    types::{HardState, LogIndex, LogState, NodeId, Role, Term, Time},
};

/// One node's part in Raft. See the [module's documentation](self) for what it does and an example.
#[derive(Clone, Debug)]
pub struct Raft {
    id: NodeId,
    config: Config,
    random: Random,
    now: Time,
    hard_state: HardState,
    /// `hard_state` is newer than the last write.
    hard_state_changed: bool,
    /// The last write that holds a hard state.
    hard_state_sequence: u64,
    state: State,
    leader: Option<NodeId>,
    /// When the leader was last heard.
    leader_contact: Option<Time>,
    election_deadline: Time,
    turn: Turn,
    /// Election timeouts that are left to others; none while a leader is heard.
    elections_left: Option<usize>,
    log: Log,
    disk: Disk,
    commit_index: LogIndex,
    /// Up to here entries were given out to be applied.
    given_index: LogIndex,
    applied_index: LogIndex,
    /// Entries to apply are being read back from the log.
    apply_reading: bool,
    /// What the state machine was given and has not reported yet.
    applying: Applying,
    following: Following,
    snapshots: snapshot::Snapshots,
    reconfiguration: Reconfiguration,
    identities: Identities,
    /// The latest read index, and when it was asked for.
    fresh: Option<(Time, LogIndex)>,
    output: Output,
}

/// What a node is, and what it needs for that.
#[derive(Clone, Debug)]
enum State {
    Follower,
    /// Asks whether to stand in the next term, and still takes votes of the present one, if it stood there.
    PreCandidate {
        consents: Tally,
        votes: Tally,
    },
    Candidate(Tally),
    Leader(Box<Leadership>),
}

impl Raft {
    /// A node that starts, or starts again, at `now` with what its log storage has recovered.
    ///
    /// `base` is the membership where the log holds none. `seed` is for election timeouts; every node needs
    /// another, or their elections collide. The configuration must be valid ([`Config::validate`]).
    pub fn new(id: NodeId, config: &Config, seed: u64, now: Time, state: LogState, base: Membership) -> Raft {
        let purged = state.purged.index;
        let hard_state = state.hard_state;
        let identities = Identities::new(state.incarnation);
        let mut raft = Raft {
            id,
            config: config.clone(),
            random: Random::new(seed),
            now,
            hard_state,
            hard_state_changed: false,
            hard_state_sequence: 0,
            state: State::Follower,
            leader: None,
            leader_contact: None,
            election_deadline: now,
            turn: Turn::default(),
            elections_left: None,
            log: Log::new(state, base),
            disk: Disk::default(),
            // Raft Figure 2: what is committed is not remembered; the next leader tells.
            commit_index: purged,
            given_index: purged,
            applied_index: purged,
            apply_reading: false,
            applying: Applying::default(),
            following: Following::default(),
            snapshots: snapshot::Snapshots::default(),
            reconfiguration: Reconfiguration::default(),
            identities,
            fresh: None,
            output: Output::new((Role::Follower, hard_state.term, None)),
        };
        if config.lease_reads && hard_state.term > Term(1) {
            // thesis §6.4.1: a leader's lease may rest on what this node has heard before its restart. In
            // term 1 nobody ever leads.
            raft.leader_contact = Some(now);
        }
        raft.reset_election_deadline();
        raft.follow_first_membership();
        raft
    }

    /// Takes one input in, and says what is to be done.
    pub fn step(&mut self, now: Time, input: Input) -> Effects {
        let mut effects = Effects::new();
        self.step_all(now, [input], &mut effects);
        effects
    }

    /// Takes inputs in, in order, as one batch, and adds what is to be done to `effects`.
    ///
    /// `now` never goes back; an earlier time than the last is taken for the last.
    pub fn step_all(&mut self, now: Time, inputs: impl IntoIterator<Item = Input>, effects: &mut Effects) {
        self.now = self.now.max(now);
        self.output.refused.clear();
        for input in inputs {
            self.take_in(input);
            self.note_role_change();
        }
        // After the inputs: a node that was held up must not take its mail's age for a leader's silence.
        self.pass_time();
        self.note_role_change();
        self.finish(effects);
    }

    fn take_in(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::Receive { from, message } => self.receive(from, message),
            Input::Identified { peer, origin } => self.identified(peer, origin),
            Input::Propose { commands } => self.propose(commands),
            Input::Read { id } => self.read(id),
            Input::LeaseRead { id } => self.read_by_lease(id),
            Input::ReadWithin { id, bound } => self.read_within(id, bound),
            Input::Transfer { to } => self.start_transfer(to),
            Input::ChangeMembership { id, change } => self.change_membership(id, &change),
            // thesis §6.4.1: a lease counts on those who hear the leader not to stand against it.
            Input::Campaign if self.config.lease_reads && self.hears_leader() => {}
            Input::Campaign => self.start_pre_vote(),
            Input::Flushed { sequence } => self.flushed(sequence),
            Input::Applied { index } => {
                self.applied_index = self.applied_index.max(index.min(self.given_index));
                self.applying.applied(self.applied_index);
                self.consider_snapshot();
            }
            Input::LogRead { reader, entries } => self.take_log_read(reader, entries),
            Input::Unreachable { peer } => {
                if let Some(progress) = self.progress_of(peer) {
                    progress.unreachable();
                }
            }
            Input::Gone { peer } => self.peer_is_gone(peer),
            Input::TakeSnapshot => self.take_snapshot_now(),
            Input::SnapshotTaken { snapshot } => self.snapshot_taken(snapshot),
            Input::SnapshotNotTaken => self.snapshots.not_taken(self.applied_index),
            Input::SnapshotGone { id } => self.snapshot_gone(id),
            Input::SnapshotChunkStored { id, next_offset } => self.snapshot_chunk_stored(id, next_offset),
            Input::SnapshotReceived { id } => self.snapshot_received(id),
            Input::Purged { through } => self.log_purged(through),
            Input::SnapshotRestored { id } => self.snapshot_restored(id),
        }
    }

    fn pass_time(&mut self) {
        self.expire_reads();
        if matches!(self.state, State::Leader(_)) {
            self.pass_time_as_leader();
        } else if self.now >= self.election_deadline {
            self.election_timed_out();
        }
    }

    /// When [`Input::Tick`] is due next. A tick that comes early does nothing.
    pub fn deadline(&self) -> Time {
        let others = [self.reads_deadline(), self.departure_deadline()];
        let own = match &self.state {
            State::Leader(leadership) => leadership.deadline(),
            _ => self.election_deadline,
        };
        others.into_iter().flatten().fold(own, Time::min)
    }

    /// The disk has done a write, and all before it.
    fn flushed(&mut self, sequence: u64) {
        let had = self.following.match_index(&self.log);
        let had_hard_state = self.log.flushed_sequence() >= self.hard_state_sequence;
        if self.log.complete(sequence) {
            self.disk.got_on(self.now, self.log.is_idle());
        }
        if self.following.match_index(&self.log) > had {
            // An ack says what is flushed, so it follows the disk.
            self.following.ack_due = true;
        }
        if !had_hard_state && self.hard_state_is_flushed() {
            self.disk.has_hard_state(self.now);
            self.vote_is_flushed();
        }
    }

    /// Whether term and vote are on the disk. Until they are, nothing may be said that relies on them.
    fn hard_state_is_flushed(&self) -> bool {
        let is_flushed = self.log.flushed_sequence() >= self.hard_state_sequence;
        (!self.hard_state_changed && is_flushed) || is_on(Mutant::SpeaksBeforeItsVoteIsFlushed)
    }

    fn set_hard_state(&mut self, term: Term, voted_for: Option<NodeId>) {
        debug_assert!(term >= self.hard_state.term, "a term never goes back");
        if term > self.hard_state.term {
            // What a leader has verified counts in its own term only.
            self.following.forget_leader();
        }
        let hard_state = HardState { term, voted_for, ..self.hard_state };
        self.hard_state_changed |= hard_state != self.hard_state;
        self.hard_state = hard_state;
    }

    fn leadership(&mut self) -> Option<&mut Leadership> {
        match &mut self.state {
            State::Leader(leadership) => Some(leadership),
            _ => None,
        }
    }

    fn progress_of(&mut self, peer: NodeId) -> Option<&mut progress::Progress> {
        self.leadership().and_then(|leadership| leadership.peers.get_mut(&peer))
    }

    /// The present role and what goes with it, as [`Effect::RoleChanged`] tells it.
    fn standing(&self) -> (Role, Term, Option<NodeId>) {
        (self.role(), self.term(), self.leader)
    }
}

/// Peers in ascending order, so that the same state sends in the same order.
type Peers = BTreeMap<NodeId, progress::Progress>;
