//! What a node does when a part of it fails: it stops, says why, and answers nothing more.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use raft_actor::{
    config::Config,
    error::WriteError,
    membership::Membership,
    message::{AppendEntries, Envelope, ForwardWrites, Message, RequestVote},
    node::Node,
    runtime::{Runtime, SharedRuntime, sim::SimRuntime, sleep, timeout},
    state_machine::{StateMachine, StateMachineError},
    storage::StorageError,
    testkit::{cluster::Cluster, memory::MemoryLog, network::Network},
    types::{Entry, GroupId, LogId, LogIndex, NodeId, Origin, Payload, Role, Term},
};

use super::hooked::Hooked;

/// Does as it is told, even if told to fail.
#[derive(Default)]
struct Fragile {
    value: u64,
}

const PANIC: u64 = 13;
const FAIL: u64 = 14;

#[async_trait]
impl StateMachine for Fragile {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, value: u64) -> u64 {
        assert_ne!(value, PANIC, "thirteen");
        self.value = value;
        value
    }

    async fn flush(&mut self, _: LogId) -> Result<(), StateMachineError> {
        match self.value {
            FAIL => Err(StateMachineError { source: "its disk is gone".into() }),
            _ => Ok(()),
        }
    }
}

/// A disk that is full as soon as it is told to be.
async fn fail_if(broken: Arc<AtomicBool>) -> Result<(), StorageError> {
    if broken.load(Ordering::Relaxed) {
        let source = io::Error::from(io::ErrorKind::StorageFull);
        return Err(StorageError::Io { operation: "write", path: PathBuf::from("segment 1"), source });
    }
    Ok(())
}

async fn alone(runtime: &SharedRuntime, broken: &Arc<AtomicBool>) -> Node<Fragile> {
    let network = Network::new(runtime.clone(), 1);
    let broken = broken.clone();
    let before_write = move || fail_if(broken.clone());
    Node::builder(NodeId(1), Fragile::default())
        .members([(NodeId(1), "alone")])
        .storage(Hooked { log: MemoryLog::new(), before_write })
        .transport(network.transport(NodeId(1)))
        .runtime(runtime.clone())
        .start()
        .await
        .expect("a node alone starts")
}

fn simulate<F: Future<Output = ()>>(test: impl FnOnce(SharedRuntime) -> F) {
    let simulator = SimRuntime::new(9);
    let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
    simulator.run_until(test(runtime));
}

#[cfg_attr(test, test)]
pub(crate) fn a_storage_error_stops_the_node_and_its_status_says_why() {
    simulate(|runtime| async move {
        let broken = Arc::new(AtomicBool::new(false));
        let node = alone(&runtime, &broken).await;
        assert_eq!(node.write(1).await, Ok(1));
        broken.store(true, Ordering::Relaxed);
        assert_eq!(node.write(2).await, Err(WriteError::Unknown), "it may be on the disk or not");
        let end = timeout(&runtime, Duration::from_secs(10), node.stopped()).await;
        let reason = end.expect("the node stops").expect("a reason");
        assert!(reason.contains("cannot write segment 1"), "{reason}");
        assert_eq!(node.status().await.failure, Some(reason));
        broken.store(false, Ordering::Relaxed);
        assert_eq!(
            node.write(3).await,
            Err(WriteError::Stopped),
            "a disk that seems well again is not believed"
        );
    });
}

#[test]
fn a_state_machine_that_panics_or_fails_stops_the_node_and_its_status_says_why() {
    for (command, expected) in [(PANIC, "applier panicked"), (FAIL, "its disk is gone")] {
        simulate(|runtime| async move {
            let node = alone(&runtime, &Arc::default()).await;
            assert_eq!(node.write(1).await, Ok(1));
            assert_eq!(node.write(command).await, Err(WriteError::Unknown));
            let reason = node.stopped().await.expect("a reason");
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(node.status().await.failure, Some(reason));
        });
    }
}

