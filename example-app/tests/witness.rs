//! Two full nodes and a witness, each a process: leaders are killed under load, and nothing is lost.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    PROGRAM,
    harness::{Cluster, load::Load, wait_until},
    membership::run,
};

const WITNESS: usize = 3;
const KILLS: usize = 8;

#[test]
fn two_nodes_and_a_witness_outlive_their_killed_leaders_with_every_acknowledged_write() {
    let mut cluster = Cluster::new(PROGRAM, 3);
    cluster.witness = Some(WITNESS);
    // Logs are compacted all the while.
    cluster.flags = ["--snapshot-entries", "200", "--trailing-entries", "20"].map(String::from).to_vec();
    for node in 1..=3 {
        cluster.start(node);
    }
    let full: Vec<String> = (1..=2).map(|node| cluster.address(node)).collect();
    let load = Load::start(&full, 4, Duration::from_millis(2));
    let mut gaps = Vec::new();
    for _ in 0..KILLS {
        let mut leader = WITNESS;
        wait_until(Duration::from_secs(20), "a full node to lead", || {
            leader = cluster.leader().unwrap_or(WITNESS);
            leader != WITNESS
        });
        let killed = Instant::now();
        cluster.kill(leader);
        let gap = load.first_answer_after(killed, Duration::from_secs(20));
        gaps.push(gap.expect("writes go on with the other node and the witness"));
        // What is acknowledged now is on the other and on the witness only.
        thread::sleep(Duration::from_millis(300));
        cluster.start(leader);
        cluster.wait_until_caught_up(leader, Duration::from_secs(20));
    }
    let record = load.stop();
    gaps.sort();
    println!(
        "{KILLS} kills: {} writes acknowledged, {} without an answer; from the kill to the first \
         acknowledged write: median {:?}, longest {:?}",
        record.acknowledged.len(),
        record.unknown.len(),
        gaps[KILLS / 2],
        gaps[KILLS - 1],
    );
    for node in 1..=2 {
        let audit = cluster.audit(node, &record);
        assert_eq!((&audit.lost, &audit.twice, &audit.invented), (&vec![], &vec![], &vec![]), "node {node}");
        assert_eq!(audit.found, record.acknowledged.len(), "node {node}");
    }
    assert!(record.acknowledged.len() > 50 * KILLS, "the load was real");
    assert_eq!(record.stale_reads, Vec::<String>::new());
    wait_until(Duration::from_secs(20), "the witness to compact its log", || {
        cluster.status(WITNESS).is_some_and(|status| status.first_index.0 > 200)
    });
}

#[test]
fn a_witness_answers_for_the_cluster_and_refuses_keys() {
    let mut cluster = Cluster::new(PROGRAM, 3);
    cluster.witness = Some(WITNESS);
    for node in 1..=3 {
        cluster.start(node);
    }
    cluster.wait_for_leader(Duration::from_secs(20));
    assert_eq!(cluster.put(1, "key", "value").0, 200);
    let key = json!({ "key": "a2V5", "value": "" });
    for path in ["/v3/kv/put", "/v3/kv/range", "/v3/kv/deleterange", "/v3/kv/txn"] {
        let body = if path.ends_with("txn") { json!({}) } else { key.clone() };
        let (status, answer) = cluster.post(WITNESS, path, &body);
        let words = answer["message"].as_str().unwrap_or_default();
        assert!(status == 503 && words.contains("is a witness"), "{path}: {status} {answer}");
    }
    let status = cluster.status(WITNESS).expect("it answers");
    assert_eq!(status.membership.witnesses.len(), 1);
    wait_until(Duration::from_secs(10), "the witness to be healthy", || get(&cluster, "/health").0 == 200);
    assert_eq!(get(&cluster, "/readyz"), (503, READY.to_owned()));
    // The client goes on to the next where the first is the witness.
    let endpoints = format!("{},{}", cluster.address(WITNESS), cluster.address(2));
    let said = std::process::Command::new(PROGRAM).args(["get", "key", "--endpoints", &endpoints]).output();
    let said = String::from_utf8_lossy(&said.expect("the program can be run").stdout).into_owned();
    assert!(said.contains("value"), "{said}");
}

const READY: &str = "not ready: this node is a witness: it votes, and holds no keys; ask another member\n";

fn get(cluster: &Cluster, path: &str) -> (u16, String) {
    let agent = super::harness::agent(Duration::from_secs(8));
    let mut answer =
        agent.get(format!("http://{}{path}", cluster.address(WITNESS))).call().expect("an answer");
    (answer.status().as_u16(), answer.body_mut().read_to_string().expect("a body"))
}

#[test]
fn a_witness_joins_and_priorities_are_set_from_the_command_line() {
    let mut cluster = Cluster::growing(PROGRAM, 2, 1);
    cluster.witness = Some(WITNESS);
    let said = run(&cluster, &["member", "add", "3", &cluster.address(3), "--witness"]);
    assert!(said.contains("log"), "{said}");
    cluster.start(3);
    wait_until(Duration::from_secs(20), "the witness to vote", || {
        cluster.status(3).is_some_and(|status| status.membership.voters.len() == 3)
    });
    let said = run(&cluster, &["member", "priority", "2", "7"]);
    assert!(said.lines().any(|line| line.starts_with('2') && line.contains(" 7 ")), "{said}");
    let status = cluster.status(1).expect("it runs");
    assert_eq!(json!(status.membership.priorities), json!({ "2": 7 }));
    cluster.kill(1);
    wait_until(Duration::from_secs(20), "node 2 to lead", || cluster.leader() == Some(2));
    wait_until(Duration::from_secs(10), "a write", || cluster.put(2, "key", "value").0 == 200);
}

#[test]
fn a_node_that_is_not_what_the_members_say_ends_with_a_sentence() {
    let mut cluster = Cluster::growing(PROGRAM, 3, 1);
    let body = json!({ "witnesses": { "4": cluster.address(4) } });
    assert_eq!(cluster.post(1, "/raft/admin/membership", &body).0, 200);
    cluster.start(4);
    wait_until(Duration::from_secs(20), "node 4 to end", || {
        cluster.log(4).contains("node 4 is a witness by the members, and was started as a full member")
    });
}
