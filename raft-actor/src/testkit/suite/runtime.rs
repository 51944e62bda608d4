//! What every [`Runtime`](crate::runtime::Runtime) has to do, and what actors on it may count on.
//!
//! Write a [`Host`], and call [`all`] in a test. Each check is a function of its own as well, which takes a
//! fresh runtime and panics where the runtime falls short. Times are measured on the runtime's own clock,
//! with bounds so wide that a busy machine does not break them.

mod mail;
mod time;

use std::{
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

pub use self::{
    mail::{
        a_full_mailbox_refuses_at_once, messages_of_a_sender_arrive_in_order_and_each_once,
        two_groups_talk_to_each_other, wake_ups_from_other_threads_are_not_lost,
        what_an_actor_sends_itself_arrives_as_one_batch, what_is_sent_in_one_turn_arrives_in_few_batches,
    },
    time::{
        a_busy_actor_leaves_turns_to_its_neighbours, a_timer_never_fires_early,
        a_timer_set_anew_fires_at_its_new_time, deadlines_are_kept_under_a_flood,
        deadlines_are_kept_under_a_flood_from_other_threads, time_passes_and_chance_varies,
    },
};
use crate::{
    runtime::{
        BoxFuture, Place, SharedRuntime,
        actor::{Actor, Context, Exit, start, yield_once},
        mailbox::{Addr, SendError},
        sleep, timeout,
    },
    types::GroupId,
};

/// A check: what it does on a runtime.
pub type Check = fn(SharedRuntime) -> BoxFuture<'static, ()>;

/// A way to run checks on the runtime that is put to the test.
pub trait Host {
    /// Makes a fresh runtime, blocks the calling thread until the check is done on it, and lets its panic
    /// through.
    fn run(&self, check: Check);

    /// Whether the runtime can be woken by other threads: false for a simulator, true for everything else.
    fn threads(&self) -> bool {
        true
    }
}

/// Runs every check.
///
/// # Panics
///
/// Where the runtime falls short, saying in what.
pub fn all(host: &dyn Host) {
    let checks: [Check; 13] = [
        messages_of_a_sender_arrive_in_order_and_each_once,
        what_an_actor_sends_itself_arrives_as_one_batch,
        what_is_sent_in_one_turn_arrives_in_few_batches,
        a_busy_actor_leaves_turns_to_its_neighbours,
        deadlines_are_kept_under_a_flood,
        a_timer_never_fires_early,
        a_timer_set_anew_fires_at_its_new_time,
        a_panic_ends_one_actor_and_is_told,
        a_panic_of_a_task_ends_no_other,
        a_stopped_actor_takes_no_mail,
        a_full_mailbox_refuses_at_once,
        two_groups_talk_to_each_other,
        time_passes_and_chance_varies,
    ];
    checks.into_iter().for_each(|check| host.run(check));
    if host.threads() {
        host.run(wake_ups_from_other_threads_are_not_lost);
        host.run(deadlines_are_kept_under_a_flood_from_other_threads);
    }
}

/// Long enough for anything that works.
const PATIENCE: Duration = Duration::from_secs(30);
const GROUP: Place = Place::Group(GroupId(0));
const ROOMY: usize = 1 << 20;

/// Waits for `condition`.
async fn until(runtime: &SharedRuntime, what: &str, condition: impl Fn() -> bool) {
    let start = runtime.now();
    while !condition() {
        assert!(runtime.now().since(start) < PATIENCE, "waited in vain for: {what}");
        sleep(&**runtime, Duration::from_millis(1)).await;
        // Where timers are at fault and fire at once, others must have their turn all the same.
        yield_once().await;
    }
}

/// Does with each batch, and at each deadline, what the closures say.
struct Closures<M, H, T> {
    first: Option<Duration>,
    on_batch: H,
    on_timeout: T,
    mail: PhantomData<fn(M)>,
}

impl<M, H, T> Actor for Closures<M, H, T>
where
    M: Send + 'static,
    H: FnMut(&mut Vec<M>, &mut Context<M>) + Send + 'static,
    T: FnMut(&mut Context<M>) + Send + 'static,
{
    type Message = M;

    fn started(&mut self, context: &mut Context<M>) {
        let deadline = self.first.map(|wait| context.now().after(wait));
        context.wake_at(deadline);
    }

    async fn handle(&mut self, batch: &mut Vec<M>, context: &mut Context<M>) {
        (self.on_batch)(batch, context);
    }

    fn timeout(&mut self, context: &mut Context<M>) {
        (self.on_timeout)(context);
    }
}

/// Starts an actor that only answers mail.
fn reader<M: Send + 'static>(
    runtime: &SharedRuntime,
    place: Place,
    address: &Addr<M>,
    on_batch: impl FnMut(&mut Vec<M>, &mut Context<M>) + Send + 'static,
) -> Arc<Mutex<Option<Exit>>> {
    let actor = Closures { first: None, on_batch, on_timeout: |_: &mut _| {}, mail: PhantomData };
    let exit = Arc::new(Mutex::new(None));
    let (seen, mailbox) = (exit.clone(), address.clone());
    start(runtime, "reader", place, address, actor, move |how| {
        assert!(mailbox.is_closed(), "the end is told before the mailbox is closed");
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
    });
    exit
}

