//! Tutorial 4: the log in files. The process is killed in the midst of its writes, and nothing answered is
//! lost.

use std::{
    error::Error,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use raft_actor::{
    node::Node,
    runtime::{SharedRuntime, tokio::TokioRuntime},
    testkit::network::Network,
    types::{ClusterId, NodeId},
};
use raft_storage_file::{FileLog, Identity};

use super::state_machine::{Add, Counter};

// ANCHOR: open
async fn open(folder: &Path) -> Result<Node<Counter>, Box<dyn Error>> {
    let id = NodeId(1);
    let identity = Identity { cluster_id: ClusterId(7), node_id: id };
    let runtime: SharedRuntime = Arc::new(TokioRuntime::current());
    let network = Network::new(runtime.clone(), 1);
    let node = Node::builder(id, Counter::default())
        .members([(id, Network::address(id))])
        .storage(FileLog::open(folder, identity)?)
        .transport(network.transport(id))
        .runtime(runtime)
        .start()
        .await?;
    Ok(node)
}
// ANCHOR_END: open

// ANCHOR: count
async fn count_for_ever(folder: &Path) -> Result<(), Box<dyn Error>> {
    let node = open(folder).await?;
    loop {
        let value = node.write(Add(1)).await?;
        println!("acknowledged {value}");
    }
}
// ANCHOR_END: count

const FOLDER: &str = "RAFT_ACTOR_TUTORIAL_FOLDER";

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() -> Result<(), Box<dyn Error>> {
    // This test runs itself as the process that is killed.
    if let Ok(folder) = std::env::var(FOLDER) {
        return count_for_ever(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--nocapture", "--exact"])
        .arg("tutorial::on_disk::nothing_acknowledged_is_lost_when_the_process_is_killed")
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut acknowledged = 0;
    for line in BufReader::new(child.stdout.take().expect("its output is piped")).lines() {
        if let Some((_, value)) = line?.split_once("acknowledged ") {
            acknowledged = value.parse()?;
        }
        if acknowledged == 100 {
            // SIGKILL: no destructor runs, no buffer is written out. What it still says is read to the end.
            child.kill()?;
        }
    }
    child.wait()?;
    assert!(acknowledged >= 100, "the process ended by itself after {acknowledged} writes");

    // ANCHOR: again
    let node = open(folder.path()).await?;
    let value = node.read(|counter| counter.value).await?;
    assert!(value == acknowledged || value == acknowledged + 1);
    // ANCHOR_END: again
    node.shutdown().await;
    Ok(())
}
