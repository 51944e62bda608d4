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
    membership::{ChangeError, MembershipChange},
    node::Node,
    runtime::{Place, Runtime, SharedRuntime, sim::SimRuntime, sleep},
    testkit::cluster::Cluster,
    types::NodeId,
};

use super::{exactly_once::assert_exactly_once, journal::Journal, machines::Machines};

const NODES: u64 = 3;
const CLIENTS: u64 = 4;

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

/// Has members come and go, until the clients are done: asks any node, for up to three changes at once.
async fn operator(
    nodes: u64,
    runtime: SharedRuntime,
    handles: Handles,
    done: Arc<Mutex<u64>>,
    counts: Arc<Mutex<Counts>>,
) {
    while *done.lock().expect("no panic") < CLIENTS {
        sleep(&*runtime, Duration::from_millis(runtime.random() % 200)).await;
        let asked = {
            let handles = handles.lock().expect("no panic");
            handles.values().nth(runtime.random() as usize % handles.len().max(1)).cloned()
        };
        let Some(asked) = asked else { continue };
        let status = asked.status().await;
        let mut change = MembershipChange::new();
        for _ in 0..[1, 1, 2, 3][runtime.random() as usize % 4] {
            let node = NodeId(1 + runtime.random() % nodes);
            let members = &status.membership;
            change = match (members.voters().contains(&node), runtime.random() % 3) {
                _ if !members.contains(node) => change.add_learner(node, format!("node {}", node.0)),
                (false, 0) | (true, 1) => change.remove(node),
                (true, 2) => change.demote(node),
                _ => change.promote(node),
            };
        }
        let outcome = asked.change_membership(change.clone()).await;
        let mut counts = counts.lock().expect("no panic");
        match outcome {
            Ok(_) => {
                let after = status.membership.changed_by(&change);
                let is_without = |leader| after.is_ok_and(|after| !after.voters().contains(&leader));
                counts.changes += 1;
                counts.leaders_removed += u64::from(status.leader.is_some_and(is_without));
            }
            Err(ChangeError::Unknown) => counts.unknown_changes += 1,
            Err(_) => counts.refused_changes += 1,
        }
    }
}

/// What a run has seen, to be printed, and to be found wanting.
#[derive(Default, Debug)]
pub(crate) struct Counts {
    acknowledged: usize,
    unknown: usize,
    refused: usize,
    reads: u64,
    crashes: u64,
    cuts: u64,
    noisy: u64,
    changes: u64,
    refused_changes: u64,
    unknown_changes: u64,
    leaders_removed: u64,
}

impl Counts {
    fn add_changes(&mut self, others: &Counts) {
        self.changes += others.changes;
        self.refused_changes += others.refused_changes;
        self.unknown_changes += others.unknown_changes;
        self.leaders_removed += others.leaders_removed;
    }
}

/// Every other run has leases: they change who may vote.
fn config(seed: u64) -> Config {
    let mut config = Config::default();
    config.lease_reads = seed.is_multiple_of(2);
    config
}

fn start_client(
    number: u64,
    hall: &SharedRuntime,
    handles: &Handles,
    history: &Arc<Mutex<History>>,
    done: &Arc<Mutex<u64>>,
) {
    let work = client(number, hall.clone(), handles.clone(), history.clone(), 150);
    let done = done.clone();
    let task = async move {
        work.await;
        *done.lock().expect("no panic") += 1;
    };
    hall.spawn("client", Place::Any, Box::pin(task));
}

