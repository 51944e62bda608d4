//! Raft §7 and thesis §5: when a log is compacted, and what a snapshot does to the one who gets it.

use bytes::Bytes;
use raft_actor::{
    config::Config,
    core::{Effect, Effects, Input},
    membership::Membership,
    message::{InstallSnapshot, InstallSnapshotReply, Message},
    status::PeerState,
    types::{Entry, HardState, LogId, LogIndex, LogState, NodeId, Payload, Role, SnapshotMeta, Term},
};

use super::{
    cluster::voters,
    one::{One, acks, append, appends, conflict, entry, id, log, matched, request_vote, sends},
};

fn config() -> Config {
    let mut config = Config::default();
    config.snapshot_entries = 5;
    config.trailing_entries = 2;
    config.snapshot_chunk_bytes = 10;
    config
}

fn snapshot(number: u64, last: LogId) -> SnapshotMeta {
    let membership = voters(3);
    SnapshotMeta {
        id: number,
        last,
        membership: Box::new(membership),
        membership_log_id: id(1, 1),
        size_bytes: 100,
        witness: false,
    }
}

/// Node 1 of three, that keeps snapshots; its log is on the disk.
fn follower(term: u64, terms: &[u64]) -> One {
    started(term, terms, None)
}

fn started(term: u64, terms: &[u64], newest: Option<SnapshotMeta>) -> One {
    let hard_state = HardState { term: Term(term), voted_for: None, fence: None };
    let mut one = One::recover(voters(3), LogState::of(hard_state, log(terms)), config());
    one.raft = one.raft.with_snapshots(newest);
    one
}

/// A leader of term 2 whose log was compacted to begin after index 6; it ends at 9, all of it committed.
fn compacted_leader() -> One {
    let mut one = follower(1, &[1; 8]);
    one.win();
    one.receive(2, matched(2, 9));
    one.input(Input::Applied { index: LogIndex(9) });
    one.input(Input::SnapshotTaken { snapshot: snapshot(7, id(1, 8)) });
    assert_eq!(one.raft.first_index(), LogIndex(7));
    one
}

fn part(term: u64, snapshot: &SnapshotMeta, offset: u64, bytes: usize) -> Message {
    let data = Bytes::from(vec![1; bytes]);
    let done = offset + bytes as u64 == snapshot.size_bytes;
    Message::InstallSnapshot(InstallSnapshot {
        term: Term(term),
        snapshot: snapshot.clone(),
        offset,
        data,
        done,
    })
}

fn reply(term: u64, snapshot_id: u64, next_offset: u64, installed: bool) -> Message {
    let term = Term(term);
    Message::InstallSnapshotReply(InstallSnapshotReply { term, snapshot_id, next_offset, installed })
}

/// What is said of snapshots: how far, and whether it is installed.
fn replies(effects: &[Effect]) -> Vec<(u64, bool)> {
    let replies = sends(effects).into_iter().filter_map(|(_, message)| match message {
        Message::InstallSnapshotReply(reply) => Some((reply.next_offset, reply.installed)),
        _ => None,
    });
    replies.collect()
}

/// The parts that go to a peer: offset and bytes.
fn parts(effects: &[Effect], peer: u64) -> Vec<(u64, u64)> {
    let parts = effects.iter().filter_map(|effect| match effect {
        Effect::SendSnapshot { to, offset, bytes_max, .. } if to.0 == peer => Some((*offset, *bytes_max)),
        _ => None,
    });
    parts.collect()
}

fn purges(effects: &[Effect]) -> Vec<LogId> {
    let purges = effects.iter().filter_map(|effect| match effect {
        Effect::Purge { through } => Some(*through),
        _ => None,
    });
    purges.collect()
}

