//! Disks that answer nothing, and disks that are slow: who leads then, and what the nodes say of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use raft_actor::{
    events::Change,
    node::{End, Node},
    runtime::{Runtime, SharedRuntime, sim::SimRuntime, sleep, timeout},
    storage::StorageError,
    testkit::{memory::MemoryLog, network::Network},
    types::{NodeId, Role},
};

use super::{hooked::Hooked, sum::Sum};

/// How long each write of one node takes; more than a test lasts where its disk hangs.
type Pace = Arc<Mutex<Duration>>;

const HANGS: Duration = Duration::from_secs(1 << 20);

/// Waits as long as a write takes now. A pace that changes meanwhile counts for what is under way, too.
async fn linger(runtime: SharedRuntime, pace: Pace) -> Result<(), StorageError> {
    let began = runtime.now();
    while runtime.now().since(began) < *pace.lock().expect("no panic under the lock") {
        sleep(&*runtime, Duration::from_millis(1)).await;
    }
    Ok(())
}

struct Scene {
    hall: SharedRuntime,
    nodes: BTreeMap<NodeId, Node<Sum>>,
    paces: BTreeMap<NodeId, Pace>,
}

impl Scene {
    async fn start(simulator: &SimRuntime, count: u64) -> Scene {
        Scene::start_on(simulator, count, |_| Duration::ZERO).await
    }

    async fn start_on(simulator: &SimRuntime, count: u64, pace: impl Fn(NodeId) -> Duration) -> Scene {
        let hall: SharedRuntime = Arc::new(simulator.node("hall"));
        let network = Network::new(hall.clone(), 1);
        let mut scene = Scene { hall, nodes: BTreeMap::new(), paces: BTreeMap::new() };
        for id in (1..=count).map(NodeId) {
            let (pace, machine): (Pace, SharedRuntime) =
                (Arc::new(Mutex::new(pace(id))), Arc::new(simulator.node("machine")));
            let (slow, clock) = (pace.clone(), machine.clone());
            let node = Node::builder(id, Sum::default())
                .members((1..=count).map(|number| (NodeId(number), Network::address(NodeId(number)))))
                .storage(Hooked {
                    log: MemoryLog::new(),
                    before_write: move || linger(clock.clone(), slow.clone()),
                })
                .transport(network.transport(id))
                .runtime(machine)
                .start()
                .await
                .expect("a node starts");
            network.attach(id, node.inbox());
            scene.nodes.insert(id, node);
            scene.paces.insert(id, pace);
        }
        scene
    }

    fn pace(&self, id: NodeId, pace: Duration) {
        *self.paces[&id].lock().expect("no panic under the lock") = pace;
    }

    async fn wait(&self, duration: Duration) {
        sleep(&*self.hall, duration).await;
    }

    async fn leader(&self) -> NodeId {
        loop {
            for node in self.nodes.values() {
                if node.status().await.role == Role::Leader {
                    return node.id();
                }
            }
            self.wait(Duration::from_millis(10)).await;
        }
    }

    /// Writes one after the other for so long, with a breath between; gives how many were made.
    async fn write_for(&self, node: NodeId, duration: Duration) -> u64 {
        let end = self.hall.now().after(duration);
        let mut written = 0;
        while self.hall.now() < end {
            let writing = timeout(&*self.hall, end.since(self.hall.now()), self.nodes[&node].write(1));
            written += u64::from(writing.await.is_some_and(|outcome| outcome.is_ok()));
            self.wait(Duration::from_millis(20)).await;
        }
        written
    }
}

fn simulate(test: impl AsyncFnOnce(&SimRuntime)) {
    simulate_from(3, test);
}

fn simulate_from(seed: u64, test: impl AsyncFnOnce(&SimRuntime)) {
    let simulator = SimRuntime::new(seed);
    simulator.run_until(test(&simulator));
}

#[test]
fn a_leader_whose_disk_hangs_is_replaced_and_takes_part_again_when_it_answers() {
    simulate(async |simulator| {
        let scene = Scene::start(simulator, 3).await;
        let hung = scene.leader().await;
        let other = NodeId(hung.0 % 3 + 1);
        scene.nodes[&other].write(1).await.expect("a write");
        let mut events = scene.nodes[&hung].events(1000);
        scene.pace(hung, HANGS);
        // What it has taken itself cannot be answered by it; another's clients are served by the next leader.
        let made = scene.write_for(other, Duration::from_secs(8)).await;
        assert!(made > 10, "only {made} writes were made beside a leader whose disk hangs");
        let status = scene.nodes[&hung].status().await;
        assert_ne!((status.role, scene.leader().await), (Role::Leader, hung));
        assert!(status.disk_hangs_for > Some(Duration::from_secs(7)), "{:?}", status.disk_hangs_for);
        scene.nodes[&hung].campaign();
        scene.wait(Duration::from_secs(1)).await;
        assert_ne!(scene.nodes[&hung].status().await.role, Role::Leader, "whoever asks it");

        scene.pace(hung, Duration::ZERO);
        scene.wait(Duration::from_secs(1)).await;
        let sum = scene.nodes[&other].read(|sum| sum.0).await.expect("a read");
        assert_eq!(scene.nodes[&hung].read(|sum| sum.0).await, Ok(sum), "it has caught up");
        assert_eq!(scene.nodes[&hung].status().await.disk_hangs_for, None);
        let mut told = Vec::new();
        while let Some(event) = events.try_next() {
            match event.change {
                Change::DiskHangs { silent_for } => {
                    told.push(format!("hangs {}", silent_for.as_millis() / 100))
                }
                Change::DiskAnswers => told.push("answers".to_owned()),
                Change::RoleChanged { role, .. } => told.push(role.to_string()),
                _ => {}
            }
        }
        told.dedup();
        assert_eq!(told, ["hangs 6", "follower", "answers"]);
    });
}

