//! Frames are written past the cache where the disk can do that, and through it where not.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use raft_actor::{
    storage::{LogStorage, StorageError},
    types::{LogId, LogIndex, Term},
};
use raft_storage_file::{
    FileLog,
    disk::{
        Disk, DiskFile, Lock, RealDisk,
        simulated::{SimulatedDisk, Unflushed},
    },
};

use crate::crash::{
    IDENTITY, Model, Step, UNCACHED_BLOCKS, append, block_on, command, disk_of_way, open, options, vote,
};

fn write(log: &mut FileLog, model: &mut Model, index: u64, bytes: usize) {
    let step = Step::Write(vec![vote(1, 1), append(vec![command(index, 1, bytes)])]);
    let Step::Write(writes) = &step else { unreachable!("it was made a write above") };
    block_on(log.write(writes)).unwrap_or_else(|error| panic!("entry {index}: {error}"));
    model.apply(&step);
}

#[test]
fn each_frame_is_one_write_past_the_cache_also_in_new_segments_and_after_opening_again() {
    let disk = SimulatedDisk::new();
    let mut model = Model::default();
    for opened in 0..4 {
        let (mut log, _) = open(&disk).unwrap();
        for index in 1..=20 {
            let (before, segments) = (disk.calls(), disk.paths().len());
            write(&mut log, &mut model, opened * 20 + index, 3000);
            let after = disk.calls();
            let uncached = after.uncached_writes - before.uncached_writes;
            // A new segment is zeroed past the cache as well, in one piece.
            let expected = 1 + (disk.paths().len() - segments) as u64;
            assert_eq!(uncached, expected, "opened {opened} times, frame {index}");
        }
    }
    let (mut log, state) = open(&disk.crash(Unflushed::Dropped)).unwrap();
    assert_eq!(Model::of(&mut log, &state).as_ref(), Ok(&model));
}

#[test]
fn a_large_frame_goes_through_the_cache_and_frames_of_both_kinds_are_read_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let simulated = SimulatedDisk::new();
    let places: [(Arc<dyn Disk>, &Path); 2] =
        [(Arc::new(simulated.clone()), Path::new("/log")), (Arc::new(RealDisk), folder.path())];
    for (disk, path) in places {
        let options = options().with_segment_bytes(4 << 20);
        let open = || FileLog::open_on(disk.clone(), path, IDENTITY, options.clone()).unwrap();
        let mut model = Model::default();
        let mut log = open();
        block_on(log.recover()).unwrap();
        for index in 1..=30 {
            let bytes = if index % 3 == 0 { 200 << 10 } else { 3000 };
            let (before, segments) = (simulated.calls(), simulated.paths().len());
            write(&mut log, &mut model, index, bytes);
            let is_same_file = simulated.paths().len() == segments;
            if path == Path::new("/log") && is_same_file {
                let uncached = simulated.calls().uncached_writes - before.uncached_writes;
                assert_eq!(uncached, u64::from(index % 3 != 0), "entry {index}");
            }
            let read = block_on(log.read(LogIndex(1), LogIndex(index), u64::MAX)).unwrap();
            assert!(read.iter().eq(model.entries.iter()), "entry {index}");
        }
        drop(log);
        let mut log = open();
        let state = block_on(log.recover()).unwrap();
        assert_eq!(Model::of(&mut log, &state).as_ref(), Ok(&model));
    }
}

#[test]
fn a_disk_that_refuses_frames_past_the_cache_gets_them_through_it_and_is_not_asked_again() {
    let blocks: Vec<_> = UNCACHED_BLOCKS.into_iter().enumerate().skip(1).collect();
    for (way, block) in blocks {
        let disk = disk_of_way(way as u64);
        let mut model = Model::default();
        let (mut log, _) = open(&disk).unwrap();
        for index in 1..=40 {
            write(&mut log, &mut model, index, 3000);
        }
        assert_eq!(disk.calls().uncached_writes, 0, "{block:?}");
        // It could be done now: the answer stands for as long as the store is open.
        disk.set_uncached_block(Some(4096));
        let (before, segments) = (disk.calls(), disk.paths().len());
        write(&mut log, &mut model, 41, 10);
        assert_eq!(disk.paths().len(), segments);
        assert_eq!(disk.calls().uncached_writes, before.uncached_writes, "{block:?}");
        let (mut log, state) = open(&disk.crash(Unflushed::Dropped)).unwrap();
        assert_eq!(Model::of(&mut log, &state).as_ref(), Ok(&model), "{block:?}");
    }
}