/// Everything of a snapshot comes, and is carried out.
fn install(one: &mut One, term: u64, snapshot: &SnapshotMeta) -> Effects {
    let mut effects = one.receive(2, part(term, snapshot, 0, 100));
    effects.extend(one.flush());
    effects.extend(one.input(Input::SnapshotChunkStored { id: snapshot.id, next_offset: 100 }));
    effects.extend(one.input(Input::SnapshotReceived { id: snapshot.id }));
    effects.extend(one.input(Input::Purged { through: snapshot.last }));
    effects.extend(one.input(Input::SnapshotRestored { id: snapshot.id }));
    effects
}

#[test]
fn a_snapshot_is_taken_after_so_many_entries_and_purges_all_but_the_trailing() {
    let mut one = follower(1, &[1; 8]);
    one.win();
    one.receive(2, matched(2, 9));
    let effects = one.input(Input::Applied { index: LogIndex(4) });
    assert!(!effects.contains(&Effect::TakeSnapshot), "four are not five");
    let effects = one.input(Input::Applied { index: LogIndex(8) });
    assert!(effects.contains(&Effect::TakeSnapshot));
    let effects = one.input(Input::Applied { index: LogIndex(9) });
    assert!(!effects.contains(&Effect::TakeSnapshot), "one is under way");
    let effects = one.input(Input::SnapshotTaken { snapshot: snapshot(7, id(1, 8)) });
    assert_eq!(purges(&effects), [id(1, 6)]);
    assert_eq!((one.raft.first_index(), one.raft.last_log_id()), (LogIndex(7), id(2, 9)));
    assert_eq!(one.raft.term_at(LogIndex(6)), Some(Term(1)), "the term before the first entry stays known");
    assert_eq!(one.raft.term_at(LogIndex(5)), None);
}

#[test]
fn a_snapshot_is_taken_after_so_many_bytes() {
    let mut config = config();
    (config.snapshot_entries, config.snapshot_bytes) = (1_000_000, 100);
    let mut one = One::recover(voters(3), LogState::default(), config);
    one.raft = one.raft.with_snapshots(None);
    one.receive_and_flush(2, append(1, id(0, 0), &[1, 1], 2));
    assert!(!one.input(Input::Applied { index: LogIndex(2) }).contains(&Effect::TakeSnapshot));
    one.receive_and_flush(2, append(1, id(1, 2), &[1, 1], 4));
    assert!(one.input(Input::Applied { index: LogIndex(4) }).contains(&Effect::TakeSnapshot));
}

#[test]
fn a_large_state_is_written_anew_once_the_log_has_grown_by_as_much() {
    let mut one = follower(1, &[1; 8]);
    one.receive_and_flush(2, append(1, id(1, 8), &[1; 2], 10));
    assert!(one.input(Input::Applied { index: LogIndex(5) }).contains(&Effect::TakeSnapshot));
    let size_bytes = 2 << 20;
    one.input(Input::SnapshotTaken { snapshot: SnapshotMeta { size_bytes, ..snapshot(5, id(1, 5)) } });
    let (mut last, mut bytes, mut is_due) = (10, 0, false);
    while !is_due {
        let message = append(1, id(1, last), &[1; 1000], last + 1000);
        let Message::AppendEntries(request) = &message else { panic!("{message:?}") };
        bytes += request.entries.size_bytes();
        one.receive_and_flush(2, message);
        last += 1000;
        is_due = one.input(Input::Applied { index: LogIndex(last) }).contains(&Effect::TakeSnapshot);
        assert_eq!(is_due, bytes >= size_bytes, "after {bytes} bytes");
    }
}

#[test]
fn without_a_storage_or_with_nothing_applied_no_snapshot_is_taken() {
    let mut one = One::new(voters(3), 1, None, &[1; 8]);
    assert_eq!(one.input(Input::TakeSnapshot), [Effect::SnapshotRefused]);
    let mut one = follower(1, &[1; 8]);
    assert_eq!(one.input(Input::TakeSnapshot), [Effect::SnapshotRefused]);
}

