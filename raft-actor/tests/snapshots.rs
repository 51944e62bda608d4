//! Whole clusters whose logs are compacted all the time, in virtual time and under faults: a node that was
//! away comes back by a snapshot, and has neither too little nor too much.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use raft_actor::{
    client::session::{Limits, SessionCommand, SessionOutput, Sessions},
    config::Config,
    error::SnapshotError,
    runtime::{SharedRuntime, sim::SimRuntime, sleep, timeout},
    state_machine::{StateMachine, StateMachineError},
    status::PeerState,
    testkit::{cluster::Cluster, memory::MemorySnapshots, suite::snapshot_storage},
    types::{LogId, LogIndex, NodeId, SnapshotView, Term},
};
use serde::{Deserialize, Serialize};

use super::machines::Machines;

/// What a client asks for.
#[derive(Serialize, Deserialize)]
enum Command {
    Set(u64, u64),
    Delete(u64),
    /// Not to be done twice: shows a command that a snapshot has and the log brings again.
    Add(u64),
}

/// Keys that come and go, and a sum: a restore that only adds keys leaves some that were deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shelf {
    keys: BTreeMap<u64, u64>,
    sum: u64,
}

impl StateMachine for Shelf {
    type Command = Command;
    type Output = u64;

    fn apply(&mut self, _: LogId, command: Command) -> u64 {
        match command {
            Command::Set(key, value) => drop(self.keys.insert(key, value)),
            Command::Delete(key) => drop(self.keys.remove(&key)),
            Command::Add(number) => self.sum += number,
        }
        self.sum
    }

    fn snapshot(&self) -> Option<SnapshotView> {
        let content = (self.keys.clone(), self.sum);
        Some(Box::new(move |writer| {
            let bytes = postcard::to_allocvec(&content).map_err(io::Error::other)?;
            writer.write_all(&bytes)
        }))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| StateMachineError { source: error.into() })?;
        (self.keys, self.sum) =
            postcard::from_bytes(&bytes).map_err(|error| StateMachineError { source: error.into() })?;
        Ok(())
    }
}

/// Snapshots every 20 entries, sent in parts of a few bytes.
fn config() -> Config {
    let mut config = Config::default();
    config.snapshot_entries = 20;
    config.trailing_entries = 5;
    config.snapshot_chunk_bytes = 64;
    config
}

async fn start(simulator: &Arc<SimRuntime>, config: Config) -> (Machines, SharedRuntime, Cluster<Shelf>) {
    let mut machines = Machines::new(simulator);
    let hall: SharedRuntime = Arc::new(simulator.node("hall"));
    let mut cluster = Cluster::new(hall.clone(), 3, config, Shelf::default);
    for number in 1..=3 {
        let id = NodeId(number);
        let runtime = machines.boot(id);
        cluster.start_node(id, runtime).await.expect("a node starts");
    }
    (machines, hall, cluster)
}

/// Writes through whoever takes it; returns how much was certainly added to the sum, and how much perhaps.
async fn write_some(cluster: &Cluster<Shelf>, chance: &mut fastrand::Rng, count: u64) -> (u64, u64) {
    let (mut certain, mut perhaps) = (0, 0);
    for _ in 0..count {
        let nodes = cluster.nodes();
        let node = nodes.values().nth(chance.usize(..nodes.len())).expect("some node runs").clone();
        let command = match chance.u64(0..3) {
            0 => Command::Set(chance.u64(0..40), chance.u64(..)),
            1 => Command::Delete(chance.u64(0..40)),
            _ => Command::Add(1),
        };
        let added = u64::from(matches!(command, Command::Add(_)));
        match node.write(command).await {
            Ok(_) => certain += added,
            Err(_) => perhaps += added,
        }
    }
    (certain, perhaps)
}

async fn shelf_of(cluster: &Cluster<Shelf>, id: NodeId) -> Shelf {
    loop {
        if let Ok(shelf) = cluster.node(id).read(Shelf::clone).await {
            return shelf;
        }
        cluster.sleep(Duration::from_millis(50)).await;
    }
}

