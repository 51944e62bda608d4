//! Tutorial 6: an answer is lost. Without a session the retry counts twice; in a session it does not.

use std::{error::Error, sync::Arc};

use raft_actor::{
    client::{
        Client, ClientConfig,
        session::{SessionCommand, Sessions},
    },
    config::Config,
    error::WriteError,
    node::Node,
    runtime::{SharedRuntime, sim::SimRuntime},
    state_machine::StateMachine,
    testkit::cluster::Cluster,
    types::NodeId,
};

use super::state_machine::{Add, Counter};

/// Some node that does not lead, and the leader.
async fn follower_and_leader<S: StateMachine>(cluster: &Cluster<S>) -> (NodeId, NodeId) {
    let leader = cluster.leader().await;
    let follower = cluster.nodes().keys().copied().find(|node| *node != leader).unwrap_or(leader);
    (follower, leader)
}

#[test]
fn a_retry_without_a_session_counts_twice() -> Result<(), Box<dyn Error>> {
    let simulator = SimRuntime::new(6);
    let runtime: SharedRuntime = Arc::new(simulator.node("all"));
    simulator.run_until(async {
        let cluster = Cluster::start(runtime, 3, Config::default(), Counter::default).await?;
        // ANCHOR: lost
        let (follower, leader) = follower_and_leader(&cluster).await;
        cluster.network().cut(leader, follower);
        let outcome = cluster.node(follower).write(Add(1)).await;
        assert_eq!(outcome, Err(WriteError::Unknown));
        // ANCHOR_END: lost

        // ANCHOR: twice
        cluster.network().heal();
        cluster.node(follower).write(Add(1)).await?;
        assert_eq!(cluster.node(leader).read(|counter| counter.value).await?, 2);
        // ANCHOR_END: twice
        cluster.shutdown().await;
        Ok(())
    })
}

#[test]
fn a_retry_in_a_session_counts_once() -> Result<(), Box<dyn Error>> {
    let simulator = SimRuntime::new(6);
    let runtime: SharedRuntime = Arc::new(simulator.node("all"));
    simulator.run_until(async {
        // ANCHOR: sessions
        let new_state = || Sessions::new(Counter::default());
        let cluster = Cluster::start(runtime.clone(), 3, Config::default(), new_state).await?;
        // ANCHOR_END: sessions
        let (follower, leader) = follower_and_leader(&cluster).await;
        let mut nodes: Vec<Node<Sessions<Counter>>> = cluster.nodes().values().cloned().collect();
        nodes.sort_by_key(|node| node.id() != follower);

        // ANCHOR: open
        let client = Client::open(runtime, nodes, ClientConfig::default()).await?;
        assert_eq!(client.write(Add(1)).await?, 1);
        // ANCHOR_END: open

        // ANCHOR: once
        cluster.network().cut(leader, follower);
        assert_eq!(client.write(Add(1)).await?, 2);
        let value = cluster.node(leader).read(|sessions| sessions.machine().value).await?;
        assert_eq!(value, 2);
        // ANCHOR_END: once

        // ANCHOR: plain
        cluster.network().heal();
        cluster.node(follower).write(SessionCommand::Plain(Add(40))).await?;
        // ANCHOR_END: plain
        assert_eq!(client.write(Add(0)).await?, 42);
        cluster.shutdown().await;
        Ok(())
    })
}
