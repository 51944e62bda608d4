//! Raft §5.3 and §5.4.2; thesis §10.2.

use std::time::Duration;

use raft_actor::{
    config::Config,
    core::{Effect, Input, LogReader},
    membership::Membership,
    message::{AppendOutcome, Message},
    types::{Entry, HardState, LogIndex, LogState, NodeId, Payload, Role, Term},
};

use super::{
    cluster::{Cluster, disk, voters},
    one::{One, acks, append, appends, conflict, entry, id, log, matched, request_vote, sends, votes},
};

/// The entries of each write, and what was truncated before.
fn writes(effects: &[Effect]) -> Vec<(Option<u64>, Vec<u64>)> {
    let writes = effects.iter().filter_map(|effect| match effect {
        Effect::Write(write) => {
            let indexes = write.entries.iter().map(|entry| entry.id.index.0).collect();
            Some((write.truncate_from.map(|from| from.0), indexes))
        }
        _ => None,
    });
    writes.collect()
}

#[test]
fn a_stale_append_truncates_nothing() {
    let mut one = One::new(voters(3), 1, None, &[]);
    one.receive_and_flush(2, append(1, id(0, 0), &[1, 1, 1, 1, 1], 5));
    let effects = one.receive(2, append(1, id(0, 0), &[1, 1, 1], 3));
    assert_eq!(writes(&effects), []);
    assert_eq!(one.ends(), (id(1, 5), 5));
    let effects = one.receive(2, append(1, id(1, 2), &[], 2));
    assert_eq!(writes(&effects), []);
    assert_eq!(one.ends(), (id(1, 5), 5));
}

#[test]
fn a_conflict_truncates_from_the_first_entry_that_differs() {
    let mut one = One::new(voters(3), 2, None, &[1, 1, 2, 2]);
    let effects = one.receive(2, append(3, id(1, 1), &[1, 3], 0));
    assert_eq!(writes(&effects), [(Some(3), vec![3])]);
    assert_eq!(one.ends().0, id(3, 3));
}

#[test]
fn a_follower_commits_and_acks_no_further_than_the_request_has_verified() {
    let mut one = One::new(voters(3), 3, None, &[1, 1, 1, 1, 2, 2, 3, 3]);
    let effects = one.receive_and_flush(2, append(4, id(1, 4), &[2, 2], 8));
    assert_eq!(acks(&effects).last(), Some(&6));
    assert_eq!(one.ends(), (id(3, 8), 6));
}

#[test]
fn nothing_is_acked_before_it_is_flushed_not_even_by_a_heartbeat_or_a_duplicate() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    one.receive(2, append(1, id(1, 1), &[1, 1], 0));
    for message in [append(1, id(1, 1), &[1, 1], 0), append(1, id(1, 3), &[], 3)] {
        let effects = one.receive(2, message);
        assert!(acks(&effects).iter().all(|ack| *ack == 1), "{effects:?}");
    }
    assert_eq!(acks(&one.flush()), [3]);
    assert_eq!(acks(&one.flush()), [0; 0], "said once");
}

#[test]
fn entries_are_applied_once_they_are_committed_and_on_the_nodes_own_disk() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    let applied = |effects: &[Effect]| -> Vec<u64> {
        let entries = effects.iter().filter_map(|effect| match effect {
            Effect::Apply(entries) => Some(entries.iter().map(|entry| entry.id.index.0).collect::<Vec<_>>()),
            _ => None,
        });
        entries.flatten().collect()
    };
    let effects = one.receive(2, append(1, id(1, 1), &[1, 1], 3));
    assert_eq!(applied(&effects), [1]);
    assert_eq!(one.raft.commit_index(), LogIndex(3));
    assert_eq!(applied(&one.flush()), [2, 3]);
    assert_eq!(applied(&one.receive(2, append(1, id(1, 1), &[1, 1], 3))), [0; 0]);
}

#[test]
fn a_batch_of_appends_is_one_write_and_one_ack() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    let inputs = (1..=50)
        .map(|index| Input::Receive { from: NodeId(2), message: append(1, id(1, index), &[1], index) });
    let mut effects = Vec::new();
    one.raft.step_all(one.now, inputs, &mut effects);
    one.written = 1;
    assert_eq!(writes(&effects), [(None, (2..=51).collect())]);
    effects = one.flush();
    assert_eq!(acks(&effects), [51]);
    let applies = effects.iter().filter(|effect| matches!(effect, Effect::Apply(_)));
    assert_eq!(applies.count(), 1);
}

