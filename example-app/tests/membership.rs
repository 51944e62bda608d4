//! Members come and go in a cluster of processes, under load.

use std::{process::Command, time::Duration};

use serde_json::json;

use super::{
    PROGRAM,
    harness::{Cluster, load::Load, wait_until},
};

/// What a change is answered with while the one before is not committed. The leader makes some by itself: it
/// promotes who was added, and writes down as what a new member speaks.
const UNDER_WAY: &str = "another change of members is under way";

/// Runs the client, and gives what it prints. It is run again where another change of members is under way.
pub(crate) fn run(cluster: &Cluster, arguments: &[&str]) -> String {
    let endpoints: Vec<String> = cluster.nodes().map(|node| cluster.address(node)).collect();
    let mut said = String::new();
    wait_until(Duration::from_secs(20), &format!("{arguments:?} to be done"), || {
        let mut command = Command::new(PROGRAM);
        let output = command.args(arguments).args(["--endpoints", &endpoints.join(",")]).output();
        let output = output.expect("the program can be run");
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        let failure = String::from_utf8_lossy(&output.stderr);
        let is_done = output.status.success();
        assert!(is_done || failure.contains(UNDER_WAY), "{arguments:?}: {said}{failure}");
        is_done
    });
    said
}

fn wait_until_voting(cluster: &Cluster, asked: usize, voters: &[u64]) {
    wait_until(Duration::from_secs(20), &format!("node {asked} to see {voters:?} vote"), || {
        cluster.status(asked).is_some_and(|status| {
            let seen: Vec<u64> = status.membership.voters.iter().map(|node| node.0).collect();
            seen == voters && status.membership.outgoing.is_empty()
        })
    });
}

#[test]
fn three_nodes_become_five_and_lose_their_first_leader_with_all_data_there() {
    let mut cluster = Cluster::growing(PROGRAM, 3, 2);
    let first = cluster.wait_for_leader(Duration::from_secs(10));
    let follower = (1..=3).find(|node| *node != first).expect("there are three");
    let load = Load::start(&[cluster.address(follower)], 4, Duration::from_millis(5));

    // By the command line, and the node is started after it is added, as etcd's users do.
    let said = run(&cluster, &["member", "add", "4", &cluster.address(4)]);
    assert!(said.contains("learner"), "{said}");
    cluster.start(4);
    wait_until_voting(&cluster, 4, &[1, 2, 3, 4]);

    // Through a node that does not lead, and the node is there before it is added.
    cluster.start(5);
    let body = json!({ "node": 5, "address": cluster.address(5) });
    wait_until(Duration::from_secs(20), "node 5 to be a learner", || {
        let (status, answer) = cluster.post(follower, "/raft/admin/learner", &body);
        let is_done = status == 200 && answer["membership"]["learners"] == json!([5]);
        assert!(is_done || answer.to_string().contains(UNDER_WAY), "{status}: {answer}");
        is_done
    });
    wait_until(Duration::from_secs(20), "node 5 to be promoted", || {
        cluster.post(follower, "/raft/admin/promote", &json!({ "node": 5 })).0 == 200
    });
    wait_until_voting(&cluster, 5, &[1, 2, 3, 4, 5]);

    let said = run(&cluster, &["member", "remove", &first.to_string()]);
    assert!(!said.contains(&cluster.address(first)), "{said}");
    let next = cluster.wait_for_leader(Duration::from_secs(10));
    assert_ne!(next, first);
    cluster.kill(first);

    let record = load.stop();
    let rest: Vec<u64> = (1..=5).filter(|node| *node != first as u64).collect();
    for node in rest.iter().map(|node| *node as usize) {
        wait_until_voting(&cluster, node, &rest);
        cluster.wait_until_caught_up(node, Duration::from_secs(10));
        let audit = cluster.audit(node, &record);
        assert_eq!((&audit.lost, &audit.twice, &audit.invented), (&vec![], &vec![], &vec![]), "node {node}");
        assert_eq!(audit.found, record.acknowledged.len(), "node {node}");
    }
    assert!(record.acknowledged.len() > 50, "the load was real: {}", record.acknowledged.len());

    // Those who joined come back as members, and the cluster outlives another of the first.
    cluster.kill(4);
    cluster.kill(follower);
    cluster.start(4);
    cluster.wait_for_leader(Duration::from_secs(20));
    let survivor = (1..=3).find(|node| *node != first && *node != follower).expect("there are three");
    assert_eq!(cluster.put(survivor, "after", "all").0, 200);
    assert_eq!(cluster.get(4, "after").as_deref(), Some("all"));
}

#[test]
fn a_dead_node_is_added_as_a_learner_only_and_can_be_removed() {
    let cluster = Cluster::growing(PROGRAM, 3, 1);
    let body = json!({ "node": 4, "address": cluster.address(4) });
    assert_eq!(cluster.post(1, "/raft/admin/learner", &body).0, 200);
    let (status, answer) = cluster.post(2, "/raft/admin/promote", &json!({ "node": 4 }));
    assert_eq!((status, answer["code"].as_u64()), (400, Some(9)), "{answer}");
    assert!(answer["message"].as_str().is_some_and(|words| words.contains("does not answer")), "{answer}");
    assert_eq!(cluster.post(3, "/v3/cluster/member/remove", &json!({ "ID": "4" })).0, 200);
    let (status, answer) = cluster.post(3, "/v3/cluster/member/remove", &json!({ "ID": "4" }));
    assert_eq!((status, answer["code"].as_u64()), (404, Some(5)), "{answer}");
    let list = run(&cluster, &["member", "list"]);
    assert_eq!(list.lines().count(), 4, "a heading and three: {list}");
}

#[test]
fn a_node_that_moves_is_reached_at_its_new_address() {
    let mut cluster = Cluster::growing(PROGRAM, 3, 1);
    let leader = cluster.wait_for_leader(Duration::from_secs(10));
    let moved = (1..=3).find(|node| *node != leader).expect("there are three");
    cluster.kill(moved);
    cluster.exchange_addresses(moved, 4);
    let new = cluster.address(moved);
    run(&cluster, &["member", "update", &moved.to_string(), &new]);
    cluster.start(moved);
    assert_eq!(cluster.put(leader, "key", "value").0, 200);
    cluster.wait_until_caught_up(moved, Duration::from_secs(10));
    assert_eq!(cluster.get(moved, "key").as_deref(), Some("value"));
}