#[test]
fn a_machine_without_snapshots_is_asked_again_only_after_as_many_entries() {
    let mut one = follower(1, &[1; 8]);
    one.receive_and_flush(2, append(1, id(1, 8), &[1; 8], 16));
    assert!(one.input(Input::Applied { index: LogIndex(5) }).contains(&Effect::TakeSnapshot));
    assert_eq!(purges(&one.input(Input::SnapshotNotTaken)), []);
    assert!(!one.input(Input::Applied { index: LogIndex(9) }).contains(&Effect::TakeSnapshot));
    assert!(one.input(Input::Applied { index: LogIndex(10) }).contains(&Effect::TakeSnapshot));
}

#[test]
fn a_peer_that_refuses_the_first_entry_there_is_gets_a_snapshot_also_when_nothing_is_new() {
    let mut one = compacted_leader();
    one.receive(3, conflict(2, id(1, 8), id(1, 2)));
    let effects = one.receive(3, conflict(2, id(1, 6), id(1, 2)));
    assert_eq!(parts(&effects, 3), [(0, 0)], "first it is asked how far it has got");
    let status = one.raft.status(one.now);
    assert_eq!(status.peers[&NodeId(3)].state, PeerState::Snapshot);
    assert_eq!(status.peers[&NodeId(3)].snapshot, Some((0, 100)));
    let effects = one.receive(3, reply(2, 7, 0, false));
    assert_eq!(parts(&effects, 3), [(0, 10), (10, 10), (20, 10), (30, 10)], "a window of four");
    let effects = one.receive(3, reply(2, 7, 20, false));
    assert_eq!(parts(&effects, 3), [(40, 10), (50, 10)]);
}

#[test]
fn a_transfer_disturbs_neither_heartbeats_nor_other_peers() {
    let mut one = compacted_leader();
    one.receive(3, conflict(2, id(1, 8), id(1, 2)));
    one.receive(3, conflict(2, id(1, 6), id(1, 2)));
    let effects = one.pass(60);
    assert_eq!(appends(&effects, 3).len(), 1, "a heartbeat");
    assert_eq!(appends(&effects, 3)[0].prev_log_id, id(1, 6));
    let effects = one.input(Input::Propose { commands: vec!["x".into()] });
    assert_eq!(appends(&effects, 2).len(), 1);
    assert_eq!(appends(&effects, 3).len(), 0);
    one.flush();
    one.receive(2, matched(2, 10));
    assert_eq!(one.raft.commit_index(), LogIndex(10));
}

#[test]
fn a_transfer_goes_on_from_where_the_follower_says_after_a_broken_link() {
    let mut one = compacted_leader();
    one.receive(3, conflict(2, id(1, 8), id(1, 2)));
    one.receive(3, conflict(2, id(1, 6), id(1, 2)));
    one.receive(3, reply(2, 7, 0, false));
    one.receive(3, reply(2, 7, 40, false));
    one.input(Input::Unreachable { peer: NodeId(3) });
    let mut effects = Effects::new();
    for _ in 0..20 {
        one.receive(2, matched(2, 9));
        effects.extend(one.pass(50));
    }
    let asked = parts(&effects, 3);
    assert!(!asked.is_empty() && asked.iter().all(|part| *part == (40, 0)), "only questions: {asked:?}");
    assert!(asked.len() < 4, "and few of them: {asked:?}");
    let effects = one.receive(3, reply(2, 7, 30, false));
    assert_eq!(parts(&effects, 3)[0], (30, 10), "it has restarted, and has less than before");
}

#[test]
fn lost_parts_are_asked_about_and_sent_again() {
    let mut one = compacted_leader();
    one.receive(3, conflict(2, id(1, 8), id(1, 2)));
    one.receive(3, conflict(2, id(1, 6), id(1, 2)));
    one.receive(3, reply(2, 7, 0, false));
    let mut effects = Effects::new();
    for _ in 0..20 {
        one.receive(2, matched(2, 9));
        effects.extend(one.pass(50));
    }
    assert!(parts(&effects, 3).contains(&(0, 0)), "{:?}", parts(&effects, 3));
    let effects = one.receive(3, reply(2, 7, 10, false));
    assert_eq!(parts(&effects, 3), [(10, 10), (20, 10), (30, 10), (40, 10)]);
}

