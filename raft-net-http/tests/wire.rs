//! The wire format: its bytes stay what they are, everything survives it, and nothing that arrives makes it
//! panic.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    proptest,
};
use raft_actor::{
    error::WriteError,
    membership::{ChangeError, Membership, MembershipChange, MembershipError},
    message::{
        AppendEntries, AppendEntriesReply, AppendOutcome, Envelope, ForwardChange, ForwardChangeReply,
        ForwardWrites, ForwardWritesReply, InstallSnapshot, InstallSnapshotReply, Introduction, Message,
        ReadId, ReadIndex, ReadIndexReply, Refusal, RequestVote, RequestVoteReply, TimeoutNow,
    },
    testkit::suite::transport::samples,
    types::{Entry, GroupId, LogId, LogIndex, NodeId, Origin, Payload, SnapshotMeta, Term},
};
use raft_net_http::{
    Limits,
    wire::{EncodeError, WireError, decode, encode},
};

fn envelope(message: Message) -> Envelope {
    Envelope {
        group: GroupId(3),
        from: NodeId(1),
        to: NodeId(2),
        origin: Origin { incarnation: 21, genesis: 22 },
        message,
    }
}

fn frame_of(batch: &[Envelope]) -> Bytes {
    let mut frame = BytesMut::new();
    assert_eq!(encode(batch, &Limits::default(), &mut frame), Ok(batch.len()));
    frame.freeze()
}

fn read(frame: &Bytes) -> Result<Vec<Envelope>, WireError> {
    let mut batch = Vec::new();
    decode(frame, &Limits::default(), &mut batch).map(|()| batch)
}

/// Makes header and checksum fit the bytes again, so that what is behind them is reached.
fn mended(mut frame: Vec<u8>) -> Bytes {
    if frame.len() >= 16 {
        let length = (frame.len() - 16) as u32;
        frame[..4].copy_from_slice(b"RAF\x01");
        frame[4..8].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame[..8]), &frame[12..]);
        frame[8..12].copy_from_slice(&checksum.to_le_bytes());
    }
    frame.into()
}

fn golden_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frames.hex")
}

#[test]
fn frames_are_the_bytes_that_version_1_has_always_had() {
    let mut lines = String::new();
    for message in samples() {
        let text = format!("{message:?}");
        let name = text.split(['(', ' ']).next().unwrap_or_default();
        let hex: String = frame_of(&[envelope(message)]).iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push_str(&format!("{name} {hex}\n"));
    }
    let path = golden_path();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &lines).expect("the golden file can be written");
    }
    let golden = fs::read_to_string(&path).expect("tests/frames.hex is there; UPDATE=1 writes it");
    for (line, (is, was)) in lines.lines().zip(golden.lines()).enumerate() {
        assert_eq!(
            is,
            was,
            "line {} of frames.hex; if the format is meant to change, so must its version",
            line + 1
        );
    }
    assert_eq!(lines.lines().count(), golden.lines().count());
}

#[test]
fn golden_frames_are_read_back() {
    let golden = fs::read_to_string(golden_path()).expect("tests/frames.hex is there");
    let messages = golden.lines().map(|line| {
        let hex = line.split_once(' ').expect("a name and bytes").1;
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        let frame: Bytes = (0..hex.len()).step_by(2).map(byte).collect::<Vec<u8>>().into();
        read(&frame).expect("a golden frame").remove(0).message
    });
    assert_eq!(messages.collect::<Vec<_>>(), samples());
}

#[test]
fn a_batch_is_split_into_frames_and_loses_nothing() {
    let batch: Vec<Envelope> = (0..40_000).flat_map(|_| samples()).take(100_000).map(envelope).collect();
    let (mut sent, mut frames, mut arrived) = (0, 0, Vec::new());
    while sent < batch.len() {
        let mut frame = BytesMut::new();
        let count = encode(&batch[sent..], &Limits::default(), &mut frame).expect("all fit");
        assert!(count > 0 && frame.len() < 1 << 20);
        sent += count;
        frames += 1;
        decode(&frame.freeze(), &Limits::default(), &mut arrived).expect("a frame");
    }
    assert!(frames > 10, "{frames} frames");
    assert!(arrived == batch);
}

