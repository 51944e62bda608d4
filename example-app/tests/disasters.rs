//! Disks and majorities that are lost for good.

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use super::{
    PROGRAM,
    harness::{Cluster, wait_until},
};

fn recover(cluster: &Cluster, node: usize, flags: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(PROGRAM);
    command.args(["recover", "--data"]).arg(cluster.data(node)).args(flags);
    let Output { status, stdout, stderr } = command.output().expect("the program can be run");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

fn wait_until_voting(cluster: &Cluster, asked: usize, voters: &[u64]) {
    wait_until(Duration::from_secs(30), &format!("node {asked} to see {voters:?} vote"), || {
        cluster.status(asked).is_some_and(|status| {
            let seen: Vec<u64> = status.membership.voters.iter().map(|node| node.0).collect();
            seen == voters && status.membership.outgoing.is_empty()
        })
    });
}

fn refusal(cluster: &Cluster, node: usize) -> String {
    cluster.status(node).and_then(|status| status.refusal).unwrap_or_default()
}

/// Waits until the leader has recorded who is who: it takes an entry after the first of its term.
fn wait_until_recorded(cluster: &Cluster) {
    wait_until(Duration::from_secs(20), "the members to be recorded", || {
        cluster.nodes().all(|node| {
            cluster.status(node).is_some_and(|status| {
                let recorded = status.membership.log_id.index;
                recorded.0 > 1 && status.commit_index >= recorded
            })
        })
    });
}

#[test]
fn a_node_that_lost_its_folder_is_not_believed_until_it_is_added_anew() {
    let mut cluster = Cluster::started(PROGRAM, 3);
    wait_until_recorded(&cluster);
    let leader = cluster.wait_for_leader(Duration::from_secs(10));
    let lost = cluster.nodes().find(|node| *node != leader).expect("there are three");
    let other = cluster.nodes().find(|node| *node != leader && *node != lost).expect("there are three");
    assert_eq!(cluster.put(leader, "key", "value").0, 200);
    cluster.kill(lost);
    fs::remove_dir_all(cluster.data(lost)).expect("its disk is lost");
    cluster.start(lost);
    let expected = format!("this folder is not the one that node {lost} had");
    wait_until(Duration::from_secs(20), "the node to know", || refusal(&cluster, lost).contains(&expected));
    assert!(cluster.log(lost).contains(&expected));
    assert_eq!(cluster.leader(), Some(leader), "nobody is disturbed");

    // It does not make up a majority with a node that is behind.
    cluster.kill(leader);
    std::thread::sleep(Duration::from_secs(3));
    assert!(cluster.leader().is_none(), "two of three run, but only one is believed");
    cluster.start(leader);
    let leader = cluster.wait_for_leader(Duration::from_secs(20));
    assert_ne!(leader, lost);
    assert_eq!(cluster.get(other, "key").as_deref(), Some("value"));
}

#[test]
fn one_node_that_is_left_becomes_the_cluster_with_everything_that_was_acknowledged() {
    let mut cluster = Cluster::growing(PROGRAM, 3, 2);
    let leader = cluster.wait_for_leader(Duration::from_secs(10));
    for number in 0..40 {
        assert_eq!(cluster.put(leader, &format!("key {number}"), &format!("value {number}")).0, 200);
    }
    cluster.wait_until_caught_up(1, Duration::from_secs(10));
    let aside = cluster.data(2).with_extension("aside");
    for node in [2, 3] {
        cluster.kill(node);
    }
    fs::rename(cluster.data(2), &aside).expect("it comes back later");
    fs::remove_dir_all(cluster.data(3)).expect("it is lost");
    assert_ne!(cluster.put(1, "late", "lost").0, 200, "one of three commits nothing");

    let (code, said) = recover(&cluster, 1, &["--look"]);
    assert!(code == Some(1) && said.contains("in use by process"), "while it runs: {said}");
    cluster.kill(1);
    let (code, said) = recover(&cluster, 1, &["--look"]);
    assert!(code == Some(0) && said.contains("voters:       1, 2, 3"), "{said}");
    let (code, said) = recover(&cluster, 1, &[]);
    assert!(code == Some(1) && said.contains("are lost for good"), "{said}");
    let (code, said) = recover(&cluster, 3, &["--look"]);
    assert!(code == Some(1) && said.contains("there is no node in"), "{said}");
    assert!(!cluster.data(3).exists(), "to look makes nothing");
    let (code, said) = recover(&cluster, 1, &["--yes-i-know-that-writes-may-be-lost"]);
    assert!(code == Some(0) && said.contains("node 1 is the cluster, alone"), "{said}");

    cluster.start(1);
    assert_eq!(cluster.wait_for_leader(Duration::from_secs(20)), 1);
    for number in 0..40 {
        assert_eq!(cluster.get(1, &format!("key {number}")), Some(format!("value {number}")));
    }
    assert_eq!(cluster.put(1, "after", "all").0, 200);
    for node in [4, 5] {
        cluster.start(node);
        let (id, address) = (node.to_string(), cluster.address(node));
        let output = Command::new(PROGRAM)
            .args(["member", "add", &id, &address, "--endpoints", &cluster.address(1)])
            .output()
            .expect("the program can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    wait_until_voting(&cluster, 1, &[1, 4, 5]);
    wait_until_voting(&cluster, 5, &[1, 4, 5]);

    // An old member comes back with all that it had, and is sent away.
    fs::rename(&aside, cluster.data(2)).expect("here it is again");
    cluster.start(2);
    wait_until(Duration::from_secs(20), "node 2 to be refused", || {
        cluster.log(2).contains("node 2 is not a member of the cluster")
            || refusal(&cluster, 2).contains("recovered from a single node")
    });
    assert_eq!(cluster.status(2).and_then(|status| status.leader), None);

    cluster.kill(1);
    cluster.wait_for_leader(Duration::from_secs(20));
    assert_eq!(cluster.get(5, "after").as_deref(), Some("all"));
    assert_eq!(cluster.get(4, "key 39").as_deref(), Some("value 39"));
    assert_eq!(cluster.put(4, "more", "of it").0, 200);
}
