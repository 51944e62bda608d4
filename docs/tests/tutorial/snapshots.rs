//! Tutorial 8: snapshots. The log is let go of, and the node begins with its snapshot.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{self, BufRead},
    path::Path,
    sync::Arc,
};

use raft_actor::{
    config::Config,
    node::Node,
    runtime::{SharedRuntime, tokio::TokioRuntime},
    state_machine::{StateMachine, StateMachineError},
    testkit::network::Network,
    types::{ClusterId, LogId, NodeId, SnapshotView},
};
use raft_storage_file::{FileLog, FileSnapshots, Identity};

/// How often each word was said.
#[derive(Default)]
struct Words {
    counts: BTreeMap<String, u64>,
}

// ANCHOR: machine
impl StateMachine for Words {
    type Command = String;
    type Output = u64;

    fn apply(&mut self, _: LogId, word: String) -> u64 {
        let count = self.counts.entry(word).or_default();
        *count += 1;
        *count
    }

    fn snapshot(&self) -> Option<SnapshotView> {
        let counts = self.counts.clone();
        Some(Box::new(move |writer| {
            let mut lines = counts.iter();
            lines.try_for_each(|(word, count)| writeln!(writer, "{count} {word}"))
        }))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        self.counts = read_counts(reader).map_err(|source| StateMachineError { source })?;
        Ok(())
    }
}

fn read_counts(reader: &mut dyn io::Read) -> Result<BTreeMap<String, u64>, Box<dyn Error + Send + Sync>> {
    let mut counts = BTreeMap::new();
    for line in io::BufReader::new(reader).lines() {
        let line = line?;
        let (count, word) = line.split_once(' ').ok_or("a line of two words was expected")?;
        counts.insert(word.to_owned(), count.parse()?);
    }
    Ok(counts)
}
// ANCHOR_END: machine

// ANCHOR: open
async fn open(folder: &Path) -> Result<Node<Words>, Box<dyn Error>> {
    let id = NodeId(1);
    let identity = Identity { cluster_id: ClusterId(7), node_id: id };
    let runtime: SharedRuntime = Arc::new(TokioRuntime::current());
    let network = Network::new(runtime.clone(), 1);
    let mut config = Config::default();
    config.snapshot_entries = 1000;
    config.trailing_entries = 100;
    let node = Node::builder(id, Words::default())
        .members([(id, Network::address(id))])
        .storage(FileLog::open(folder.join("log"), identity)?)
        .snapshots(FileSnapshots::open(folder.join("snapshots"), identity)?)
        .transport(network.transport(id))
        .runtime(runtime)
        .config(config)
        .start()
        .await?;
    Ok(node)
}
// ANCHOR_END: open

#[tokio::test]
async fn a_node_begins_with_its_snapshot_and_not_with_its_first_command() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    // ANCHOR: take
    let node = open(folder.path()).await?;
    for word in ["to", "be", "or", "not", "to", "be"] {
        node.write(word.to_owned()).await?;
    }
    let snapshot = node.snapshot().await?;
    node.write("that".to_owned()).await?;
    node.shutdown().await;
    // ANCHOR_END: take
    assert!(snapshot.size_bytes > 0);

    // ANCHOR: again
    let node = open(folder.path()).await?;
    let status = node.status().await;
    assert!(status.applied_index >= snapshot.last.index);
    assert_eq!(status.snapshot, Some(snapshot));
    let counts = node.read(|words| words.counts.clone()).await?;
    assert_eq!((counts["be"], counts["that"]), (2, 1));
    // ANCHOR_END: again
    node.shutdown().await;
    Ok(())
}
