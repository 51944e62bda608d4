//! Raft §6, thesis §4.2: leaders that leave or are lost on the way, changes that are forgotten, and nodes
//! that have left.

use std::time::Duration;

use raft_actor::{
    config::Config,
    core::Input,
    membership::{ChangeError, Membership},
    message::{Message, TimeoutNow},
    types::{Entry, HardState, LogId, LogIndex, LogState, NodeId, Payload, Role, Term},
};

use super::{
    cluster::voters,
    members::{answer, assert_settled, change, memberships, voting, with_learners},
    one::{One, append, id, matched, pre_vote_reply, request_vote, sends, vote, vote_requests, votes},
};

#[test]
fn a_leader_that_is_removed_does_not_count_itself_and_then_steps_down() {
    let mut cluster = with_learners(3, &[]);
    cluster.cut(1, 3);
    cluster.cut(2, 3);
    cluster.change(1, 1, change().remove(NodeId(1)));
    cluster.settle();
    let joint = cluster.raft(1).membership_log_id();
    assert!(cluster.raft(1).membership().is_joint(), "2 alone is no majority of 2 and 3");
    cluster.heal();
    // The joint step is committed by all three; then node 3 is gone again.
    cluster.pass(Duration::from_millis(60));
    assert!(cluster.raft(1).commit_index() >= joint.index);
    assert_eq!(voting(cluster.raft(2).membership()), [2, 3]);
    cluster.pass(Duration::from_secs(2));
    assert_eq!(cluster.raft(1).role(), Role::Follower);
    assert!([2, 3].contains(&cluster.leader().expect("another leads").0));
    assert_settled(&cluster, &[2, 3]);
}

#[test]
fn the_last_step_needs_a_majority_of_the_new_voters_without_the_leader_that_leaves() {
    let joint = voters(3).changed_by(&change().remove(NodeId(1))).expect("valid").joint_with(&voters(3));
    let entry = |index, membership| Entry::new(id(1, index), Payload::Membership(Box::new(membership)));
    let entries = [entry(1, joint.clone()), entry(2, joint.leave_joint())];
    let state = LogState::of(HardState { term: Term(1), voted_for: None }, entries[..1].to_vec());
    let mut one = One::recover(voters(3), state, Config::default());
    one.win();
    one.receive(2, matched(2, 2));
    one.receive(3, matched(2, 2));
    one.flush();
    assert_eq!(one.raft.membership(), &entries[1].payload_membership(), "it has appended C_new");
    one.receive(2, matched(2, 3));
    assert_eq!(one.raft.commit_index(), LogIndex(2), "node 2 and this one are not two of 2 and 3");
    let effects = one.receive(3, matched(2, 3));
    assert_eq!(one.raft.commit_index(), LogIndex(3));
    let told = sends(&effects).into_iter().filter(|(_, message)| is_commit_of(message, 3)).count();
    assert_eq!(told, 2, "both are told of the commit");
    let effects = one.input(Input::Tick);
    assert!(
        sends(&effects).iter().any(|(_, message)| matches!(message, Message::TimeoutNow(_))),
        "{effects:?}"
    );
}

fn is_commit_of(message: &Message, index: u64) -> bool {
    matches!(message, Message::AppendEntries(append) if append.leader_commit.0 == index)
}

trait PayloadMembership {
    fn payload_membership(&self) -> Membership;
}

impl PayloadMembership for Entry {
    fn payload_membership(&self) -> Membership {
        let Payload::Membership(membership) = &self.payload else { panic!("no membership: {self:?}") };
        (**membership).clone()
    }
}

/// A change is begun, so many messages are delivered, and the leader's power is cut.
/// What it sent before is `lost` with it, or not. Gives whether the change is made in the end, and whether it
/// was answered as done before.
fn crash_after(messages: usize, lost: bool) -> (bool, bool) {
    let mut cluster = with_learners(3, &[4, 5]);
    let swap = change().promote(NodeId(4)).promote(NodeId(5)).remove(NodeId(1)).remove(NodeId(3));
    cluster.change(1, 1, swap);
    for _ in 0..messages {
        for node in 1..=5 {
            cluster.flush(node);
        }
        if !cluster.wire.is_empty() {
            cluster.deliver(0);
        }
    }
    let was_done = matches!(answer(&mut cluster, 1, 1), Some(Ok(_)));
    cluster.crash(1);
    cluster.wire.retain(|mail| !lost || mail.from != NodeId(1));
    cluster.settle();
    cluster.pass(Duration::from_secs(3));
    let leader = cluster.leader().expect("the others elect").0;
    let membership = cluster.raft(leader).membership().clone();
    let is_new = voting(&membership) == [2, 4, 5];
    assert!(!membership.is_joint(), "after {messages} messages: the next leader finishes the change");
    assert!(is_new || voting(&membership) == [1, 2, 3], "after {messages} messages: {membership:?}");
    assert!(is_new || !was_done, "after {messages} messages: a change that was answered is lost");
    cluster.restart(1);
    cluster.propose(leader, "on");
    cluster.pass(Duration::from_secs(3));
    assert_settled(&cluster, if is_new { &[2, 4, 5] } else { &[1, 2, 3] });
    let steps = memberships(&cluster, leader);
    let left = steps.windows(2).filter(|pair| pair[0].is_joint() && !pair[1].is_joint()).count();
    assert_eq!(left, usize::from(is_new), "a joint configuration is left once: {steps:?}");
    (is_new, was_done)
}

