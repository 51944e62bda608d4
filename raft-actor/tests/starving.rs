//! Work of the application shares a thread with the node's other actors: it must not keep them from being
//! heard.

use std::{sync::Arc, thread, time::Duration};

use futures_util::future::join_all;
use raft_actor::{
    config::Config,
    node::Node,
    runtime::{SharedRuntime, TokioRuntime},
    state_machine::StateMachine,
    testkit::{memory::MemoryLog, network::Network},
    types::{LogId, NodeId, Role},
};

/// Takes a millisecond for each command.
struct Slow;

impl StateMachine for Slow {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, value: u64) -> u64 {
        thread::sleep(Duration::from_millis(1));
        value
    }
}

async fn start(number: u64, network: &Network) -> Node<Slow> {
    let runtime = TokioRuntime::owned(1).expect("a thread");
    let node = Node::builder(NodeId(number), Slow)
        .members((1..=3).map(|number| (NodeId(number), Network::address(NodeId(number)))))
        .storage(MemoryLog::new())
        .transport(network.transport(NodeId(number)))
        .runtime(runtime)
        .config(Config::default())
        .start()
        .await
        .expect("a node starts");
    network.attach(NodeId(number), node.inbox());
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_leader_that_applies_for_a_second_is_heard_all_the_while() {
    let hall: SharedRuntime = Arc::new(TokioRuntime::current());
    let network = Network::new(hall, 1);
    let nodes = [start(1, &network).await, start(2, &network).await, start(3, &network).await];
    // Elected, and with a first command applied.
    nodes[0].write(0).await.expect("a cluster of three elects a leader");
    let (mut leader, mut term) = (None, None);
    for node in &nodes {
        let status = node.status().await;
        if status.role == Role::Leader {
            (leader, term) = (Some(node.clone()), Some(status.term));
        }
    }
    let leader = leader.expect("the leader of the first write");
    let writes = join_all((1..=1000).map(|value| leader.write(value))).await;
    assert!(writes.iter().all(Result::is_ok), "{:?}", writes.iter().find(|outcome| outcome.is_err()));
    assert_eq!(Some(leader.status().await.term), term, "nobody missed its heartbeats for a second");
    for node in &nodes {
        node.shutdown().await;
    }
}