#[test]
fn commands_are_slices_of_the_frame_and_not_copies() {
    let command = Bytes::from(vec![9; 1000]);
    let frame =
        frame_of(&[envelope(Message::ForwardWrites(ForwardWrites { id: 1, commands: vec![command] }))]);
    let batch = read(&frame).expect("a frame");
    let Message::ForwardWrites(ForwardWrites { commands, .. }) = &batch[0].message else {
        panic!("{batch:?}")
    };
    assert!(frame.as_ptr_range().contains(&commands[0].as_ptr()));
}

#[test]
fn limits_hold_on_both_sides_before_anything_is_allocated() {
    let commands = vec![Bytes::new(); 11];
    let batch = [envelope(Message::ForwardWrites(ForwardWrites { id: 1, commands }))];
    let mut limits = Limits::default();
    limits.writes_max = 10;
    let expected = EncodeError::TooMany { what: "writes", count: 11, max: 10 };
    assert_eq!(encode(&batch, &limits, &mut BytesMut::new()), Err(expected));
    let outcome = decode(&frame_of(&batch), &limits, &mut Vec::new());
    assert_eq!(outcome, Err(WireError::TooMany { what: "writes", count: 11, max: 10, offset: 65 }));

    // A count of four thousand million in a frame of a few bytes.
    let mut frame = frame_of(&batch).to_vec();
    frame[65..69].fill(0xff);
    let outcome = read(&mended(frame));
    assert!(matches!(outcome, Err(WireError::TooMany { what: "writes", max: 11, .. })), "{outcome:?}");

    let outcome = decode(&frame_of(&batch), &Limits::default().with_frame_bytes_max(20), &mut Vec::new());
    assert!(matches!(outcome, Err(WireError::TooMany { what: "bytes in a frame", .. })), "{outcome:?}");
}

#[test]
fn entries_that_do_not_follow_each_other_or_the_end_of_numbers_are_refused() {
    let entry = |index| Entry::new(LogId::new(Term(1), LogIndex(index)), Payload::Noop);
    let append = |previous, entries: Vec<Entry>| {
        envelope(Message::AppendEntries(AppendEntries {
            term: Term(1),
            prev_log_id: LogId::new(Term(1), LogIndex(previous)),
            entries: entries.into(),
            leader_commit: LogIndex(0),
            round: 0,
            held_index: LogIndex(0),
        }))
    };
    let outcome = |envelope| encode(&[envelope], &Limits::default(), &mut BytesMut::new());
    let gap = Err(EncodeError::Gap { found: 9, expected: 8 });
    assert_eq!(outcome(append(7, vec![entry(9)])), gap);
    assert!(outcome(append(u64::MAX, vec![entry(u64::MAX)])).is_err());
    let last = frame_of(&[append(u64::MAX - 1, vec![entry(u64::MAX)])]);
    assert!(read(&last).is_ok());
    let mut beyond = last.to_vec();
    beyond[73..81].fill(0xff);
    assert!(matches!(read(&mended(beyond)), Err(WireError::IndexOverflow { .. })));
}

#[test]
fn each_kind_of_damage_is_named() {
    let whole = frame_of(&[envelope(Message::TimeoutNow(TimeoutNow { term: Term(1) }))]);
    let damaged = |at: usize, value: u8| {
        let mut frame = whole.to_vec();
        frame[at] = value;
        Bytes::from(frame)
    };
    assert_eq!(read(&damaged(0, b'X')), Err(WireError::Magic { found: *b"XAF" }));
    assert_eq!(read(&damaged(3, 2)), Err(WireError::Version { found: 2 }));
    assert_eq!(read(&damaged(4, 1)), Err(WireError::Length { said: 1, is: 49 }));
    assert!(matches!(read(&damaged(40, 9)), Err(WireError::Checksum { .. })));
    assert!(matches!(read(&whole.slice(..10)), Err(WireError::Truncated { .. })));
    let kind = read(&mended(damaged(20, 77).to_vec()));
    assert_eq!(kind, Err(WireError::Unknown { what: "kind of message", value: 77, offset: 20 }));
    let longer = [&whole[..], &[0]].concat();
    assert!(matches!(read(&mended(longer)), Err(WireError::Trailing { bytes: 1, .. })));
}

