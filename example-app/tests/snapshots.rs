//! Nodes whose log is compacted: one that was away comes back by a snapshot, over HTTP.

use std::{process::Command, time::Duration};

use raft_actor::types::LogIndex;
use serde_json::{Value, json};

use super::{
    PROGRAM,
    harness::{Cluster, load::Load, wait_until},
};

const ENTRIES: u64 = 10_000;

/// Nodes that take a snapshot every thousand entries.
fn compacting_cluster() -> Cluster {
    let mut cluster = Cluster::new(PROGRAM, 3);
    let flags =
        ["--snapshot-entries", "1000", "--trailing-entries", "100", "--snapshot-chunk-bytes", "65536"];
    cluster.flags = flags.map(str::to_owned).to_vec();
    for node in cluster.nodes() {
        cluster.start(node);
    }
    cluster
}

#[test]
fn a_node_that_was_away_for_ten_thousand_entries_catches_up_by_a_snapshot() {
    let mut cluster = compacting_cluster();
    let leader = cluster.wait_for_leader(Duration::from_secs(20));
    assert_eq!(cluster.put(leader, "before", "all of it").0, 200);
    let away = cluster.nodes().find(|node| *node != leader).expect("there are three");
    cluster.wait_until_caught_up(away, Duration::from_secs(10));
    cluster.kill(away);

    let addresses: Vec<String> =
        cluster.nodes().filter(|node| *node != away).map(|node| cluster.address(node)).collect();
    let load = Load::start(&addresses, 16, Duration::ZERO);
    wait_until(Duration::from_secs(100), "ten thousand entries", || {
        cluster.status(leader).is_some_and(|status| status.commit_index >= LogIndex(ENTRIES))
    });
    let record = load.stop();
    wait_until(Duration::from_secs(20), "a compacted log", || {
        cluster.status(leader).is_some_and(|status| status.first_index > LogIndex(ENTRIES / 2))
    });
    let first = cluster.status(leader).expect("it runs").first_index;

    cluster.start(away);
    cluster.wait_until_caught_up(away, Duration::from_secs(60));
    let status = cluster.status(away).expect("it runs");
    assert!(status.snapshot_index.is_some_and(|index| index >= first.previous()), "{status:?}");
    assert!(cluster.log(away).contains("snapshot received"), "it came by a snapshot");
    assert!(!cluster.log(leader).contains("snapshot received"));
    let audit = cluster.audit(away, &record);
    println!(
        "{} writes acknowledged, {} found on node {away}; its log begins at {}, the leader's at {first}",
        record.acknowledged.len(),
        audit.found,
        status.first_index,
    );
    assert_eq!((&audit.lost, &audit.twice), (&vec![], &vec![]));
    assert_eq!(audit.found, record.acknowledged.len());
    assert_eq!(cluster.get(away, "before").as_deref(), Some("all of it"));
    assert!(cluster.are_identical().1, "all nodes hold the same");

    // All of them die, and begin with their snapshots.
    cluster.restart();
    cluster.wait_for_leader(Duration::from_secs(20));
    for node in cluster.nodes() {
        let audit = cluster.audit(node, &record);
        assert_eq!((audit.found, &audit.twice), (record.acknowledged.len(), &vec![]));
    }
}

#[test]
fn an_operator_has_every_node_take_a_snapshot() {
    let cluster = Cluster::started(PROGRAM, 3);
    assert_eq!(cluster.put(1, "key", "value").0, 200);
    for node in cluster.nodes() {
        cluster.wait_until_caught_up(node, Duration::from_secs(10));
    }
    let (status, taken) = cluster.post(2, "/raft/admin/snapshot", &json!({}));
    assert_eq!((status, &taken["node_id"]), (200, &json!(2)), "{taken}");
    assert!(taken["size_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{taken}");
    let index = cluster.status(2).expect("it runs").snapshot_index;
    assert_eq!(json!(index), taken["index"]);

    let endpoints: Vec<String> = cluster.nodes().map(|node| cluster.address(node)).collect();
    let output = Command::new(PROGRAM)
        .args(["snapshot", "--json", "--endpoints", &endpoints.join(",")])
        .output()
        .expect("the program can be run");
    let said: Value = serde_json::from_slice(&output.stdout).expect("it speaks JSON");
    assert_eq!(said.as_array().map(Vec::len), Some(3), "{said}");
    assert_eq!(said[2]["snapshot"]["node_id"], json!(3));
    assert_eq!(cluster.get(3, "key").as_deref(), Some("value"));
}
