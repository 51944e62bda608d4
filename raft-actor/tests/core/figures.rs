//! The paper's two figures of logs that have come apart, as schedules.

use std::time::Duration;

use raft_actor::{
    core::Input,
    types::{LogIndex, NodeId, Role, Term},
};

use super::{
    cluster::{Cluster, disk, voters},
    one::{One, append, id, matched},
};

#[test]
fn figure_7_every_follower_comes_to_hold_the_leaders_log() {
    let leader: &[u64] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [&[u64]; 6] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    let mut cluster = Cluster::new(7);
    cluster.place(NodeId(1), disk(7, leader));
    for (follower, id) in followers.into_iter().zip(2..) {
        cluster.place(NodeId(id), disk(7, follower));
    }
    cluster.elect(1);
    cluster.pass(Duration::from_millis(200));
    let expected = cluster.nodes[&NodeId(1)].disk.entries.clone();
    assert_eq!(expected.len(), 11, "its log and the first entry of term 8");
    for (id, node) in &cluster.nodes {
        assert_eq!(node.disk.entries, expected, "node {id}");
        assert_eq!(node.applied, expected, "node {id}");
    }
}

#[test]
fn figure_8_an_entry_of_an_earlier_term_is_not_committed_by_counting() {
    // (c): S1 leads term 4 and has brought the entry of term 2 to S2 and S3, a majority.
    let mut one = One::new(voters(5), 3, None, &[1, 2]);
    one.win();
    assert_eq!(one.raft.term(), Term(4));
    one.receive(2, matched(4, 2));
    one.receive(3, matched(4, 2));
    assert_eq!(one.raft.commit_index(), LogIndex(0), "S5 could still overwrite it, as in (d)");
    // (e): an entry of term 4 on a majority commits both.
    one.receive(2, matched(4, 3));
    assert_eq!(one.raft.commit_index(), LogIndex(0));
    one.receive(3, matched(4, 3));
    assert_eq!(one.raft.commit_index(), LogIndex(3));
}

#[test]
fn figure_8_the_exact_schedule_loses_nothing_that_was_committed() {
    let mut cluster = Cluster::new(5);
    // (a) S1 leads term 2; its entry reached S2. (b) S5 led term 3 with an entry of its own.
    for (node, terms) in [(1, &[1, 2][..]), (2, &[1, 2]), (3, &[1]), (4, &[1]), (5, &[1, 3])] {
        cluster.place(NodeId(node), disk(3, terms));
    }
    // (c) S1 leads term 4, brings the entry of term 2 to S3, and crashes before its own entry gets anywhere.
    cluster.isolate(5);
    cluster.input(1, Input::Campaign);
    for _ in 0..1000 {
        if cluster.raft(1).role() == Role::Leader {
            break;
        }
        cluster.flush(1);
        for node in 2..5 {
            cluster.flush(node);
        }
        if !cluster.wire.is_empty() {
            cluster.deliver(0);
        }
    }
    assert_eq!(cluster.raft(1).term(), Term(4));
    cluster.input(3, Input::Receive { from: NodeId(1), message: append(4, id(1, 1), &[2], 0) });
    cluster.flush(3);
    let reply = Input::Receive { from: NodeId(3), message: matched(4, 2) };
    cluster.input(1, reply);
    let reply = Input::Receive { from: NodeId(2), message: matched(4, 2) };
    cluster.input(1, reply);
    assert_eq!(cluster.raft(1).commit_index(), LogIndex(0));
    cluster.crash(1);
    cluster.wire.clear();
    // (d) S5 wins with S2, S3 or S4, and overwrites the entry of term 2. No committed entry is lost: there
    // is none.
    cluster.heal();
    cluster.pass(Duration::from_millis(400));
    cluster.input(5, Input::Campaign);
    cluster.settle();
    cluster.pass(Duration::from_secs(3));
    let leader = cluster.leader().expect("a leader").0;
    let expected = cluster.nodes[&NodeId(leader)].disk.entries.clone();
    for node in 2..=5 {
        assert_eq!(cluster.nodes[&NodeId(node)].disk.entries, expected, "node {node}");
    }
    assert!(cluster.raft(leader).commit_index().0 >= 2);
}
