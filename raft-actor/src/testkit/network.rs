//! The in-memory twin of the transport: a network of nodes in one process, with faults at will.
//!
//! Without faults a batch goes from `send` straight into the receiver's inbox, at the cost of one lock, so a
//! benchmark measures the nodes and not this. Cuts keep the [`Transport`] contract: what is sent into one is
//! lost, and the link with it, which the sender learns on its next send, as with a real network.
//! [`Network::loss`], [`Network::duplicate`] and [`Network::reorder`] break the contract on purpose: Raft
//! must bear more than a good transport does to it.
//!
//! All chance comes from the network's own seed, so on the simulator the same seed gives the same run.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    message::Envelope,
    runtime::{Place, SharedRuntime, sleep_until},
    transport::{Inbox, PeerLink, Transport, TransportError},
    types::{NodeId, Time},
};

/// How much later than its batch a message may come that is reordered or comes twice, where no delay is set.
const STRAGGLE_MAX: Duration = Duration::from_millis(10);

/// A network in memory. Clones are the same network.
///
/// On the simulator give it a machine of its own (`sim.node("network")`): what is on its way then survives
/// the crash of its sender.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    runtime: SharedRuntime,
    state: Mutex<State>,
}

struct State {
    random: fastrand::Rng,
    /// Who can be reached. The number tells one life of a node from the next.
    attached: BTreeMap<NodeId, (u64, Arc<dyn Inbox>)>,
    lives: u64,
    cuts: BTreeSet<(NodeId, NodeId)>,
    /// How much longer than others a batch takes from one to another.
    slow: BTreeMap<(NodeId, NodeId), Duration>,
    faults: Faults,
    /// Who waits for a node to come or go: the node, and the sender.
    watchers: BTreeMap<(NodeId, NodeId), Waker>,
}

#[derive(Clone, PartialEq)]
struct Faults {
    delay: RangeInclusive<Duration>,
    loss: f64,
    duplicate: f64,
    reorder: f64,
}

const NO_FAULTS: Faults =
    Faults { delay: Duration::ZERO..=Duration::ZERO, loss: 0.0, duplicate: 0.0, reorder: 0.0 };

/// What the network says of links that it does not have.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("no such node is attached to the network")]
    Nobody,
    #[error("the network is cut between the two")]
    Cut,
    #[error("the link broke")]
    Broken,
}

impl Network {
    /// A network without nodes and without faults. Delays are waited for on `runtime`; all chance comes from
    /// `seed`.
    pub fn new(runtime: SharedRuntime, seed: u64) -> Network {
        let state = State {
            random: fastrand::Rng::with_seed(seed),
            attached: BTreeMap::new(),
            lives: 0,
            cuts: BTreeSet::new(),
            slow: BTreeMap::new(),
            faults: NO_FAULTS,
            watchers: BTreeMap::new(),
        };
        Network(Arc::new(Shared { runtime, state: Mutex::new(state) }))
    }

    /// The transport of `node`. It needs not be attached to send.
    pub fn transport(&self, node: NodeId) -> NetworkTransport {
        NetworkTransport { node, network: self.clone() }
    }

    /// An address for a membership: `memory:` and the id. The network finds nodes by their ids and needs
    /// none, but refuses the address of another node.
    pub fn address(node: NodeId) -> String {
        format!("memory:{node}")
    }

    /// From now on `node` is reached, and its mail goes to `inbox`. Links to an earlier life of the node are
    /// broken.
    pub fn attach(&self, node: NodeId, inbox: Arc<dyn Inbox>) {
        let mut state = self.lock();
        state.lives += 1;
        let life = state.lives;
        state.attached.insert(node, (life, inbox));
        state.wake_watchers(node);
    }

    /// From now on `node` is not reached, and links to it are broken, as when its process ends.
    pub fn detach(&self, node: NodeId) {
        let detached = {
            let mut state = self.lock();
            state.wake_watchers(node);
            state.attached.remove(&node)
        };
        // Outside the lock: the inbox is someone else's.
        drop(detached);
    }

    /// Cuts both ways between `a` and `b`.
    pub fn partition(&self, a: NodeId, b: NodeId) {
        self.lock().cuts.extend([(a, b), (b, a)]);
    }

