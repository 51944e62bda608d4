//! What the research on storage faults demands, where no other test is about just that. The list, with a
//! test for each point, is in the book, under "Storage requirements".

use std::{io::ErrorKind, path::PathBuf, sync::Arc};

use raft_actor::{
    error::StartError,
    node::Node,
    runtime::{SharedRuntime, SimRuntime},
    state_machine::StateMachine,
    storage::{LogStorage, StorageError},
    testkit::network::Network,
    types::{LogId, NodeId},
};
use raft_storage_file::{
    FileLog,
    disk::simulated::{SimulatedDisk, Unflushed},
};

use crate::crash::{
    FOLDER, IDENTITY, Model, Step, append, block_on, command, disk_of_way, open, options, tell, vote,
    workload,
};

/// One step, on an open log.
fn step(log: &mut FileLog, step: &Step) -> Result<(), StorageError> {
    match step {
        Step::Write(writes) => block_on(log.write(writes)),
        Step::Purge(through) => block_on(log.purge(*through)),
        Step::Reopen => Ok(()),
    }
}

#[test]
fn each_call_that_fails_once_is_told_and_never_covered_by_a_later_success() {
    let steps = workload();
    let whole = SimulatedDisk::new();
    let (mut log, _) = open(&whole).unwrap();
    let first = whole.calls().total();
    steps.iter().for_each(|one| step(&mut log, one).unwrap());
    let calls = whole.calls().total() - first;
    drop(log);
    for failing in 0..3 * calls {
        let (disk, failing) = (disk_of_way(failing % 3), failing / 3);
        let (mut log, _) = open(&disk).unwrap();
        disk.fail_once(failing, ErrorKind::Other);
        let mut acknowledged = Model::default();
        let mut failed = None;
        for one in &steps {
            match (step(&mut log, one), &failed) {
                (Ok(()), None) => acknowledged.apply(one),
                (Ok(()), Some(_)) => assert!(matches!(one, Step::Reopen), "call {failing}: a later success"),
                (Err(_), None) => failed = Some(one.clone()),
                (Err(error), Some(_)) => {
                    assert!(matches!(error, StorageError::Poisoned { .. }), "call {failing}: {error}");
                }
            }
        }
        let mut attempted = acknowledged.clone();
        attempted
            .apply(failed.as_ref().unwrap_or_else(|| panic!("call {failing} failed and nobody was told")));
        drop(log);
        // The process starts again on the same machine: what it finds it may find only in memory. It goes on
        // and acknowledges, and then the power is cut.
        let (mut log, state) = open(&disk).unwrap_or_else(|error| panic!("call {failing}: {error}"));
        let found = Model::of(&mut log, &state).unwrap();
        drop(log);
        for unflushed in [Unflushed::Dropped, Unflushed::Kept, Unflushed::Torn(failing)] {
            let (mut log, state) = open(&disk.crash(unflushed))
                .unwrap_or_else(|error| panic!("call {failing}, {unflushed:?}: {error}"));
            let left = Model::of(&mut log, &state).unwrap();
            assert_eq!(left, found, "call {failing}, {unflushed:?}: what a start has found is gone");
        }
        let is_one = found.entries == acknowledged.entries || found.entries == attempted.entries;
        assert!(is_one, "call {failing}: found {found:?}");
    }
    let images = 9 * calls as usize;
    tell("each call fails once, start again, power cut", images, images, 0, 0);
    assert!(calls > 90);
}

#[test]
fn what_a_start_has_read_back_from_memory_is_on_the_disk_before_it_is_told() {
    for (way, failing) in [(0, 2), (0, 4), (1, 4), (2, 4)] {
        let disk = disk_of_way(way);
        let (mut log, _) = open(&disk).unwrap();
        block_on(log.write(&[vote(1, 1), append(vec![command(1, 1, 50)])])).unwrap();
        // Two copies of term and vote and their flush; the frame of the entry and its flush.
        disk.fail_once(failing, ErrorKind::Other);
        block_on(log.write(&[vote(2, 2), append(vec![command(2, 2, 50)])])).unwrap_err();
        drop(log);
        let (mut log, state) = open(&disk).unwrap();
        let found = Model::of(&mut log, &state).unwrap();
        let crashed = disk.crash(Unflushed::Dropped);
        drop(log);
        let (mut log, state) = open(&crashed).unwrap();
        assert_eq!(Model::of(&mut log, &state).unwrap(), found);
        assert_eq!(found.hard_state.term.0, 2, "the pages that were called clean are seen");
    }
}

struct Nothing;

impl StateMachine for Nothing {
    type Command = ();
    type Output = ();

    fn apply(&mut self, _id: LogId, _command: ()) {}
}

#[test]
fn a_node_whose_log_is_damaged_does_not_start_and_asks_for_no_vote() {
    let (disk, segment) = {
        let disk = SimulatedDisk::new();
        let (mut log, _) = open(&disk).unwrap();
        block_on(log.write(&[vote(1, 1), append(vec![command(1, 1, 50)])])).unwrap();
        drop(log);
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
        let segment = disk.paths().into_iter().find(is_segment).unwrap();
        (disk, segment)
    };
    for damaged in [false, true] {
        let simulator = SimRuntime::new(1);
        let disk = disk.crash(Unflushed::Dropped);
        if damaged {
            disk.flip_bit(&segment, 4096 + 130, 1);
        }
        let runtime: SharedRuntime = Arc::new(simulator.node("one"));
        let network = Network::new(runtime.clone(), 1);
        let shared = Arc::new(disk.clone());
        let log = FileLog::open_inline(runtime.clone(), shared, FOLDER, IDENTITY, options()).unwrap();
        let members = [1, 2, 3].map(|id| (NodeId(id), Network::address(NodeId(id))));
        let builder = Node::builder(NodeId(3), Nothing).members(members).storage(log);
        let started =
            simulator.run_until(builder.transport(network.transport(NodeId(3))).runtime(runtime).start());
        simulator.run_for(std::time::Duration::from_secs(10));
        match started {
            Ok(_) => assert!(!damaged, "it started"),
            Err(StartError::Storage(StorageError::Corrupt { path, offset, .. })) => {
                assert!(damaged && path == segment && offset == 4096);
                assert_eq!(simulator.tasks(), 0, "something of the node lives on");
            }
            Err(other) => panic!("{other}"),
        }
    }
}
