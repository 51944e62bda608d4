//! The faults of a disk, one kind at a time: full, unreadable in places, rotten while it lies there.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use raft_actor::{
    storage::{LogStorage, StorageError},
    types::{LogId, LogIndex, LogState, Term},
};
use raft_storage_file::{
    FileLog,
    disk::{
        Disk,
        simulated::{SimulatedDisk, Unflushed},
    },
};

use crate::crash::{FOLDER, IDENTITY, append, block_on, command, options, vote};

fn open(disk: &SimulatedDisk) -> Result<(FileLog, LogState), StorageError> {
    let mut log = FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options())?;
    let state = block_on(log.recover())?;
    Ok((log, state))
}

/// A store with one entry, and its only segment.
fn store() -> (SimulatedDisk, FileLog, PathBuf) {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    block_on(log.write(&[vote(1, 1), append(vec![command(1, 1, 5000)])])).unwrap();
    let segment = disk.paths().into_iter().find(|path| path.extension().is_some()).unwrap();
    (disk, log, segment)
}

fn size(disk: &SimulatedDisk) -> u64 {
    disk.paths().iter().map(|path| disk.bytes(path).unwrap().len() as u64).sum()
}

#[test]
fn a_full_disk_stops_the_node_and_an_hour_later_it_goes_on_where_it_was() {
    let (disk, mut log, _) = store();
    disk.set_bytes_max(Some(size(&disk)));
    // What is there already can be written: votes, and entries while the segment has room.
    block_on(log.write(&[vote(2, 2), append(vec![command(2, 2, 100)])])).unwrap();
    let mut acknowledged = 2;
    let error = loop {
        match block_on(log.write(&[append(vec![command(acknowledged + 1, 2, 3000)])])) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    let is_full =
        matches!(&error, StorageError::Io { source, .. } if source.kind() == ErrorKind::StorageFull);
    assert!(is_full && error.to_string().contains("/store/log/spare-"), "{error}");
    drop(log);
    let disk = disk.crash(Unflushed::Dropped);
    let last = LogId::new(Term(2), LogIndex(acknowledged));
    // As long as the disk is full the node can still be asked what it has, and vote.
    let (mut log, state) = open(&disk).unwrap();
    assert_eq!(state.last, last);
    block_on(log.write(&[vote(3, 1)])).unwrap();
    drop(log);
    disk.set_bytes_max(None);
    let (mut log, state) = open(&disk).unwrap();
    assert_eq!((state.last, state.hard_state.term), (last, Term(3)));
    block_on(log.write(&[append(vec![command(acknowledged + 1, 3, 3000)])])).unwrap();
}

#[test]
fn a_sector_that_cannot_be_read_is_refused_by_file_and_offset_and_never_taken_for_the_end() {
    let (disk, log, segment) = store();
    drop(log);
    // The header, the only frame's first and second block, the seal's place, and a place behind the mark.
    for (lost, told) in [(0, 0), (4096, 4096), (9000, 4096), (28_672, 28_672), (20_480, 16_384)] {
        let copy = disk.crash(Unflushed::Kept);
        copy.lose_sector(&segment, lost);
        match open(&copy) {
            Err(StorageError::Corrupt { path, offset, detail }) => {
                assert!(path == segment && detail.contains("it cannot be read"), "{lost}: {detail}");
                assert_eq!(offset, told, "{lost}: {detail}");
            }
            other => panic!("{lost}: it was not refused: {other:?}"),
        }
    }
}

#[test]
fn a_copy_of_term_and_vote_or_of_meta_that_cannot_be_read_is_written_anew_from_its_twin() {
    let (disk, log, _) = store();
    drop(log);
    for (name, offsets) in [("HARDSTATE", [0, 64 << 10]), ("META", [0, 4096])] {
        let path = Path::new(FOLDER).join(name);
        for offset in offsets {
            let copy = disk.crash(Unflushed::Kept);
            copy.lose_sector(&path, offset);
            let (_, state) = open(&copy).unwrap();
            assert_eq!(state.hard_state.term, Term(1));
            let mut buffer = [0; 4096];
            copy.open(&path).unwrap().read_at(offset, &mut buffer).unwrap();
        }
        let copy = disk.crash(Unflushed::Kept);
        offsets.iter().for_each(|offset| copy.lose_sector(&path, *offset));
        let error = open(&copy).unwrap_err();
        assert!(matches!(&error, StorageError::Corrupt { path: told, .. } if *told == path), "{error}");
    }
}

#[test]
fn a_sector_that_is_lost_while_the_log_is_open_is_told_with_the_entries_that_stood_there() {
    let (disk, mut log, segment) = store();
    disk.lose_sector(&segment, 5000);
    let sentence = block_on(log.read(LogIndex(1), LogIndex(1), 0)).unwrap_err().to_string();
    assert!(sentence.contains(segment.to_str().unwrap()), "{sentence}");
    assert!(sentence.contains("at offset 4096") && sentence.contains("entries 1 to 1"), "{sentence}");
}

#[test]
fn a_bit_that_turns_at_rest_is_found_and_what_was_not_flushed_stays_so() {
    let (disk, log, segment) = store();
    drop(log);
    let before = disk.bytes(&segment).unwrap();
    disk.open(&segment).unwrap().write_at(12_000, &[9]).unwrap();
    disk.flip_bit(&segment, 6000, 3);
    let crashed = disk.crash(Unflushed::Dropped);
    let after = crashed.bytes(&segment).unwrap();
    assert_eq!((after[6000], after[12_000]), (before[6000] ^ 8, before[12_000]));
    let sentence = open(&crashed).unwrap_err().to_string();
    assert!(sentence.contains("is corrupt at offset 4096"), "{sentence}");
}