#[test]
fn a_frame_past_the_cache_is_as_little_durable_before_its_flush_as_any_other() {
    for way in 0..3 {
        let disk = disk_of_way(way);
        let mut model = Model::default();
        let (mut log, _) = open(&disk).unwrap();
        write(&mut log, &mut model, 1, 3000);
        disk.fail_next_sync();
        block_on(log.write(&[append(vec![command(2, 1, 3000)])])).unwrap_err();
        drop(log);
        let (mut log, state) = open(&disk.crash(Unflushed::Dropped)).unwrap();
        assert_eq!(Model::of(&mut log, &state).as_ref(), Ok(&model), "way {way}");
    }
}

/// This machine's disk, whose writes past the cache can be told to fail halfway.
#[derive(Debug, Default)]
struct Halfway {
    error: Option<io::ErrorKind>,
    is_on: Arc<AtomicBool>,
}

#[derive(Debug)]
struct HalfwayFile {
    file: Arc<dyn DiskFile>,
    error: Option<io::ErrorKind>,
    is_on: Arc<AtomicBool>,
}

impl Disk for Halfway {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.create_folder(folder)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(folder)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.create(path)
    }

    fn open_uncached(&self, path: &Path) -> io::Result<Option<Arc<dyn DiskFile>>> {
        // Where the file system has no such writes, an ordinary file fails as well.
        let file = RealDisk.open_uncached(path)?.map_or_else(|| RealDisk.open(path), Ok)?;
        Ok(Some(Arc::new(HalfwayFile { file, error: self.error, is_on: self.is_on.clone() })))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        RealDisk.sync_folder(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        RealDisk.lock(path)
    }
}

impl DiskFile for HalfwayFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.error {
            Some(error) if self.is_on.load(Ordering::Relaxed) => {
                self.file.write_at(offset, &bytes[..bytes.len() / 2 / 4096 * 4096])?;
                Err(error.into())
            }
            _ => self.file.write_at(offset, bytes),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.file.set_size(bytes)
    }
}

fn open_on(disk: &Arc<Halfway>, folder: &Path) -> FileLog {
    FileLog::open_on(disk.clone(), folder, IDENTITY, options().with_segment_bytes(1 << 20)).unwrap()
}

#[test]
fn what_was_read_ahead_through_the_cache_is_never_read_in_place_of_a_newer_frame() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Halfway::default());
    let mut log = open_on(&disk, folder.path());
    block_on(log.recover()).unwrap();
    let mut model = Model::default();
    for index in 1..=120 {
        write(&mut log, &mut model, index, [10, 3000, 20_000][index as usize % 3]);
        // The system reads on behind what is asked for, to where the next frames come to stand.
        for file in std::fs::read_dir(folder.path().join("log")).unwrap() {
            std::fs::read(file.unwrap().path()).unwrap();
        }
        let read = block_on(log.read(LogIndex(1), LogIndex(index), u64::MAX)).unwrap();
        assert!(read.to_vec() == model.entries, "after entry {index}");
    }
    drop(log);
    let mut log = open_on(&disk, folder.path());
    let state = block_on(log.recover()).unwrap();
    assert_eq!(Model::of(&mut log, &state).as_ref(), Ok(&model));
}

#[test]
fn a_write_past_the_cache_that_is_refused_halfway_is_made_once_more_and_every_other_error_is_final() {
    for error in [io::ErrorKind::InvalidInput, io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Halfway { error: Some(error), is_on: Arc::default() });
        let mut log = open_on(&disk, folder.path());
        block_on(log.recover()).unwrap();
        let mut model = Model::default();
        write(&mut log, &mut model, 1, 20_000);
        disk.is_on.store(true, Ordering::Relaxed);
        if error == io::ErrorKind::InvalidInput {
            write(&mut log, &mut model, 2, 20_000);
            write(&mut log, &mut model, 3, 20_000);
        } else {
            let failed = block_on(log.write(&[append(vec![command(2, 1, 20_000)])])).unwrap_err();
            assert!(matches!(&failed, StorageError::Io { source, .. } if source.kind() == error), "{failed}");
            disk.is_on.store(false, Ordering::Relaxed);
            let next = block_on(log.write(&[append(vec![command(2, 1, 10)])])).unwrap_err();
            assert!(matches!(next, StorageError::Poisoned { .. }), "{next}");
        }
        drop(log);
        let mut log = open_on(&disk, folder.path());
        let state = block_on(log.recover()).unwrap();
        assert_eq!(Model::of(&mut log, &state).as_ref(), Ok(&model), "{error:?}");
        assert_eq!(state.last, LogId::new(Term(1), LogIndex(model.entries.len() as u64)));
    }
}
