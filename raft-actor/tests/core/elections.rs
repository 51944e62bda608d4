//! Raft §5.2, §5.4.1; thesis §4.2.3, §9.6.

use std::time::Duration;

use raft_actor::{
    config::Config,
    core::{Effect, Input, TERM_JUMP_MAX},
    message::{AppendOutcome, Message, RequestVote, TimeoutNow},
    types::{HardState, LogId, LogState, NodeId, Role, Term},
};

use super::{
    cluster::{Cluster, voters},
    one::{
        One, acks, append, id, log, pre_vote, pre_vote_reply, request_vote, sends, vote, vote_requests, votes,
    },
};

#[test]
fn a_vote_leaves_only_after_it_is_flushed() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    let effects = one.receive(2, request_vote(2, id(1, 1)));
    let Effect::Write(write) = &effects[0] else { panic!("the vote is written first: {effects:?}") };
    assert_eq!(write.hard_state.expect("a hard state").voted_for, Some(NodeId(2)));
    assert_eq!(sends(&effects), []);
    assert_eq!(votes(&one.flush()), [true]);
}

#[test]
fn a_second_candidate_of_the_term_is_denied_and_the_first_may_ask_again() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    assert_eq!(votes(&one.receive_and_flush(2, request_vote(2, id(1, 1)))), [true]);
    assert_eq!(votes(&one.receive(3, request_vote(2, id(1, 1)))), [false]);
    assert_eq!(votes(&one.receive(2, request_vote(2, id(1, 1)))), [true]);
}

#[test]
fn a_vote_is_kept_over_a_restart() {
    let mut one = One::new(voters(3), 2, Some(2), &[1]);
    assert_eq!(votes(&one.receive(3, request_vote(2, id(1, 1)))), [false]);
}

#[test]
fn a_candidate_that_steps_down_in_its_term_keeps_the_vote_for_itself() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    one.input(Input::Campaign);
    one.receive(2, pre_vote_reply(2, true));
    one.flush();
    assert_eq!((one.raft.role(), one.raft.term()), (Role::Candidate, Term(2)));
    one.receive(3, append(2, id(1, 5), &[], 0));
    assert_eq!((one.raft.role(), one.raft.voted_for()), (Role::Follower, Some(NodeId(1))));
    assert_eq!(votes(&one.receive(2, request_vote(2, id(9, 9)))), [false]);
}

#[test]
fn a_vote_that_comes_twice_counts_once_and_one_of_an_earlier_term_never() {
    let mut one = One::new(voters(5), 4, None, &[1]);
    one.input(Input::Campaign);
    for voter in [2, 3] {
        one.receive(voter, pre_vote_reply(5, true));
    }
    one.flush();
    assert_eq!(one.raft.role(), Role::Candidate);
    one.receive(2, vote(5, true));
    one.receive(2, vote(5, true));
    one.receive(3, vote(4, true));
    one.receive(4, pre_vote_reply(5, true));
    assert_eq!(one.raft.role(), Role::Candidate, "one vote and its own are no majority of five");
    one.receive(3, vote(5, true));
    assert_eq!(one.raft.role(), Role::Leader);
}

#[test]
fn a_refusal_or_a_request_is_never_taken_for_a_vote() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    one.input(Input::Campaign);
    one.receive(2, pre_vote_reply(2, true));
    one.flush();
    one.receive(2, vote(2, false));
    one.receive(3, request_vote(2, id(1, 1)));
    assert_eq!(one.raft.role(), Role::Candidate);
    one.receive(3, vote(3, false));
    assert_eq!((one.raft.role(), one.raft.term()), (Role::Follower, Term(3)));
}

#[test]
fn a_candidates_own_vote_counts_once_it_is_flushed() {
    let mut one = One::new(voters(1), 0, None, &[]);
    let effects = one.pass(600);
    assert_eq!(one.raft.role(), Role::Candidate, "{effects:?}");
    one.flush();
    assert_eq!(one.raft.role(), Role::Leader);
    assert_eq!(one.raft.commit_index().0, 0, "its first entry is not flushed yet");
    one.flush();
    assert_eq!(one.raft.commit_index().0, 1);
}

#[test]
fn logs_are_compared_by_last_term_and_then_by_index() {
    let own: &[u64] = &[1, 1, 3, 3];
    let table = [
        (id(3, 4), true),
        (id(3, 5), true),
        (id(4, 1), true),
        (id(3, 3), false),
        (id(2, 90), false),
        (LogId::ZERO, false),
    ];
    for (last, expected) in table {
        let mut one = One::new(voters(3), 4, None, own);
        assert_eq!(votes(&one.receive_and_flush(2, request_vote(5, last))), [expected], "{last}");
        let mut one = One::new(voters(3), 4, None, own);
        assert_eq!(votes(&one.receive(2, pre_vote(5, last))), [expected], "pre-vote {last}");
    }
}