#[test]
fn a_node_that_fails_while_its_disk_hangs_is_not_waited_for_for_ever() {
    simulate(|runtime| async move {
        let (writes, clock) = (Arc::new(AtomicU64::new(0)), runtime.clone());
        // From its fourth write on, the disk hangs: vote, first entry of the term, a command, another.
        let before_write = move || {
            let nth = writes.fetch_add(1, Ordering::Relaxed);
            let takes = if nth < 4 { Duration::from_millis(10) } else { Duration::from_secs(1 << 20) };
            let clock = clock.clone();
            async move {
                sleep(&*clock, takes).await;
                Ok(())
            }
        };
        let network = Network::new(runtime.clone(), 1);
        let starting = Node::builder(NodeId(1), Fragile::default())
            .members([(NodeId(1), "alone")])
            .storage(Hooked { log: MemoryLog::new(), before_write })
            .transport(network.transport(NodeId(1)))
            .runtime(runtime.clone())
            .start();
        let node = starting.await.expect("a node alone starts");
        let last = async {
            sleep(&*runtime, Duration::from_millis(5)).await;
            node.write(2).await
        };
        while node.status().await.role != Role::Leader {
            sleep(&*runtime, Duration::from_millis(10)).await;
        }
        sleep(&*runtime, Duration::from_millis(100)).await;
        let both = futures_util::future::join(node.write(PANIC), last).await;
        assert_eq!(both, (Err(WriteError::Unknown), Err(WriteError::Unknown)));
        let end = timeout(&*runtime, Duration::from_secs(11), node.stopped()).await;
        let reason = end.expect("10 s are enough").expect("it has failed");
        assert!(reason.contains("applier panicked"), "{reason}");
    });
}

#[test]
fn what_a_peer_carries_here_and_nobody_can_decode_is_refused_and_stops_nobody() {
    simulate(|runtime| async move {
        let cluster = three(&runtime).await;
        let leader = cluster.leader().await;
        let before = cluster.node(leader).status().await.last_log_id;
        for from in [NodeId(leader.0 % 3 + 1), NodeId(99)] {
            let forward = ForwardWrites { id: 1, commands: vec![Bytes::from_static(b"\xff\xff")] };
            deliver(cluster.node(leader), from, Message::ForwardWrites(forward));
        }
        cluster.sleep(Duration::from_millis(100)).await;
        assert_eq!(
            cluster.node(leader).status().await.last_log_id,
            before,
            "neither a peer's nor a stranger's"
        );
        assert_eq!(cluster.node(leader).write(2).await, Ok(2));
        cluster.shutdown().await;
    });
}

fn deliver(node: &Node<Fragile>, from: NodeId, message: Message) {
    node.inbox().deliver(vec![Envelope {
        group: GroupId(0),
        from,
        to: node.id(),
        origin: Origin::default(),
        message,
    }]);
}

async fn three(runtime: &SharedRuntime) -> Cluster<Fragile> {
    let cluster = Cluster::start(runtime.clone(), 3, Config::default(), Fragile::default).await;
    cluster.expect("three nodes start")
}

#[test]
fn messages_from_the_end_of_the_numbers_change_nothing() {
    simulate(|runtime| async move {
        let cluster = three(&runtime).await;
        let leader = cluster.leader().await;
        let term = cluster.node(leader).status().await.term;
        let last_log_id = LogId::new(Term(u64::MAX), LogIndex(u64::MAX));
        let vote =
            RequestVote { term: Term(u64::MAX), last_log_id, pre_vote: false, leadership_transfer: true };
        let append = AppendEntries {
            term: Term(u64::MAX),
            prev_log_id: last_log_id,
            entries: vec![Entry::new(last_log_id, Payload::Noop)].into(),
            leader_commit: LogIndex(u64::MAX),
            round: u64::MAX,
            held_index: LogIndex(0),
        };
        for node in cluster.nodes().values() {
            deliver(node, NodeId(node.id().0 % 3 + 1), Message::RequestVote(vote));
            deliver(node, NodeId(node.id().0 % 3 + 1), Message::AppendEntries(append.clone()));
        }
        cluster.sleep(Duration::from_secs(2)).await;
        assert_eq!(cluster.leader().await, leader);
        assert_eq!(cluster.node(leader).status().await.term, term);
        assert_eq!(cluster.node(leader).write(7).await, Ok(7));
        cluster.shutdown().await;
    });
}

