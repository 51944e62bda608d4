//! A whole cluster in one process: real nodes on any runtime, with logs in memory and an in-memory network.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    memory::{MemoryLog, MemorySnapshots},
    network::Network,
};
use crate::{
    config::Config,
    error::StartError,
    node::{Node, NodeBuilder},
    observer::Observer,
    runtime::{SharedRuntime, sleep_until},
    state_machine::StateMachine,
    types::{NodeId, Role},
};

/// Who watches a node.
type Observe = Box<dyn Fn(NodeId) -> Arc<dyn Observer> + Send + Sync>;

/// A cluster of nodes that run the same application.
pub struct Cluster<S: StateMachine> {
    runtime: SharedRuntime,
    network: Network,
    config: Config,
    new_state: Box<dyn Fn() -> S + Send + Sync>,
    observers: Vec<Observe>,
    members: Vec<(NodeId, String)>,
    logs: BTreeMap<NodeId, MemoryLog>,
    /// How many disks there have been; the number of each is its log's incarnation.
    disks: u64,
    snapshots: BTreeMap<NodeId, MemorySnapshots>,
    nodes: BTreeMap<NodeId, Node<S>>,
}

impl<S: StateMachine> Cluster<S> {
    /// Starts `count` nodes, numbered from 1, on one runtime.
    pub async fn start(
        runtime: SharedRuntime,
        count: u64,
        config: Config,
        new_state: impl Fn() -> S + Send + Sync + 'static,
    ) -> Result<Cluster<S>, StartError> {
        let mut cluster = Cluster::new(runtime, count, config, new_state);
        for number in 1..=count {
            let runtime = cluster.runtime.clone();
            cluster.start_node(NodeId(number), runtime).await?;
        }
        Ok(cluster)
    }

    /// A cluster of `count` nodes, none of which runs yet. The network lives on `runtime`.
    pub fn new(
        runtime: SharedRuntime,
        count: u64,
        config: Config,
        new_state: impl Fn() -> S + Send + Sync + 'static,
    ) -> Cluster<S> {
        let seed = runtime.random();
        Cluster {
            network: Network::new(runtime.clone(), seed),
            runtime,
            config,
            new_state: Box::new(new_state),
            observers: Vec::new(),
            members: (1..=count).map(|number| (NodeId(number), format!("node {number}"))).collect(),
            logs: BTreeMap::new(),
            disks: 0,
            snapshots: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// Has every node that starts from now on be watched by what `observer` gives for it.
    pub fn observe(&mut self, observer: impl Fn(NodeId) -> Arc<dyn Observer> + Send + Sync + 'static) {
        self.observers.push(Box::new(observer));
    }

    /// Starts a node that does not run, on what its log holds. One that is not among the first joins, and
    /// waits to be added.
    pub async fn start_node(&mut self, id: NodeId, runtime: SharedRuntime) -> Result<(), StartError> {
        let is_first = self.members.iter().any(|(member, _)| *member == id);
        let members = if is_first { self.members.clone() } else { Vec::new() };
        self.start_with(id, runtime, members).await
    }

    /// Starts a node that does not run with other initial members than the cluster's; with none it joins.
    pub async fn start_with(
        &mut self,
        id: NodeId,
        runtime: SharedRuntime,
        members: Vec<(NodeId, String)>,
    ) -> Result<(), StartError> {
        let disks = &mut self.disks;
        let new_log = || {
            *disks += 1;
            MemoryLog::new().with_incarnation(*disks)
        };
        let log = self.logs.entry(id).or_insert_with(new_log).clone();
        let snapshots = self.snapshots.entry(id).or_default().clone();
        let builder = Node::builder(id, (self.new_state)());
        let builder = if members.is_empty() { builder.join() } else { builder.members(members) };
        let watched = |builder: NodeBuilder<S>, observe: &Observe| builder.observer(observe(id));
        let node = self
            .observers
            .iter()
            .fold(builder, watched)
            .storage(log)
            .snapshots(snapshots)
            .transport(self.network.transport(id))
            .runtime(runtime)
            .config(self.config.clone())
            .start()
            .await?;
        self.network.attach(id, node.inbox());
        self.nodes.insert(id, node);
        Ok(())
    }

    /// Takes a node off the network and forgets it, as if its machine were gone; its log stays.
    pub fn forget_node(&mut self, id: NodeId) -> Option<Node<S>> {
        self.network.detach(id);
        self.nodes.remove(&id)
    }

    /// Everything on a node's disk is gone, as if it had a new one. For a node that does not run.
    pub fn lose_disk(&mut self, id: NodeId) {
        self.logs.remove(&id);
        self.snapshots.remove(&id);
    }

    /// What a node's disk has of the log; an empty log where it never ran.
    pub fn log(&self, id: NodeId) -> MemoryLog {
        self.logs.get(&id).cloned().unwrap_or_default()
    }

    /// The network, to break it.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What a node's disk has of snapshots.
    pub fn snapshots(&self, id: NodeId) -> MemorySnapshots {
        self.snapshots.get(&id).cloned().unwrap_or_default()
    }

    /// The nodes that run.
    pub fn nodes(&self) -> &BTreeMap<NodeId, Node<S>> {
        &self.nodes
    }

    /// A node that runs. Panics where it does not.
    pub fn node(&self, id: NodeId) -> &Node<S> {
        &self.nodes[&id]
    }

    /// Waits until a leader that runs is known as such to a majority of its voters, and gives it. One that
    /// was removed, and leads until another does, is not meant.
    pub async fn leader(&self) -> NodeId {
        loop {
            let mut known: BTreeMap<NodeId, NodeId> = BTreeMap::new();
            let mut leaders = Vec::new();
            for node in self.nodes.values() {
                let status = node.status().await;
                known.extend(status.leader.map(|leader| (status.id, leader)));
                if status.role == Role::Leader && status.membership.is_voter(status.id) {
                    leaders.push(status);
                }
            }
            let leader = leaders
                .iter()
                .find(|status| status.membership.has_quorum(|node| known.get(&node) == Some(&status.id)));
            if let Some(leader) = leader {
                return leader.id;
            }
            self.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets the runtime's time pass.
    pub async fn sleep(&self, duration: Duration) {
        sleep_until(&self.runtime, self.runtime.now().after(duration)).await;
    }

    /// Ends all nodes in order.
    pub async fn shutdown(self) {
        for node in self.nodes.values() {
            node.shutdown().await;
        }
    }
}
