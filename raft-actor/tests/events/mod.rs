//! What a node tells of itself as it happens is all that happens, in order, in clusters of real nodes on
//! virtual time.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use raft_actor::{
    config::Config,
    core::Raft,
    events::{Change, Event, Events},
    node::Node,
    observer::{Observer, Step},
    runtime::{SharedRuntime, sim::SimRuntime},
    state_machine::{StateMachine, StateMachineError},
    status::Status,
    testkit::cluster::Cluster,
    types::{LogId, NodeId, Role, SnapshotView, Term, Time},
};

use crate::machines::Machines;

mod told;

/// What no state machine here can take.
const TOO_MUCH: u64 = 1 << 40;

/// Adds up what it is given, and has snapshots.
#[derive(Default)]
struct Sum(u64);

impl StateMachine for Sum {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, value: u64) -> u64 {
        assert!(value < TOO_MUCH, "that is too much");
        self.0 += value;
        self.0
    }

    fn snapshot(&self) -> Option<SnapshotView> {
        let sum = self.0;
        Some(Box::new(move |writer| writer.write_all(&sum.to_le_bytes())))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes).map_err(|error| StateMachineError { source: error.into() })?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

/// What the core was after each step, each state once: what events are held against.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    roles: Vec<(Role, Term, Option<NodeId>)>,
    votes: Vec<(Term, NodeId)>,
    members: Vec<LogId>,
}

impl Record {
    fn note(&self, raft: &Raft) {
        fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
            if list.last() != Some(&item) {
                list.push(item);
            }
        }
        let mut seen = self.0.lock().expect("no observer panics");
        add(&mut seen.roles, (raft.role(), raft.term(), raft.leader()));
        add(&mut seen.members, raft.membership_log_id());
        if let Some(candidate) = raft.voted_for() {
            add(&mut seen.votes, (raft.term(), candidate));
        }
    }
}

impl Observer for Record {
    fn started(&self, _: Time, raft: &Raft) {
        self.note(raft);
    }

    fn stepped(&self, step: Step<'_>) {
        self.note(step.raft);
    }
}

/// A reader of one node's stream, and what it knows by it.
struct Reader {
    events: Events,
    told: Vec<Event>,
    status: Option<Status>,
    seen: Seen,
}

impl Reader {
    fn of(node: &Node<Sum>) -> Reader {
        Reader { events: node.events(10_000), told: Vec::new(), status: None, seen: Seen::default() }
    }

    /// Reads what there is, and checks that it follows on what was read before.
    fn read(&mut self) {
        while let Some(event) = self.events.try_next() {
            if let Some(last) = self.told.last() {
                assert_eq!(event.sequence, last.sequence + 1, "{event:?} after {last:?}");
                assert!(event.time >= last.time && event.node == last.node);
            }
            self.follow(&event);
            self.told.push(event);
        }
    }

    fn follow(&mut self, event: &Event) {
        if let Change::Present { status, .. } = &event.change {
            assert!(self.told.is_empty(), "once, at the beginning");
            self.seen.roles.push((status.role, status.term, status.leader));
            self.seen.members.push(status.membership_log_id);
            self.seen.votes.extend(status.voted_for.map(|candidate| (status.term, candidate)));
            self.status = Some((**status).clone());
            return;
        }
        let status = self.status.as_mut().expect("the present comes first");
        match &event.change {
            Change::RoleChanged { role, term, leader } => {
                if *term > status.term {
                    status.voted_for = None;
                }
                (status.role, status.term, status.leader) = (*role, *term, *leader);
                self.seen.roles.push((*role, *term, *leader));
            }
            Change::ElectionBegun { term } => {
                assert_eq!((status.role, status.term), (Role::Candidate, *term));
                status.voted_for = Some(status.id);
                self.seen.votes.push((*term, status.id));
            }
            Change::VoteGiven { term, candidate } => {
                assert_eq!((status.role, status.term), (Role::Follower, *term));
                status.voted_for = Some(*candidate);
                self.seen.votes.push((*term, *candidate));
            }
            Change::MembershipChanged { log_id, membership, is_joint } => {
                assert_eq!(*is_joint, membership.is_joint());
                status.membership.clone_from(membership);
                status.membership_log_id = *log_id;
                self.seen.members.push(*log_id);
            }
            Change::Committed { commit_index } => {
                assert!(*commit_index > status.commit_index);
                status.commit_index = *commit_index;
            }
            Change::SnapshotTaken { snapshot } | Change::SnapshotReceiving { snapshot } => {
                status.snapshot = Some(snapshot.clone());
            }
            Change::SnapshotReceived { id } | Change::SnapshotRestored { id } => {
                assert_eq!(status.snapshot.as_ref().map(|snapshot| snapshot.id), Some(*id));
            }
            _ => {}
        }
    }

