//! One node of a cluster that is lost becomes the cluster, and the power is cut at every call to the disk.

use std::{io::ErrorKind, sync::Arc};

use raft_actor::{
    membership::Membership,
    node::survivor::{Survivor, SurvivorError},
    storage::{LogStorage, StorageError},
    types::{Entry, HardState, LogId, LogIndex, LogState, LogWrite, NodeId, Payload, Term},
};
use raft_storage_file::{
    FileLog, Identity,
    disk::simulated::{SimulatedDisk, Unflushed},
};

use crate::crash::{FOLDER, IDENTITY, append, block_on, command, options, vote};

fn open(disk: &SimulatedDisk) -> Result<FileLog, StorageError> {
    FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options())
}

fn members() -> Membership {
    let member = |node: u64| (NodeId(node), format!("host:{node}"));
    Membership::new((1..=3).map(member)).expect("three").with_genesis(5)
}

/// The log of node 3 of three, with some entries that nobody may have committed.
fn lost_cluster() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let mut log = open(&disk).expect("a new store");
    block_on(log.recover()).expect("it is empty");
    let first = Entry::new(LogId::new(Term(1), LogIndex(1)), Payload::Membership(Box::new(members())));
    let writes = [vote(1, 1), append(vec![first]), vote(4, 2), append(vec![command(2, 4, 900)])];
    block_on(log.write(&writes)).expect("they follow");
    drop(log);
    disk.crash(Unflushed::Kept)
}

fn recover(disk: &SimulatedDisk) -> Result<(LogId, Membership), SurvivorError> {
    let mut log = open(disk)?;
    block_on(async { Survivor::look(&mut log, None).await?.become_cluster(NodeId(3)).await })
}

fn state(disk: &SimulatedDisk) -> LogState {
    block_on(open(disk).expect("it opens").recover()).expect("it is sound")
}

#[test]
fn what_was_there_stays_and_the_new_members_follow_it_in_a_later_term() {
    let disk = lost_cluster();
    let before = state(&disk);
    let (log_id, membership) = recover(&disk).expect("it is a member");
    assert_eq!(log_id, LogId::new(Term(5), LogIndex(3)));
    let after = state(&disk);
    assert_eq!(after.last, log_id);
    assert_eq!(after.hard_state, HardState { term: Term(5), voted_for: Some(NodeId(3)) });
    assert_eq!(after.tail[..2], before.tail[..]);
    assert_eq!(after.memberships.last(), Some(&(log_id, membership.clone())));
    assert_eq!(membership.nodes().collect::<Vec<_>>(), [NodeId(3)]);
    assert_eq!(membership.address(NodeId(3)), Some("host:3"));
    assert_eq!(membership.incarnation(NodeId(3)), after.incarnation);
    assert!(membership.is_changed() && ![0, 5].contains(&membership.genesis()));
}

#[test]
fn whatever_the_power_cut_leaves_is_the_old_or_the_new_and_can_be_recovered_again() {
    let whole = lost_cluster();
    let (before, calls) = (state(&whole), whole.calls().total());
    recover(&whole).expect("nothing fails");
    let (after, all) = (state(&whole), whole.calls().total() - calls);
    let (mut old, mut new) = (0, 0);
    for stop in 0..=all {
        for unflushed in [Unflushed::Kept, Unflushed::Dropped].into_iter().chain((0..8).map(Unflushed::Torn))
        {
            let disk = lost_cluster();
            disk.fail_after(stop, ErrorKind::Other);
            let is_done = recover(&disk).is_ok();
            let crashed = disk.crash(unflushed);
            let found = state(&crashed);
            let what = format!("stopped after call {stop}, {unflushed:?}");
            if found.last == before.last {
                assert!(!is_done, "{what}: it was said to be done");
                assert_eq!(found.memberships, before.memberships, "{what}");
                assert!([before.hard_state, after.hard_state].contains(&found.hard_state), "{what}");
                old += 1;
            } else {
                assert_eq!((found.last, found.hard_state), (after.last, after.hard_state), "{what}");
                assert_eq!(found.memberships, after.memberships, "{what}");
                new += 1;
            }
            let (log_id, _) = recover(&crashed).unwrap_or_else(|error| panic!("{what}, again: {error}"));
            assert_eq!(state(&crashed).last, log_id, "{what}, again");
        }
    }
    assert!(old > 0 && new > 0, "{old} old, {new} new");
}

#[test]
fn two_survivors_become_clusters_that_do_not_believe_each_other() {
    let disk = lost_cluster();
    let (_, first) = recover(&disk).expect("once");
    let (_, again) = recover(&disk).expect("and once more");
    assert_ne!(first.genesis(), again.genesis());
}

#[test]
fn nothing_becomes_of_an_empty_log_and_of_who_is_no_member() {
    let mut log = open(&SimulatedDisk::new()).expect("a new store");
    let looked = block_on(Survivor::look(&mut log, None));
    assert!(matches!(looked.err(), Some(SurvivorError::Empty)));
    let disk = lost_cluster();
    let mut log = open(&disk).expect("it opens");
    let outcome = block_on(async { Survivor::look(&mut log, None).await?.become_cluster(NodeId(9)).await });
    assert!(matches!(outcome, Err(SurvivorError::NotAMember { node: NodeId(9) })), "{outcome:?}");
    drop(log);
    assert_eq!(state(&disk).last, LogId::new(Term(4), LogIndex(2)), "nothing was changed");
}

#[test]
fn a_folder_tells_whose_it_is_and_one_that_is_none_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(Identity::of_folder(folder.path()).expect("it can be read"), None);
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0, "nothing was made");
    drop(FileLog::open(folder.path(), IDENTITY).expect("a new store"));
    assert_eq!(Identity::of_folder(folder.path()).expect("it can be read"), Some(IDENTITY));
    let mut log = FileLog::open(folder.path(), IDENTITY).expect("it is free");
    let state = block_on(log.recover()).expect("it is sound");
    drop(log);
    let mut log = FileLog::open(folder.path(), IDENTITY).expect("it is free");
    let again = block_on(log.recover()).expect("it is sound");
    assert!(state.incarnation != 0 && state.incarnation == again.incarnation);
    let write =
        LogWrite { hard_state: Some(HardState { term: Term(1), voted_for: None }), ..LogWrite::default() };
    block_on(log.write(&[write])).expect("a write");
}
