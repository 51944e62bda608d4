//! Reads (thesis §6.4) and handing over (thesis §3.10).

use std::time::Duration;

use raft_actor::{
    core::{Effect, Input},
    membership::TransferError,
    message::{Message, ReadId},
    types::{LogIndex, NodeId, Role, Term},
};

use super::{
    cluster::{Cluster, voters},
    one::{One, appends, matched, matched_in_round, request_vote, sends},
};

fn read(number: u64) -> Input {
    Input::Read { id: ReadId(number) }
}

/// The reads that are ready, and their read index.
fn ready(effects: &[Effect]) -> Vec<(Vec<u64>, u64)> {
    let ready = effects.iter().filter_map(|effect| match effect {
        Effect::ReadReady { ids, read_index } => Some((ids.iter().map(|id| id.0).collect(), read_index.0)),
        _ => None,
    });
    ready.collect()
}

fn failed(effects: &[Effect]) -> Vec<u64> {
    let failed = effects.iter().filter_map(|effect| match effect {
        Effect::ReadFailed { ids, .. } => Some(ids.iter().map(|id| id.0).collect::<Vec<_>>()),
        _ => None,
    });
    failed.flatten().collect()
}

fn endings(effects: &[Effect]) -> Vec<Result<(), TransferError>> {
    let endings = effects.iter().filter_map(|effect| match effect {
        Effect::TransferEnded { outcome } => Some(outcome.clone()),
        _ => None,
    });
    endings.collect()
}

#[test]
fn a_new_leader_answers_no_read_before_an_entry_of_its_own_term_is_committed() {
    let mut one = One::new(voters(3), 1, None, &[1, 1, 1]);
    one.win();
    let effects = one.input(read(7));
    assert_eq!(sends(&effects), [], "no round begins yet");
    assert_eq!(ready(&one.receive(2, matched_in_round(2, 3, 9))), []);
    let effects = one.receive(2, matched(2, 4));
    assert_eq!(ready(&effects), []);
    assert_eq!(appends(&effects, 2)[0].round, 1);
    assert_eq!(ready(&one.receive(3, matched_in_round(2, 0, 1))), [(vec![7], 4)]);
}

#[test]
fn a_read_is_not_confirmed_by_an_answer_to_an_earlier_round_even_under_the_same_id() {
    let mut one = One::new(voters(3), 1, None, &[]);
    one.win();
    one.receive(2, matched(2, 1));
    one.input(read(7));
    assert_eq!(ready(&one.receive(3, matched_in_round(2, 1, 1))), [(vec![7], 1)]);
    one.input(Input::Propose { commands: vec!["x".into()] });
    one.flush();
    one.receive(3, matched_in_round(2, 2, 1));
    assert_eq!(one.raft.commit_index(), LogIndex(2));
    one.input(read(7));
    // A delayed answer of node 2 to the first round proves nothing about now.
    assert_eq!(ready(&one.receive(2, matched_in_round(2, 2, 1))), []);
    assert_eq!(ready(&one.receive(2, matched_in_round(2, 2, 1))), []);
    assert_eq!(ready(&one.receive(2, matched_in_round(2, 2, 2))), [(vec![7], 2)]);
}

#[test]
fn a_round_that_nobody_sent_cannot_be_answered() {
    let mut one = One::new(voters(3), 1, None, &[]);
    one.win();
    one.receive(2, matched_in_round(2, 1, u64::MAX));
    one.input(read(7));
    assert_eq!(ready(&one.input(Input::Tick)), []);
}

#[test]
fn reads_that_come_while_a_round_is_out_share_the_next() {
    let mut one = One::new(voters(3), 1, None, &[]);
    one.win();
    one.receive(2, matched(2, 1));
    let effects = one.input(read(1));
    assert_eq!(appends(&effects, 2)[0].round, 1);
    for number in 2..=5 {
        assert_eq!(sends(&one.input(read(number))), []);
    }
    let effects = one.receive(2, matched_in_round(2, 1, 1));
    assert_eq!(ready(&effects), [(vec![1], 1)]);
    assert_eq!(appends(&effects, 2)[0].round, 2, "the next begins at once");
    assert_eq!(ready(&one.receive(3, matched_in_round(2, 1, 2))), [(vec![2, 3, 4, 5], 1)]);
}

#[test]
fn a_single_voter_answers_at_once() {
    let mut cluster = Cluster::new(1);
    cluster.pass(Duration::from_secs(1));
    cluster.input(1, read(3));
    let told = cluster.told(1);
    assert_eq!(ready(&told), [(vec![3], 1)]);
}

#[test]
fn a_follower_asks_its_leader() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "x");
    cluster.settle();
    cluster.told(2);
    cluster.input(2, read(9));
    cluster.settle();
    assert_eq!(ready(&cluster.told(2)), [(vec![9], 2)]);
}

