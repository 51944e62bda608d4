//! The election timer: wakes the consensus actor at the core's next deadline.
//!
//! Its mailbox is empty nearly always, so no flood of mail can starve it. A deadline that has moved on needs
//! no message: the timer fires early, the core finds that nothing is due, and arms it anew. So it costs one
//! message an election timeout, and nothing is ever cancelled.

use super::consensus;
use crate::{
    runtime::{
        actor::{Actor, Context},
        mailbox::Addr,
    },
    state_machine::StateMachine,
    types::Time,
};

/// The timer's mail.
pub(crate) enum Mail {
    /// Wake the consensus actor at this time, instead of at the one asked for before.
    Arm(Time),
    /// The node is ending.
    Stop,
}

/// See the module.
pub(crate) struct ElectionTimer<S: StateMachine> {
    pub(crate) consensus: Addr<consensus::Mail<S>>,
}

impl<S: StateMachine> Actor for ElectionTimer<S> {
    type Message = Mail;

    async fn handle(&mut self, batch: &mut Vec<Mail>, context: &mut Context<Mail>) {
        for mail in batch.drain(..) {
            match mail {
                Mail::Arm(deadline) => context.wake_at(Some(deadline)),
                Mail::Stop => context.stop(),
            }
        }
    }

    fn timeout(&mut self, _: &mut Context<Mail>) {
        self.consensus.send(consensus::Mail::DeadlineReached);
    }
}
