//! The files of purged segments, used again.

use std::{path::PathBuf, sync::Arc, time::Duration};

use raft_actor::{
    storage::LogStorage,
    types::{LogId, LogIndex, Term},
};
use raft_storage_file::{
    FileLog, Options,
    disk::simulated::{SimulatedDisk, Unflushed},
};

use crate::crash::{FOLDER, IDENTITY, Model, Step, append, block_on, command, open, options, vote};

/// Where a purge follows each rotation, the file that it gives back is the next segment's: on a disk without
/// any room left the log goes on for as long as one likes.
#[test]
fn the_files_of_purged_segments_are_used_again_so_that_no_new_space_is_needed() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    block_on(log.write(&[vote(1, 1)])).unwrap();
    let mut model = Model::default();
    model.apply(&Step::Write(vec![vote(1, 1)]));
    let mut peak = 0;
    for index in 1..=300 {
        let bytes = disk.paths().iter().map(|path| disk.bytes(path).unwrap().len() as u64).sum();
        peak = peak.max(bytes);
        if index == 40 {
            disk.set_bytes_max(Some(peak));
        }
        let step = Step::Write(vec![append(vec![command(index, 1, 3000)])]);
        let Step::Write(writes) = &step else { unreachable!("it was made a write above") };
        block_on(log.write(writes)).unwrap_or_else(|error| panic!("entry {index}: {error}"));
        model.apply(&step);
        if index % 4 == 0 {
            let through = LogId::new(Term(1), LogIndex(index - 3));
            block_on(log.purge(through)).unwrap();
            model.apply(&Step::Purge(through));
        }
    }
    for unflushed in [Unflushed::Kept, Unflushed::Dropped, Unflushed::Torn(1)] {
        let (mut log, state) = open(&disk.crash(unflushed)).unwrap();
        assert_eq!(Model::of(&mut log, &state).as_ref(), Ok(&model));
    }
    assert!(disk.paths().len() < 8, "{:?}", disk.paths());
}

/// Writes to files that are zeroed in the background, used ones among them, and holds what is left of them
/// after a crash against what was written.
fn write_to_zeroed_files(disk: &SimulatedDisk) {
    let options = options().with_spare_in_background(true);
    let mut log = FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options).unwrap();
    block_on(log.recover()).unwrap();
    let mut model = Model::default();
    for index in 1..=400 {
        let mut steps = vec![Step::Write(vec![vote(1, 1), append(vec![command(index, 1, 3000)])])];
        if index % 4 == 0 {
            steps.push(Step::Purge(LogId::new(Term(1), LogIndex(index - 3))));
        }
        for step in steps {
            match &step {
                Step::Write(writes) => block_on(log.write(writes)).unwrap(),
                Step::Purge(through) => block_on(log.purge(*through)).unwrap(),
                Step::Reopen => {}
            }
            model.apply(&step);
        }
    }
    for unflushed in [Unflushed::Kept, Unflushed::Dropped, Unflushed::Torn(7)] {
        let (mut log, state) = open(&disk.crash(unflushed)).unwrap();
        assert_eq!(Model::of(&mut log, &state).as_ref(), Ok(&model));
    }
    drop(log);
    assert!(disk.paths().len() < 9, "{:?}", disk.paths());
}

#[test]
fn files_that_are_zeroed_in_the_background_hold_what_is_written_to_them() {
    write_to_zeroed_files(&SimulatedDisk::new());
}

#[test]
fn a_disk_that_takes_no_writes_past_the_cache_or_larger_ones_has_its_files_zeroed_through_it() {
    for block in [None, Some(1 << 30)] {
        let disk = SimulatedDisk::new();
        disk.set_uncached_block(block);
        assert!(is_prepared_after_frames_of(3 << 10, &disk), "{block:?}");
        let disk = SimulatedDisk::new();
        disk.set_uncached_block(block);
        write_to_zeroed_files(&disk);
    }
}

/// Whether a file for the next segment is there after frames of `bytes` each, once there was time to make
/// one.
fn is_prepared_after_frames_of(bytes: usize, disk: &SimulatedDisk) -> bool {
    let options = Options::default().with_spare_in_background(true);
    let mut log = FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options).unwrap();
    block_on(log.recover()).unwrap();
    block_on(log.write(&[vote(1, 1)])).unwrap();
    // The first segment is of a MiB: half of it, so that the second is to be prepared.
    for index in 1..=(512 << 10) / bytes as u64 {
        block_on(log.write(&[append(vec![command(index, 1, bytes)])])).unwrap();
    }
    let holds_zeros = |path: &PathBuf| disk.bytes(path).is_some_and(|bytes| !bytes.is_empty());
    let is_spare = |path: &&PathBuf| path.to_string_lossy().contains("spare");
    let is_there = || disk.paths().iter().find(is_spare).is_some_and(holds_zeros);
    for _ in 0..200 {
        if is_there() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

#[test]
fn the_next_file_is_zeroed_in_time_for_small_frames_and_not_at_all_for_large_ones() {
    assert!(is_prepared_after_frames_of(3 << 10, &SimulatedDisk::new()));
    assert!(!is_prepared_after_frames_of(256 << 10, &SimulatedDisk::new()));
}

#[test]
fn a_file_that_was_made_in_haste_is_left_once_a_better_one_is_ready() {
    let disk = SimulatedDisk::new();
    let options = Options::default().with_spare_in_background(true);
    let mut log = FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options).unwrap();
    block_on(log.recover()).unwrap();
    let mut model = Model::default();
    let mut write = |step: Step| {
        let Step::Write(writes) = &step else { unreachable!("only writes are made below") };
        block_on(log.write(writes)).unwrap();
        model.apply(&step);
    };
    let segments =
        || disk.paths().iter().filter(|path| path.extension().is_some_and(|end| end == "seg")).count();
    // The first segment is of a MiB, the second of four.
    write(Step::Write(vec![vote(1, 1)]));
    for index in 1..=5 {
        write(Step::Write(vec![append(vec![command(index, 1, 256 << 10)])]));
    }
    assert_eq!(segments(), 2);
    let mut index = 6;
    while segments() == 2 {
        assert!(index < 500, "the third segment begins before the second is half full");
        write(Step::Write(vec![append(vec![command(index, 1, 3000)])]));
        std::thread::sleep(Duration::from_millis(10));
        index += 1;
    }
    for unflushed in [Unflushed::Kept, Unflushed::Dropped, Unflushed::Torn(3)] {
        let (mut log, state) = open(&disk.crash(unflushed)).unwrap();
        assert_eq!(Model::of(&mut log, &state).as_ref(), Ok(&model));
    }
}
