//! Composes a node from its parts, and starts its cast.

use std::{collections::BTreeMap, sync::Arc};

use super::{Node, Shared, recover::recover};
use crate::{
    actors::{
        applier::{self, Applier},
        consensus::{Cast, Consensus, Mail},
        election_timer::{self, ElectionTimer},
        links::{Acquaintances, Links, StartReplicator},
        log_store::{self, LogStore},
        replicator::{Replicator, Route},
        snapshotter::{self, Snapshotter, Snapshotting},
        watchers::Watchers,
    },
    config::Config,
    core::Raft,
    error::StartError,
    lifecycle::{Ending, Presence},
    membership::{Membership, MembershipError},
    observer::Observer,
    runtime::{
        Place, Runtime, SharedRuntime,
        actor::{Actor, Exit, start},
        mailbox::Addr,
        permits::Permits,
    },
    state_machine::StateMachine,
    storage::{LogStorage, SnapshotStorage},
    transport::Transport,
    types::{
        Entry, GroupId, HardState, LogId, LogIndex, LogState, LogWrite, NodeId, Payload, SnapshotMeta, Term,
    },
};

/// Messages that wait for one peer. A peer that is so far behind gets no more until it takes some.
const REPLICATOR_MAIL_MAX: usize = 8192;

/// Room in the consensus actor's mailbox for what is not a client's: peers' mail and completions.
const PEER_MAIL_MAX: usize = 8192;

/// A node in the making. Storage, transport and (without the feature `actix`) a runtime must be given.
pub struct NodeBuilder<S: StateMachine> {
    id: NodeId,
    group: GroupId,
    state_machine: S,
    members: Vec<(NodeId, String)>,
    priorities: Vec<(NodeId, u8)>,
    witnesses: Vec<NodeId>,
    is_witness: bool,
    joins: bool,
    config: Config,
    storage: Option<Box<dyn LogStorage>>,
    snapshots: Option<Arc<dyn SnapshotStorage>>,
    transport: Option<Arc<dyn Transport>>,
    runtime: Option<SharedRuntime>,
    observers: Vec<Arc<dyn Observer>>,
}

impl<S: StateMachine> NodeBuilder<S> {
    pub(super) fn new(id: NodeId, state_machine: S) -> NodeBuilder<S> {
        NodeBuilder {
            id,
            group: GroupId(0),
            state_machine,
            members: Vec::new(),
            priorities: Vec::new(),
            witnesses: Vec::new(),
            is_witness: false,
            joins: false,
            config: Config::default(),
            storage: None,
            snapshots: None,
            transport: None,
            runtime: None,
            observers: Vec::new(),
        }
    }

    /// The cluster's initial members with their addresses, the same on every node. They count where the
    /// storage is new; a node that restarts has its members in its log, and takes only the addresses from
    /// here, and those only until the members are changed for the first time.
    pub fn members<A: Into<String>>(
        mut self,
        members: impl IntoIterator<Item = (NodeId, A)>,
    ) -> NodeBuilder<S> {
        self.members = members.into_iter().map(|(node, address)| (node, address.into())).collect();
        self
    }

    /// Those of the initial members that are witnesses, the same on every node. Such a node is built by
    /// [`Node::witness`].
    pub fn witnesses(mut self, witnesses: impl IntoIterator<Item = NodeId>) -> NodeBuilder<S> {
        self.witnesses = witnesses.into_iter().collect();
        self
    }

    /// Priorities of initial members for election, the same on every node; 1 for those that are not named.
    /// See [`MembershipStep::SetPriority`](crate::membership::MembershipStep::SetPriority).
    pub fn priorities(mut self, priorities: impl IntoIterator<Item = (NodeId, u8)>) -> NodeBuilder<S> {
        self.priorities = priorities.into_iter().collect();
        self
    }

    pub(super) fn into_witness(mut self) -> NodeBuilder<S> {
        self.is_witness = true;
        self
    }