#[test]
fn a_follower_whose_disk_hangs_is_waited_for_by_nobody_and_says_so() {
    simulate(async |simulator| {
        let scene = Scene::start(simulator, 3).await;
        let leader = scene.leader().await;
        let hung = NodeId(leader.0 % 3 + 1);
        scene.pace(hung, HANGS);
        assert!(scene.write_for(leader, Duration::from_secs(3)).await > 10);
        assert_eq!(scene.leader().await, leader);
        let (hung, leader) = (scene.nodes[&hung].status().await, scene.nodes[&leader].status().await);
        assert!(hung.disk_hangs_for.is_some() && leader.disk_hangs_for.is_none());
        assert!(leader.peers[&hung.id].match_index < leader.commit_index, "it has acknowledged nothing");
    });
}

#[test]
fn leadership_stays_where_disks_are_slow_or_where_no_other_is_better() {
    let slow = Duration::from_millis(500);
    for (count, paces) in [
        (3, [slow, Duration::ZERO]),
        (3, [slow, slow]),
        (3, [slow * 3, slow * 3]),
        (3, [HANGS, HANGS]),
        (1, [HANGS, HANGS]),
    ] {
        simulate(async |simulator| {
            let scene = Scene::start(simulator, count).await;
            let leader = scene.leader().await;
            scene.nodes[&leader].write(1).await.expect("a write");
            let term = scene.nodes[&leader].status().await.term;
            for id in scene.nodes.keys() {
                scene.pace(*id, if *id == leader { paces[0] } else { paces[1] });
            }
            scene.write_for(leader, Duration::from_secs(30)).await;
            let status = scene.nodes[&leader].status().await;
            assert_eq!((status.role, status.term), (Role::Leader, term), "{count} with {paces:?}");
        });
    }
}

#[test]
fn disks_slower_than_an_election_timeout_elect_a_leader() {
    let (fast, slow, slower) = (Duration::ZERO, Duration::from_millis(900), Duration::from_secs(3));
    for (count, paces) in
        [(1, [slow, slow]), (3, [slow, slow]), (3, [fast, slow]), (3, [slower, slower]), (5, [slow, slow])]
    {
        for seed in 0..5 {
            simulate_from(seed, async |simulator| {
                let scene = Scene::start_on(simulator, count, |id| paces[usize::from(id.0 > 1)]).await;
                // A leader may fall to somebody who stood in a later term while it was being elected.
                let written = timeout(&*scene.hall, Duration::from_secs(60), async {
                    while scene.nodes[&scene.leader().await].write(1).await.is_err() {}
                });
                assert!(written.await.is_some(), "no write: {count} with {paces:?}, seed {seed}");
            });
        }
    }
}

#[test]
fn a_node_whose_disk_hangs_while_it_votes_keeps_nobody_from_being_elected() {
    for seed in 0..5 {
        simulate_from(seed, async |simulator| {
            let scene = Scene::start(simulator, 3).await;
            let leader = scene.leader().await;
            let (hung, other) = (NodeId(leader.0 % 3 + 1), NodeId((leader.0 + 1) % 3 + 1));
            scene.pace(hung, HANGS);
            scene.nodes[&leader].shutdown().await;
            scene.nodes[&hung].campaign();
            // One of two that are left has a disk: nobody is elected, nor may be.
            scene.wait(Duration::from_secs(30)).await;
            assert_ne!(scene.nodes[&hung].status().await.role, Role::Leader);
            assert_ne!(scene.nodes[&other].status().await.role, Role::Leader);
            scene.pace(hung, Duration::ZERO);
            let written = timeout(&*scene.hall, Duration::from_secs(30), async {
                while scene.nodes[&other].write(1).await.is_err() {
                    scene.wait(Duration::from_millis(10)).await;
                }
            });
            assert!(written.await.is_some(), "the vote that hung is there, and an election follows");
        });
    }
}

#[test]
fn a_node_that_is_told_to_end_does_not_wait_for_ever_for_a_disk_that_hangs() {
    simulate(async |simulator| {
        let scene = Scene::start(simulator, 3).await;
        let leader = scene.leader().await;
        scene.nodes[&leader].write(1).await.expect("a write");
        scene.pace(leader, HANGS);
        let lost = timeout(&*scene.hall, Duration::from_millis(100), scene.nodes[&leader].write(2)).await;
        assert!(lost.is_none(), "nothing is acknowledged that is not on its disk: {lost:?}");
        let began = scene.hall.now();
        let (node, again) = (&scene.nodes[&leader], scene.nodes[&leader].clone());
        let (end, same) = futures_util::future::join(node.shutdown(), again.shutdown()).await;
        let End::Unfinished { reason } = &end else { panic!("{end:?}") };
        assert!(reason.contains("log store") && !reason.contains("applier"), "{reason}");
        assert!(scene.hall.now() <= began.after(Duration::from_millis(11_201)), "10 s, and two timeouts");
        assert_eq!((&end, node.stopped().await), (&same, Some(reason.clone())));
        assert_eq!(node.status().await.failure.as_ref(), Some(reason));
        // The others go on with what was acknowledged, and end in order.
        let other = scene.leader().await;
        assert!(scene.nodes[&other].write(4).await.expect("a write") >= 5);
        assert_eq!(scene.nodes[&other].shutdown().await, End::InOrder);
        assert_eq!(scene.nodes[&other].stopped().await, None);
    });
}
