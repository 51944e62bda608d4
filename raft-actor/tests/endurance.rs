//! Clusters of three and five through everything at once: disks and state machines that are slow and lose
//! what they had not flushed, machines that crash, pause and are shut down in order, leadership handed over
//! under load, links that are cut one way or both.
//!
//! `RAFT_ACTOR_SEEDS=2000 cargo test -p raft-actor endurance` runs as many seeds instead of the default.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use raft_actor::{
    config::Config,
    error::WriteError,
    node::Node,
    runtime::{
        Place, Runtime, SharedRuntime,
        sim::{SimNode, SimRuntime},
        sleep, timeout,
    },
    state_machine::{StateMachine, StateMachineError},
    storage::{LogStorage, StorageError},
    testkit::{memory::MemoryLog, network::Network},
    types::{Entries, LogId, LogIndex, LogState, LogWrite, NodeId},
};

use super::exactly_once::assert_exactly_once;

const SEEDS: u64 = 40;
const CLIENTS: u64 = 4;
const ROUNDS: u64 = 90;

/// Longer than any answer may take: a write may wait as long as `request_timeout` and its machine be paused.
const PATIENCE: Duration = Duration::from_secs(30);

/// Remembers every value in the order in which it was applied, and takes its time to flush.
struct Journal {
    values: Vec<u64>,
    runtime: SharedRuntime,
    flush_max: Duration,
}

#[async_trait]
impl StateMachine for Journal {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, value: u64) -> u64 {
        self.values.push(value);
        self.values.len() as u64
    }

    async fn flush(&mut self, _: LogId) -> Result<(), StateMachineError> {
        linger(&self.runtime, self.flush_max).await;
        Ok(())
    }
}

/// A log whose writes reach the disk one by one, each after a while: a crash loses those that have not.
struct SlowLog {
    log: MemoryLog,
    runtime: SharedRuntime,
    write_max: Duration,
}

#[async_trait]
impl LogStorage for SlowLog {
    async fn recover(&mut self) -> Result<LogState, StorageError> {
        let mut state = self.log.recover().await?;
        let kept = (self.runtime.random() % 8).min(state.tail.len() as u64) as usize;
        state.tail = state.tail.slice(state.tail.len() - kept, state.tail.len());
        Ok(state)
    }

    async fn write(&mut self, writes: &[LogWrite]) -> Result<(), StorageError> {
        for write in writes {
            linger(&self.runtime, self.write_max).await;
            self.log.write(std::slice::from_ref(write)).await?;
        }
        linger(&self.runtime, self.write_max).await;
        Ok(())
    }

    async fn read(
        &mut self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Result<Entries, StorageError> {
        linger(&self.runtime, self.write_max).await;
        self.log.read(first, last, bytes_max).await
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.log.purge(through).await
    }
}

/// Mostly a short while, at times a long one.
async fn linger(runtime: &SharedRuntime, max: Duration) {
    let random = runtime.random();
    let max = if random.is_multiple_of(200) { max * 40 } else { max };
    if !max.is_zero() {
        sleep(runtime, Duration::from_nanos(random % max.as_nanos() as u64)).await;
    }
}

/// What the clients have seen, and what was wrong with it.
#[derive(Default)]
struct History {
    acknowledged: BTreeMap<u64, u64>,
    unknown: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    reads: usize,
    wrong: Vec<String>,
}

#[derive(Clone, Default)]
struct Shared {
    history: Arc<Mutex<History>>,
    /// Whom the clients talk to.
    doors: Arc<Mutex<BTreeMap<NodeId, Node<Journal>>>>,
}

impl Shared {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("no panic under the lock")
    }

    fn any_door(&self, random: u64) -> Option<Node<Journal>> {
        let doors = self.doors.lock().expect("no panic under the lock");
        doors.values().nth(random as usize % doors.len().max(1)).cloned()
    }
}

async fn client(number: u64, runtime: SharedRuntime, shared: Shared) {
    for round in 0..ROUNDS {
        let pick = runtime.random();
        if let Some(node) = shared.any_door(pick) {
            write(number * 1_000_000 + round, &runtime, &node, &shared).await;
        }
        if pick.is_multiple_of(3)
            && let Some(node) = shared.any_door(pick / 3)
        {
            read(&runtime, &node, &shared).await;
        }
        sleep(&runtime, Duration::from_millis(5 + pick % 40)).await;
    }
}

async fn write(value: u64, runtime: &SharedRuntime, node: &Node<Journal>, shared: &Shared) {
    let known = shared.history().acknowledged.len() as u64;
    let outcome = timeout(runtime, PATIENCE, node.write(value)).await;
    let mut history = shared.history();
    match outcome {
        Some(Ok(place)) => {
            if place <= known {
                history.wrong.push(format!("{value} came at {place}, after {known} acknowledged"));
            }
            history.acknowledged.insert(value, place);
        }
        Some(Err(WriteError::Unknown)) => drop(history.unknown.insert(value)),
        Some(Err(_)) => drop(history.refused.insert(value)),
        None => history.wrong.push(format!("the write of {value} on {} was never answered", node.id())),
    }
}

