//! Old versions on the disk: a store that has them there is the same store.

use std::{fs, path::Path};

use actix_web::rt::System;
use proptest::{collection::vec, prelude::*};
use raft_actor::{
    client::session::SessionCommand,
    node::Node,
    runtime::{ActixRuntime, SharedRuntime},
    state_machine::StateMachine,
    testkit::{memory::MemoryLog, network::Network},
    types::{LogId, LogIndex, NodeId, Term},
};
use tempfile::TempDir;

use super::{
    super::{Command, Compact, Kv, Operation, Query, Range, Reply, Txn, archive::Archive, machine::Store},
    compaction::compact,
    delete, do_delete, do_put, do_range, put, range,
    snapshots::written,
};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A store whose archive has files of a few blocks.
fn archived(folder: &Path) -> Kv {
    Kv::new(Some(Archive::with_segments(folder.to_owned(), 4096)))
}

fn segments(kv: &Kv) -> usize {
    kv.keys.archive.as_ref().expect("it has one").segments()
}

/// Sets "key" so often; the values are too large for two to share a block.
fn fill(kv: &mut Kv, times: usize) {
    for number in 0..times {
        do_put(kv, put("key", &number.to_string().repeat(700)[..700]));
    }
}

/// A transaction that sets another key and reads "key" at a revision.
fn read_within(revision: i64) -> Command {
    let read = Operation::Range(Range { revision, ..range("key", "") });
    Command::Txn(Txn { success: vec![Operation::Put(put("other", "value")), read], ..Txn::default() })
}

fn restored_in(folder: &Path, mut bytes: &[u8]) -> Kv {
    let mut kv = archived(folder);
    fill(&mut kv, 5);
    kv.restore(&mut bytes).expect("it is whole");
    kv
}

fn some_command() -> impl Strategy<Value = Command> {
    let key = || prop_oneof![3 => Just("key"), 1 => Just("a"), 1 => Just("z")];
    let length = prop_oneof![0..20_usize, 200..300_usize, 600..900_usize, Just(3000_usize)];
    let a_put = (key(), "[a-z]", length).prop_map(|(key, letter, length)| put(key, &letter.repeat(length)));
    prop_oneof![
        12 => a_put.prop_map(Command::Put),
        1 => (key(), prop_oneof![Just(""), Just("\0")]).prop_map(|(key, end)| {
            Command::DeleteRange(delete(key, end))
        }),
        2 => (1..80_i64).prop_map(read_within),
        1 => (0..80_i64).prop_map(|revision| Command::Compact(Compact { revision })),
    ]
}

fn everything(kv: &Kv) -> Vec<Result<Reply, super::Refusal>> {
    let at = |revision| {
        let all = Range { revision, ..range("\0", "\0") };
        let counted = Range { count_only: true, ..all.clone() };
        [all, counted].map(|range| super::do_query(kv, &Query::Range(range)))
    };
    (0..=kv.revision()).flat_map(at).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_archived_store_answers_as_one_in_memory_does(commands in vec(some_command(), 1..120)) {
        let (folder, other_folder) = (folder(), folder());
        let (mut held, mut kept) = (Kv::default(), archived(folder.path()));
        for command in commands {
            prop_assert_eq!(kept.apply(1, command.clone()), held.apply(1, command));
        }
        prop_assert!(kept.check_archive().is_ok());
        prop_assert_eq!(kept.summary(), held.summary());
        prop_assert_eq!(everything(&kept), everything(&held));
        let bytes = written(&held);
        prop_assert_eq!(&written(&kept), &bytes);
        let mut restored = restored_in(other_folder.path(), &bytes);
        prop_assert_eq!(restored.summary(), held.summary());
        prop_assert_eq!(everything(&restored), everything(&held));
        prop_assert_eq!(written(&restored), bytes);
        let compacted = Command::Compact(Compact { revision: held.revision() - 3 });
        prop_assert_eq!(restored.apply(1, compacted.clone()), held.apply(1, compacted));
        prop_assert_eq!(written(&restored), written(&held));
    }
}

#[test]
fn a_restored_store_has_its_old_versions_on_the_disk() {
    let mut held = Kv::default();
    fill(&mut held, 50);
    let folder = folder();
    let restored = restored_in(folder.path(), &written(&held));
    assert!(segments(&restored) >= 48 * 700 / 4096, "{} files", segments(&restored));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "the files have no name");
}

#[test]
fn a_view_reads_from_the_disk_what_was_compacted_meanwhile_and_then_the_room_is_given_back() {
    let folder = folder();
    let mut kv = archived(folder.path());
    fill(&mut kv, 100);
    let before = written(&kv);
    let many = segments(&kv);
    assert!(many > 10, "{many} files");
    let view = StateMachine::snapshot(&kv).expect("the store has snapshots");
    let compacted = kv.revision() - 5;
    assert!(compact(&mut kv, compacted).is_ok());
    fill(&mut kv, 3);
    assert!(segments(&kv) >= many);
    let mut bytes = Vec::new();
    view(&mut bytes).expect("memory takes it");
    assert_eq!(bytes, before);
    assert!(segments(&kv) <= 3, "{} files", segments(&kv));
    let at = Range { revision: compacted, ..range("key", "") };
    assert_eq!(do_range(&kv, at).kvs[0].mod_revision, compacted);
}

