//! Seam: what actors run on. An object of five functions, so that nothing is generic over it.

#[cfg(feature = "actix")]
pub mod actix;
pub mod actor;
pub mod backoff;
#[cfg(feature = "tokio-time")]
mod clock;
pub mod mailbox;
pub mod permits;
#[cfg(feature = "testkit")]
pub mod sim;
#[cfg(feature = "tokio")]
pub mod tokio;
pub mod wait;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::types::{GroupId, Time};

#[cfg(feature = "actix")]
pub use self::actix::ActixRuntime;
#[cfg(feature = "testkit")]
pub use self::sim::{SimNode, SimRuntime};
#[cfg(feature = "tokio")]
pub use self::tokio::TokioRuntime;
pub use self::{
    backoff::Backoff,
    permits::{Permit, Permits},
    wait::{sleep, sleep_until, timeout},
};

/// A task, boxed.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A runtime, shared.
pub type SharedRuntime = Arc<dyn Runtime>;

/// Everything that an actor may ask of the outside world.
///
/// # Contract
///
/// * A spawned task is polled again after each wake-up, from whichever thread the waker was called; a wake-up
///   is never lost.
/// * Tasks of one [`Place::Group`] share a thread where the runtime can arrange it. Only speed depends on it:
///   tasks share nothing but mailboxes, so they may as well run at the same time.
/// * A task that the runtime cannot run any more (it is shutting down) is dropped, soon, and never kept.
/// * `now` never goes back, and a timer never fires before its time. It fires on time even while other tasks
///   of its place are always ready, as long as each of those returns from its polls.
/// * A task that panics takes no other task with it.
/// * `random` is the only chance there is; in a simulator it comes from the seed.
pub trait Runtime: Send + Sync + 'static {
    /// Runs `task` at `place` until it is done. `name` is for people: logs and traces.
    fn spawn(&self, name: &'static str, place: Place, task: BoxFuture<'static, ()>);

    /// The only clock.
    fn now(&self) -> Time;

    /// A timer, not yet set.
    fn timer(&self) -> Box<dyn Timer>;

    /// The only source of chance.
    fn random(&self) -> u64;

    /// Whether an actor should yield once before it drains its mailbox, so that batches form: true where
    /// several threads steal work from each other.
    fn coalesce(&self) -> bool {
        false
    }
}

/// A shared runtime is a runtime.
impl<R: Runtime + ?Sized> Runtime for Arc<R> {
    fn spawn(&self, name: &'static str, place: Place, task: BoxFuture<'static, ()>) {
        (**self).spawn(name, place, task);
    }

    fn now(&self) -> Time {
        (**self).now()
    }

    fn timer(&self) -> Box<dyn Timer> {
        (**self).timer()
    }

    fn random(&self) -> u64 {
        (**self).random()
    }

    fn coalesce(&self) -> bool {
        (**self).coalesce()
    }
}

impl fmt::Debug for dyn Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runtime")
    }
}

/// Where a task wants to live. A hint: a simulator ignores it; arbiters and cores obey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// With the rest of this group, on one thread where that can be had.
    Group(GroupId),
    /// Anywhere.
    Any,
}

/// A timer that is set anew instead of being cancelled, so nothing can be cancelled too late.
pub trait Timer: Send {
    /// From now on it fires at `at`.
    fn reset(&mut self, at: Time);

    /// Ready once the time has come, and from then on until it is set again; before that, the task is woken
    /// when it does. Pending for ever where never set.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()>;
}
