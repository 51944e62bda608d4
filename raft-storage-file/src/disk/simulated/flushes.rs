//! Flushes that take their time, or hang.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use raft_actor::runtime::BoxFuture;

use super::SimulatedDisk;

/// Gives the time that a flush takes.
type Takes = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// The flushes that are not over yet.
#[derive(Default)]
pub(super) struct Flushes {
    pub(super) takes: Option<Takes>,
    under_way: Vec<BoxFuture<'static, ()>>,
    waiting: Arc<Waiting>,
}

/// All who wait: whichever of them polls, each is woken.
#[derive(Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Flushes {
    /// Begins one. Whether it takes time.
    pub(super) fn begin(&mut self) -> bool {
        let Some(takes) = &self.takes else { return false };
        self.under_way.push(takes());
        true
    }

    fn poll(&mut self, task: &Context<'_>) -> Poll<()> {
        self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner).push(task.waker().clone());
        let waker = Waker::from(self.waiting.clone());
        let mut every = Context::from_waker(&waker);
        self.under_way.retain_mut(|flush| flush.as_mut().poll(&mut every).is_pending());
        if self.under_way.is_empty() {
            waker.wake();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Waits until no flush is under way.
pub(super) struct Settled(pub(super) SimulatedDisk);

impl Future for Settled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state();
        let polled = state.flushes.poll(task);
        if polled.is_ready() {
            state.before_flush = None;
        }
        polled
    }
}
