//! What stands between a node and its storages: it is slow where the disk is to be, and reports what was
//! acknowledged, so that it can be held against what a restart finds.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::watch::Watch;
use crate::{
    runtime::{SharedRuntime, sleep, sleep_until},
    storage::{LogStorage, SnapshotStorage, StorageError},
    types::{Entries, LogId, LogIndex, LogState, LogWrite, NodeId, SnapshotMeta, SnapshotView, Time},
};

/// How slow a machine's disk is.
#[derive(Clone)]
pub(super) struct Pace(Arc<Mutex<Delays>>);

struct Delays {
    usual: Duration,
    extra: Duration,
    /// None of its state machine's flushes takes longer.
    machine: Duration,
    /// It answers nothing before.
    hangs_until: Time,
}

impl Pace {
    /// Most calls take up to `usual`, some much longer.
    pub(super) fn new(usual: Duration) -> Pace {
        Pace(Arc::new(Mutex::new(Delays {
            usual,
            extra: Duration::ZERO,
            machine: Duration::ZERO,
            hangs_until: Time(0),
        })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Delays) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn slow(&self, extra: Duration) {
        self.with(|delays| delays.extra = extra);
    }

    pub(super) fn slow_machine(&self, most: Duration) {
        self.with(|delays| delays.machine = most);
    }

    /// `until` is in the time of the machine.
    pub(super) fn hang(&self, until: Time) {
        self.with(|delays| delays.hangs_until = until);
    }

    async fn linger(&self, runtime: &SharedRuntime) {
        let (max, hangs_until) = self.with(|delays| (delays.usual + delays.extra, delays.hangs_until));
        if hangs_until > runtime.now() {
            sleep_until(&**runtime, hangs_until).await;
        }
        let random = runtime.random();
        let max = if random.is_multiple_of(500) { max * 20 } else { max };
        let wait = Duration::from_nanos(random % (max.as_nanos() as u64).max(1));
        if wait > Duration::from_micros(1) {
            sleep(&**runtime, wait).await;
        }
    }
}

/// Whose storage it is, and where.
#[derive(Clone)]
pub(super) struct Owner {
    pub(super) node: NodeId,
    pub(super) runtime: SharedRuntime,
    pub(super) pace: Pace,
    pub(super) watch: Arc<Watch>,
}

impl Owner {
    async fn linger(&self) {
        self.pace.linger(&self.runtime).await;
    }

    /// A state machine flushes.
    pub(super) async fn flush_machine(&self) {
        let most = self.pace.with(|delays| delays.machine.as_nanos() as u64);
        if most > 0 {
            sleep(&*self.runtime, Duration::from_nanos(self.runtime.random() % most)).await;
        }
    }
}

pub(super) struct WatchedLog {
    pub(super) owner: Owner,
    pub(super) log: Box<dyn LogStorage>,
}

#[async_trait]
impl LogStorage for WatchedLog {
    async fn recover(&mut self) -> Result<LogState, StorageError> {
        self.owner.linger().await;
        let state = self.log.recover().await?;
        self.owner.watch.recovered(self.owner.node, &state);
        Ok(state)
    }

    async fn write(&mut self, writes: &[LogWrite]) -> Result<(), StorageError> {
        self.owner.linger().await;
        self.owner.watch.writes(self.owner.node, writes);
        self.log.write(writes).await?;
        self.owner.watch.wrote(self.owner.node, writes);
        self.owner.linger().await;
        Ok(())
    }

    async fn read(
        &mut self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: u64,
    ) -> Result<Entries, StorageError> {
        self.owner.linger().await;
        self.log.read(first, last, bytes_max).await
    }

    async fn purge(&mut self, through: LogId) -> Result<(), StorageError> {
        self.owner.linger().await;
        self.owner.watch.purges(self.owner.node, through, false);
        self.log.purge(through).await?;
        self.owner.watch.purges(self.owner.node, through, true);
        Ok(())
    }
}

pub(super) struct WatchedSnapshots {
    pub(super) owner: Owner,
    pub(super) snapshots: Box<dyn SnapshotStorage>,
}

#[async_trait]
impl SnapshotStorage for WatchedSnapshots {
    async fn recover(&self) -> Result<Option<SnapshotMeta>, StorageError> {
        self.owner.linger().await;
        let found = self.snapshots.recover().await?;
        let last = found.as_ref().map(|snapshot| snapshot.last);
        self.owner.watch.snapshot_recovered(self.owner.node, last);
        Ok(found)
    }

    async fn write(&self, snapshot: SnapshotMeta, view: SnapshotView) -> Result<SnapshotMeta, StorageError> {
        self.owner.linger().await;
        let snapshot = self.snapshots.write(snapshot, view).await?;
        self.owner.watch.snapshot_kept(self.owner.node, snapshot.last);
        self.owner.linger().await;
        Ok(snapshot)
    }

    async fn read_chunk(&self, id: u64, offset: u64, bytes_max: u64) -> Result<Option<Bytes>, StorageError> {
        self.owner.linger().await;
        self.snapshots.read_chunk(id, offset, bytes_max).await
    }

    async fn receive_chunk(
        &self,
        snapshot: &SnapshotMeta,
        offset: u64,
        data: Bytes,
    ) -> Result<u64, StorageError> {
        self.owner.linger().await;
        self.snapshots.receive_chunk(snapshot, offset, data).await
    }

    async fn finish_receive(&self, snapshot: &SnapshotMeta) -> Result<(), StorageError> {
        self.owner.linger().await;
        self.snapshots.finish_receive(snapshot).await?;
        self.owner.watch.snapshot_kept(self.owner.node, snapshot.last);
        Ok(())
    }

    async fn open(&self, id: u64) -> Result<Box<dyn io::Read + Send>, StorageError> {
        self.owner.linger().await;
        self.snapshots.open(id).await
    }

    async fn retain(&self, ids: &[u64]) -> Result<(), StorageError> {
        self.snapshots.retain(ids).await
    }
}
