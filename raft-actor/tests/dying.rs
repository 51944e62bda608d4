//! A leader's process that dies, as its followers' links tell of it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use raft_actor::{
    config::Config,
    message::{AppendEntries, Envelope, Message},
    node::Node,
    runtime::{BoxFuture, Runtime, SharedRuntime, sim::SimRuntime, sleep},
    testkit::memory::MemoryLog,
    transport::{PeerLink, Transport, TransportError},
    types::{Entries, GroupId, LogId, LogIndex, NodeId, Origin, Term, Time},
};
use tokio::sync::watch;

use crate::sum::Sum;

const LEADER: NodeId = NodeId(3);

/// How node 1 of three reaches the others: the leader dies when it is told to, and nobody else listens.
#[derive(Clone)]
struct Others {
    runtime: SharedRuntime,
    /// Says that the leader's links are closed.
    death: watch::Receiver<bool>,
    /// So many links are still taken, and cut off at once, before the dying process stops listening.
    taken_yet: Arc<AtomicU32>,
    /// When node 1 asked for votes.
    asked: Arc<Mutex<Vec<Time>>>,
}

struct Link {
    others: Others,
    closed: BoxFuture<'static, ()>,
}

fn cut_off(peer: NodeId) -> TransportError {
    TransportError::Unreachable { peer, address: String::new(), source: "it was cut off".into() }
}

#[async_trait]
impl Transport for Others {
    async fn connect(&self, to: NodeId, _: &str) -> Result<Box<dyn PeerLink>, TransportError> {
        if to == LEADER && *self.death.borrow() {
            let left = self.taken_yet.fetch_sub(1, Ordering::Relaxed);
            let gone = || TransportError::NotThere { peer: to, address: String::new() };
            return Err(if left > 0 { cut_off(to) } else { gone() });
        }
        let mut death = self.death.clone();
        let closed = async move {
            let is_dead = death.wait_for(|dead| *dead && to == LEADER).await.is_ok();
            assert!(is_dead, "the test outlives its links");
        };
        Ok(Box::new(Link { others: self.clone(), closed: Box::pin(closed) }))
    }
}

#[async_trait]
impl PeerLink for Link {
    async fn send(&mut self, batch: &mut Vec<Envelope>) -> Result<(), TransportError> {
        for envelope in batch.drain(..) {
            if matches!(envelope.message, Message::RequestVote(_)) {
                self.others.asked.lock().expect("no panic under the lock").push(self.others.runtime.now());
            }
        }
        Ok(())
    }

    fn poll_closed(&mut self, task: &mut Context<'_>) -> Poll<TransportError> {
        self.closed.as_mut().poll(task).map(|()| cut_off(LEADER))
    }
}

fn heartbeat() -> Envelope {
    let append = AppendEntries {
        term: Term(2),
        prev_log_id: LogId::default(),
        entries: Entries::empty(),
        leader_commit: LogIndex(0),
        round: 0,
        held_index: LogIndex(0),
    };
    let message = Message::AppendEntries(append);
    Envelope { group: GroupId::default(), from: LEADER, to: NodeId(1), origin: Origin::default(), message }
}

#[test]
fn whoever_comes_back_while_the_leader_dies_and_is_cut_off_again_stands_as_soon_as_nobody_listens() {
    let config = Config::default();
    for seed in 0..10 {
        let simulator = SimRuntime::new(seed);
        let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
        let (dies, death) = watch::channel(false);
        let (taken_yet, asked) = (Arc::new(AtomicU32::new(2)), Arc::default());
        let others = Others { runtime: runtime.clone(), death, taken_yet, asked };
        let waited = simulator.run_until({
            let config = config.clone();
            async move {
                let node = Node::builder(NodeId(1), Sum::default())
                    .members([1, 2, 3].map(|number| (NodeId(number), format!("node {number}"))))
                    .storage(MemoryLog::new())
                    .transport(others.clone())
                    .runtime(runtime.clone())
                    .config(config)
                    .start()
                    .await
                    .expect("it starts");
                for _ in 0..20 {
                    node.inbox().deliver(vec![heartbeat()]);
                    sleep(&*runtime, Duration::from_millis(50)).await;
                }
                assert_eq!(*others.asked.lock().expect("no panic under the lock"), []);
                let death = runtime.now();
                dies.send_replace(true);
                sleep(&*runtime, Duration::from_millis(250)).await;
                let asked = others.asked.lock().expect("no panic under the lock").clone();
                node.shutdown().await;
                asked.first().expect("it stands before the election timeout").since(death)
            }
        });
        // It has the first turn: up to half a heartbeat of chance, and what finding out has cost.
        assert!(
            waited < config.heartbeat_interval / 2 + Duration::from_millis(10),
            "{waited:?}, seed {seed}"
        );
    }
}
