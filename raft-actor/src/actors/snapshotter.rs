//! The snapshotter: writes, reads and receives snapshots, so that neither the log nor the state machine ever
//! waits for one. A snapshot is written by a task of its own, beside what is sent and received.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{consensus, links::Links, replicator};
use crate::{
    core::{Effect, Input},
    error::SnapshotError,
    message::{InstallSnapshot, Message},
    mutants::{Mutant, is_on},
    runtime::{
        Place,
        actor::{Actor, Context},
        mailbox::Addr,
        sleep_until,
    },
    state_machine::StateMachine,
    storage::{SnapshotStorage, StorageError},
    types::{SnapshotMeta, SnapshotView, Term, Time},
};

/// The snapshotter's mail.
pub(crate) enum Mail {
    /// Write this out, and report it.
    Write { snapshot: SnapshotMeta, view: SnapshotView },
    /// Read a part and send it.
    Send { part: Part, by: Addr<replicator::Mail> },
    /// Keep a part, and report how far it goes.
    Store { snapshot: SnapshotMeta, offset: u64, data: Bytes },
    /// All of it is there.
    Finish(SnapshotMeta),
    /// Others are of no use any more.
    Retain(Vec<u64>),
    /// The node is ending.
    Stop,
}

/// What is to be sent.
pub(crate) struct Part {
    term: Term,
    snapshot: SnapshotMeta,
    offset: u64,
    bytes_max: u64,
}

/// See the module.
pub(crate) struct Snapshotter<S: StateMachine> {
    storage: Arc<dyn SnapshotStorage>,
    consensus: Addr<consensus::Mail<S>>,
    /// Whether this node is a witness.
    witness: bool,
    /// Bytes a second; 0: without a limit.
    rate_bytes: u64,
    /// What was sent has used up the rate until then.
    free_at: Time,
}

impl<S: StateMachine> Snapshotter<S> {
    pub(crate) fn new(
        storage: Arc<dyn SnapshotStorage>,
        consensus: Addr<consensus::Mail<S>>,
        witness: bool,
        rate_bytes: u64,
    ) -> Snapshotter<S> {
        Snapshotter { storage, consensus, witness, rate_bytes, free_at: Time(0) }
    }

    fn write(&self, snapshot: SnapshotMeta, view: SnapshotView, context: &Context<Mail>) {
        let (storage, consensus) = (self.storage.clone(), self.consensus.clone());
        if is_on(Mutant::ReportsSnapshotsBeforeTheyAreDurable) {
            let snapshot = snapshot.clone();
            consensus.send(Input::SnapshotTaken { snapshot }.into());
        }
        let task = async move {
            match storage.write(snapshot, view).await {
                Ok(snapshot) => {
                    tracing::info!(last = %snapshot.last, bytes = snapshot.size_bytes, "snapshot taken");
                    consensus.send(Input::SnapshotTaken { snapshot }.into());
                }
                Err(error) => fail(&consensus, &error),
            }
        };
        context.runtime().spawn("snapshot", Place::Any, Box::pin(task));
    }

    async fn send(
        &mut self,
        part: Part,
        by: &Addr<replicator::Mail>,
        context: &Context<Mail>,
    ) -> Result<(), StorageError> {
        let Part { term, snapshot, offset, bytes_max } = part;
        let mut data = Bytes::new();
        if bytes_max > 0 {
            let Some(read) = self.storage.read_chunk(snapshot.id, offset, bytes_max).await? else {
                let gone = Input::SnapshotGone { id: snapshot.id };
                self.consensus.send(gone.into());
                return Ok(());
            };
            data = read;
            self.keep_to_rate(data.len() as u64, context).await;
        }
        let done = offset.saturating_add(data.len() as u64) >= snapshot.size_bytes;
        let message = InstallSnapshot { term, snapshot, offset, data, done };
        // A peer that takes nothing off its queue loses this, and is asked later how far it has got.
        let _ = by.try_send(replicator::Mail::Send(Message::InstallSnapshot(message)));
        Ok(())
    }

