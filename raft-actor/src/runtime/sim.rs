//! Host: the simulator. One thread, virtual time, and an order of events that a seed decides.
//!
//! Of the tasks that are ready, a random one runs next. Each poll takes a microsecond of virtual time; where nothing is ready, time jumps to the next
//! timer. So a run is the same each time for the same seed ([`SimRuntime::trace_hash`] proves it), and hours pass in seconds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::{BoxFuture, Place, Runtime, Timer};
use crate::types::Time;

/// What a poll costs. Not zero, so that time passes even where some task is always ready.
const POLL: Duration = Duration::from_micros(1);

/// How much virtual time [`SimRuntime::run_until`] gives its future: a run that beats on without getting anywhere ends here.
const RUN_MAX: Duration = Duration::from_secs(24 * 3600);

/// The number of the future that `run_until` waits for. Spawned tasks count from 1.
const MAIN: u64 = 0;

/// The simulator. Dropping it drops all its tasks.
///
/// Give actors a [`SimNode`], one a machine, so that machines can crash. The simulator is a runtime itself as well; an `Arc` of it that is held
/// by its own tasks is never dropped.
pub struct SimRuntime {
    whole: SimNode,
    seed: u64,
}

impl SimRuntime {
    /// A simulator at time 0, with nothing in it.
    pub fn new(seed: u64) -> SimRuntime {
        let state = State {
            now: Time(0),
            number: MAIN,
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            timers: BTreeMap::new(),
            paused: BTreeSet::new(),
            held: Vec::new(),
            nodes: 0,
            order: fastrand::Rng::with_seed(seed),
            // Far from the seed of the order, so that the streams do not look alike.
            chance: fastrand::Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15),
            trace: seed,
            running: false,
        };
        let whole = SimNode::new(Arc::new(Executor(Mutex::new(state))), 0, "simulator");
        SimRuntime { whole, seed }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A new machine. The label is for people.
    pub fn node(&self, label: &str) -> SimNode {
        let number = {
            let mut state = self.state();
            state.nodes += 1;
            state.nodes
        };
        SimNode::new(self.whole.shared.executor.clone(), number, label)
    }

    /// Runs everything until `future` is done, and gives what it gives.
    ///
    /// # Panics
    ///
    /// Naming the seed: where nothing is ready and no timer is set (a deadlock), or where it is not done after a day of virtual time. Also where called
    /// from inside a task of the simulator.
    pub fn run_until<T>(&self, future: impl Future<Output = T>) -> T {
        let _running = self.enter();
        let limit = self.now().after(RUN_MAX);
        let mut future = pin!(future);
        let alarm = Alarm::new(&self.whole.shared.executor, MAIN);
        let waker = Waker::from(alarm.clone());
        waker.wake_by_ref();
        loop {
            match self.next(limit) {
                Next::Main => {
                    alarm.waiting.store(false, Ordering::Release);
                    if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                        return value;
                    }
                }
                Next::Task(number, body) => self.poll(number, body),
                Next::Nothing => self.fail("nothing is ready and no timer is set: a deadlock"),
                Next::TimeIsUp => self.fail("the future is not done after a day"),
            }
        }
    }

    /// Runs everything for this long.
    ///
    /// # Panics
    ///
    /// Where called from inside a task of the simulator.
    pub fn run_for(&self, duration: Duration) {
        let _running = self.enter();
        let end = self.now().after(duration);
        loop {
            match self.next(end) {
                Next::Task(number, body) => self.poll(number, body),
                // A leftover wake-up of an earlier `run_until`.
                Next::Main => {}
                Next::Nothing | Next::TimeIsUp => break,
            }
        }
        let mut state = self.state();
        state.now = state.now.max(end);
    }

    /// A hash over every poll so far: which task, and when. The same seed and the same program give the same hash.
    pub fn trace_hash(&self) -> u64 {
        self.state().trace
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.state().tasks.len()
    }

    fn enter(&self) -> Running<'_> {
        let before = std::mem::replace(&mut self.state().running, true);
        assert!(!before, "a task of the simulator cannot run the simulator");
        Running(self)
    }

    fn fail(&self, why: &str) -> ! {
        let (now, names) = {
            let state = self.state();
            (state.now, state.tasks.values().map(|task| task.title()).collect::<Vec<_>>().join(", "))
        };
        let at = Duration::from_nanos(now.0);
        panic!("simulation with seed {}, at {at:?}: {why}; tasks: [{names}]", self.seed)
    }

    /// Picks what runs next, before `limit`.
    fn next(&self, limit: Time) -> Next {
        loop {
            let mut state = self.state();
            let due = state.due_timers();
            if !due.is_empty() {
                drop(state);
                due.into_iter().for_each(Waker::wake);
                continue;
            }
            if state.now >= limit {
                return Next::TimeIsUp;
            }
            if state.ready.is_empty() {
                let Some((at, _)) = state.timers.first_key_value().map(|(key, _)| *key) else {
                    return Next::Nothing;
                };
                state.now = at.min(limit);
                continue;
            }
            if let Some(next) = state.pick() {
                return next;
            }
        }
    }

    fn poll(&self, number: u64, mut body: Body) {
        body.alarm.waiting.store(false, Ordering::Release);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::from_waker(&body.waker);
            body.future.as_mut().poll(&mut context)
        }));
        let ended = {
            let mut state = self.state();
            match state.tasks.get_mut(&number) {
                Some(task) if matches!(polled, Ok(Poll::Pending)) => {
                    task.body = Some(body);
                    return;
                }
                // Done, panicked, or crashed by itself meanwhile.
                _ => state.tasks.remove(&number),
            }
        };
        drop_quietly((body, ended));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.whole.shared.executor.lock()
    }
}

