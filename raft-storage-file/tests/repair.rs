//! Folders that are damaged, and repaired: what is intact before the damage is kept, the node is fenced, and
//! whatever a crash leaves of a repair is repaired again.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use raft_actor::{
    storage::{LogStorage, SnapshotStorage, StorageError},
    testkit::suite::snapshot_storage::describe,
    types::{Entry, HardState, LogId, LogIndex, LogState, NodeId, Term},
};
use raft_storage_file::{
    FileLog, FileSnapshots,
    disk::{
        Disk,
        simulated::{SimulatedDisk, Unflushed},
    },
    inspect::{Repaired, Verdict, inspect, repair},
};

use super::crash::{IDENTITY, append, block_on, command, options, vote};

const NODE: &str = "/node";
const LOG: &str = "/node/raft";
const SNAPSHOTS: &str = "/node/snapshots";
const LAST: u64 = 14;

fn open(disk: &SimulatedDisk) -> Result<(Vec<Entry>, LogState), StorageError> {
    let mut log = FileLog::open_on(Arc::new(disk.clone()), LOG, IDENTITY, options())?;
    let state = block_on(log.recover())?;
    let (first, last) = (state.purged.index.next(), state.last.index);
    let entries = if first > last { Vec::new() } else { block_on(log.read(first, last, u64::MAX))?.to_vec() };
    Ok((entries, state))
}

fn snapshots(disk: &SimulatedDisk) -> FileSnapshots {
    FileSnapshots::open_on(Arc::new(disk.clone()), SNAPSHOTS, IDENTITY).unwrap()
}

/// A node's folder: entries in several segments, each of them a frame of two blocks; a snapshot of the
/// second, and the log purged through it where that is asked for.
fn node(purged: bool) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.create_folder(Path::new(NODE)).unwrap();
    let mut log = FileLog::open_on(Arc::new(disk.clone()), LOG, IDENTITY, options()).unwrap();
    block_on(log.recover()).unwrap();
    block_on(log.write(&[vote(1, 3)])).unwrap();
    for index in 1..=LAST {
        block_on(log.write(&[append(vec![command(index, 1, 5001)])])).unwrap();
        if index == 4 && purged {
            block_on(log.purge(LogId::new(Term(1), LogIndex(2)))).unwrap();
        }
    }
    let kept = snapshots(&disk);
    block_on(kept.recover()).unwrap();
    block_on(kept.write(describe(9, 2, 0), Box::new(|writer| writer.write_all(&[1; 1000])))).unwrap();
    // Before it is closed, so that no mark proves its end.
    let crashed = disk.crash(Unflushed::Kept);
    drop(log);
    crashed
}

fn segments(disk: &SimulatedDisk) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.extension().is_some_and(|it| it == "seg")).collect()
}

fn repaired(disk: &SimulatedDisk, really: bool) -> Result<Repaired, StorageError> {
    repair(&(Arc::new(disk.clone()) as Arc<dyn Disk>), Path::new(NODE), really)
}

fn verdict(disk: &SimulatedDisk) -> Verdict {
    inspect(&(Arc::new(disk.clone()) as Arc<dyn Disk>), Path::new(NODE)).unwrap().verdict()
}

fn flip(disk: &SimulatedDisk, path: &Path, offset: usize) {
    disk.damage(path, |bytes| bytes[offset] ^= 4);
}

const FENCED: HardState = HardState { term: Term(2), voted_for: None, fence: Some(Term(1)) };

/// Repairs a damaged folder, and opens it. How many entries are left, from index 1 on.
fn saved(disk: &SimulatedDisk, what: &str) -> u64 {
    assert!(matches!(verdict(disk), Verdict::Damaged { .. }), "{what}: {:?}", verdict(disk));
    let done = repaired(disk, true).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (entries, state) = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(state.hard_state, FENCED, "{what}");
    assert_eq!((done.kept, done.hard_state), ((state.purged, state.last), FENCED), "{what}");
    assert!(!done.put_aside.is_empty() || what.contains("missing"), "{what}: nothing is put aside");
    let expected: Vec<Entry> = (1..=entries.len() as u64).map(|index| command(index, 1, 5001)).collect();
    assert!(entries == expected, "{what}: {:?}", state.last);
    entries.len() as u64
}

