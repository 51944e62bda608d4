//! How a node ends: in order, or because something failed. Shared by the actors and the handles, and outlives
//! them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

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
pub(crate) struct Presence(Arc<Ending>, &'static str);

impl Presence {
    pub(crate) fn new(ending: &Arc<Ending>, actor: &'static str) -> Presence {
        Presence(ending.clone(), actor)
    }

    /// The node that the actor belongs to.
    pub(crate) fn ending(&self) -> &Ending {
        &self.0
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.actor_ended(self.1);
    }
}

/// What is known of a node's end.
#[derive(Default)]
pub(crate) struct Ending(Mutex<State>);

#[derive(Default)]
struct State {
    /// Actors that still run and whose end counts: those that hold something of the application's.
    running: Vec<&'static str>,
    failure: Option<String>,
    /// They were not waited for any longer.
    is_given_up: bool,
    last_status: Option<Status>,
    waiting: Vec<oneshot::Sender<()>>,
    /// These wait for a failure, or for the end.
    watching: Vec<oneshot::Sender<()>>,
}

impl State {
    fn all_who_wait(&mut self) -> Vec<oneshot::Sender<()>> {
        self.waiting.drain(..).chain(self.watching.drain(..)).collect()
    }
}

impl Ending {
    /// The actors whose end the node waits for.
    pub(crate) fn new(running: impl Into<Vec<&'static str>>) -> Ending {
        Ending(Mutex::new(State { running: running.into(), ..State::default() }))
    }

    /// The node stops because of this. The first reason is kept: later ones follow from it.
    pub(crate) fn fail(&self, reason: String) {
        let watching = {
            let mut state = self.lock();
            if state.failure.is_some() {
                return;
            }
            tracing::error!(%reason, "the node stops for good");
            state.failure = Some(reason);
            std::mem::take(&mut state.watching)
        };
        tell(watching);
    }

    /// What the node knew of itself when it ended.
    pub(crate) fn last_status(&self, status: Status) {
        self.lock().last_status = Some(status);
    }

    fn actor_ended(&self, actor: &'static str) {
        let waiting = {
            let mut state = self.lock();
            state.running.retain(|running| *running != actor);
            if !state.running.is_empty() {
                return;
            }
            state.all_who_wait()
        };
        tell(waiting);
    }

    /// The node was told to end, and some of its actors have not after so long: most likely a disk holds
    /// them. Nobody waits for them any longer.
    pub(crate) fn give_up(&self, patience: Duration) {
        let waiting = {
            let mut state = self.lock();
            if state.running.is_empty() {
                return;
            }
            let held = state.running.join(" and ");
            let reason = format!(
                "told to end, and after {patience:?} not ended: {held}; does the disk hang? Everything \
                 acknowledged is on it"
            );
            state.is_given_up = state.failure.is_none();
            state.failure.get_or_insert(reason);
            state.running.clear();
            state.all_who_wait()
        };
        tell(waiting);
    }

    /// Whether the node has ended only because it was not waited for any longer.
    pub(crate) fn is_given_up(&self) -> bool {
        self.lock().is_given_up
    }

    /// Waits until all have ended.
    pub(crate) async fn wait(&self) {
        let ended = {
            let mut state = self.lock();
            if state.running.is_empty() {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push(sender);
            receiver
        };
        // The sender lives in this object until it is used.
        let _ = ended.await;
    }

    /// Waits until the node has failed, or all have ended.
    pub(crate) async fn trouble(&self) {
        let troubled = {
            let mut state = self.lock();
            if state.running.is_empty() || state.failure.is_some() {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            state.watching.push(sender);
            receiver
        };
        let _ = troubled.await;
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

fn tell(waiting: Vec<oneshot::Sender<()>>) {
    for waiting in waiting {
        // A caller that no longer waits is no error.
        let _ = waiting.send(());
    }
}
