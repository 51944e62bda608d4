//! A cluster of three on machines of its own, which boot and crash; for tests of members and disks.

use std::sync::Arc;

use raft_actor::{
    config::Config,
    node::Node,
    runtime::{SharedRuntime, sim::SimRuntime},
    testkit::cluster::Cluster,
    types::NodeId,
};

use crate::{machines::Machines, sum::Sum};

pub(crate) struct Hall {
    pub(crate) machines: Machines,
    pub(crate) cluster: Cluster<Sum>,
}

impl Hall {
    /// Three nodes that belong together, none of which runs.
    pub(crate) fn new(simulator: &Arc<SimRuntime>) -> Hall {
        let network: SharedRuntime = Arc::new(simulator.node("network"));
        let cluster = Cluster::new(network, 3, Config::default(), Sum::default);
        Hall { machines: Machines::new(simulator), cluster }
    }

    /// The same; all of them run, and one leads.
    pub(crate) async fn running(simulator: &Arc<SimRuntime>) -> Hall {
        let mut hall = Hall::new(simulator);
        for node in 1..=3 {
            hall.start(node).await;
        }
        hall.cluster.leader().await;
        hall
    }

    pub(crate) async fn start(&mut self, node: u64) {
        let machine = self.machines.boot(NodeId(node));
        self.cluster.start_node(NodeId(node), machine).await.expect("it starts");
    }

    pub(crate) fn crash(&mut self, node: u64) {
        self.machines.crash(NodeId(node));
        self.cluster.forget_node(NodeId(node));
    }

    pub(crate) fn node(&self, node: u64) -> &Node<Sum> {
        self.cluster.node(NodeId(node))
    }

    pub(crate) async fn sum_on(&self, node: u64) -> u64 {
        self.node(node).read(|sum| sum.0).await.expect("a read")
    }
}