/// The entry whose frame covers this place of the log.
fn entry_at(disk: &SimulatedDisk, segment: usize, offset: usize) -> u64 {
    let capacity = |path: &PathBuf| disk.bytes(path).unwrap().len();
    let frames = |path: &PathBuf| (capacity(path) - 2 * 4096) / 8192;
    let before: usize = segments(disk)[..segment].iter().map(frames).sum();
    (before + (offset.max(4096) - 4096) / 8192 + 1) as u64
}

#[test]
fn whatever_block_of_a_segment_is_damaged_all_entries_before_it_are_kept() {
    let whole = node(false);
    let mut tried = 0;
    for (number, path) in segments(&whole).iter().enumerate() {
        let blocks = whole.bytes(path).unwrap().len() / 4096;
        for (block, way) in
            (0..blocks).flat_map(|block| ["flipped", "zeroed", "unreadable"].map(|it| (block, it)))
        {
            let disk = whole.crash(Unflushed::Kept);
            match way {
                "flipped" => flip(&disk, path, block * 4096 + 40),
                "zeroed" => disk.damage(path, |bytes| bytes[block * 4096..][..4096].fill(0)),
                _ => disk.lose_sector(path, block as u64 * 4096),
            }
            if !matches!(verdict(&disk), Verdict::Damaged { .. }) {
                // What was never written to, and what passes for torn.
                continue;
            }
            let what = format!("{} block {block} {way}", path.display());
            let kept = saved(&disk, &what);
            let lost = entry_at(&whole, number, block * 4096);
            assert!(
                kept + 1 >= lost.min(LAST + 1),
                "{what}: {kept} entries are kept, entry {lost} was damaged"
            );
            assert_eq!(verdict(&disk), Verdict::Whole, "{what}");
            tried += 1;
        }
    }
    assert!(tried > 60, "vacuous: {tried}");
}

#[test]
fn a_missing_segment_takes_all_that_follow_with_it_and_none_before() {
    let whole = node(false);
    let all = segments(&whole);
    assert!(all.len() > 3, "{all:?}");
    for (number, path) in all.iter().enumerate() {
        let disk = whole.crash(Unflushed::Kept);
        disk.remove(path).unwrap();
        let kept = saved(&disk, &format!("{} missing", path.display()));
        assert_eq!(kept + 1, entry_at(&whole, number, 0), "{}", path.display());
    }
}

#[test]
fn a_segment_of_the_wrong_size_and_a_lost_folder_of_segments_are_repaired() {
    let whole = node(false);
    let disk = whole.crash(Unflushed::Kept);
    disk.damage(&segments(&disk)[2], |bytes| bytes.truncate(9000));
    assert_eq!(saved(&disk, "cut off") + 1, entry_at(&whole, 2, 0));
    let disk = whole.crash(Unflushed::Kept);
    for path in segments(&disk) {
        disk.remove(&path).unwrap();
    }
    assert_eq!(saved(&disk, "all missing"), 0);
}

#[test]
fn a_damaged_tail_that_nothing_proves_to_be_torn_is_cut_behind_a_fence() {
    let disk = node(false);
    let last = segments(&disk).pop().unwrap();
    let end = disk.bytes(&last).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    flip(&disk, &last, end);
    assert_eq!(saved(&disk, "the tail"), LAST - 1);
}

#[test]
fn what_is_put_aside_still_holds_every_byte() {
    let disk = node(false);
    let path = &segments(&disk)[1];
    flip(&disk, path, 4096 + 40);
    let before: Vec<Vec<u8>> = segments(&disk)[1..].iter().map(|path| disk.bytes(path).unwrap()).collect();
    let mut aside = repaired(&disk, true).unwrap().put_aside;
    aside.sort();
    let after: Vec<Vec<u8>> = aside.iter().map(|path| disk.bytes(path).unwrap()).collect();
    assert!(after == before, "{aside:?}");
}

