//! The applier: nothing else holds the state machine. It applies what is committed, in batches, and answers
//! the clients that wait for it.

use std::collections::VecDeque;

use super::{
    consensus,
    reads::Read,
    waiter::{Outcome, Waiter},
};
use crate::{
    error::WriteError,
    runtime::{
        actor::{Actor, Context},
        mailbox::Addr,
    },
    state_machine::StateMachine,
    types::{Entries, Entry, LogId, Payload},
};

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
}

impl<S: StateMachine> Applier<S> {
    pub(crate) fn new(state_machine: S, consensus: Addr<consensus::Mail<S>>) -> Applier<S> {
        Applier { state_machine, consensus, answers: Vec::new() }
    }

    async fn apply(
        &mut self,
        entries: Entries,
        mut waiters: VecDeque<(LogId, Waiter<S>)>,
    ) -> Result<(), String> {
        let Some(last) = entries.last().map(|entry| entry.id) else { return Ok(()) };
        for entry in entries.iter() {
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
        for mail in batch.drain(..) {
            match mail {
                Mail::Apply { entries, waiters } => {
                    if let Err(reason) = self.apply(entries, waiters).await {
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