#[test]
fn a_pre_vote_changes_nothing() {
    let mut one = One::new(voters(3), 4, None, &[1]);
    let effects = one.receive(2, pre_vote(9, id(1, 1)));
    assert_eq!(votes(&effects), [true]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Write(_))), "{effects:?}");
    assert_eq!((one.raft.term(), one.raft.voted_for()), (Term(4), None));
    assert_eq!(votes(&one.receive(3, pre_vote(9, id(1, 1)))), [true], "nothing was promised");
}

#[test]
fn a_node_cut_off_from_the_others_never_raises_its_term() {
    let mut one = One::new(voters(3), 4, None, &[1]);
    for _ in 0..50 {
        assert!(vote_requests(&one.pass(600)).iter().all(|request| *request == (5, true)));
    }
    assert_eq!(one.raft.term(), Term(4));
}

#[test]
fn who_hears_its_leader_does_not_answer_candidates_unless_the_leader_asked() {
    let mut one = One::new(voters(3), 4, None, &[1]);
    one.receive(2, append(4, id(1, 1), &[], 0));
    assert_eq!(one.receive(3, request_vote(5, id(9, 9))), []);
    assert_eq!(one.receive(3, pre_vote(5, id(9, 9))), []);
    assert_eq!(one.raft.term(), Term(4));
    let transfer =
        RequestVote { term: Term(5), last_log_id: id(1, 1), pre_vote: false, leadership_transfer: true };
    assert_eq!(votes(&one.receive_and_flush(3, Message::RequestVote(transfer))), [true]);
}

#[test]
fn pre_votes_that_come_after_the_election_is_won_do_nothing() {
    let mut one = One::new(voters(5), 0, None, &[]);
    one.win_five();
    let before = one.raft.term();
    for voter in 2..=5 {
        one.receive(voter, pre_vote_reply(before.0 + 1, true));
        one.receive(voter, pre_vote_reply(before.0, true));
    }
    one.input(Input::Campaign);
    assert_eq!((one.raft.role(), one.raft.term()), (Role::Leader, before));
}

impl One {
    fn win_five(&mut self) {
        self.input(Input::Campaign);
        for voter in [2, 3] {
            self.receive(voter, pre_vote_reply(1, true));
        }
        self.flush();
        for voter in [2, 3] {
            self.receive(voter, vote(1, true));
        }
        assert_eq!(self.raft.role(), Role::Leader);
        self.flush();
    }
}

#[test]
fn a_term_at_the_end_of_the_numbers_changes_nothing() {
    for term in [u64::MAX, u64::MAX - 1, 5 + TERM_JUMP_MAX] {
        let mut one = One::new(voters(3), 4, None, &[1]);
        let messages = [
            request_vote(term, id(term, 9)),
            pre_vote(term, id(term, 9)),
            vote(term, false),
            pre_vote_reply(term, false),
            append(term, id(1, 1), &[term], 9),
            super::one::matched(term, 1),
            Message::TimeoutNow(TimeoutNow { term: Term(term) }),
        ];
        for message in messages {
            assert_eq!(one.receive(2, message), [], "term {term}");
        }
        assert_eq!((one.raft.term(), one.ends()), (Term(4), (id(1, 1), 0)));
    }
}

#[test]
fn at_the_last_term_nobody_campaigns_and_nothing_overflows() {
    let mut one = One::new(voters(1), u64::MAX - 1, None, &[]);
    for _ in 0..5 {
        assert_eq!(sends(&one.pass(600)), []);
    }
    assert_eq!((one.raft.role(), one.raft.term().0), (Role::Follower, u64::MAX - 1));
}

#[test]
fn a_leader_without_a_quorum_steps_down_and_keeps_its_term_and_vote() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let term = cluster.raft(1).term();
    cluster.isolate(1);
    cluster.pass(Duration::from_millis(700));
    let one = cluster.raft(1);
    assert_ne!(one.role(), Role::Leader);
    assert_eq!((one.term(), one.voted_for(), one.leader()), (term, Some(NodeId(1)), None));
    cluster.pass(Duration::from_secs(2));
    assert!(cluster.leader().is_some_and(|leader| leader != NodeId(1)));
}

