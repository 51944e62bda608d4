//! Who stands for election first: priorities, and witnesses, who stand last and only lead until somebody else
//! can.

use std::time::Duration;

use raft_actor::{
    config::Config,
    core::{Effect, Input},
    membership::{ChangeError, Membership, MembershipChange, MembershipError, TransferError},
    message::Message,
    types::{HardState, LogIndex, LogState, NodeId, Payload, Role, SnapshotMeta, Term},
};

use super::{
    cluster::{Cluster, voters},
    members::{answer, change, ids, voting},
    one::{One, append, appends, conflict, id, log, matched, vote_requests},
};

fn with_priorities(count: u64, priorities: &[(u64, u8)]) -> Membership {
    let set = |all: Membership, (node, priority): &(u64, u8)| {
        all.with_priority(NodeId(*node), *priority).expect("a member, and not the last that may lead")
    };
    priorities.iter().fold(voters(count), set)
}

fn with_witness(count: u64, witness: u64) -> Membership {
    voters(count).with_witness(NodeId(witness)).expect("others may lead")
}

fn seeded(base: &Membership, seed: u64) -> Cluster {
    Cluster::with(base.clone(), Config::default(), seed)
}

const LONG: Duration = Duration::from_secs(5);

fn has_command(cluster: &Cluster, node: u64, command: &str) -> bool {
    let applied = &cluster.nodes[&NodeId(node)].applied;
    applied.iter().any(|entry| entry.payload == Payload::Command(command.to_owned().into()))
}

#[test]
fn priority_0_never_stands_whoever_asks() {
    let mut cluster = seeded(&with_priorities(3, &[(3, 0)]), 1);
    for node in [1, 2] {
        cluster.isolate(node);
    }
    cluster.input(3, Input::Campaign);
    cluster.pass(LONG);
    assert_eq!((cluster.raft(3).role(), cluster.raft(3).term()), (Role::Follower, Term(0)));
    cluster.heal();
    cluster.elect(1);
    cluster.input(1, Input::Transfer { to: Some(NodeId(3)) });
    cluster.pass(Duration::from_millis(100));
    let outcome = Err(TransferError::NeverStands(NodeId(3)));
    assert!(cluster.told(1).contains(&Effect::TransferEnded { outcome }), "it is refused at once");
    assert_eq!(cluster.leader(), Some(NodeId(1)));
    cluster.input(1, Input::Transfer { to: None });
    cluster.settle();
    assert_eq!(cluster.leader(), Some(NodeId(2)), "and is nobody's choice");
}

#[test]
fn a_leaders_word_does_not_make_priority_0_stand_either() {
    let mut one = One::new(with_priorities(3, &[(1, 0)]), 1, None, &[1]);
    one.receive(2, append(2, id(1, 1), &[], 0));
    one.flush();
    let timeout_now = Message::TimeoutNow(raft_actor::message::TimeoutNow { term: Term(2) });
    assert_eq!(vote_requests(&one.receive(2, timeout_now)), []);
    assert_eq!(one.raft.term(), Term(2));
}

#[test]
fn the_voter_of_the_highest_priority_that_is_there_is_elected() {
    let base = with_priorities(5, &[(2, 3), (3, 9), (5, 3)]);
    for seed in 1..=40 {
        let mut cluster = seeded(&base, seed);
        cluster.pass(LONG);
        assert_eq!(cluster.leader(), Some(NodeId(3)), "seed {seed}");
        cluster.crash(3);
        cluster.pass(LONG);
        let next = cluster.leader().map(|node| node.0);
        assert!(matches!(next, Some(2 | 5)), "seed {seed}: node {next:?}");
    }
}

#[test]
fn a_lower_priority_stands_when_those_above_it_are_gone() {
    let base = with_priorities(5, &[(1, 9), (2, 5)]);
    for seed in 1..=10 {
        let mut cluster = seeded(&base, seed);
        cluster.crash(1);
        cluster.crash(2);
        // One wait of its own, and one for each of the two above it.
        cluster.pass(Duration::from_millis(600 * 3 + 600));
        assert!(cluster.leader().is_some_and(|node| node.0 >= 3), "seed {seed}");
    }
}

