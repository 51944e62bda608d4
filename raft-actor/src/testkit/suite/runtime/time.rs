//! Checks of time: deadlines, timers, turns, and the clock.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    marker::PhantomData,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Closures, GROUP, PATIENCE, ROOMY, read, reader, until};
use crate::{
    runtime::{
        BoxFuture, Place, SharedRuntime,
        actor::{Context, start, yield_once},
        mailbox::Addr,
        sleep, timeout,
    },
    types::Time,
};

/// Starts an actor that counts how often its deadline of `period` comes, whatever mail it gets.
fn ticker(runtime: &SharedRuntime, address: &Addr<u64>, period: Duration) -> Arc<AtomicU64> {
    let ticks = Arc::new(AtomicU64::new(0));
    let counted = ticks.clone();
    let on_timeout = move |context: &mut Context<u64>| {
        counted.fetch_add(1, Ordering::Relaxed);
        context.wake_at(Some(context.now().after(period)));
    };
    let on_batch = |_: &mut Vec<u64>, _: &mut Context<u64>| {};
    let actor = Closures { first: Some(period), on_batch, on_timeout, mail: PhantomData };
    start(runtime, "ticker", GROUP, address, actor, |_| {});
    ticks
}

/// An actor that always has mail, because each batch makes the next, does not keep its thread to itself.
pub fn a_busy_actor_leaves_turns_to_its_neighbours(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let address = Addr::new(ROOMY);
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let exit = reader(&runtime, GROUP, &address, move |_: &mut Vec<()>, context| {
            context.me().send(());
            if stop.load(Ordering::SeqCst) {
                context.stop();
            }
        });
        address.send(());
        let (done, turns) = oneshot::channel();
        let neighbour = async move {
            for _ in 0..1000 {
                yield_once().await;
            }
            let _ = done.send(());
        };
        runtime.spawn("neighbour", GROUP, Box::pin(neighbour));
        let result = timeout(&*runtime, PATIENCE, turns).await;
        over.store(true, Ordering::SeqCst);
        assert_eq!(result, Some(Ok(())), "the neighbour of a busy actor had no turns");
        until(&runtime, "the busy actor's end", || read(&exit).is_some()).await;
    })
}

const PERIOD: Duration = Duration::from_millis(10);
const TICKS: u64 = 20;

/// How much longer than it should the flood may take to let the deadlines through. The system may have given
/// the thread away for most of that time, for which the runtime is not to blame; a starved timer never comes
/// at all.
const SLACK: u32 = 20;

/// Waits until both deadlines came often enough. `start`: a time before they were first set.
async fn count_ticks(
    runtime: &SharedRuntime,
    start: Time,
    ticks: [(&str, Arc<AtomicU64>); 2],
    over: Arc<AtomicBool>,
) {
    let limit = PERIOD * TICKS as u32 * SLACK;
    let read = || ticks.each_ref().map(|(who, ticks)| (*who, ticks.load(Ordering::Relaxed)));
    while read().iter().any(|(_, count)| *count < TICKS) && runtime.now().since(start) < limit {
        sleep(&**runtime, PERIOD).await;
    }
    // In this order: the thread may be taken away in between.
    let counts = read();
    let passed = runtime.now().since(start);
    over.store(true, Ordering::SeqCst);
    for (who, count) in counts {
        let told = format!("the {who} actor's deadline of {PERIOD:?} came {count} times in {passed:?}");
        assert!(count >= TICKS, "{told}");
        assert!(PERIOD * count as u32 <= passed, "{told}: early");
    }
}

/// A deadline of 10 ms keeps coming, in an actor that other tasks flood and in an idle one beside it.
pub fn deadlines_are_kept_under_a_flood(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let start = runtime.now();
        let (flooded, idle) = (Addr::new(1 << 14), Addr::new(16));
        let ticks =
            [("flooded", ticker(&runtime, &flooded, PERIOD)), ("idle", ticker(&runtime, &idle, PERIOD))];
        let over = Arc::new(AtomicBool::new(false));
        for place in [GROUP, Place::Any] {
            let (flooded, over) = (flooded.clone(), over.clone());
            let flood = async move {
                while !over.load(Ordering::SeqCst) {
                    (0..64).for_each(|number| _ = flooded.try_send(number));
                    yield_once().await;
                }
            };
            runtime.spawn("flood", place, Box::pin(flood));
        }
        count_ticks(&runtime, start, ticks, over).await;
    })
}

