//! The machines of a simulated cluster: each is booted, crashes, and is booted again.

use std::{collections::BTreeMap, sync::Arc};

use raft_actor::{
    runtime::{
        SharedRuntime,
        sim::{SimNode, SimRuntime},
    },
    types::NodeId,
};

/// The machines of one simulator, by the nodes that run on them.
pub(crate) struct Machines {
    simulator: Arc<SimRuntime>,
    running: BTreeMap<NodeId, SimNode>,
}

impl Machines {
    /// None runs yet.
    pub(crate) fn new(simulator: &Arc<SimRuntime>) -> Machines {
        Machines { simulator: simulator.clone(), running: BTreeMap::new() }
    }

    /// A machine for this node, in the place of the one that it had.
    pub(crate) fn boot(&mut self, id: NodeId) -> SharedRuntime {
        let machine = self.simulator.node(&format!("machine {id}"));
        self.running.insert(id, machine.clone());
        Arc::new(machine)
    }

    /// All that runs on this node's machine is gone at once.
    pub(crate) fn crash(&self, id: NodeId) {
        self.running[&id].crash();
    }
}
