//! The consensus actor: owns the core. It drains its mailbox whole, steps what it found as one batch, and
//! carries out the effects in order. It never waits, and decides nothing that Raft has a rule for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    applier,
    changes::{ChangeOutcome, Changes},
    election_timer,
    links::{Acquaintances, Links},
    log_store,
    reads::{Read, Reads},
    snapshotter::Snapshotting,
    waiter::Waiter,
    watchers::Watchers,
    writes::{Arrivals, Writes},
};
use crate::{
    config::Config,
    core::{Effect, Effects, Input, LogReader, Raft},
    error::{SnapshotError, WriteError},
    events::Subscriber,
    lifecycle::{Ending, Phase},
    membership::{MembershipChange, TransferError},
    message::{Envelope, Introduction, Message, Refusal},
    runtime::{
        actor::{Actor, Context},
        mailbox::Addr,
        permits::Permits,
    },
    state_machine::StateMachine,
    status::Status,
    types::{Entries, LogIndex, NodeId, Origin, Role, SnapshotMeta, Term, Time},
};

mod carried;
mod members;

/// The consensus actor's mail.
pub(crate) enum Mail<S: StateMachine> {
    /// A client of this node writes.
    Write { command: Bytes, waiter: Waiter<S> },
    /// A client of this node reads what is committed.
    Read(Read<S>),
    /// A peer's mail.
    Deliver(Vec<Envelope>),
    /// The core's deadline has come.
    DeadlineReached,
    /// From the log store: on the disk, up to this write.
    Flushed { sequence: u64 },
    /// From the log store: entries that were asked for.
    LogRead { reader: LogReader, entries: Entries },
    /// From the applier.
    Applied { index: LogIndex },
    /// From a replicator: its link broke, or could not be opened.
    Unreachable { peer: NodeId },
    /// From a replicator: the peer's process is not there.
    Gone { peer: NodeId },
    /// From a replicator: its link is open.
    Reachable { peer: NodeId },
    /// From a replicator: carried writes that never left.
    ForwardNotSent { id: u64 },
    /// Somebody wants to know.
    Status(oneshot::Sender<Status>),
    /// Somebody wants to be told of all that happens.
    Subscribe(Subscriber),
    /// Somebody wants another leader. Answered when this node has stopped leading, or why it has not.
    Transfer { to: Option<NodeId>, reply: oneshot::Sender<Result<(), TransferError>> },
    /// From another actor, for the core as it is. In a box, since it is rare and larger than all other mail.
    Report(Box<Input>),
    /// Somebody wants a snapshot.
    TakeSnapshot { reply: oneshot::Sender<Result<SnapshotMeta, SnapshotError>> },
    /// Somebody wants other members.
    ChangeMembership { change: MembershipChange, reply: oneshot::Sender<ChangeOutcome> },
    /// Somebody wants this node to campaign.
    Campaign,
    /// Hand over, answer everybody, end.
    Shutdown,
    /// Another actor cannot go on: end at once.
    Failed { reason: String },
}

impl<S: StateMachine> From<Input> for Mail<S> {
    fn from(input: Input) -> Mail<S> {
        Mail::Report(Box::new(input))
    }
}

/// Whom the consensus actor sends mail to.
pub(crate) struct Cast<S: StateMachine> {
    pub(crate) election_timer: Addr<election_timer::Mail>,
    pub(crate) log_store: Addr<log_store::Mail>,
    pub(crate) applier: Addr<applier::Mail<S>>,
    pub(crate) links: Links,
    pub(crate) snapshots: Snapshotting,
}

/// See the module.
pub(crate) struct Consensus<S: StateMachine> {
    raft: Raft,
    config: Config,
    cast: Cast<S>,
    ending: Arc<Ending>,
    acquaintances: Arc<Acquaintances>,
    watchers: Watchers,
    is_witness: bool,
    misfit: Option<String>,
    writes: Writes<S>,
    /// What may be under way here, for this node's clients and for those of others.
    write_permits: Permits,
    reads: Reads<S>,
    changes: Changes,
    /// Where nodes are reached, this one included, whatever the log says: until the members change.
    given_addresses: BTreeMap<NodeId, String>,
    /// As what each peer was heard last.
    identified: BTreeMap<NodeId, Origin>,
    /// Whom this node does not believe, and whether it is believed itself.
    disbelieved: BTreeMap<NodeId, Refusal>,
    refusal: Option<Refusal>,
    unreachable: BTreeSet<NodeId>,
    transfers: Vec<oneshot::Sender<Result<(), TransferError>>>,
    /// The term that this node leads, as its waiting writers know it.
    leading: Option<Term>,
    phase: Phase,
    /// When the election timer will fire.
    armed: Option<Time>,
    /// What has waited too long is looked for when the timer has fired, not in every turn.
    expiry_due: bool,
    /// What this turn has to do: kept between turns for their memory only.
    inputs: Vec<Input>,
    arrived: Arrivals<S>,
    asking: Vec<Read<S>>,
    effects: Effects,
}

