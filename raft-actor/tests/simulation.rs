//! Whole clusters under faults, in virtual time: real core, real actors, a network that loses and cuts,
//! machines that crash. Clients append values of their own; what they were told is compared with what the
//! nodes have.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use raft_actor::{
    config::Config,
    error::WriteError,
    node::Node,
    runtime::{
        Place, Runtime, SharedRuntime,
        sim::{SimNode, SimRuntime},
        sleep,
    },
    state_machine::StateMachine,
    testkit::cluster::Cluster,
    types::{LogId, NodeId},
};

const NODES: u64 = 3;
const CLIENTS: u64 = 4;

/// Remembers every value in the order in which it was applied.
#[derive(Default)]
struct Journal {
    values: Vec<u64>,
}

impl StateMachine for Journal {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, value: u64) -> u64 {
        self.values.push(value);
        self.values.len() as u64
    }
}

/// What the clients have seen.
#[derive(Default)]
struct History {
    /// Value and the place that the answer gave it.
    acknowledged: BTreeMap<u64, u64>,
    /// May be there, once, or not.
    unknown: BTreeSet<u64>,
    /// Must not be there.
    refused: BTreeSet<u64>,
    reads: u64,
}

type Handles = Arc<Mutex<BTreeMap<NodeId, Node<Journal>>>>;

/// Writes values of its own through whichever node is there, one after the other, and reads between them.
async fn client(
    number: u64,
    runtime: SharedRuntime,
    nodes: Handles,
    history: Arc<Mutex<History>>,
    rounds: u64,
) {
    for round in 0..rounds {
        let value = number * 1_000_000 + round;
        let pick = runtime.random();
        let node = {
            let nodes = nodes.lock().expect("no panic under the lock");
            nodes.values().nth(pick as usize % nodes.len().max(1)).cloned()
        };
        if let Some(node) = node {
            let known = history.lock().expect("no panic").acknowledged.len() as u64;
            let outcome = node.write(value).await;
            let mut history = history.lock().expect("no panic");
            match outcome {
                Ok(place) => {
                    assert!(
                        place > known,
                        "value {value} came at {place}, but {known} were acknowledged before it"
                    );
                    history.acknowledged.insert(value, place);
                }
                Err(WriteError::Unknown) => drop(history.unknown.insert(value)),
                Err(_) => drop(history.refused.insert(value)),
            }
        }
        if round % 4 == 0 {
            read(&runtime, &nodes, &history).await;
        }
        sleep(&*runtime, Duration::from_millis(5 + pick % 40)).await;
    }
}

/// A linearizable read sees all that was acknowledged before it began.
async fn read(runtime: &SharedRuntime, nodes: &Handles, history: &Arc<Mutex<History>>) {
    let node = {
        let nodes = nodes.lock().expect("no panic under the lock");
        nodes.values().nth(runtime.random() as usize % nodes.len().max(1)).cloned()
    };
    let Some(node) = node else { return };
    let known: Vec<u64> = history.lock().expect("no panic").acknowledged.keys().copied().collect();
    let look = |journal: &Journal| journal.values.clone();
    let by_lease = runtime.random().is_multiple_of(2);
    let seen = if by_lease { node.read_lease(look).await } else { node.read(look).await };
    if let Ok(seen) = seen {
        let seen: BTreeSet<u64> = seen.into_iter().collect();
        for value in known {
            assert!(seen.contains(&value), "a read on {} missed {value}", node.id());
        }
        history.lock().expect("no panic").reads += 1;
    }
}

/// What a run has seen, to be printed, and to be found wanting.
#[derive(Default, Debug)]
struct Counts {
    acknowledged: usize,
    unknown: usize,
    refused: usize,
    reads: u64,
    crashes: u64,
    cuts: u64,
    noisy: u64,
}

struct Machines {
    simulator: Arc<SimRuntime>,
    running: BTreeMap<NodeId, SimNode>,
}

impl Machines {
    fn boot(&mut self, id: NodeId) -> SharedRuntime {
        let machine = self.simulator.node(&format!("machine {id}"));
        self.running.insert(id, machine.clone());
        Arc::new(machine)
    }
}

/// Every other run has leases: they change who may vote.
fn config(seed: u64) -> Config {
    let mut config = Config::default();
    config.lease_reads = seed.is_multiple_of(2);
    config
}

