//! Actors: the trait, the loop, and the loop's four rules.
//!
//! 1. Take everything that waits, as one batch (at most [`BATCH_MAX`](super::mailbox::BATCH_MAX)).
//! 2. Deadline before mailbox: a due timer runs first, however much mail there is.
//! 3. One batch a turn: where more waits by then, yield, so that the thread's other tasks and its timers
//!    live.
//! 4. On runtimes that steal work, yield once before draining, so that batches form
//!    ([`Runtime::coalesce`](super::Runtime::coalesce)).

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context as TaskContext, Poll},
};

use super::{Place, SharedRuntime, mailbox::Addr};
use crate::types::Time;

/// A worker with a mailbox and a state that nobody else touches.
pub trait Actor: Send + 'static {
    /// Its mail: one enum.
    type Message: Send + 'static;

    /// Called once, before any mail.
    fn started(&mut self, context: &mut Context<Self::Message>) {
        let _ = context;
    }

    /// Works through a batch; what is left in `batch` is dropped. An actor that keeps a deadline never waits
    /// in here; one that does I/O may, and its next batch gathers meanwhile.
    fn handle(
        &mut self,
        batch: &mut Vec<Self::Message>,
        context: &mut Context<Self::Message>,
    ) -> impl Future<Output = ()> + Send;

    /// Ready when something besides mail wants the actor: then [`Actor::handle`] is called, perhaps with an
    /// empty batch. Polled whenever the actor has nothing to do.
    fn poll_event(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        let _ = task;
        Poll::Pending
    }

    /// The time given to [`Context::wake_at`] has come.
    fn timeout(&mut self, context: &mut Context<Self::Message>) {
        let _ = context;
    }
}

/// What an actor may ask of its loop.
pub struct Context<M> {
    runtime: SharedRuntime,
    me: Addr<M>,
    deadline: Option<Time>,
    stopping: bool,
}

impl<M> Context<M> {
    /// The time.
    pub fn now(&self) -> Time {
        self.runtime.now()
    }

    /// The runtime that the actor lives on.
    pub fn runtime(&self) -> &SharedRuntime {
        &self.runtime
    }

    /// The actor's own address.
    pub fn me(&self) -> &Addr<M> {
        &self.me
    }

    /// Calls [`Actor::timeout`] once, at `deadline`; replaces the last one asked for. `None`: never.
    pub fn wake_at(&mut self, deadline: Option<Time>) {
        self.deadline = deadline;
    }

    /// Whether [`Context::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Ends the actor after the present call.
    pub fn stop(&mut self) {
        self.stopping = true;
    }
}

/// How an actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It asked to stop.
    Stopped,
    /// It panicked, saying this. Its state is lost.
    Panicked(String),
}

/// Starts `actor`, which reads from `address`. `ended` is called once, after its mailbox is closed.
///
/// Where the runtime drops the actor instead (it shuts down, or a simulated machine crashes), the mailbox is
/// closed as well, and `ended` is dropped uncalled.
pub fn start<A: Actor>(
    runtime: &SharedRuntime,
    name: &'static str,
    place: Place,
    address: &Addr<A::Message>,
    actor: A,
    ended: impl FnOnce(Exit) + Send + 'static,
) {
    let mailbox = CloseOnDrop(address.clone());
    let me = address.clone();
    let context = Context { runtime: runtime.clone(), me, deadline: None, stopping: false };
    let task = async move {
        // Named here so that it belongs to the task even where the task is never polled.
        let mailbox = mailbox;
        let exit = match catch_panic(run(actor, context)).await {
            Ok(()) => Exit::Stopped,
            Err(said) => Exit::Panicked(said),
        };
        drop(mailbox);
        ended(exit);
    };
    runtime.spawn(name, place, Box::pin(task));
}

/// Nobody may wait for an actor that is no more, however it went.
struct CloseOnDrop<M>(Addr<M>);

impl<M> Drop for CloseOnDrop<M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn run<A: Actor>(mut actor: A, mut context: Context<A::Message>) {
    let mailbox = context.me.clone();
    let coalesce = context.runtime.coalesce();
    let mut timer = context.runtime.timer();
    let mut armed = None;
    let mut batch = Vec::new();
    let mut worked = false;
    let mut has_event = false;
    actor.started(&mut context);
    while !context.stopping {
        if context.deadline != armed {
            armed = context.deadline;
            if let Some(at) = armed {
                timer.reset(at);
            }
        }
        poll_fn(|task| {
            // Where it is not held back, mail is taken as soon as it is seen: one lock a turn instead of two.
            let mail = if worked || coalesce {
                mailbox.poll_ready(task)
            } else {
                mailbox.poll_take(&mut batch, task)
            };
            has_event = mail.is_pending() && actor.poll_event(task).is_ready();
            let ready = mail.is_ready() || has_event || (armed.is_some() && timer.poll(task).is_ready());
            wait(ready, &mut worked, task)
        })
        .await;
        // The clock is asked, not the timer: a full mailbox must not hide that the time has come.
        if context.deadline.is_some_and(|deadline| context.now() >= deadline) {
            context.deadline = None;
            armed = None;
            actor.timeout(&mut context);
            if context.stopping {
                break;
            }
        }
        if coalesce {
            yield_once().await;
        }
        if batch.is_empty() {
            mailbox.take(&mut batch);
        }
        if !batch.is_empty() || std::mem::take(&mut has_event) {
            actor.handle(&mut batch, &mut context).await;
            batch.clear();
        }
        worked = !coalesce;
    }
}

/// Ready when there is mail or the time has come; but not at once after work, so that others have their turn.
fn wait(ready: bool, worked: &mut bool, task: &mut TaskContext<'_>) -> Poll<()> {
    if !ready {
        *worked = false;
        return Poll::Pending;
    }
    if std::mem::replace(worked, false) {
        task.waker().wake_by_ref();
        return Poll::Pending;
    }
    Poll::Ready(())
}

/// Gives the thread to its other tasks once.
pub async fn yield_once() {
    let mut yielded = false;
    poll_fn(|task| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs `future`; if it panics, gives back what it said.
async fn catch_panic(future: impl Future<Output = ()>) -> Result<(), String> {
    let mut future = pin!(future);
    poll_fn(|task| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => Poll::Ready(Err(said(&*panic))),
    })
    .await
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
