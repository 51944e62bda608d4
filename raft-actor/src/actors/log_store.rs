//! The log store: nothing else writes the log. While one group of writes is being flushed the next one
//! gathers in the mailbox, so group commit forms by itself.

use super::consensus;
use crate::{
    core::{Input, LogReader},
    mutants::{Mutant, is_on},
    runtime::{
        actor::{Actor, Context},
        mailbox::Addr,
    },
    state_machine::StateMachine,
    storage::{LogStorage, StorageError},
    types::{LogId, LogIndex, LogWrite},
};

/// The log store's mail.
pub(crate) enum Mail {
    /// Flush this, and report its sequence.
    Write(LogWrite),
    /// Read entries back, and report them.
    Read {
        /// Who needs them.
        reader: LogReader,
        /// The first.
        first: LogIndex,
        /// The last.
        last: LogIndex,
        /// As many as fit, at least one.
        bytes_max: u64,
    },
    /// Forget the log up to here, after the writes before, and report it.
    Purge(LogId),
    /// The node is ending.
    Stop,
}

/// See the module.
pub(crate) struct LogStore<S: StateMachine> {
    storage: Box<dyn LogStorage>,
    consensus: Addr<consensus::Mail<S>>,
    group: Vec<LogWrite>,
}

impl<S: StateMachine> LogStore<S> {
    pub(crate) fn new(storage: Box<dyn LogStorage>, consensus: Addr<consensus::Mail<S>>) -> LogStore<S> {
        LogStore { storage, consensus, group: Vec::new() }
    }

    /// Flushes what has gathered, as one group.
    async fn flush(&mut self) -> Result<(), StorageError> {
        let Some(last) = self.group.last() else { return Ok(()) };
        let sequence = last.sequence;
        if is_on(Mutant::ReportsWritesBeforeTheFlush) {
            self.consensus.send(consensus::Mail::Flushed { sequence });
        }
        let written = self.storage.write(&self.group).await;
        self.group.clear();
        if written.is_err() && is_on(Mutant::GoesOnAfterAFailedWrite) {
            return Ok(());
        }
        written?;
        self.consensus.send(consensus::Mail::Flushed { sequence });
        Ok(())
    }

    /// A read waits for the writes that were asked for before it, and for none that came after: what it was
    /// asked for is there at that moment, even if a later write truncates it.
    async fn carry_out(
        &mut self,
        batch: &mut Vec<Mail>,
        context: &mut Context<Mail>,
    ) -> Result<(), StorageError> {
        for mail in batch.drain(..) {
            match mail {
                Mail::Write(write) => self.group.push(write),
                Mail::Read { reader, first, last, bytes_max } => {
                    self.flush().await?;
                    let entries = self.storage.read(first, last, bytes_max).await?;
                    self.consensus.send(consensus::Mail::LogRead { reader, entries });
                }
                Mail::Purge(through) => {
                    self.flush().await?;
                    self.storage.purge(through).await?;
                    self.consensus.send(Input::Purged { through }.into());
                }
                Mail::Stop => context.stop(),
            }
        }
        self.flush().await
    }
}

impl<S: StateMachine> Actor for LogStore<S> {
    type Message = Mail;

    async fn handle(&mut self, batch: &mut Vec<Mail>, context: &mut Context<Mail>) {
        // A storage error is final: a failed flush is never tried again, and nothing more is reported as
        // flushed.
        if let Err(error) = self.carry_out(batch, context).await {
            self.consensus.send(consensus::Mail::Failed { reason: format!("storage: {error}") });
            context.stop();
        }
    }
}