/// The same, where the flood comes from threads that the runtime knows nothing of.
pub fn deadlines_are_kept_under_a_flood_from_other_threads(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let start = runtime.now();
        let (flooded, idle) = (Addr::new(1 << 14), Addr::new(16));
        let ticks =
            [("flooded", ticker(&runtime, &flooded, PERIOD)), ("idle", ticker(&runtime, &idle, PERIOD))];
        let over = Arc::new(AtomicBool::new(false));
        let (mailbox, end) = (flooded.clone(), over.clone());
        let flood = thread::spawn(move || {
            let mut number = 0;
            while !end.load(Ordering::Relaxed) {
                number += 1;
                if mailbox.try_send(number).is_err() {
                    thread::yield_now();
                }
            }
            number
        });
        count_ticks(&runtime, start, ticks, over).await;
        assert!(flood.join().expect("the flood does not panic") > 1000, "there was no flood");
    })
}

/// Timers of many lengths run side by side; none fires before its time, and all fire.
pub fn a_timer_never_fires_early(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let fired = Arc::new(Mutex::new(Vec::new()));
        let waits = [0, 1, 999, 100_000, 1_000_000, 1_000_001, 1_500_000, 7_999_999, 20_000_000];
        for wait in waits.into_iter().cycle().take(90) {
            let (runtime_there, fired) = (runtime.clone(), fired.clone());
            let task = async move {
                let mut timer = runtime_there.timer();
                let at = runtime_there.now().after(Duration::from_nanos(wait));
                timer.reset(at);
                poll_fn(|task| timer.poll(task)).await;
                let now = runtime_there.now();
                fired.lock().unwrap_or_else(PoisonError::into_inner).push((at, now));
            };
            runtime.spawn("timer", if wait % 2 == 0 { GROUP } else { Place::Any }, Box::pin(task));
        }
        let count = || fired.lock().unwrap_or_else(PoisonError::into_inner).len();
        until(&runtime, "all timers", || count() == 90).await;
        for (at, now) in fired.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            assert!(now >= at, "a timer for {at:?} fired at {now:?}");
        }
    })
}

/// A timer can be set later, earlier, and again after it fired; one that was never set never fires.
pub fn a_timer_set_anew_fires_at_its_new_time(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    let after =
        |runtime: &SharedRuntime, milliseconds| runtime.now().after(Duration::from_millis(milliseconds));
    Box::pin(async move {
        let mut timer = runtime.timer();
        let waits = poll_fn(|task| Poll::Ready(timer.poll(task).is_pending())).await;
        assert!(waits, "a timer that was never set fired");
        // Each step: the first setting, then the one that holds.
        for (first, second) in [(5, 30), (3_600_000, 5), (5, 5), (0, 10), (u64::MAX / 2_000_000, 5)] {
            let at = after(&runtime, first);
            timer.reset(at);
            let ready = poll_fn(|task| Poll::Ready(timer.poll(task).is_ready())).await;
            assert!(!ready || runtime.now() >= at, "fired before its first time");
            let at = after(&runtime, second);
            timer.reset(at);
            let fired = timeout(&*runtime, PATIENCE, poll_fn(|task| timer.poll(task))).await;
            assert!(fired.is_some(), "a timer set from {first} ms to {second} ms did not fire");
            assert!(runtime.now() >= at, "a timer set from {first} ms to {second} ms fired early");
            let again = poll_fn(|task| Poll::Ready(timer.poll(task).is_ready())).await;
            assert!(again, "a timer that has fired is ready until it is set again");
        }
        timer.reset(Time(u64::MAX));
        let long = timeout(&*runtime, Duration::from_millis(20), poll_fn(|task| timer.poll(task))).await;
        assert!(long.is_none(), "a timer for the end of time fired");
    })
}

/// The clock goes forward only, and random numbers are not all the same.
pub fn time_passes_and_chance_varies(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let (start, mut last) = (runtime.now(), runtime.now());
        for _ in 0..100 {
            let now = runtime.now();
            assert!(now >= last, "the clock went back from {last:?} to {now:?}");
            last = now;
            yield_once().await;
        }
        sleep(&*runtime, Duration::from_millis(3)).await;
        let passed = runtime.now().since(start);
        assert!(passed >= Duration::from_millis(3) && passed < PATIENCE, "{passed:?} passed instead of 3 ms");
        let numbers: BTreeSet<_> = (0..100).map(|_| runtime.random()).collect();
        assert!(numbers.len() > 90, "100 random numbers are {} different ones", numbers.len());
    })
}
