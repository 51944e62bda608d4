//! Tutorial 3: three machines in one process, on simulated time; the leader's power is cut.

use std::{error::Error, sync::Arc};

use raft_actor::{
    config::Config,
    runtime::{
        SharedRuntime,
        sim::{SimNode, SimRuntime},
    },
    testkit::cluster::Cluster,
    types::NodeId,
};

use super::state_machine::{Add, Counter};

#[test]
fn a_cluster_outlives_its_leader() -> Result<(), Box<dyn Error>> {
    // ANCHOR: machines
    let simulator = SimRuntime::new(42);
    let machines = [1, 2, 3].map(|number| simulator.node(&format!("machine {number}")));
    let network: SharedRuntime = Arc::new(simulator.node("network"));
    simulator.run_until(lose_the_leader(&machines, network))
    // ANCHOR_END: machines
}

async fn lose_the_leader(machines: &[SimNode], network: SharedRuntime) -> Result<(), Box<dyn Error>> {
    // ANCHOR: start
    let mut cluster = Cluster::new(network, 3, Config::default(), Counter::default);
    for (id, machine) in (1..).map(NodeId).zip(machines) {
        cluster.start_node(id, Arc::new(machine.clone())).await?;
    }
    let leader = cluster.leader().await;
    let term = cluster.node(leader).status().await.term;
    // ANCHOR_END: start

    // ANCHOR: write
    for node in cluster.nodes().values() {
        node.write(Add(10)).await?;
    }
    // ANCHOR_END: write

    // ANCHOR: kill
    let machine = &machines[leader.0 as usize - 1];
    machine.crash();
    cluster.forget_node(leader);
    // ANCHOR_END: kill

    // ANCHOR: after
    let next = cluster.leader().await;
    let status = cluster.node(next).status().await;
    assert_ne!(next, leader);
    assert!(status.term > term, "an election begins a new term");
    assert_eq!(cluster.node(next).read(|counter| counter.value).await?, 30);
    assert_eq!(cluster.node(next).write(Add(12)).await?, 42);
    // ANCHOR_END: after

    // ANCHOR: back
    cluster.start_node(leader, Arc::new(machine.clone())).await?;
    assert_eq!(cluster.node(leader).read(|counter| counter.value).await?, 42);
    // ANCHOR_END: back
    cluster.shutdown().await;
    Ok(())
}