#[test]
fn whenever_the_leader_of_a_change_is_lost_the_next_one_finishes_or_forgets_it() {
    let outcomes: Vec<(bool, bool)> =
        (0..60).flat_map(|messages| [crash_after(messages, true), crash_after(messages, false)]).collect();
    let forgotten = outcomes.iter().filter(|(is_new, _)| !is_new).count();
    let finished = outcomes.iter().filter(|(is_new, was_done)| *is_new && !was_done).count();
    println!("forgotten {forgotten}, finished by another {finished}, of {}", outcomes.len());
    assert!(forgotten > 0 && finished > 0 && outcomes.iter().any(|(_, was_done)| *was_done));
}

#[test]
fn the_one_who_asked_is_told_unknown_where_the_leader_is_lost() {
    let mut cluster = with_learners(3, &[]);
    cluster.isolate(1);
    cluster.change(1, 1, change().remove(NodeId(3)));
    cluster.pass(Duration::from_secs(2));
    assert_eq!(answer(&mut cluster, 1, 1), Some(Err(ChangeError::Unknown)));
}

#[test]
fn a_change_that_is_truncated_is_out_of_force() {
    let mut cluster = with_learners(3, &[4]);
    cluster.isolate(1);
    cluster.change(1, 1, change().promote(NodeId(4)));
    cluster.flush(1);
    assert!(cluster.raft(1).membership().is_joint());
    cluster.crash(1);
    cluster.restart(1);
    assert!(cluster.raft(1).membership().is_joint(), "what is in the log is in force after a restart too");
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().expect("2 and 3 elect").0;
    assert_ne!(leader, 1);
    cluster.propose(leader, "other");
    cluster.heal();
    cluster.pass(Duration::from_secs(2));
    assert!(!cluster.raft(1).membership().is_joint());
    assert_settled(&cluster, &[1, 2, 3]);
}

#[test]
fn a_node_that_was_removed_unheard_raises_nobodys_term() {
    let mut cluster = with_learners(4, &[]);
    cluster.isolate(4);
    cluster.change(1, 1, change().remove(NodeId(4)));
    cluster.settle();
    cluster.pass(Duration::from_secs(2));
    let term = cluster.raft(1).term();
    cluster.heal();
    for _ in 0..60 {
        cluster.pass(Duration::from_secs(1));
        cluster.input(4, Input::Campaign);
        cluster.settle();
    }
    assert_eq!((cluster.raft(1).term(), cluster.raft(1).role()), (term, Role::Leader));
    assert!(cluster.raft(4).membership().contains(NodeId(4)), "nobody has told it");
}

#[test]
fn one_that_lost_its_disk_and_is_added_anew_is_not_taken_for_what_it_was() {
    let mut cluster = with_learners(3, &[4]);
    cluster.crash(4);
    cluster.change(1, 1, change().remove(NodeId(4)));
    cluster.settle();
    assert!(cluster.raft(1).peers().contains_key(&NodeId(4)), "it is not forgotten yet");
    cluster.change(1, 2, change().add_learner(NodeId(4), "node-4"));
    cluster.settle();
    cluster.change(1, 3, change().promote(NodeId(4)));
    assert_eq!(answer(&mut cluster, 1, 3), Some(Err(ChangeError::Silent { node: NodeId(4) })));
    assert_eq!(cluster.raft(1).status(cluster.now).peers[&NodeId(4)].match_index, LogIndex(0));
    cluster.join(4);
    cluster.pass(Duration::from_millis(200));
    cluster.change(1, 4, change().promote(NodeId(4)));
    cluster.settle();
    cluster.pass(Duration::from_millis(200));
    assert_settled(&cluster, &[1, 2, 3, 4]);
}

#[test]
fn a_node_that_knows_that_it_has_left_does_not_campaign_and_is_dropped_in_time() {
    let mut cluster = with_learners(3, &[]);
    cluster.change(1, 1, change().remove(NodeId(3)));
    cluster.settle();
    assert!(cluster.raft(1).peers().contains_key(&NodeId(3)), "it is still told");
    assert!(!cluster.raft(3).membership().contains(NodeId(3)));
    cluster.pass(Duration::from_secs(1));
    assert!(!cluster.raft(1).peers().contains_key(&NodeId(3)), "and no longer than that");
    assert!(!cluster.raft(1).status(cluster.now).peers.contains_key(&NodeId(3)));
    cluster.input(3, Input::Campaign);
    cluster.pass(Duration::from_secs(5));
    assert_eq!(cluster.raft(3).role(), Role::Follower);
    assert!(cluster.wire.is_empty());
}

