//! The in-memory network: the suite that holds every transport to its contract, then its faults.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use raft_actor::{
    message::{Envelope, Message, ReadId, ReadIndex},
    runtime::{SharedRuntime, SimRuntime, TokioRuntime, sleep},
    testkit::{
        network::Network,
        suite::transport::{self, Collector, TransportFixture},
    },
    transport::{Inbox, PeerLink, Transport},
    types::{GroupId, NodeId, Origin, Term},
};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);

struct InMemory {
    runtime: SharedRuntime,
    network: Network,
}

impl InMemory {
    fn new(runtime: SharedRuntime) -> InMemory {
        let network = Network::new(runtime.clone(), 1);
        InMemory { runtime, network }
    }
}

#[async_trait]
impl TransportFixture for InMemory {
    fn runtime(&self) -> SharedRuntime {
        self.runtime.clone()
    }

    fn transport(&self, node: NodeId) -> Box<dyn Transport> {
        Box::new(self.network.transport(node))
    }

    async fn listen(&mut self, node: NodeId, inbox: Arc<dyn Inbox>) -> String {
        self.network.attach(node, inbox);
        Network::address(node)
    }

    async fn stop(&mut self, node: NodeId) {
        self.network.detach(node);
    }

    fn nowhere(&self) -> String {
        "nowhere".to_owned()
    }

