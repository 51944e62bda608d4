//! How a node ends: in order, or because something failed. Shared by the actors and the handles, and outlives
//! them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::{status::Status, types::Time};

/// How far an orderly end has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has not begun.
    Running,
    /// New writes are refused; those under way are waited for.
    Draining { until: Time },
    /// Leadership is being handed over.
    HandingOver { until: Time },
    /// Nothing is left to wait for.
    Over,
}

impl Phase {
    /// A handing-over has ended, well or not: there is nothing more to try.
    pub(crate) fn handed_over(&mut self) {
        if matches!(self, Phase::HandingOver { .. }) {
            *self = Phase::Over;
        }
    }
}

/// Held for an actor whose end counts: dropped when the actor has ended, however it did.
pub(crate) struct Presence(Arc<Ending>);

impl Presence {
    pub(crate) fn new(ending: &Arc<Ending>) -> Presence {
        Presence(ending.clone())
    }

    /// The node that the actor belongs to.
    pub(crate) fn ending(&self) -> &Ending {
        &self.0
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.actor_ended();
    }
}

/// What is known of a node's end.
#[derive(Default)]
pub(crate) struct Ending(Mutex<State>);

#[derive(Default)]
struct State {
    /// Actors that still run and whose end counts: those that hold something of the application's.
    running: usize,
    failure: Option<String>,
    last_status: Option<Status>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Ending {
    /// The node has `running` actors whose end it waits for.
    pub(crate) fn new(running: usize) -> Ending {
        Ending(Mutex::new(State { running, ..State::default() }))
    }

    /// The node stops because of this. The first reason is kept: later ones follow from it.
    pub(crate) fn fail(&self, reason: String) {
        let mut state = self.lock();
        if state.failure.is_none() {
            tracing::error!(%reason, "the node stops for good");
            state.failure = Some(reason);
        }
    }

    /// What the node knew of itself when it ended.
    pub(crate) fn last_status(&self, status: Status) {
        self.lock().last_status = Some(status);
    }

    fn actor_ended(&self) {
        let waiting = {
            let mut state = self.lock();
            state.running = state.running.saturating_sub(1);
            if state.running > 0 {
                return;
            }
            std::mem::take(&mut state.waiting)
        };
        for waiting in waiting {
            // A caller that no longer waits is no error.
            let _ = waiting.send(());
        }
    }

    /// Waits until all have ended.
    pub(crate) async fn wait(&self) {
        let ended = {
            let mut state = self.lock();
            if state.running == 0 {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push(sender);
            receiver
        };
        // The sender lives in this object until it is used.
        let _ = ended.await;
    }

    /// Why the node stopped, where it was not asked to.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// The node's last word on itself, once it has ended.
    pub(crate) fn final_status(&self) -> Option<Status> {
        let state = self.lock();
        let mut status = state.last_status.clone()?;
        status.failure.clone_from(&state.failure);
        Some(status)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under this lock, so a poisoned one is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