/// A linearizable read sees all that was acknowledged before it began.
async fn read(runtime: &SharedRuntime, node: &Node<Journal>, shared: &Shared) {
    let known: Vec<u64> = shared.history().acknowledged.keys().copied().collect();
    let look = |journal: &Journal| journal.values.iter().copied().collect::<BTreeSet<u64>>();
    let seen = timeout(runtime, PATIENCE, node.read(look)).await;
    let mut history = shared.history();
    match seen {
        Some(Ok(seen)) => {
            history.reads += 1;
            if let Some(missed) = known.iter().find(|value| !seen.contains(value)) {
                history.wrong.push(format!("a read on {} missed {missed}", node.id()));
            }
        }
        Some(Err(_)) => {}
        None => history.wrong.push(format!("a read on {} was never answered", node.id())),
    }
}

/// What a run has seen, to be printed, and to be found wanting.
#[derive(Default, Debug)]
pub(crate) struct Counts {
    acknowledged: usize,
    unknown: usize,
    refused: usize,
    reads: usize,
    crashes: u64,
    ends: u64,
    transfers: u64,
    pauses: u64,
    cuts: u64,
}

/// All that is there, and the chance that breaks it.
struct World {
    simulator: Arc<SimRuntime>,
    hall: SharedRuntime,
    network: Network,
    size: u64,
    config: Config,
    slowness: Duration,
    logs: BTreeMap<NodeId, MemoryLog>,
    machines: BTreeMap<NodeId, SimNode>,
    nodes: BTreeMap<NodeId, Node<Journal>>,
    /// Nodes from this number on take clients: where it is high, most writes are carried.
    first_door: u64,
    shared: Shared,
    chance: fastrand::Rng,
    counts: Counts,
}

impl World {
    fn new(seed: u64, simulator: Arc<SimRuntime>) -> World {
        let mut chance = fastrand::Rng::with_seed(seed);
        let hall: SharedRuntime = Arc::new(simulator.node("hall"));
        let size = if chance.bool() { 5 } else { 3 };
        let mut config = Config::default();
        if chance.bool() {
            config.append_entries_max = chance.u64(1..8);
            config.inflight_max = chance.u64(1..5);
            config.cache_bytes_max = chance.u64(0..400);
        }
        World {
            network: Network::new(hall.clone(), seed),
            simulator,
            hall,
            size,
            config,
            slowness: Duration::from_millis(chance.u64(0..8)),
            logs: (1..=size).map(|number| (NodeId(number), MemoryLog::new())).collect(),
            machines: BTreeMap::new(),
            nodes: BTreeMap::new(),
            first_door: if chance.bool() { 1 } else { size - 1 },
            shared: Shared::default(),
            chance,
            counts: Counts::default(),
        }
    }

    fn any(&mut self) -> NodeId {
        NodeId(self.chance.u64(1..=self.size))
    }

    async fn wait(&mut self, milliseconds_max: u64) {
        let wait = Duration::from_millis(self.chance.u64(0..milliseconds_max));
        sleep(&self.hall, wait).await;
    }

    async fn start(&mut self, id: NodeId) {
        let machine = self.simulator.node(&format!("machine {id}"));
        let runtime: SharedRuntime = Arc::new(machine.clone());
        let log = SlowLog { log: self.logs[&id].clone(), runtime: runtime.clone(), write_max: self.slowness };
        let journal = Journal { values: Vec::new(), runtime: runtime.clone(), flush_max: self.slowness };
        let members = (1..=self.size).map(|number| (NodeId(number), Network::address(NodeId(number))));
        let node = Node::builder(id, journal)
            .members(members)
            .storage(log)
            .transport(self.network.transport(id))
            .runtime(runtime)
            .config(self.config.clone())
            .start();
        let node = node.await.expect("a node starts");
        self.network.attach(id, node.inbox());
        self.machines.insert(id, machine);
        self.nodes.insert(id, node);
        self.open_doors();
    }

    fn open_doors(&self) {
        let open = self.nodes.iter().filter(|(id, _)| id.0 >= self.first_door);
        let open = open.map(|(id, node)| (*id, node.clone())).collect();
        *self.shared.doors.lock().expect("no panic under the lock") = open;
    }

    fn crash(&mut self, id: NodeId) {
        if self.nodes.remove(&id).is_some() {
            self.counts.crashes += 1;
            self.machines[&id].crash();
            self.network.detach(id);
            self.open_doors();
        }
    }

    /// Crashes a few at once, at times all, and starts them again.
    async fn crash_some(&mut self) {
        let count = if self.chance.u32(0..8) == 0 { self.size } else { self.chance.u64(1..3) };
        for _ in 0..count {
            let id = self.any();
            self.crash(id);
        }
        self.wait(1200).await;
        self.start_all().await;
    }

    async fn start_all(&mut self) {
        for id in (1..=self.size).map(NodeId) {
            if !self.nodes.contains_key(&id) {
                self.start(id).await;
            }
        }
    }