    /// The node is new in a cluster that exists: where its storage is new it waits, never campaigns, and
    /// needs no members, until the cluster adds it ([`Node::add_learner`]). Where its storage is not new this
    /// changes nothing, so it may stay switched on.
    ///
    /// A node that has lost its storage is not believed under its id while that is still a member's: it has
    /// forgotten its vote and what it acknowledged. Remove it, then add it anew. This needs a storage that
    /// tells its [incarnation](crate::types::LogState::incarnation).
    ///
    /// It does not campaign before the leader has recorded it, so a node that began with
    /// [`NodeBuilder::members`] is started with those again.
    pub fn join(mut self) -> NodeBuilder<S> {
        self.joins = true;
        self
    }

    /// Where log, term and vote are kept.
    pub fn storage(mut self, storage: impl LogStorage) -> NodeBuilder<S> {
        self.storage = Some(Box::new(storage));
        self
    }

    /// Where snapshots are kept. Without it the node takes none, its log grows for ever, and it cannot be
    /// brought up to date by another node's snapshot: give one to every node of a cluster, or to none.
    pub fn snapshots(mut self, snapshots: impl SnapshotStorage) -> NodeBuilder<S> {
        self.snapshots = Some(Arc::new(snapshots));
        self
    }

    /// How messages get to the other nodes.
    pub fn transport(mut self, transport: impl Transport) -> NodeBuilder<S> {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// What the actors run on.
    pub fn runtime(mut self, runtime: impl Runtime) -> NodeBuilder<S> {
        self.runtime = Some(Arc::new(runtime));
        self
    }

    /// Time-outs and limits.
    pub fn config(mut self, config: Config) -> NodeBuilder<S> {
        self.config = config;
        self
    }

    /// The group that the node belongs to, where a process has several. Default 0.
    pub fn group(mut self, group: GroupId) -> NodeBuilder<S> {
        self.group = group;
        self
    }

    /// One more who watches the core's steps. Default: nobody.
    pub fn observer(mut self, observer: impl Observer) -> NodeBuilder<S> {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Reads the storage and starts the actors. A storage that is new becomes a member of the initial
    /// cluster; one that is not goes on where it was. Nothing is changed where an error is returned.
    pub async fn start(mut self) -> Result<Node<S>, StartError> {
        self.config.validate()?;
        let mut storage = self.storage.take().ok_or(StartError::Missing { part: "storage" })?;
        let transport = self.transport.take().ok_or(StartError::Missing { part: "transport" })?;
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => default_runtime()?,
        };
        let snapshots = self.snapshots.clone();
        let (mut state, restored) =
            recover(&mut *storage, snapshots.as_deref(), &mut self.state_machine, self.is_witness).await?;
        if state.is_new() && !self.joins {
            // Made before the wait: a future that borrows the builder while it waits could not change
            // threads.
            let first = self.bootstrap(&mut state)?;
            storage.write(&[first]).await?;
        }
        if self.id == NodeId(0) {
            return Err(StartError::Membership(MembershipError::ZeroNodeId));
        }
        let (id, config) = (self.id, self.config.clone());
        let mut raft = Raft::new(id, &config, runtime.random(), runtime.now(), state, Membership::default());
        if self.joins {
            raft = raft.joined();
        }
        if snapshots.is_some() {
            raft = raft.with_snapshots(restored.clone());
        }
        fits(raft.membership(), id, self.is_witness)?;
        tracing::info!(
            node = %id,
            term = %raft.term(),
            last = %raft.last_log_id(),
            voters = raft.membership().voters().len(),
            "node starts"
        );
        Ok(self.start_actors(&runtime, storage, &transport, raft, restored))
    }

    /// What makes a new storage a member of the initial cluster: the first entry of every initial member's
    /// log is the membership, in term 1, in which no election can be held any more.
    fn bootstrap(&self, state: &mut LogState) -> Result<LogWrite, StartError> {
        let node = self.id;
        if self.members.is_empty() {
            return Err(StartError::NoMembers { node });
        }
        let mut membership = Membership::new(self.members.iter().cloned())?;
        if !membership.contains(node) {
            return Err(StartError::NotAMember { node });
        }
        for (member, priority) in &self.priorities {
            membership = membership.with_priority(*member, *priority)?;
        }
        for witness in &self.witnesses {
            membership = membership.with_witness(*witness)?;
        }
        fits(&membership, node, self.is_witness)?;
        let hard_state = HardState { term: Term(1), voted_for: None };
        let genesis = membership.genesis_of_voters();
        let membership = Payload::Membership(Box::new(membership.with_genesis(genesis)));
        let first = Entry::new(LogId::new(Term(1), LogIndex(1)), membership);
        state.hard_state = hard_state;
        state.note(&first);
        state.tail = vec![first].into();
        let entries = state.tail.clone();
        Ok(LogWrite { sequence: 0, hard_state: Some(hard_state), truncate_from: None, entries })
    }

    fn start_actors(
        self,
        runtime: &SharedRuntime,
        storage: Box<dyn LogStorage>,
        transport: &Arc<dyn Transport>,
        raft: Raft,
        restored: Option<SnapshotMeta>,
    ) -> Node<S> {
        let place = Place::Group(self.group);
        let clients_max = usize::try_from(self.config.writes_max.saturating_add(self.config.reads_max))
            .unwrap_or(usize::MAX);
        let consensus = Addr::new(clients_max.saturating_add(PEER_MAIL_MAX));
        // Consensus, log store and applier: the three that hold what must be let go before the node has
        // ended.
        let ending = Arc::new(Ending::new(3));
        let watch = Watch { consensus: consensus.clone(), ending: ending.clone() };

        let (log_store, applier, timer) = (Addr::new(0), Addr::new(0), Addr::new(0));
        let snapshotter = self.start_snapshotter(runtime, &watch);
        let (addresses, given) = self.addresses(&raft);
        let start_replicator = self.replicator_factory(runtime, transport, &watch);
        let cast = Cast {
            election_timer: timer.clone(),
            log_store: log_store.clone(),
            applier: applier.clone(),
            links: Links::new(start_replicator, raft.origin(), &addresses),
            snapshots: Snapshotting::new(snapshotter.clone()),
        };
        watch.start(runtime, place, "election timer", &timer, ElectionTimer { consensus: consensus.clone() });
        let store = LogStore::new(storage, consensus.clone());
        watch.start_counted(runtime, place, "log store", &log_store, store);
        let snapshots = self.snapshots.zip(snapshotter.clone());
        let witness = self.is_witness;
        let snapshots =
            snapshots.map(|(storage, snapshotter)| applier::Snapshots { storage, snapshotter, witness });
        let apply = Applier::new(self.state_machine, consensus.clone(), snapshots, restored);
        watch.start_counted(runtime, place, "applier", &applier, apply);
        let run = runtime.random() as u32;
        let acquaintances = Arc::new(Acquaintances::default());
        let (config, known) = (self.config.clone(), acquaintances.clone());
        let writes = Permits::new(self.config.writes_max, self.config.write_bytes_max);
        let actor = Consensus::new(raft, config, cast, ending.clone(), known, writes.clone(), run);
        let actor = actor.with_addresses(given).with_witness(witness);
        let actor = actor.with_watchers(Watchers::new(self.observers));
        let presence = Presence::new(&ending);
        let last = LastWord { presence, log_store, applier: applier.clone(), timer, snapshotter };
        start(runtime, "consensus", place, &consensus, actor, move |exit| last.consensus_ended(exit));

        let reads = Permits::new(self.config.reads_max, u64::MAX);
        Node(Arc::new(Shared {
            id: self.id,
            group: self.group,
            config: self.config,
            runtime: runtime.clone(),
            acquaintances,
            consensus,
            applier,
            write_permits: writes,
            read_permits: reads,
            ending,
        }))
    }

    /// None where the node keeps no snapshots.
    fn start_snapshotter(
        &self,
        runtime: &SharedRuntime,
        watch: &Watch<S>,
    ) -> Option<Addr<snapshotter::Mail>> {
        let storage = self.snapshots.clone()?;
        let rate_bytes = self.config.snapshot_rate_bytes;
        let snapshotter = Snapshotter::new(storage, watch.consensus.clone(), self.is_witness, rate_bytes);
        let mailbox = Addr::new(0);
        watch.start(runtime, Place::Group(self.group), "snapshotter", &mailbox, snapshotter);
        Some(mailbox)
    }

    /// Where the peers are reached, and what of it the log does not say: as the builder was told, where the
    /// members have never changed, else as the log has it.
    fn addresses(&self, raft: &Raft) -> (BTreeMap<NodeId, String>, BTreeMap<NodeId, String>) {
        let mut addresses = raft.peers().clone();
        if raft.membership().is_changed() {
            return (addresses, BTreeMap::new());
        }
        let given: BTreeMap<NodeId, String> = self.members.iter().cloned().collect();
        for (peer, address) in &mut addresses {
            if let Some(given) = given.get(peer) {
                address.clone_from(given);
            }
        }
        (addresses, given)
    }

    /// What starts a replicator, for peers that come later too.
    fn replicator_factory(
        &self,
        runtime: &SharedRuntime,
        transport: &Arc<dyn Transport>,
        watch: &Watch<S>,
    ) -> StartReplicator {
        let (group, from) = (self.group, self.id);
        let (runtime, transport, watch) = (runtime.clone(), transport.clone(), watch.clone());
        Box::new(move |to, address, origin| {
            let route = Route { group, from, to, address, origin };
            let (transport, consensus) = (transport.clone(), watch.consensus.clone());
            let replicator = Replicator::new(route, transport, consensus, runtime.timer());
            let mailbox = Addr::new(REPLICATOR_MAIL_MAX);
            watch.start(&runtime, Place::Group(group), "replicator", &mailbox, replicator);
            mailbox
        })
    }
}

/// Whether a node is what it is by the members.
fn fits(membership: &Membership, node: NodeId, is_witness: bool) -> Result<(), MembershipError> {
    membership.misfit(node, is_witness).map_or(Ok(()), Err)
}

#[cfg(feature = "actix")]
fn default_runtime() -> Result<SharedRuntime, StartError> {
    let runtime = crate::runtime::actix::ActixRuntime::new(1).map_err(StartError::Runtime)?;
    Ok(Arc::new(runtime))
}

#[cfg(not(feature = "actix"))]
fn default_runtime() -> Result<SharedRuntime, StartError> {
    Err(StartError::Missing { part: "runtime" })
}

/// Watches over the cast: where one panics, the node stops.
struct Watch<S: StateMachine> {
    consensus: Addr<Mail<S>>,
    ending: Arc<Ending>,
}

impl<S: StateMachine> Clone for Watch<S> {
    fn clone(&self) -> Watch<S> {
        Watch { consensus: self.consensus.clone(), ending: self.ending.clone() }
    }
}

impl<S: StateMachine> Watch<S> {
    fn start<A: Actor>(
        &self,
        runtime: &SharedRuntime,
        place: Place,
        name: &'static str,
        address: &Addr<A::Message>,
        actor: A,
    ) {
        let consensus = self.consensus.clone();
        start(runtime, name, place, address, actor, move |exit| report(&consensus, name, exit));
    }

