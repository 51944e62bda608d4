//! The applier: nothing else holds the state machine. It applies what is committed, in batches, and answers
//! the clients that wait for it.

use std::{collections::VecDeque, time::Duration};

use super::{
    consensus,
    reads::Read,
    waiter::{Outcome, Waiter},
};
use crate::{
    error::WriteError,
    runtime::{
        actor::{Actor, Context, yield_once},
        mailbox::Addr,
    },
    state_machine::StateMachine,
    types::{Entries, Entry, LogId, Payload, Time},
};

/// How long it works before the other actors of its thread have their turn: a fraction of a heartbeat.
const TURN_MAX: Duration = Duration::from_millis(5);

/// The clock is read once in so many entries.
const CLOCK_EVERY: usize = 16;

/// The applier's mail.
pub(crate) enum Mail<S: StateMachine> {
    /// Apply these committed entries, which follow on those before.
    Apply {
        /// In the order of the log.
        entries: Entries,
        /// Who waits for which of them, ascending.
        waiters: VecDeque<(LogId, Waiter<S>)>,
    },
    /// Show the state as it is.
    Read(Vec<Read<S>>),
    /// The node is ending.
    Stop,
}

/// See the module.
pub(crate) struct Applier<S: StateMachine> {
    state_machine: S,
    consensus: Addr<consensus::Mail<S>>,
    /// Applied, not yet flushed by the state machine, so not yet answered.
    answers: Vec<(Waiter<S>, Outcome<S>)>,
    /// Since when it has had the thread.
    turn_began: Time,
}

impl<S: StateMachine> Applier<S> {
    pub(crate) fn new(state_machine: S, consensus: Addr<consensus::Mail<S>>) -> Applier<S> {
        Applier { state_machine, consensus, answers: Vec::new(), turn_began: Time(0) }
    }

    async fn apply(
        &mut self,
        entries: Entries,
        mut waiters: VecDeque<(LogId, Waiter<S>)>,
        context: &Context<Mail<S>>,
    ) -> Result<(), String> {
        let Some(last) = entries.last().map(|entry| entry.id) else { return Ok(()) };
        for (place, entry) in entries.iter().enumerate() {
            if place % CLOCK_EVERY == 0 {
                self.give_way(context).await;
            }
            let output = self.apply_entry(entry)?;
            // A place in the log has one waiter at the most.
            if let Some((id, waiter)) = waiters.pop_front_if(|(id, _)| id.index <= entry.id.index) {
                let outcome = match output {
                    Some(output) if id == entry.id => Ok((id, output)),
                    // Another leader's entry stands where this one was to be: it was never committed.
                    _ => Err(WriteError::NotLeader { leader: None }),
                };
                self.answers.push((waiter, outcome));
            }
        }
        self.state_machine.flush(last).await.map_err(|error| error.to_string())?;
        for (waiter, outcome) in self.answers.drain(..) {
            waiter.settle(outcome);
        }
        self.consensus.send(consensus::Mail::Applied { index: last.index });
        Ok(())
    }

    /// Lets the other actors of the thread work where the state machine has kept it for long: a leader must
    /// be heard while it applies.
    async fn give_way(&mut self, context: &Context<Mail<S>>) {
        if context.now().since(self.turn_began) >= TURN_MAX {
            yield_once().await;
            self.turn_began = context.now();
        }
    }

    /// Applies one entry; only commands have an output.
    fn apply_entry(&mut self, entry: &Entry) -> Result<Option<S::Output>, String> {
        let Payload::Command(bytes) = &entry.payload else { return Ok(None) };
        let command = postcard::from_bytes(bytes).map_err(|error| {
            format!(
                "the command at {} cannot be decoded ({error}); \
                 was the log written by another version of the application?",
                entry.id
            )
        })?;
        Ok(Some(self.state_machine.apply(entry.id, command)))
    }
}

impl<S: StateMachine> Actor for Applier<S> {
    type Message = Mail<S>;

    async fn handle(&mut self, batch: &mut Vec<Mail<S>>, context: &mut Context<Mail<S>>) {
        self.turn_began = context.now();
        for mail in batch.drain(..) {
            match mail {
                Mail::Apply { entries, waiters } => {
                    if let Err(reason) = self.apply(entries, waiters, context).await {
                        self.consensus
                            .send(consensus::Mail::Failed { reason: format!("state machine: {reason}") });
                        return context.stop();
                    }
                }
                Mail::Read(reads) => reads.into_iter().for_each(|read| read.settle(Ok(&self.state_machine))),
                Mail::Stop => return context.stop(),
            }
        }
    }
}