#[test]
fn a_batch_of_proposals_is_one_write_one_append_a_peer_and_one_apply() {
    let mut one = One::new(voters(3), 1, None, &[]);
    one.win();
    one.receive(2, matched(2, 1));
    one.receive(3, matched(2, 1));
    let inputs = (0..1000).map(|_| Input::Propose { commands: vec!["x".into()] });
    let mut effects = Vec::new();
    one.raft.step_all(one.now, inputs, &mut effects);
    one.written += 1;
    assert_eq!(writes(&effects), [(None, (2..=1001).collect())]);
    for peer in [2, 3] {
        let appends = appends(&effects, peer);
        assert_eq!(appends.iter().map(|append| append.entries.len()).collect::<Vec<_>>(), [1000]);
    }
    one.flush();
    let effects = one.receive(3, matched(2, 1001));
    let applies: Vec<usize> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Apply(entries) => Some(entries.len()),
            _ => None,
        })
        .collect();
    assert_eq!(applies, [1000]);
    assert_eq!(appends(&effects, 3).len(), 0, "the next write may take the commit index along");
    let effects = one.input(Input::Applied { index: LogIndex(1001) });
    assert_eq!(appends(&effects, 3).len(), 1, "nobody has written: whoever has the entries is told");
    assert_eq!(appends(&effects, 2).len(), 0, "and nobody else");
}

#[test]
fn a_write_that_follows_on_an_answer_takes_the_commit_index_along() {
    let mut one = One::new(voters(3), 1, None, &[]);
    one.win();
    one.receive(2, matched(2, 1));
    one.receive(3, matched(2, 1));
    one.input(Input::Applied { index: LogIndex(1) });
    one.input(Input::Propose { commands: vec!["x".into()] });
    one.flush();
    one.receive(2, matched(2, 2));
    let mut effects = Vec::new();
    let inputs = [Input::Applied { index: LogIndex(2) }, Input::Propose { commands: vec!["y".into()] }];
    one.raft.step_all(one.now, inputs, &mut effects);
    let appends = appends(&effects, 2);
    let told = appends.iter().map(|append| (append.entries.len(), append.leader_commit)).collect::<Vec<_>>();
    assert_eq!(told, [(1, LogIndex(2))], "one message, with the entry and the commit index");
}

#[test]
fn a_leader_whose_state_machine_is_slow_tells_what_is_committed_with_its_next_heartbeat() {
    let mut one = One::new(voters(3), 1, None, &[]);
    one.win();
    one.receive(2, matched(2, 1));
    one.input(Input::Applied { index: LogIndex(1) });
    one.input(Input::Propose { commands: vec!["x".into()] });
    one.flush();
    assert!(appends(&one.receive(2, matched(2, 2)), 2).is_empty());
    let effects = one.pass(60);
    let told = appends(&effects, 2).iter().map(|append| append.leader_commit).collect::<Vec<_>>();
    assert_eq!(told, [LogIndex(2)]);
}

#[test]
fn a_leader_commits_before_its_own_disk_has_the_entry_but_does_not_apply_it() {
    let mut one = One::new(voters(3), 1, None, &[]);
    one.win();
    one.receive(2, matched(2, 1));
    one.input(Input::Propose { commands: vec!["x".into()] });
    one.receive(2, matched(2, 2));
    assert_eq!(one.raft.commit_index(), LogIndex(1), "one follower of three");
    let effects = one.receive(3, matched(2, 2));
    assert_eq!(one.raft.commit_index(), LogIndex(2), "two followers of three");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Apply(_))));
    assert!(one.flush().iter().any(|effect| matches!(effect, Effect::Apply(_))));
}