/// Nodes from `NODES + 1` to `nodes` wait to join, and members come and go.
async fn run_with_faults(seed: u64, nodes: u64, simulator: Arc<SimRuntime>) -> Counts {
    let mut machines = Machines::new(&simulator);
    let hall: SharedRuntime = Arc::new(simulator.node("hall"));
    let mut cluster = Cluster::new(hall.clone(), NODES, config(seed), Journal::default);
    let handles: Handles = Handles::default();
    for number in 1..=nodes {
        let id = NodeId(number);
        let runtime = machines.boot(id);
        cluster.start_node(id, runtime).await.expect("a node starts");
    }
    handles.lock().expect("no panic").clone_from(cluster.nodes());
    let history = Arc::new(Mutex::new(History::default()));
    let done = Arc::new(Mutex::new(0));
    for number in 1..=CLIENTS {
        start_client(number, &hall, &handles, &history, &done);
    }

    let changes = Arc::new(Mutex::new(Counts::default()));
    if nodes > NODES {
        let work = operator(nodes, hall.clone(), handles.clone(), done.clone(), changes.clone());
        hall.spawn("operator", Place::Any, Box::pin(work));
    }

    let mut counts = Counts::default();
    let mut chance = fastrand::Rng::with_seed(seed);
    while *done.lock().expect("no panic") < CLIENTS {
        sleep(&*hall, Duration::from_millis(chance.u64(50..600))).await;
        match chance.u64(0..6) {
            0 | 1 => {
                counts.crashes += 1;
                let id = NodeId(chance.u64(1..=nodes));
                machines.crash(id);
                cluster.forget_node(id);
                handles.lock().expect("no panic").remove(&id);
                sleep(&*hall, Duration::from_millis(chance.u64(0..1200))).await;
                let runtime = machines.boot(id);
                cluster.start_node(id, runtime).await.expect("a node starts again");
                handles.lock().expect("no panic").clone_from(cluster.nodes());
            }
            2 => {
                counts.cuts += 1;
                let (one, other) = (chance.u64(1..=nodes), chance.u64(1..=nodes));
                cluster.network().partition(NodeId(one), NodeId(other));
            }
            3 => {
                counts.cuts += 1;
                let (one, other) = (chance.u64(1..=nodes), chance.u64(1..=nodes));
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
    counts.add_changes(&changes.lock().expect("no panic"));
    let history = std::mem::take(&mut *history.lock().expect("no panic"));
    check(&cluster, &history, &mut counts).await;
    cluster.shutdown().await;
    counts
}

/// With everything healed, every node must come to the same values, and they must be what the clients were
/// told.
async fn check(cluster: &Cluster<Journal>, history: &History, counts: &mut Counts) {
    cluster.leader().await;
    // The clients are done, and so is the one who changes the members: soon there is no change under way.
    cluster.sleep(Duration::from_secs(10)).await;
    let membership = cluster.node(cluster.leader().await).membership().await;
    assert!(!membership.is_joint(), "a change is half made: {membership:?}");
    let mut journals = Vec::new();
    for node in membership.nodes().map(|node| cluster.node(node)) {
        let read = async || node.read(|journal| journal.values.clone()).await;
        let values = loop {
            match read().await {
                Ok(values) => break values,
                Err(_) => cluster.sleep(Duration::from_millis(50)).await,
            }
        };
        journals.push(values);
    }
    assert_exactly_once(&journals, &history.acknowledged, &history.refused);
    counts.acknowledged = history.acknowledged.len();
    counts.unknown = history.unknown.len();
    counts.refused = history.refused.len();
    counts.reads = history.reads;
}

/// One run, with as many nodes; those above the first three wait to join.
pub(crate) fn simulate(seed: u64, nodes: u64) -> (Counts, u64) {
    let simulator = Arc::new(SimRuntime::new(seed));
    let counts = simulator.run_until(run_with_faults(seed, nodes, simulator.clone()));
    (counts, simulator.trace_hash())
}

fn simulate_all(seeds: u64, nodes: u64) -> Counts {
    let mut total = Counts::default();
    for seed in 1..=seeds {
        let (counts, _) = simulate(seed, nodes);
        total.acknowledged += counts.acknowledged;
        total.unknown += counts.unknown;
        total.refused += counts.refused;
        total.reads += counts.reads;
        total.crashes += counts.crashes;
        total.cuts += counts.cuts;
        total.noisy += counts.noisy;
        total.add_changes(&counts);
    }
    println!("{seeds} seeds: {total:?}");
    total
}

#[test]
fn nothing_acknowledged_is_lost_or_applied_twice_whatever_breaks() {
    let seeds = crate::seeds(40);
    let total = simulate_all(seeds, NODES);
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
fn nothing_acknowledged_is_lost_or_applied_twice_while_members_come_and_go() {
    let total = simulate_all(crate::seeds(20), NODES + 2);
    assert!(total.acknowledged > 5_000 && total.reads > 1_000, "too little was done: {total:?}");
    assert!(total.changes > 300 && total.leaders_removed > 20, "too little was changed: {total:?}");
    assert!(total.crashes > 100 && total.cuts > 100, "too little was broken: {total:?}");
}

#[test]
fn a_run_with_faults_is_the_same_run_for_the_same_seed() {
    for seed in [11, 12] {
        assert_eq!(simulate(seed, NODES).1, simulate(seed, NODES).1, "seed {seed}");
        assert_eq!(simulate(seed, NODES + 2).1, simulate(seed, NODES + 2).1, "seed {seed}");
    }
    assert_ne!(simulate(11, NODES).1, simulate(12, NODES).1);
}