/// Most often the leader that is lost was the highest of all: nobody need wait for it to stand.
#[test]
fn the_next_in_line_does_not_wait_for_the_leader_that_was_lost() {
    for seed in 1..=20 {
        let mut cluster = seeded(&with_priorities(3, &[(1, 9), (2, 5)]), seed);
        cluster.elect(1);
        cluster.pass(Duration::from_millis(500));
        cluster.crash(1);
        cluster.pass(Duration::from_millis(600));
        assert_eq!(cluster.leader(), Some(NodeId(2)), "seed {seed}: within one election timeout");
    }
}

#[test]
fn a_lower_priority_stands_when_the_one_above_it_is_behind_and_cannot_win() {
    let base = with_priorities(3, &[(3, 9)]);
    for seed in 1..=10 {
        let mut cluster = seeded(&base, seed);
        cluster.elect(1);
        cluster.isolate(3);
        cluster.propose(1, "acknowledged");
        cluster.settle();
        cluster.crash(1);
        cluster.heal();
        cluster.pass(LONG);
        assert_eq!(cluster.leader(), Some(NodeId(2)), "seed {seed}");
        cluster.restart(1);
        cluster.pass(LONG);
        assert_eq!(cluster.leader(), Some(NodeId(2)), "seed {seed}: who leads is not unseated");
        assert!(has_command(&cluster, 3, "acknowledged"));
    }
}

#[test]
fn among_those_equally_far_the_highest_priority_is_handed_leadership() {
    let mut cluster = seeded(&with_priorities(4, &[(1, 9), (3, 4), (4, 7)]), 1);
    cluster.elect(1);
    cluster.pass(Duration::from_millis(200));
    cluster.input(1, Input::Transfer { to: None });
    cluster.settle();
    assert_eq!(cluster.leader(), Some(NodeId(4)));
    // Whoever is behind is not preferred, whatever its priority.
    cluster.cut(4, 1);
    cluster.propose(4, "more");
    cluster.settle();
    cluster.input(4, Input::Transfer { to: None });
    cluster.settle();
    assert_eq!(cluster.leader(), Some(NodeId(3)));
}

#[test]
fn a_priority_is_changed_as_other_properties_of_members_are() {
    let mut cluster = seeded(&voters(3), 1);
    cluster.elect(1);
    cluster.change(1, 1, change().set_priority(NodeId(2), 7).set_priority(NodeId(3), 0));
    cluster.settle();
    assert!(matches!(answer(&mut cluster, 1, 1), Some(Ok(_))));
    cluster.pass(Duration::from_millis(100));
    for node in 1..=3 {
        let membership = cluster.raft(node).membership();
        let priorities = ids(1..=3).into_iter().map(|node| membership.priority(node));
        assert_eq!((priorities.collect::<Vec<_>>(), membership.is_joint()), (vec![1, 7, 0], false));
    }
    cluster.change(1, 2, change().set_priority(NodeId(1), 0).set_priority(NodeId(2), 0));
    let refused = Err(ChangeError::Invalid(MembershipError::NobodyMayLead));
    assert_eq!(answer(&mut cluster, 1, 2), Some(refused));
    cluster.change(1, 3, change().remove(NodeId(2)));
    cluster.settle();
    assert!(cluster.raft(1).membership().priorities().keys().eq([&NodeId(3)]), "it goes with its member");
}

#[test]
fn what_a_truncated_entry_has_said_of_a_member_is_forgotten() {
    let mut cluster = seeded(&voters(3), 1);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.change(1, 1, change().set_priority(NodeId(2), 9));
    cluster.settle();
    assert_eq!(cluster.raft(1).membership().priority(NodeId(2)), 9, "in force, committed or not");
    cluster.pass(LONG);
    cluster.heal();
    cluster.pass(LONG);
    assert_eq!(cluster.raft(1).membership().priority(NodeId(2)), 1);
}

