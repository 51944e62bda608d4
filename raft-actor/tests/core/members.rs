//! Raft §6, thesis §4: members come and go.

use std::time::Duration;

use raft_actor::{
    core::{Effect, Input},
    membership::{ChangeError, Membership, MembershipChange, MembershipError},
    types::{LogId, NodeId, Payload, Role},
};

use super::{
    cluster::{Cluster, voters},
    one::{One, matched},
};

pub(super) fn change() -> MembershipChange {
    MembershipChange::new()
}

pub(super) fn ids(nodes: impl IntoIterator<Item = u64>) -> Vec<NodeId> {
    nodes.into_iter().map(NodeId).collect()
}

pub(super) fn voting(membership: &Membership) -> Vec<u64> {
    membership.voters().iter().map(|node| node.0).collect()
}

/// What a node was told of change `number`.
pub(super) fn answer(cluster: &mut Cluster, node: u64, number: u64) -> Option<Result<LogId, ChangeError>> {
    cluster.told(node).into_iter().find_map(|effect| match effect {
        Effect::MembershipChanged { id, log_id } if id == number => Some(Ok(log_id)),
        Effect::MembershipRefused { id, reason } if id == number => Some(Err(reason)),
        _ => None,
    })
}

/// The memberships in a node's log.
pub(super) fn memberships(cluster: &Cluster, node: u64) -> Vec<Membership> {
    let entries = cluster.nodes[&NodeId(node)].log.entries.iter();
    let memberships = entries.filter_map(|entry| match &entry.payload {
        Payload::Membership(membership) => Some((**membership).clone()),
        _ => None,
    });
    memberships.collect()
}

/// Nodes 1 to `count` vote, node 1 leads, and the nodes of `learners` have caught up.
pub(super) fn with_learners(count: u64, learners: &[u64]) -> Cluster {
    let mut cluster = Cluster::new(count);
    cluster.elect(1);
    for (node, number) in learners.iter().zip(1000..) {
        cluster.join(*node);
        cluster.change(1, number, change().add_learner(NodeId(*node), format!("node-{node}")));
        cluster.settle();
        assert!(matches!(answer(&mut cluster, 1, number), Some(Ok(_))));
    }
    cluster.propose(1, "before");
    cluster.settle();
    cluster.pass(Duration::from_millis(100));
    cluster
}

/// All members of the cluster have the same log, and no change is under way.
pub(super) fn assert_settled(cluster: &Cluster, expected: &[u64]) {
    let leader = cluster.leader().expect("a leader").0;
    let membership = cluster.raft(leader).membership().clone();
    assert!(!membership.is_joint());
    assert_eq!(voting(&membership), expected);
    for node in membership.nodes() {
        let raft = cluster.raft(node.0);
        assert_eq!(raft.last_log_id(), cluster.raft(leader).last_log_id(), "node {node}");
        assert_eq!(*raft.membership(), membership, "node {node}");
        assert_eq!(raft.applied_index(), raft.last_log_id().index, "node {node}");
    }
}

#[test]
fn a_new_node_learns_first_and_its_vote_goes_through_a_joint_configuration() {
    let mut cluster = with_learners(3, &[4]);
    assert_eq!(cluster.raft(4).membership().learners().len(), 1);
    assert_eq!(cluster.nodes[&NodeId(4)].applied.len(), cluster.committed.len());
    cluster.change(1, 1, change().promote(NodeId(4)));
    assert!(cluster.raft(1).membership().is_joint(), "in force as soon as it is in the log");
    cluster.settle();
    assert!(matches!(answer(&mut cluster, 1, 1), Some(Ok(_))));
    let all = memberships(&cluster, 4);
    assert_eq!(all.iter().map(Membership::is_joint).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(all[1].outgoing().iter().copied().collect::<Vec<_>>(), ids(1..=3));
    cluster.pass(Duration::from_millis(100));
    assert_settled(&cluster, &[1, 2, 3, 4]);
}

#[test]
fn a_change_of_learners_and_addresses_only_is_one_entry() {
    let mut cluster = with_learners(3, &[4]);
    let both = change().set_address(NodeId(2), "elsewhere").remove(NodeId(4));
    cluster.change(1, 1, both);
    cluster.settle();
    assert!(matches!(answer(&mut cluster, 1, 1), Some(Ok(_))));
    let all = memberships(&cluster, 3);
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|membership| !membership.is_joint()));
    assert_eq!(cluster.raft(3).membership().address(NodeId(2)), Some("elsewhere"));
    assert_eq!(cluster.raft(3).peers().get(&NodeId(2)).map(String::as_str), Some("elsewhere"));
}

