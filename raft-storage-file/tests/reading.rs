//! Reads of every range, through frames of every size: what comes back is what was written.

use std::sync::Arc;

use raft_actor::{
    storage::LogStorage,
    types::{Entry, LogIndex, LogWrite, Payload},
};
use raft_storage_file::{FileLog, disk::simulated::SimulatedDisk};

use crate::crash::{FOLDER, IDENTITY, append, block_on, command, options, vote};

fn open(disk: &SimulatedDisk) -> FileLog {
    let options = options().with_segment_bytes(1 << 20);
    let mut log = FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options).unwrap();
    block_on(log.recover()).unwrap();
    log
}

fn bytes_of(entry: &Entry) -> u64 {
    let Payload::Command(command) = &entry.payload else { panic!("only commands are written here") };
    32 + command.len() as u64
}

/// From little to more than is read at once; some are zeros, with which a frame is scrambled.
fn bytes_by_chance(chance: &mut fastrand::Rng) -> usize {
    match chance.u8(..20) {
        0 => chance.usize(200_000..400_000),
        1..=4 => chance.usize(4_000..20_000),
        _ => chance.usize(..600),
    }
}

/// Frames of one to 40 entries; one of them takes back what the one before has written.
fn written(log: &mut FileLog, chance: &mut fastrand::Rng) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    block_on(log.write(&[vote(1, 1)])).unwrap();
    for number in 0..24 {
        let truncate_from = (number == 12).then(|| {
            all.truncate(all.len() - 1);
            LogIndex(all.len() as u64 + 1)
        });
        let first = all.len() as u64 + 1;
        let count = chance.u64(1..40);
        let entries: Vec<_> =
            (first..first + count).map(|index| command(index, 1, bytes_by_chance(chance))).collect();
        block_on(log.write(&[LogWrite { truncate_from, ..append(entries.clone()) }])).unwrap();
        all.extend(entries);
    }
    all
}

#[test]
fn each_range_comes_back_as_it_was_written_and_within_its_bytes() {
    for seed in 0..3 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let disk = SimulatedDisk::new();
        let mut log = open(&disk);
        let all = written(&mut log, &mut chance);
        for _ in 0..100 {
            let first = chance.usize(..all.len());
            let last = chance.usize(first..all.len());
            let bytes_max = [0, chance.u64(..2_000), chance.u64(..1_000_000), u64::MAX][chance.usize(..4)];
            let mut bytes = 0;
            let fit = all[first..=last].iter().take_while(|entry| {
                bytes += bytes_of(entry);
                bytes <= bytes_max
            });
            let expected = &all[first..first + fit.count().max(1)];
            let read = log.read(LogIndex(first as u64 + 1), LogIndex(last as u64 + 1), bytes_max);
            let read = block_on(read).unwrap();
            let what = format!("seed {seed}, {} to {}, {bytes_max} bytes", first + 1, last + 1);
            assert_eq!(read.len(), expected.len(), "{what}");
            assert!(read.iter().eq(expected), "{what}");
        }
    }
}

#[test]
fn a_sector_that_cannot_be_read_hinders_no_read_of_what_stands_before_it() {
    let disk = SimulatedDisk::new();
    let mut log = open(&disk);
    block_on(log.write(&[vote(1, 1)])).unwrap();
    for (index, bytes) in [(1, 3000), (2, 10_000), (3, 3000)] {
        block_on(log.write(&[append(vec![command(index, 1, bytes)])])).unwrap();
    }
    let path =
        disk.paths().into_iter().find(|path| path.extension().is_some_and(|end| end == "seg")).unwrap();
    // In the second frame, which follows on the segment's header and the first frame, a block each.
    disk.lose_sector(&path, 2 * 4096 + 8192);
    for (last, bytes_max) in [(1, u64::MAX), (3, 13_000)] {
        let read = block_on(log.read(LogIndex(1), LogIndex(last), bytes_max)).unwrap();
        assert_eq!(read.len(), 1, "up to {last}, {bytes_max} bytes");
    }
    let refused = block_on(log.read(LogIndex(1), LogIndex(3), u64::MAX)).unwrap_err().to_string();
    assert!(refused.contains("at offset 8192") && refused.contains("it cannot be read"), "{refused}");
}
