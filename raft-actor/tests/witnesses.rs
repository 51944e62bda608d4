//! Two full nodes and a witness, in virtual time: any one of them may be gone, and nothing that was
//! acknowledged is; and nodes that are not what the members say stop.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use raft_actor::{
    config::Config,
    core::{Effect, Raft},
    error::{StartError, WriteError},
    membership::{ChangeError, MembershipError},
    node::{Node, NodeBuilder, survivor::Survivor},
    observer::{Observer, Step},
    runtime::{SharedRuntime, sim::SimRuntime, sleep, timeout},
    state_machine::{StateMachine, Witness},
    testkit::{
        memory::{MemoryLog, MemorySnapshots},
        network::Network,
    },
    types::{LogIndex, NodeId, Role, Time},
};

use crate::{exactly_once::assert_exactly_once, journal::Journal, machines::Machines};

const WITNESS: NodeId = NodeId(3);

/// Logs are compacted all the time, and nothing is kept that need not be.
fn config() -> Config {
    let mut config = Config::default();
    (config.snapshot_entries, config.trailing_entries) = (20, 0);
    config
}

/// Counts how often a node was elected.
#[derive(Clone, Default)]
struct Elections(Arc<AtomicU64>);

impl Observer for Elections {
    fn started(&self, _: Time, _: &Raft) {}

    fn stepped(&self, step: Step<'_>) {
        let elected = |effect: &&Effect| matches!(effect, Effect::RoleChanged { role: Role::Leader, .. });
        self.0.fetch_add(step.effects.iter().filter(elected).count() as u64, Ordering::Relaxed);
    }
}

/// Nodes 1 and 2, which are full, and 3, the witness.
struct Hall {
    runtime: SharedRuntime,
    machines: Machines,
    network: Network,
    disks: BTreeMap<NodeId, (MemoryLog, MemorySnapshots)>,
    full: BTreeMap<NodeId, Node<Journal>>,
    witness: Option<Node<Witness>>,
    elections: Elections,
}

impl Hall {
    async fn new(simulator: &Arc<SimRuntime>) -> Hall {
        let runtime: SharedRuntime = Arc::new(simulator.node("hall"));
        let mut hall = Hall {
            machines: Machines::new(simulator),
            network: Network::new(runtime.clone(), runtime.random()),
            runtime,
            disks: BTreeMap::new(),
            full: BTreeMap::new(),
            witness: None,
            elections: Elections::default(),
        };
        for node in 1..=3 {
            hall.start(NodeId(node)).await;
        }
        hall
    }

    /// What every node has; the first three know of each other, the others join.
    fn compose<S: StateMachine>(&mut self, id: NodeId, builder: NodeBuilder<S>) -> NodeBuilder<S> {
        let members = (1..=3).map(|node| (NodeId(node), Network::address(NodeId(node))));
        let builder = if id.0 <= 3 { builder.members(members).witnesses([WITNESS]) } else { builder.join() };
        let (log, snapshots) = self.disks.entry(id).or_default().clone();
        let builder = builder.storage(log).snapshots(snapshots).config(config());
        builder.transport(self.network.transport(id)).runtime(self.machines.boot(id))
    }

    async fn start(&mut self, id: NodeId) {
        if id == WITNESS {
            self.start_witness(id).await.expect("it starts");
        } else {
            self.start_full(id).await.expect("it starts");
        }
    }

    async fn start_full(&mut self, id: NodeId) -> Result<(), StartError> {
        let node = self.compose(id, Node::builder(id, Journal::default())).start().await?;
        self.network.attach(id, node.inbox());
        self.full.insert(id, node);
        Ok(())
    }

    async fn start_witness(&mut self, id: NodeId) -> Result<(), StartError> {
        let builder = Node::witness(id).observer(self.elections.clone());
        let node = self.compose(id, builder).start().await?;
        self.network.attach(id, node.inbox());
        self.witness = Some(node);
        Ok(())
    }

    fn crash(&mut self, id: NodeId) {
        self.machines.crash(id);
        self.network.detach(id);
        self.full.remove(&id);
        if id == WITNESS {
            self.witness = None;
        }
    }

    /// Writes through a full node until a write is acknowledged, or has taken too long.
    async fn write_on(&self, history: &mut History) {
        let before = history.acknowledged.len();
        for _ in 0..200 {
            history.last += 1;
            let nodes: Vec<&Node<Journal>> = self.full.values().collect();
            let node = nodes[history.last as usize % nodes.len()];
            match node.write(history.last).await {
                Ok(place) => drop(history.acknowledged.insert(history.last, place)),
                Err(WriteError::Unknown) => {}
                Err(_) => drop(history.refused.insert(history.last)),
            }
            if history.acknowledged.len() > before + 15 {
                return;
            }
            sleep(&*self.runtime, Duration::from_millis(self.runtime.random() % 20)).await;
        }
        panic!("with {} full node(s) and a quorum there, writes do not go on", self.full.len());
    }

