//! A mailbox: a bounded queue with many senders and one reader, who takes everything that is there at once.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// The most messages that are handed to an actor at once. More wait for its next turn, so no batch is so long
/// that the other actors of the thread starve.
pub const BATCH_MAX: usize = 4096;

/// Where an actor's mail is sent to. Clones send to the same mailbox; messages of one sender stay in order.
pub struct Addr<M>(Arc<Mutex<Queue<M>>>);

struct Queue<M> {
    messages: VecDeque<M>,
    capacity: usize,
    reader: Option<Waker>,
    closed: bool,
}

/// Why a mailbox did not take a message, which comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum SendError<M> {
    /// It holds as many messages as it may.
    Full(M),
    /// Its actor has stopped.
    Closed(M),
}

impl<M> Addr<M> {
    /// A mailbox in which at most `capacity` messages of [`Addr::try_send`] wait.
    pub fn new(capacity: usize) -> Addr<M> {
        let messages = VecDeque::new();
        Addr(Arc::new(Mutex::new(Queue { messages, capacity, reader: None, closed: false })))
    }

    /// Sends what was not asked for: refused, at once, where the mailbox is full.
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        let reader = {
            let mut queue = self.lock();
            if queue.closed {
                return Err(SendError::Closed(message));
            }
            if queue.messages.len() >= queue.capacity {
                return Err(SendError::Full(message));
            }
            queue.messages.push_back(message);
            queue.reader.take()
        };
        wake(reader);
        Ok(())
    }

    /// Sends what the receiver has asked for (a completion), or what is bounded by something else (permits,
    /// windows): taken even where the mailbox is full. A stopped actor's mail is dropped, and with it the
    /// replies that it holds.
    pub fn send(&self, message: M) {
        drop(self.send_if_open(message));
    }

    /// The same, but mail for a stopped actor comes back.
    pub fn send_if_open(&self, message: M) -> Result<(), M> {
        let reader = {
            let mut queue = self.lock();
            if queue.closed {
                return Err(message);
            }
            queue.messages.push_back(message);
            queue.reader.take()
        };
        wake(reader);
        Ok(())
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.lock().messages.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the actor has stopped.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Moves what waits into `batch`, up to [`BATCH_MAX`] messages in all.
    pub(super) fn take(&self, batch: &mut Vec<M>) {
        take_all(self.lock(), batch);
    }

    /// Ready with what waits, as [`Addr::take`] gives it, when anything does.
    pub(super) fn poll_take(&self, batch: &mut Vec<M>, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.lock();
        if queue.messages.is_empty() {
            queue.remember(context);
            return Poll::Pending;
        }
        take_all(queue, batch);
        Poll::Ready(())
    }

    /// Ready when anything waits.
    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.lock();
        if !queue.messages.is_empty() {
            return Poll::Ready(());
        }
        queue.remember(context);
        Poll::Pending
    }

    /// Takes no more mail, and drops what waits.
    pub(super) fn close(&self) {
        let left = {
            let mut queue = self.lock();
            queue.closed = true;
            (std::mem::take(&mut queue.messages), queue.reader.take())
        };
        // Outside the lock: a dropped reply wakes its caller, who may send again; a dropped waker may be its
        // task's last.
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Queue<M>> {
        // No code of others runs under this lock, so a poisoned one is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Queue<M> {
    /// The reader is to be woken by the next message.
    fn remember(&mut self, context: &mut Context<'_>) {
        match &mut self.reader {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

fn take_all<M>(mut queue: MutexGuard<'_, Queue<M>>, batch: &mut Vec<M>) {
    let waiting = queue.messages.len();
    if batch.is_empty() && waiting <= BATCH_MAX {
        // The queue and the batch trade places: no message is moved, and senders are not held up.
        let empty = VecDeque::from(std::mem::take(batch));
        let messages = std::mem::replace(&mut queue.messages, empty);
        drop(queue);
        *batch = Vec::from(messages);
    } else {
        let room = BATCH_MAX.saturating_sub(batch.len()).min(waiting);
        batch.extend(queue.messages.drain(..room));
    }
}

fn wake(reader: Option<Waker>) {
    if let Some(reader) = reader {
        reader.wake();
    }
}

impl<M> Clone for Addr<M> {
    fn clone(&self) -> Addr<M> {
        Addr(self.0.clone())
    }
}

impl<M> fmt::Debug for Addr<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Addr({} waiting)", self.len())
    }
}