#[test]
fn two_of_three_are_replaced_at_once() {
    let mut cluster = with_learners(3, &[4, 5]);
    let swap = change().promote(NodeId(4)).promote(NodeId(5)).remove(NodeId(2)).remove(NodeId(3));
    cluster.change(1, 1, swap);
    cluster.settle();
    assert!(matches!(answer(&mut cluster, 1, 1), Some(Ok(_))));
    cluster.propose(1, "after");
    cluster.settle();
    cluster.pass(Duration::from_millis(100));
    assert_settled(&cluster, &[1, 4, 5]);
    for gone in [2, 3] {
        assert!(
            !cluster.raft(gone).membership().contains(NodeId(gone)),
            "node {gone} knows that it has left"
        );
        cluster.crash(gone);
    }
    cluster.crash(1);
    cluster.pass(Duration::from_secs(3));
    let leader = cluster.leader().expect("4 and 5 are two of three").0;
    assert!([4, 5].contains(&leader));
}

#[test]
fn both_halves_of_a_joint_configuration_must_agree() {
    for silent in [[4, 5], [2, 3]] {
        let mut cluster = with_learners(3, &[4, 5]);
        silent.into_iter().for_each(|node| cluster.isolate(node));
        let before = cluster.raft(1).commit_index();
        let swap = change().promote(NodeId(4)).promote(NodeId(5)).remove(NodeId(2)).remove(NodeId(3));
        cluster.change(1, 1, swap);
        cluster.pass(Duration::from_millis(200));
        assert_eq!(cluster.raft(1).commit_index(), before, "without {silent:?} one half has no majority");
        cluster.heal();
        cluster.pass(Duration::from_secs(3));
        assert_settled(&cluster, &[1, 4, 5]);
    }
}

/// The schedule of the bug in single-server changes that was found in 2015: a leader that has a change of its
/// own in its log, and is elected again, must commit something of its new term before it may change anything.
#[test]
fn two_changes_from_one_membership_are_never_both_committed() {
    let mut cluster = with_learners(4, &[5]);
    // Leader 1 has its change in its own log only.
    cluster.isolate(1);
    cluster.change(1, 1, change().promote(NodeId(5)));
    cluster.settle();
    // Leader 2 does not know of it, and commits another.
    cluster.pass(Duration::from_secs(2));
    let second = cluster.leader().expect("three of four elect").0;
    assert!([2, 3, 4].contains(&second));
    let third = [2, 3, 4].into_iter().find(|node| *node != second).expect("there are two others");
    cluster.change(second, 2, change().remove(NodeId(1)));
    cluster.settle();
    cluster.pass(Duration::from_millis(300));
    assert_eq!(voting(cluster.raft(second).membership()), [2, 3, 4]);
    // Node 1 may ask node 5 and one more: a majority of the voters that it has in mind needs another.
    cluster.heal();
    cluster.isolate(second);
    cluster.isolate(third);
    cluster.input(1, Input::Campaign);
    cluster.settle();
    assert_ne!(cluster.raft(1).role(), Role::Leader);
    cluster.heal();
    cluster.pass(Duration::from_secs(4));
    assert_settled(&cluster, &[2, 3, 4]);
    assert!(!memberships(&cluster, second).iter().any(|it| it.voters().contains(&NodeId(5))));
}

#[test]
fn a_new_leader_refuses_changes_until_an_entry_of_its_term_is_committed() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    one.win();
    let demote = || Input::ChangeMembership { id: 1, change: change().set_address(NodeId(3), "elsewhere") };
    let refused =
        |effects: Vec<Effect>| effects.iter().any(|effect| is_refused(effect, &ChangeError::NotReady));
    assert!(refused(one.input(demote())));
    one.receive(2, matched(2, 1));
    assert!(refused(one.input(demote())), "an entry of an earlier term is not enough");
    one.receive(2, matched(2, 2));
    assert!(!refused(one.input(demote())));
    assert_eq!(one.raft.membership().address(NodeId(3)), Some("elsewhere"));
}

fn is_refused(effect: &Effect, expected: &ChangeError) -> bool {
    matches!(effect, Effect::MembershipRefused { reason, .. } if reason == expected)
}

/// What the leader answers to a change at once.
#[track_caller]
fn refusal(cluster: &mut Cluster, node: u64, change: MembershipChange) -> ChangeError {
    let last = cluster.raft(node).last_log_id();
    cluster.change(node, 77, change);
    let refused = answer(cluster, node, 77).expect("an answer at once").expect_err("a refusal");
    assert_eq!(cluster.raft(node).last_log_id(), last, "nothing is appended");
    refused
}

