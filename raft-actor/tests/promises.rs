//! What a node says, and what it lets go of, rests on work that is done: held against disks and leaders that
//! take their time.

use std::{
    io,
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
    error::WriteError,
    message::{AppendEntries, Envelope, ForwardWrites, Message, ReadId, ReadIndexReply},
    node::Node,
    runtime::{
        Place, SharedRuntime,
        sim::{SimNode, SimRuntime},
        sleep,
    },
    storage::{SnapshotStorage, StorageError},
    testkit::{
        cluster::Cluster,
        memory::{MemoryLog, MemorySnapshots},
        network::Network,
    },
    transport::Inbox,
    types::{Entry, GroupId, LogId, LogIndex, NodeId, Origin, Payload, SnapshotMeta, SnapshotView, Term},
};

use super::{hooked::Hooked, sum::Sum};

fn letter(from: NodeId, to: NodeId, message: Message) -> Envelope {
    Envelope { group: GroupId(0), from, to, origin: Origin::default(), message }
}

/// While it is shut, whoever wants to pass waits.
#[derive(Clone)]
struct Gate {
    shut: Arc<AtomicBool>,
    runtime: SharedRuntime,
}

impl Gate {
    fn new(runtime: &SharedRuntime) -> Gate {
        Gate { shut: Arc::default(), runtime: runtime.clone() }
    }

    fn shut(&self, shut: bool) {
        self.shut.store(shut, Ordering::Relaxed);
    }

    async fn pass(&self) {
        while self.shut.load(Ordering::Relaxed) {
            sleep(&self.runtime, Duration::from_millis(1)).await;
        }
    }
}

/// Before a write to the log.
async fn pass(gate: Gate) -> Result<(), StorageError> {
    gate.pass().await;
    Ok(())
}

/// Snapshots in memory, behind a gate for what is written.
struct Gated {
    inner: MemorySnapshots,
    gate: Gate,
}

#[async_trait]
impl SnapshotStorage for Gated {
    async fn recover(&self) -> Result<Option<SnapshotMeta>, StorageError> {
        self.inner.recover().await
    }

    async fn write(&self, snapshot: SnapshotMeta, view: SnapshotView) -> Result<SnapshotMeta, StorageError> {
        self.gate.pass().await;
        self.inner.write(snapshot, view).await
    }

    async fn read_chunk(&self, id: u64, offset: u64, bytes_max: u64) -> Result<Option<Bytes>, StorageError> {
        self.inner.read_chunk(id, offset, bytes_max).await
    }

    async fn receive_chunk(
        &self,
        snapshot: &SnapshotMeta,
        offset: u64,
        data: Bytes,
    ) -> Result<u64, StorageError> {
        self.inner.receive_chunk(snapshot, offset, data).await
    }

    async fn finish_receive(&self, snapshot: &SnapshotMeta) -> Result<(), StorageError> {
        self.inner.finish_receive(snapshot).await
    }

    async fn open(&self, id: u64) -> Result<Box<dyn io::Read + Send>, StorageError> {
        self.inner.open(id).await
    }

    async fn retain(&self, ids: &[u64]) -> Result<(), StorageError> {
        self.inner.retain(ids).await
    }
}

/// Node 1, what it has on its disks, and what it says to node 2, which the test plays.
struct Scene {
    hall: SharedRuntime,
    network: Network,
    log: MemoryLog,
    snapshots: MemorySnapshots,
    log_gate: Gate,
    snapshot_gate: Gate,
    heard: Arc<Mutex<Vec<Message>>>,
}

struct Ear(Arc<Mutex<Vec<Message>>>);

impl Inbox for Ear {
    fn deliver(&self, batch: Vec<Envelope>) {
        let messages = batch.into_iter().map(|envelope| envelope.message);
        self.0.lock().expect("no panic under the lock").extend(messages);
    }
}