#[test]
fn a_node_stuck_in_a_higher_term_gets_a_stale_leader_to_step_down() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    // Node 3 stood alone in term 9 once; its leader and it would never hear of each other.
    let mut disk = cluster.nodes[&NodeId(3)].disk.clone();
    disk.hard_state.term = Term(9);
    cluster.crash(3);
    cluster.place(NodeId(3), disk);
    cluster.pass(Duration::from_secs(3));
    let leader = cluster.leader().expect("a leader").0;
    assert!(cluster.raft(leader).term() > Term(9));
    for id in 1..=3 {
        assert_eq!(cluster.raft(id).leader(), Some(NodeId(leader)), "node {id}");
    }
}

#[test]
fn a_short_log_in_a_high_term_and_a_long_log_in_a_low_one_still_elect() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "only 1 and 2 get this");
    cluster.cut(1, 3);
    cluster.settle();
    cluster.crash(1);
    let mut disk = cluster.nodes[&NodeId(3)].disk.clone();
    disk.hard_state.term = Term(9);
    cluster.crash(3);
    cluster.place(NodeId(3), disk);
    cluster.pass(Duration::from_secs(4));
    assert_eq!(cluster.leader(), Some(NodeId(2)), "the longer log wins, in a term above 9");
    assert!(cluster.raft(2).term() > Term(9));
}

#[test]
fn a_follower_that_lags_does_not_campaign_while_its_leader_speaks() {
    let mut one = One::new(voters(3), 4, None, &[1]);
    for _ in 0..100 {
        // The leader is far ahead; every message is refused, and still it is the leader.
        let effects = one.receive(2, append(4, id(4, 900), &[], 0));
        assert_eq!(acks(&effects), [0; 0]);
        assert!(sends(&effects).iter().all(|(_, message)| matches!(message,
            Message::AppendEntriesReply(reply) if matches!(reply.outcome, AppendOutcome::Conflict { .. }))));
        assert_eq!(sends(&one.pass(200)), []);
    }
    assert_eq!(one.raft.role(), Role::Follower);
}

#[test]
fn under_a_partial_partition_one_leader_stays() {
    // 1, 2 and 3 hear each other; 4 hears only 2, and 5 only 3.
    let mut cluster = Cluster::new(5);
    cluster.elect(1);
    for (one, other) in [(4, 1), (4, 3), (4, 5), (5, 1), (5, 2)] {
        cluster.cut(one, other);
    }
    let term = cluster.raft(1).term();
    cluster.pass(Duration::from_secs(60));
    assert_eq!((cluster.leader(), cluster.raft(1).term()), (Some(NodeId(1)), term));
}

#[test]
fn a_removed_node_that_keeps_asking_disturbs_nobody() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let term = cluster.raft(1).term();
    for round in 1..200 {
        for peer in 1..=3 {
            for message in [pre_vote(term.0 + round, id(99, 99)), request_vote(term.0 + round, id(99, 99))] {
                cluster.input(peer, Input::Receive { from: NodeId(4), message });
            }
        }
        cluster.wire.retain(|mail| mail.to != NodeId(4));
        cluster.pass(Duration::from_millis(100));
    }
    assert_eq!((cluster.leader(), cluster.raft(1).term()), (Some(NodeId(1)), term));
}

#[test]
fn a_learner_never_campaigns_but_votes_if_it_is_asked() {
    let members = raft_actor::membership::Membership::new([(NodeId(2), "two".to_owned())])
        .expect("valid")
        .with_learner(NodeId(1), "one".to_owned());
    let mut one = One::new(members, 3, None, &[1]);
    for _ in 0..10 {
        assert_eq!(one.pass(700), []);
    }
    assert_eq!(one.input(Input::Campaign), []);
    let now = Message::TimeoutNow(TimeoutNow { term: Term(3) });
    assert_eq!(one.receive(2, now), []);
    // The log that makes it a voter may not have reached it yet (thesis §4.2.2).
    assert_eq!(votes(&one.receive_and_flush(3, request_vote(4, id(1, 1)))), [true]);
}

#[test]
fn a_proposal_before_any_election_is_refused_at_once() {
    let mut one = One::new(voters(3), 0, None, &[]);
    let effects = one.input(Input::Propose { commands: vec!["early".into()] });
    assert_eq!(effects, [Effect::ProposalRefused { leader: None, count: 1 }]);
}