/// The reason for witnesses: two full voters and a witness survive the loss of either full voter, though the
/// one that is left may lack what the other and the witness have acknowledged.
#[test]
fn what_only_a_witness_has_left_is_given_to_the_full_voter_which_then_leads() {
    for seed in 1..=40 {
        let mut cluster = seeded(&with_witness(3, 3), seed);
        cluster.elect(1);
        cluster.isolate(2);
        for command in ["one", "two", "three"] {
            cluster.propose(1, command);
        }
        cluster.settle();
        assert!(has_command(&cluster, 1, "three"), "leader and witness are a quorum");
        cluster.crash(1);
        cluster.heal();
        cluster.pass(LONG);
        assert_eq!(cluster.leader(), Some(NodeId(2)), "seed {seed}");
        assert!(has_command(&cluster, 2, "three"), "seed {seed}");
        cluster.propose(2, "after");
        cluster.settle();
        assert!(has_command(&cluster, 2, "after"), "seed {seed}: the cluster goes on");
    }
}

#[test]
fn a_witness_stands_last_and_is_nobodys_choice() {
    for seed in 1..=40 {
        let mut cluster = seeded(&with_witness(3, 1), seed);
        cluster.pass(Duration::from_secs(2));
        let first = cluster.leader().expect("a leader").0;
        assert!(first != 1 && cluster.raft(first).term() == Term(1), "seed {seed}: node {first}");
        cluster.crash(first);
        cluster.pass(LONG);
        let next = cluster.leader().expect("a leader").0;
        assert!(next != 1 && cluster.raft(next).term() == Term(2), "seed {seed}: node {next}");
        cluster.input(next, Input::Transfer { to: Some(NodeId(1)) });
        let outcome = Err(TransferError::Witness(NodeId(1)));
        assert!(cluster.told(next).contains(&Effect::TransferEnded { outcome }));
        cluster.input(next, Input::Transfer { to: None });
        let outcome = Err(TransferError::NobodyAnswers);
        assert!(cluster.told(next).contains(&Effect::TransferEnded { outcome }));
    }
}

#[test]
fn a_witness_with_priority_0_never_stands() {
    let base = with_witness(3, 3).with_priority(NodeId(3), 0).expect("others may lead");
    let mut cluster = seeded(&base, 1);
    cluster.elect(1);
    cluster.isolate(2);
    cluster.propose(1, "one");
    cluster.settle();
    cluster.crash(1);
    cluster.heal();
    cluster.pass(LONG);
    assert!(cluster.leader().is_none(), "node 2 may not win, and node 3 does not stand");
    cluster.restart(1);
    cluster.pass(LONG);
    assert_eq!(cluster.leader(), Some(NodeId(1)));
}

/// Node 1 is a witness among three, and leads; nobody else has its first entry yet.
fn leading_witness() -> One {
    let hard_state = HardState { term: Term(1), voted_for: None, fence: None };
    let mut config = Config::default();
    (config.snapshot_entries, config.trailing_entries) = (5, 0);
    let state = LogState::of(hard_state, log(&[1; 8]));
    let mut one = One::recover(with_witness(3, 1), state, config);
    one.raft = one.raft.with_snapshots(None);
    one.win();
    one
}

#[test]
fn a_witness_that_leads_takes_nothing_and_hands_over_to_the_first_that_has_its_last_entry() {
    let mut one = leading_witness();
    let effects = one.input(Input::Propose { commands: vec!["x".into()] });
    assert!(effects.contains(&Effect::ProposalRefused { leader: None, count: 1 }), "{effects:?}");
    let refused = Effect::MembershipRefused { id: 7, reason: ChangeError::NotLeader { leader: None } };
    one.receive(2, matched(2, 8));
    let remove = MembershipChange::new().remove(NodeId(3));
    assert!(one.input(Input::ChangeMembership { id: 7, change: remove }).contains(&refused));
    assert_eq!(one.raft.status(one.now).transfer, None, "node 2 lacks the entry of its term");
    let effects = one.receive(2, matched(2, 9));
    let told = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Send { to: NodeId(2), message: Message::TimeoutNow(_) }));
    assert!(told && one.raft.commit_index() == LogIndex(9), "{effects:?}");
    assert_eq!(one.raft.last_log_id(), id(2, 9));
}

/// A snapshot of node 1's own, which holds nothing.
fn emptiness(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        id: index,
        last: id(1, index),
        membership: Box::new(with_witness(3, 1)),
        membership_log_id: id(1, 1),
        size_bytes: 0,
        witness: true,
    }
}

