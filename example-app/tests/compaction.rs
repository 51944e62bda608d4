//! Nodes whose store forgets old revisions: told to, or by themselves.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};

use super::{
    PROGRAM,
    harness::{Cluster, wait_until},
};

/// What `node` itself answers to a read of the key "key" at `revision`.
fn read_at(cluster: &Cluster, node: usize, revision: i64) -> (u16, Value) {
    let read = json!({ "key": "a2V5", "revision": revision.to_string(), "serializable": true });
    cluster.post(node, "/v3/kv/range", &read)
}

fn is_forgotten((status, answer): &(u16, Value)) -> bool {
    *status == 400 && answer["message"] == "etcdserver: mvcc: required revision has been compacted"
}

#[test]
fn a_compaction_is_carried_out_on_every_node_and_survives_snapshots_and_restarts() {
    let mut cluster = Cluster::started(PROGRAM, 3);
    for number in 1..=9 {
        assert_eq!(cluster.put(1, "key", &number.to_string()).0, 200);
    }
    let compact = |revision: &str| {
        let endpoints = ["--endpoints", &cluster.address(2)].map(str::to_owned);
        Command::new(PROGRAM).args(["compact", revision]).args(endpoints).output().expect("it can be run")
    };
    let output = compact("8");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "compacted revision 8\n");
    let refused = compact("8");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("has been compacted"));

    for round in ["as it is", "begun again"] {
        for node in cluster.nodes() {
            cluster.wait_until_caught_up(node, Duration::from_secs(20));
            assert!(is_forgotten(&read_at(&cluster, node, 7)), "node {node}, {round}");
            let (status, answer) = read_at(&cluster, node, 8);
            assert_eq!((status, &answer["kvs"][0]["value"]), (200, &json!("Nw==")), "node {node}, {round}");
            assert_eq!(cluster.post(node, "/raft/admin/snapshot", &json!({})).0, 200);
        }
        cluster.restart();
        cluster.wait_for_leader(Duration::from_secs(20));
    }
}

#[test]
fn a_leader_that_is_told_how_many_revisions_to_keep_compacts_by_itself() {
    let mut cluster = Cluster::new(PROGRAM, 3);
    let flags = ["--auto-compaction-retention", "10", "--auto-compaction-interval-ms", "50"];
    cluster.flags = flags.map(str::to_owned).to_vec();
    for node in cluster.nodes() {
        cluster.start(node);
    }
    cluster.wait_for_leader(Duration::from_secs(20));
    for number in 1..=30 {
        assert_eq!(cluster.put(1, "key", &number.to_string()).0, 200);
    }
    for node in cluster.nodes() {
        wait_until(Duration::from_secs(20), "the last compaction", || {
            is_forgotten(&read_at(&cluster, node, 20))
        });
        // Revision 31 is the last, so ten are kept before it.
        assert_eq!(read_at(&cluster, node, 21).0, 200);
    }
}
