//! The suite on every host; and how hosts end.

use std::{
    cell::RefCell,
    future::{Future, pending},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use actix_rt::{Arbiter, System};
use raft_actor::{
    runtime::{
        ActixRuntime, Place, Runtime, SharedRuntime, SimRuntime, TokioRuntime,
        actor::{Actor, Context, start},
        mailbox::{Addr, SendError},
    },
    testkit::suite::runtime::{Check, Host, all},
    types::GroupId,
};
use tokio::runtime::Builder;

const PATIENCE: Duration = Duration::from_secs(30);

/// One host at a time: the suite floods, and two floods share too few processors.
pub(super) fn pass(hosts: &[&dyn Host]) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    hosts.iter().for_each(|host| all(*host));
}

struct ActixInside(usize);

impl Host for ActixInside {
    fn run(&self, check: Check) {
        System::new().block_on(async {
            let runtime = ActixRuntime::new(self.0).expect("arbiters start");
            check(Arc::new(runtime)).await;
        });
    }
}

struct ActixCurrentArbiter;

impl Host for ActixCurrentArbiter {
    fn run(&self, check: Check) {
        System::new().block_on(async { check(Arc::new(ActixRuntime::on_arbiter(Arbiter::current()))).await });
    }
}

struct ActixOutside(usize);

impl Host for ActixOutside {
    fn run(&self, check: Check) {
        assert!(!System::is_registered());
        let runtime: SharedRuntime = Arc::new(ActixRuntime::new(self.0).expect("arbiters start"));
        // The caller is a tokio program: what waits outside needs its timers.
        current_thread().block_on(check(runtime));
    }
}

struct Tokio {
    make: fn() -> tokio::runtime::Runtime,
    owned: bool,
}

impl Host for Tokio {
    fn run(&self, check: Check) {
        let outer = (self.make)();
        outer.block_on(async {
            let runtime = if self.owned {
                TokioRuntime::owned(2).expect("threads start")
            } else {
                TokioRuntime::current()
            };
            check(Arc::new(runtime)).await;
        });
    }
}

fn current_thread() -> tokio::runtime::Runtime {
    Builder::new_current_thread().enable_time().build().expect("tokio starts")
}

fn multi_thread() -> tokio::runtime::Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("tokio starts")
}

struct Simulator(u64);

impl Host for Simulator {
    fn run(&self, check: Check) {
        let simulator = SimRuntime::new(self.0);
        simulator.run_until(check(Arc::new(simulator.node("suite"))));
    }

    fn threads(&self) -> bool {
        false
    }
}

#[test]
fn actix_passes_the_suite_inside_a_system() {
    pass(&[&ActixInside(1), &ActixInside(2)]);
}

#[test]
fn actix_passes_the_suite_on_the_current_arbiter() {
    pass(&[&ActixCurrentArbiter]);
}

#[test]
fn actix_passes_the_suite_without_a_system() {
    pass(&[&ActixOutside(1), &ActixOutside(2)]);
}

#[test]
fn tokio_passes_the_suite_on_one_thread() {
    pass(&[&Tokio { make: current_thread, owned: false }]);
}

#[test]
fn tokio_passes_the_suite_on_many_threads() {
    pass(&[&Tokio { make: multi_thread, owned: false }]);
}

#[test]
fn tokio_passes_the_suite_on_threads_of_its_own() {
    pass(&[&Tokio { make: current_thread, owned: true }]);
}

#[test]
fn the_simulator_passes_the_suite_with_any_seed() {
    (0..3).for_each(|seed| all(&Simulator(seed)));
}

/// Tells, when it is dropped, that it was.
struct Dropped(mpsc::Sender<&'static str>, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

thread_local!(static THREAD: RefCell<Option<Dropped>> = const { RefCell::new(None) });

/// Spawns a task that never ends in each of two groups, and returns what tells of the end of each task and of
/// its thread.
fn watch(runtime: &dyn Runtime) -> mpsc::Receiver<&'static str> {
    let (ended, end) = mpsc::channel();
    let (started, start) = mpsc::channel();
    for group in 0..2 {
        let (ended, started) = (ended.clone(), started.clone());
        let task = async move {
            THREAD.set(Some(Dropped(ended.clone(), "thread")));
            let _task = Dropped(ended, "task");
            started.send(()).expect("the test waits");
            pending::<()>().await;
        };
        runtime.spawn("watched", Place::Group(GroupId(group)), Box::pin(task));
    }
    for _ in 0..2 {
        start.recv_timeout(PATIENCE).expect("the task starts");
    }
    end
}

fn expect_end(end: &mpsc::Receiver<&'static str>) {
    let mut seen: Vec<_> =
        (0..4).map(|_| end.recv_timeout(PATIENCE).expect("tasks and threads end")).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["task", "task", "thread", "thread"]);
}

