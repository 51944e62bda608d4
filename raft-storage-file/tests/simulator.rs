//! Log and snapshots in the simulator: one thread, virtual time, and flushes that take theirs.

use std::{
    future::pending,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use raft_actor::{
    runtime::{Place, Runtime, SharedRuntime, SimRuntime, sleep, timeout},
    storage::{LogStorage, SnapshotStorage},
    testkit::suite::{log_storage, snapshot_storage},
    types::{LogId, LogIndex, LogState, SnapshotMeta, Term},
};
use raft_storage_file::{
    FileLog, FileSnapshots, Options,
    disk::simulated::{SimulatedDisk, Unflushed},
};

use crate::crash::{FOLDER, IDENTITY, Model, append, command, disk_of_way, vote};

const SNAPSHOTS: &str = "/snapshots";

fn options() -> Options {
    Options::default().with_segment_bytes(32 << 10)
}

fn open(runtime: &SharedRuntime, disk: &SimulatedDisk) -> FileLog {
    FileLog::open_inline(runtime.clone(), Arc::new(disk.clone()), FOLDER, IDENTITY, options()).unwrap()
}

async fn recover(runtime: &SharedRuntime, disk: &SimulatedDisk) -> (FileLog, LogState) {
    let mut log = open(runtime, disk);
    let state = log.recover().await.unwrap();
    (log, state)
}

fn snapshots(disk: &SimulatedDisk) -> FileSnapshots {
    FileSnapshots::open_inline(Arc::new(disk.clone()), SNAPSHOTS, IDENTITY).unwrap()
}

/// Every flush takes between 0 and 5 ms.
fn slow(runtime: &SharedRuntime, disk: &SimulatedDisk) {
    let runtime = runtime.clone();
    disk.set_flush_time(move || {
        let (runtime, time) = (runtime.clone(), Duration::from_micros(runtime.random() % 5_000));
        Box::pin(async move { sleep(&*runtime, time).await })
    });
}

/// A file and what is in it.
fn files(disk: &SimulatedDisk) -> Vec<(String, Vec<u8>)> {
    let paths = disk.paths().into_iter();
    paths.map(|path| (path.display().to_string(), disk.bytes(&path).unwrap())).collect()
}

#[test]
fn the_log_keeps_its_contract_in_the_simulator_with_slow_flushes() {
    let simulator = SimRuntime::new(3);
    let runtime: SharedRuntime = Arc::new(simulator.node("one"));
    for way in 0..3 {
        let fresh = || {
            let (disk, runtime) = (disk_of_way(way), runtime.clone());
            slow(&runtime, &disk);
            async move || open(&runtime, &disk)
        };
        log_storage::check(fresh, |future| simulator.run_until(future));
    }
    assert!(simulator.now().0 > 10_000_000, "no flush took any time");
}

#[test]
fn snapshots_keep_their_contract_in_the_simulator_with_slow_flushes() {
    let simulator = SimRuntime::new(4);
    let runtime: SharedRuntime = Arc::new(simulator.node("one"));
    let fresh = || {
        let disk = SimulatedDisk::new();
        slow(&runtime, &disk);
        move || snapshots(&disk)
    };
    snapshot_storage::check(fresh, |future| simulator.run_until(future));
    assert!(simulator.now().0 > 10_000_000, "no flush took any time");
}

/// What a run comes to: when and what was polled, what the disk holds, and what was called.
fn run(seed: u64) -> (u64, Vec<(String, Vec<u8>)>, u64) {
    let simulator = SimRuntime::new(seed);
    let runtime: SharedRuntime = Arc::new(simulator.node("one"));
    let disk = SimulatedDisk::new();
    slow(&runtime, &disk);
    let taken = snapshots(&disk);
    let task_runtime = runtime.clone();
    let task = async move {
        for id in 1..=3 {
            sleep(&*task_runtime, Duration::from_millis(20)).await;
            let snapshot: SnapshotMeta = snapshot_storage::describe(id, id * 10, 0);
            taken.write(snapshot, Box::new(|writer| writer.write_all(&[7; 300_000]))).await.unwrap();
        }
    };
    runtime.spawn("snapshots", Place::Any, Box::pin(task));
    simulator.run_until(async {
        let (mut log, _) = recover(&runtime, &disk).await;
        log.write(&[vote(1, 1)]).await.unwrap();
        for index in 1..=40 {
            log.write(&[append(vec![command(index, 1, 2000)])]).await.unwrap();
            if index % 10 == 0 {
                sleep(&*runtime, Duration::from_millis(50)).await;
                log.purge(LogId::new(Term(1), LogIndex(index - 5))).await.unwrap();
            }
        }
    });
    (simulator.trace_hash(), files(&disk), disk.calls().total())
}

#[test]
fn the_same_seed_gives_the_same_run_down_to_the_bytes_on_the_disk() {
    for seed in 0..5 {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(one.0, other.0, "seed {seed}: the trace");
        assert!(one.1 == other.1, "seed {seed}: the bytes on the disk");
        assert_eq!(one.2, other.2, "seed {seed}: the calls");
    }
    assert!(run(1).0 != run(2).0 && run(1).1 != run(2).1);
}

#[test]
fn a_mark_is_written_once_virtual_time_has_passed() {
    let simulator = SimRuntime::new(1);
    let runtime: SharedRuntime = Arc::new(simulator.node("one"));
    let disk = SimulatedDisk::new();
    simulator.run_until(async {
        let (mut log, _) = recover(&runtime, &disk).await;
        for index in 1..=20 {
            log.write(&[vote(1, 1), append(vec![command(index, 1, 10)])]).await.unwrap();
            sleep(&*runtime, Duration::from_millis(2)).await;
        }
        let busy = disk.calls();
        sleep(&*runtime, Duration::from_millis(2)).await;
        let idle = disk.calls();
        assert_eq!((idle.writes - busy.writes, idle.syncs - busy.syncs), (1, 1));
        sleep(&*runtime, Duration::from_secs(60)).await;
        assert_eq!(disk.calls(), idle);
    });
}

#[test]
fn what_is_written_while_a_flush_hangs_is_not_acknowledged_and_torn_by_a_crash() {
    let simulator = SimRuntime::new(1);
    let runtime: SharedRuntime = Arc::new(simulator.node("one"));
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..20 {
        let disk = SimulatedDisk::new();
        let crashed = simulator.run_until(async {
            let (mut log, _) = recover(&runtime, &disk).await;
            log.write(&[vote(1, 1), append(vec![command(1, 1, 100)])]).await.unwrap();
            disk.set_flush_time(|| Box::pin(pending()));
            let writes = [vote(2, 2), append(vec![command(2, 2, 100)])];
            let hour = Duration::from_secs(3600);
            assert!(timeout(&*runtime, hour, log.write(&writes)).await.is_none(), "it was acknowledged");
            disk.crash(Unflushed::Torn(seed))
        });
        let (found, votes) = simulator.run_until(async {
            let (mut log, state) = recover(&runtime, &crashed).await;
            let model = Model::of(&mut log, &state);
            (state, model.is_ok())
        });
        assert!(votes);
        // The flush that hangs is that of term and vote: the entry after it was never written.
        assert_eq!(found.last, LogId::new(Term(1), LogIndex(1)));
        kept += u32::from(found.hard_state.term == Term(2));
        lost += u32::from(found.hard_state.term == Term(1));
    }
    assert!(kept > 2 && lost > 2 && kept + lost == 20, "kept {kept}, lost {lost}");
}

#[test]
fn a_flush_that_hangs_and_goes_on_acknowledges_then() {
    let simulator = SimRuntime::new(9);
    let runtime: SharedRuntime = Arc::new(simulator.node("one"));
    let disk = SimulatedDisk::new();
    let open_again = Arc::new(AtomicBool::new(false));
    simulator.run_until(async {
        let (mut log, _) = recover(&runtime, &disk).await;
        let (gate, gate_runtime) = (open_again.clone(), runtime.clone());
        disk.set_flush_time(move || {
            let (gate, runtime) = (gate.clone(), gate_runtime.clone());
            Box::pin(async move {
                while !gate.load(Ordering::Relaxed) {
                    sleep(&*runtime, Duration::from_millis(1)).await;
                }
            })
        });
        let task_runtime = runtime.clone();
        let task = async move {
            sleep(&*task_runtime, Duration::from_secs(30)).await;
            open_again.store(true, Ordering::Relaxed);
        };
        runtime.spawn("gate", Place::Any, Box::pin(task));
        let before = runtime.now();
        log.write(&[vote(1, 1), append(vec![command(1, 1, 100)])]).await.unwrap();
        assert!(runtime.now().0 - before.0 >= 30_000_000_000);
        let (_, state) = recover(&runtime, &disk.crash(Unflushed::Dropped)).await;
        assert_eq!(state.last, LogId::new(Term(1), LogIndex(1)));
    });
}

#[test]
fn a_machine_that_crashes_in_the_simulator_closes_nothing_in_good_order() {
    let simulator = SimRuntime::new(5);
    let machine = simulator.node("one");
    let runtime: SharedRuntime = Arc::new(machine.clone());
    let disk = SimulatedDisk::new();
    let (task_runtime, task_disk) = (runtime.clone(), disk.clone());
    let task = async move {
        let (mut log, _) = recover(&task_runtime, &task_disk).await;
        log.write(&[vote(1, 1), append(vec![command(1, 1, 100)])]).await.unwrap();
        pending::<()>().await;
    };
    runtime.spawn("node", Place::Any, Box::pin(task));
    simulator.run_for(Duration::from_millis(1));
    let calls = disk.calls();
    assert!(disk.bytes(&Path::new(FOLDER).join("HARDSTATE")).is_some());
    machine.crash();
    simulator.run_for(Duration::from_millis(100));
    assert_eq!(disk.calls(), calls, "the disk was touched after the power was cut");
    let (_, state) = simulator.run_until(recover(&runtime, &disk));
    assert_eq!(state.last, LogId::new(Term(1), LogIndex(1)));
}
