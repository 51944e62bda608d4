//! What happens to a node, told as it happens: a stream of [`Event`]s for whoever asks by
//! [`Node::events`](crate::node::Node::events).
//!
//! A stream begins with the node's present state ([`Change::Present`]) and goes on without a gap. A reader
//! that is too slow holds nobody up: its queue is bounded, and where events had to be left out stands how
//! many they were ([`Change::Dropped`]). The last event is [`Change::Ended`].
//!
//! Events are numbered by their node, one after the other, as long as anybody listens.

use std::{
    collections::{BTreeSet, VecDeque},
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    lifecycle::Ending,
    membership::Membership,
    runtime::SharedRuntime,
    status::Status,
    types::{LogId, LogIndex, NodeId, Role, SnapshotMeta, Term, Time},
};

/// Something that has happened to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// One more than the last event's. [`Change::Present`] has the number of the event before it.
    pub sequence: u64,
    /// When, in the time of the node's runtime. Never before the last event's.
    pub time: Time,
    /// To whom.
    pub node: NodeId,
    /// What.
    pub change: Change,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// The node as it is when the stream begins: all later events follow on this.
    Present {
        /// What it knows of itself and of its peers.
        status: Box<Status>,
        /// The peers whose links are broken.
        unreachable: BTreeSet<NodeId>,
    },
    /// Events are missing here, because the stream's queue was full. This stands in the place of the first.
    Dropped {
        /// How many.
        count: u64,
    },
    /// Role, term or leader are others.
    RoleChanged {
        /// From now on.
        role: Role,
        /// From now on.
        term: Term,
        /// From now on, as far as the node knows.
        leader: Option<NodeId>,
    },
    /// The node stands for election in this term, and votes for itself.
    ElectionBegun {
        /// The term.
        term: Term,
    },
    /// The node has given its vote; it is told as soon as it is flushed.
    VoteGiven {
        /// In this term.
        term: Term,
        /// To this candidate.
        candidate: NodeId,
    },
    /// Other members are in force, though they may not be committed yet (Raft §6).
    MembershipChanged {
        /// The entry that they come from.
        log_id: LogId,
        /// The members.
        membership: Membership,
        /// Whether they are two sets, each of which must agree.
        is_joint: bool,
    },
    /// Entries that were not known to be committed contradict the leader's, and are gone (Raft §5.3).
    Truncated {
        /// The first that is gone.
        from: LogIndex,
        /// The last that is gone.
        through: LogIndex,
    },
    /// More of the log is committed. Told at most ten times a second; the last such change is always told.
    Committed {
        /// Up to here.
        commit_index: LogIndex,
    },
    /// The node has taken a snapshot of its state, and it is durable.
    SnapshotTaken {
        /// What it covers.
        snapshot: SnapshotMeta,
    },
    /// The leader's snapshot begins to come in.
    SnapshotReceiving {
        /// What it covers.
        snapshot: SnapshotMeta,
    },
    /// The leader's snapshot is whole, and durable.
    SnapshotReceived {
        /// [`SnapshotMeta::id`].
        id: u64,
    },
    /// The state machine is as the leader's snapshot has it.
    SnapshotRestored {
        /// [`SnapshotMeta::id`].
        id: u64,
    },
    /// The leader begins to send its snapshot to a peer.
    SnapshotSending {
        /// The peer.
        peer: NodeId,
        /// What it covers.
        snapshot: SnapshotMeta,
    },
    /// The peer has the snapshot, or all that it covers.
    SnapshotSent {
        /// The peer.
        peer: NodeId,
        /// [`SnapshotMeta::id`].
        id: u64,
    },
    /// The link to a peer is open.
    LinkOpened {
        /// The peer.
        peer: NodeId,
    },
    /// The link to a peer broke, or could not be opened.
    LinkBroken {
        /// The peer.
        peer: NodeId,
    },
    /// The leader has not heard a peer for the shortest election timeout.
    PeerSilent {
        /// The peer.
        peer: NodeId,
    },
    /// The leader hears a peer again that was silent.
    PeerHeard {
        /// The peer.
        peer: NodeId,
    },
    /// The disk has answered nothing of what it was given for the longest election timeout. A leader hands
    /// over, unless the others' disks are no better.
    DiskHangs {
        /// How long.
        silent_for: Duration,
    },
    /// The disk that hung answers again.
    DiskAnswers,
    /// The log that was repaired holds again all that it may have lost: the node votes and stands as before.
    FenceLifted {
        /// The last term in which it can have acknowledged what it had lost.
        fence: Term,
    },
    /// The node has ended. Nothing comes after this.
    Ended {
        /// Why it had to; none where it was asked to, or its machine is gone.
        failure: Option<String>,
    },
}

