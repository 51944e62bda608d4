//! Host: the simulator. One thread, virtual time, and an order of events that a seed decides.
//!
//! Of the tasks that are ready, a random one runs next. Each poll takes a microsecond of virtual time; where
//! nothing is ready, time jumps to the next timer. So a run is the same each time for the same seed
//! ([`SimRuntime::trace_hash`] proves it), and hours pass in seconds.

mod executor;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use self::executor::{Alarm, Body, Executor, MAIN, Next, SimTimer, State, Task};
use super::{BoxFuture, Place, Runtime, Timer};
use crate::types::Time;

/// How much virtual time [`SimRuntime::run_until`] gives its future: a run that beats on without getting
/// anywhere ends here.
const RUN_MAX: Duration = Duration::from_secs(24 * 3600);

/// The simulator. Dropping it drops all its tasks.
///
/// Give actors a [`SimNode`], one a machine, so that machines can crash. The simulator is a runtime itself as
/// well; an `Arc` of it that is held by its own tasks is never dropped.
pub struct SimRuntime {
    whole: SimNode,
    seed: u64,
}

impl SimRuntime {
    /// A simulator at time 0, with nothing in it.
    pub fn new(seed: u64) -> SimRuntime {
        let whole = SimNode::new(Executor::new(seed), 0, "simulator");
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
    /// Naming the seed: where nothing is ready and no timer is set (a deadlock), or where it is not done
    /// after a day of virtual time. Also where called from inside a task of the simulator.
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

    /// A hash over every poll so far: which task, and when. The same seed and the same program give the same
    /// hash.
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

    /// A power cut: drops all the node's tasks where they stand. What is spawned later runs, as on a machine
    /// that has been started again.
    pub fn crash(&self) {
        self.shared.crashing.store(true, Ordering::Release);
        let dropped: BTreeMap<_, _> = {
            let mut state = self.shared.executor.lock();
            let number = self.shared.number;
            state.paused.remove(&number);
            let (gone, rest) =
                std::mem::take(&mut state.tasks).into_iter().partition(|(_, task)| task.node == number);
            state.tasks = rest;
            gone
        };
        dropped.into_values().for_each(drop_quietly);
        self.shared.crashing.store(false, Ordering::Release);
    }

    /// From now on none of the node's tasks runs, while time and the rest of the world go on.
    pub fn pause(&self) {
        self.shared.executor.lock().paused.insert(self.shared.number);
    }

    /// From now on the node's clock, moved on by `jump`, goes at `rate_percent` of the true rate, which is
    /// 100 at first. It never goes back.
    pub fn set_clock(&self, rate_percent: u64, jump: Duration) {
        let waiting = self.shared.executor.lock().set_clock(self.shared.number, rate_percent, jump);
        waiting.into_iter().for_each(Waker::wake);
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
        self.shared.executor.lock().local_time(self.shared.number)
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(SimTimer::new(&self.shared.executor, self.shared.number))
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
