//! The cluster of one run: machines with disks, nodes that run on them, and the network between them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Simulation,
    chance::{Chance, stream_seed},
    coverage,
    disk::Disk,
    watch::{Eye, Watch},
    watched::{Owner, Pace, WatchedLog, WatchedSnapshots},
    witness::Witness,
    workload::Workload,
};
use crate::{
    config::Config,
    error::StartError,
    node::Node,
    runtime::{Place, Runtime, SharedRuntime, SimNode, SimRuntime, sleep, timeout},
    status::Status,
    testkit::network::Network,
    types::{NodeId, Role},
};

/// Longer than any answer may take, whatever is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Spare machines, for nodes that join.
const SPARE_MACHINES: u64 = 2;

pub(super) type SimulatedNode<W> = Node<Witness<W>>;

/// A machine, and what is on it now.
pub(super) struct Slot<W: Workload> {
    pub(super) machine: SimNode,
    pub(super) pace: Pace,
    pub(super) disk: Arc<dyn Disk>,
    /// Whose disk it is. None: nobody's, and empty.
    pub(super) id: Option<NodeId>,
    pub(super) node: Option<SimulatedNode<W>>,
    /// Somebody is at work on it.
    pub(super) is_taken: bool,
    /// A node on it may stop by itself, or refuse to start, because of its disk.
    pub(super) may_refuse: bool,
    /// A life of a node: tells it from those before and after.
    pub(super) life: u64,
}

/// Why a node is not there.
#[derive(Debug)]
pub(super) enum BootError {
    /// Its machine crashed meanwhile.
    Crashed,
    /// The node refuses to start.
    Refused(StartError),
}

pub(super) struct World<W: Workload> {
    pub(super) simulation: Simulation<W>,
    pub(super) seed: u64,
    pub(super) watch: Arc<Watch>,
    /// Where clients, operators and the network live.
    pub(super) hall: SharedRuntime,
    pub(super) network: Network,
    pub(super) config: Config,
    pub(super) first_members: Vec<(NodeId, String)>,
    slots: Mutex<Vec<Slot<W>>>,
    next_id: AtomicU64,
    disks: AtomicU64,
    /// Somebody changes the members on purpose.
    pub(super) is_changing: AtomicBool,
    /// Until then a change of members that somebody has given up may still be made, in nanoseconds.
    pub(super) unsure_until: AtomicU64,
    /// Faults under way.
    pub(super) under_way: AtomicU64,
    /// Nothing new is to begin.
    pub(super) is_ending: AtomicBool,
    pub(super) clients: AtomicU64,
}

impl<W: Workload> World<W> {
    pub(super) fn new(simulation: &Simulation<W>, seed: u64, simulator: &SimRuntime) -> Arc<World<W>> {
        let mut chance = Chance::stream(seed, "cluster", 0);
        let hall: SharedRuntime = Arc::new(simulator.node("hall"));
        let size = *chance.pick(&simulation.sizes);
        let pace = chance.millis(0, 6);
        let id = |number| (NodeId(number), Network::address(NodeId(number)));
        let world = World {
            simulation: simulation.clone(),
            seed,
            watch: Arc::default(),
            network: Network::new(hall.clone(), stream_seed(seed, "network", 0)),
            hall,
            config: simulation.config_of(&mut chance),
            first_members: (1..=size).map(id).collect(),
            slots: Mutex::new(Vec::new()),
            next_id: AtomicU64::new(size + 1),
            disks: AtomicU64::new(0),
            is_changing: AtomicBool::new(false),
            unsure_until: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
            clients: AtomicU64::new(0),
        };
        let slot = |number: u64| Slot {
            machine: simulator.node(&format!("machine {number}")),
            pace: Pace::new(pace),
            disk: world.new_disk(),
            id: (number <= size).then_some(NodeId(number)),
            node: None,
            is_taken: false,
            may_refuse: false,
            life: 0,
        };
        *world.slots() = (1..=size + SPARE_MACHINES).map(slot).collect();
        world.calm();
        Arc::new(world)
    }