#[test]
fn mail_for_another_node_or_group_is_not_taken_in() {
    simulate(|runtime| async move {
        let cluster = three(&runtime).await;
        let leader = cluster.leader().await;
        let before = cluster.node(leader).status().await;
        let timeout = Message::RequestVote(RequestVote {
            term: Term(before.term.0 + 5),
            last_log_id: before.last_log_id,
            pre_vote: false,
            leadership_transfer: true,
        });
        let from = NodeId(leader.0 % 3 + 1);
        let inbox = cluster.node(leader).inbox();
        let wrong_node = Envelope {
            group: GroupId(0),
            from,
            to: NodeId(77),
            origin: Origin::default(),
            message: timeout.clone(),
        };
        let wrong_group =
            Envelope { group: GroupId(5), from, to: leader, origin: Origin::default(), message: timeout };
        inbox.deliver(vec![wrong_node, wrong_group]);
        cluster.sleep(Duration::from_millis(200)).await;
        let after = cluster.node(leader).status().await;
        assert_eq!((after.role, after.term), (Role::Leader, before.term));
        cluster.shutdown().await;
    });
}

#[test]
fn a_folder_that_knows_its_members_needs_none_given_and_keeps_its_own() {
    simulate(|runtime| async move {
        let network = Network::new(runtime.clone(), 1);
        let log = MemoryLog::new();
        let start = |members: Vec<(NodeId, String)>| {
            Node::builder(NodeId(1), Fragile::default())
                .members(members)
                .storage(log.clone())
                .transport(network.transport(NodeId(1)))
                .runtime(runtime.clone())
                .start()
        };
        let node = start(vec![(NodeId(1), "here".to_owned())]).await.expect("it starts");
        assert_eq!(node.write(1).await, Ok(1));
        node.shutdown().await;
        let node = start(vec![]).await.expect("it starts again");
        assert_eq!(node.read(|fragile| fragile.value).await, Ok(1));
        node.shutdown().await;
        let node = start(vec![(NodeId(1), "here".to_owned()), (NodeId(2), "new".to_owned())]).await;
        let node = node.expect("a longer list is not believed");
        let here = Membership::new([(NodeId(1), "here".to_owned())]).expect("one member");
        let genesis = here.genesis_of_voters();
        let here = here.with_genesis(genesis);
        assert_eq!(node.status().await.membership, here);
        node.shutdown().await;
    });
}

#[test]
fn a_leader_whose_process_ends_is_replaced_before_the_others_could_have_missed_it() {
    for seed in 0..20 {
        let simulator = SimRuntime::new(seed);
        let machines = [1, 2, 3].map(|node| simulator.node(&format!("machine {node}")));
        let network: SharedRuntime = Arc::new(simulator.node("network"));
        simulator.run_until(async {
            let mut cluster = Cluster::new(network.clone(), 3, Config::default(), Fragile::default);
            for (machine, node) in machines.iter().zip(1..) {
                cluster.start_node(NodeId(node), Arc::new(machine.clone())).await.expect("it starts");
            }
            let leader = cluster.leader().await;
            cluster.node(leader).write(1).await.expect("there is a quorum");
            machines[leader.0 as usize - 1].crash();
            cluster.forget_node(leader);
            let crashed = network.now();
            cluster.leader().await;
            let without = network.now().since(crashed);
            assert!(without < Config::default().election_timeout_min, "seed {seed}: {without:?}");
        });
    }
}