#[test]
fn an_installed_snapshot_lets_the_peer_go_on_right_after_it() {
    let mut one = compacted_leader();
    one.receive(3, conflict(2, id(1, 8), id(1, 2)));
    one.receive(3, conflict(2, id(1, 6), id(1, 2)));
    let effects = one.receive(3, reply(2, 7, 100, true));
    let sent = appends(&effects, 3);
    assert_eq!(sent[0].prev_log_id, id(1, 8));
    assert_eq!(sent[0].entries.len(), 1);
    assert_eq!(one.raft.status(one.now).peers[&NodeId(3)].match_index, LogIndex(8));
    // A late answer to it changes nothing.
    one.receive(3, matched(2, 9));
    one.receive(3, reply(2, 7, 50, false));
    assert_eq!(one.raft.status(one.now).peers[&NodeId(3)].state, PeerState::Replicate);
}

#[test]
fn a_snapshot_that_is_gone_or_not_begun_gives_way_to_the_newest() {
    let mut one = compacted_leader();
    one.receive(3, conflict(2, id(1, 8), id(1, 2)));
    one.receive(3, conflict(2, id(1, 6), id(1, 2)));
    let effects = one.input(Input::SnapshotTaken { snapshot: snapshot(8, id(2, 9)) });
    let sent = effects.iter().find_map(|effect| match effect {
        Effect::SendSnapshot { snapshot, .. } => Some(snapshot.id),
        _ => None,
    });
    assert_eq!(sent, Some(8), "nothing of the older one had been sent");
    one.receive(3, reply(2, 8, 0, false));
    let effects = one.input(Input::SnapshotTaken { snapshot: snapshot(9, id(2, 9)) });
    assert_eq!(parts(&effects, 3), [], "one that covers no more does not disturb it");
    assert_eq!(parts(&one.input(Input::SnapshotGone { id: 9 }), 3), []);
}

#[test]
fn a_snapshot_at_or_below_the_commit_index_is_not_installed_and_answered_as_installed() {
    let mut one = follower(1, &[1; 8]);
    one.receive_and_flush(2, append(1, id(1, 8), &[], 8));
    let effects = one.receive(2, part(1, &snapshot(7, id(1, 5)), 0, 0));
    assert_eq!(replies(&effects), [(100, true)]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::StoreSnapshotChunk { .. })));
    assert_eq!(one.ends(), (id(1, 8), 8));
}

#[test]
fn a_log_that_holds_the_snapshots_last_entry_is_kept_with_what_follows() {
    let mut one = follower(1, &[1; 8]);
    let effects = one.receive(2, part(1, &snapshot(7, id(1, 5)), 0, 100));
    assert_eq!(replies(&effects), [(100, true)]);
    assert_eq!(one.ends(), (id(1, 8), 5), "up to there it is committed");
    assert_eq!(purges(&effects), []);
}

#[test]
fn a_log_that_contradicts_the_snapshot_is_discarded_whole_before_what_comes_after() {
    let mut one = follower(3, &[1, 1, 1, 2, 2, 2, 2, 2]);
    let whole = snapshot(7, id(3, 6));
    one.receive(2, part(3, &whole, 0, 100));
    one.input(Input::SnapshotChunkStored { id: 7, next_offset: 100 });
    let effects = one.input(Input::SnapshotReceived { id: 7 });
    let order: Vec<&str> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Write(write) if write.truncate_from == Some(LogIndex(1)) => Some("truncate"),
            Effect::Purge { through } if *through == whole.last => Some("purge"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["truncate", "purge"]);
    assert_eq!(one.ends(), (id(3, 6), 6));
    // What comes meanwhile is written behind it, and applied only after it.
    let effects = one.receive_and_flush(2, append(3, id(3, 6), &[3], 7));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Apply(_))));
    assert_eq!(one.raft.applied_index(), LogIndex(0));
    let effects = one.input(Input::Purged { through: whole.last });
    assert_eq!(effects, [Effect::RestoreSnapshot { snapshot: whole.clone() }]);
    let effects = one.input(Input::SnapshotRestored { id: 7 });
    assert_eq!(replies(&effects), [(100, true)]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Apply(run) if run[0].id == id(3, 7))));
    assert_eq!(one.raft.applied_index(), LogIndex(6));
}