#[test]
fn reads_fail_where_no_leader_is_known_when_it_changes_and_when_nobody_answers() {
    let mut one = One::new(voters(3), 1, None, &[]);
    assert_eq!(failed(&one.input(read(1))), [1]);

    one.receive(2, super::one::append(1, super::one::id(0, 0), &[], 0));
    assert_eq!(sends(&one.input(read(2))).len(), 1);
    let effects = one.receive(3, super::one::append(2, super::one::id(0, 0), &[], 0));
    assert_eq!(failed(&effects), [2]);
    one.flush();

    one.input(read(3));
    for _ in 0..4 {
        one.pass(140);
        one.receive(3, super::one::append(2, super::one::id(0, 0), &[], 0));
    }
    assert_eq!(failed(&one.pass(40)), [3], "its leader lives, but the answer was lost");
}

#[test]
fn a_leader_that_is_deposed_fails_its_reads() {
    let mut one = One::new(voters(3), 1, None, &[]);
    one.win();
    one.receive(2, matched(2, 1));
    one.input(read(5));
    let effects = one.receive(3, super::one::append(3, super::one::id(0, 0), &[], 0));
    assert_eq!((failed(&effects), ready(&effects)), (vec![5], vec![]));
}

#[test]
fn an_isolated_leader_answers_no_read_although_it_still_believes_to_lead() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.pass(Duration::from_millis(350));
    cluster.input(2, Input::Campaign);
    cluster.settle();
    cluster.pass(Duration::from_millis(200));
    assert_eq!((cluster.raft(1).role(), cluster.leader()), (Role::Leader, Some(NodeId(2))));
    cluster.input(1, read(1));
    cluster.pass(Duration::from_secs(1));
    let told = cluster.told(1);
    assert_eq!((ready(&told), failed(&told)), (vec![], vec![1]));
}

#[test]
fn leadership_goes_to_the_node_that_was_named_without_a_gap() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "x");
    cluster.input(1, Input::Transfer { to: Some(NodeId(3)) });
    cluster.propose(1, "refused");
    cluster.settle();
    assert_eq!(cluster.leader(), Some(NodeId(3)));
    let told = cluster.told(1);
    assert_eq!(endings(&told), [Ok(())]);
    assert!(told.contains(&Effect::ProposalRefused { leader: Some(NodeId(3)), count: 1 }));
    assert_eq!(cluster.raft(3).commit_index(), LogIndex(3));
}

#[test]
fn a_transfer_to_a_dead_node_is_given_up_and_the_leader_goes_on() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.crash(3);
    cluster.propose(1, "node 3 lacks this");
    cluster.input(1, Input::Transfer { to: Some(NodeId(3)) });
    cluster.settle();
    cluster.pass(Duration::from_millis(700));
    assert_eq!(endings(&cluster.told(1)), [Err(TransferError::NotTaken(NodeId(3)))]);
    let before = cluster.committed.len();
    cluster.propose(1, "on");
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.committed.len()), (Some(NodeId(1)), before + 1));
}

#[test]
fn a_lost_timeout_now_is_sent_again() {
    let mut one = One::new(voters(3), 1, None, &[]);
    one.win();
    one.receive(2, matched(2, 1));
    let is_told = |effects: &[Effect]| {
        sends(effects).iter().any(|(to, message)| *to == 2 && matches!(message, Message::TimeoutNow(_)))
    };
    assert!(is_told(&one.input(Input::Transfer { to: None })), "the only voter that was heard");
    assert!(!is_told(&one.input(Input::Tick)));
    assert!(is_told(&one.pass(50)));
    let effects = one.receive(2, request_vote(3, super::one::id(2, 1)));
    assert_eq!(endings(&effects), [], "a candidate that the leader did not ask for");
}

#[test]
fn a_transfer_to_nobody_to_itself_or_to_a_stranger_is_refused_at_once() {
    let mut one = One::new(voters(3), 1, None, &[]);
    let asked = |one: &mut One, to: Option<u64>| {
        let endings = endings(&one.input(Input::Transfer { to: to.map(NodeId) }));
        <[Result<(), TransferError>; 1]>::try_from(endings).expect("one answer, at once")[0].clone()
    };
    assert_eq!(asked(&mut one, Some(2)), Err(TransferError::NotLeader { leader: None }));
    one.win();
    assert_eq!(asked(&mut one, Some(1)), Err(TransferError::LeadsAlready(NodeId(1))));
    for stranger in [9, 0] {
        assert_eq!(asked(&mut one, Some(stranger)), Err(TransferError::NotAVoter(NodeId(stranger))));
    }
    one.now = one.now.after(Duration::from_millis(400));
    assert_eq!(asked(&mut one, None), Err(TransferError::NobodyAnswers), "nobody was heard of late");
    assert!(one.raft.status(one.now).transfer.is_none());
    assert_eq!(one.raft.term(), Term(2));
}
