//! Tutorial 7: what each way to read may answer, when the node that is asked is cut off.

use std::{error::Error, sync::Arc, time::Duration};

use raft_actor::{
    config::Config,
    runtime::{SharedRuntime, sim::SimRuntime, timeout},
    testkit::cluster::Cluster,
    types::NodeId,
};

use super::state_machine::{Add, Counter};

#[test]
fn a_local_read_is_stale_and_the_others_are_not() -> Result<(), Box<dyn Error>> {
    let simulator = SimRuntime::new(7);
    let runtime: SharedRuntime = Arc::new(simulator.node("all"));
    simulator.run_until(read_on_a_node_that_is_cut_off(runtime))
}

/// Takes both ways between a node and all others.
fn cut_off(cluster: &Cluster<Counter>, id: NodeId) {
    for other in cluster.nodes().keys().filter(|other| **other != id) {
        cluster.network().partition(id, *other);
    }
}

async fn read_on_a_node_that_is_cut_off(runtime: SharedRuntime) -> Result<(), Box<dyn Error>> {
    // ANCHOR: lease_config
    let mut config = Config::default();
    config.lease_reads = true;
    // ANCHOR_END: lease_config
    let cluster = Cluster::start(runtime.clone(), 3, config, Counter::default).await?;
    let leader = cluster.node(cluster.leader().await);
    let others = || cluster.nodes().values().filter(|node| node.id() != leader.id());
    let follower = others().next().unwrap_or(leader);

    // ANCHOR: stale
    follower.write(Add(1)).await?;
    cut_off(&cluster, follower.id());
    leader.write(Add(1)).await?;
    assert_eq!(leader.read_local(|counter| counter.value).await?, 2);
    assert_eq!(follower.read_local(|counter| counter.value).await?, 1, "stale");
    // ANCHOR_END: stale

    // ANCHOR: linearizable
    let patience = Duration::from_millis(100);
    let answer = timeout(&*runtime, patience, follower.read(|counter| counter.value)).await;
    assert_eq!(answer, None, "no answer is better than a wrong one");
    cluster.network().heal();
    assert_eq!(follower.read(|counter| counter.value).await?, 2);
    // ANCHOR_END: linearizable

    // ANCHOR: within
    cut_off(&cluster, follower.id());
    let bound = Duration::from_millis(100);
    assert_eq!(follower.read_within(bound, |counter| counter.value).await?, 2);
    cluster.sleep(bound).await;
    let reading = follower.read_within(bound, |counter| counter.value);
    assert_eq!(timeout(&*runtime, patience, reading).await, None, "what it knows is too old");
    // ANCHOR_END: within
    cluster.network().heal();

    // ANCHOR: lease
    let leader = cluster.node(cluster.leader().await);
    leader.read_lease(|counter| counter.value).await?;
    cut_off(&cluster, leader.id());
    assert_eq!(leader.read_lease(|counter| counter.value).await?, 2);
    // ANCHOR_END: lease
    cluster.network().heal();
    cluster.shutdown().await;
    Ok(())
}
