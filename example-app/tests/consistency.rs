//! Reads that ask for less than a round of heartbeats, over HTTP.

use std::{thread, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    PROGRAM,
    harness::{Cluster, agent, wait_until},
};

/// What a node answers to a read of `key` that may be served from a lease: the value, or nothing where it
/// refuses.
fn read_by_lease(address: &str, key: &str) -> Option<String> {
    let post = agent(Duration::from_secs(20)).post(format!("http://{address}/v3/kv/range"));
    let body = json!({ "key": STANDARD.encode(key) }).to_string();
    let mut answer = post.header("Raft-Consistency", "lease").send(body).ok()?;
    if answer.status().as_u16() != 200 {
        return None;
    }
    let answer: Value = answer.body_mut().read_json().expect("JSON");
    let value = STANDARD.decode(answer["kvs"][0]["value"].as_str()?).expect("base64");
    Some(String::from_utf8(value).expect("the tests' values are text"))
}

#[test]
fn a_lease_read_sees_what_was_acknowledged_on_any_node() {
    let mut cluster = Cluster::new(PROGRAM, 3);
    cluster.flags = ["--lease-reads", "true"].map(str::to_owned).to_vec();
    cluster.nodes().for_each(|node| cluster.start(node));
    cluster.wait_for_leader(Duration::from_secs(20));
    for round in 0..20 {
        let value = round.to_string();
        assert_eq!(cluster.put(1 + round % 3, "key", &value).0, 200);
        for node in cluster.nodes() {
            assert_eq!(read_by_lease(&cluster.address(node), "key"), Some(value.clone()));
        }
    }
}

#[test]
fn a_leader_that_was_frozen_answers_no_queued_lease_read_with_what_is_stale() {
    let mut cluster = Cluster::new(PROGRAM, 3);
    cluster.flags = ["--lease-reads", "true"].map(str::to_owned).to_vec();
    cluster.nodes().for_each(|node| cluster.start(node));
    for round in 0..3 {
        let old = cluster.wait_for_leader(Duration::from_secs(20));
        let (before, after) = (format!("{round} before"), format!("{round} after"));
        assert_eq!(cluster.put(old, "key", &before).0, 200);
        assert_eq!(read_by_lease(&cluster.address(old), "key"), Some(before), "its lease is fresh");
        cluster.freeze(old);
        // Its system takes the connection, and the read waits there until the process goes on.
        let address = cluster.address(old);
        let queued = thread::spawn(move || read_by_lease(&address, "key"));
        wait_until(Duration::from_secs(20), "another leader", || {
            cluster.leader().is_some_and(|leader| leader != old)
        });
        let new = cluster.leader().expect("it was there just now");
        assert_eq!(cluster.put(new, "key", &after).0, 200);
        cluster.thaw(old);
        let answer = queued.join().expect("no panic");
        assert!(answer.is_none() || answer == Some(after), "stale: {answer:?}");
        cluster.wait_until_caught_up(old, Duration::from_secs(20));
    }
}