    pub(super) fn slots(&self) -> MutexGuard<'_, Vec<Slot<W>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn with<T>(&self, place: usize, act: impl FnOnce(&mut Slot<W>) -> T) -> T {
        act(&mut self.slots()[place])
    }

    pub(super) fn new_disk(&self) -> Arc<dyn Disk> {
        let number = self.disks.fetch_add(1, Ordering::Relaxed);
        (self.simulation.disks)(stream_seed(self.seed, "disk", number))
    }

    pub(super) fn new_id(&self) -> NodeId {
        NodeId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// The network as it is where nothing is wrong with it.
    pub(super) fn calm(&self) {
        self.network.loss(0.0);
        self.network.duplicate(0.0);
        self.network.reorder(0.0);
        self.network.delay(Duration::from_micros(100)..=Duration::from_millis(2));
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        sleep(&*self.hall, duration).await;
    }

    /// Nodes that run.
    pub(super) fn running(&self) -> Vec<SimulatedNode<W>> {
        self.slots().iter().filter_map(|slot| slot.node.clone()).collect()
    }

    pub(super) fn any_running(&self, random: u64) -> Option<SimulatedNode<W>> {
        let slots = self.slots();
        let count = slots.iter().filter(|slot| slot.node.is_some()).count().max(1);
        slots.iter().filter_map(|slot| slot.node.as_ref()).nth(random as usize % count).cloned()
    }

    /// Every node's id and its machine's place.
    pub(super) fn ids(&self) -> BTreeMap<NodeId, usize> {
        let slots = self.slots();
        let ids = slots.iter().enumerate().filter_map(|(place, slot)| Some((slot.id?, place)));
        ids.collect()
    }

    /// Starts the node whose disk is in this machine.
    pub(super) async fn boot(self: &Arc<Self>, place: usize) -> Result<(), BootError> {
        let Some((machine, life)) = self.with(place, |slot| {
            slot.life += 1;
            slot.id.map(|_| (slot.machine.clone(), slot.life))
        }) else {
            return Ok(());
        };
        let (reply, started) = oneshot::channel();
        let world = self.clone();
        let task = async move {
            // Whoever waited may have gone.
            let _ = reply.send(world.compose(place).await);
        };
        machine.spawn("boot", Place::Any, Box::pin(task));
        let Ok(node) = started.await else { return Err(BootError::Crashed) };
        let node = node.map_err(BootError::Refused)?;
        self.network.attach(node.id(), node.inbox());
        self.with(place, |slot| slot.node = Some(node.clone()));
        let world = self.clone();
        let guard = async move {
            let Some(reason) = node.stopped().await else { return };
            let is_wrong = world.with(place, |slot| slot.life == life && !slot.may_refuse);
            if is_wrong {
                world.watch.fail(super::STAYS_UP, format!("node {} stopped: {reason}", node.id()));
            }
        };
        self.hall.spawn("guard", Place::Any, Box::pin(guard));
        Ok(())
    }

    async fn compose(self: &Arc<Self>, place: usize) -> Result<SimulatedNode<W>, StartError> {
        let (id, machine, pace, disk) = self.with(place, |slot| {
            (slot.id.unwrap_or_default(), slot.machine.clone(), slot.pace.clone(), slot.disk.clone())
        });
        let runtime: SharedRuntime = Arc::new(machine);
        let storages = disk.open(id, &runtime)?;
        let owner = Owner { node: id, runtime: runtime.clone(), pace, watch: self.watch.clone() };
        let machine = Witness::<W>::new(self.simulation.workload.machine(), owner.clone());
        let builder = Node::builder(id, machine);
        let is_first = self.first_members.iter().any(|(member, _)| *member == id);
        let builder = if is_first { builder.members(self.first_members.clone()) } else { builder.join() };
        builder
            .storage(WatchedLog { owner: owner.clone(), log: storages.log })
            .snapshots(WatchedSnapshots { owner, snapshots: storages.snapshots })
            .transport(self.network.transport(id))
            .runtime(runtime)
            .config(self.config.clone())
            .observer(Eye(self.watch.clone()))
            .start()
            .await
    }

    /// Boots until the node is there, or refuses for good. False where it refuses because of its disk.
    pub(super) async fn boot_surely(self: &Arc<Self>, place: usize) -> bool {
        for _ in 0..100 {
            match timeout(&*self.hall, PATIENCE, self.boot(place)).await {
                Some(Ok(())) => return true,
                Some(Err(BootError::Crashed)) => {}
                Some(Err(BootError::Refused(error))) => {
                    let (id, may_refuse) = self.with(place, |slot| (slot.id, slot.may_refuse));
                    self.watch.note(coverage::REFUSED_DISKS);
                    if !may_refuse {
                        let what = format!("node {id:?} refuses to start: {error}");
                        self.watch.fail(super::STAYS_UP, what);
                    }
                    return false;
                }
                None => {
                    self.watch.fail(super::ANSWERS, format!("the start of machine {place} hangs"));
                    return false;
                }
            }
        }
        false
    }

    /// Power is cut: what was not flushed is gone, or half there.
    pub(super) fn crash(&self, place: usize, torn: u64) {
        let (machine, disk, node) = self.with(place, |slot| {
            slot.life += 1;
            (slot.machine.clone(), slot.disk.clone(), slot.node.take())
        });
        if let Some(node) = node {
            self.network.detach(node.id());
        }
        // The image is taken first: what destructors write reaches no disk any more.
        disk.cut_power(torn);
        machine.crash();
    }

    /// Ends a node in order.
    pub(super) async fn shut_down(&self, place: usize) {
        let Some(node) = self.with(place, |slot| {
            slot.life += 1;
            slot.node.take()
        }) else {
            return;
        };
        if timeout(&*self.hall, PATIENCE, node.shutdown()).await.is_none() {
            self.watch.fail(super::ANSWERS, format!("the shutdown of node {} hangs", node.id()));
        }
        self.network.detach(node.id());
        // What is left of the process goes with it.
        let (machine, disk) = self.with(place, |slot| (slot.machine.clone(), slot.disk.clone()));
        disk.cut_power(0);
        machine.crash();
    }

    /// The status of the leader of the newest term, if one is known.
    pub(super) async fn leader(&self) -> Option<Status> {
        let mut leaders = Vec::new();
        for node in self.running() {
            let status = timeout(&*self.hall, Duration::from_secs(10), node.status()).await;
            leaders.extend(status.filter(|status| status.role == Role::Leader));
        }
        leaders.into_iter().max_by_key(|status| status.term)
    }
}