#[test]
fn one_that_does_not_know_that_it_votes_votes_all_the_same() {
    let learning = voters(3).changed_by(&change().remove(NodeId(1))).expect("valid");
    let mut one = One::new(learning.with_learner(NodeId(1), "here".to_owned()), 1, None, &[1]);
    assert_eq!(votes(&one.receive_and_flush(2, request_vote(2, id(1, 1)))), [true]);
    assert_eq!(vote_requests(&one.input(Input::Campaign)), []);
    one.receive(2, Message::TimeoutNow(TimeoutNow { term: Term(2) }));
    assert_eq!(vote_requests(&one.pass(5_000)), []);
    assert_eq!(one.raft.role(), Role::Follower);
}

#[test]
fn a_node_of_no_cluster_waits_and_takes_its_members_from_the_log() {
    let mut one = One::new(Membership::default(), 0, None, &[]);
    assert_eq!(vote_requests(&one.pass(5_000)), []);
    one.receive_and_flush(2, append(3, LogId::ZERO, &[1, 1], 2));
    assert_eq!(one.raft.commit_index(), LogIndex(2));
    assert!(one.raft.peers().is_empty());
    assert_eq!(vote_requests(&one.pass(5_000)), []);
}

#[test]
fn a_membership_that_is_not_applied_yet_decides_who_is_asked_for_votes() {
    let swapped = voters(3).changed_by(&change().remove(NodeId(3)).add_learner(NodeId(4), "d"));
    let joint = swapped.expect("valid").joint_with(&voters(3));
    let entry = Entry::new(id(1, 1), Payload::Membership(Box::new(joint.leave_joint())));
    let state = LogState::of(HardState { term: Term(1), voted_for: None }, vec![entry]);
    let mut one = One::recover(voters(3), state, Config::default());
    assert_eq!(one.raft.applied_index(), LogIndex(0));
    let asked: Vec<u64> = sends(&one.pass(700)).iter().map(|(to, _)| *to).collect();
    assert_eq!(asked, [2], "neither the one that has left nor the learner");
    let peers: Vec<u64> = one.raft.peers().keys().map(|node| node.0).collect();
    assert_eq!(peers, [2, 3, 4], "the one that has left may be the leader still");
}

/// Found by the random schedules: a node is no voter any more, but only it has what the other has lost, and
/// the other needs its vote.
#[test]
fn one_that_is_leaving_campaigns_until_that_is_committed_and_does_not_count_itself() {
    let joint = voters(2).changed_by(&change().demote(NodeId(1))).expect("valid").joint_with(&voters(2));
    let entry = |index, membership| Entry::new(id(1, index), Payload::Membership(Box::new(membership)));
    let entries = vec![entry(1, joint.clone()), entry(2, joint.leave_joint())];
    let state = LogState::of(HardState { term: Term(1), voted_for: None }, entries);
    let mut one = One::recover(voters(2), state, Config::default());
    assert_eq!(vote_requests(&one.pass(700)), [(2, true)]);
    assert_eq!(one.raft.role(), Role::PreCandidate);
    one.receive(2, pre_vote_reply(2, true));
    one.flush();
    assert_eq!(one.raft.role(), Role::Candidate, "its own vote is none");
    one.receive(2, vote(2, true));
    one.flush();
    assert_eq!((one.raft.role(), one.raft.commit_index()), (Role::Leader, LogIndex(0)));
    one.receive(2, matched(2, 3));
    assert_eq!(one.raft.commit_index(), LogIndex(3));
    one.pass(1_000);
    assert_eq!(one.raft.role(), Role::Follower, "it leads no longer than that");
    assert_eq!(vote_requests(&one.pass(5_000)), []);
}

#[test]
fn a_leader_without_a_quorum_of_either_half_commits_nothing_and_steps_down() {
    let mut cluster = with_learners(3, &[4, 5]);
    let swap = change().promote(NodeId(4)).promote(NodeId(5)).remove(NodeId(2)).remove(NodeId(3));
    cluster.change(1, 1, swap);
    for node in [4, 5] {
        cluster.isolate(node);
    }
    let before = cluster.raft(1).commit_index();
    cluster.propose(1, "nowhere");
    cluster.pass(Duration::from_millis(500));
    assert_eq!(cluster.raft(1).commit_index(), before);
    cluster.pass(Duration::from_secs(1));
    assert_ne!(cluster.raft(1).role(), Role::Leader);
    cluster.heal();
    cluster.pass(Duration::from_secs(4));
    let leader = cluster.leader().expect("all are there again").0;
    let membership = cluster.raft(leader).membership();
    assert!(!membership.is_joint());
}
