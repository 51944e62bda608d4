//! A node is its id and its log's incarnation, in a cluster of one genesis: whom the core believes.

use raft_actor::{
    config::Config,
    core::{Effect, Effects, Input, Raft},
    membership::{Membership, MembershipChange},
    message::{InstallSnapshotReply, Message, Refusal},
    types::{Entry, HardState, LogId, LogState, NodeId, Origin, Payload, Role, Term, Time},
};

use super::{
    cluster::voters,
    one::{One, append, id, matched, matched_in_round, pre_vote, pre_vote_reply, sends, vote},
};

const OWN: u64 = 11;

/// Node 1 with the log 11 whose only entry is this membership.
fn one(membership: Membership) -> One {
    let entry = Entry::new(id(1, 1), Payload::Membership(Box::new(membership)));
    let hard_state = HardState { term: Term(1), voted_for: None, fence: None };
    let state = LogState { incarnation: OWN, ..LogState::of(hard_state, vec![entry]) };
    One::recover(Membership::default(), state, Config::default())
}

/// Three voters with the logs 11, 12 and 13.
fn recorded() -> Membership {
    (1..=3).fold(voters(3), |membership, node| membership.with_incarnation(NodeId(node), 10 + node))
}

fn identify(one: &mut One, peer: u64, incarnation: u64, genesis: u64) -> Effects {
    one.input(Input::Identified { peer: NodeId(peer), origin: Origin { incarnation, genesis } })
}

