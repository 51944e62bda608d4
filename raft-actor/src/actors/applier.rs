//! The applier: nothing else holds the state machine. It applies what is committed, in batches, and answers
//! the clients that wait for it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{consensus, reads::Read, snapshotter, waiter::Waiters};
use crate::{
    core::Input,
    error::WriteError,
    membership::Membership,
    mutants::{Mutant, is_on},
    runtime::{
        actor::{Actor, Context, yield_once},
        mailbox::Addr,
        sleep,
    },
    state_machine::{StateMachine, StateMachineError},
    storage::SnapshotStorage,
    types::{Entries, Entry, LogId, Payload, SnapshotMeta, Time},
};

/// How long it works before the other actors of its thread have their turn: a fraction of a heartbeat.
const TURN_MAX: Duration = Duration::from_millis(5);

/// The others' turn: until a host's timer fires, which is a millisecond at the most.
const TICK: Duration = Duration::from_micros(1);

/// The clock is read once in so many entries, about.
const CLOCK_EVERY: usize = 16;

/// The applier's mail.
pub(crate) enum Mail<S: StateMachine> {
    /// Apply these committed entries, which follow on those before.
    Apply {
        /// In the order of the log.
        entries: Entries,
        /// Who waits for which of them, ascending.
        waiters: VecDeque<Waiters<S>>,
    },
    /// Show the state as it is.
    Read(Vec<Read<S>>),
    /// Hand out a view of the state as it is.
    TakeSnapshot,
    /// Replace the state by a snapshot's.
    Restore(SnapshotMeta),
    /// The node is ending.
    Stop,
}

/// See the module.
pub(crate) struct Applier<S: StateMachine> {
    state_machine: S,
    consensus: Addr<consensus::Mail<S>>,
    /// For those who wait, what was applied and is not yet flushed by the state machine, so not yet answered.
    /// `None`: another leader's entry stands where theirs was to be, so it was never committed.
    outputs: Vec<Option<S::Output>>,
    snapshots: Option<Snapshots>,
    /// The last entry applied, and the members as of there: what a snapshot says beside the state.
    applied: LogId,
    membership: (LogId, Membership),
    /// Since when it has had the thread.
    turn_began: Time,
    /// Entries applied since the clock was read.
    unclocked: usize,
}

/// Where snapshots are kept, and who writes them.
pub(crate) struct Snapshots {
    pub(crate) storage: Arc<dyn SnapshotStorage>,
    pub(crate) snapshotter: Addr<snapshotter::Mail>,
    /// Whether they are a witness's.
    pub(crate) witness: bool,
}

impl<S: StateMachine> Applier<S> {
    /// `restored`: the snapshot that the state machine has been restored from.
    pub(crate) fn new(
        state_machine: S,
        consensus: Addr<consensus::Mail<S>>,
        snapshots: Option<Snapshots>,
        restored: Option<SnapshotMeta>,
    ) -> Applier<S> {
        let SnapshotMeta { last, membership, membership_log_id, .. } = restored.unwrap_or_default();
        Applier {
            state_machine,
            consensus,
            outputs: Vec::new(),
            snapshots,
            applied: last,
            membership: (membership_log_id, *membership),
            turn_began: Time(0),
            unclocked: 0,
        }
    }

    /// The view is made here, between two commands; it is written elsewhere.
    fn take_snapshot(&self, id: u64) {
        let Some(snapshots) = &self.snapshots else { return };
        let Some(view) = self.state_machine.snapshot() else {
            return self.consensus.send(Input::SnapshotNotTaken.into());
        };
        let (membership_log_id, membership) = self.membership.clone();
        let last = self.applied;
        let witness = snapshots.witness;
        let snapshot = SnapshotMeta {
            id,
            last,
            membership: Box::new(membership),
            membership_log_id,
            size_bytes: 0,
            witness,
        };
        snapshots.snapshotter.send(snapshotter::Mail::Write { snapshot, view });
    }