#[test]
fn a_membership_that_no_cluster_can_have_is_refused() {
    let learner_only = Membership::default().with_learner(NodeId(1), "a:1".to_owned());
    let zero = Membership::new([(NodeId(1), "a:1".to_owned())]).expect("a membership");
    let zero = zero.with_learner(NodeId(0), "b:2".to_owned());
    for (membership, says) in [(learner_only, "no voter"), (zero, "reserved")] {
        let entry = Entry::new(LogId::new(Term(1), LogIndex(1)), Payload::Membership(Box::new(membership)));
        let frame = frame_of(&[envelope(Message::AppendEntries(AppendEntries {
            term: Term(1),
            prev_log_id: LogId::ZERO,
            entries: vec![entry].into(),
            leader_commit: LogIndex(0),
            round: 0,
            held_index: LogIndex(0),
        }))]);
        match read(&frame) {
            Err(WireError::Membership { reason, .. }) => assert!(reason.contains(says), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_failed_frame_leaves_the_batch_as_it_was() {
    let good = frame_of(&[envelope(Message::TimeoutNow(TimeoutNow { term: Term(1) }))]);
    let two = samples().into_iter().take(2).map(envelope).collect::<Vec<_>>();
    let mut bad = frame_of(&two).to_vec();
    let last = bad.len() - 1;
    bad[last] = 7;
    let mut batch = read(&good).expect("a frame");
    let before = batch.clone();
    assert!(decode(&mended(bad), &Limits::default(), &mut batch).is_err());
    assert_eq!(batch, before);
}

fn log_id() -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u64>()).prop_map(|(term, index)| LogId::new(Term(term), LogIndex(index)))
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn membership() -> impl Strategy<Value = Membership> {
    let member = |ids: std::ops::Range<u64>| (ids, "[a-z]{0,9}", 1..9_u8, any::<bool>());
    (vec(member(1..99), 1..5), vec(member(100..199), 0..3)).prop_map(|(voters, learners)| {
        let properties: Vec<_> =
            voters.iter().skip(1).chain(&learners).map(|it| (it.0, it.2, it.3)).collect();
        let voters: std::collections::BTreeMap<u64, String> =
            voters.into_iter().map(|(node, address, ..)| (node, address)).collect();
        let voters = voters.into_iter().map(|(node, address)| (NodeId(node), address));
        let old = Membership::new([(NodeId(7), "old".to_owned())]).expect("a membership");
        let membership = Membership::new(voters).expect("each id once");
        let membership = learners
            .into_iter()
            .fold(membership, |all, (node, address, ..)| all.with_learner(NodeId(node), address));
        let membership = properties.into_iter().fold(membership, |all, (node, priority, is_witness)| {
            let all = all.with_priority(NodeId(node), priority).expect("a member");
            // Not where it would be the last that may lead.
            let with = is_witness.then(|| all.clone().with_witness(NodeId(node)).ok()).flatten();
            with.unwrap_or(all)
        });
        membership.joint_with(&old)
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Noop),
        bytes().prop_map(Payload::Command),
        membership().prop_map(|membership| Payload::Membership(Box::new(membership)))
    ]
}

fn append() -> impl Strategy<Value = Message> {
    let entries = vec((any::<u64>(), payload()), 0..9);
    let numbers = (any::<u64>(), any::<u64>(), 0..u64::MAX - 9, any::<u64>(), any::<u64>(), any::<u64>());
    (numbers, entries).prop_map(|((term, prev_term, prev_index, commit, round, held), entries)| {
        let entries = entries
            .into_iter()
            .zip(prev_index + 1..)
            .map(|((term, payload), index)| Entry::new(LogId::new(Term(term), LogIndex(index)), payload));
        Message::AppendEntries(AppendEntries {
            term: Term(term),
            prev_log_id: LogId::new(Term(prev_term), LogIndex(prev_index)),
            entries: entries.collect::<Vec<_>>().into(),
            leader_commit: LogIndex(commit),
            round,
            held_index: LogIndex(held),
        })
    })
}

fn outcome() -> impl Strategy<Value = AppendOutcome> {
    prop_oneof![
        any::<u64>().prop_map(|index| AppendOutcome::Matched { match_index: LogIndex(index) }),
        (log_id(), log_id()).prop_map(|(rejected, hint)| AppendOutcome::Conflict { rejected, hint }),
        Just(AppendOutcome::StaleTerm)
    ]
}

fn write_error() -> impl Strategy<Value = WriteError> {
    prop_oneof![
        option::of(any::<u64>()).prop_map(|leader| WriteError::NotLeader { leader: leader.map(NodeId) }),
        Just(WriteError::Overloaded),
        (any::<u64>(), any::<u64>()).prop_map(|(bytes, bytes_max)| WriteError::TooLarge { bytes, bytes_max }),
        Just(WriteError::Unknown),
        Just(WriteError::Stopped)
    ]
}

fn install() -> impl Strategy<Value = Message> {
    let snapshot = (any::<u64>(), log_id(), log_id(), any::<u64>(), membership(), any::<bool>());
    let snapshot = snapshot.prop_map(|(id, last, membership_log_id, size_bytes, membership, witness)| {
        SnapshotMeta { id, last, membership: Box::new(membership), membership_log_id, size_bytes, witness }
    });
    let parts = (any::<u64>(), snapshot, any::<u64>(), bytes(), any::<bool>());
    parts.prop_map(|(term, snapshot, offset, data, done)| {
        Message::InstallSnapshot(InstallSnapshot { term: Term(term), snapshot, offset, data, done })
    })
}

fn change() -> impl Strategy<Value = MembershipChange> {
    let step = (any::<u64>(), any::<u8>(), ".{0,9}");
    vec(step, 0..5).prop_map(|steps| {
        steps.into_iter().fold(MembershipChange::new(), |change, (node, kind, address)| {
            let node = NodeId(node);
            match kind % 7 {
                0 => change.add_learner(node, address),
                1 => change.promote(node),
                2 => change.demote(node),
                3 => change.remove(node),
                4 => change.add_witness(node, address),
                5 => change.set_priority(node, kind),
                _ => change.set_address(node, address),
            }
        })
    })
}

fn change_outcome() -> impl Strategy<Value = Result<LogId, ChangeError>> {
    let node = || any::<u64>().prop_map(NodeId);
    prop_oneof![
        log_id().prop_map(Ok),
        option::of(node()).prop_map(|leader| Err(ChangeError::NotLeader { leader })),
        node().prop_map(|node| Err(ChangeError::Invalid(MembershipError::Repeated(node)))),
        Just(Err(ChangeError::Invalid(MembershipError::NobodyMayLead))),
        (node(), any::<u64>(), any::<u64>()).prop_map(|(node, lag, lag_max)| Err(ChangeError::Lagging {
            node,
            lag,
            lag_max
        })),
        vec(node(), 0..4).prop_map(|silent| Err(ChangeError::NoQuorum { silent })),
        Just(Err(ChangeError::UnderWay))
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let result = prop_oneof![(log_id(), bytes()).prop_map(Ok), write_error().prop_map(Err)];
    let term = || any::<u64>().prop_map(Term);
    let flag = any::<bool>;
    prop_oneof![
        (term(), log_id(), flag(), flag()).prop_map(|(term, last_log_id, pre_vote, leadership_transfer)| {
            Message::RequestVote(RequestVote { term, last_log_id, pre_vote, leadership_transfer })
        }),
        (term(), flag(), flag()).prop_map(|(term, vote_granted, pre_vote)| {
            Message::RequestVoteReply(RequestVoteReply { term, vote_granted, pre_vote })
        }),
        append(),
        (term(), any::<u64>(), outcome()).prop_map(|(term, round, outcome)| {
            Message::AppendEntriesReply(AppendEntriesReply { term, round, outcome })
        }),
        term().prop_map(|term| Message::TimeoutNow(TimeoutNow { term })),
        (term(), any::<u64>()).prop_map(|(term, id)| Message::ReadIndex(ReadIndex { term, id: ReadId(id) })),
        (term(), any::<u64>(), option::of(any::<u64>())).prop_map(|(term, id, index)| {
            let read_index = index.map(LogIndex);
            Message::ReadIndexReply(ReadIndexReply { term, id: ReadId(id), read_index })
        }),
        install(),
        (term(), any::<u64>(), any::<u64>(), flag()).prop_map(
            |(term, snapshot_id, next_offset, installed)| {
                let reply = InstallSnapshotReply { term, snapshot_id, next_offset, installed };
                Message::InstallSnapshotReply(reply)
            }
        ),
        (any::<u64>(), vec(bytes(), 0..9))
            .prop_map(|(id, commands)| Message::ForwardWrites(ForwardWrites { id, commands })),
        (any::<u64>(), vec(result, 0..9))
            .prop_map(|(id, results)| Message::ForwardWritesReply(ForwardWritesReply { id, results })),
        ".{0,40}".prop_map(|address| Message::Introduction(Introduction { address })),
        (any::<u64>(), change())
            .prop_map(|(id, change)| Message::ForwardChange(ForwardChange { id, change })),
        (any::<u64>(), change_outcome())
            .prop_map(|(id, result)| Message::ForwardChangeReply(ForwardChangeReply { id, result })),
        any::<u64>().prop_map(|node| Message::Refusal(Refusal::OtherFolder { node: NodeId(node) })),
        (any::<u64>(), any::<u64>()).prop_map(|(node, other)| {
            let (node, refused_by) = (NodeId(node), NodeId(other));
            Message::Refusal(Refusal::OtherGenesis { node, refused_by })
        }),
    ]
}

fn batch() -> impl Strategy<Value = Vec<Envelope>> {
    let origin = (any::<u64>(), any::<u64>());
    let origin = origin.prop_map(|(incarnation, genesis)| Origin { incarnation, genesis });
    let envelope = (any::<u32>(), any::<u64>(), any::<u64>(), origin, message());
    let envelope = envelope.prop_map(|(group, from, to, origin, message)| Envelope {
        group: GroupId(group),
        from: NodeId(from),
        to: NodeId(to),
        origin,
        message,
    });
    vec(envelope, 0..6)
}

/// What stands between the lines of a fence, in a page or in the comments of a source file.
fn blocks(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches("//!").trim()).collect();
    lines.split(|line| line.starts_with("```")).skip(1).step_by(2).map(|block| block.join("\n")).collect()
}

#[test]
fn the_books_page_shows_the_layout_that_the_code_documents_and_a_frame_as_it_is() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page =
        fs::read_to_string(package.join("../docs/src/reference/wire-format.md")).expect("the page is there");
    let source = fs::read_to_string(package.join("src/wire/mod.rs")).expect("the source is there");
    let shown = blocks(&page);
    for documented in blocks(&source) {
        assert!(shown.contains(&documented), "the page does not show:\n{documented}");
    }
    let frame = frame_of(&[Envelope {
        group: GroupId(0),
        ..envelope(Message::TimeoutNow(TimeoutNow { term: Term(4) }))
    }]);
    let bytes: Vec<String> = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let words = |block: &String| {
        let left = block.lines().filter_map(|line| line.split("  ").next()).collect::<Vec<_>>().join(" ");
        left.split(' ').map(str::to_owned).collect::<Vec<String>>()
    };
    assert!(shown.iter().any(|block| words(block) == bytes), "the page does not show: {}", bytes.join(" "));
}

proptest! {
    #[test]
    fn every_batch_is_read_back_as_it_was(batch in batch()) {
        assert_eq!(read(&frame_of(&batch)), Ok(batch));
    }

    #[test]
    fn arbitrary_bytes_give_an_error(bytes in vec(any::<u8>(), 0..200)) {
        assert!(read(&bytes.into()).is_err());
    }

    #[test]
    fn arbitrary_bytes_behind_a_right_header_never_panic(
        count in 0..4_u32,
        bytes in vec(any::<u8>(), 0..200),
    ) {
        let frame = mended([&[0; 12][..], &count.to_le_bytes(), &bytes].concat());
        if let Ok(batch) = read(&frame) {
            assert_eq!(frame_of(&batch), frame, "there is one way to say a thing");
        }
    }

    #[test]
    fn a_frame_with_a_byte_changed_gives_an_error(
        batch in batch(),
        at in any::<usize>(),
        change in 1..=255_u8,
    ) {
        let mut frame = frame_of(&batch).to_vec();
        let at = at % frame.len();
        frame[at] ^= change;
        assert!(read(&frame.into()).is_err());
    }

    #[test]
    fn a_frame_cut_short_gives_an_error(batch in batch(), at in any::<usize>()) {
        let frame = frame_of(&batch);
        assert!(read(&frame.slice(..at % frame.len())).is_err());
    }

    #[test]
    fn a_changed_frame_with_a_right_checksum_never_panics(
        batch in batch(),
        changes in vec((any::<usize>(), any::<u8>()), 1..5),
    ) {
        let mut frame = frame_of(&batch).to_vec();
        for (at, value) in changes {
            let at = at % frame.len();
            frame[at] = value;
        }
        // It may even be a frame; then what it says can be said again.
        if let Ok(batch) = read(&mended(frame)) {
            frame_of(&batch);
        }
    }
}