#[cfg_attr(test, test)]
pub(crate) fn a_witness_keeps_what_a_full_voter_may_still_need() {
    let mut one = leading_witness();
    one.receive(2, matched(2, 8));
    one.receive(3, matched(2, 4));
    one.receive(2, matched(2, 9));
    one.input(Input::Applied { index: LogIndex(8) });
    one.input(Input::SnapshotTaken { snapshot: emptiness(8) });
    assert_eq!(one.raft.first_index(), LogIndex(5), "node 3 has four entries");
    one.receive(3, matched(2, 8));
    assert_eq!(one.raft.first_index(), LogIndex(9));
}

#[test]
fn a_witness_that_follows_keeps_what_its_leader_says_that_others_need() {
    let hard_state = HardState { term: Term(1), voted_for: None, fence: None };
    let state = LogState::of(hard_state, log(&[1; 8]));
    let mut config = Config::default();
    config.trailing_entries = 0;
    let mut one = One::recover(with_witness(3, 1), state, config);
    one.raft = one.raft.with_snapshots(None);
    let heartbeat = |one: &mut One, held: u64| {
        let Message::AppendEntries(mut heartbeat) = append(1, id(1, 8), &[], 8) else { unreachable!() };
        heartbeat.held_index = LogIndex(held);
        one.receive(2, Message::AppendEntries(heartbeat));
    };
    heartbeat(&mut one, 0);
    one.input(Input::Applied { index: LogIndex(8) });
    one.input(Input::SnapshotTaken { snapshot: emptiness(8) });
    assert_eq!(one.raft.first_index(), LogIndex(1), "its leader does not know yet");
    heartbeat(&mut one, 6);
    assert_eq!(one.raft.first_index(), LogIndex(7));
    heartbeat(&mut one, 3);
    heartbeat(&mut one, 8);
    assert_eq!(one.raft.first_index(), LogIndex(9));
}

#[test]
fn a_leader_tells_witnesses_and_only_them_what_all_full_voters_have() {
    let mut one = One::new(with_witness(3, 3), 1, None, &[1]);
    one.win();
    one.receive(2, matched(2, 1));
    one.receive(3, matched(2, 2));
    let effects = one.pass(50);
    let held = |peer| appends(&effects, peer).iter().map(|append| append.held_index.0).collect::<Vec<_>>();
    assert_eq!((held(2), held(3)), (vec![0], vec![1]));
}

#[test]
fn a_witness_is_sent_a_snapshots_place_and_members_and_none_of_its_bytes() {
    let hard_state = HardState { term: Term(1), voted_for: None, fence: None };
    let mut config = Config::default();
    config.trailing_entries = 2;
    let mut one = One::recover(with_witness(3, 3), LogState::of(hard_state, log(&[1; 8])), config);
    one.raft = one.raft.with_snapshots(None);
    one.win();
    one.receive(2, matched(2, 9));
    one.input(Input::Applied { index: LogIndex(9) });
    let full = SnapshotMeta { size_bytes: 100, witness: false, ..emptiness(8) };
    one.input(Input::SnapshotTaken { snapshot: full });
    assert_eq!(one.raft.first_index(), LogIndex(7));
    let mut effects = one.receive(3, conflict(2, id(1, 8), id(0, 0)));
    effects.extend(one.receive(3, conflict(2, id(1, 6), id(0, 0))));
    effects.extend(one.pass(50));
    let sent: Vec<(u64, bool, u64)> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::SendSnapshot { to: NodeId(3), snapshot, bytes_max, .. } => {
                Some((snapshot.size_bytes, snapshot.witness, *bytes_max))
            }
            _ => None,
        })
        .collect();
    assert_eq!(sent, [(0, true, 0)]);
}

