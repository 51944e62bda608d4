//! A cluster at peace.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    PROGRAM,
    harness::{Cluster, wait_until},
};

#[test]
fn a_leader_is_elected_within_two_seconds_of_the_last_nodes_start() {
    let mut cluster = Cluster::new(PROGRAM, 3);
    for node in cluster.nodes() {
        cluster.start(node);
    }
    wait_until(Duration::from_secs(10), "the last node to answer", || cluster.status(3).is_some());
    let up = Instant::now();
    cluster.wait_for_leader(Duration::from_secs(2));
    println!("a leader {:?} after the last node was up", up.elapsed());
}

#[test]
fn a_put_through_any_node_is_seen_by_a_get_through_any_other() {
    let cluster = Cluster::started(PROGRAM, 3);
    for writer in cluster.nodes() {
        for reader in cluster.nodes() {
            let value = format!("{writer} to {reader}");
            let (status, answer) = cluster.put(writer, "key", &value);
            assert_eq!(status, 200, "{answer}");
            assert_eq!(cluster.get(reader, "key"), Some(value));
        }
    }
}

#[test]
fn every_node_answers_for_the_cluster() {
    let cluster = Cluster::started(PROGRAM, 3);
    cluster.put(1, "key", "value");
    for node in cluster.nodes() {
        let (_, members) = cluster.post(node, "/v3/cluster/member/list", &json!({}));
        assert_eq!(members["members"].as_array().expect("a list").len(), 3);
        assert_eq!(members["members"][1]["clientURLs"][0], format!("http://{}", cluster.address(2)));
        let (_, status) = cluster.post(node, "/v3/maintenance/status", &json!({}));
        assert_eq!(status["header"]["member_id"], node.to_string());
        let log = cluster.log(node);
        assert!(
            log.lines().all(|line| line.contains(&format!("node{node}"))),
            "a line without the id: {log}"
        );
    }
}

#[test]
fn one_node_alone_is_a_cluster() {
    let mut cluster = Cluster::started(PROGRAM, 1);
    assert_eq!(cluster.put(1, "a", "1").0, 200);
    cluster.kill(1);
    cluster.start(1);
    cluster.wait_for_leader(Duration::from_secs(10));
    assert_eq!(cluster.get(1, "a").as_deref(), Some("1"));
}