async fn run_with_faults(seed: u64, simulator: Arc<SimRuntime>) -> Counts {
    let mut machines = Machines { simulator: simulator.clone(), running: BTreeMap::new() };
    let hall: SharedRuntime = Arc::new(simulator.node("hall"));
    let mut cluster = Cluster::new(hall.clone(), NODES, config(seed), Journal::default);
    let handles: Handles = Handles::default();
    for number in 1..=NODES {
        let id = NodeId(number);
        let runtime = machines.boot(id);
        cluster.start_node(id, runtime).await.expect("a node starts");
    }
    handles.lock().expect("no panic").clone_from(cluster.nodes());
    let history = Arc::new(Mutex::new(History::default()));
    let done = Arc::new(Mutex::new(0));
    for number in 1..=CLIENTS {
        let work = client(number, hall.clone(), handles.clone(), history.clone(), 150);
        let done = done.clone();
        let task = async move {
            work.await;
            *done.lock().expect("no panic") += 1;
        };
        hall.spawn("client", Place::Any, Box::pin(task));
    }

    let mut counts = Counts::default();
    let mut chance = fastrand::Rng::with_seed(seed);
    while *done.lock().expect("no panic") < CLIENTS {
        sleep(&*hall, Duration::from_millis(chance.u64(50..600))).await;
        match chance.u64(0..6) {
            0 | 1 => {
                counts.crashes += 1;
                let id = NodeId(chance.u64(1..=NODES));
                machines.running[&id].crash();
                cluster.forget_node(id);
                handles.lock().expect("no panic").remove(&id);
                sleep(&*hall, Duration::from_millis(chance.u64(0..1200))).await;
                let runtime = machines.boot(id);
                cluster.start_node(id, runtime).await.expect("a node starts again");
                handles.lock().expect("no panic").clone_from(cluster.nodes());
            }
            2 => {
                counts.cuts += 1;
                let (one, other) = (chance.u64(1..=NODES), chance.u64(1..=NODES));
                cluster.network().partition(NodeId(one), NodeId(other));
            }
            3 => {
                counts.cuts += 1;
                let (one, other) = (chance.u64(1..=NODES), chance.u64(1..=NODES));
                cluster.network().cut(NodeId(one), NodeId(other));
            }
            4 => {
                counts.noisy += 1;
                cluster.network().loss(0.05);
                cluster.network().duplicate(0.05);
                cluster.network().reorder(0.05);
                cluster.network().delay(Duration::ZERO..=Duration::from_millis(30));
            }
            _ => cluster.network().heal(),
        }
    }
    cluster.network().heal();
    let history = std::mem::take(&mut *history.lock().expect("no panic"));
    check(&cluster, &history, &mut counts).await;
    cluster.shutdown().await;
    counts
}

/// With everything healed, every node must come to the same values, and they must be what the clients were
/// told.
async fn check(cluster: &Cluster<Journal>, history: &History, counts: &mut Counts) {
    cluster.leader().await;
    let mut journals = Vec::new();
    for node in cluster.nodes().values() {
        let read = async || node.read(|journal| journal.values.clone()).await;
        let values = loop {
            match read().await {
                Ok(values) => break values,
                Err(_) => cluster.sleep(Duration::from_millis(50)).await,
            }
        };
        journals.push(values);
    }
    for journal in &journals {
        assert_eq!(
            journal, &journals[0],
            "state machine safety: all nodes applied the same values in the same order"
        );
    }
    let places: BTreeMap<u64, u64> =
        journals[0].iter().zip(1..).map(|(value, place)| (*value, place)).collect();
    assert_eq!(places.len(), journals[0].len(), "no value is applied twice");
    for (value, place) in &history.acknowledged {
        assert_eq!(places.get(value), Some(place), "acknowledged value {value}");
    }
    for value in &history.refused {
        assert!(!places.contains_key(value), "value {value} was refused, and yet applied");
    }
    counts.acknowledged = history.acknowledged.len();
    counts.unknown = history.unknown.len();
    counts.refused = history.refused.len();
    counts.reads = history.reads;
}

fn simulate(seed: u64) -> (Counts, u64) {
    let simulator = Arc::new(SimRuntime::new(seed));
    let counts = simulator.run_until(run_with_faults(seed, simulator.clone()));
    (counts, simulator.trace_hash())
}

#[test]
fn nothing_acknowledged_is_lost_or_applied_twice_whatever_breaks() {
    let seeds = crate::seeds(40);
    let mut total = Counts::default();
    for seed in 1..=seeds {
        let (counts, _) = simulate(seed);
        total.acknowledged += counts.acknowledged;
        total.unknown += counts.unknown;
        total.refused += counts.refused;
        total.reads += counts.reads;
        total.crashes += counts.crashes;
        total.cuts += counts.cuts;
        total.noisy += counts.noisy;
    }
    println!("{seeds} seeds: {total:?}");
    assert!(
        total.acknowledged as u64 > seeds * 250 && total.reads > seeds * 50,
        "too little was done to mean anything: {total:?}"
    );
    assert!(
        total.crashes > seeds * 5 && total.cuts > seeds * 5,
        "too little was broken to mean anything: {total:?}"
    );
}

#[test]
fn a_run_with_faults_is_the_same_run_for_the_same_seed() {
    for seed in [11, 12] {
        assert_eq!(simulate(seed).1, simulate(seed).1, "seed {seed}");
    }
    assert_ne!(simulate(11).1, simulate(12).1);
}
