//! What a simulated machine keeps its node on: a [`FileLog`] and [`FileSnapshots`] on a [`SimulatedDisk`].
//! Give it to a [`Simulation`](raft_actor::testkit::simulation::Simulation) as its disks.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use raft_actor::{
    runtime::{SharedRuntime, sleep},
    storage::StorageError,
    testkit::simulation::disk::{Disk, Storages, Trouble},
    types::{ClusterId, NodeId},
};

use crate::{
    FileLog, FileSnapshots, Identity, Options,
    disk::simulated::{SimulatedDisk, Unflushed},
    inspect::{Places, Verdict, repair_places},
    layout::BLOCK_BYTES,
};

/// So small that segments are sealed, removed and begun anew while a simulation runs.
const SEGMENT_BYTES: u64 = 16 << 10;

/// Farther away than any call of a simulation.
const NEVER: u64 = u64::MAX / 2;

/// The disk of a simulated machine.
pub struct SimulatedStorage {
    /// None of its flushes takes longer; zero: none takes any time.
    flush_max: Duration,
    /// A power cut puts another one here.
    disk: Mutex<SimulatedDisk>,
}

impl SimulatedStorage {
    /// An empty one. How long it takes to flush comes from the seed; at times that is nothing. So does in
    /// which blocks it takes what is written past its cache: in ours, in larger ones only, or not at all.
    pub fn new(seed: u64) -> SimulatedStorage {
        let flush_max = Duration::from_micros([0, 0, 500, 8_000][seed as usize % 4]);
        let disk = SimulatedDisk::new();
        disk.set_uncached_block([Some(BLOCK_BYTES), Some(1 << 30), None][seed as usize / 4 % 3]);
        SimulatedStorage { flush_max, disk: Mutex::new(disk) }
    }

    fn disk(&self) -> MutexGuard<'_, SimulatedDisk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimulatedStorage {
    fn open(&self, node_id: NodeId, runtime: &SharedRuntime) -> Result<Storages, StorageError> {
        let disk = self.disk().clone();
        if !self.flush_max.is_zero() {
            let (runtime, most) = (runtime.clone(), self.flush_max.as_nanos() as u64);
            disk.set_flush_time(move || {
                let (runtime, takes) = (runtime.clone(), Duration::from_nanos(runtime.random() % most));
                Box::pin(async move { sleep(&*runtime, takes).await })
            });
        }
        let identity = Identity { cluster_id: ClusterId(1), node_id };
        let options = Options::default().with_segment_bytes(SEGMENT_BYTES);
        let files = Arc::new(disk);
        let log = FileLog::open_inline(runtime.clone(), files.clone(), "/log", identity, options)?;
        let snapshots = FileSnapshots::open_inline(files, "/snapshots", identity)?;
        Ok(Storages { log: Box::new(log), snapshots: Box::new(snapshots) })
    }

    fn cut_power(&self, chance: u64) {
        let mut disk = self.disk();
        // What the old one is still written to goes nowhere.
        *disk = disk.crash(match chance % 4 {
            0 => Unflushed::Kept,
            1 => Unflushed::Dropped,
            _ => Unflushed::Torn(chance),
        });
    }

    fn disturb(&self, trouble: Trouble, chance: u64) -> bool {
        let disk = self.disk();
        match trouble {
            Trouble::Failing if chance.is_multiple_of(2) => disk.fail_once(chance % 7, io::ErrorKind::Other),
            Trouble::Failing => disk.fail_after(chance % 7, io::ErrorKind::Other),
            Trouble::Full if chance.is_multiple_of(2) => disk.set_bytes_max(Some(0)),
            Trouble::Full => disk.fail_after(chance % 7, io::ErrorKind::StorageFull),
            Trouble::FlushFailsOnce => disk.fail_next_sync(),
            Trouble::BitFlips => flip_bits(&disk, chance),
            _ => return false,
        }
        true
    }

    fn repair(&self) -> bool {
        let files: Arc<dyn crate::disk::Disk> = Arc::new(self.disk().clone());
        let mut places = Places::default();
        for folder in ["/log", "/snapshots"].map(Path::new) {
            places.add(folder, &files.list(folder).unwrap_or_default());
        }
        repair_places(&files, &places, Verdict::Whole, true).is_ok()
    }

    fn mend(&self) {
        let disk = self.disk();
        disk.fail_after(NEVER, io::ErrorKind::Other);
        disk.fail_once(NEVER, io::ErrorKind::Other);
        disk.set_bytes_max(None);
    }
}

/// Up to four bits, anywhere.
fn flip_bits(disk: &SimulatedDisk, chance: u64) {
    let mut random = fastrand::Rng::with_seed(chance);
    let paths: Vec<PathBuf> = disk.paths();
    for _ in 0..random.u64(1..=4) {
        let Some(path) = random.choice(&paths) else { return };
        let bytes = disk.bytes(path).map_or(0, |bytes| bytes.len() as u64);
        if bytes > 0 {
            disk.flip_bit(path, random.u64(..bytes), random.u32(..8));
        }
    }
}
