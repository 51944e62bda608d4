//! Clients that send again what they do not know the outcome of, while machines crash and links are cut: with
//! sessions each value is applied once; without, some are applied twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use raft_actor::{
    client::{
        Client, ClientConfig, Door,
        session::{SessionCommand, Sessions},
    },
    config::Config,
    error::WriteError,
    node::Node,
    runtime::{
        Place, Runtime, SharedRuntime,
        sim::{SimNode, SimRuntime},
        sleep,
    },
    testkit::cluster::Cluster,
    types::{LogIndex, NodeId},
};

use crate::journal::Journal;

const NODES: u64 = 3;
const CLIENTS: u64 = 4;
const ROUNDS: u64 = 100;

type Machine = Sessions<Journal>;

/// What the clients share with each other and with the run.
#[derive(Default)]
struct Hall {
    nodes: BTreeMap<NodeId, Node<Machine>>,
    done: u64,
    /// Values that were answered, and the place that the answer gave them.
    answered: BTreeMap<u64, u64>,
    /// Values that were sent, and had no answer in the end.
    unanswered: BTreeSet<u64>,
    sent_again: u64,
}

type Shared = Arc<Mutex<Hall>>;

/// A way to whichever of the nodes runs now: a real client would find it by an address.
struct Address {
    id: NodeId,
    hall: Shared,
}

#[async_trait::async_trait]
impl Door<Journal> for Address {
    fn node(&self) -> NodeId {
        self.id
    }

    async fn write(&self, command: SessionCommand<u64>) -> raft_actor::client::Answer<Journal> {
        let node = self.hall.lock().expect("no panic").nodes.get(&self.id).cloned();
        let Some(node) = node else { return Err(WriteError::Stopped) };
        let answer = node.write(command).await;
        if answer == Err(WriteError::Unknown) {
            self.hall.lock().expect("no panic").sent_again += 1;
        }
        answer
    }
}

async fn write_in_session(number: u64, runtime: SharedRuntime, hall: Shared) {
    let door = |id| Arc::new(Address { id: NodeId(id), hall: hall.clone() }) as Arc<dyn Door<Journal>>;
    let doors: Vec<_> = (1..=NODES).map(|id| door((id + number) % NODES + 1)).collect();
    let config = ClientConfig::default().with_deadline(Duration::from_secs(60));
    let client = Client::open_through(runtime.clone(), doors, config).await.expect("a session is opened");
    for round in 0..ROUNDS {
        let value = number * 1_000_000 + round;
        let outcome = client.write(value).await;
        {
            let mut hall = hall.lock().expect("no panic");
            match outcome {
                Ok(place) => drop(hall.answered.insert(value, place)),
                Err(_) => drop(hall.unanswered.insert(value)),
            }
        }
        sleep(&*runtime, Duration::from_millis(5 + runtime.random() % 40)).await;
    }
    hall.lock().expect("no panic").done += 1;
}

/// The same, without a session: what is unknown is sent again all the same.
async fn write_plainly(number: u64, runtime: SharedRuntime, hall: Shared) {
    for round in 0..ROUNDS {
        let value = number * 1_000_000 + round;
        loop {
            let door = Address { id: NodeId(runtime.random() % NODES + 1), hall: hall.clone() };
            if let Ok(_output) = door.write(SessionCommand::Plain(value)).await {
                break;
            }
            sleep(&*runtime, Duration::from_millis(5)).await;
        }
        sleep(&*runtime, Duration::from_millis(5 + runtime.random() % 40)).await;
    }
    hall.lock().expect("no panic").done += 1;
}

#[derive(Default, Debug)]
struct Counts {
    written: u64,
    unanswered: u64,
    sent_again: u64,
    doubled: u64,
    crashes: u64,
    cuts: u64,
    /// Nodes whose log was compacted.
    compacted: u64,
}

fn boot(simulator: &SimRuntime, machines: &mut BTreeMap<NodeId, SimNode>, id: NodeId) -> SharedRuntime {
    let machine = simulator.node(&format!("machine {id}"));
    machines.insert(id, machine.clone());
    Arc::new(machine)
}

/// The log is compacted all the while, so who was away gets sessions and values by a snapshot.
fn config() -> Config {
    let mut config = Config::default();
    config.snapshot_entries = 30;
    config.trailing_entries = 5;
    config.snapshot_chunk_bytes = 512;
    config
}