fn disbelieved(effects: &[Effect]) -> Vec<Refusal> {
    let reasons = effects.iter().filter_map(|effect| match effect {
        Effect::Disbelieved { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    reasons.collect()
}

fn membership_entries(effects: &[Effect]) -> Vec<Membership> {
    let writes = effects.iter().filter_map(|effect| match effect {
        Effect::Write(write) => Some(write.entries.clone()),
        _ => None,
    });
    let entries = writes.flat_map(|entries| entries.to_vec());
    let memberships = entries.filter_map(|entry| match entry.payload {
        Payload::Membership(membership) => Some(*membership),
        _ => None,
    });
    memberships.collect()
}

/// Node 1 leads, and has committed its first entry with node 2.
fn leader(membership: Membership, heard: &[u64]) -> (One, Effects) {
    let mut one = one(membership);
    for node in heard {
        identify(&mut one, *node, 10 + node, 0);
    }
    one.win();
    let effects = one.receive(2, matched(2, 2));
    (one, effects)
}

#[test]
fn the_vote_of_a_node_with_another_disk_elects_nobody() {
    let mut one = one(recorded());
    one.input(Input::Campaign);
    one.receive(2, pre_vote_reply(2, true));
    one.flush();
    identify(&mut one, 3, 99, 0);
    let effects = one.receive(3, vote(2, true));
    assert_eq!(one.raft.role(), Role::Candidate, "2 has not answered, and 3 is somebody else");
    assert_eq!(disbelieved(&effects), [Refusal::OtherFolder { node: NodeId(3) }]);
    identify(&mut one, 3, 13, 0);
    one.receive(3, vote(2, true));
    assert_eq!(one.raft.role(), Role::Leader, "with its own disk it counts");
}

#[cfg_attr(test, test)]
pub(crate) fn an_acknowledgement_of_a_node_with_another_disk_commits_nothing() {
    let (mut one, _) = leader(recorded(), &[2, 3]);
    one.input(Input::Propose { commands: vec!["x".into()] });
    one.flush();
    identify(&mut one, 3, 99, 0);
    one.receive(3, matched(2, 3));
    assert_eq!(one.raft.commit_index().0, 2);
    one.receive(2, matched(2, 3));
    assert_eq!(one.raft.commit_index().0, 3);
}

#[test]
fn a_leader_with_another_disk_is_not_followed_and_nobody_votes_for_it() {
    let mut one = one(recorded());
    identify(&mut one, 2, 99, 0);
    let effects = one.receive_and_flush(2, append(7, LogId::ZERO, &[7, 7], 2));
    assert_eq!((one.raft.term(), one.ends()), (Term(1), (id(1, 1), 0)), "its log is not touched");
    assert_eq!(sends(&effects), []);
    assert_eq!(sends(&one.receive_and_flush(2, pre_vote(7, id(6, 90)))), []);
}

#[test]
fn who_is_not_believed_is_told_once_in_an_election_timeout() {
    let mut one = one(recorded());
    identify(&mut one, 2, 99, 0);
    let mut told = 0;
    for _ in 0..50 {
        told += disbelieved(&one.receive(2, pre_vote(7, id(6, 90)))).len();
    }
    assert_eq!(told, 1);
    let timeout = Config::default().election_timeout_min.as_millis() as u64;
    one.pass(timeout);
    assert_eq!(disbelieved(&one.receive(2, pre_vote(7, id(6, 90)))).len(), 1);
}

#[test]
fn a_peer_of_which_nothing_is_known_is_believed() {
    let mut one = one(recorded());
    identify(&mut one, 2, 0, 0);
    assert_eq!(sends(&one.receive_and_flush(2, pre_vote(2, id(6, 90)))).len(), 1);
    assert_eq!(sends(&one.receive_and_flush(3, pre_vote(2, id(6, 90)))).len(), 1, "never identified");
}

#[test]
fn a_leader_records_all_members_in_one_entry_once_it_has_heard_them() {
    let (mut one, effects) = leader(voters(3), &[2]);
    assert_eq!(membership_entries(&effects), [], "3 may be heard in a moment");
    assert_eq!(membership_entries(&identify(&mut one, 3, 13, 0)), [], "it has answered nothing");
    let effects = one.receive(3, matched(2, 1));
    assert_eq!(membership_entries(&effects), [recorded()]);
    one.flush();
    one.receive(2, matched(2, 3));
    one.pass(1000);
    one.receive(2, matched(2, 3));
    assert_eq!(one.raft.last_log_id(), id(2, 3), "nothing is unknown any more");
}

#[test]
fn a_member_that_is_silent_is_waited_for_no_longer_than_an_election_timeout() {
    let (mut one, effects) = leader(voters(3), &[2]);
    assert_eq!(membership_entries(&effects), []);
    let mut written = Vec::new();
    for _ in 0..40 {
        written.extend(membership_entries(&one.pass(50)));
        one.flush();
        written.extend(membership_entries(&one.receive(2, matched(2, one.raft.last_log_id().index.0))));
    }
    let expected = recorded_without_three();
    assert_eq!(written, [expected], "and nothing more as long as 3 is silent");
}

fn recorded_without_three() -> Membership {
    voters(3).with_incarnation(NodeId(1), 11).with_incarnation(NodeId(2), 12)
}

#[test]
fn nodes_without_incarnations_record_nothing() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    one.win();
    let mut written = membership_entries(&one.receive(2, matched(2, 2)));
    for _ in 0..40 {
        written.extend(membership_entries(&one.pass(50)));
        one.receive(2, matched(2, 2));
    }
    assert_eq!(written, []);
}

#[test]
fn a_change_need_not_wait_for_what_only_records() {
    let (mut one, _) = leader(voters(3), &[2]);
    identify(&mut one, 3, 13, 0);
    one.receive(3, matched(2, 1));
    one.flush();
    let change = MembershipChange::new().add_learner(NodeId(4), "d:4");
    let effects = one.input(Input::ChangeMembership { id: 1, change });
    assert_eq!(membership_entries(&effects), [recorded().changed_by(&added()).expect("a learner")]);
    let change = MembershipChange::new().add_learner(NodeId(5), "e:5");
    let effects = one.input(Input::ChangeMembership { id: 2, change });
    assert!(matches!(effects[..], [Effect::MembershipRefused { id: 2, .. }]), "but for a real one it waits");
}

fn added() -> MembershipChange {
    MembershipChange::new().add_learner(NodeId(4), "d:4")
}

#[test]
fn what_is_recorded_of_a_member_goes_with_it_and_is_recorded_anew() {
    let gone = recorded().changed_by(&MembershipChange::new().remove(NodeId(3))).expect("two are left");
    let joint = gone.clone().joint_with(&recorded());
    assert_eq!(joint.incarnation(NodeId(3)), 13, "while both halves decide, it is still who it was");
    assert_eq!(joint.leave_joint().incarnation(NodeId(3)), 0);
    let back = gone.changed_by(&MembershipChange::new().add_learner(NodeId(3), "c:3")).expect("it is new");
    let (mut one, _) = leader(back, &[2]);
    identify(&mut one, 3, 99, 0);
    one.receive(3, matched(2, 1));
    assert_eq!(one.raft.membership().incarnation(NodeId(3)), 99);
}

/// A leader that has removed 3 and added it again. Rounds are 0 before, and 1 afterwards.
fn leader_that_has_added_three_again() -> One {
    let (mut one, _) = leader(voters(3), &[2, 3]);
    one.receive(3, matched(2, 2));
    one.flush();
    assert_eq!(one.raft.membership().incarnation(NodeId(3)), 13);
    let change = MembershipChange::new().remove(NodeId(3));
    one.input(Input::ChangeMembership { id: 1, change });
    for _ in 0..3 {
        acknowledge(&mut one, 0);
    }
    assert!(!one.raft.membership().contains(NodeId(3)));
    let change = MembershipChange::new().add_learner(NodeId(3), "c:3");
    one.input(Input::ChangeMembership { id: 2, change });
    acknowledge(&mut one, 1);
    one
}

/// Node 2 has all that the leader has.
fn acknowledge(one: &mut One, round: u64) {
    one.flush();
    answer(one, 2, round);
    one.flush();
}

/// A node tells the leader that its log is the same, all of it.
fn answer(one: &mut One, node: u64, round: u64) {
    one.receive(node, matched_in_round(2, one.raft.last_log_id().index.0, round));
}

fn matched_by_three(one: &One) -> u64 {
    one.raft.status(one.now).peers[&NodeId(3)].match_index.0
}

#[test]
fn late_answers_of_a_life_that_is_over_count_for_nothing_in_the_next() {
    let mut one = leader_that_has_added_three_again();
    identify(&mut one, 3, 13, 0);
    answer(&mut one, 3, 0);
    let installed = InstallSnapshotReply { term: Term(2), snapshot_id: 1, next_offset: 0, installed: true };
    one.receive(3, Message::InstallSnapshotReply(installed));
    for _ in 0..40 {
        one.pass(50);
        acknowledge(&mut one, 1);
    }
    assert_eq!(one.raft.membership().incarnation(NodeId(3)), 0, "its new disk was not heard of yet");
    assert_eq!(matched_by_three(&one), 0);
    identify(&mut one, 3, 99, 0);
    answer(&mut one, 3, 1);
    assert_eq!(one.raft.membership().incarnation(NodeId(3)), 99);
}

#[test]
fn a_node_that_comes_back_with_the_folder_that_it_had_is_believed_again() {
    let mut one = leader_that_has_added_three_again();
    answer(&mut one, 3, 1);
    assert_eq!(one.raft.membership().incarnation(NodeId(3)), 13);
}

#[test]
fn once_a_new_life_has_answered_the_old_one_is_not_believed_although_nothing_is_recorded_yet() {
    let mut one = leader_that_has_added_three_again();
    let change = MembershipChange::new().add_learner(NodeId(4), "d:4");
    one.input(Input::ChangeMembership { id: 3, change });
    identify(&mut one, 3, 99, 0);
    one.receive(3, matched_in_round(2, 0, 1));
    assert_eq!(one.raft.membership().incarnation(NodeId(3)), 0, "another change is under way");
    identify(&mut one, 3, 13, 0);
    let refusal = Refusal::OtherFolder { node: NodeId(3) };
    let effects = one.receive(3, matched(2, one.raft.last_log_id().index.0));
    assert_eq!(disbelieved(&effects), [refusal]);
    assert_eq!(matched_by_three(&one), 0);
}

#[test]
fn a_node_that_is_recorded_with_another_disk_does_not_campaign() {
    let mut one = one(recorded().with_incarnation(NodeId(1), 77));
    one.input(Input::Campaign);
    assert_eq!(one.raft.role(), Role::Follower);
    one.pass(5000);
    assert_eq!(one.raft.role(), Role::Follower);
}

/// Its log begins with the time in which its id voted; that was somebody else.
#[test]
fn a_node_that_joins_under_an_old_id_does_not_campaign_before_it_is_recorded() {
    let joined = |membership: Membership| {
        let One { raft, now, written } = one(membership);
        let mut one = One { raft: raft.joined(), now, written };
        one.pass(5000);
        one.raft.role()
    };
    assert_eq!(joined(voters(3)), Role::Follower);
    assert_eq!(joined(recorded().with_incarnation(NodeId(1), 77)), Role::Follower);
    assert_eq!(joined(recorded()), Role::PreCandidate, "recorded with its own disk");
}

#[test]
fn a_node_that_joins_believes_everybody_and_tells_no_genesis_until_it_is_recorded() {
    let old = voters(3).with_genesis(5).with_incarnation(NodeId(2), 12);
    let mut one = one(old);
    one.raft = one.raft.joined();
    assert_eq!(one.raft.origin(), Origin { incarnation: OWN, genesis: 0 });
    identify(&mut one, 2, 99, 6);
    let effects = one.receive_and_flush(2, append(7, id(1, 1), &[7], 0));
    assert_eq!(one.ends().0, id(7, 2), "{effects:?}");
}

#[cfg_attr(test, test)]
pub(crate) fn clusters_of_other_initial_members_do_not_believe_each_other() {
    let genesis = |count| voters(count).genesis_of_voters();
    assert_ne!(genesis(3), genesis(2));
    let mut one = one(voters(3).with_genesis(genesis(3)));
    assert_eq!(one.raft.origin(), Origin { incarnation: OWN, genesis: genesis(3) });
    identify(&mut one, 2, 12, genesis(2));
    let effects = one.receive_and_flush(2, append(7, LogId::ZERO, &[7], 1));
    let expected = Refusal::OtherGenesis { node: NodeId(2), refused_by: NodeId(1) };
    assert_eq!(disbelieved(&effects), [expected]);
    assert_eq!(one.ends(), (id(1, 1), 0));
    identify(&mut one, 2, 12, genesis(3));
    one.receive_and_flush(2, append(7, id(1, 1), &[7], 1));
    assert_eq!(one.ends().0, id(7, 2));
}

#[test]
fn the_genesis_is_carried_through_every_change() {
    let first = voters(3).with_genesis(5);
    let change = MembershipChange::new().add_learner(NodeId(4), "d:4").remove(NodeId(1));
    let after = first.changed_by(&change).expect("a change");
    let joint = after.joint_with(&first);
    assert_eq!((joint.genesis(), joint.leave_joint().genesis()), (5, 5));
    assert!(!first.is_changed() && joint.is_changed());
    assert!(!recorded().is_changed(), "to record is not to change");
}

#[test]
fn strangers_without_end_are_not_remembered_without_end() {
    let mut raft = Raft::new(
        NodeId(1),
        &Config::default(),
        7,
        Time(1),
        LogState { incarnation: OWN, ..LogState::default() },
        recorded().with_genesis(5),
    );
    for stranger in 100..2000 {
        let origin = Origin { incarnation: stranger, genesis: 6 };
        raft.step(Time(1), Input::Identified { peer: NodeId(stranger), origin });
    }
    let origin = Origin { incarnation: 99, genesis: 5 };
    raft.step(Time(1), Input::Identified { peer: NodeId(3), origin });
    assert!(format!("{raft:?}").matches("refused:").count() < 100);
}