#[test]
fn nothing_is_changed_before_it_is_said_and_what_is_said_is_then_done() {
    let disk = node(false);
    flip(&disk, &segments(&disk)[1], 4096 + 40);
    let files = |disk: &SimulatedDisk| -> Vec<_> {
        disk.paths().into_iter().map(|path| (disk.bytes(&path), path)).collect()
    };
    let (before, calls) = (files(&disk), disk.calls());
    let said = repaired(&disk, false).unwrap();
    assert_eq!(disk.calls(), calls, "the disk was touched");
    assert!(files(&disk) == before);
    assert_eq!(repaired(&disk, true).unwrap(), said);
}

#[test]
fn a_log_that_was_purged_is_kept_after_the_snapshot_that_covers_it() {
    let disk = node(true);
    flip(&disk, &segments(&disk)[2], 4096 + 40);
    let done = repaired(&disk, true).unwrap();
    let (entries, state) = open(&disk).unwrap();
    assert_eq!((state.purged.index, state.hard_state), (LogIndex(2), FENCED));
    assert_eq!(done.kept, (state.purged, state.last));
    assert!(!entries.is_empty() && entries[0].id.index == LogIndex(3));
}

#[test]
fn a_damaged_snapshot_is_put_aside_and_a_log_that_goes_back_further_is_whole_without_it() {
    let disk = node(false);
    let snapshot =
        disk.paths().into_iter().find(|path| path.extension().is_some_and(|it| it == "snap")).unwrap();
    flip(&disk, &snapshot, 5000);
    let done = repaired(&disk, true).unwrap();
    assert_eq!(done.hard_state, HardState { term: Term(1), voted_for: Some(NodeId(3)), fence: None });
    assert_eq!(verdict(&disk), Verdict::Whole);
    assert_eq!(open(&disk).unwrap().1.last.index, LogIndex(LAST), "nothing of the log is lost");
    assert_eq!(block_on(snapshots(&disk).recover()).unwrap(), None);
}

#[test]
fn a_log_that_begins_after_a_snapshot_that_is_lost_is_begun_anew_behind_a_fence() {
    let disk = node(true);
    let snapshot =
        disk.paths().into_iter().find(|path| path.extension().is_some_and(|it| it == "snap")).unwrap();
    flip(&disk, &snapshot, 5000);
    let done = repaired(&disk, true).unwrap();
    assert_eq!((done.kept, done.hard_state), ((LogId::ZERO, LogId::ZERO), FENCED));
    let (entries, state) = open(&disk).unwrap();
    assert_eq!((entries.len(), state.hard_state), (0, FENCED));
    assert_eq!(block_on(snapshots(&disk).recover()).unwrap(), None);
}

fn refusal(disk: &SimulatedDisk) -> String {
    let before: Vec<_> = disk.paths();
    let told = repaired(disk, true).expect_err("it is refused").to_string();
    assert_eq!(disk.paths(), before);
    told
}

#[test]
fn a_folder_is_not_repaired_that_is_whole_in_use_or_does_not_know_its_vote() {
    let whole = node(false);
    assert!(refusal(&whole).contains("nothing in it is damaged"), "{}", refusal(&whole));

    let disk = whole.crash(Unflushed::Kept);
    disk.damage(&Path::new(LOG).join("HARDSTATE"), |bytes| bytes.fill(0));
    assert!(refusal(&disk).contains("only set aside"), "{}", refusal(&disk));
    assert!(refusal(&disk).contains("neither copy"), "{}", refusal(&disk));

    let disk = whole.crash(Unflushed::Kept);
    disk.damage(&Path::new(LOG).join("META"), |bytes| bytes.fill(7));
    assert!(refusal(&disk).contains("only set aside"), "{}", refusal(&disk));

    let disk = whole.crash(Unflushed::Kept);
    flip(&disk, &segments(&disk)[0], 4096 + 40);
    let held = disk.lock(&Path::new(LOG).join("LOCK")).unwrap();
    assert!(refusal(&disk).contains("in use"), "{}", refusal(&disk));
    drop(held);
}

