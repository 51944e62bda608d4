//! A runtime of your own, from nothing but the standard library; and a proof that the suite finds faults.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use raft_actor::{
    runtime::{BoxFuture, Place, Runtime, SharedRuntime, SimRuntime, Timer},
    testkit::suite::runtime::{Check, Host, a_timer_never_fires_early},
    types::Time,
};

/// Gives each task a thread.
struct Threads(Instant);

impl Runtime for Threads {
    fn spawn(&self, name: &'static str, _place: Place, task: BoxFuture<'static, ()>) {
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(|| block_on(task)).expect("the system has threads left");
    }

    fn now(&self) -> Time {
        Time(0).after(self.0.elapsed())
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(SleepingThread { origin: self.0, at: None, asleep: None })
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// A thread that sleeps until the time has come, and then wakes the task.
struct SleepingThread {
    origin: Instant,
    at: Option<Time>,
    asleep: Option<Time>,
}

impl Timer for SleepingThread {
    fn reset(&mut self, at: Time) {
        self.at = Some(at);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let wait = at.since(Time(0).after(self.origin.elapsed()));
        if wait.is_zero() {
            return Poll::Ready(());
        }
        if self.asleep.replace(at) != Some(at) {
            let waker = context.waker().clone();
            thread::spawn(move || {
                thread::sleep(wait);
                waker.wake();
            });
        }
        Poll::Pending
    }
}

struct OnThreads;

impl Host for OnThreads {
    fn run(&self, check: Check) {
        block_on(check(Arc::new(Threads(Instant::now()))));
    }
}

#[test]
fn a_runtime_of_the_standard_library_alone_passes_the_suite() {
    super::hosts::pass(&[&OnThreads]);
}

/// The simulator, but its timers fire a millisecond early.
struct Hasty(SharedRuntime);

impl Runtime for Hasty {
    fn spawn(&self, name: &'static str, place: Place, task: BoxFuture<'static, ()>) {
        self.0.spawn(name, place, task);
    }

    fn now(&self) -> Time {
        self.0.now()
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(HastyTimer(self.0.timer()))
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

struct HastyTimer(Box<dyn Timer>);

impl Timer for HastyTimer {
    fn reset(&mut self, at: Time) {
        self.0.reset(Time(at.0.saturating_sub(Duration::from_millis(1).as_nanos() as u64)));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll(context)
    }
}

#[test]
fn the_suite_finds_a_runtime_out_whose_timers_are_early() {
    let simulator = SimRuntime::new(1);
    let hasty = Arc::new(Hasty(Arc::new(simulator.node("hasty"))));
    let run = || simulator.run_until(a_timer_never_fires_early(hasty));
    let said = catch_unwind(AssertUnwindSafe(run)).expect_err("early timers pass");
    let said = said.downcast_ref::<String>().expect("in words");
    assert!(said.contains("fired at"), "{said}");
}
