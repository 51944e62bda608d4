//! A client that waits for its write: on this node, or on the node that carried the write here.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::replicator;
use crate::{
    error::WriteError,
    message::{ForwardWritesReply, Message},
    runtime::{mailbox::Addr, permits::Permit},
    state_machine::StateMachine,
    types::{LogId, LogIndex},
};

/// What a write comes to: where it was applied and its output, or why not.
pub(crate) type Outcome<S> = Result<(LogId, <S as StateMachine>::Output), WriteError>;

/// Who is to be told the outcome of a write. Dropped without an answer, it tells [`WriteError::Unknown`].
pub(crate) enum Waiter<S: StateMachine> {
    /// A caller of this node's handle.
    Local {
        /// Where it waits. Dropping this sender wakes it, and it takes the outcome as unknown.
        reply: oneshot::Sender<Outcome<S>>,
        /// Its share of what may be under way.
        permit: Permit,
    },
    /// A client of another node.
    Remote {
        /// Its place in the batch that was carried here.
        waiter: RemoteWaiter,
        /// Its share of what may be under way on this node.
        permit: Permit,
    },
}

impl<S: StateMachine> Waiter<S> {
    /// Whether it waits on this node.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Waiter::Local { .. })
    }

    /// Tells the outcome. Outputs for other nodes are encoded here.
    pub(crate) fn settle(self, outcome: Outcome<S>) {
        match self {
            Waiter::Local { reply, permit } => {
                // The share is given back first: a caller that writes again at once must not find itself
                // overloaded.
                drop(permit);
                // A caller that no longer waits is no error.
                let _ = reply.send(outcome);
            }
            Waiter::Remote { waiter, permit } => {
                drop(permit);
                let encode = |(id, output)| match postcard::to_allocvec(&output) {
                    Ok(bytes) => Ok((id, Bytes::from(bytes))),
                    Err(_) => Err(WriteError::Unknown),
                };
                waiter.settle(outcome.and_then(encode));
            }
        }
    }

    /// Tells that the outcome is unknown, and hands over the share of what is under way: the write still is.
    pub(crate) fn give_up(self) -> Permit {
        match self {
            Waiter::Local { reply, permit } => {
                // A caller that no longer waits is no error.
                let _ = reply.send(Err(WriteError::Unknown));
                permit
            }
            Waiter::Remote { waiter, permit } => {
                waiter.settle(Err(WriteError::Unknown));
                permit
            }
        }
    }
}

/// Who waits for consecutive entries of one term: at least one.
pub(crate) struct Waiters<S: StateMachine> {
    first: LogId,
    waiters: VecDeque<Waiter<S>>,
}

impl<S: StateMachine> Waiters<S> {
    /// Those who wait for the entries from `first` on.
    pub(crate) fn new(first: LogId, waiters: Vec<Waiter<S>>) -> Waiters<S> {
        Waiters { first, waiters: waiters.into() }
    }

    /// The last entry that one of them waits for.
    pub(crate) fn last(&self) -> LogIndex {
        LogIndex(self.first.index.0 + self.waiters.len() as u64).previous()
    }

    /// Takes out those who wait for entries up to `last`, which is before the last of all.
    pub(crate) fn split_through(&mut self, last: LogIndex) -> Option<Waiters<S>> {
        let count = (last.0 + 1).checked_sub(self.first.index.0).filter(|count| *count > 0)?;
        let later = self.waiters.split_off(count as usize);
        let taken = Waiters { first: self.first, waiters: std::mem::replace(&mut self.waiters, later) };
        self.first.index = last.next();
        Some(taken)
    }

    /// The entries that they wait for.
    pub(crate) fn places(&self) -> impl Iterator<Item = LogId> + use<S> {
        let LogId { term, index } = self.first;
        (index.0..).take(self.waiters.len()).map(move |index| LogId::new(term, LogIndex(index)))
    }

    /// Each of them, and the entry that it waits for.
    pub(crate) fn into_each(self) -> impl Iterator<Item = (LogId, Waiter<S>)> {
        self.places().zip(self.waiters)
    }
}

/// One write of a batch that another node has carried here.
pub(crate) struct RemoteWaiter {
    /// `None` once it is settled.
    batch: Option<Arc<RemoteBatch>>,
    position: u32,
}

/// A batch that another node has carried here. The answer leaves when its last write is settled.
struct RemoteBatch {
    id: u64,
    origin: Addr<replicator::Mail>,
    results: Mutex<Results>,
}

struct Results {
    settled: Vec<Option<Result<(LogId, Bytes), WriteError>>>,
    missing: usize,
}

impl RemoteWaiter {
    /// A waiter for each of `count` writes of batch `id`, whose answer goes out through `origin`.
    pub(crate) fn batch(id: u64, count: usize, origin: Addr<replicator::Mail>) -> Vec<RemoteWaiter> {
        let results = Mutex::new(Results { settled: vec![None; count], missing: count });
        let batch = Arc::new(RemoteBatch { id, origin, results });
        (0..count as u32).map(|position| RemoteWaiter { batch: Some(batch.clone()), position }).collect()
    }

    /// Tells what has become of it.
    pub(crate) fn settle(mut self, result: Result<(LogId, Bytes), WriteError>) {
        self.put(result);
    }

    fn put(&mut self, result: Result<(LogId, Bytes), WriteError>) {
        let Some(batch) = self.batch.take() else { return };
        let mut results = batch.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.settled[self.position as usize] = Some(result);
        results.missing -= 1;
        if results.missing == 0 {
            let results = results.settled.drain(..).flatten().collect();
            let reply = ForwardWritesReply { id: batch.id, results };
            batch.origin.send(replicator::Mail::Send(Message::ForwardWritesReply(reply)));
        }
    }
}

impl Drop for RemoteWaiter {
    fn drop(&mut self) {
        self.put(Err(WriteError::Unknown));
    }
}
