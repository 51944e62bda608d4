//! What the simulator keeps: tasks, who is ready, timers, the time, and the two streams of chance.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use crate::{
    runtime::{BoxFuture, Timer},
    types::Time,
};

/// What a poll costs. Not zero, so that time passes even where some task is always ready.
const POLL: Duration = Duration::from_micros(1);

/// The number of the future that `run_until` waits for. Spawned tasks count from 1.
pub(super) const MAIN: u64 = 0;

pub(super) enum Next {
    Main,
    Task(u64, Body),
    Nothing,
    TimeIsUp,
}

pub(super) struct Executor(Mutex<State>);

impl Executor {
    pub(super) fn new(seed: u64) -> Arc<Executor> {
        let state = State {
            now: Time(0),
            number: MAIN,
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            timers: BTreeMap::new(),
            clocks: BTreeMap::new(),
            paused: BTreeSet::new(),
            held: Vec::new(),
            nodes: 0,
            order: fastrand::Rng::with_seed(seed),
            // Far from the seed of the order, so that the streams do not look alike.
            chance: fastrand::Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15),
            trace: seed,
            running: false,
        };
        Arc::new(Executor(Mutex::new(state)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under this lock, so a poisoned one is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct State {
    pub(super) now: Time,
    /// The last number given to a task or to a timer's setting.
    pub(super) number: u64,
    pub(super) tasks: BTreeMap<u64, Task>,
    /// Numbers of tasks to poll, each at most once. Some may be gone.
    pub(super) ready: Vec<u64>,
    /// By the simulator's own time. With each its machine, whose clock it goes by.
    pub(super) timers: BTreeMap<(Time, u64), (Waker, u64)>,
    /// Of the machines whose clocks are not true.
    clocks: BTreeMap<u64, Clock>,
    pub(super) paused: BTreeSet<u64>,
    /// Tasks of paused nodes that were ready.
    pub(super) held: Vec<u64>,
    pub(super) nodes: u64,
    order: fastrand::Rng,
    pub(super) chance: fastrand::Rng,
    pub(super) trace: u64,
    pub(super) running: bool,
}

impl State {
    pub(super) fn due_timers(&mut self) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(first) = self.timers.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            due.push(first.remove().0);
        }
        due
    }

    /// What a machine's clock shows.
    pub(super) fn local_time(&self, node: u64) -> Time {
        self.clocks.get(&node).map_or(self.now, |clock| clock.shows(self.now))
    }

    /// When a machine's clock shows `local`.
    fn when(&self, node: u64, local: Time) -> Time {
        self.clocks.get(&node).map_or(local, |clock| clock.when(local))
    }

    /// From now on a machine's clock, moved on by `jump`, goes at this rate. Returns whoever waits for it.
    pub(super) fn set_clock(&mut self, node: u64, rate_percent: u64, jump: Duration) -> Vec<Waker> {
        let clock = Clock { set_at: self.now, showed: self.local_time(node).after(jump), rate_percent };
        self.clocks.insert(node, clock);
        let waiting = self.timers.values().filter(|(_, whose)| *whose == node);
        waiting.map(|(waker, _)| waker.clone()).collect()
    }

    /// Takes a random one of the ready tasks; `None` where it is gone, or has to wait for its node.
    pub(super) fn pick(&mut self) -> Option<Next> {
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

    pub(super) fn mix(&mut self, value: u64) {
        self.trace = (self.trace.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

/// A clock that is not true.
struct Clock {
    set_at: Time,
    showed: Time,
    rate_percent: u64,
}

impl Clock {
    fn shows(&self, now: Time) -> Time {
        let passed = u128::from(now.0 - self.set_at.0) * u128::from(self.rate_percent) / 100;
        Time(self.showed.0.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// Rounded up, so that the time has come by then.
    fn when(&self, local: Time) -> Time {
        let wait = u128::from(local.0.saturating_sub(self.showed.0)) * 100;
        let wait = wait.div_ceil(u128::from(self.rate_percent.max(1)));
        Time(self.set_at.0.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)))
    }
}

pub(super) struct Task {
    pub(super) name: &'static str,
    pub(super) label: Arc<str>,
    pub(super) node: u64,
    /// Out while it is polled.
    pub(super) body: Option<Body>,
}

impl Task {
    pub(super) fn title(&self) -> String {
        format!("{} of {}", self.name, self.label)
    }
}

pub(super) struct Body {
    pub(super) future: BoxFuture<'static, ()>,
    pub(super) waker: Waker,
    pub(super) alarm: Arc<Alarm>,
}

/// What a waker rings: puts its task among the ready ones, once until it is polled.
pub(super) struct Alarm {
    executor: Arc<Executor>,
    pub(super) number: u64,
    pub(super) waiting: AtomicBool,
}

impl Alarm {
    pub(super) fn new(executor: &Arc<Executor>, number: u64) -> Arc<Alarm> {
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

pub(super) struct SimTimer {
    executor: Arc<Executor>,
    node: u64,
    at: Option<Time>,
    /// Its place among the executor's timers.
    set: Option<(Time, u64)>,
}

impl SimTimer {
    pub(super) fn new(executor: &Arc<Executor>, node: u64) -> SimTimer {
        SimTimer { executor: executor.clone(), node, at: None, set: None }
    }

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
        if state.local_time(self.node) >= at {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let due = state.when(self.node, at);
        // Where the clock was set meanwhile, the time has another place among the others.
        let moved = self.set.take_if(|(set, _)| *set != due).and_then(|set| state.timers.remove(&set));
        let set = self.set.unwrap_or_else(|| {
            state.number += 1;
            (due, state.number)
        });
        self.set = Some(set);
        let before = state.timers.insert(set, (waker, self.node));
        drop(state);
        drop((moved, before));
        Poll::Pending
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        self.unset();
    }
}