async fn assert_all_alike(cluster: &Cluster<Shelf>) -> Shelf {
    let mut shelves = Vec::new();
    for id in cluster.nodes().keys() {
        shelves.push(shelf_of(cluster, *id).await);
    }
    for shelf in &shelves {
        assert_eq!(shelf, &shelves[0], "all nodes have the same state, with nothing left over");
    }
    shelves.remove(0)
}

#[cfg_attr(test, test)]
pub(crate) fn a_write_in_a_session_is_not_done_again_after_a_snapshot() {
    let id = |index| LogId::new(Term(1), LogIndex(index));
    let mut machine = Sessions::new(Shelf::default());
    let SessionOutput::Opened(session) = machine.apply(id(2), SessionCommand::Open(Limits::default())) else {
        panic!("a session is opened");
    };
    let write =
        || SessionCommand::InSession { session, sequence: 1, lowest_awaited: 1, command: Command::Add(7) };
    assert_eq!(machine.apply(id(3), write()), SessionOutput::Output(7));
    let mut bytes = Vec::new();
    machine.snapshot().expect("the shelf has snapshots")(&mut bytes).expect("memory takes it");

    let mut other = Sessions::new(Shelf::default());
    other.apply(id(2), SessionCommand::Open(Limits::default()));
    other.apply(id(3), SessionCommand::Plain(Command::Set(1, 1)));
    other.restore(&mut bytes.as_slice()).expect("it is whole");
    assert_eq!((other.table(), other.machine()), (machine.table(), machine.machine()));
    assert_eq!(other.apply(id(4), write()), SessionOutput::Output(7), "answered from memory");
    assert_eq!(other.machine().sum, 7);
    let cut = &bytes[..bytes.len() / 2];
    assert!(Sessions::new(Shelf::default()).restore(&mut &*cut).is_err());
}

#[test]
fn memory_keeps_the_contract_of_snapshots() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let fresh = || {
        let snapshots = MemorySnapshots::new();
        move || snapshots.clone()
    };
    snapshot_storage::check(fresh, |future| runtime.block_on(future));
}

#[test]
fn a_node_that_was_away_comes_back_by_a_snapshot_also_on_an_idle_cluster() {
    let simulator = Arc::new(SimRuntime::new(3));
    simulator.clone().run_until(async move {
        let (mut machines, hall, mut cluster) = start(&simulator, config()).await;
        let mut chance = fastrand::Rng::with_seed(3);
        cluster.leader().await;
        write_some(&cluster, &mut chance, 15).await;
        machines.crash(NodeId(3));
        cluster.forget_node(NodeId(3));
        write_some(&cluster, &mut chance, 200).await;
        let leader = cluster.leader().await;
        let status = cluster.node(leader).status().await;
        assert!(status.first_index > LogIndex(100), "the log was compacted: {status:?}");
        // From here on nothing is written: only heartbeats tell the leader what the node lacks.
        let runtime = machines.boot(NodeId(3));
        cluster.start_node(NodeId(3), runtime).await.expect("the node starts again");
        let before = cluster.node(NodeId(3)).status().await.applied_index;
        assert!(before < status.first_index);
        sleep(&*hall, Duration::from_secs(3)).await;
        let after = cluster.node(NodeId(3)).status().await;
        assert_eq!(after.applied_index, status.applied_index);
        assert_eq!(cluster.snapshots(NodeId(3)).received(), 1);
        let peers = cluster.node(leader).status().await.peers;
        assert!(peers.values().all(|peer| peer.state == PeerState::Replicate), "{peers:?}");
        assert_all_alike(&cluster).await;
        cluster.shutdown().await;
    });
}