    /// Cuts one way: what `from` says does not reach `to`.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.lock().cuts.insert((from, to));
    }

    /// Ends a cut: what `from` says reaches `to` again.
    pub fn mend(&self, from: NodeId, to: NodeId) {
        self.lock().cuts.remove(&(from, to));
    }

    /// What `from` says takes so much longer to `to`. Default zero.
    pub fn slow(&self, from: NodeId, to: NodeId, by: Duration) {
        let slow = &mut self.lock().slow;
        if by.is_zero() {
            slow.remove(&(from, to));
        } else {
            slow.insert((from, to), by);
        }
    }

    /// Ends all cuts, and all other faults. What is still delayed stays so.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.cuts.clear();
        state.slow.clear();
        state.faults = NO_FAULTS;
    }

    /// Each batch takes so long, drawn evenly from `range`; a link keeps its order. Default zero.
    pub fn delay(&self, range: RangeInclusive<Duration>) {
        self.lock().faults.delay = range;
    }

    /// Each message is lost with this probability, while its link lives on. Default 0.
    pub fn loss(&self, probability: f64) {
        self.lock().faults.loss = probability;
    }

    /// Each message comes a second time, later, with this probability. Default 0.
    pub fn duplicate(&self, probability: f64) {
        self.lock().faults.duplicate = probability;
    }

    /// Each message is overtaken by later ones with this probability. Default 0.
    pub fn reorder(&self, probability: f64) {
        self.lock().faults.reorder = probability;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under this lock, so a poisoned one is still whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a batch to its receiver, if there still is a way.
    fn deliver(&self, route: Route, batch: Vec<Envelope>) {
        let inbox = self.lock().inbox(route).ok();
        if let Some(inbox) = inbox {
            inbox.deliver(batch);
        }
    }

    /// Delivers `envelope` by itself, at `due`.
    fn straggle(&self, route: Route, due: Time, envelope: Envelope) {
        let network = self.clone();
        let task = async move {
            sleep_until(&*network.0.runtime, due).await;
            network.deliver(route, vec![envelope]);
        };
        self.0.runtime.spawn("network straggler", Place::Any, Box::pin(task));
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(f, "Network({} nodes, {} cuts)", state.attached.len(), state.cuts.len())
    }
}

/// From whom to whom, and to which life of the receiver.
#[derive(Clone, Copy)]
struct Route {
    from: NodeId,
    to: NodeId,
    life: u64,
}

impl State {
    fn inbox(&self, route: Route) -> Result<Arc<dyn Inbox>, Lost> {
        match self.attached.get(&route.to) {
            Some((life, inbox)) if *life == route.life => {
                if self.cuts.contains(&(route.from, route.to)) {
                    Err(Lost::Cut)
                } else {
                    Ok(inbox.clone())
                }
            }
            _ => Err(Lost::Broken),
        }
    }

    fn wake_watchers(&mut self, node: NodeId) {
        let watchers = (node, NodeId(0))..=(node, NodeId(u64::MAX));
        self.watchers.extract_if(watchers, |_, _| true).for_each(|(_, watcher)| watcher.wake());
    }

    fn chance(&mut self, probability: f64) -> bool {
        // Drawn only where it can happen, so a fault that is off does not change a run.
        probability > 0.0 && self.random.f64() < probability
    }

    fn between(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let (least, most) = (range.start().as_nanos() as u64, range.end().as_nanos() as u64);
        Duration::from_nanos(if least < most { self.random.u64(least..=most) } else { least })
    }

    /// Loses, repeats and holds back messages of `batch`: takes from it what does not go with the rest, and
    /// returns what comes later.
    fn disturb(&mut self, batch: &mut Vec<Envelope>) -> Vec<(Duration, Envelope)> {
        let Faults { delay, loss, duplicate, reorder } = self.faults.clone();
        if (loss, duplicate, reorder) == (0.0, 0.0, 0.0) {
            return Vec::new();
        }
        let later = Duration::ZERO..=delay.end().saturating_mul(2).max(STRAGGLE_MAX);
        let mut stragglers = Vec::new();
        batch.retain(|envelope| {
            if self.chance(loss) {
                return false;
            }
            if self.chance(duplicate) {
                stragglers.push((self.between(&later), envelope.clone()));
            }
            let held_back = self.chance(reorder);
            if held_back {
                stragglers.push((self.between(&later), envelope.clone()));
            }
            !held_back
        });
        stragglers
    }
}

/// One node's access to a [`Network`].
#[derive(Clone, Debug)]
pub struct NetworkTransport {
    node: NodeId,
    network: Network,
}

