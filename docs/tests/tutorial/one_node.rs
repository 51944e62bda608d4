//! Tutorial 2: a cluster of one, from the memory parts.

use std::error::Error;

use super::state_machine::{Add, Counter};

// ANCHOR: use
use std::sync::Arc;

use raft_actor::{
    node::Node,
    runtime::{SharedRuntime, tokio::TokioRuntime},
    testkit::{memory::MemoryLog, network::Network},
    types::NodeId,
};
// ANCHOR_END: use

#[tokio::test]
async fn one_node_is_a_cluster() -> Result<(), Box<dyn Error>> {
    // ANCHOR: open
    let id = NodeId(1);
    let runtime: SharedRuntime = Arc::new(TokioRuntime::current());
    let network = Network::new(runtime.clone(), 1);
    let node = Node::builder(id, Counter::default())
        .members([(id, Network::address(id))])
        .storage(MemoryLog::new())
        .transport(network.transport(id))
        .runtime(runtime)
        .start()
        .await?;
    // ANCHOR_END: open

    // ANCHOR: write
    assert_eq!(node.write(Add(40)).await?, 40);
    assert_eq!(node.write(Add(2)).await?, 42);
    // ANCHOR_END: write

    // ANCHOR: read
    let value = node.read(|counter| counter.value).await?;
    assert_eq!(value, 42);
    // ANCHOR_END: read

    // ANCHOR: status
    let status = node.status().await;
    assert_eq!(status.leader, Some(id));
    assert_eq!(status.applied_index, status.commit_index);
    // ANCHOR_END: status

    // ANCHOR: shutdown
    node.shutdown().await;
    // ANCHOR_END: shutdown
    Ok(())
}