#[test]
fn what_was_written_before_a_revision_takes_no_room_once_that_is_compacted() {
    let folder = folder();
    let mut kv = archived(folder.path());
    // Keys that are seldom set, among others.
    for number in 0..400_usize {
        let key = if number % 10 == 9 { format!("seldom/{}", number % 50) } else { "often".to_owned() };
        do_put(&mut kv, put(&key, &"x".repeat(300)));
    }
    let (revision, before) = (kv.revision(), segments(&kv));
    do_delete(&mut kv, delete("seldom/9", ""));
    for number in 0..40_usize {
        do_put(&mut kv, put(&format!("seldom/{}", number % 50), &"y".repeat(300)));
    }
    let since = segments(&kv) - before;
    assert!(compact(&mut kv, revision).is_ok());
    assert!(segments(&kv) <= since + 1, "{} files, and {since} since", segments(&kv));
}

#[test]
fn a_damaged_block_is_never_taken_for_a_version() {
    let folder = folder();
    let damaged = || {
        let mut kv = Kv::archived_in(folder.path());
        fill(&mut kv, 6);
        assert!(kv.check_archive().is_ok());
        kv.damage_archive(20);
        kv
    };
    let told = |error: &dyn std::error::Error| {
        let told = error.to_string();
        let place = format!("file 1 of the archive in {}, at offset 0", folder.path().display());
        assert!(told.contains(&place) && told.contains("start the node again"), "{told}");
    };
    let kv = damaged();
    let read = |revision| kv.query(&Query::Range(Range { revision, ..range("key", "") }));
    assert!(read(3).is_ok(), "other blocks are whole");
    told(&read(2).expect_err("it is damaged"));
    told(&read(3).expect_err("and that is final"));
    let counted = Range { revision: 2, count_only: true, ..range("key", "") };
    told(&damaged().query(&Query::Range(counted)).expect_err("it is damaged"));

    let kv = damaged();
    let view = StateMachine::snapshot(&kv).expect("the store has snapshots");
    told(&view(&mut Vec::new()).expect_err("a snapshot without a version is none"));

    let flushed = |kv: Kv, command: Command| {
        let mut store = Store::new(kv);
        let id = LogId::new(Term(1), LogIndex(9));
        store.apply(id, SessionCommand::Plain(command));
        System::new().block_on(store.flush(id))
    };
    assert!(flushed(damaged(), Command::Put(put("key", "next"))).is_ok());
    told(&flushed(damaged(), read_within(2)).expect_err("its answer is not to be told"));
    assert!(
        flushed(damaged(), Command::Compact(Compact { revision: 7 })).is_ok(),
        "nobody reads it any more"
    );
}

#[test]
fn a_compaction_that_cannot_read_what_it_has_to_trim_is_final() {
    let folder = folder();
    let mut kv = Kv::archived_in(folder.path());
    for number in 0..30 {
        do_put(&mut kv, put("key", &number.to_string().repeat(100)));
    }
    kv.damage_archive(0);
    assert!(compact(&mut kv, 4).is_ok(), "an answer that is not told");
    assert!(kv.check_archive().is_err());
}

#[test]
fn a_node_that_cannot_read_old_versions_answers_nothing_and_stops() {
    let folder = folder();
    System::new().block_on(async {
        let mut kv = Kv::archived_in(folder.path());
        fill(&mut kv, 6);
        kv.damage_archive(20);
        let runtime: SharedRuntime = std::sync::Arc::new(ActixRuntime::new(1).expect("a thread"));
        let (network, id) = (Network::new(runtime.clone(), 1), NodeId(1));
        let builder = Node::builder(id, Store::new(kv)).members([(id, Network::address(id))]);
        let builder = builder.storage(MemoryLog::new()).transport(network.transport(id)).runtime(runtime);
        let node = builder.start().await.expect("it starts");
        node.write(SessionCommand::Plain(Command::Put(put("other", "value")))).await.expect("it leads");
        node.write(SessionCommand::Plain(read_within(2))).await.expect_err("it cannot be answered");
        let reason = node.stopped().await.expect("it has failed");
        assert!(reason.contains("at offset 0"), "{reason}");
    });
}

#[test]
fn a_disk_that_takes_no_more_leaves_old_versions_in_memory() {
    let folder = folder();
    let (mut held, mut kept) = (Kv::default(), archived(folder.path()));
    let mut both = |times| {
        fill(&mut held, times);
        fill(&mut kept, times);
        assert_eq!(written(&kept), written(&held));
        segments(&kept)
    };
    let some = both(20);
    // The file at hand takes a few blocks more; no other can be made.
    fs::remove_dir(folder.path()).expect("it is empty");
    let last = both(20);
    assert!(last <= some + 1, "{some} files, then {last}");
    fs::create_dir(folder.path()).expect("there is room again");
    assert!(both(20) > last);
    let compacted = kept.revision() - 2;
    assert_eq!(compact(&mut kept, compacted), compact(&mut held, compacted));
    assert_eq!(written(&kept), written(&held));
}