impl<S: StateMachine> Consensus<S> {
    /// `run` is a number of chance, to tell this run of the node from its others.
    pub(crate) fn new(
        raft: Raft,
        config: Config,
        cast: Cast<S>,
        ending: Arc<Ending>,
        acquaintances: Arc<Acquaintances>,
        write_permits: Permits,
        run: u32,
    ) -> Consensus<S> {
        Consensus {
            raft,
            config,
            cast,
            ending,
            acquaintances,
            watchers: Watchers::default(),
            is_witness: false,
            misfit: None,
            writes: Writes::new(run),
            write_permits,
            reads: Reads::new(run),
            changes: Changes::new(run),
            given_addresses: BTreeMap::new(),
            identified: BTreeMap::new(),
            disbelieved: BTreeMap::new(),
            refusal: None,
            unreachable: BTreeSet::new(),
            transfers: Vec::new(),
            leading: None,
            phase: Phase::Running,
            armed: None,
            expiry_due: false,
            inputs: Vec::new(),
            arrived: Arrivals::default(),
            asking: Vec::new(),
            effects: Effects::new(),
        }
    }

    /// The same, watched.
    pub(crate) fn with_watchers(mut self, watchers: Watchers) -> Consensus<S> {
        self.watchers = watchers;
        self
    }

    fn sort(&mut self, mail: Mail<S>, now: Time, context: &mut Context<Mail<S>>) {
        match mail {
            Mail::Write { command, waiter } => {
                let deadline = now.after(self.config.request_timeout);
                self.arrived.push(command, waiter, deadline);
            }
            Mail::Read(read) => self.asking.push(read),
            Mail::Deliver(batch) => batch.into_iter().for_each(|envelope| self.receive(envelope, now)),
            Mail::DeadlineReached => {
                self.armed = None;
                self.expiry_due = true;
                self.retry();
                self.raft.silent_peers(now).into_iter().for_each(|peer| self.introduce_to(peer));
            }
            Mail::Flushed { sequence } => self.inputs.push(Input::Flushed { sequence }),
            Mail::LogRead { reader, entries } => self.inputs.push(Input::LogRead { reader, entries }),
            Mail::Applied { index } => self.inputs.push(Input::Applied { index }),
            Mail::Unreachable { peer } => {
                if self.unreachable.insert(peer) {
                    self.watchers.link(peer, false, now, &self.raft);
                }
                self.writes.link_lost(peer);
                self.inputs.push(Input::Unreachable { peer });
            }
            Mail::Gone { peer } => self.inputs.push(Input::Gone { peer }),
            Mail::Reachable { peer } => {
                self.unreachable.remove(&peer);
                self.watchers.link(peer, true, now, &self.raft);
                self.arrived.extend(self.writes.unpark());
            }
            Mail::ForwardNotSent { id } => self.park(id),
            // Nobody waits any more where the answer cannot be sent.
            Mail::Status(reply) => drop(reply.send(self.status(now))),
            Mail::Subscribe(subscriber) => {
                let status = self.status(now);
                self.watchers.subscribe(subscriber, status, now, &self.raft, &self.unreachable);
            }
            Mail::Transfer { to, reply } => {
                self.transfers.push(reply);
                self.inputs.push(Input::Transfer { to });
            }
            Mail::Report(input) => {
                self.cast.snapshots.settle(&input);
                self.inputs.push(*input);
            }
            Mail::TakeSnapshot { reply } => {
                self.cast.snapshots.wait(reply);
                self.inputs.push(Input::TakeSnapshot);
            }
            Mail::ChangeMembership { change, reply } => self.take_change(change, reply, now),
            Mail::Campaign => self.inputs.push(Input::Campaign),
            Mail::Shutdown => {
                if matches!(self.phase, Phase::Running) {
                    self.phase = Phase::Draining { until: now.after(self.config.election_timeout_max) };
                }
            }
            Mail::Failed { reason } => {
                self.ending.fail(reason);
                context.stop();
            }
        }
    }