    fn connect_deadline(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[test]
fn the_network_keeps_the_contract_of_transports_on_the_simulator() {
    let simulator = SimRuntime::new(1);
    let mut fixture = InMemory::new(Arc::new(simulator.node("network")));
    simulator.run_until(transport::all(&mut fixture));
}

#[test]
fn the_network_keeps_the_contract_of_transports_with_delays() {
    let simulator = SimRuntime::new(2);
    let mut fixture = InMemory::new(Arc::new(simulator.node("network")));
    fixture.network.delay(Duration::from_millis(1)..=Duration::from_millis(20));
    simulator.run_until(transport::all(&mut fixture));
}

#[tokio::test]
async fn the_network_keeps_the_contract_of_transports_on_tokio() {
    transport::all(&mut InMemory::new(Arc::new(TokioRuntime::current()))).await;
}

/// Two nodes on a simulated network, and a link from the first to the second.
struct Pair {
    simulator: SimRuntime,
    network: Network,
    inbox: Arc<Collector>,
    link: Box<dyn PeerLink>,
}

fn pair(seed: u64) -> Pair {
    let simulator = SimRuntime::new(seed);
    let network = Network::new(Arc::new(simulator.node("network")), seed);
    let inbox = Collector::new();
    network.attach(TWO, inbox.clone());
    let transport = network.transport(ONE);
    let link = simulator.run_until(transport.connect(TWO, "")).expect("node 2 is attached");
    Pair { simulator, network, inbox, link }
}

impl Pair {
    fn send(&mut self, numbers: impl IntoIterator<Item = u64>) -> bool {
        let mut batch = numbers.into_iter().map(numbered).collect();
        self.simulator.run_until(self.link.send(&mut batch)).is_ok()
    }

    /// What has arrived after everything on its way had its time.
    fn arrived(&self) -> Vec<u64> {
        self.simulator.run_for(Duration::from_secs(1));
        let envelopes = self.simulator.run_until(self.inbox.take(0));
        envelopes.iter().map(number).collect()
    }

    fn reconnect(&mut self) -> bool {
        let transport = self.network.transport(ONE);
        match self.simulator.run_until(transport.connect(TWO, "")) {
            Ok(link) => self.link = link,
            Err(_) => return false,
        }
        true
    }
}

fn numbered(number: u64) -> Envelope {
    let message = Message::ReadIndex(ReadIndex { term: Term(1), id: ReadId(number) });
    Envelope { group: GroupId(0), from: ONE, to: TWO, origin: Origin::default(), message }
}

fn number(envelope: &Envelope) -> u64 {
    match envelope.message {
        Message::ReadIndex(ReadIndex { id, .. }) => id.0,
        ref other => panic!("nobody sent {other:?}"),
    }
}

#[test]
fn without_faults_a_batch_has_arrived_when_send_returns() {
    let mut pair = pair(1);
    assert!(pair.send(0..10));
    assert_eq!(pair.inbox.len(), 10);
}

#[test]
fn a_cut_swallows_one_batch_then_the_link_is_broken_and_healing_lets_a_new_one_through() {
    let mut pair = pair(1);
    pair.network.cut(ONE, TWO);
    assert!(pair.send([1]), "a sender does not hear of a cut at once");
    assert!(!pair.send([2]));
    assert!(!pair.reconnect());
    pair.network.heal();
    assert!(!pair.send([3]), "a broken link stays broken");
    assert!(pair.reconnect());
    assert!(pair.send([4]));
    assert_eq!(pair.arrived(), [4]);
}

#[test]
fn a_cut_is_one_way_and_a_partition_both() {
    let mut pair = pair(1);
    pair.network.cut(TWO, ONE);
    assert!(pair.send([1]));
    assert_eq!(pair.arrived(), [1]);
    pair.network.partition(TWO, ONE);
    assert!(pair.send([2]));
    assert_eq!(pair.arrived(), Vec::<u64>::new());
}

#[test]
fn what_is_on_its_way_when_the_network_is_cut_is_lost() {
    let mut pair = pair(1);
    let delay = Duration::from_millis(10);
    pair.network.delay(delay..=delay);
    assert!(pair.send([1]));
    pair.network.cut(ONE, TWO);
    assert_eq!(pair.arrived(), Vec::<u64>::new());
}

#[test]
fn delays_keep_the_order_of_a_link_even_when_they_end() {
    let mut pair = pair(3);
    pair.network.delay(Duration::from_millis(1)..=Duration::from_millis(50));
    for number in 0..50 {
        assert!(pair.send([number]));
    }
    assert_eq!(pair.inbox.len(), 0, "nothing arrives before its time");
    pair.network.delay(Duration::ZERO..=Duration::ZERO);
    assert!(pair.send([50]));
    assert_eq!(pair.arrived(), (0..=50).collect::<Vec<u64>>());
}

#[test]
fn loss_duplication_and_reordering_do_what_their_names_say() {
    let mut lossy = pair(4);
    lossy.network.loss(0.5);
    assert!(lossy.send(0..1000));
    let left = lossy.arrived();
    assert!((400..600).contains(&left.len()), "{} of 1,000 are left", left.len());
    assert!(left.is_sorted(), "loss alone keeps the order");

    let mut doubling = pair(5);
    doubling.network.duplicate(0.5);
    assert!(doubling.send(0..1000));
    let mut all = doubling.arrived();
    assert!((1400..1600).contains(&all.len()), "{} of 1,000 have arrived", all.len());
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 1000, "none is missing");

    let mut shuffling = pair(6);
    shuffling.network.reorder(0.1);
    for number in 0..1000 {
        assert!(shuffling.send([number]));
    }
    let mut all = shuffling.arrived();
    assert!(!all.is_sorted());
    all.sort_unstable();
    assert_eq!(all, (0..1000).collect::<Vec<u64>>(), "each arrives once");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_another() {
    let run = |seed| {
        let mut pair = pair(seed);
        pair.network.delay(Duration::from_millis(1)..=Duration::from_millis(5));
        pair.network.loss(0.1);
        pair.network.duplicate(0.1);
        pair.network.reorder(0.1);
        for number in 0..200 {
            assert!(pair.send([number]));
            pair.simulator.run_until(async {
                sleep(&pair.simulator.node("clock"), Duration::from_micros(100)).await;
            });
        }
        (pair.arrived(), pair.simulator.trace_hash())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}