#[test]
fn messages_held_for_the_disk_are_dropped_when_their_election_is_over() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    one.input(Input::Campaign);
    let effects = one.receive(2, pre_vote_reply(2, true));
    assert_eq!(one.raft.role(), Role::Candidate);
    assert_eq!(sends(&effects), [], "the vote for itself is not flushed");
    one.receive(3, append(3, id(1, 1), &[], 0));
    let effects = one.flush();
    assert_eq!(vote_requests(&effects), [], "the candidacy of term 2 is over");
    assert_eq!(acks(&effects), [1]);
}

#[test]
fn election_timeouts_differ_from_one_to_the_next() {
    let mut one = One::new(voters(3), 0, None, &[]);
    let mut waits = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let wait = one.raft.deadline().since(one.now);
        assert!(wait >= Duration::from_millis(300) && wait < Duration::from_millis(600), "{wait:?}");
        waits.insert(wait);
        one.now = one.raft.deadline();
        one.input(Input::Tick);
    }
    assert_eq!(waits.len(), 20);
}

/// Node 1 of three, which has just heard node 2 lead term 2.
fn follower_of_two(config: Config) -> One {
    let state = LogState::of(HardState { term: Term(2), voted_for: None, fence: None }, log(&[1]));
    let mut one = One::recover(voters(3), state, config);
    one.receive(2, append(2, id(1, 1), &[], 0));
    one
}

#[test]
fn a_leader_whose_process_is_gone_is_not_waited_for() {
    let config = Config::default();
    let mut one = follower_of_two(config.clone());
    assert!(votes(&one.receive(3, pre_vote(3, id(1, 1)))).is_empty(), "it hears its leader");
    one.input(Input::Gone { peer: NodeId(2) });
    assert_eq!(votes(&one.receive(3, pre_vote(3, id(1, 1)))), [true], "so may the others");
    one.now = one.now.after(config.heartbeat_interval * 2);
    assert_eq!(vote_requests(&one.input(Input::Tick)).len(), 2);
    assert_eq!(one.raft.role(), Role::PreCandidate);
}

#[test]
fn those_who_have_lost_their_leader_stand_one_after_the_other_a_heartbeat_apart() {
    let config = Config::default();
    let heartbeat = config.heartbeat_interval;
    // Node 1 of five. Which turn it has depends on who is gone: the one after that comes first.
    for (leader, turn) in [(5, 0), (4, 1), (3, 2), (2, 3)] {
        let state = LogState::of(HardState { term: Term(2), voted_for: None, fence: None }, log(&[1]));
        let mut one = One::recover(voters(5), state, config.clone());
        one.receive(leader, append(2, id(1, 1), &[], 0));
        one.input(Input::Gone { peer: NodeId(leader) });
        let wait = one.raft.deadline().since(one.now);
        let first = heartbeat * turn;
        assert!((first..first + heartbeat / 2).contains(&wait), "{wait:?} after node {leader}");
    }
}

#[test]
fn a_candidate_that_is_refused_tries_again_sooner_than_after_an_election_timeout() {
    let config = Config::default();
    for _ in 0..20 {
        let mut one = One::new(voters(3), 1, None, &[]);
        one.input(Input::Campaign);
        one.receive(2, pre_vote_reply(2, true));
        assert_eq!(one.raft.role(), Role::Candidate);
        assert!(one.raft.deadline() >= one.now.after(config.election_timeout_min));
        one.receive(2, vote(2, false));
        assert!(one.raft.deadline() < one.now.after(config.election_timeout_min), "the vote is split");
    }
}

#[test]
fn a_peer_that_is_gone_and_a_leader_that_is_heard_again_change_nothing() {
    let config = Config::default();
    let mut one = follower_of_two(config.clone());
    one.input(Input::Gone { peer: NodeId(3) });
    one.now = one.now.after(config.heartbeat_interval);
    assert!(one.input(Input::Tick).is_empty(), "node 3 does not lead");
    one.input(Input::Gone { peer: NodeId(2) });
    one.receive(2, append(2, id(1, 1), &[], 0));
    one.now = one.now.after(config.heartbeat_interval);
    assert!(one.input(Input::Tick).is_empty());
    assert_eq!((one.raft.role(), one.raft.leader()), (Role::Follower, Some(NodeId(2))));
}

#[test]
fn where_leases_are_relied_on_a_leader_that_is_gone_is_waited_for_all_the_same() {
    let mut config = Config::default();
    config.lease_reads = true;
    let mut one = follower_of_two(config.clone());
    one.input(Input::Gone { peer: NodeId(2) });
    assert!(votes(&one.receive(3, pre_vote(3, id(1, 1)))).is_empty());
    one.now = one.now.after(config.heartbeat_interval);
    assert!(one.input(Input::Tick).is_empty());
}
