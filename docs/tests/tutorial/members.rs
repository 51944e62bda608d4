//! Tutorial: a fourth node joins, the leader leaves, and nobody loses anything.

use std::{error::Error, sync::Arc};

use raft_actor::{
    config::Config,
    membership::{ChangeError, MembershipChange},
    runtime::{SharedRuntime, sim::SimRuntime},
    testkit::cluster::Cluster,
    types::NodeId,
};

use super::state_machine::{Add, Counter};

#[test]
fn members_come_and_go() -> Result<(), Box<dyn Error>> {
    let simulator = SimRuntime::new(42);
    let machine = |number| Arc::new(simulator.node(&format!("machine {number}")));
    let machines: Vec<SharedRuntime> = (1..=5).map(|number| machine(number) as SharedRuntime).collect();
    let network: SharedRuntime = Arc::new(simulator.node("network"));
    simulator.run_until(change_members(&machines, network))
}

async fn change_members(machines: &[SharedRuntime], network: SharedRuntime) -> Result<(), Box<dyn Error>> {
    let mut cluster = Cluster::new(network, 3, Config::default(), Counter::default);
    for number in 1..=3 {
        cluster.start_node(NodeId(number), machines[number as usize - 1].clone()).await?;
    }
    let leader = cluster.leader().await;
    cluster.node(leader).write(Add(30)).await?;

    // ANCHOR: learner
    let node = cluster.node(NodeId(1)).clone();
    node.add_learner(NodeId(4), "node 4").await?;
    let refused = node.promote(NodeId(4)).await;
    assert_eq!(refused, Err(ChangeError::Silent { node: NodeId(4) }));
    // ANCHOR_END: learner

    // ANCHOR: join
    cluster.start_node(NodeId(4), machines[3].clone()).await?;
    node.promote_when_ready(NodeId(4)).await?;
    assert_eq!(cluster.node(NodeId(4)).read(|counter| counter.value).await?, 30);
    // ANCHOR_END: join

    // ANCHOR: many
    cluster.start_node(NodeId(5), machines[4].clone()).await?;
    node.add_learner(NodeId(5), "node 5").await?;
    let follower = [1, 2, 3].map(NodeId).into_iter().find(|node| *node != leader);
    let follower = follower.ok_or("three nodes have two followers")?;
    let change = MembershipChange::new().promote(NodeId(5)).remove(leader).remove(follower);
    while let Err(refused) = node.change_membership(change.clone()).await {
        assert!(matches!(refused, ChangeError::Silent { .. } | ChangeError::Lagging { .. }), "{refused}");
        cluster.sleep(Config::default().heartbeat_interval).await;
    }
    // ANCHOR_END: many

    // ANCHOR: after
    let next = cluster.leader().await;
    let members = cluster.node(next).membership().await;
    assert_eq!(members.voters().len(), 3);
    assert!(!members.contains(leader) && !members.is_joint());
    for gone in [leader, follower] {
        cluster.node(gone).shutdown().await;
        cluster.forget_node(gone);
    }
    assert_eq!(cluster.node(next).write(Add(12)).await?, 42);
    // ANCHOR_END: after
    cluster.shutdown().await;
    Ok(())
}
