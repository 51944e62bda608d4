//! A node: composed from its parts, started, written to and read from, and ended.
//!
//! [`Node::builder`] takes the parts; [`NodeBuilder::start`] starts the cast of [actors](crate) and gives
//! back a [`Node`], a handle that can be cloned and used from any thread and any runtime.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    actors::{
        applier,
        consensus::Mail,
        links::Acquaintances,
        reads::{Level, Read},
        waiter::{Outcome, Waiter},
    },
    config::Config,
    error::{ReadError, SnapshotError, WriteError},
    events::Events,
    lifecycle::Ending,
    membership::TransferError,
    message::Envelope,
    runtime::{
        SharedRuntime,
        mailbox::{Addr, SendError},
        permits::{Permit, Permits},
        timeout,
    },
    state_machine::{StateMachine, Witness},
    status::Status,
    transport::Inbox,
    types::{GroupId, LogId, NodeId, SnapshotMeta},
};

mod builder;
mod members;
mod recover;
pub mod survivor;

pub use builder::NodeBuilder;

/// A running node. Clones are handles to the same node; dropping them does not end it, [`Node::shutdown`]
/// does.
pub struct Node<S: StateMachine>(Arc<Shared<S>>);

impl Node<Witness> {
    /// Begins a witness: a node that votes and keeps the log of an application, and has no state machine. It
    /// serves no reads, writes cannot be made on it, and it leads only until a full member can. By the
    /// members it must be a witness too, or it stops and says so.
    pub fn witness(id: NodeId) -> NodeBuilder<Witness> {
        NodeBuilder::new(id, Witness::new()).into_witness()
    }
}

/// How a node that was told to end has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// In order: all is on the disk, and nothing runs any more.
    InOrder,
    /// It had failed, before it was told or meanwhile.
    Failed {
        /// Why.
        reason: String,
    },
    /// A disk, or the state machine, has not let go in time. Nothing that was acknowledged is lost: what was
    /// not flushed was never acknowledged. But something runs still, and may hold the storage, so only the
    /// end of the process ends it.
    Unfinished {
        /// What has not ended.
        reason: String,
    },
}

/// What all handles of a node share.
struct Shared<S: StateMachine> {
    id: NodeId,
    group: GroupId,
    config: Config,
    runtime: SharedRuntime,
    acquaintances: Arc<Acquaintances>,
    consensus: Addr<Mail<S>>,
    applier: Addr<applier::Mail<S>>,
    write_permits: Permits,
    read_permits: Permits,
    ending: Arc<Ending>,
}

impl<S: StateMachine> Node<S> {
    /// Begins a node with an id and the application's state as it is before the first command.
    pub fn builder(id: NodeId, state_machine: S) -> NodeBuilder<S> {
        NodeBuilder::new(id, state_machine)
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// Has `command` committed and applied, and gives its output. Any node takes writes: one that does not
    /// lead carries them to the leader, and waits for one to be elected.
    pub async fn write(&self, command: S::Command) -> Result<S::Output, WriteError> {
        self.handed_in(command).await.unwrap_or(Err(WriteError::Unknown)).map(|(_, output)| output)
    }

    /// Like [`Node::write`], and tells where in the log the command stands.
    pub async fn write_at(&self, command: S::Command) -> Result<(LogId, S::Output), WriteError> {
        self.handed_in(command).await.unwrap_or(Err(WriteError::Unknown))
    }

    /// Hands a command in, and drops it: nobody keeps it while the outcome is waited for.
    fn handed_in(&self, command: S::Command) -> oneshot::Receiver<Outcome<S>> {
        let (reply, outcome) = oneshot::channel();
        self.hand_in(&command, reply);
        outcome
    }

    /// Encodes a command and hands it in, to be answered through `reply`.
    pub(crate) fn hand_in(&self, command: &S::Command, reply: oneshot::Sender<Outcome<S>>) {
        match self.admit(command) {
            Ok((command, permit)) => {
                let write = Mail::Write { command, waiter: Waiter::Local { reply, permit } };
                if let Err(Mail::Write { waiter, .. }) = self.0.consensus.send_if_open(write) {
                    waiter.settle(Err(WriteError::Stopped));
                }
            }
            // A caller that no longer waits is no error.
            Err(refused) => drop(reply.send(Err(refused))),
        }
    }

    /// Whether a command may come in: not too large, and not too many.
    fn admit(&self, command: &S::Command) -> Result<(Bytes, Permit), WriteError> {
        let Shared { config, write_permits, .. } = &*self.0;
        let command = S::encode_command(command).map_err(|_| WriteError::Malformed)?;
        let (bytes, bytes_max) = (command.len() as u64, config.command_bytes_max);
        if bytes > bytes_max {
            return Err(WriteError::TooLarge { bytes, bytes_max });
        }
        let permit = write_permits.try_acquire(bytes).ok_or(WriteError::Overloaded)?;
        Ok((command, permit))
    }

    /// Looks at the state with everything applied that was committed when the read began: a linearizable
    /// read, on any node (thesis §6.4). `look` runs on the node's own thread: keep it short. If it panics,
    /// the caller does, and the node goes on.
    pub async fn read<R: Send + 'static>(
        &self,
        look: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        self.query(Level::Linearizable, look, |read| self.0.consensus.send(Mail::Read(read))).await
    }