#[test]
fn dropping_an_actix_runtime_ends_its_threads_and_drops_their_tasks() {
    let outside = ActixRuntime::new(2).expect("arbiters start");
    let end = watch(&outside);
    assert!(end.try_recv().is_err(), "nothing ends before its time");
    drop(outside);
    expect_end(&end);

    System::new().block_on(async {
        let inside = ActixRuntime::new(2).expect("arbiters start");
        let end = watch(&inside);
        drop(inside);
        expect_end(&end);
    });
}

#[test]
fn dropping_a_tokio_runtime_ends_its_threads_and_drops_their_tasks() {
    let owned = TokioRuntime::owned(2).expect("threads start");
    let end = watch(&owned);
    assert!(end.try_recv().is_err(), "nothing ends before its time");
    drop(owned);
    expect_end(&end);
}

#[test]
fn the_last_handle_may_be_dropped_by_a_task_of_the_runtime() {
    let make: [fn() -> SharedRuntime; 2] = [
        || Arc::new(ActixRuntime::new(2).expect("arbiters start")),
        || Arc::new(TokioRuntime::owned(2).expect("threads start")),
    ];
    for runtime in make.map(|make| make()) {
        let end = watch(&*runtime);
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let last = runtime.clone();
        let task = async move {
            let _ = wait.await;
            drop(last);
        };
        runtime.spawn("last", Place::Group(GroupId(0)), Box::pin(task));
        drop(runtime);
        let _ = go.send(());
        expect_end(&end);
    }
}

#[test]
fn an_arbiter_of_the_application_outlives_the_runtime_on_it() {
    System::new().block_on(async {
        let arbiter = Arbiter::new();
        drop(ActixRuntime::on_arbiter(arbiter.handle()));
        let (done, result) = tokio::sync::oneshot::channel();
        assert!(arbiter.spawn(async move { done.send(()).expect("the test waits") }));
        assert_eq!(result.await, Ok(()));
        arbiter.stop();
    });
}

#[test]
fn a_group_stays_on_its_arbiter_and_groups_are_spread() {
    let runtime = ActixRuntime::new(2).expect("arbiters start");
    let (tell, told) = mpsc::channel();
    for group in [0, 1, 2, 3, 0, 1, 2, 3] {
        let tell = tell.clone();
        let task = async move { tell.send((group, std::thread::current().id())).expect("the test waits") };
        runtime.spawn("where", Place::Group(GroupId(group)), Box::pin(task));
    }
    let mut threads = std::collections::BTreeMap::<u32, Vec<_>>::new();
    for _ in 0..8 {
        let (group, thread) = told.recv_timeout(PATIENCE).expect("the task runs");
        threads.entry(group % 2).or_default().push(thread);
    }
    assert!(threads.values().all(|same| same.len() == 4 && same.iter().all(|thread| *thread == same[0])));
    assert_ne!(threads[&0][0], threads[&1][0]);
}

struct Sleeper;

impl Actor for Sleeper {
    type Message = tokio::sync::oneshot::Sender<()>;

    fn handle(
        &mut self,
        _: &mut Vec<Self::Message>,
        _: &mut Context<Self::Message>,
    ) -> impl Future<Output = ()> + Send {
        pending()
    }
}

#[test]
fn an_actor_whose_tokio_runtime_is_shut_down_closes_its_mailbox() {
    let outer = multi_thread();
    let runtime: SharedRuntime = Arc::new(TokioRuntime::new(outer.handle().clone()));
    let address = Addr::new(16);
    let ended = Arc::new(AtomicU64::new(0));
    let count = ended.clone();
    start(&runtime, "sleeper", Place::Any, &address, Sleeper, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let (reply, answer) = tokio::sync::oneshot::channel();
    address.send(reply);
    outer.shutdown_timeout(PATIENCE);
    assert!(answer.blocking_recv().is_err(), "the caller is told");
    assert!(address.is_closed());
    assert_eq!(ended.load(Ordering::SeqCst), 0, "it did not end by itself");

    let late = Addr::new(16);
    start(&runtime, "late", Place::Any, &late, Sleeper, |_| {});
    assert!(matches!(late.try_send(tokio::sync::oneshot::channel().0), Err(SendError::Closed(_))));
}

#[test]
fn an_actor_whose_actix_system_stops_closes_its_mailbox() {
    let address = Addr::new(16);
    System::new().block_on(async {
        let runtime: SharedRuntime = Arc::new(ActixRuntime::new(1).expect("an arbiter starts"));
        start(&runtime, "sleeper", Place::Any, &address, Sleeper, |_| {});
        let (reply, answer) = tokio::sync::oneshot::channel();
        address.send(reply);
        System::current().stop();
        assert!(answer.await.is_err(), "the caller is told");
    });
    assert!(address.is_closed());
}