    async fn journal_of(&self, id: NodeId) -> Vec<u64> {
        loop {
            match self.full[&id].read(|journal| journal.values.clone()).await {
                Ok(values) => return values,
                Err(_) => sleep(&*self.runtime, Duration::from_millis(50)).await,
            }
        }
    }
}

#[derive(Default)]
struct History {
    last: u64,
    acknowledged: BTreeMap<u64, u64>,
    refused: std::collections::BTreeSet<u64>,
}

fn simulate<F: Future<Output = ()>>(seed: u64, run: impl FnOnce(Arc<SimRuntime>) -> F) {
    let simulator = Arc::new(SimRuntime::new(seed));
    simulator.run_until(run(simulator.clone()));
}

/// One node after the other is lost, the next as soon as the one before is back, whether it has caught up or
/// not; and most often the one that leads.
async fn lose_one_after_the_other(simulator: Arc<SimRuntime>, seed: u64, elected: &AtomicU64) {
    let mut hall = Hall::new(&simulator).await;
    let mut history = History::default();
    let mut chance = fastrand::Rng::with_seed(seed);
    hall.write_on(&mut history).await;
    for _ in 0..12 {
        let mut lost = NodeId(chance.u64(1..=3));
        if chance.bool() {
            for (id, node) in &hall.full {
                lost = if node.status().await.role == Role::Leader { *id } else { lost };
            }
        }
        hall.crash(lost);
        hall.write_on(&mut history).await;
        hall.write_on(&mut history).await;
        hall.start(lost).await;
        sleep(&*hall.runtime, Duration::from_millis(chance.u64(0..80))).await;
    }
    let journals = [hall.journal_of(NodeId(1)).await, hall.journal_of(NodeId(2)).await];
    assert_exactly_once(&journals, &history.acknowledged, &history.refused);
    assert!(history.acknowledged.len() > 300);
    sleep(&*hall.runtime, Duration::from_secs(2)).await;
    let status = hall.witness.as_ref().expect("it runs").status().await;
    assert_ne!(status.role, Role::Leader, "it never leads for long");
    let compacted = status.commit_index.0.saturating_sub(status.first_index.0);
    assert!(compacted < 100, "its log is compacted when nobody needs it: {status:?}");
    let empty = hall.disks[&WITNESS].1.all();
    assert!(!empty.is_empty() && empty.iter().all(|it| it.size_bytes == 0 && it.witness), "{empty:?}");
    elected.fetch_add(hall.elections.0.load(Ordering::Relaxed), Ordering::Relaxed);
}

#[test]
fn two_full_nodes_and_a_witness_outlive_any_one_of_them_with_all_that_was_acknowledged() {
    let elected = AtomicU64::new(0);
    let seeds = crate::seeds(30);
    for seed in 1..=seeds {
        simulate(seed, |simulator| lose_one_after_the_other(simulator, seed, &elected));
    }
    let elected = elected.into_inner();
    println!("{seeds} seeds, 12 losses each; the witness was elected {elected} times");
    assert!(elected > 0, "nobody ever needed the witness");
}

/// One machine's loss, where the other has been away for long and has hardly begun to catch up.
#[test]
fn a_full_node_that_lags_is_brought_up_to_date_by_the_witness_alone() {
    simulate(3, async |simulator| {
        let mut hall = Hall::new(&simulator).await;
        let mut history = History::default();
        hall.write_on(&mut history).await;
        // It may lead already, which is as good.
        let _ = hall.full[&NodeId(2)].transfer_leadership(Some(NodeId(1))).await;
        hall.crash(NodeId(2));
        for _ in 0..10 {
            hall.write_on(&mut history).await;
        }
        let first = hall.full[&NodeId(1)].status().await.first_index;
        assert!(first > LogIndex(100), "what node 2 lacks is gone from node 1's log: {first}");
        hall.crash(NodeId(1));
        hall.start(NodeId(2)).await;
        hall.write_on(&mut history).await;
        let journals = [hall.journal_of(NodeId(2)).await];
        assert_exactly_once(&journals, &history.acknowledged, &history.refused);
        assert!(hall.disks[&NodeId(2)].1.received() == 0, "by the log, as a witness has nothing else");
    });
}

#[test]
fn a_witness_takes_a_leaders_snapshot_without_its_bytes() {
    simulate(5, async |simulator| {
        let mut hall = Hall::new(&simulator).await;
        let mut history = History::default();
        hall.crash(WITNESS);
        for _ in 0..10 {
            hall.write_on(&mut history).await;
        }
        hall.start(WITNESS).await;
        sleep(&*hall.runtime, Duration::from_secs(2)).await;
        let (_, snapshots) = &hall.disks[&WITNESS];
        assert_eq!(snapshots.received(), 1);
        assert!(snapshots.all().iter().all(|it| it.size_bytes == 0 && it.witness));
        let status = hall.witness.as_ref().expect("it runs").status().await;
        assert_eq!(status.applied_index, status.commit_index);
        hall.crash(NodeId(1));
        hall.write_on(&mut history).await;
    });
}