/// A node's events, in order. Dropping it ends the subscription.
pub struct Events {
    queue: Arc<Queue>,
    node: NodeId,
    ending: Arc<Ending>,
    runtime: SharedRuntime,
    ended: bool,
}

impl Events {
    /// A stream, and where the node tells it what happens. At most `capacity` events wait, and at least one.
    pub(crate) fn new(
        node: NodeId,
        capacity: usize,
        ending: Arc<Ending>,
        runtime: SharedRuntime,
    ) -> (Events, Subscriber) {
        let queue = Arc::new(Queue { capacity: capacity.max(1), state: Mutex::default() });
        let subscriber = Subscriber(queue.clone());
        (Events { queue, node, ending, runtime, ended: false }, subscriber)
    }

    /// Waits for the next event; `None` after the last. Nothing is lost where the wait is given up.
    pub async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        if let Some(event) = poll_fn(|task| self.queue.poll(self.node, task)).await {
            return Some(event);
        }
        // A node that has failed may hang on a disk: its reason is known before its end.
        if self.ending.failure().is_none() {
            self.ending.wait().await;
        }
        self.ended = true;
        let state = self.queue.lock();
        Some(Event {
            sequence: state.last.0 + 1,
            time: state.last.1.max(self.runtime.now()),
            node: self.node,
            change: Change::Ended { failure: self.ending.failure() },
        })
    }

    /// The next event, if it is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.queue.lock().take(self.node)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
    }
}

/// Where a node tells one stream what happens. Dropped when the node has no more to tell.
pub(crate) struct Subscriber(Arc<Queue>);

impl Subscriber {
    /// Tells an event, if there is room. False where nobody listens any more.
    pub(crate) fn tell(&self, event: &Event) -> bool {
        let reader = {
            let mut state = self.0.lock();
            if state.closed {
                return false;
            }
            state.last = (event.sequence, event.time);
            if state.waiting.len() < self.0.capacity {
                let missing = state.missing.take();
                state.waiting.push_back((missing, event.clone()));
            } else {
                state.missing.get_or_insert_with(|| Missing::at(event)).count += 1;
            }
            state.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
        true
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let reader = {
            let mut state = self.0.lock();
            state.closed = true;
            state.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }
}

struct Queue {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Each with the events that are missing before it.
    waiting: VecDeque<(Option<Missing>, Event)>,
    /// Events that are missing after all that wait.
    missing: Option<Missing>,
    /// Number and time of the last event that was told.
    last: (u64, Time),
    reader: Option<Waker>,
    /// One of the two ends is gone.
    closed: bool,
}

/// Events that were left out.
struct Missing {
    first: u64,
    time: Time,
    count: u64,
}

impl Missing {
    fn at(event: &Event) -> Missing {
        Missing { first: event.sequence, time: event.time, count: 0 }
    }

    fn told(self, node: NodeId) -> Event {
        Event { sequence: self.first, time: self.time, node, change: Change::Dropped { count: self.count } }
    }
}

impl Queue {
    fn poll(&self, node: NodeId, task: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.lock();
        if let Some(event) = state.take(node) {
            return Poll::Ready(Some(event));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(task.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under this lock, so a poisoned one is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, node: NodeId) -> Option<Event> {
        let missing = match self.waiting.front_mut() {
            Some((missing, _)) => missing.take(),
            None => self.missing.take(),
        };
        if let Some(missing) = missing {
            return Some(missing.told(node));
        }
        self.waiting.pop_front().map(|(_, event)| event)
    }
}
