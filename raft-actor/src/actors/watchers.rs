//! Those who watch a node: observers, who are shown every step of its core, and subscribers to its events.
//! Where nobody does, a step costs what it costs without them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    core::{Effect, Effects, Input, Raft},
    events::{Change, Event, Subscriber},
    membership::Membership,
    message::Message,
    observer::{Observer, Step},
    status::Status,
    types::{LogId, LogIndex, LogWrite, NodeId, Payload, Role, Term, Time},
};

/// A commit index that moves is told as often as this.
const COMMITTED_EVERY: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Default)]
pub(crate) struct Watchers {
    observers: Vec<Arc<dyn Observer>>,
    subscribers: Vec<Subscriber>,
    /// The last event's number and time.
    last: (u64, Time),
    seen: Seen,
    /// The disk hangs, and whoever listens was told.
    disk_hangs: bool,
}

/// What the subscribers know.
#[derive(Default)]
struct Seen {
    vote: (Term, Option<NodeId>),
    membership: LogId,
    last_index: LogIndex,
    commit_index: LogIndex,
    /// The commit index that was told last, and when.
    committed: (LogIndex, Time),
    /// Since when the node leads.
    led_since: Option<Time>,
    silent: BTreeSet<NodeId>,
    receiving: Option<u64>,
    sending: BTreeMap<NodeId, u64>,
}

impl Watchers {
    pub(crate) fn new(observers: Vec<Arc<dyn Observer>>) -> Watchers {
        Watchers { observers, ..Watchers::default() }
    }

    /// The node starts.
    pub(crate) fn started(&self, now: Time, raft: &Raft) {
        self.observers.iter().for_each(|observer| observer.started(now, raft));
    }

    /// Somebody wants to be told of all that happens from now on, after this status.
    pub(crate) fn subscribe(
        &mut self,
        subscriber: Subscriber,
        status: Status,
        now: Time,
        raft: &Raft,
        unreachable: &BTreeSet<NodeId>,
    ) {
        if self.subscribers.is_empty() {
            self.seen = Seen::of(raft, now);
        }
        self.last.1 = self.last.1.max(now);
        let (status, unreachable) = (Box::new(status), unreachable.clone());
        let (sequence, time) = self.last;
        let present =
            Event { sequence, time, node: raft.id(), change: Change::Present { status, unreachable } };
        if subscriber.tell(&present) {
            self.subscribers.push(subscriber);
        }
    }

    /// Has the core take the inputs in, and shows what it did.
    pub(crate) fn step(
        &mut self,
        raft: &mut Raft,
        now: Time,
        inputs: &mut Vec<Input>,
        effects: &mut Effects,
    ) {
        if self.observers.is_empty() && self.subscribers.is_empty() {
            return raft.step_all(now, inputs.drain(..), effects);
        }
        raft.step_all(now, inputs.iter().cloned(), effects);
        for observer in &self.observers {
            observer.stepped(Step { now, inputs, effects, raft });
        }
        if !self.subscribers.is_empty() {
            inputs.iter().for_each(|input| self.took_in(input, now, raft));
            effects.iter().for_each(|effect| self.did(effect, now, raft));
            self.compare(now, raft, effects);
            (self.seen.last_index, self.seen.commit_index) = (raft.last_log_id().index, raft.commit_index());
        }
        inputs.clear();
    }

    /// A link was opened, or broke.
    pub(crate) fn link(&mut self, peer: NodeId, is_open: bool, now: Time, raft: &Raft) {
        let change = if is_open { Change::LinkOpened { peer } } else { Change::LinkBroken { peer } };
        self.tell(now, raft, change);
    }

    /// Tells what time brings: how far the log is committed, who is silent, and whether the disk is.
    pub(crate) fn pass_time(&mut self, now: Time, raft: &Raft, patience: Duration) {
        self.look_at_disk(now, raft);
        if self.subscribers.is_empty() {
            return;
        }
        let (told, at) = self.seen.committed;
        let commit_index = raft.commit_index();
        if commit_index > told && now >= at.after(COMMITTED_EVERY) {
            self.seen.committed = (commit_index, now);
            self.tell(now, raft, Change::Committed { commit_index });
        }
        // A new leader has heard nobody yet.
        if self.seen.led_since.is_some_and(|since| now.since(since) >= patience) {
            let silent: BTreeSet<NodeId> = raft.silent_peers(now).into_iter().collect();
            let before = std::mem::replace(&mut self.seen.silent, silent.clone());
            for peer in silent.difference(&before) {
                self.tell(now, raft, Change::PeerSilent { peer: *peer });
            }
            // One that has left is not heard again.
            for peer in before.difference(&silent).filter(|peer| raft.peers().contains_key(peer)) {
                self.tell(now, raft, Change::PeerHeard { peer: *peer });
            }
        }
    }

    fn look_at_disk(&mut self, now: Time, raft: &Raft) {
        let (node, silence) = (raft.id(), raft.disk_hangs_for(now));
        match silence {
            Some(silent_for) if !self.disk_hangs => {
                tracing::warn!(%node, ?silent_for, "the disk hangs: it has not answered for so long");
                self.tell(now, raft, Change::DiskHangs { silent_for });
            }
            None if self.disk_hangs => {
                tracing::warn!(%node, "the disk answers again");
                self.tell(now, raft, Change::DiskAnswers);
            }
            _ => {}
        }
        self.disk_hangs = silence.is_some();
    }