#[test]
fn match_index_never_falls_and_a_late_conflict_changes_nothing() {
    let mut one = One::new(voters(3), 1, None, &[1, 1, 1, 1]);
    one.win();
    let peer = |one: &One| one.raft.status(one.now).peers[&NodeId(2)];
    one.receive(2, matched(2, 5));
    one.receive(2, matched(2, 3));
    assert_eq!((peer(&one).match_index.0, peer(&one).next_index.0), (5, 6));
    assert_eq!(sends(&one.receive(2, conflict(2, id(1, 4), id(1, 2)))), []);
    assert_eq!((peer(&one).match_index.0, peer(&one).next_index.0), (5, 6));
    one.receive(2, conflict(2, id(2, 900), id(1, 900)));
    one.receive(2, matched(2, 900));
    assert_eq!((peer(&one).match_index.0, peer(&one).next_index.0), (5, 6));
    assert_eq!(one.raft.commit_index(), LogIndex(5));
}

#[test]
fn a_conflicts_hint_never_raises_match_index() {
    let mut one = One::new(voters(3), 1, None, &[1, 1, 1, 1]);
    one.win();
    one.receive(2, conflict(2, id(1, 4), id(1, 3)));
    let peer = one.raft.status(one.now).peers[&NodeId(2)];
    assert_eq!((peer.match_index.0, peer.next_index.0), (0, 4));
    assert_eq!(one.raft.commit_index(), LogIndex(0));
}

#[test]
fn backing_up_over_a_thousand_entries_takes_a_message_a_term() {
    let leader: Vec<u64> = [1; 10].into_iter().chain([5; 1000]).collect();
    let follower: Vec<u64> = [1; 10].into_iter().chain([2; 500]).chain([3; 500]).collect();
    let mut cluster = Cluster::new(2);
    cluster.place(NodeId(1), disk(5, &leader));
    cluster.place(NodeId(2), disk(5, &follower));
    cluster.input(1, Input::Campaign);
    let mut conflicts = 0;
    for _ in 0..1000 {
        cluster.flush(1);
        cluster.flush(2);
        if cluster.wire.is_empty() {
            continue;
        }
        conflicts += usize::from(matches!(&cluster.wire[0].message,
            Message::AppendEntriesReply(reply) if matches!(reply.outcome, AppendOutcome::Conflict { .. })));
        cluster.deliver(0);
    }
    assert_eq!(cluster.raft(1).commit_index().0, 1011);
    assert!((1..=3).contains(&conflicts), "{conflicts} conflicts");
}

#[test]
fn a_lost_append_is_found_by_the_next_heartbeat() {
    let mut cluster = Cluster::new(2);
    cluster.elect(1);
    cluster.cut(1, 2);
    cluster.propose(1, "lost");
    cluster.settle();
    cluster.heal();
    cluster.pass(Duration::from_millis(120));
    assert_eq!(cluster.raft(2).commit_index(), LogIndex(2));
}

#[test]
fn a_window_is_never_exceeded_and_is_freed_by_acks() {
    let mut config = Config::default();
    config.append_entries_max = 2;
    config.inflight_max = 3;
    (config.append_bytes_max, config.inflight_bytes_max) = (1000, 1000);
    let mut one = One::recover(voters(3), LogState::default(), config);
    one.win();
    one.receive(2, matched(1, 1));
    let effects = one.input(Input::Propose { commands: vec!["x".into(); 100] });
    let ends = |appends: Vec<raft_actor::message::AppendEntries>| -> Vec<u64> {
        appends.iter().filter_map(|append| append.entries.last().map(|entry| entry.id.index.0)).collect()
    };
    assert_eq!(ends(appends(&effects, 2)), [3, 5, 7]);
    assert_eq!(ends(appends(&effects, 3)), [0; 0], "node 3 is still being probed");
    assert_eq!(ends(appends(&one.receive(2, matched(1, 5)), 2)), [9, 11]);
    let effects = one.pass(50);
    assert_eq!(appends(&effects, 2).len(), 1, "a heartbeat goes though the window is full");
    assert!(appends(&effects, 2)[0].entries.is_empty());
    // Every byte and every count of the window comes back, however often it is filled.
    for round in 0..40 {
        one.flush();
        one.input(Input::Propose { commands: vec!["y".into(); 6] });
        let last = one.raft.last_log_id().index.0;
        for _ in 0..100 {
            let next = one.raft.status(one.now).peers[&NodeId(2)].next_index.0;
            one.receive(2, matched(1, next - 1));
        }
        let peer = one.raft.status(one.now).peers[&NodeId(2)];
        assert_eq!((peer.inflight, peer.match_index.0), (0, last), "round {round}");
    }
}

