//! One node and the others it meets: peers that answer late, twice or never, callers that misbehave, disks
//! and links that hang. The test plays everybody but the node.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use raft_actor::{
    config::Config,
    error::{ReadError, WriteError},
    message::{AppendEntries, Envelope, ForwardWrites, ForwardWritesReply, Message, ReadId, ReadIndexReply},
    node::{End, Node},
    runtime::{SharedRuntime, sim::SimRuntime, sleep, timeout},
    state_machine::{StateMachine, StateMachineError},
    storage::{LogStorage, StorageError},
    testkit::{cluster::Cluster, memory::MemoryLog, network::Network},
    transport::{Inbox, PeerLink, Transport, TransportError},
    types::{Entry, GroupId, HardState, LogId, LogIndex, LogWrite, NodeId, Origin, Payload, Term},
};

use super::hooked::Hooked;

/// Adds up what it is given; zero makes it panic, and its flush may take a while.
#[derive(Default)]
struct Sum {
    total: u64,
    flush: Option<(SharedRuntime, Duration)>,
}

#[async_trait]
impl StateMachine for Sum {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, value: u64) -> u64 {
        assert_ne!(value, 0, "nothing to add");
        self.total += value;
        self.total
    }

    async fn flush(&mut self, _: LogId) -> Result<(), StateMachineError> {
        if let Some((runtime, duration)) = &self.flush {
            sleep(runtime, *duration).await;
        }
        Ok(())
    }
}

