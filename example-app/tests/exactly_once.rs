//! Writes that are sent again to a cluster whose leaders are killed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    PROGRAM,
    harness::{Cluster, agent, wait_until},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// One attempt; none where there is no answer.
fn attempt(
    agent: &ureq::Agent,
    address: &str,
    session: &str,
    sequence: u64,
    key: &str,
) -> Option<(u16, Value)> {
    let body = json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(sequence.to_string()) });
    let post = agent.post(format!("http://{address}/v3/kv/put"));
    let post = post.header("Raft-Session", session).header("Raft-Sequence", sequence.to_string());
    let mut answer = post.send(body.to_string()).ok()?;
    Some((answer.status().as_u16(), answer.body_mut().read_json().ok()?))
}

/// Sends the same pair to one node after the other until it is answered; tells how often it was sent. Each
/// sequence begins at another node, so that some begin at one that is gone.
fn write(addresses: &[String], session: &str, sequence: u64, key: &str) -> (Value, u64) {
    let agent = agent(Duration::from_secs(1));
    let until = Instant::now() + PATIENCE;
    let from = sequence as usize % addresses.len();
    for (sent, address) in (1..).zip(addresses.iter().cycle().skip(from)) {
        match attempt(&agent, address, session, sequence, key) {
            Some((200, answer)) => return (answer, sent),
            Some((status @ (400 | 404), answer)) => panic!("refused with {status}: {answer}"),
            _ => assert!(Instant::now() < until, "sequence {sequence} was not answered in {PATIENCE:?}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
    unreachable!("the addresses are never all tried")
}

fn open(cluster: &Cluster) -> String {
    let (status, opened) = cluster.post(1, "/raft/session", &json!({}));
    assert_eq!(status, 200, "{opened}");
    opened["session"].as_str().expect("a number as a string").to_owned()
}

fn version(cluster: &Cluster, node: usize, key: &str) -> Option<u64> {
    let (status, answer) = cluster.post(node, "/v3/kv/range", &json!({ "key": STANDARD.encode(key) }));
    assert_eq!(status, 200, "{answer}");
    answer["kvs"][0]["version"].as_str().and_then(|version| version.parse().ok())
}

#[test]
fn a_retry_gets_the_first_answer_after_the_leader_is_killed_and_after_all_nodes_restart() {
    let mut cluster = Cluster::started(PROGRAM, 3);
    let session = open(&cluster);
    let addresses: Vec<String> = cluster.nodes().map(|node| cluster.address(node)).collect();
    let leader = cluster.wait_for_leader(PATIENCE);
    let (first, _) = write(&addresses[leader - 1..leader], &session, 1, "once");
    cluster.put(leader, "another", "so that the revision moves on");
    cluster.kill(leader);
    let (again, _) = write(&addresses, &session, 1, "once");
    assert_eq!(again["header"]["revision"], first["header"]["revision"]);

    cluster.start(leader);
    cluster.restart();
    cluster.wait_for_leader(PATIENCE);
    let (restarted, _) = write(&addresses, &session, 1, "once");
    assert_eq!(restarted["header"]["revision"], first["header"]["revision"]);
    for node in cluster.nodes() {
        cluster.wait_until_caught_up(node, PATIENCE);
        assert_eq!(version(&cluster, node, "once"), Some(1), "applied once");
    }
    let agent = agent(PATIENCE);
    let unknown = attempt(&agent, &addresses[0], "424242", 1, "once").expect("an answer");
    assert_eq!((unknown.0, unknown.1["code"].as_u64()), (404, Some(5)));
}

#[test]
fn writes_that_are_retried_while_leaders_are_killed_are_each_applied_once() {
    const KILLS: usize = 4;
    let mut cluster = Cluster::started(PROGRAM, 3);
    let session = open(&cluster);
    let addresses: Vec<String> = cluster.nodes().map(|node| cluster.address(node)).collect();
    let (acknowledged, sent, stop) =
        (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (acknowledged, sent, stop) = (acknowledged.clone(), sent.clone(), stop.clone());
        thread::spawn(move || {
            for sequence in 1.. {
                if stop.load(Ordering::Relaxed) > 0 {
                    break;
                }
                let (_, attempts) = write(&addresses, &session, sequence, "counted");
                acknowledged.store(sequence, Ordering::Relaxed);
                sent.fetch_add(attempts, Ordering::Relaxed);
            }
        })
    };
    for _ in 0..KILLS {
        let leader = cluster.wait_for_leader(PATIENCE);
        let before = acknowledged.load(Ordering::Relaxed);
        wait_until(PATIENCE, "writes under this leader", || {
            acknowledged.load(Ordering::Relaxed) > before + 20
        });
        cluster.kill(leader);
        let before = acknowledged.load(Ordering::Relaxed);
        wait_until(PATIENCE, "writes without it", || acknowledged.load(Ordering::Relaxed) > before + 20);
        cluster.start(leader);
        cluster.wait_until_caught_up(leader, PATIENCE);
    }
    stop.store(1, Ordering::Relaxed);
    writer.join().expect("every write was answered");
    let (acknowledged, sent) = (acknowledged.load(Ordering::Relaxed), sent.load(Ordering::Relaxed));
    println!("{KILLS} kills: {acknowledged} writes acknowledged, sent {sent} times");
    for node in cluster.nodes() {
        cluster.wait_until_caught_up(node, PATIENCE);
        assert_eq!(version(&cluster, node, "counted"), Some(acknowledged), "each applied once");
    }
    assert!(sent > acknowledged, "nothing was sent again, so nothing was shown");
}