    fn receive(&mut self, envelope: Envelope, now: Time) {
        let from = envelope.from;
        if !self.identify(from, envelope.origin, &envelope.message) {
            return;
        }
        match envelope.message {
            Message::Refusal(refusal) => self.refused(from, refusal),
            Message::ForwardWrites(forward) => self.take_carried(from, forward, now),
            Message::ForwardWritesReply(reply) => self.forward_answered(reply),
            Message::Introduction(Introduction { address }) => {
                self.cast.links.introduced(from, address, self.unreachable.contains(&from));
            }
            Message::ForwardChange(forward) => self.take_carried_change(from, forward, now),
            Message::ForwardChangeReply(reply) => self.change_settled(reply.id, reply.result),
            message => self.inputs.push(Input::Receive { from, message }),
        }
    }

    /// Steps the core until this turn has nothing left for it.
    fn turn(&mut self, now: Time) {
        if now >= self.raft.deadline() {
            self.inputs.push(Input::Tick);
        }
        loop {
            self.route();
            if !self.asking.is_empty() {
                let reads = std::mem::take(&mut self.asking);
                let deadline = now.after(self.config.request_timeout);
                self.inputs.extend(self.reads.ask(reads, deadline));
            }
            if self.inputs.is_empty() {
                break;
            }
            let mut effects = std::mem::take(&mut self.effects);
            self.watchers.step(&mut self.raft, now, &mut self.inputs, &mut effects);
            for effect in effects.drain(..) {
                self.carry_out(effect);
            }
            self.effects = effects;
        }
        let served = self.reads.servable(self.raft.applied_index());
        if !served.is_empty() {
            self.cast.applier.send(applier::Mail::Read(served));
        }
        if std::mem::take(&mut self.expiry_due) {
            self.writes.expire(now, self.raft.leader());
            self.reads.expire(now, self.raft.leader());
            self.expire_changes(now);
        }
    }