async fn run(seed: u64, simulator: Arc<SimRuntime>, with_sessions: bool) -> Counts {
    let runtime: SharedRuntime = Arc::new(simulator.node("hall"));
    let new_state = || Sessions::new(Journal::default());
    let mut cluster = Cluster::new(runtime.clone(), NODES, config(), new_state);
    let mut machines = BTreeMap::new();
    for id in (1..=NODES).map(NodeId) {
        let machine = boot(&simulator, &mut machines, id);
        cluster.start_node(id, machine).await.expect("a node starts");
    }
    let hall = Shared::default();
    hall.lock().expect("no panic").nodes.clone_from(cluster.nodes());
    for number in 1..=CLIENTS {
        let (runtime, hall) = (runtime.clone(), hall.clone());
        let place = Place::Any;
        if with_sessions {
            let work = write_in_session(number, runtime.clone(), hall);
            runtime.spawn("client", place, Box::pin(work));
        } else {
            runtime.clone().spawn("client", place, Box::pin(write_plainly(number, runtime, hall)));
        }
    }
    let mut counts = Counts::default();
    let mut chance = fastrand::Rng::with_seed(seed);
    while hall.lock().expect("no panic").done < CLIENTS {
        sleep(&*runtime, Duration::from_millis(chance.u64(50..500))).await;
        match chance.u64(0..5) {
            0 | 1 => {
                counts.crashes += 1;
                let id = NodeId(chance.u64(1..=NODES));
                machines[&id].crash();
                cluster.forget_node(id);
                hall.lock().expect("no panic").nodes.remove(&id);
                sleep(&*runtime, Duration::from_millis(chance.u64(0..1000))).await;
                let machine = boot(&simulator, &mut machines, id);
                cluster.start_node(id, machine).await.expect("a node starts again");
                hall.lock().expect("no panic").nodes.clone_from(cluster.nodes());
            }
            2 => {
                counts.cuts += 1;
                let (one, other) = (chance.u64(1..=NODES), chance.u64(1..=NODES));
                cluster.network().partition(NodeId(one), NodeId(other));
            }
            3 => {
                cluster.network().loss(0.03);
                cluster.network().delay(Duration::ZERO..=Duration::from_millis(30));
            }
            _ => cluster.network().heal(),
        }
    }
    cluster.network().heal();
    let hall = std::mem::take(&mut *hall.lock().expect("no panic"));
    check(&cluster, &hall, with_sessions, &mut counts).await;
    cluster.shutdown().await;
    counts
}

async fn check(cluster: &Cluster<Machine>, hall: &Hall, with_sessions: bool, counts: &mut Counts) {
    cluster.leader().await;
    // What was sent again may still be on its way; between two looks it would make a difference.
    cluster.sleep(Duration::from_secs(10)).await;
    let mut copies = Vec::new();
    for node in cluster.nodes().values() {
        loop {
            let look = |sessions: &Machine| (sessions.machine().clone(), sessions.table().clone());
            match node.read(look).await {
                Ok(copy) => break copies.push(copy),
                Err(_) => cluster.sleep(Duration::from_millis(50)).await,
            }
        }
    }
    for copy in &copies {
        assert_eq!(copy, &copies[0], "every node has the same values and the same sessions");
    }
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    copies[0].0.values.iter().for_each(|value| *times.entry(*value).or_default() += 1);
    counts.doubled = times.values().filter(|times| **times > 1).count() as u64;
    if with_sessions {
        assert_eq!(counts.doubled, 0, "no value is applied twice");
        for (value, place) in &hall.answered {
            assert_eq!(copies[0].0.values.get(*place as usize - 1), Some(value), "as it was answered");
        }
    }
    for node in cluster.nodes().values() {
        counts.compacted += u64::from(node.status().await.first_index > LogIndex(1));
    }
    counts.written = hall.answered.len() as u64;
    counts.unanswered = hall.unanswered.len() as u64;
    counts.sent_again = hall.sent_again;
}

fn total(seeds: std::ops::RangeInclusive<u64>, with_sessions: bool) -> Counts {
    let mut total = Counts::default();
    for seed in seeds {
        let simulator = Arc::new(SimRuntime::new(seed));
        let counts = simulator.run_until(run(seed, simulator.clone(), with_sessions));
        total.written += counts.written;
        total.unanswered += counts.unanswered;
        total.sent_again += counts.sent_again;
        total.doubled += counts.doubled;
        total.crashes += counts.crashes;
        total.cuts += counts.cuts;
        total.compacted += counts.compacted;
    }
    total
}

#[test]
fn in_a_session_what_is_sent_again_is_applied_once_whatever_breaks() {
    let total = total(1..=20, true);
    println!("20 seeds, with sessions: {total:?}");
    assert!(total.sent_again > 50, "too little was sent again to mean anything: {total:?}");
    assert!(total.crashes > 60 && total.cuts > 30, "too little was broken to mean anything: {total:?}");
    assert_eq!(total.compacted, 20 * NODES, "every log was compacted");
    assert_eq!(total.written + total.unanswered, 20 * CLIENTS * ROUNDS);
    assert_eq!(total.unanswered, 0, "a minute is enough for every write");
}

#[test]
fn without_a_session_what_is_sent_again_is_sometimes_applied_twice() {
    let total = total(1..=20, false);
    println!("20 seeds, without sessions: {total:?}");
    assert!(total.doubled > 0, "the faults of this test cannot double anything: {total:?}");
}