    async fn keep_to_rate(&mut self, bytes: u64, context: &Context<Mail>) {
        if self.rate_bytes == 0 {
            return;
        }
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate_bytes);
        let cost = std::time::Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.free_at = self.free_at.max(context.now()).after(cost);
        sleep_until(context.runtime(), self.free_at).await;
    }

    async fn carry_out(&mut self, mail: Mail, context: &mut Context<Mail>) -> Result<(), StorageError> {
        match mail {
            Mail::Write { snapshot, view } => self.write(snapshot, view, context),
            Mail::Send { part, by } => self.send(part, &by, context).await?,
            Mail::Store { snapshot, .. } if snapshot.witness && !self.witness => {
                return Err(StorageError::Refused(
                    "the leader takes this node for a witness, and sends a snapshot that holds no state; \
                     start it as a witness, or remove it and add it anew as a full member"
                        .to_owned(),
                ));
            }
            Mail::Store { snapshot, offset, data } => {
                let next_offset = self.storage.receive_chunk(&snapshot, offset, data).await?;
                let stored = Input::SnapshotChunkStored { id: snapshot.id, next_offset };
                self.consensus.send(stored.into());
            }
            Mail::Finish(snapshot) => {
                self.storage.finish_receive(&snapshot).await?;
                tracing::info!(last = %snapshot.last, bytes = snapshot.size_bytes, "snapshot received");
                let received = Input::SnapshotReceived { id: snapshot.id };
                self.consensus.send(received.into());
            }
            Mail::Retain(ids) => self.storage.retain(&ids).await?,
            Mail::Stop => context.stop(),
        }
        Ok(())
    }
}

fn fail<S: StateMachine>(consensus: &Addr<consensus::Mail<S>>, error: &StorageError) {
    consensus.send(consensus::Mail::Failed { reason: format!("snapshots: {error}") });
}

impl<S: StateMachine> Actor for Snapshotter<S> {
    type Message = Mail;

    async fn handle(&mut self, batch: &mut Vec<Mail>, context: &mut Context<Mail>) {
        for mail in batch.drain(..) {
            if let Err(error) = self.carry_out(mail, context).await {
                fail(&self.consensus, &error);
                return context.stop();
            }
        }
    }
}

/// What the consensus actor has to do with snapshots.
#[derive(Default)]
pub(crate) struct Snapshotting {
    /// None where the node has no storage for them.
    snapshotter: Option<Addr<Mail>>,
    waiting: Vec<oneshot::Sender<Result<SnapshotMeta, SnapshotError>>>,
}

impl Snapshotting {
    pub(crate) fn new(snapshotter: Option<Addr<Mail>>) -> Snapshotting {
        Snapshotting { snapshotter, waiting: Vec::new() }
    }

    /// Somebody waits for the next snapshot.
    pub(crate) fn wait(&mut self, reply: oneshot::Sender<Result<SnapshotMeta, SnapshotError>>) {
        self.waiting.push(reply);
    }

    /// Tells those who wait, if this is what they wait for.
    pub(crate) fn settle(&mut self, input: &Input) {
        match input {
            Input::SnapshotTaken { snapshot } => self.answer(&Ok(snapshot.clone())),
            Input::SnapshotNotTaken => self.answer(&Err(SnapshotError::Unsupported)),
            _ => {}
        }
    }

    fn answer(&mut self, outcome: &Result<SnapshotMeta, SnapshotError>) {
        for reply in self.waiting.drain(..) {
            // A caller that no longer waits is no error.
            let _ = reply.send(outcome.clone());
        }
    }

    /// Carries out an effect that is about snapshots.
    pub(crate) fn carry_out(&mut self, effect: Effect, links: &mut Links) {
        let Some(snapshotter) = &self.snapshotter else {
            return self.answer(&Err(SnapshotError::Unsupported));
        };
        match effect {
            Effect::SendSnapshot { to, term, snapshot, offset, bytes_max } => {
                if let Some(by) = links.to(to).cloned() {
                    snapshotter.send(Mail::Send { part: Part { term, snapshot, offset, bytes_max }, by });
                }
            }
            Effect::StoreSnapshotChunk { snapshot, offset, data } => {
                snapshotter.send(Mail::Store { snapshot, offset, data });
            }
            Effect::FinishSnapshot { snapshot } => snapshotter.send(Mail::Finish(snapshot)),
            Effect::RetainSnapshots { ids } => snapshotter.send(Mail::Retain(ids)),
            Effect::SnapshotRefused => self.answer(&Err(SnapshotError::NotNow)),
            _ => {}
        }
    }

    /// The node is ending.
    pub(crate) fn stop(&mut self) {
        self.answer(&Err(SnapshotError::Stopped));
        if let Some(snapshotter) = &self.snapshotter {
            snapshotter.send(Mail::Stop);
        }
    }
}