    async fn end_in_order(&mut self) {
        let id = self.any();
        let node = self.nodes[&id].clone();
        self.counts.ends += 1;
        if timeout(&self.hall, PATIENCE, node.shutdown()).await.is_none() {
            self.shared.history().wrong.push(format!("the shutdown of {id} hangs"));
        }
        self.nodes.remove(&id);
        self.network.detach(id);
        self.open_doors();
        self.wait(300).await;
        self.start(id).await;
    }

    async fn transfer(&mut self) {
        let to = self.chance.bool().then(|| self.any());
        for node in self.nodes.values() {
            if timeout(&self.hall, PATIENCE, node.transfer_leadership(to)).await == Some(Ok(())) {
                self.counts.transfers += 1;
                break;
            }
        }
    }

    async fn pause(&mut self) {
        let id = self.any();
        self.counts.pauses += 1;
        self.machines[&id].pause();
        self.wait(2500).await;
        self.machines[&id].resume();
    }

    fn cut(&mut self) {
        self.counts.cuts += 1;
        let (one, other) = (self.any(), self.any());
        match self.chance.u32(0..4) {
            0 => self.network.partition(one, other),
            1 => (1..=self.size).for_each(|number| self.network.partition(one, NodeId(number))),
            // It speaks and hears nothing.
            2 => (1..=self.size).for_each(|number| self.network.cut(NodeId(number), one)),
            _ => self.network.cut(one, other),
        }
    }

    fn disturb(&mut self) {
        self.network.loss(0.05);
        self.network.duplicate(0.05);
        self.network.reorder(0.05);
        self.network.delay(Duration::ZERO..=Duration::from_millis(self.chance.u64(1..40)));
    }

    async fn run(mut self) -> Counts {
        self.start_all().await;
        let done = Arc::new(Mutex::new(0));
        for number in 1..=CLIENTS {
            let (work, done) = (client(number, self.hall.clone(), self.shared.clone()), done.clone());
            let task = async move {
                work.await;
                *done.lock().expect("no panic") += 1;
            };
            self.hall.spawn("client", Place::Any, Box::pin(task));
        }
        while *done.lock().expect("no panic") < CLIENTS {
            self.wait(700).await;
            match self.chance.u32(0..13) {
                0 | 1 => self.crash_some().await,
                2 | 3 => self.end_in_order().await,
                4 | 5 => self.transfer().await,
                6 => self.pause().await,
                7 | 8 => self.cut(),
                9 => self.disturb(),
                10 => {
                    let id = self.any();
                    self.nodes[&id].campaign();
                }
                _ => self.network.heal(),
            }
        }
        self.network.heal();
        self.check().await;
        for node in self.nodes.values() {
            node.shutdown().await;
        }
        self.counts
    }

    /// With everything healed, every node must come to the same values, and they must be what the clients
    /// were told.
    async fn check(&mut self) {
        let mut journals = Vec::new();
        for node in self.nodes.values() {
            let read = || node.read(|journal| journal.values.clone());
            let healed = async {
                loop {
                    if let Ok(values) = read().await {
                        break values;
                    }
                    sleep(&self.hall, Duration::from_millis(50)).await;
                }
            };
            let values = timeout(&self.hall, Duration::from_secs(60), healed).await;
            journals.push(values.expect("a healed cluster answers reads on every node"));
        }
        let history = self.shared.history();
        assert_eq!(history.wrong, Vec::<String>::new());
        assert_exactly_once(&journals, &history.acknowledged, &history.refused);
        self.counts.acknowledged = history.acknowledged.len();
        self.counts.unknown = history.unknown.len();
        self.counts.refused = history.refused.len();
        self.counts.reads = history.reads;
    }
}

/// Names the seed of a run that fails.
struct Naming(u64);

impl Drop for Naming {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the run of seed {} has failed", self.0);
        }
    }
}

/// One run with everything.
pub(crate) fn endure(seed: u64) -> Counts {
    let _naming = Naming(seed);
    let simulator = Arc::new(SimRuntime::new(seed));
    simulator.run_until(World::new(seed, simulator.clone()).run())
}

#[test]
fn nothing_is_lost_doubled_stale_or_left_unanswered_whatever_happens_at_once() {
    let seeds = crate::seeds(SEEDS);
    let mut total = Counts::default();
    for seed in 1..=seeds {
        let counts = endure(seed);
        total.acknowledged += counts.acknowledged;
        total.unknown += counts.unknown;
        total.refused += counts.refused;
        total.reads += counts.reads;
        total.crashes += counts.crashes;
        total.ends += counts.ends;
        total.transfers += counts.transfers;
        total.pauses += counts.pauses;
        total.cuts += counts.cuts;
    }
    println!("{seeds} seeds: {total:?}");
    assert!(total.acknowledged as u64 > seeds * 100 && total.reads as u64 > seeds * 20, "vacuous: {total:?}");
    let least = [total.crashes, total.ends, total.transfers, total.pauses, total.cuts].into_iter().min();
    assert!(least > Some(seeds / 2), "too little was broken to mean anything: {total:?}");
}