impl Scene {
    fn new(hall: SharedRuntime) -> Scene {
        let network = Network::new(hall.clone(), 1);
        let heard: Arc<Mutex<Vec<Message>>> = Arc::default();
        network.attach(NodeId(2), Arc::new(Ear(heard.clone())));
        Scene {
            network,
            log: MemoryLog::new(),
            snapshots: MemorySnapshots::new(),
            log_gate: Gate::new(&hall),
            snapshot_gate: Gate::new(&hall),
            heard,
            hall,
        }
    }

    /// Node 1, among so many.
    async fn start(&self, machine: SimNode, members: u64) -> Node<Sum> {
        let mut config = Config::default();
        config.trailing_entries = 0;
        let gate = self.log_gate.clone();
        Node::builder(NodeId(1), Sum::default())
            .members((1..=members).map(|number| (NodeId(number), Network::address(NodeId(number)))))
            .storage(Hooked { log: self.log.clone(), before_write: move || pass(gate.clone()) })
            .snapshots(Gated { inner: self.snapshots.clone(), gate: self.snapshot_gate.clone() })
            .transport(self.network.transport(NodeId(1)))
            .runtime(Arc::new(machine))
            .config(config)
            .start()
            .await
            .expect("a node starts")
    }

    async fn wait(&self, milliseconds: u64) {
        sleep(&self.hall, Duration::from_millis(milliseconds)).await;
    }

    /// Does something beside the test, and keeps what comes of it.
    fn begin<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Arc<Mutex<Option<T>>> {
        let done: Arc<Mutex<Option<T>>> = Arc::default();
        let told = done.clone();
        let task = async move {
            let outcome = work.await;
            *told.lock().expect("no panic under the lock") = Some(outcome);
        };
        self.hall.spawn("client", Place::Any, Box::pin(task));
        done
    }

    fn read_id(&self) -> Option<ReadId> {
        self.heard.lock().expect("no panic under the lock").iter().find_map(|message| match message {
            Message::ReadIndex(request) => Some(request.id),
            _ => None,
        })
    }
}

fn taken<T>(outcome: &Mutex<Option<T>>) -> Option<T> {
    outcome.lock().expect("no panic under the lock").take()
}

/// Runs a test of a scene; it is given what makes machines.
fn play<F: Future<Output = ()>>(test: impl FnOnce(Scene, Arc<SimRuntime>) -> F) {
    let simulator = Arc::new(SimRuntime::new(5));
    let hall: SharedRuntime = Arc::new(simulator.node("hall"));
    simulator.run_until(test(Scene::new(hall), simulator.clone()));
}

#[cfg_attr(test, test)]
pub(crate) fn no_write_is_answered_before_it_is_flushed() {
    play(async |scene, simulator| {
        let node = scene.start(simulator.node("machine"), 1).await;
        assert_eq!(node.write(1).await, Ok(1));
        scene.log_gate.shut(true);
        let write = scene.begin(async move { node.write(2).await });
        scene.wait(300).await;
        assert_eq!(taken(&write), None, "its flush is not over");
        scene.log_gate.shut(false);
        scene.wait(300).await;
        assert_eq!(taken(&write), Some(Ok(3)));
    });
}

#[cfg_attr(test, test)]
pub(crate) fn nothing_is_purged_before_the_snapshot_that_covers_it_is_durable() {
    play(async |scene, simulator| {
        let node = scene.start(simulator.node("machine"), 1).await;
        for _ in 0..10 {
            assert!(node.write(1).await.is_ok());
        }
        scene.snapshot_gate.shut(true);
        let snapshot = scene.begin(async move { node.snapshot().await });
        scene.wait(300).await;
        assert_eq!(taken(&snapshot), None, "it is being written");
        assert_eq!(scene.log.state().purged, LogId::ZERO, "and nothing is let go of");
        scene.snapshot_gate.shut(false);
        scene.wait(300).await;
        let last = taken(&snapshot).expect("it is written").expect("and whole").last;
        assert_eq!(scene.log.state().purged, last);
    });
}

