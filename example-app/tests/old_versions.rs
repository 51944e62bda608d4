//! Nodes that have old versions of their keys on the disk.

use std::time::Duration;

use serde_json::{Value, json};

use super::{PROGRAM, harness::Cluster};

/// Sets the key "key" at the revisions from 2 on; two of the values do not share a block.
fn fill(cluster: &Cluster, leader: usize, times: usize) {
    for number in 0..times {
        assert_eq!(cluster.put(leader, "key", &value(number)).0, 200);
    }
}

fn value(number: usize) -> String {
    number.to_string().repeat(700)
}

/// What `node` itself answers to a read of the key "key" at `revision`.
fn read_at(cluster: &Cluster, node: usize, revision: usize) -> (u16, Value) {
    let read = json!({ "key": "a2V5", "revision": revision.to_string(), "serializable": true });
    cluster.post(node, "/v3/kv/range", &read)
}

#[test]
fn old_versions_are_read_from_the_disk_as_they_were_also_after_a_restart() {
    let mut cluster = Cluster::started(PROGRAM, 3);
    let leader = cluster.wait_for_leader(Duration::from_secs(20));
    let times = 30;
    fill(&cluster, leader, times);
    let mut answers: Vec<Value> = Vec::new();
    for round in ["out of the log", "out of a snapshot"] {
        for node in cluster.nodes() {
            cluster.wait_until_caught_up(node, Duration::from_secs(20));
            let told: Vec<Value> = (2..times + 2)
                .map(|revision| {
                    let (status, answer) = read_at(&cluster, node, revision);
                    assert_eq!(status, 200, "node {node}, revision {revision}, {round}: {answer}");
                    answer["kvs"].clone()
                })
                .collect();
            if answers.is_empty() {
                let revisions = told.iter().map(|kvs| kvs[0]["mod_revision"].as_str().map(str::to_owned));
                assert!(revisions.eq((2..times + 2).map(|revision| Some(revision.to_string()))));
                answers.clone_from(&told);
            }
            assert_eq!(told, answers, "node {node}, {round}");
            assert_eq!(cluster.post(node, "/raft/admin/snapshot", &json!({})).0, 200);
        }
        cluster.restart();
        cluster.wait_for_leader(Duration::from_secs(20));
    }
}

/// The file without a name that a node has in its folder, through the door that the system has for it.
#[cfg(target_os = "linux")]
fn archive(cluster: &Cluster, node: usize) -> std::fs::File {
    let data = std::fs::canonicalize(cluster.data(node)).expect("it is there");
    let descriptors = format!("/proc/{}/fd", cluster.process(node));
    let descriptors = std::fs::read_dir(descriptors).expect("it runs").flatten();
    let is_archive = |path: &std::path::PathBuf| {
        let target = std::fs::read_link(path).unwrap_or_default();
        target.parent() == Some(&data) && target.to_string_lossy().ends_with("(deleted)")
    };
    let path = descriptors.map(|descriptor| descriptor.path()).find(is_archive);
    let path = path.expect("old versions are in a file without a name");
    std::fs::OpenOptions::new().write(true).open(path).expect("it can be opened")
}

#[cfg(target_os = "linux")]
#[test]
fn a_node_whose_old_versions_are_damaged_says_so_and_stops_and_is_whole_when_it_starts_again() {
    use super::harness::agent;
    use std::os::unix::fs::FileExt;

    let mut cluster = Cluster::started(PROGRAM, 1);
    fill(&cluster, 1, 5);
    let whole = read_at(&cluster, 1, 2);
    archive(&cluster, 1).write_all_at(b"damage", 100).expect("it is written");
    let (status, answer) = read_at(&cluster, 1, 2);
    let words = answer["message"].as_str().unwrap_or_default().to_owned();
    assert_eq!((status, &answer["code"]), (500, &json!(13)), "{answer}");
    assert!(words.contains("at offset 0") && words.contains("start the node again"), "{words}");

    // The process may end before it has told that it does.
    let put = json!({ "key": "a2V5", "value": "bGF0ZXI=" }).to_string();
    let answer =
        agent(Duration::from_secs(20)).post(format!("http://{}/v3/kv/put", cluster.address(1))).send(put);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() != 200));
    assert_eq!(cluster.wait_for_end(1, Duration::from_secs(20)), Ok(Some(70)));
    assert!(cluster.log(1).contains("file 1 of the archive"), "{}", cluster.log(1));
    cluster.start(1);
    cluster.wait_for_leader(Duration::from_secs(20));
    assert_eq!(read_at(&cluster, 1, 2).1["kvs"], whole.1["kvs"]);
}
