//! Reads by lease (thesis §6.4.1) and reads of a bounded age: each condition, and what the lease rests on.

use std::time::Duration;

use raft_actor::{
    config::Config,
    core::{Effect, Input},
    message::{Message, ReadId, RequestVote},
    types::{HardState, LogIndex, LogState, NodeId, Role, Term},
};

use super::{
    cluster::{Cluster, voters},
    one::{
        One, append, appends, id, log, matched, matched_in_round, pre_vote, request_vote, sends,
        vote_requests, votes,
    },
};

/// Leases, with clocks that drift by a fifth: 300 ms of election timeout make a lease of 250 ms.
fn config() -> Config {
    let mut config = Config::default();
    config.lease_reads = true;
    config.clock_drift_percent_max = 20;
    config
}

fn by_lease(number: u64) -> Input {
    Input::LeaseRead { id: ReadId(number) }
}

fn within(number: u64, milliseconds: u64) -> Input {
    Input::ReadWithin { id: ReadId(number), bound: Duration::from_millis(milliseconds) }
}

/// The reads that are ready, and their read index.
fn ready(effects: &[Effect]) -> Vec<(u64, u64)> {
    let mut ready = Vec::new();
    for effect in effects {
        if let Effect::ReadReady { ids, read_index } = effect {
            ready.extend(ids.iter().map(|id| (id.0, read_index.0)));
        }
    }
    ready
}

/// Node 1 of three on a disk of this term.
fn node(term: u64, config: Config) -> One {
    let hard_state = HardState { term: Term(term), voted_for: None, fence: None };
    One::recover(voters(3), LogState::of(hard_state, log(&[])), config)
}

/// A leader whose lease began just now.
fn leader_with_lease() -> One {
    let mut one = node(1, config());
    one.win();
    one.receive(2, matched(2, 1));
    one.input(Input::Read { id: ReadId(100) });
    assert_eq!(ready(&one.receive(2, matched_in_round(2, 1, 1))), [(100, 1)]);
    one
}

#[test]
fn a_lease_answers_without_asking_until_the_election_timeout_less_the_drift_is_over() {
    let mut one = leader_with_lease();
    assert_eq!(ready(&one.input(by_lease(1))), [(1, 1)]);
    one.now = one.now.after(Duration::from_millis(249));
    assert_eq!(ready(&one.input(by_lease(2))), [(2, 1)]);
    one.now = one.now.after(Duration::from_millis(1));
    assert_eq!(ready(&one.input(by_lease(3))), [], "250 ms are over");
}

#[test]
fn a_lease_counts_from_the_start_of_the_round_and_not_from_its_answer() {
    let mut one = node(1, config());
    one.win();
    one.receive(2, matched(2, 1));
    one.input(by_lease(1));
    one.now = one.now.after(Duration::from_millis(200));
    assert_eq!(ready(&one.receive(2, matched_in_round(2, 1, 1))), [(1, 1)]);
    one.now = one.now.after(Duration::from_millis(49));
    assert_eq!(ready(&one.input(by_lease(2))), [(2, 1)]);
    one.now = one.now.after(Duration::from_millis(1));
    assert_eq!(ready(&one.input(by_lease(3))), []);
}

#[test]
fn without_an_answered_round_there_is_no_lease() {
    let mut one = node(1, config());
    one.win();
    one.receive(2, matched(2, 1));
    let effects = one.input(by_lease(1));
    assert_eq!(ready(&effects), []);
    assert_eq!(appends(&effects, 2)[0].round, 1, "it is asked for like any read");
    assert_eq!(ready(&one.receive(3, matched_in_round(2, 1, 1))), [(1, 1)]);
}