fn is_misfit(result: Result<(), StartError>) -> bool {
    matches!(result, Err(StartError::Membership(MembershipError::Misfit { .. })))
}

#[test]
fn a_node_that_is_not_what_the_first_members_say_does_not_start() {
    simulate(1, async |simulator| {
        let mut hall = Hall::new(&simulator).await;
        // Neither on an empty disk nor on what it has.
        for _ in 0..2 {
            hall.crash(NodeId(3));
            hall.crash(NodeId(1));
            assert!(is_misfit(hall.start_full(NodeId(3)).await), "a witness by the members");
            assert!(is_misfit(hall.start_witness(NodeId(1)).await), "a full member by the members");
            hall.disks.clear();
            hall.start(NodeId(3)).await;
            hall.start(NodeId(1)).await;
        }
    });
}

#[test]
fn a_node_that_turns_out_not_to_be_what_it_was_started_as_stops_and_says_so() {
    simulate(1, async |simulator| {
        let mut hall = Hall::new(&simulator).await;
        let mut history = History::default();
        for _ in 0..4 {
            hall.write_on(&mut history).await;
        }
        let stops = async |hall: &Hall, reason: Option<String>| {
            let reason = reason.expect("it has stopped for good");
            assert!(
                reason.contains("remove it and add it anew") || reason.contains("was started as"),
                "{reason}"
            );
            hall.full[&NodeId(1)].write(0).await.expect("the others go on");
        };
        hall.start_full(NodeId(4)).await.expect("it waits");
        let address = Network::address(NodeId(4));
        hall.full[&NodeId(1)].add_witness(NodeId(4), address.clone()).await.expect("it is added");
        let reason = timeout(&*hall.runtime, Duration::from_secs(9), hall.full[&NodeId(4)].stopped()).await;
        stops(&hall, reason.expect("soon")).await;
        assert_eq!(hall.disks[&NodeId(4)].1.received(), 0, "a snapshot without state was not kept");
        hall.full[&NodeId(1)].remove(NodeId(4)).await.expect("it leaves");
        hall.crash(NodeId(4));
        hall.disks.remove(&NodeId(4));

        hall.start_witness(NodeId(4)).await.expect("it waits");
        hall.full[&NodeId(1)].add_learner(NodeId(4), address).await.expect("it is added");
        let witness = hall.witness.clone().expect("it runs");
        let reason = timeout(&*hall.runtime, Duration::from_secs(9), witness.stopped()).await;
        stops(&hall, reason.expect("soon")).await;
    });
}

/// Its snapshots stand for a state that it has never had.
#[test]
fn what_a_witness_leaves_behind_is_no_full_members_state() {
    simulate(1, async |simulator| {
        let mut hall = Hall::new(&simulator).await;
        let mut history = History::default();
        for _ in 0..4 {
            hall.write_on(&mut history).await;
        }
        hall.full[&NodeId(1)].remove(WITNESS).await.expect("it leaves");
        sleep(&*hall.runtime, Duration::from_secs(2)).await;
        hall.crash(WITNESS);
        let refused = hall.start_full(WITNESS).await.expect_err("its disk is a witness's").to_string();
        assert!(refused.contains("holds no state"), "{refused}");
        let (mut log, snapshots) = hall.disks[&WITNESS].clone();
        let refused =
            Survivor::look(&mut log, Some(&snapshots)).await.map(|_| ()).expect_err("nor a cluster's");
        assert!(refused.to_string().contains("no cluster can be made"), "{refused}");
    });
}

#[test]
fn a_witness_is_added_to_a_cluster_that_exists_and_gets_a_vote_and_a_priority() {
    simulate(1, async |simulator| {
        let mut hall = Hall::new(&simulator).await;
        let mut history = History::default();
        hall.write_on(&mut history).await;
        hall.start_witness(NodeId(4)).await.expect("it waits");
        let node = hall.full[&NodeId(2)].clone();
        node.add_witness(NodeId(4), Network::address(NodeId(4))).await.expect("it is added");
        node.promote_when_ready(NodeId(4)).await.expect("it votes");
        node.set_priority(NodeId(4), 0).await.expect("it never stands");
        let refused = node.set_priority(NodeId(9), 3).await;
        assert_eq!(refused, Err(ChangeError::Invalid(MembershipError::NotAMember(NodeId(9)))));
        let membership = hall.witness.as_ref().expect("it runs").membership().await;
        let seen = (membership.is_voter(NodeId(4)), membership.is_witness(NodeId(4)));
        assert_eq!((seen, membership.priority(NodeId(4))), ((true, true), 0));
    });
}