    async fn restore(&mut self, snapshot: SnapshotMeta) -> Result<(), String> {
        let Some(snapshots) = &self.snapshots else { return Ok(()) };
        let id = snapshot.id;
        let mut reader = snapshots.storage.open(id).await.map_err(|error| error.to_string())?;
        self.state_machine.restore(&mut *reader).map_err(|error| error.to_string())?;
        self.state_machine.flush(snapshot.last).await.map_err(|error| error.to_string())?;
        self.applied = snapshot.last;
        self.membership = (snapshot.membership_log_id, *snapshot.membership);
        self.consensus.send(Input::SnapshotRestored { id }.into());
        Ok(())
    }

    async fn apply(
        &mut self,
        entries: Entries,
        waiters: VecDeque<Waiters<S>>,
        context: &Context<Mail<S>>,
    ) -> Result<(), String> {
        let Some(last) = entries.last().map(|entry| entry.id) else { return Ok(()) };
        let mut places = waiters.iter().flat_map(Waiters::places).peekable();
        for some in entries.chunks(CLOCK_EVERY) {
            if self.unclocked >= CLOCK_EVERY {
                self.give_way(context).await;
            }
            self.unclocked += some.len();
            for entry in some {
                let output = self.apply_entry(entry)?;
                // A place in the log has one waiter at the most.
                if let Some(place) = places.next_if(|place| place.index == entry.id.index) {
                    self.outputs.push(output.filter(|_| place == entry.id));
                }
            }
        }
        let lags = is_on(Mutant::StoresAnAppliedIndexThatLags);
        self.applied = if lags { entries[0].id } else { last };
        self.state_machine.flush(last).await.map_err(|error| error.to_string())?;
        if self.answer(waiters) {
            // Those who are answered have their turn first: what they write next is there when the core
            // learns that this is applied.
            yield_once().await;
        }
        self.consensus.send(consensus::Mail::Applied { index: last.index });
        Ok(())
    }

    /// Tells those who wait what was put out for them. Whether any of them waits on this node.
    fn answer(&mut self, waiters: VecDeque<Waiters<S>>) -> bool {
        let mut any_is_local = false;
        let each = waiters.into_iter().flat_map(Waiters::into_each);
        for ((id, waiter), output) in each.zip(self.outputs.drain(..)) {
            any_is_local |= waiter.is_local();
            let never_committed = WriteError::NotLeader { leader: None };
            waiter.settle(output.map(|output| (id, output)).ok_or(never_committed));
        }
        any_is_local
    }

    /// Lets the other actors of the thread work where the state machine has kept it for long: a leader must
    /// be heard while it applies.
    async fn give_way(&mut self, context: &Context<Mail<S>>) {
        self.unclocked = 0;
        if context.now().since(self.turn_began) >= TURN_MAX {
            // Not a mere yield: a host whose tasks are always ready looks at its timers and at what other
            // threads have sent only once in so many turns, and a turn here is long.
            sleep(&**context.runtime(), TICK).await;
            self.turn_began = context.now();
        }
    }

    /// Applies one entry; only commands have an output.
    fn apply_entry(&mut self, entry: &Entry) -> Result<Option<S::Output>, String> {
        let bytes = match &entry.payload {
            Payload::Command(bytes) => bytes,
            Payload::Membership(membership) => {
                self.membership = (entry.id, (**membership).clone());
                return Ok(None);
            }
            Payload::Noop => return Ok(None),
        };
        let command = S::decode_command(bytes).map_err(|StateMachineError { source }| {
            format!(
                "the command at {} cannot be decoded ({source}); \
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
        self.unclocked = 0;
        for mail in batch.drain(..) {
            let outcome = match mail {
                Mail::Apply { entries, waiters } => self.apply(entries, waiters, context).await,
                Mail::Restore(snapshot) => self.restore(snapshot).await,
                Mail::TakeSnapshot => {
                    self.take_snapshot(context.runtime().random());
                    Ok(())
                }
                Mail::Read(reads) => {
                    reads.into_iter().for_each(|read| read.settle(Ok(&self.state_machine)));
                    Ok(())
                }
                Mail::Stop => return context.stop(),
            };
            if let Err(reason) = outcome {
                let reason = format!("state machine: {reason}");
                self.consensus.send(consensus::Mail::Failed { reason });
                return context.stop();
            }
        }
    }
}