fn read(exit: &Mutex<Option<Exit>>) -> Option<Exit> {
    exit.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A panic ends its actor: the mailbox closes, replies are dropped, the end says what was said. The neighbour
/// lives.
pub fn a_panic_ends_one_actor_and_is_told(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let (bad, good) = (Addr::new(16), Addr::new(16));
        let exit = reader(&runtime, GROUP, &bad, |batch: &mut Vec<(u64, oneshot::Sender<u64>)>, _| {
            for (number, reply) in batch.drain(..) {
                assert!(number != 7, "number {number} is bad luck");
                let _ = reply.send(number);
            }
        });
        reader(&runtime, GROUP, &good, |batch: &mut Vec<(u64, oneshot::Sender<u64>)>, _| {
            batch.drain(..).for_each(|(number, reply)| _ = reply.send(number));
        });
        let ask = |address: &Addr<_>, number| {
            let (reply, answer) = oneshot::channel();
            address.send((number, reply));
            answer
        };
        assert_eq!(timeout(&*runtime, PATIENCE, ask(&bad, 6)).await, Some(Ok(6)));
        let answers = [ask(&bad, 7), ask(&bad, 8), ask(&bad, 9)];
        for answer in answers {
            let answer = timeout(&*runtime, PATIENCE, answer).await;
            assert!(
                matches!(answer, Some(Err(_) | Ok(8 | 9))),
                "a caller waits for a dead actor: {answer:?}"
            );
        }
        until(&runtime, "the end to be told", || read(&exit).is_some()).await;
        assert_eq!(read(&exit), Some(Exit::Panicked("number 7 is bad luck".to_owned())));
        let (reply, _) = oneshot::channel();
        assert!(matches!(bad.try_send((1, reply)), Err(SendError::Closed((1, _)))));
        assert!(matches!(timeout(&*runtime, PATIENCE, ask(&bad, 1)).await, Some(Err(_))));
        assert_eq!(timeout(&*runtime, PATIENCE, ask(&good, 1)).await, Some(Ok(1)));
    })
}

/// A task that panics takes no other with it.
pub fn a_panic_of_a_task_ends_no_other(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let (go_on, wait) = oneshot::channel::<()>();
        let (done, result) = oneshot::channel();
        let survivor = async move {
            let _ = wait.await;
            let _ = done.send(());
        };
        runtime.spawn("survivor", GROUP, Box::pin(survivor));
        runtime.spawn("victim", GROUP, Box::pin(async { panic!("the victim panics, as it should") }));
        sleep(&*runtime, Duration::from_millis(5)).await;
        let _ = go_on.send(());
        assert_eq!(timeout(&*runtime, PATIENCE, result).await, Some(Ok(())), "the survivor is gone");
    })
}

/// An actor that stops drops what waits, and with it the replies; later mail is refused.
pub fn a_stopped_actor_takes_no_mail(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let address = Addr::new(16);
        let exit = reader(&runtime, GROUP, &address, |batch: &mut Vec<oneshot::Sender<()>>, context| {
            // Mail that comes in the last turn is not read any more.
            batch.drain(..).for_each(|reply| context.me().send(reply));
            context.stop();
        });
        let (reply, answer) = oneshot::channel();
        address.send(reply);
        assert!(matches!(timeout(&*runtime, PATIENCE, answer).await, Some(Err(_))), "nobody answers");
        until(&runtime, "the end to be told", || read(&exit).is_some()).await;
        assert_eq!(read(&exit), Some(Exit::Stopped));
        assert!(address.is_closed() && address.is_empty());
        assert!(matches!(address.try_send(oneshot::channel().0), Err(SendError::Closed(_))));
    })
}