    fn start_counted<A: Actor>(
        &self,
        runtime: &SharedRuntime,
        place: Place,
        name: &'static str,
        address: &Addr<A::Message>,
        actor: A,
    ) {
        let (consensus, presence) = (self.consensus.clone(), Presence::new(&self.ending));
        start(runtime, name, place, address, actor, move |exit| {
            report(&consensus, name, exit);
            drop(presence);
        });
    }
}

fn report<S: StateMachine>(consensus: &Addr<Mail<S>>, name: &str, exit: Exit) {
    if let Exit::Panicked(said) = exit {
        consensus.send(Mail::Failed { reason: format!("{name} panicked: {said}") });
    }
}

/// What is left to do when the consensus actor has ended: tell the others, who may not know if it panicked.
struct LastWord<S: StateMachine> {
    presence: Presence,
    log_store: Addr<log_store::Mail>,
    applier: Addr<applier::Mail<S>>,
    timer: Addr<election_timer::Mail>,
    snapshotter: Option<Addr<snapshotter::Mail>>,
}

impl<S: StateMachine> LastWord<S> {
    fn consensus_ended(self, exit: Exit) {
        if let Exit::Panicked(said) = exit {
            self.presence.ending().fail(format!("consensus panicked: {said}"));
        }
        self.log_store.send(log_store::Mail::Stop);
        self.applier.send(applier::Mail::Stop);
        self.timer.send(election_timer::Mail::Stop);
        if let Some(snapshotter) = self.snapshotter {
            snapshotter.send(snapshotter::Mail::Stop);
        }
    }
}