    /// Sends what has arrived on its way: into the core of a leader, to the leader, or aside until there is
    /// one.
    fn route(&mut self) {
        if self.arrived.is_empty() {
            return;
        }
        if !matches!(self.phase, Phase::Running) {
            for write in std::mem::take(&mut self.arrived).into_pending() {
                match write.waiter {
                    // Its own node goes on, and keeps it for the next leader.
                    Waiter::Remote { .. } => self.writes.park(write, None),
                    Waiter::Local { .. } => write.waiter.settle(Err(WriteError::Stopped)),
                }
            }
            return;
        }
        if self.raft.role() == Role::Leader {
            let commands = self.writes.propose(&mut self.arrived);
            return self.inputs.push(Input::Propose { commands });
        }
        let writes = std::mem::take(&mut self.arrived);
        self.carry(writes);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Write(write) => self.cast.log_store.send(log_store::Mail::Write(write)),
            Effect::Send { to, message } => {
                if matches!(message, Message::RequestVote(_)) {
                    // A voter that is behind may not know the candidate.
                    self.introduce_to(to);
                }
                self.cast.links.send(to, message);
            }
            Effect::ReadLog { reader, first, last, bytes_max } => {
                self.cast.log_store.send(log_store::Mail::Read { reader, first, last, bytes_max });
            }
            Effect::Apply(entries) => self.apply(entries),
            Effect::Proposed { first, .. } => self.writes.proposed(first),
            // A step has one proposal at the most.
            Effect::ProposalRefused { leader, .. } => {
                for write in self.writes.refused(self.raft.take_refused()) {
                    self.writes.park(write, leader);
                }
            }
            Effect::ReadReady { ids, read_index } => self.reads.confirmed(&ids, read_index),
            Effect::ReadFailed { ids, .. } => self.reads.failed(&ids),
            Effect::RoleChanged { role, term, leader } => self.role_changed(role, term, leader),
            Effect::MembershipChanged { id, log_id } => self.change_settled(id, Ok(log_id)),
            Effect::MembershipRefused { id, reason } => self.change_settled(id, Err(reason)),
            Effect::PeersChanged { peers } => self.follow_peers(peers),
            Effect::Disbelieved { peer, reason } => self.disbelieve(peer, reason),
            Effect::FenceLifted { fence } => {
                tracing::info!(node = %self.raft.id(), %fence, "the log is repaired: this node votes again");
            }
            Effect::TransferEnded { outcome } => {
                for reply in self.transfers.drain(..) {
                    let _ = reply.send(outcome.clone());
                }
                self.arrived.extend(self.writes.unpark());
                self.phase.handed_over();
            }
            Effect::Purge { through } => self.cast.log_store.send(log_store::Mail::Purge(through)),
            Effect::TakeSnapshot => self.cast.applier.send(applier::Mail::TakeSnapshot),
            Effect::RestoreSnapshot { snapshot } => {
                self.cast.applier.send(applier::Mail::Restore(snapshot));
            }
            effect => self.cast.snapshots.carry_out(effect, &mut self.cast.links),
        }
    }

    fn apply(&mut self, entries: Entries) {
        let Some(last) = entries.last() else { return };
        let waiters = self.writes.committed(last.id.index);
        self.cast.applier.send(applier::Mail::Apply { entries, waiters });
    }

    fn role_changed(&mut self, role: Role, term: Term, leader: Option<NodeId>) {
        tracing::info!(node = %self.raft.id(), %term, %role, leader = leader.map(|node| node.0), "role");
        let leading = (role == Role::Leader).then_some(term);
        if self.leading != leading {
            self.writes.leadership_lost();
            self.leading = leading;
        }
        self.tell_acquaintances();
        if leader.is_some() {
            self.writes.new_leader(term);
        }
        self.retry();
    }

    /// Takes up again what was put aside for want of a leader.
    fn retry(&mut self) {
        if self.raft.leader().is_some() {
            self.arrived.extend(self.writes.unpark());
            self.inputs.extend(self.reads.ask_again().into_iter().map(|id| Input::Read { id }));
        }
    }

    /// Goes on with an orderly end: first what is under way, then leadership, then everything.
    fn shut_down(&mut self, now: Time, context: &mut Context<Mail<S>>) {
        if let Phase::Draining { until } = self.phase {
            self.writes.stop();
            // The applier answers too, and the answers for other nodes need the replicators.
            let is_applied = self.raft.applied_index() >= self.raft.commit_index();
            if (!self.writes.any_under_way() && is_applied) || now >= until {
                self.phase = Phase::HandingOver { until: now.after(self.config.election_timeout_max) };
                self.inputs.push(Input::Transfer { to: None });
                self.turn(now);
            }
        }
        let alone = self.raft.role() != Role::Leader || self.raft.membership().voters().len() < 2;
        if let Phase::HandingOver { until } = self.phase
            && (alone || now >= until)
        {
            self.phase = Phase::Over;
        }
        if matches!(self.phase, Phase::Over) {
            context.stop();
        }
    }

    /// Has the timer fire when the core, or something that waits here, is next due.
    fn arm(&mut self, now: Time) {
        let mut next = self.raft.deadline();
        next = self.watchers.deadline(&self.raft).map_or(next, |due| due.min(next));
        let housekeeping = self.writes.any_with_deadline()
            || !self.reads.is_empty()
            || !self.changes.is_empty()
            || !matches!(self.phase, Phase::Running);
        if housekeeping {
            next = next.min(now.after(self.config.heartbeat_interval));
        }
        if self.armed.is_none_or(|armed| next < armed) {
            self.armed = Some(next);
            self.cast.election_timer.send(election_timer::Mail::Arm(next));
        }
    }

    fn farewell(&mut self, now: Time) {
        self.ending.last_status(self.status(now));
        self.cast.election_timer.send(election_timer::Mail::Stop);
        self.cast.log_store.send(log_store::Mail::Stop);
        self.cast.applier.send(applier::Mail::Stop);
        self.cast.snapshots.stop();
    }
}

impl<S: StateMachine> Actor for Consensus<S> {
    type Message = Mail<S>;

    fn started(&mut self, context: &mut Context<Mail<S>>) {
        self.watchers.started(context.now(), &self.raft);
        self.arm(context.now());
    }

    async fn handle(&mut self, batch: &mut Vec<Mail<S>>, context: &mut Context<Mail<S>>) {
        let now = context.now();
        self.arrived.expect(batch.len());
        for mail in batch.drain(..) {
            self.sort(mail, now, context);
        }
        if !context.is_stopping() {
            self.turn(now);
            self.shut_down(now, context);
            self.end_if_misfit(context);
            self.watchers.pass_time(now, &self.raft, self.config.election_timeout_min);
        }
        if context.is_stopping() {
            self.farewell(now);
        } else {
            self.arm(now);
        }
    }
}