#[test]
fn an_old_write_that_completes_late_does_not_vouch_for_what_stands_in_its_place() {
    let mut one = One::new(voters(3), 3, None, &[1]);
    one.receive(2, append(3, id(1, 1), &[3, 3], 0));
    let first = one.written;
    one.receive(3, append(4, id(1, 1), &[4, 4], 0));
    // The very entries of the first write come back, from a leader of term 5 that has them.
    one.receive(2, append(5, id(1, 1), &[3, 3], 0));
    assert_eq!(one.ends().0, id(3, 3));
    one.input(Input::Flushed { sequence: first });
    assert_eq!(one.raft.flushed_index(), LogIndex(1), "a crash now would leave what term 4 wrote");
    one.flush();
    assert_eq!(one.raft.flushed_index(), LogIndex(3));
}

#[test]
fn a_membership_follows_the_log_back_when_it_is_truncated_and_over_a_restart() {
    let wider = voters(5);
    let change = Entry::new(id(2, 2), Payload::Membership(Box::new(wider.clone())));
    let hard_state = HardState { term: Term(2), voted_for: None };
    let state = LogState::of(hard_state, vec![entry(1, 1), change]);
    let mut one = One::recover(voters(3), state, Config::default());
    assert_eq!((one.raft.membership(), one.raft.membership_log_id()), (&wider, id(2, 2)));
    one.receive(2, append(3, id(1, 1), &[3], 0));
    assert_eq!((one.raft.membership(), one.raft.membership_log_id()), (&voters(3), id(0, 0)));
}

#[test]
fn a_node_outside_a_committed_membership_does_not_campaign_and_votes() {
    let others = Membership::new((2..=5).map(|id| (NodeId(id), format!("node-{id}")))).expect("valid");
    let wide = voters(5);
    let change = Entry::new(id(1, 1), Payload::Membership(Box::new(others)));
    let state = LogState::of(HardState { term: Term(1), voted_for: None }, vec![change]);
    let mut one = One::recover(wide, state, Config::default());
    one.receive_and_flush(2, append(1, id(1, 1), &[], 1));
    one.pass(700);
    assert_eq!(one.input(Input::Campaign), [], "it is no voter, and so it does not even campaign");
    assert_eq!(votes(&one.receive_and_flush(2, request_vote(2, id(1, 1)))), [true]);
}

#[test]
fn malformed_entries_change_nothing() {
    let mut one = One::new(voters(3), 4, None, &[1]);
    let gap = {
        let Message::AppendEntries(mut request) = append(4, id(1, 1), &[], 9) else { unreachable!() };
        request.entries = vec![entry(4, 3)].into();
        Message::AppendEntries(request)
    };
    let messages = [
        gap,
        append(4, id(1, 1), &[5], 9),
        append(4, id(1, 1), &[3, 2], 9),
        append(4, id(1, u64::MAX), &[4], 9),
        append(4, id(0, 1), &[4], 9),
        append(4, id(1, 0), &[4], 9),
        conflict(4, id(1, 0), id(1, 0)),
    ];
    for message in messages {
        assert_eq!(one.receive(2, message.clone()), [], "{message:?}");
    }
    assert_eq!((one.ends(), one.raft.leader()), ((id(1, 1), 0), None));
}

#[test]
fn a_second_leader_of_the_term_is_not_believed() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    one.win();
    assert_eq!(one.receive(2, append(2, id(0, 0), &[2, 2, 2], 3)), []);
    assert_eq!((one.raft.role(), one.ends().0), (Role::Leader, id(2, 2)));
}

#[test]
#[should_panic(expected = "contradicts entry 1, which is committed")]
fn a_leader_that_contradicts_what_is_committed_stops_the_node() {
    let mut one = One::new(voters(3), 1, None, &[1]);
    one.receive(2, append(1, id(1, 1), &[], 1));
    one.receive(2, append(2, id(0, 0), &[2], 0));
}

