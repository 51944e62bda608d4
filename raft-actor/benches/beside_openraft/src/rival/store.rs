//! openraft's log and state machine in memory, as little as its interface asks for.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    ops::RangeBounds,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftLogReader, RaftSnapshotBuilder,
    alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf},
    entry::RaftEntry,
    storage::{EntryResponder, IOFlushed, LogState, RaftLogStorage, RaftStateMachine},
};
use tokio::sync::RwLock;

use super::{Command, Nothing, Types};

/// A log in memory. Clones are the same log.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<LogContent>);

#[derive(Default)]
struct LogContent {
    vote: RwLock<Option<VoteOf<Types>>>,
    entries: RwLock<BTreeMap<u64, EntryOf<Types>>>,
    purged: RwLock<Option<LogIdOf<Types>>>,
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        let entries = self.0.entries.read().await;
        Ok(entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(*self.0.vote.read().await)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let last_purged_log_id = *self.0.purged.read().await;
        let entries = self.0.entries.read().await;
        let last_log_id = entries.last_key_value().map(|(_, entry)| entry.log_id()).or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        *self.0.vote.write().await = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let numbered = entries.into_iter().map(|entry| (entry.index(), entry));
        self.0.entries.write().await.extend(numbered);
        flushed.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        let first_gone = last.map_or(0, |last| last.index() + 1);
        self.0.entries.write().await.split_off(&first_gone);
        Ok(())
    }

    async fn purge(&mut self, through: LogIdOf<Types>) -> io::Result<()> {
        *self.0.purged.write().await = Some(through);
        let mut entries = self.0.entries.write().await;
        let kept = entries.split_off(&(through.index() + 1));
        *entries = kept;
        Ok(())
    }
}

/// Remembers the last applied entry, and how many commands there were. Clones are the same machine.
#[derive(Clone, Default)]
pub(super) struct Machine(Arc<MachineContent>);

#[derive(Default)]
struct MachineContent {
    state: RwLock<State>,
    snapshot: RwLock<Option<(SnapshotMetaOf<Types>, Vec<u8>)>>,
    /// The count that the run is verified by, to be read from outside.
    commands: AtomicU64,
}

#[derive(Clone, Default)]
struct State {
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
}

impl Machine {
    /// How many commands have been applied.
    pub(super) fn commands(&self) -> u64 {
        self.0.commands.load(Ordering::Relaxed)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        let state = self.0.state.read().await;
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut state = self.0.state.write().await;
        let mut commands = self.commands();
        while let Some((entry, answer)) = entries.try_next().await? {
            state.applied = Some(entry.log_id());
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Command(_)) => commands += 1,
                EntryPayload::Membership(membership) => {
                    state.membership = StoredMembershipOf::<Types>::new(state.applied, membership);
                }
            }
            if let Some(answer) = answer {
                answer.send(Nothing);
            }
        }
        self.0.commands.store(commands, Ordering::Relaxed);
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, snapshot: Vec<u8>) -> io::Result<()> {
        let count = snapshot.as_slice().try_into().map_err(io::Error::other)?;
        let mut state = self.0.state.write().await;
        *state = State { applied: meta.last_log_id, membership: meta.last_membership.clone() };
        self.0.commands.store(u64::from_le_bytes(count), Ordering::Relaxed);
        *self.0.snapshot.write().await = Some((meta.clone(), snapshot));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Vec<u8>>>> {
        let snapshot = self.0.snapshot.read().await.clone();
        Ok(snapshot.map(|(meta, snapshot)| SnapshotOf::<Types, Vec<u8>> { meta, snapshot }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Vec<u8>>> {
        let state = self.0.state.read().await;
        let snapshot = self.commands().to_le_bytes().to_vec();
        let last_membership = state.membership.clone();
        let meta = SnapshotMetaOf::<Types> { last_log_id: state.applied, last_membership };
        *self.0.snapshot.write().await = Some((meta.clone(), snapshot.clone()));
        Ok(SnapshotOf::<Types, Vec<u8>> { meta, snapshot })
    }
}