#[test]
fn a_snapshot_can_be_taken_by_hand_and_a_restart_begins_with_it() {
    let simulator = Arc::new(SimRuntime::new(5));
    simulator.clone().run_until(async move {
        let mut config = config();
        config.snapshot_entries = 1_000_000;
        config.trailing_entries = 0;
        let (mut machines, _, mut cluster) = start(&simulator, config).await;
        let mut chance = fastrand::Rng::with_seed(5);
        let leader = cluster.leader().await;
        write_some(&cluster, &mut chance, 50).await;
        let node = cluster.node(leader).clone();
        let snapshot = node.snapshot().await.expect("a snapshot is taken");
        assert_eq!(snapshot.membership.voters().len(), 3);
        assert!(snapshot.last.index >= LogIndex(50), "{snapshot:?}");
        let status = node.status().await;
        assert_eq!(status.snapshot.as_ref(), Some(&snapshot));
        assert_eq!(status.first_index, snapshot.last.index.next());
        write_some(&cluster, &mut chance, 10).await;
        let shelf = shelf_of(&cluster, leader).await;

        machines.crash(leader);
        cluster.forget_node(leader);
        cluster.leader().await;
        let runtime = machines.boot(leader);
        cluster.start_node(leader, runtime).await.expect("it starts from the snapshot and the log behind it");
        assert!(cluster.node(leader).status().await.applied_index >= snapshot.last.index);
        assert_eq!(shelf_of(&cluster, leader).await, shelf);
        assert_eq!(cluster.node(leader).status().await.membership.voters().len(), 3);
        assert_all_alike(&cluster).await;
        cluster.shutdown().await;
        assert_eq!(node.snapshot().await, Err(SnapshotError::Stopped));
    });
}

#[derive(Default, Debug)]
pub(crate) struct Counts {
    certain: u64,
    crashes: u64,
    cuts: u64,
    received: u64,
}

async fn compact_under_faults(seed: u64, simulator: Arc<SimRuntime>) -> Counts {
    let (mut machines, hall, mut cluster) = start(&simulator, config()).await;
    let mut chance = fastrand::Rng::with_seed(seed);
    let (mut counts, mut certain, mut perhaps) = (Counts::default(), 0, 0);
    for _ in 0..12 {
        let id = NodeId(chance.u64(1..=3));
        let (one, other) = (NodeId(chance.u64(1..=3)), NodeId(chance.u64(1..=3)));
        match chance.u64(0..4) {
            0 | 1 => {
                counts.crashes += 1;
                machines.crash(id);
                cluster.forget_node(id);
            }
            2 => {
                counts.cuts += 1;
                cluster.network().partition(one, other);
            }
            _ => {
                cluster.network().loss(0.05);
                cluster.network().duplicate(0.05);
                cluster.network().reorder(0.05);
            }
        }
        let count = chance.u64(10..80);
        let (more, unsure) = write_some(&cluster, &mut chance, count).await;
        certain += more;
        perhaps += unsure;
        if !cluster.nodes().contains_key(&id) {
            let runtime = machines.boot(id);
            cluster.start_node(id, runtime).await.expect("a node starts again");
        }
        if chance.bool() {
            sleep(&*hall, Duration::from_millis(chance.u64(0..1500))).await;
            cluster.network().heal();
        }
    }
    cluster.network().heal();
    cluster.leader().await;
    let shelf = assert_all_alike(&cluster).await;
    assert!(
        shelf.sum >= certain && shelf.sum <= certain + perhaps,
        "seed {seed}: the sum is {}, {certain} were acknowledged and {perhaps} unknown",
        shelf.sum
    );
    counts.certain = certain;
    for id in (1..=3).map(NodeId) {
        counts.received += cluster.snapshots(id).received();
        assert!(cluster.snapshots(id).all().len() <= 4, "old snapshots are removed");
    }
    cluster.shutdown().await;
    counts
}

/// One run with faults while logs are compacted.
pub(crate) fn compact(seed: u64) -> Counts {
    let simulator = Arc::new(SimRuntime::new(seed));
    simulator.run_until(compact_under_faults(seed, simulator.clone()))
}