#[test]
fn a_follower_says_how_far_it_has_got_and_finishes_what_is_whole() {
    let mut one = follower(1, &[1]);
    let whole = snapshot(7, id(1, 9));
    let effects = one.receive(2, part(1, &whole, 0, 60));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::StoreSnapshotChunk { offset: 0, .. })));
    let effects = one.input(Input::SnapshotChunkStored { id: 7, next_offset: 60 });
    assert_eq!(replies(&effects), [(60, false)]);
    assert_eq!(one.raft.status(one.now).receiving, Some((60, 100)));
    one.receive(2, part(1, &whole, 60, 40));
    let effects = one.input(Input::SnapshotChunkStored { id: 7, next_offset: 100 });
    assert!(effects.contains(&Effect::FinishSnapshot { snapshot: whole }));
    assert_eq!(one.raft.commit_index(), LogIndex(0), "not before it is durable");
}

#[test]
fn a_snapshot_is_not_finished_before_the_term_that_it_came_in_is_flushed() {
    let mut one = follower(1, &[1]);
    let whole = snapshot(7, id(4, 9));
    one.receive(2, part(4, &whole, 0, 100));
    let effects = one.input(Input::SnapshotChunkStored { id: 7, next_offset: 100 });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::FinishSnapshot { .. })));
    one.flush();
    one.receive(2, part(4, &whole, 100, 0));
    let effects = one.input(Input::SnapshotChunkStored { id: 7, next_offset: 100 });
    assert!(effects.contains(&Effect::FinishSnapshot { snapshot: whole }));
}

#[test]
fn a_log_that_got_there_by_itself_meanwhile_is_not_discarded() {
    let mut one = follower(1, &[1]);
    let whole = snapshot(7, id(1, 3));
    one.receive(2, part(1, &whole, 0, 100));
    one.input(Input::SnapshotChunkStored { id: 7, next_offset: 100 });
    one.receive_and_flush(2, append(1, id(1, 1), &[1, 1, 1], 4));
    let effects = one.input(Input::SnapshotReceived { id: 7 });
    assert_eq!(one.ends(), (id(1, 4), 4));
    assert_eq!(purges(&effects), []);
    assert_eq!(replies(&effects), [(100, true)]);
}

#[test]
fn a_snapshots_membership_is_the_base_and_term_and_vote_stay() {
    let mut one = follower(5, &[1]);
    let four = Membership::new((1..=4).map(|node| (NodeId(node), format!("n{node}")))).expect("four nodes");
    let mut whole = snapshot(7, id(3, 9));
    (whole.membership, whole.membership_log_id) = (four.clone().into(), id(2, 4));
    install(&mut one, 5, &whole);
    assert_eq!((one.raft.membership(), one.raft.membership_log_id()), (&four, id(2, 4)));
    assert_eq!((one.raft.term(), one.ends()), (Term(5), (id(3, 9), 9)));
    // A membership behind it that is truncated gives way to the snapshot's again (Raft §6).
    let five = Entry::new(id(5, 10), Payload::Membership(Box::new(voters(5))));
    let with_five = raft_actor::message::AppendEntries {
        term: Term(5),
        prev_log_id: id(3, 9),
        entries: vec![five].into(),
        leader_commit: LogIndex(9),
        round: 0,
        held_index: LogIndex(0),
    };
    one.receive_and_flush(2, Message::AppendEntries(with_five));
    assert_eq!(one.raft.membership(), &voters(5));
    one.receive_and_flush(3, append(6, id(3, 9), &[6], 9));
    assert_eq!((one.raft.membership(), one.raft.membership_log_id()), (&four, id(2, 4)));
}