#[test]
fn a_vote_older_than_the_damaged_part_of_the_log_knows_is_not_gone_on_with() {
    let disk = node(false);
    let hard_state = Path::new(LOG).join("HARDSTATE");
    let older = SimulatedDisk::new();
    drop(FileLog::open_on(Arc::new(older.clone()), LOG, IDENTITY, options()).unwrap());
    let bytes = older.bytes(&hard_state).unwrap();
    disk.damage(&hard_state, |file| file.copy_from_slice(&bytes));
    flip(&disk, &segments(&disk)[0], 4096 + 40);
    assert!(refusal(&disk).contains("only set aside"), "{}", refusal(&disk));
}

#[test]
fn a_repaired_folder_is_damaged_and_repaired_again_one_term_further() {
    let disk = node(false);
    flip(&disk, &segments(&disk)[2], 4096 + 40);
    let first = saved(&disk, "once");
    flip(&disk, &segments(&disk)[1], 4096 + 40);
    let done = repaired(&disk, true).unwrap();
    assert_eq!(done.hard_state, HardState { term: Term(3), voted_for: None, fence: Some(Term(2)) });
    let (entries, state) = open(&disk).unwrap();
    assert_eq!(state.hard_state, done.hard_state);
    assert!((entries.len() as u64) < first);
}

#[test]
fn wherever_the_power_is_cut_during_a_repair_nothing_opens_without_a_fence() {
    let whole = node(true);
    flip(&whole, &segments(&whole)[1], 4096 + 40);
    let uncut = whole.crash(Unflushed::Kept);
    let done = repaired(&uncut, true).unwrap();
    let calls = uncut.calls().total();
    let (mut opened, mut again) = (0, 0);
    for stop in 0..calls {
        for way in [Unflushed::Kept, Unflushed::Dropped, Unflushed::Torn(stop), Unflushed::Torn(stop + 1000)]
        {
            let what = format!("after {stop} calls, {way:?}");
            let disk = whole.crash(Unflushed::Kept);
            disk.fail_after(stop, ErrorKind::Other);
            assert!(repaired(&disk, true).is_err(), "{what}: it was done already");
            let disk = disk.crash(way);
            if let Ok((_, state)) = open(&disk.crash(Unflushed::Kept)) {
                assert!(state.hard_state.fence.is_some(), "{what}: it opens without a fence");
                assert_eq!(state.last, done.kept.1, "{what}");
                opened += 1;
                continue;
            }
            let second = repaired(&disk, true).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(second.kept, done.kept, "{what}");
            let (_, state) = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(state.hard_state, second.hard_state, "{what}");
            assert!(state.hard_state.fence >= FENCED.fence, "{what}");
            again += 1;
        }
    }
    println!("{calls} calls: {opened} images opened, fenced, and {again} were repaired again");
    assert!(again > 20, "vacuous: {again}");
}

#[test]
fn a_fence_is_kept_until_a_write_lifts_it() {
    let disk = SimulatedDisk::new();
    let mut log = FileLog::open_on(Arc::new(disk.clone()), LOG, IDENTITY, options()).unwrap();
    block_on(log.recover()).unwrap();
    let mut fenced = vote(5, 2);
    fenced.hard_state = fenced.hard_state.and_then(HardState::fenced);
    block_on(log.write(&[fenced.clone()])).unwrap();
    assert_eq!(open(&disk.crash(Unflushed::Dropped)).unwrap().1.hard_state, fenced.hard_state.unwrap());
    block_on(log.write(&[vote(6, 2)])).unwrap();
    assert_eq!(open(&disk.crash(Unflushed::Dropped)).unwrap().1.hard_state, vote(6, 2).hard_state.unwrap());
}