    /// When [`Watchers::pass_time`] has something to tell, if nothing happens before.
    pub(crate) fn deadline(&self, raft: &Raft) -> Option<Time> {
        let (told, at) = self.seen.committed;
        let is_due = !self.subscribers.is_empty() && raft.commit_index() > told;
        is_due.then(|| at.after(COMMITTED_EVERY))
    }

    fn took_in(&mut self, input: &Input, now: Time, raft: &Raft) {
        let change = match input {
            Input::SnapshotTaken { snapshot } => Change::SnapshotTaken { snapshot: snapshot.clone() },
            Input::SnapshotReceived { id } => Change::SnapshotReceived { id: *id },
            Input::SnapshotRestored { id } => Change::SnapshotRestored { id: *id },
            Input::Receive { from, message: Message::InstallSnapshotReply(reply) } => {
                let id = reply.snapshot_id;
                if !reply.installed || self.seen.sending.get(from) != Some(&id) {
                    return;
                }
                self.seen.sending.remove(from);
                Change::SnapshotSent { peer: *from, id }
            }
            _ => return,
        };
        self.tell(now, raft, change);
    }

    /// What a step has done to the vote and the members.
    fn compare(&mut self, now: Time, raft: &Raft, effects: &Effects) {
        let writes = || {
            effects.iter().filter_map(|effect| match effect {
                Effect::Write(write) => Some(write),
                _ => None,
            })
        };
        for write in writes() {
            self.wrote(write, now, raft);
        }
        let vote = (raft.term(), raft.voted_for());
        if let (true, (term, Some(candidate))) = (vote != self.seen.vote, vote) {
            let own = candidate == raft.id();
            let given = Change::VoteGiven { term, candidate };
            self.tell(now, raft, if own { Change::ElectionBegun { term } } else { given });
        }
        self.seen.vote = vote;
        if raft.membership_log_id() == self.seen.membership {
            return;
        }
        // Several may have come at once, and the last be gone again.
        for entry in writes().flat_map(|write| write.entries.iter()) {
            if let Payload::Membership(membership) = &entry.payload {
                self.membership(entry.id, (**membership).clone(), now, raft);
            }
        }
        if raft.membership_log_id() != self.seen.membership {
            self.membership(raft.membership_log_id(), raft.membership().clone(), now, raft);
        }
    }

    fn wrote(&mut self, write: &LogWrite, now: Time, raft: &Raft) {
        let through = self.seen.last_index;
        // Where a snapshot takes the whole log's place, what is committed goes too, and is not lost.
        let from = write.truncate_from.filter(|from| *from > self.seen.commit_index && *from <= through);
        if let Some(from) = from {
            self.tell(now, raft, Change::Truncated { from, through });
        }
    }

    fn membership(&mut self, log_id: LogId, membership: Membership, now: Time, raft: &Raft) {
        self.seen.membership = log_id;
        let is_joint = membership.is_joint();
        self.tell(now, raft, Change::MembershipChanged { log_id, membership, is_joint });
    }

    fn did(&mut self, effect: &Effect, now: Time, raft: &Raft) {
        let change = match effect {
            Effect::RoleChanged { role, term, leader } => {
                // Who was sent a snapshot, and who was silent, was so in another leadership.
                self.seen.led_since = (*role == Role::Leader).then_some(now);
                self.seen.sending.clear();
                self.seen.silent.clear();
                Change::RoleChanged { role: *role, term: *term, leader: *leader }
            }
            Effect::StoreSnapshotChunk { snapshot, .. } if self.seen.receiving != Some(snapshot.id) => {
                self.seen.receiving = Some(snapshot.id);
                Change::SnapshotReceiving { snapshot: snapshot.clone() }
            }
            Effect::SendSnapshot { to, snapshot, .. } if self.seen.sending.get(to) != Some(&snapshot.id) => {
                self.seen.sending.insert(*to, snapshot.id);
                Change::SnapshotSending { peer: *to, snapshot: snapshot.clone() }
            }
            Effect::FenceLifted { fence } => Change::FenceLifted { fence: *fence },
            _ => return,
        };
        self.tell(now, raft, change);
    }

    fn tell(&mut self, now: Time, raft: &Raft, change: Change) {
        if self.subscribers.is_empty() {
            return;
        }
        let (sequence, time) = self.last;
        self.last = (sequence + 1, time.max(now));
        let event = Event { sequence: self.last.0, time: self.last.1, node: raft.id(), change };
        self.subscribers.retain(|subscriber| subscriber.tell(&event));
    }
}

impl Seen {
    fn of(raft: &Raft, now: Time) -> Seen {
        Seen {
            vote: (raft.term(), raft.voted_for()),
            membership: raft.membership_log_id(),
            last_index: raft.last_log_id().index,
            commit_index: raft.commit_index(),
            committed: (raft.commit_index(), now),
            led_since: (raft.role() == Role::Leader).then_some(now),
            ..Seen::default()
        }
    }
}
