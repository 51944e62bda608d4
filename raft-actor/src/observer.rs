//! A look at the core while it works, for those who only watch: traces, and tests that hold every step of a
//! whole node against Raft's invariants.

use std::sync::Arc;

use crate::{
    core::{Effect, Input, Raft},
    types::Time,
};

/// Is shown what a node's core did, on the thread of the node's actors: what it does there holds them up.
///
/// # Contract
///
/// * `started` is called once, before the first step.
/// * `stepped` is called after every step, in order, before any of its effects is carried out.
pub trait Observer: Send + Sync + 'static {
    /// The node starts with this.
    fn started(&self, now: Time, raft: &Raft);

    /// The core has taken a batch in.
    fn stepped(&self, step: Step<'_>);
}

/// A shared observer is an observer.
impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn started(&self, now: Time, raft: &Raft) {
        (**self).started(now, raft);
    }

    fn stepped(&self, step: Step<'_>) {
        (**self).stepped(step);
    }
}

/// One step of a core.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// When, in the time of the node's runtime.
    pub now: Time,
    /// What it took in, in order.
    pub inputs: &'a [Input],
    /// What it wants done, in order.
    pub effects: &'a [Effect],
    /// What it is now.
    pub raft: &'a Raft,
}