    /// Like [`Node::read`], but a leader may answer from its lease, without asking anyone (thesis §6.4.1). It
    /// is linearizable as long as clocks keep to [`Config::clock_drift_percent_max`], and needs
    /// [`Config::lease_reads`] on every node. Without a lease, and on nodes that do not lead, this is
    /// [`Node::read`].
    pub async fn read_lease<R: Send + 'static>(
        &self,
        look: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        self.query(Level::Lease, look, |read| self.0.consensus.send(Mail::Read(read))).await
    }

    /// Looks at a state that holds everything that was committed at some time within `bound` before the read
    /// began. While this node has learnt a read index within `bound` (counted from when it asked), nobody is
    /// asked; otherwise this is [`Node::read`]. A `bound` of zero makes it that always.
    pub async fn read_within<R: Send + 'static>(
        &self,
        bound: Duration,
        look: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        self.query(Level::Within(bound), look, |read| self.0.consensus.send(Mail::Read(read))).await
    }

    /// Looks at this node's own state as it is: it may be behind the cluster's, without limit.
    pub async fn read_local<R: Send + 'static>(
        &self,
        look: impl FnOnce(&S) -> R + Send + 'static,
    ) -> Result<R, ReadError> {
        let level = Level::Linearizable;
        self.query(level, look, |read| self.0.applier.send(applier::Mail::Read(vec![read]))).await
    }

    async fn query<R: Send + 'static>(
        &self,
        level: Level,
        look: impl FnOnce(&S) -> R + Send + 'static,
        send: impl FnOnce(Read<S>),
    ) -> Result<R, ReadError> {
        let permit = self.0.read_permits.try_acquire(0).ok_or(ReadError::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        let answer_with = move |state: Result<&S, ReadError>| {
            // A caller's panic is the caller's: it must not end the actor that lets it look.
            let seen = state.map(|state| catch_unwind(AssertUnwindSafe(|| look(state))));
            // A caller that no longer waits is no error.
            let _ = reply.send(seen);
        };
        send(Read { answer: Box::new(answer_with), permit, level });
        match answer.await.unwrap_or(Err(ReadError::Stopped))? {
            Ok(seen) => Ok(seen),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// What the node knows of itself; once it has ended, what it last knew, with the reason.
    pub async fn status(&self) -> Status {
        let (reply, status) = oneshot::channel();
        self.0.consensus.send(Mail::Status(reply));
        if let Ok(status) = status.await {
            return status;
        }
        // The consensus actor has ended, most often with a last word; the others may hang on a disk.
        if let Some(status) = self.0.ending.final_status() {
            return status;
        }
        self.0.ending.wait().await;
        let gone = || Status::of_a_node_that_is_gone(self.0.id, self.0.ending.failure());
        self.0.ending.final_status().unwrap_or_else(gone)
    }

    /// Everything that happens to this node from now on, after its present state. At most `capacity` events
    /// wait for the reader, and at least one; what is more is counted and left out.
    pub fn events(&self, capacity: usize) -> Events {
        let Shared { id, runtime, ending, consensus, .. } = &*self.0;
        let (events, subscriber) = Events::new(*id, capacity, ending.clone(), runtime.clone());
        consensus.send(Mail::Subscribe(subscriber));
        events
    }

    /// Where a transport delivers this node's mail.
    pub fn inbox(&self) -> Arc<dyn Inbox> {
        let Shared { id, group, .. } = *self.0;
        Arc::new(NodeInbox { id, group, consensus: self.0.consensus.clone() })
    }

    /// Hands leadership to `to`, or to the voter that is furthest ahead. Returns when this node has stopped
    /// leading, or with the reason why it has not. Asked while another handing-over is under way, it joins
    /// that one, whoever is to lead.
    ///
    /// # Errors
    ///
    /// This node does not lead, `to` may not (no voter, a witness, or of priority 0), or whoever was to take
    /// over did not do so within `election_timeout_max`.
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<(), TransferError> {
        let (reply, ended) = oneshot::channel();
        self.0.consensus.send(Mail::Transfer { to, reply });
        ended.await.unwrap_or(Err(TransferError::Stopped))
    }

    /// Takes a snapshot of this node's state now, and says what it covers once it is durable. Writes go on
    /// meanwhile.
    pub async fn snapshot(&self) -> Result<SnapshotMeta, SnapshotError> {
        let (reply, taken) = oneshot::channel();
        self.0.consensus.send(Mail::TakeSnapshot { reply });
        taken.await.unwrap_or(Err(SnapshotError::Stopped))
    }

    /// Campaigns now, without waiting for the election timeout.
    pub fn campaign(&self) {
        self.0.consensus.send(Mail::Campaign);
    }

    /// Ends the node in order: no new writes, those under way are answered, leadership is handed over, the
    /// storage is closed. Returns when all that is done, also where another call has begun it; or when the
    /// storage, or the state machine, has not let go within [`Config::shutdown_timeout`].
    pub async fn shutdown(&self) -> End {
        let Shared { consensus, ending, config, runtime, .. } = &*self.0;
        consensus.send(Mail::Shutdown);
        // Answering and handing over take an election timeout each, at the most.
        let patience = config.shutdown_timeout.saturating_add(config.election_timeout_max.saturating_mul(2));
        if timeout(&**runtime, patience, ending.wait()).await.is_none() {
            ending.give_up(patience);
        }
        match ending.failure() {
            None => End::InOrder,
            Some(reason) if ending.is_given_up() => End::Unfinished { reason },
            Some(reason) => End::Failed { reason },
        }
    }

    /// Returns when the node has ended: `None` after a [`Node::shutdown`] in order, else the reason why it
    /// stopped for good, or was not waited for any longer. One that has failed is waited for no longer than
    /// [`Config::shutdown_timeout`]: its disk may hang.
    pub async fn stopped(&self) -> Option<String> {
        let Shared { ending, config, runtime, .. } = &*self.0;
        ending.trouble().await;
        let patience = config.shutdown_timeout;
        if ending.failure().is_some() && timeout(&**runtime, patience, ending.wait()).await.is_none() {
            ending.give_up(patience);
        }
        ending.failure()
    }
}

impl<S: StateMachine> Clone for Node<S> {
    fn clone(&self) -> Node<S> {
        Node(self.0.clone())
    }
}

impl<S: StateMachine> fmt::Debug for Node<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.0.id)
    }
}

/// The node's door for its peers.
struct NodeInbox<S: StateMachine> {
    id: NodeId,
    group: GroupId,
    consensus: Addr<Mail<S>>,
}

impl<S: StateMachine> Inbox for NodeInbox<S> {
    fn deliver(&self, mut batch: Vec<Envelope>) {
        batch.retain(|envelope| envelope.to == self.id && envelope.group == self.group);
        if batch.is_empty() {
            return;
        }
        if let Err(SendError::Full(_)) = self.consensus.try_send(Mail::Deliver(batch)) {
            tracing::debug!(node = %self.id, "mailbox full: peers' messages dropped, as a network drops");
        }
    }
}
