//! `example-app recover`: when the majority of a cluster is gone for good, one node that is left becomes the
//! cluster. It looks first, and changes nothing without a flag that nobody types by accident.

use std::{collections::BTreeSet, path::Path};

use raft_actor::{
    node::survivor::{Survivor, SurvivorError},
    storage::StorageError,
    types::NodeId,
};
use raft_storage_file::{FileLog, FileSnapshots, Identity};

use crate::node::{log_folder, snapshots_folder};

/// The flag without which nothing is changed.
pub const CONSENT: &str = "yes-i-know-that-writes-may-be-lost";

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The folder is not a node's.
    #[error("there is no node in {0}; name the folder that the node was given as `data`")]
    NoNode(String),
    /// The node is running, or what is in its folder cannot be trusted.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is in the folder cannot become a cluster.
    #[error(transparent)]
    Survivor(#[from] SurvivorError),
}

/// Tells what the folder holds; and makes a cluster of it, where that is wanted.
pub async fn recover(data: &Path, is_wanted: bool) -> Result<String, RecoverError> {
    let no_node = || RecoverError::NoNode(data.display().to_string());
    let identity = Identity::of_folder(log_folder(data))?.ok_or_else(no_node)?;
    // Opening the log takes the lock: a node that runs is found out here.
    let mut log = FileLog::open(log_folder(data), identity)?;
    let snapshots = FileSnapshots::open(snapshots_folder(data), identity)?;
    let survivor = Survivor::look(&mut log, Some(&snapshots)).await?;
    let mut said = describe(identity, &survivor);
    if !is_wanted {
        return Ok(said + &warning());
    }
    let (log_id, _) = survivor.become_cluster(identity.node_id).await?;
    said.push_str(&format!(
        "
Done: from entry {log_id} on, node {} is the cluster, alone. Start it as always; it commits all that it has.
The others are not believed any more. Empty their folders, start them with --join, and add each:
  example-app member add ID ADDRESS
",
        identity.node_id
    ));
    Ok(said)
}

fn describe(identity: Identity, survivor: &Survivor<'_>) -> String {
    let membership = survivor.membership();
    let list = |nodes: &BTreeSet<NodeId>| {
        let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
        if nodes.is_empty() { "none".to_owned() } else { nodes.join(", ") }
    };
    let lines = [
        format!("node {} of cluster {}", identity.node_id, identity.cluster_id),
        format!("  last entry:   {} (index@term)", survivor.last_log_id()),
        format!("  committed:    {} at least; a log does not tell how far beyond", survivor.committed()),
        format!("  term:         {}", survivor.hard_state().term),
        format!("  voters:       {}", list(membership.voters())),
        format!("  learners:     {}", list(membership.learners())),
    ];
    lines.join("\n") + "\n"
}

fn warning() -> String {
    format!(
        "
Nothing was changed. If a majority of the voters can still be brought back with their folders, do that
instead: nothing is lost then. Otherwise look at every folder that is left, and take the one whose last
entry is of the highest term, and of those the highest index. With --{CONSENT}
its node becomes the cluster, alone:
  - writes that were acknowledged and that this folder does not have are lost for good;
  - entries that it has and that were never committed become committed;
  - the other nodes must never run again with the folders that they have.
"
    )
}
