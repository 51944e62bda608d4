//! The levels of reading, on whole nodes: what each answers when the network or the machine fails.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use raft_actor::{
    config::Config,
    error::ReadError,
    node::Node,
    runtime::{
        Place, Runtime, SharedRuntime,
        sim::{SimNode, SimRuntime},
        sleep, timeout,
    },
    state_machine::StateMachine,
    testkit::cluster::Cluster,
    types::{LogId, NodeId},
};

/// Remembers the last value.
#[derive(Default)]
struct Cell(u64);

impl StateMachine for Cell {
    type Command = u64;
    type Output = ();

    fn apply(&mut self, _: LogId, value: u64) {
        self.0 = value;
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.lease_reads = true;
    config
}

struct World {
    hall: SharedRuntime,
    machines: Vec<SimNode>,
    cluster: Cluster<Cell>,
    leader: NodeId,
    follower: NodeId,
}

impl World {
    async fn new(simulator: &SimRuntime) -> World {
        let hall: SharedRuntime = Arc::new(simulator.node("hall"));
        let machines: Vec<SimNode> = (1..=3).map(|id| simulator.node(&format!("machine {id}"))).collect();
        let mut cluster = Cluster::new(hall.clone(), 3, config(), Cell::default);
        for (id, machine) in (1..).map(NodeId).zip(&machines) {
            cluster.start_node(id, Arc::new(machine.clone())).await.expect("a node starts");
        }
        let leader = cluster.leader().await;
        let follower = cluster.nodes().keys().copied().find(|id| *id != leader).expect("there are three");
        cluster.node(leader).write(1).await.expect("a healthy cluster writes");
        World { hall, machines, cluster, leader, follower }
    }

    fn machine(&self, id: NodeId) -> &SimNode {
        &self.machines[id.0 as usize - 1]
    }

    fn isolate(&self, id: NodeId) {
        for other in self.cluster.nodes().keys().filter(|other| **other != id) {
            self.cluster.network().partition(id, *other);
        }
    }

    async fn soon<T>(&self, reading: impl Future<Output = T>) -> Option<T> {
        timeout(&*self.hall, Duration::from_millis(20), reading).await
    }
}

async fn by_lease(node: &Node<Cell>) -> Result<u64, ReadError> {
    node.read_lease(|cell| cell.0).await
}

#[test]
fn a_leader_with_a_lease_asks_nobody() {
    let simulator = SimRuntime::new(1);
    simulator.run_until(async {
        let world = World::new(&simulator).await;
        let node = world.cluster.node(world.leader);
        assert_eq!(by_lease(node).await, Ok(1), "the first is confirmed by a round, which begins the lease");
        world.isolate(world.leader);
        assert_eq!(world.soon(by_lease(node)).await, Some(Ok(1)));
        assert_eq!(world.soon(node.read(|cell| cell.0)).await, None, "nobody is there to confirm it");
        sleep(&*world.hall, Duration::from_millis(300)).await;
        assert_eq!(world.soon(by_lease(node)).await, None, "the lease is over");
    });
}

#[test]
fn a_follower_takes_reads_that_allow_a_lease_and_asks_its_leader() {
    let simulator = SimRuntime::new(2);
    simulator.run_until(async {
        let world = World::new(&simulator).await;
        assert_eq!(by_lease(world.cluster.node(world.follower)).await, Ok(1));
    });
}

/// The leader's machine stands still for longer than its lease; another leads and takes a write; a read is
/// already waiting when the machine goes on.
#[test]
fn a_leader_that_stood_still_answers_no_lease_read_with_what_is_stale() {
    for seed in 1..=30 {
        let simulator = SimRuntime::new(seed);
        simulator.run_until(async {
            let world = World::new(&simulator).await;
            let node = world.cluster.node(world.leader).clone();
            assert_eq!(by_lease(&node).await, Ok(1));
            assert_eq!(by_lease(&node).await, Ok(1));
            world.machine(world.leader).pause();
            sleep(&*world.hall, Duration::from_millis(200 + 100 * (seed % 10))).await;
            // What is carried to the leader that stands still has no answer.
            while world.cluster.node(world.follower).write(2).await.is_err() {}
            let seen = Arc::new(Mutex::new(None));
            let reading = {
                let (node, seen) = (node.clone(), seen.clone());
                async move {
                    let answer = by_lease(&node).await;
                    *seen.lock().expect("no panic") = Some(answer);
                }
            };
            world.hall.spawn("reader", Place::Any, Box::pin(reading));
            sleep(&*world.hall, Duration::from_millis(1)).await;
            world.machine(world.leader).resume();
            sleep(&*world.hall, Duration::from_secs(6)).await;
            let seen = seen.lock().expect("no panic").take();
            assert_eq!(seen, Some(Ok(2)), "seed {seed}");
        });
    }
}

#[test]
fn a_transfer_in_the_middle_of_lease_reads_makes_none_stale() {
    for seed in 1..=30 {
        let simulator = SimRuntime::new(seed);
        simulator.run_until(async {
            let world = World::new(&simulator).await;
            let old = world.cluster.node(world.leader).clone();
            world.cluster.network().delay(Duration::ZERO..=Duration::from_millis(40));
            by_lease(&old).await.expect("a healthy cluster reads");
            let moving = old.clone();
            let transfer = async move {
                let _ = moving.transfer_leadership(None).await;
            };
            world.hall.spawn("transfer", Place::Any, Box::pin(transfer));
            let mut compared = 0;
            for value in 2..30 {
                let writer = world.cluster.node(world.follower);
                if writer.write(value).await.is_ok() {
                    let seen = by_lease(&old).await.expect("a healthy cluster reads");
                    assert_eq!(seen, value, "seed {seed}");
                    compared += 1;
                }
            }
            assert!(compared > 20, "seed {seed}: the cluster goes on under another leader");
            assert_ne!(world.cluster.leader().await, world.leader, "seed {seed}");
        });
    }
}

#[test]
fn a_read_within_a_bound_is_never_older_and_goes_on_for_as_long_without_the_others() {
    let simulator = SimRuntime::new(4);
    simulator.run_until(async {
        let world = World::new(&simulator).await;
        let node = world.cluster.node(world.follower).clone();
        let within = |milliseconds| node.read_within(Duration::from_millis(milliseconds), |cell| cell.0);
        assert_eq!(within(200).await, Ok(1), "nothing is known yet, so the leader is asked");
        world.cluster.node(world.leader).write(2).await.expect("a healthy cluster writes");
        world.isolate(world.follower);
        let stale = world.soon(within(200)).await;
        assert!(matches!(stale, Some(Ok(1 | 2))), "both were the truth within the bound: {stale:?}");
        sleep(&*world.hall, Duration::from_millis(200)).await;
        assert_eq!(world.soon(within(200)).await, None, "nobody is there to ask");
        world.cluster.network().heal();
        assert_eq!(within(200).await, Ok(2));
    });
}
