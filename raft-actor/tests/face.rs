//! The face for actix users: a node is an actor, and actors are a node's parts.

use std::sync::Arc;

use actix::{Actor, Context, Handler, Supervisor};
use raft_actor::{
    actix::{
        ChangeMembership, ClientWrite, GetStatus, RaftNode, ReadState, Shutdown, TransferLeadership,
        ports::{ActorLogStorage, ActorTransport, Connect, PurgeLog, ReadLog, RecoverLog, WriteLog},
    },
    error::WriteError,
    membership::{ChangeError, MembershipChange, MembershipError},
    node::Node,
    runtime::{SharedRuntime, actix::ActixRuntime},
    state_machine::StateMachine,
    storage::{LogStorage, StorageError},
    testkit::{
        memory::MemoryLog,
        network::{Network, NetworkTransport},
    },
    transport::{PeerLink, Transport, TransportError},
    types::{Entries, LogId, LogState, NodeId, Role},
};

#[derive(Default)]
struct Counter {
    value: u64,
}

impl StateMachine for Counter {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, add: u64) -> u64 {
        self.value += add;
        self.value
    }
}

/// A log storage that is somebody's actor.
struct Librarian(MemoryLog);

impl Actor for Librarian {
    type Context = Context<Self>;
}

impl Handler<RecoverLog> for Librarian {
    type Result = actix::ResponseFuture<Result<LogState, StorageError>>;

    fn handle(&mut self, _: RecoverLog, _: &mut Context<Self>) -> Self::Result {
        let mut log = self.0.clone();
        Box::pin(async move { log.recover().await })
    }
}

impl Handler<WriteLog> for Librarian {
    type Result = actix::ResponseFuture<Result<(), StorageError>>;

    fn handle(&mut self, write: WriteLog, _: &mut Context<Self>) -> Self::Result {
        let mut log = self.0.clone();
        Box::pin(async move { log.write(&write.0).await })
    }
}

impl Handler<ReadLog> for Librarian {
    type Result = actix::ResponseFuture<Result<Entries, StorageError>>;

    fn handle(&mut self, read: ReadLog, _: &mut Context<Self>) -> Self::Result {
        let mut log = self.0.clone();
        Box::pin(async move { log.read(read.first, read.last, read.bytes_max).await })
    }
}

impl Handler<PurgeLog> for Librarian {
    type Result = actix::ResponseFuture<Result<(), StorageError>>;

    fn handle(&mut self, purge: PurgeLog, _: &mut Context<Self>) -> Self::Result {
        let mut log = self.0.clone();
        Box::pin(async move { log.purge(purge.0).await })
    }
}

/// A transport that is somebody's actor.
struct Postmaster(Arc<NetworkTransport>);

impl Actor for Postmaster {
    type Context = Context<Self>;
}

impl Handler<Connect> for Postmaster {
    type Result = actix::ResponseFuture<Result<Box<dyn PeerLink>, TransportError>>;

    fn handle(&mut self, connect: Connect, _: &mut Context<Self>) -> Self::Result {
        let transport = self.0.clone();
        Box::pin(async move { transport.connect(connect.peer, &connect.address).await })
    }
}

/// Three nodes whose storages and transports are actors.
async fn three_nodes(runtime: SharedRuntime) -> Vec<Node<Counter>> {
    let network = Network::new(runtime.clone(), 1);
    let members = [1, 2, 3].map(|number| (NodeId(number), Network::address(NodeId(number))));
    let mut nodes = Vec::new();
    for (id, _) in &members {
        let librarian = Librarian(MemoryLog::new()).start();
        let postmaster = Postmaster(Arc::new(network.transport(*id))).start();
        let node = Node::builder(*id, Counter::default())
            .members(members.clone())
            .storage(ActorLogStorage::new(&librarian))
            .transport(ActorTransport::new(postmaster))
            .runtime(runtime.clone())
            .start()
            .await
            .expect("a node starts");
        network.attach(*id, node.inbox());
        nodes.push(node);
    }
    nodes
}

#[actix::test]
async fn a_node_is_an_actor_and_its_parts_can_be_actors_too() {
    let runtime: SharedRuntime = Arc::new(ActixRuntime::new(1).expect("an arbiter"));
    let nodes = three_nodes(runtime).await;
    let actors: Vec<_> = nodes
        .iter()
        .map(|node| {
            Supervisor::start({
                let node = node.clone();
                move |_| RaftNode::new(node)
            })
        })
        .collect();
    for (count, actor) in (1..).zip(&actors) {
        let outcome = actor.send(ClientWrite::<Counter>(1)).await.expect("the actor lives");
        assert_eq!(outcome.map(|(_, value)| value), Ok(count), "any node takes writes");
    }
    let read = ReadState::new(|counter: &Counter| counter.value);
    assert_eq!(actors[1].send(read).await.expect("the actor lives"), Ok(3));

    let mut leaders = Vec::new();
    for actor in &actors {
        let status = actor.send(GetStatus).await.expect("the actor lives");
        if status.role == Role::Leader {
            leaders.push((status.id, actor));
        }
    }
    let [(old, leader)] = leaders[..] else { panic!("one leader: {}", leaders.len()) };
    let heir = NodeId(old.0 % 3 + 1);
    assert!(leader.send(TransferLeadership { to: Some(heir) }).await.expect("the actor lives"));

    leader.send(Shutdown).await.expect("the actor lives");
    let refused = leader.send(ClientWrite::<Counter>(1)).await.expect("it lives on to say so");
    assert_eq!(refused, Err(WriteError::Stopped));
    for node in nodes {
        node.shutdown().await;
    }
}

#[actix::test]
async fn a_write_that_nobody_waits_for_is_made_all_the_same() {
    let runtime: SharedRuntime = Arc::new(ActixRuntime::new(1).expect("an arbiter"));
    let nodes = three_nodes(runtime).await;
    let actor = RaftNode::new(nodes[0].clone()).start();
    actor.do_send(ClientWrite::<Counter>(20));
    let outcome = actor.send(ClientWrite::<Counter>(22)).await.expect("the actor lives");
    assert_eq!(outcome.map(|(_, value)| value), Ok(42));
    for node in nodes {
        node.shutdown().await;
    }
}

#[actix::test]
async fn an_actor_changes_the_members_and_says_why_it_does_not() {
    let runtime: SharedRuntime = Arc::new(ActixRuntime::new(1).expect("an arbiter"));
    let nodes = three_nodes(runtime).await;
    nodes[0].write(1).await.expect("there is a leader");
    // What the leader has answered stands in its own log; others may be a little behind.
    let leader = nodes[0].status().await.leader.expect("it has answered");
    let actor = RaftNode::new(nodes[leader.0 as usize - 1].clone()).start();

    let change = MembershipChange::new().add_learner(NodeId(4), "elsewhere");
    let made = actor.send(ChangeMembership(change)).await.expect("the actor lives").expect("it is made");
    let status = actor.send(GetStatus).await.expect("the actor lives");
    assert!(status.last_log_id.index >= made.index);
    let written = actor.send(ClientWrite::<Counter>(1)).await.expect("the actor lives");
    assert!(written.expect("the cluster goes on").0.index > made.index);
    let learners = actor.send(GetStatus).await.expect("the actor lives").membership.learners().clone();
    assert_eq!(learners, [NodeId(4)].into());

    let change = MembershipChange::new().remove(NodeId(7));
    let refused = actor.send(ChangeMembership(change)).await.expect("the actor lives");
    assert_eq!(refused, Err(ChangeError::Invalid(MembershipError::NotAMember(NodeId(7)))));
    for node in nodes {
        node.shutdown().await;
    }
}
