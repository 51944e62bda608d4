//! The smallest replicated application: a counter on three nodes, in one process and in memory.
//!
//! `cargo run -p raft-actor --example counter --features testkit`

use std::{error::Error, sync::Arc};

use raft_actor::{
    node::Node,
    runtime::{SharedRuntime, actix::ActixRuntime},
    state_machine::StateMachine,
    testkit::{memory::MemoryLog, network::Network},
    types::{LogId, NodeId},
};

#[derive(Default)]
struct Counter {
    value: u64,
}

impl StateMachine for Counter {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, add: u64) -> u64 {
        self.value += add;
        self.value
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let runtime: SharedRuntime = Arc::new(ActixRuntime::new(1)?);
    let network = Network::new(runtime.clone(), 1);
    let members = [1, 2, 3].map(|n| (NodeId(n), format!("node {n}")));
    let mut nodes = Vec::new();
    for (id, _) in &members {
        let node = Node::builder(*id, Counter::default())
            .members(members.clone())
            .storage(MemoryLog::new())
            .transport(network.transport(*id))
            .runtime(runtime.clone())
            .start()
            .await?;
        network.attach(*id, node.inbox());
        nodes.push(node);
    }
    for node in &nodes {
        println!("node {} adds 2 and gets {}", node.id(), node.write(2).await?);
    }
    println!("node 3 reads {}", nodes[2].read(|counter| counter.value).await?);
    for node in nodes {
        node.shutdown().await;
    }
    Ok(())
}