/// It waits for one who has more than emptiness; meanwhile nobody else need campaign.
#[test]
fn a_witness_never_gives_its_emptiness_to_a_full_member() {
    let hard_state = HardState { term: Term(1), voted_for: None, fence: None };
    let mut config = Config::default();
    config.trailing_entries = 0;
    let mut state = LogState::of(hard_state, Vec::new());
    // As after a leader's snapshot, which has taken the place of its log.
    (state.purged, state.last) = (id(1, 8), id(1, 8));
    let mut one = One::recover(with_witness(3, 1), state, config);
    one.raft = one.raft.with_snapshots(Some(emptiness(8)));
    one.win();
    one.receive(2, conflict(2, id(1, 8), id(1, 4)));
    let mut effects = Vec::new();
    for _ in 0..40 {
        effects.extend(one.pass(50));
        effects.extend(one.receive(2, conflict(2, id(1, 8), id(1, 4))));
    }
    assert_eq!(one.raft.role(), Role::Leader, "node 2 is heard, and hears it");
    assert!(appends(&effects, 2).len() >= 30);
    let is_snapshot = |effect: &Effect| matches!(effect, Effect::SendSnapshot { .. });
    assert!(!effects.iter().any(is_snapshot), "{effects:?}");
    // Node 3 comes back with everything.
    one.receive(3, matched(2, 9));
    assert_eq!(one.raft.status(one.now).transfer, Some(NodeId(3)));
}

#[test]
fn a_witness_is_added_promoted_and_removed_and_never_changes_its_kind() {
    let mut cluster = seeded(&voters(3), 1);
    cluster.elect(1);
    cluster.join(4);
    cluster.change(1, 1, change().add_witness(NodeId(4), "node-4"));
    cluster.settle();
    cluster.change(1, 2, change().add_witness(NodeId(4), "node-4"));
    assert!(matches!(answer(&mut cluster, 1, 2), Some(Ok(_))), "once more changes nothing");
    for same in [change().add_learner(NodeId(4), "node-4"), change().add_witness(NodeId(2), "node-2")] {
        let node = same.steps()[0].clone();
        cluster.change(1, 3, same);
        let refused = answer(&mut cluster, 1, 3).expect("an answer").expect_err("a refusal");
        assert!(matches!(refused, ChangeError::Invalid(MembershipError::AlreadyAMember(_))), "{node:?}");
    }
    cluster.pass(Duration::from_millis(200));
    cluster.change(1, 4, change().promote(NodeId(4)));
    cluster.settle();
    cluster.pass(Duration::from_millis(200));
    let membership = cluster.raft(4).membership().clone();
    assert_eq!((voting(&membership), membership.is_witness(NodeId(4))), (vec![1, 2, 3, 4], true));
    let rest = change().remove(NodeId(1)).remove(NodeId(2)).remove(NodeId(3));
    cluster.change(1, 5, rest);
    let refused = Err(ChangeError::Invalid(MembershipError::NobodyMayLead));
    assert_eq!(answer(&mut cluster, 1, 5), Some(refused));
    cluster.change(1, 6, change().remove(NodeId(4)));
    cluster.settle();
    assert!(cluster.raft(1).membership().witnesses().is_empty());
    assert!(matches!(answer(&mut cluster, 1, 6), Some(Ok(_))));
}

#[test]
fn who_is_leaving_is_what_it_was_until_it_has_left() {
    let old = with_witness(3, 3).with_priority(NodeId(2), 5).expect("a member");
    let new = old.changed_by(&change().remove(NodeId(2)).remove(NodeId(3))).expect("node 1 is left");
    let joint = new.clone().joint_with(&old);
    assert_eq!((joint.is_witness(NodeId(3)), joint.priority(NodeId(2))), (true, 5));
    assert_eq!(joint.elections_to_leave(NodeId(1), None), 1, "node 2 stands first while it votes");
    assert_eq!(joint.leave_joint(), new);
    assert_eq!(new.elections_to_leave(NodeId(1), None), 0);
}

#[test]
fn elections_are_left_to_each_step_of_priority_above_and_by_witnesses_to_all_others() {
    let members = with_priorities(6, &[(1, 9), (2, 9), (3, 4), (4, 0), (6, 200)]);
    let members = members.with_witness(NodeId(6)).and_then(|members| members.with_witness(NodeId(5)));
    let members = members.expect("others may lead");
    let left = |node| members.elections_to_leave(NodeId(node), None);
    assert_eq!([1, 2, 3, 5, 6].map(left), [0, 0, 1, 3, 2]);
    let lost = |node| members.elections_to_leave(NodeId(5), Some(NodeId(node)));
    assert_eq!([1, 3, 6].map(lost), [3, 2, 2], "two have the priority of node 1");
}