#[test]
fn a_lease_is_not_used_before_an_entry_of_the_leaders_own_term_is_committed() {
    let hard_state = HardState { term: Term(1), voted_for: None, fence: None };
    let mut one = One::recover(voters(3), LogState::of(hard_state, log(&[1, 1])), config());
    one.win();
    // Rounds are answered, but node 2 and 3 have nothing on their disks yet.
    assert_eq!(ready(&one.input(by_lease(1))), []);
    assert_eq!(ready(&one.receive(2, matched_in_round(2, 2, 1))), []);
    assert_eq!(ready(&one.input(by_lease(2))), []);
    assert_eq!(one.raft.commit_index(), LogIndex(0));
}

#[test]
fn a_lease_is_off_where_the_configuration_does_not_turn_it_on() {
    let mut one = node(1, Config::default());
    one.win();
    one.receive(2, matched(2, 1));
    one.input(by_lease(1));
    one.receive(2, matched_in_round(2, 1, 1));
    assert_eq!(ready(&one.input(by_lease(2))), []);
}

#[test]
fn a_lease_is_void_while_leadership_is_handed_over_and_ever_after_a_successor_was_told() {
    let mut one = leader_with_lease();
    one.input(Input::Propose { commands: vec!["x".into()] });
    one.flush();
    // Node 2 lacks the last entry, so it is not told yet.
    let effects = one.input(Input::Transfer { to: Some(NodeId(2)) });
    assert!(!sends(&effects).iter().any(|(_, message)| matches!(message, Message::TimeoutNow(_))));
    assert_eq!(ready(&one.input(by_lease(1))), [], "while it is under way");
    let effects = one.receive(2, matched_in_round(2, 2, 2));
    assert!(sends(&effects).iter().any(|(_, message)| matches!(message, Message::TimeoutNow(_))));
    // Given up, while the word to the successor may still be on its way.
    for step in 3..16 {
        one.pass(50);
        one.receive(3, matched_in_round(2, 2, step));
    }
    assert!(one.raft.status(one.now).transfer.is_none() && one.raft.role() == Role::Leader);
    one.input(Input::Read { id: ReadId(7) });
    one.receive(3, matched_in_round(2, 2, 99));
    one.input(by_lease(8));
    let effects = one.input(by_lease(9));
    assert_eq!(ready(&effects), [], "a round is confirmed, and the successor may campaign all the same");
}

#[test]
fn a_transfer_that_told_nobody_gives_the_lease_back() {
    let mut one = leader_with_lease();
    one.input(Input::Propose { commands: vec!["x".into()] });
    one.flush();
    one.receive(3, matched(2, 2));
    one.input(Input::Transfer { to: Some(NodeId(2)) });
    for _ in 0..13 {
        one.pass(50);
        one.receive(3, matched(2, 2));
    }
    assert!(one.raft.status(one.now).transfer.is_none());
    one.input(by_lease(1));
    one.receive(3, matched_in_round(2, 2, 99));
    assert_eq!(ready(&one.input(by_lease(2))), [(2, 2)]);
}

#[test]
fn a_lease_that_is_used_is_renewed_by_heartbeats_and_one_that_is_not_costs_nothing() {
    let mut one = leader_with_lease();
    let rounds =
        |effects: &[Effect]| -> Vec<u64> { appends(effects, 2).iter().map(|append| append.round).collect() };
    assert_eq!(rounds(&one.pass(50)), [1], "nobody used it");
    one.input(by_lease(1));
    assert_eq!(rounds(&one.pass(50)), [2], "the heartbeat begins a round");
    one.receive(2, matched_in_round(2, 1, 2));
    one.now = one.now.after(Duration::from_millis(240));
    assert_eq!(ready(&one.input(by_lease(2))), [(2, 1)], "340 ms after the first lease began");
}

#[test]
fn a_follower_asks_its_leader_whatever_lease_there_is() {
    let mut cluster = Cluster::with(voters(3), config(), 3);
    cluster.elect(1);
    cluster.propose(1, "x");
    cluster.settle();
    cluster.input(2, by_lease(1));
    assert_eq!(ready(&cluster.told(2)), []);
    cluster.settle();
    assert_eq!(ready(&cluster.told(2)), [(1, 2)]);
}