#[test]
fn what_is_no_longer_in_memory_is_read_back_once_and_sent() {
    let mut state = LogState::of(HardState { term: Term(1), voted_for: None }, log(&[1; 10]));
    state.tail = state.tail.slice(8, 10);
    let mut one = One::recover(voters(3), state, Config::default());
    one.win();
    let effects = one.receive(2, conflict(2, id(1, 10), id(1, 3)));
    let reads = |effects: &[Effect]| -> Vec<(LogReader, u64, u64)> {
        let reads = effects.iter().filter_map(|effect| match effect {
            Effect::ReadLog { reader, first, last, .. } => Some((*reader, first.0, last.0)),
            _ => None,
        });
        reads.collect()
    };
    let reader = LogReader::Peer { peer: NodeId(2), term: Term(2) };
    assert_eq!(reads(&effects), [(reader, 4, 8)]);
    assert_eq!(appends(&effects, 2), []);
    assert_eq!(reads(&one.input(Input::Tick)), [], "one question at a time");
    let answer = |entries: Vec<Entry>| Input::LogRead { reader, entries: entries.into() };
    let effects = one.input(answer(log(&[1; 10])[3..6].to_vec()));
    let sent = appends(&effects, 2);
    assert_eq!((sent.len(), sent[0].prev_log_id, sent[0].entries.len()), (1, id(1, 3), 3));
    // An answer that is not what the peer needs now, or none at all, is not sent: never a hole (Raft §5.3).
    for entries in [vec![], vec![entry(1, 9)], vec![entry(9, 4)]] {
        assert_eq!(appends(&one.input(answer(entries)), 2), []);
    }
}

#[test]
fn a_peer_that_needs_purged_entries_gets_heartbeats_and_no_hole() {
    let hard_state = HardState { term: Term(1), voted_for: None };
    let tail: Vec<Entry> = log(&[1; 10])[5..].to_vec();
    let state = LogState {
        incarnation: 0,
        hard_state,
        purged: id(1, 5),
        last: id(1, 10),
        terms: vec![(LogIndex(6), Term(1))],
        memberships: Vec::new(),
        tail: tail.into(),
    };
    let mut one = One::recover(voters(3), state, Config::default());
    one.win();
    let mut effects = one.receive(2, conflict(2, id(1, 10), id(0, 0)));
    for _ in 0..20 {
        for append in appends(&effects, 2) {
            assert!(append.prev_log_id == id(1, 5), "{append:?}");
        }
        effects = one.receive(2, conflict(2, id(1, 5), id(0, 0)));
        assert_eq!(sends(&effects), [], "no question and answer in a circle");
        one.receive(3, matched(2, 1));
        effects = one.pass(50);
        assert_eq!(appends(&effects, 2).len(), 1);
        assert!(appends(&effects, 2)[0].entries.is_empty());
    }
}

#[test]
fn a_restarted_node_applies_its_log_from_the_disk() {
    let mut cluster = Cluster::new(1);
    cluster.tail_max = 2;
    cluster.place(NodeId(1), disk(1, &[1; 20]));
    cluster.pass(Duration::from_secs(1));
    let applied = &cluster.nodes[&NodeId(1)].applied;
    assert_eq!(applied.len(), 21);
    assert_eq!(applied[..20], log(&[1; 20]));
}

#[test]
fn a_proposal_is_told_before_the_leadership_that_took_it_ends() {
    let mut one = One::new(voters(3), 1, None, &[]);
    one.win();
    let mut effects = Vec::new();
    let inputs = [
        Input::Propose { commands: vec!["x".into()] },
        Input::Receive { from: NodeId(2), message: append(3, id(0, 0), &[3], 0) },
        Input::Propose { commands: vec!["y".into()] },
    ];
    one.raft.step_all(one.now, inputs, &mut effects);
    let told: Vec<&Effect> = effects
        .iter()
        .filter(|effect| {
            matches!(
                effect,
                Effect::Proposed { .. } | Effect::RoleChanged { .. } | Effect::ProposalRefused { .. }
            )
        })
        .collect();
    let leader = Some(NodeId(2));
    let changed = Effect::RoleChanged { role: Role::Follower, term: Term(3), leader };
    let refused = Effect::ProposalRefused { leader, count: 1 };
    assert_eq!(told, [&Effect::Proposed { first: id(2, 2), count: 1 }, &changed, &refused]);
    assert_eq!(writes(&effects), [(Some(1), vec![1])], "and never reaches the disk");
}