#[test]
fn nodes_that_catch_up_by_snapshots_have_the_same_state_whatever_breaks() {
    let mut total = Counts::default();
    for seed in 1..=25 {
        let counts = compact(seed);
        total.certain += counts.certain;
        total.crashes += counts.crashes;
        total.cuts += counts.cuts;
        total.received += counts.received;
    }
    println!("25 seeds: {total:?}");
    assert!(total.certain > 1000 && total.crashes > 50 && total.cuts > 30, "{total:?}");
    assert!(total.received > 50, "too few nodes caught up by a snapshot: {total:?}");
}

#[derive(Debug, Default)]
struct Comings {
    added: u64,
    removed: u64,
    refused: u64,
    crashes: u64,
    received: u64,
    certain: u64,
}

/// Five machines, of which at least three are members at any time. Whoever joins has to be sent a snapshot,
/// since the log's beginning, with the first membership in it, is long gone.
async fn comings_and_goings(seed: u64, simulator: Arc<SimRuntime>) -> Comings {
    let (mut machines, hall, mut cluster) = start(&simulator, config()).await;
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut counts = Comings::default();
    let mut perhaps = 0;
    for _ in 0..25 {
        let leader = cluster.leader().await;
        let written = write_some(&cluster, &mut chance, 25).await;
        (counts.certain, perhaps) = (counts.certain + written.0, perhaps + written.1);
        let id = NodeId(chance.u64(1..=5));
        let voters = cluster.node(leader).membership().await.voters().clone();
        let asked = cluster.node(leader).clone();
        if chance.bool() && cluster.nodes().contains_key(&id) {
            counts.crashes += 1;
            machines.crash(id);
            cluster.forget_node(id);
            sleep(&*hall, Duration::from_millis(chance.u64(0..1500))).await;
            let runtime = machines.boot(id);
            cluster.start_node(id, runtime).await.expect("it starts again");
            continue;
        }
        let change = async {
            if voters.contains(&id) && voters.len() > 3 {
                return (asked.remove(id).await.is_ok(), false);
            }
            (false, asked.add_voter(id, format!("node {id}")).await.is_ok())
        };
        if !voters.contains(&id) && !cluster.nodes().contains_key(&id) {
            let runtime = machines.boot(id);
            cluster.start_node(id, runtime).await.expect("it joins");
        }
        let (removed, added) =
            timeout(&*hall, Duration::from_secs(5), change).await.unwrap_or((false, false));
        counts.removed += u64::from(removed);
        counts.added += u64::from(added);
        counts.refused += u64::from(!added && !removed);
    }
    sleep(&*hall, Duration::from_secs(5)).await;
    let leader = cluster.leader().await;
    let voters = cluster.node(leader).membership().await.voters().clone();
    for id in cluster.nodes().keys().copied().collect::<Vec<_>>() {
        counts.received += cluster.snapshots(id).received();
        if !voters.contains(&id) {
            machines.crash(id);
            cluster.forget_node(id);
        }
    }
    let shelf = assert_all_alike(&cluster).await;
    assert!((counts.certain..=counts.certain + perhaps).contains(&shelf.sum), "{counts:?} {shelf:?}");
    for node in cluster.nodes().values() {
        assert_eq!(node.membership().await.voters(), &voters, "all know the same members");
    }
    cluster.shutdown().await;
    counts
}

#[test]
fn members_come_and_go_while_the_log_is_compacted_behind_them() {
    let mut total = Comings::default();
    for seed in 1..=crate::seeds(8) {
        let simulator = Arc::new(SimRuntime::new(seed));
        let counts = simulator.run_until(comings_and_goings(seed, simulator.clone()));
        total.added += counts.added;
        total.removed += counts.removed;
        total.refused += counts.refused;
        total.crashes += counts.crashes;
        total.received += counts.received;
        total.certain += counts.certain;
    }
    println!("members and snapshots: {total:?}");
    assert!(total.added > 15 && total.removed > 12, "too few changes to mean anything: {total:?}");
    assert!(total.crashes > 30 && total.received > 12, "too little was broken or sent: {total:?}");
}