#[async_trait]
impl Transport for NetworkTransport {
    async fn connect(&self, peer: NodeId, address: &str) -> Result<Box<dyn PeerLink>, TransportError> {
        let address = address.to_owned();
        if let Some(found) = address.strip_prefix("memory:").filter(|id| *id != peer.to_string()) {
            let reason = format!("this is node {found}, not node {peer}");
            return Err(TransportError::Refused { peer, address, reason });
        }
        let state = self.network.lock();
        let route = match state.attached.get(&peer) {
            Some((life, _)) => Ok(Route { from: self.node, to: peer, life: *life }),
            None => Err(Lost::Nobody),
        };
        match route.and_then(|route| state.inbox(route).map(|_| route)) {
            Ok(route) => {
                let network = self.network.clone();
                let way = Arc::default();
                Ok(Box::new(NetworkLink { network, route, address, broken: false, way }))
            }
            Err(Lost::Nobody) => Err(TransportError::NotThere { peer, address }),
            Err(lost) => Err(TransportError::Unreachable { peer, address, source: Box::new(lost) }),
        }
    }
}

struct NetworkLink {
    network: Network,
    route: Route,
    address: String,
    broken: bool,
    way: Arc<Mutex<Way>>,
}

/// What is on its way along a link, in order, each batch with the time at which it arrives.
#[derive(Default)]
struct Way {
    flights: VecDeque<(Time, Vec<Envelope>)>,
    /// Whether a courier is taking care of them.
    courier: bool,
}

#[async_trait]
impl PeerLink for NetworkLink {
    async fn send(&mut self, batch: &mut Vec<Envelope>) -> Result<(), TransportError> {
        if self.broken {
            return Err(self.unreachable(Lost::Broken));
        }
        let mut batch = std::mem::take(batch);
        let (found, delay, stragglers) = {
            let mut state = self.network.lock();
            let delay = state.faults.delay.clone();
            let slow = state.slow.get(&(self.route.from, self.route.to)).copied().unwrap_or_default();
            (state.inbox(self.route), state.between(&delay) + slow, state.disturb(&mut batch))
        };
        let inbox = match found {
            Ok(inbox) => inbox,
            Err(Lost::Cut) => {
                // Lost without a word, as in a real network; the next send finds the link broken.
                self.broken = true;
                return Ok(());
            }
            Err(lost) => {
                self.broken = true;
                return Err(self.unreachable(lost));
            }
        };
        if stragglers.is_empty() && delay.is_zero() && !self.is_busy() {
            if !batch.is_empty() {
                inbox.deliver(batch);
            }
            return Ok(());
        }
        let now = self.network.0.runtime.now();
        for (later, envelope) in stragglers {
            self.network.straggle(self.route, now.after(delay).after(later), envelope);
        }
        self.dispatch(now.after(delay), batch);
        Ok(())
    }

    fn poll_closed(&mut self, task: &mut Context<'_>) -> Poll<TransportError> {
        let Route { from, to, life } = self.route;
        let mut state = self.network.lock();
        if state.attached.get(&to).is_none_or(|(now, _)| *now != life) {
            drop(state);
            return Poll::Ready(self.unreachable(Lost::Broken));
        }
        match state.watchers.entry((to, from)) {
            Entry::Occupied(mut watcher) => watcher.get_mut().clone_from(task.waker()),
            Entry::Vacant(watcher) => drop(watcher.insert(task.waker().clone())),
        }
        Poll::Pending
    }
}

impl NetworkLink {
    fn unreachable(&self, lost: Lost) -> TransportError {
        let address = self.address.clone();
        TransportError::Unreachable { peer: self.route.to, address, source: Box::new(lost) }
    }

    fn is_busy(&self) -> bool {
        lock(&self.way).courier
    }

    /// Puts a batch on its way, behind those that are on it.
    fn dispatch(&self, due: Time, batch: Vec<Envelope>) {
        let mut way = lock(&self.way);
        let due = way.flights.back().map_or(due, |(last, _)| due.max(*last));
        way.flights.push_back((due, batch));
        if !std::mem::replace(&mut way.courier, true) {
            let courier = carry(self.network.clone(), self.route, self.way.clone());
            self.network.0.runtime.spawn("network courier", Place::Any, Box::pin(courier));
        }
    }
}

/// Delivers what is on its way, each batch when it is due, until there is nothing more.
async fn carry(network: Network, route: Route, way: Arc<Mutex<Way>>) {
    loop {
        let next = {
            let mut way = lock(&way);
            way.courier = !way.flights.is_empty();
            way.flights.front().map(|(due, _)| *due)
        };
        let Some(due) = next else { return };
        sleep_until(&*network.0.runtime, due).await;
        let arrived = lock(&way).flights.pop_front();
        if let Some((_, batch)) = arrived.filter(|(_, batch)| !batch.is_empty()) {
            network.deliver(route, batch);
        }
    }
}

fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}