#[test]
fn a_leader_that_was_held_up_beyond_its_lease_does_not_use_it() {
    let mut cluster = Cluster::with(voters(3), config(), 3);
    cluster.elect(1);
    cluster.input(1, by_lease(1));
    cluster.settle();
    cluster.input(1, by_lease(2));
    assert_eq!(ready(&cluster.told(1)), [(1, 1), (2, 1)]);
    // Node 1 stands still: nothing reaches it and its timers are late, while the others go on.
    cluster.isolate(1);
    cluster.now = cluster.now.after(Duration::from_millis(650));
    cluster.input(2, Input::Tick);
    cluster.input(3, Input::Tick);
    cluster.settle();
    cluster.input(2, Input::Campaign);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(NodeId(2)));
    cluster.propose(2, "newer");
    cluster.settle();
    assert_eq!(cluster.raft(1).role(), Role::Leader, "it has not noticed");
    cluster.input(1, by_lease(3));
    assert_eq!(ready(&cluster.told(1)), []);
}

#[test]
fn a_voter_that_has_restarted_waits_as_if_it_had_just_heard_a_leader() {
    let mut one = node(5, config());
    assert_eq!(votes(&one.receive_and_flush(2, pre_vote(6, id(9, 9)))), [false; 0]);
    assert_eq!(votes(&one.receive_and_flush(2, request_vote(6, id(9, 9)))), [false; 0]);
    assert_eq!(one.raft.term(), Term(5));
    one.now = one.now.after(Duration::from_millis(299));
    assert_eq!(votes(&one.receive_and_flush(2, request_vote(6, id(9, 9)))), [false; 0]);
    one.now = one.now.after(Duration::from_millis(1));
    assert_eq!(votes(&one.receive_and_flush(2, request_vote(6, id(9, 9)))), [true]);
    // A node that was never in a term with a leader has none to remember.
    let mut new = node(1, config());
    assert_eq!(votes(&new.receive_and_flush(2, request_vote(2, id(9, 9)))), [true]);
}

#[test]
fn who_hears_a_leader_neither_campaigns_when_told_nor_votes_in_a_term_that_reached_it_otherwise() {
    let mut one = node(1, config());
    one.receive_and_flush(2, append(2, id(0, 0), &[], 0));
    assert_eq!(vote_requests(&one.input(Input::Campaign)), []);
    // A higher term in passing: an answer of a node that stands in it.
    one.receive_and_flush(3, super::one::vote(7, false));
    assert_eq!(one.raft.term(), Term(7));
    assert_eq!(votes(&one.receive_and_flush(3, request_vote(7, id(9, 9)))), [false]);
    let asked_by_the_leader = Message::RequestVote(RequestVote {
        term: Term(7),
        last_log_id: id(9, 9),
        pre_vote: false,
        leadership_transfer: true,
    });
    assert_eq!(votes(&one.receive_and_flush(2, asked_by_the_leader)), [true]);
}

#[test]
fn a_read_within_a_bound_is_answered_by_an_index_that_was_asked_for_within_it() {
    let mut cluster = Cluster::with(voters(3), Config::default(), 3);
    cluster.elect(1);
    cluster.propose(1, "x");
    cluster.settle();
    cluster.input(2, within(1, 100));
    assert_eq!(ready(&cluster.told(2)), [], "it knows of none yet, and asks");
    cluster.now = cluster.now.after(Duration::from_millis(30));
    cluster.settle();
    assert_eq!(ready(&cluster.told(2)), [(1, 2)]);
    cluster.isolate(2);
    cluster.propose(1, "newer");
    cluster.settle();
    cluster.now = cluster.now.after(Duration::from_millis(69));
    cluster.input(2, within(2, 100));
    assert_eq!(ready(&cluster.told(2)), [(2, 2)], "99 ms after the question, not after the answer");
    cluster.now = cluster.now.after(Duration::from_millis(1));
    cluster.input(2, within(3, 100));
    assert_eq!(ready(&cluster.told(2)), []);
    cluster.input(2, within(4, 1000));
    assert_eq!(ready(&cluster.told(2)), [(4, 2)], "another bound, the same index");
}