#[cfg_attr(test, test)]
pub(crate) fn a_snapshot_covers_all_of_the_batch_that_was_applied_last() {
    play(async |scene, simulator| {
        let machine = simulator.node("machine");
        let node = scene.start(machine.clone(), 1).await;
        assert_eq!(node.write(1).await, Ok(1));
        scene.log_gate.shut(true);
        for _ in 0..10 {
            let node = node.clone();
            scene.begin(async move { node.write(1).await });
        }
        scene.wait(50).await;
        scene.log_gate.shut(false);
        scene.wait(50).await;
        assert_eq!(node.read(|sum| sum.0).await, Ok(11), "they are applied together");
        node.snapshot().await.expect("a snapshot is taken");
        machine.crash();
        let node = scene.start(simulator.node("machine again"), 1).await;
        assert_eq!(node.read(|sum| sum.0).await, Ok(11), "none of them is applied a second time");
    });
}

#[cfg_attr(test, test)]
pub(crate) fn a_follower_serves_a_read_only_when_its_state_machine_has_got_there() {
    play(async |scene, simulator| {
        let node = scene.start(simulator.node("machine"), 3).await;
        let append = |entries: Vec<Entry>, commit| {
            let prev_log_id = if entries.is_empty() { LogId::new(Term(5), LogIndex(1)) } else { LogId::ZERO };
            let leader_commit = LogIndex(commit);
            let entries = entries.into();
            let append = AppendEntries {
                term: Term(5),
                prev_log_id,
                entries,
                leader_commit,
                round: 0,
                held_index: LogIndex(0),
            };
            Message::AppendEntries(append)
        };
        let say = |message| {
            node.inbox().deliver(vec![letter(NodeId(2), NodeId(1), message)]);
        };
        let entry = Entry::new(LogId::new(Term(5), LogIndex(1)), Payload::Command(vec![7].into()));
        say(append(vec![entry], 0));
        scene.wait(50).await;
        let reader = node.clone();
        let read = scene.begin(async move { reader.read(|sum| sum.0).await });
        scene.wait(50).await;
        let id = scene.read_id().expect("the leader is asked");
        say(Message::ReadIndexReply(ReadIndexReply { term: Term(5), id, read_index: Some(LogIndex(1)) }));
        scene.wait(50).await;
        assert_eq!(taken(&read), None, "it does not know yet that the entry is committed");
        say(append(vec![], 1));
        scene.wait(50).await;
        assert_eq!(taken(&read), Some(Ok(7)));
    });
}

async fn three(hall: &SharedRuntime) -> Cluster<Sum> {
    Cluster::start(hall.clone(), 3, Config::default(), Sum::default).await.expect("three nodes start")
}

#[cfg_attr(test, test)]
pub(crate) fn a_write_that_the_next_leader_may_commit_is_not_called_undone() {
    play(async |scene, _| {
        let cluster = three(&scene.hall).await;
        let leader = cluster.leader().await;
        (1..=3).for_each(|other| cluster.network().partition(leader, NodeId(other)));
        let node = cluster.node(leader).clone();
        let write = scene.begin(async move { node.write(1).await });
        scene.wait(4000).await;
        assert_eq!(taken(&write), Some(Err(WriteError::Unknown)), "it is in this node's log");
        cluster.shutdown().await;
    });
}

#[cfg_attr(test, test)]
pub(crate) fn what_another_node_has_carried_here_is_done_once_however_often_it_is_delivered() {
    play(async |scene, _| {
        let cluster = three(&scene.hall).await;
        let leader = cluster.leader().await;
        let node = cluster.node(leader);
        let from = NodeId(leader.0 % 3 + 1);
        for _ in 0..3 {
            let message =
                Message::ForwardWrites(ForwardWrites { id: 1 << 32, commands: vec![vec![7].into()] });
            node.inbox().deliver(vec![letter(from, leader, message)]);
            scene.wait(50).await;
        }
        assert_eq!(node.read(|sum| sum.0).await, Ok(7));
        cluster.shutdown().await;
    });
}