#[test]
fn a_purged_membership_stays_in_force() {
    let hard_state = HardState { term: Term(1), voted_for: None, fence: None };
    let mut entries = log(&[1; 8]);
    entries[1] = Entry::new(id(1, 2), Payload::Membership(Box::new(voters(5))));
    let mut one = One::recover(voters(3), LogState::of(hard_state, entries), config());
    one.raft = one.raft.with_snapshots(None);
    one.receive_and_flush(2, append(1, id(1, 8), &[], 8));
    one.input(Input::Applied { index: LogIndex(8) });
    let mut taken = snapshot(7, id(1, 8));
    (taken.membership, taken.membership_log_id) = (voters(5).into(), id(1, 2));
    assert_eq!(purges(&one.input(Input::SnapshotTaken { snapshot: taken })), [id(1, 6)]);
    assert_eq!((one.raft.membership(), one.raft.membership_log_id()), (&voters(5), id(1, 2)));
}

#[test]
fn after_an_installation_acks_and_votes_count_from_the_snapshot() {
    let mut one = follower(1, &[1]);
    install(&mut one, 1, &snapshot(7, id(1, 9)));
    assert_eq!(acks(&one.receive(2, append(1, id(1, 9), &[], 9))), [9]);
    assert_eq!(acks(&one.receive_and_flush(2, append(1, id(1, 9), &[1], 9))).last(), Some(&10));
    // What the snapshot covers is committed, so whoever sends it from there on is right.
    assert_eq!(acks(&one.receive(2, append(1, id(1, 4), &[1], 9))), [10]);
    one.pass(5000);
    let effects = one.receive_and_flush(3, request_vote(9, id(1, 8)));
    assert_eq!(super::one::votes(&effects), [false], "a log that ends before the snapshot is not as new");
}

#[test]
fn a_stale_or_malformed_snapshot_changes_nothing() {
    let mut one = follower(5, &[1]);
    let effects = one.receive(2, part(4, &snapshot(7, id(1, 9)), 0, 100));
    assert_eq!(replies(&effects), [(0, false)]);
    assert_eq!(sends(&effects)[0].1.term(), Some(Term(5)), "the sender learns of the newer term");
    let mut without_members = snapshot(7, id(1, 9));
    *without_members.membership = Membership::default();
    let too_long = part(5, &snapshot(7, id(1, 9)), 50, 60);
    let of_the_future = part(5, &snapshot(7, id(6, 9)), 0, 100);
    let at_the_end_of_numbers = part(5, &snapshot(7, id(1, u64::MAX)), 0, 100);
    for message in [part(5, &without_members, 0, 100), too_long, of_the_future, at_the_end_of_numbers] {
        assert_eq!(one.receive(2, message), []);
    }
    assert_eq!(one.raft.leader(), None);
}

#[test]
fn a_restart_begins_at_the_snapshot() {
    let one = started(1, &[1; 8], Some(snapshot(7, id(1, 6))));
    assert_eq!((one.raft.commit_index(), one.raft.applied_index()), (LogIndex(6), LogIndex(6)));
    assert_eq!(one.raft.status(one.now).snapshot, Some(snapshot(7, id(1, 6))));
    let mut one = one;
    let effects = one.receive(2, append(1, id(1, 8), &[], 8));
    let applied = effects.iter().find_map(|effect| match effect {
        Effect::Apply(entries) => Some(entries.to_vec()),
        _ => None,
    });
    assert_eq!(applied, Some(vec![entry(1, 7), entry(1, 8)]), "from right after it on, once");
}

#[test]
fn a_conflict_above_the_purged_part_backs_up_in_the_log_and_sends_no_snapshot() {
    let mut one = compacted_leader();
    let effects = one.receive(3, conflict(2, id(1, 8), id(1, 7)));
    assert_eq!(parts(&effects, 3), []);
    assert_eq!(appends(&effects, 3)[0].prev_log_id, id(1, 7));
    assert_eq!(one.raft.role(), Role::Leader);
}