/// A disk that hangs as soon as it is told to.
async fn hang_if(hangs: Arc<AtomicBool>) -> Result<(), StorageError> {
    if hangs.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Opens links that take what they are given and never let go.
struct HangingTransport;

#[async_trait]
impl Transport for HangingTransport {
    async fn connect(&self, _: NodeId, _: &str) -> Result<Box<dyn PeerLink>, TransportError> {
        Ok(Box::new(HangingTransport))
    }
}

#[async_trait]
impl PeerLink for HangingTransport {
    async fn send(&mut self, _: &mut Vec<Envelope>) -> Result<(), TransportError> {
        std::future::pending().await
    }
}

/// Keeps what the node says to node 2.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Message>>>);

impl Inbox for Ear {
    fn deliver(&self, batch: Vec<Envelope>) {
        let messages = batch.into_iter().map(|envelope| envelope.message);
        self.0.lock().expect("no panic under the lock").extend(messages);
    }
}

impl Ear {
    fn heard<T>(&self, pick: impl Fn(&Message) -> Option<T>) -> Vec<T> {
        self.0.lock().expect("no panic under the lock").iter().filter_map(pick).collect()
    }

    fn read_ids(&self) -> Vec<ReadId> {
        self.heard(|message| match message {
            Message::ReadIndex(request) => Some(request.id),
            _ => None,
        })
    }

    fn carried(&self) -> Vec<u64> {
        self.heard(|message| match message {
            Message::ForwardWrites(forward) => Some(forward.id),
            _ => None,
        })
    }
}

/// Node 1 of three; the test is node 2, its leader.
struct Scene {
    runtime: SharedRuntime,
    network: Network,
    log: MemoryLog,
    /// Whether its disk hangs.
    hangs: Arc<AtomicBool>,
    ear: Ear,
}

impl Scene {
    fn new(runtime: SharedRuntime) -> Scene {
        let network = Network::new(runtime.clone(), 1);
        let (log, hangs, ear) = Default::default();
        let scene = Scene { network, log, hangs, ear, runtime };
        scene.network.attach(NodeId(2), Arc::new(scene.ear.clone()));
        scene
    }

    async fn start(&self) -> Node<Sum> {
        self.start_over(self.network.transport(NodeId(1))).await
    }

    async fn start_over(&self, transport: impl Transport) -> Node<Sum> {
        Node::builder(NodeId(1), Sum::default())
            .members([1, 2, 3].map(|number| (NodeId(number), Network::address(NodeId(number)))))
            .storage(self.disk())
            .transport(transport)
            .runtime(self.runtime.clone())
            .start()
            .await
            .expect("a node starts")
    }

    async fn alone(&self) -> Node<Sum> {
        Node::builder(NodeId(1), Sum::default())
            .members([(NodeId(1), Network::address(NodeId(1)))])
            .storage(self.disk())
            .transport(self.network.transport(NodeId(1)))
            .runtime(self.runtime.clone())
            .start()
            .await
            .expect("a node starts")
    }

    fn disk(&self) -> impl LogStorage + use<> {
        let hangs = self.hangs.clone();
        Hooked { log: self.log.clone(), before_write: move || hang_if(hangs.clone()) }
    }

    async fn wait(&self, milliseconds: u64) {
        sleep(&self.runtime, Duration::from_millis(milliseconds)).await;
    }
}

fn say(node: &Node<Sum>, message: Message) {
    say_as(NodeId(2), node, message);
}

fn say_as(from: NodeId, node: &Node<Sum>, message: Message) {
    let (group, to, origin) = (GroupId(0), node.id(), Origin::default());
    node.inbox().deliver(vec![Envelope { group, from, to, origin, message }]);
}

/// Node 2 leads term 5, and has committed this entry after the first.
fn lead(node: &Node<Sum>, entries: Vec<Entry>, commit: u64) {
    say(node, Message::AppendEntries(append(Term(5), entries, commit)));
}

fn append(term: Term, entries: Vec<Entry>, commit: u64) -> AppendEntries {
    AppendEntries {
        term,
        prev_log_id: LogId::new(Term(1), LogIndex(1)),
        entries: entries.into(),
        leader_commit: LogIndex(commit),
        round: 0,
        held_index: LogIndex(0),
    }
}

fn entry(term: u64, index: u64, value: u8) -> Entry {
    Entry::new(LogId::new(Term(term), LogIndex(index)), Payload::Command(vec![value].into()))
}

fn simulate<F: Future<Output = ()>>(test: impl FnOnce(SharedRuntime) -> F) {
    let simulator = SimRuntime::new(5);
    let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
    simulator.run_until(test(runtime));
}

#[test]
fn an_answer_to_a_read_of_an_earlier_run_answers_none_of_this_one() {
    simulate(|runtime| async move {
        let scene = Scene::new(runtime);
        let mut asked = Vec::new();
        for run in 0..2 {
            let node = scene.start().await;
            lead(&node, vec![], 1);
            scene.wait(20).await;
            {
                let read = node.read(|sum| sum.total);
                let late = async {
                    scene.wait(20).await;
                    if let Some(id) = asked.first() {
                        // What the first run asked is answered now; the index is of that time.
                        let read_index = Some(LogIndex(1));
                        say(
                            &node,
                            Message::ReadIndexReply(ReadIndexReply { term: Term(5), id: *id, read_index }),
                        );
                    }
                };
                let soon = timeout(&scene.runtime, Duration::from_millis(100), read);
                let (answer, ()) = futures_util::future::join(soon, late).await;
                assert_eq!(answer, None, "run {run}: nobody has answered this read");
            }
            asked = scene.ear.read_ids();
            assert!(asked.len() > run, "the read was asked: {asked:?}");
            node.shutdown().await;
        }
    });
}

#[test]
fn a_write_that_could_not_leave_is_carried_once_there_is_a_way() {
    simulate(|runtime| async move {
        let scene = Scene::new(runtime);
        scene.network.detach(NodeId(2));
        let node = scene.start().await;
        let write = node.write(7);
        let others = async {
            scene.wait(20).await;
            // The node hears of a leader which it cannot reach itself.
            lead(&node, vec![], 1);
            scene.wait(100).await;
            assert_eq!(scene.ear.carried(), [0; 0]);
            scene.network.attach(NodeId(2), Arc::new(scene.ear.clone()));
            for _ in 0..40 {
                lead(&node, vec![], 1);
                scene.wait(50).await;
            }
            let carried = scene.ear.carried();
            assert_eq!(carried.len(), 1, "the write is carried, once");
            let output = Bytes::from(postcard::to_allocvec(&7_u64).expect("a number encodes"));
            let results = vec![Ok((LogId::new(Term(5), LogIndex(2)), output))];
            say(&node, Message::ForwardWritesReply(ForwardWritesReply { id: carried[0], results }));
        };
        let (outcome, ()) = futures_util::future::join(write, others).await;
        assert_eq!(outcome, Ok(7));
        node.shutdown().await;
    });
}

#[test]
fn a_write_carried_to_a_leader_that_is_gone_is_told_unknown_as_soon_as_another_leads() {
    simulate(|runtime| async move {
        let scene = Scene::new(runtime);
        let node = scene.start().await;
        lead(&node, vec![], 1);
        scene.wait(50).await;
        let write = timeout(&scene.runtime, Duration::from_secs(1), node.write(7));
        let others = async {
            scene.wait(50).await;
            assert_eq!(scene.ear.carried().len(), 1, "it was carried to node 2, who never answers");
            say_as(NodeId(3), &node, Message::AppendEntries(append(Term(6), vec![], 1)));
        };
        let (outcome, ()) = futures_util::future::join(write, others).await;
        assert_eq!(outcome, Some(Err(WriteError::Unknown)), "long before its time-out");
        node.shutdown().await;
    });
}

async fn three(runtime: &SharedRuntime, flush: Option<Duration>) -> Cluster<Sum> {
    let clock = runtime.clone();
    let new_state = move || Sum { total: 0, flush: flush.map(|flush| (clock.clone(), flush)) };
    let cluster = Cluster::start(runtime.clone(), 3, Config::default(), new_state).await;
    cluster.expect("three nodes start")
}

#[test]
fn what_a_node_carried_before_its_restart_is_not_done_again_after_it() {
    simulate(|runtime| async move {
        let cluster = three(&runtime, None).await;
        let leader = cluster.leader().await;
        let from = NodeId(leader.0 % 3 + 1);
        let node = cluster.node(leader);
        // Two runs of a node, and then the network delivers what the first one said once more.
        for (run, value) in [(7, 1), (9, 10), (7, 1), (9, 10), (7, 1)] {
            let commands = vec![Bytes::from(vec![value])];
            let message = Message::ForwardWrites(ForwardWrites { id: run << 32, commands });
            say_as(from, node, message);
            cluster.sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(node.read(|sum| sum.total).await, Ok(11));
        cluster.shutdown().await;
    });
}

#[test]
fn a_leader_that_ends_in_order_costs_the_clients_of_other_nodes_nothing() {
    simulate(|runtime| async move {
        let cluster = three(&runtime, Some(Duration::from_millis(40))).await;
        let leader = cluster.leader().await;
        let other = cluster.node(NodeId(leader.0 % 3 + 1));
        let writes = async {
            let mut outcomes = Vec::new();
            for _ in 0..60 {
                outcomes.push(other.write(1).await);
            }
            outcomes
        };
        let end = async {
            cluster.sleep(Duration::from_millis(500)).await;
            cluster.node(leader).shutdown().await;
        };
        let (outcomes, ()) = futures_util::future::join(writes, end).await;
        let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_err()).collect();
        assert!(failed.is_empty(), "{failed:?}");
        cluster.shutdown().await;
    });
}

#[test]
fn a_write_on_a_node_whose_disk_hangs_is_told_that_its_outcome_is_unknown() {
    simulate(|runtime| async move {
        let scene = Scene::new(runtime);
        let node = scene.alone().await;
        assert_eq!(node.write(1).await, Ok(1));
        scene.hangs.store(true, Ordering::Relaxed);
        let patience = Config::default().request_timeout * 2;
        let outcome = timeout(&scene.runtime, patience, node.write(2)).await;
        assert_eq!(outcome, Some(Err(WriteError::Unknown)));
    });
}

#[test]
fn the_status_of_a_node_that_has_stopped_is_told_even_while_its_disk_hangs() {
    simulate(|runtime| async move {
        let scene = Scene::new(runtime);
        let node = scene.start().await;
        lead(&node, vec![entry(5, 2, 0)], 1);
        scene.wait(20).await;
        scene.hangs.store(true, Ordering::Relaxed);
        // The state machine panics on the second entry; the third hangs on the disk.
        lead(&node, vec![entry(5, 2, 0), entry(5, 3, 1)], 2);
        scene.wait(100).await;
        let status = timeout(&scene.runtime, Duration::from_secs(1), node.status()).await;
        let failure = status.expect("an answer").failure.expect("a reason");
        assert!(failure.contains("nothing to add"), "{failure}");
    });
}

#[test]
fn a_reader_that_panics_harms_nobody_but_itself() {
    simulate(|runtime| async move {
        let scene = Scene::new(runtime.clone());
        let node = scene.alone().await;
        assert_eq!(node.write(1).await, Ok(1));
        let reader = node.clone();
        let outcome = Arc::new(Mutex::new(None));
        let told = outcome.clone();
        let task = async move {
            let answer: Result<u64, ReadError> = reader.read(|_| panic!("a careless reader")).await;
            *told.lock().expect("no panic") = Some(answer);
        };
        runtime.spawn("reader", raft_actor::runtime::Place::Any, Box::pin(task));
        scene.wait(100).await;
        assert_eq!(*outcome.lock().expect("no panic"), None, "it panics where it waits, and gets no answer");
        assert_eq!(node.read(|sum| sum.total).await, Ok(1), "the node goes on");
        node.shutdown().await;
    });
}

#[test]
fn no_actor_is_left_when_a_node_has_stopped_for_good() {
    let simulator = SimRuntime::new(5);
    let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
    simulator.run_until(async {
        let scene = Scene::new(runtime.clone());
        let node = scene.start().await;
        lead(&node, vec![entry(5, 2, 1)], 2);
        scene.wait(20).await;
        lead(&node, vec![entry(4, 2, 1)], 2);
        let reason = node.stopped().await.expect("a leader that contradicts itself stops the node");
        assert!(reason.contains("contradicts"), "{reason}");
        scene.wait(1000).await;
    });
    assert_eq!(simulator.tasks(), 0);
}

#[test]
fn little_is_carried_into_a_link_that_hangs_and_the_node_still_ends() {
    simulate(|runtime| async move {
        let scene = Scene::new(runtime);
        let node = scene.start_over(HangingTransport).await;
        lead(&node, vec![], 1);
        scene.wait(20).await;
        let heartbeats = async {
            for _ in 0..120 {
                lead(&node, vec![], 1);
                scene.wait(50).await;
            }
        };
        let writes = (0..1000_u64).map(async |number| {
            scene.wait(number).await;
            node.write(1).await
        });
        let writes = futures_util::future::join_all(writes);
        let (outcomes, ()) = futures_util::future::join(writes, heartbeats).await;
        let unknown = outcomes.iter().filter(|outcome| **outcome == Err(WriteError::Unknown)).count();
        let not_done =
            outcomes.iter().filter(|outcome| matches!(outcome, Err(WriteError::NotLeader { .. }))).count();
        assert_eq!(unknown + not_done, 1000);
        assert!(unknown < 350, "{unknown} writes wait for a link that takes nothing");
        let end = timeout(&scene.runtime, Duration::from_secs(5), node.shutdown()).await;
        assert_eq!(end, Some(End::InOrder), "a link that hangs holds nobody up");
    });
}

#[test]
fn reads_that_have_waited_for_a_leader_are_asked_together() {
    simulate(|runtime| async move {
        let scene = Scene::new(runtime);
        let node = scene.start().await;
        let reads = (0..200_u64).map(async |number| {
            scene.wait(number).await;
            node.read(|sum| sum.total).await
        });
        let leader = async {
            scene.wait(250).await;
            lead(&node, vec![], 1);
            scene.wait(20).await;
            let asked = scene.ear.read_ids();
            assert!((1..20).contains(&asked.len()), "{} questions for 200 reads", asked.len());
            for id in asked {
                let read_index = Some(LogIndex(1));
                say(&node, Message::ReadIndexReply(ReadIndexReply { term: Term(5), id, read_index }));
            }
        };
        let (answers, ()) = futures_util::future::join(futures_util::future::join_all(reads), leader).await;
        assert!(answers.iter().all(|answer| *answer == Ok(0)), "each of them is answered");
        node.shutdown().await;
    });
}

#[test]
fn a_log_that_is_newer_than_its_term_and_vote_is_refused() {
    simulate(|runtime| async move {
        let scene = Scene::new(runtime);
        let mut log = scene.log.clone();
        let entries = vec![entry(5, 1, 1)].into();
        let hard_state = Some(HardState { term: Term(3), voted_for: Some(NodeId(2)), fence: None });
        let write = LogWrite { sequence: 1, hard_state, truncate_from: None, entries };
        log.write(&[write]).await.expect("memory takes it");
        let start = Node::builder(NodeId(1), Sum::default())
            .members([(NodeId(1), Network::address(NodeId(1)))])
            .storage(log)
            .transport(scene.network.transport(NodeId(1)))
            .runtime(scene.runtime.clone())
            .start();
        let error = start.await.expect_err("a vote may be missing").to_string();
        assert!(error.contains("1@5") && error.contains("term 3"), "{error}");
    });
}