#[test]
fn what_makes_no_cluster_is_refused_with_its_reason() {
    let mut cluster = with_learners(3, &[4]);
    let mut refuse = |node, change| refusal(&mut cluster, node, change);
    let invalid = ChangeError::Invalid;
    let nobody = change().remove(NodeId(1)).remove(NodeId(2)).demote(NodeId(3));
    assert_eq!(refuse(1, nobody), invalid(MembershipError::NoVoters));
    assert_eq!(refuse(1, change().promote(NodeId(9))), invalid(MembershipError::NotAMember(NodeId(9))));
    assert_eq!(refuse(1, change().remove(NodeId(9))), invalid(MembershipError::NotAMember(NodeId(9))));
    assert_eq!(
        refuse(1, change().set_address(NodeId(9), "")),
        invalid(MembershipError::NotAMember(NodeId(9)))
    );
    assert_eq!(
        refuse(1, change().add_learner(NodeId(2), "x")),
        invalid(MembershipError::AlreadyAMember(NodeId(2)))
    );
    assert_eq!(
        refuse(1, change().add_learner(NodeId(4), "x")),
        invalid(MembershipError::AlreadyAMember(NodeId(4)))
    );
    assert_eq!(refuse(1, change().add_learner(NodeId(0), "x")), invalid(MembershipError::ZeroNodeId));
    let twice = change().promote(NodeId(4)).remove(NodeId(4));
    assert_eq!(refuse(1, twice), invalid(MembershipError::Repeated(NodeId(4))));
    let leader = Some(NodeId(1));
    assert_eq!(refuse(2, change().remove(NodeId(3))), ChangeError::NotLeader { leader });
}

#[test]
fn what_is_so_already_is_answered_as_done_and_appends_nothing() {
    let mut cluster = with_learners(3, &[4]);
    let (last, members) = (cluster.raft(1).last_log_id(), cluster.raft(1).membership_log_id());
    let same = [
        change(),
        change().add_learner(NodeId(4), "node-4"),
        change().promote(NodeId(2)),
        change().demote(NodeId(4)),
        change().set_address(NodeId(2), "node-2"),
    ];
    for same in same {
        cluster.change(1, 7, same);
        assert_eq!(answer(&mut cluster, 1, 7), Some(Ok(members)));
    }
    assert_eq!(cluster.raft(1).last_log_id(), last);
}

#[test]
fn one_change_at_a_time() {
    let mut cluster = with_learners(3, &[4]);
    cluster.change(1, 1, change().promote(NodeId(4)));
    assert_eq!(refusal(&mut cluster, 1, change().remove(NodeId(3))), ChangeError::UnderWay);
    cluster.settle();
    cluster.change(1, 2, change().set_address(NodeId(3), "elsewhere"));
    assert_eq!(refusal(&mut cluster, 1, change().remove(NodeId(3))), ChangeError::UnderWay);
    cluster.settle();
    cluster.change(1, 3, change().remove(NodeId(3)));
    cluster.settle();
    assert!(matches!(answer(&mut cluster, 1, 3), Some(Ok(_))));
}

#[test]
fn a_leader_that_hands_over_begins_no_change() {
    let mut cluster = with_learners(3, &[]);
    cluster.input(1, Input::Transfer { to: Some(NodeId(2)) });
    let refused = refusal(&mut cluster, 1, change().remove(NodeId(3)));
    assert_eq!(refused, ChangeError::NotLeader { leader: Some(NodeId(2)) });
}

#[test]
fn a_learner_that_lags_or_is_dead_is_not_given_a_vote() {
    let mut cluster = Cluster::new(3);
    cluster.config.promotion_lag_max = 5;
    for node in 1..=3 {
        cluster.restart(node);
    }
    cluster.elect(1);
    cluster.change(1, 1, change().add_learner(NodeId(4), "node-4"));
    cluster.settle();
    assert_eq!(
        refusal(&mut cluster, 1, change().promote(NodeId(4))),
        ChangeError::Silent { node: NodeId(4) }
    );
    cluster.join(4);
    cluster.pass(Duration::from_millis(200));
    cluster.crash(4);
    for number in 0..6 {
        cluster.propose(1, &number.to_string());
    }
    cluster.settle();
    let lagging = ChangeError::Lagging { node: NodeId(4), lag: 6, lag_max: 5 };
    assert_eq!(refusal(&mut cluster, 1, change().promote(NodeId(4))), lagging);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(
        refusal(&mut cluster, 1, change().promote(NodeId(4))),
        ChangeError::Silent { node: NodeId(4) }
    );
    cluster.restart(4);
    cluster.pass(Duration::from_secs(1));
    cluster.change(1, 2, change().promote(NodeId(4)));
    cluster.settle();
    assert_settled(&cluster, &[1, 2, 3, 4]);
}

#[test]
fn a_change_that_leaves_no_quorum_that_answers_is_refused() {
    let mut cluster = with_learners(3, &[]);
    cluster.crash(3);
    cluster.pass(Duration::from_secs(1));
    let silent = ids([3]);
    assert_eq!(refusal(&mut cluster, 1, change().remove(NodeId(2))), ChangeError::NoQuorum { silent });
    cluster.change(1, 1, change().remove(NodeId(3)));
    cluster.settle();
    assert!(matches!(answer(&mut cluster, 1, 1), Some(Ok(_))), "the dead one can be removed");
    assert_settled(&cluster, &[1, 2]);
}