impl Drop for SimRuntime {
    fn drop(&mut self) {
        let (tasks, timers) = {
            let mut state = self.state();
            // What destructors spawn from here on is dropped as well.
            state.nodes = u64::MAX;
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.timers))
        };
        tasks.into_values().for_each(drop_quietly);
        drop(timers);
    }
}

/// Says that the simulator runs, as long as it lives.
struct Running<'a>(&'a SimRuntime);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state().running = false;
    }
}

enum Next {
    Main,
    Task(u64, Body),
    Nothing,
    TimeIsUp,
}

struct Executor(Mutex<State>);

impl Executor {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under this lock, so a poisoned one is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct State {
    now: Time,
    /// The last number given to a task or to a timer's setting.
    number: u64,
    tasks: BTreeMap<u64, Task>,
    /// Numbers of tasks to poll, each at most once. Some may be gone.
    ready: Vec<u64>,
    timers: BTreeMap<(Time, u64), Waker>,
    paused: BTreeSet<u64>,
    /// Tasks of paused nodes that were ready.
    held: Vec<u64>,
    nodes: u64,
    order: fastrand::Rng,
    chance: fastrand::Rng,
    trace: u64,
    running: bool,
}

impl State {
    fn due_timers(&mut self) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(first) = self.timers.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            due.push(first.remove());
        }
        due
    }

    /// Takes a random one of the ready tasks; `None` where it is gone, or has to wait for its node.
    fn pick(&mut self) -> Option<Next> {
        let place = self.order.usize(..self.ready.len());
        let number = self.ready.swap_remove(place);
        let next = if number == MAIN {
            Next::Main
        } else {
            let task = self.tasks.get_mut(&number)?;
            if self.paused.contains(&task.node) {
                self.held.push(number);
                return None;
            }
            Next::Task(number, task.body.take()?)
        };
        self.now = self.now.after(POLL);
        self.mix(number);
        self.mix(self.now.0);
        Some(next)
    }

    fn mix(&mut self, value: u64) {
        self.trace = (self.trace.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

struct Task {
    name: &'static str,
    label: Arc<str>,
    node: u64,
    /// Out while it is polled.
    body: Option<Body>,
}

impl Task {
    fn title(&self) -> String {
        format!("{} of {}", self.name, self.label)
    }
}

struct Body {
    future: BoxFuture<'static, ()>,
    waker: Waker,
    alarm: Arc<Alarm>,
}

/// What a waker rings: puts its task among the ready ones, once until it is polled.
struct Alarm {
    executor: Arc<Executor>,
    number: u64,
    waiting: AtomicBool,
}

impl Alarm {
    fn new(executor: &Arc<Executor>, number: u64) -> Arc<Alarm> {
        Arc::new(Alarm { executor: executor.clone(), number, waiting: AtomicBool::new(false) })
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Alarm>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Alarm>) {
        if !self.waiting.swap(true, Ordering::AcqRel) {
            self.executor.lock().ready.push(self.number);
        }
    }
}

/// A machine in the simulator: a runtime whose tasks can be stopped together. Clones are the same machine.
#[derive(Clone)]
pub struct SimNode {
    shared: Arc<Node>,
}

struct Node {
    executor: Arc<Executor>,
    number: u64,
    label: Arc<str>,
    crashing: AtomicBool,
}

impl SimNode {
    fn new(executor: Arc<Executor>, number: u64, label: &str) -> SimNode {
        let crashing = AtomicBool::new(false);
        SimNode { shared: Arc::new(Node { executor, number, label: label.into(), crashing }) }
    }

    /// The label.
    pub fn label(&self) -> &str {
        &self.shared.label
    }

    /// A power cut: drops all the node's tasks where they stand. What is spawned later runs, as on a machine that has been started again.
    pub fn crash(&self) {
        self.shared.crashing.store(true, Ordering::Release);
        let dropped = {
            let mut state = self.shared.executor.lock();
            let number = self.shared.number;
            state.paused.remove(&number);
            state.tasks.extract_if(.., |_, task| task.node == number).collect::<Vec<_>>()
        };
        dropped.into_iter().for_each(drop_quietly);
        self.shared.crashing.store(false, Ordering::Release);
    }

    /// From now on none of the node's tasks runs, while time and the rest of the world go on.
    pub fn pause(&self) {
        self.shared.executor.lock().paused.insert(self.shared.number);
    }

    /// The node's tasks run again, and find out how late it is.
    pub fn resume(&self) {
        let mut state = self.shared.executor.lock();
        state.paused.remove(&self.shared.number);
        // Those of nodes that are still paused are held again when they are picked.
        let held = std::mem::take(&mut state.held);
        state.ready.extend(held);
    }
}

/// A panic in a destructor ends nobody else.
fn drop_quietly<T>(value: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
}

impl Runtime for SimNode {
    fn spawn(&self, name: &'static str, _place: Place, task: BoxFuture<'static, ()>) {
        let waker = {
            let mut state = self.shared.executor.lock();
            if state.nodes == u64::MAX || self.shared.crashing.load(Ordering::Acquire) {
                drop(state);
                return drop_quietly(task);
            }
            state.number += 1;
            let number = state.number;
            name.bytes().for_each(|byte| state.mix(u64::from(byte)));
            let alarm = Alarm::new(&self.shared.executor, number);
            let waker = Waker::from(alarm.clone());
            let body = Some(Body { future: task, waker: waker.clone(), alarm });
            let (label, node) = (self.shared.label.clone(), self.shared.number);
            state.tasks.insert(number, Task { name, label, node, body });
            waker
        };
        waker.wake();
    }

    fn now(&self) -> Time {
        self.shared.executor.lock().now
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(SimTimer { executor: self.shared.executor.clone(), at: None, set: None })
    }

    fn random(&self) -> u64 {
        self.shared.executor.lock().chance.u64(..)
    }
}

impl Runtime for SimRuntime {
    fn spawn(&self, name: &'static str, place: Place, task: BoxFuture<'static, ()>) {
        self.whole.spawn(name, place, task);
    }

    fn now(&self) -> Time {
        self.whole.now()
    }

    fn timer(&self) -> Box<dyn Timer> {
        self.whole.timer()
    }

    fn random(&self) -> u64 {
        self.whole.random()
    }
}

struct SimTimer {
    executor: Arc<Executor>,
    at: Option<Time>,
    /// Its place among the executor's timers.
    set: Option<(Time, u64)>,
}

impl SimTimer {
    fn unset(&mut self) {
        let waker = self.set.take().and_then(|set| self.executor.lock().timers.remove(&set));
        // Dropped outside the lock: it may be its task's last.
        drop(waker);
    }
}

impl Timer for SimTimer {
    fn reset(&mut self, at: Time) {
        if self.at != Some(at) {
            self.unset();
            self.at = Some(at);
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let mut state = self.executor.lock();
        if state.now >= at {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let set = self.set.unwrap_or_else(|| {
            state.number += 1;
            (at, state.number)
        });
        self.set = Some(set);
        let before = state.timers.insert(set, waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.unset();
    }
}

impl fmt::Debug for SimNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimNode({})", self.shared.label)
    }
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimRuntime(seed {})", self.seed)
    }
}