#[test]
fn a_bound_of_zero_always_asks() {
    let mut one = leader_with_lease();
    assert_eq!(ready(&one.input(within(1, 0))), []);
    assert_eq!(ready(&one.input(within(2, 1))), [(2, 1)]);
}

/// What a random run of leases has come to.
#[derive(Debug, Default)]
struct Counts {
    by_lease: usize,
    leaders: u64,
    commits: usize,
    restarts: u64,
    transfers: u64,
}

/// One random step. Nodes that are cut off, stand still, restart, hand over or are told to campaign; and
/// after each, everybody who thinks that it leads is asked to read by its lease. The cluster checks that no
/// read misses what was committed before it.
fn step(cluster: &mut Cluster, random: &mut fastrand::Rng, counts: &mut Counts, number: u64) {
    let id = random.u64(1..=3);
    let leader = cluster.leader().map_or(id, |leader| leader.0);
    let runs = |cluster: &Cluster, id: u64| cluster.nodes[&NodeId(id)].raft.is_some();
    match random.u32(0..40) {
        0..12 => cluster.propose(leader, "x"),
        12 => cluster.isolate(leader),
        13 => cluster.cut(leader, id),
        14 | 15 => cluster.heal(),
        16 | 17 if runs(cluster, id) => {
            cluster.crash(id);
            cluster.restart(id);
            counts.restarts += 1;
        }
        18 => cluster.input(id, Input::Campaign),
        19 => {
            cluster.input(leader, Input::Transfer { to: None });
            counts.transfers += 1;
        }
        20..24 => cluster.now = cluster.now.after(Duration::from_millis(random.u64(1..120))),
        _ => {
            if let Some((due, id)) = cluster.next_deadline() {
                cluster.now = cluster.now.max(due);
                cluster.inputs(id, vec![Input::Tick]);
            }
        }
    }
    // Not always: messages that are late are what it is about.
    for _ in 0..random.usize(0..12) {
        for id in 1..=3 {
            cluster.flush(id);
        }
        if !cluster.wire.is_empty() {
            cluster.deliver(random.usize(0..cluster.wire.len().min(3)));
        }
    }
    for id in 1..=3 {
        if runs(cluster, id) && cluster.raft(id).role() == Role::Leader {
            cluster.told(id);
            cluster.input(id, by_lease(number));
            counts.by_lease += ready(&cluster.told(id)).iter().filter(|(read, _)| *read == number).count();
        }
    }
}

#[test]
fn no_random_schedule_makes_a_lease_answer_with_what_is_stale() {
    let seeds = crate::seeds(300);
    let mut counts = Counts::default();
    for seed in 0..seeds {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut cluster = Cluster::with(voters(3), config(), seed);
        cluster.elect(random.u64(1..=3));
        for number in 1..=400 {
            step(&mut cluster, &mut random, &mut counts, number);
        }
        let terms = cluster.nodes.values().filter_map(|node| node.raft.as_ref()).map(|raft| raft.term());
        counts.leaders += terms.max().map_or(0, |term| term.0);
        counts.commits += cluster.committed.len();
    }
    println!("{seeds} seeds of 400 steps: {counts:?}");
    assert!(counts.by_lease as u64 > seeds * 20, "vacuous: {counts:?}");
    assert!(counts.leaders > seeds * 3 && counts.commits as u64 > seeds * 20, "vacuous: {counts:?}");
    assert!(counts.restarts > seeds && counts.transfers > seeds, "vacuous: {counts:?}");
}