    fn changes(&self) -> impl Iterator<Item = &Change> {
        self.told.iter().map(|event| &event.change)
    }

    fn count(&self, is_wanted: impl Fn(&Change) -> bool) -> usize {
        self.changes().filter(|change| is_wanted(change)).count()
    }

    /// What the events come to is what the node says of itself, and nothing that its core was is missing.
    async fn hold_against(&mut self, node: &Node<Sum>, record: &Record) {
        self.read();
        let (actual, told) = (node.status().await, self.status.clone().expect("the present was told"));
        assert_eq!((told.role, told.term, told.leader), (actual.role, actual.term, actual.leader));
        assert_eq!(told.voted_for, actual.voted_for);
        assert_eq!(told.membership, actual.membership);
        assert_eq!(told.membership_log_id, actual.membership_log_id);
        assert_eq!(told.commit_index, actual.commit_index);
        assert_eq!(told.snapshot.map(|it| it.last), actual.snapshot.map(|it| it.last));
        let seen = record.0.lock().expect("no observer panics");
        assert_within(&seen.roles, &self.seen.roles);
        assert_within(&seen.members, &self.seen.members);
        assert_eq!(seen.votes, self.seen.votes, "every vote, and none that was not given");
    }
}

/// Each of `some` is in `all`, in the same order. Between two steps a core may pass through more.
#[track_caller]
fn assert_within<T: PartialEq + std::fmt::Debug>(some: &[T], all: &[T]) {
    let mut rest = all.iter();
    for item in some {
        assert!(
            rest.any(|other| other == item),
            "{item:?} is missing in {all:?}, which should hold {some:?}"
        );
    }
}

struct Hall {
    machines: Machines,
    cluster: Cluster<Sum>,
    records: Arc<Mutex<Vec<(NodeId, Record)>>>,
}

impl Hall {
    async fn new(simulator: &Arc<SimRuntime>, config: Config) -> Hall {
        let network: SharedRuntime = Arc::new(simulator.node("network"));
        let mut cluster = Cluster::new(network, 3, config, Sum::default);
        let records: Arc<Mutex<Vec<(NodeId, Record)>>> = Arc::default();
        let kept = records.clone();
        cluster.observe(move |node| {
            let record = Record::default();
            kept.lock().expect("nobody panics here").push((node, record.clone()));
            Arc::new(record)
        });
        let mut hall = Hall { machines: Machines::new(simulator), cluster, records };
        for node in 1..=3 {
            hall.start(NodeId(node)).await;
        }
        hall
    }

    /// Starts a node; its events are read from its first step on.
    async fn start(&mut self, id: NodeId) {
        let machine = self.machines.boot(id);
        self.cluster.start_node(id, machine).await.expect("it starts");
    }

    /// The record of a node's present run.
    fn record(&self, id: NodeId) -> Record {
        let records = self.records.lock().expect("nobody panics here");
        records.iter().rev().find(|(node, _)| *node == id).expect("it runs").1.clone()
    }

    fn node(&self, id: NodeId) -> &Node<Sum> {
        self.cluster.node(id)
    }

    /// Cuts a node off from the first three.
    fn isolate(&self, id: NodeId) {
        for other in (1..=3).map(NodeId).filter(|other| *other != id) {
            self.cluster.network().partition(id, other);
        }
    }

    /// A reader, whose stream and the node's record begin now.
    fn reader(&self, id: NodeId) -> Reader {
        *self.record(id).0.lock().expect("no observer panics") = Seen::default();
        Reader::of(self.node(id))
    }

    fn readers(&self) -> Vec<Reader> {
        self.cluster.nodes().keys().map(|id| self.reader(*id)).collect()
    }

    async fn hold_all(&self, readers: &mut [Reader]) {
        // Longer than a commit may go untold.
        self.cluster.sleep(Duration::from_millis(500)).await;
        for (id, reader) in (1..).map(NodeId).zip(readers) {
            reader.hold_against(self.node(id), &self.record(id)).await;
        }
    }
}

fn simulate<F: Future<Output = ()>>(seed: u64, run: impl FnOnce(Arc<SimRuntime>) -> F) {
    let simulator = Arc::new(SimRuntime::new(seed));
    simulator.run_until(run(simulator.clone()));
}
