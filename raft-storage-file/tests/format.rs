//! The format, byte by byte: a folder written by this version must be the one that was committed, and the
//! committed one must be read. `UPDATE=1 cargo test -p raft-storage-file` writes it anew, which is right
//! only with a new format version.

use std::{fmt::Write as _, path::Path, sync::Arc};

use bytes::Bytes;
use raft_actor::{
    membership::Membership,
    storage::{LogStorage, StorageError},
    types::{Entry, HardState, LogId, LogIndex, LogWrite, NodeId, Payload, Term},
};
use raft_storage_file::{
    FileLog,
    disk::{
        Disk,
        simulated::{SimulatedDisk, Unflushed},
    },
};

use crate::crash::{FOLDER, IDENTITY, Model, Step, append, block_on, options, vote};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/format-1.txt");
const GOLDEN_FENCED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/format-1-fenced.txt");

fn entry(index: u64, term: u64, payload: Payload) -> Entry {
    Entry::new(LogId::new(Term(term), LogIndex(index)), payload)
}

fn steps() -> Vec<Step> {
    let members = Membership::new([(NodeId(1), "one:1".to_owned()), (NodeId(2), "two:2".to_owned())]);
    let command = |text: &'static str| Payload::Command(Bytes::from_static(text.as_bytes()));
    vec![
        Step::Write(vec![
            vote(1, 2),
            append(vec![
                entry(1, 1, Payload::Membership(Box::new(members.unwrap()))),
                entry(2, 1, Payload::Noop),
            ]),
        ]),
        Step::Write(vec![append(vec![entry(3, 1, command("set x 1")), entry(4, 1, command("set y 2"))])]),
        Step::Write(vec![
            vote(2, 1),
            LogWrite {
                truncate_from: Some(LogIndex(4)),
                ..append(vec![entry(4, 2, Payload::Command(Bytes::from(vec![0; 1000])))])
            },
        ]),
        Step::Purge(LogId::new(Term(1), LogIndex(1))),
        Step::Write(vec![append(vec![entry(5, 2, command("set z 3"))])]),
    ]
}

fn written() -> (SimulatedDisk, Model) {
    let disk = SimulatedDisk::new();
    let options = options().with_segment_bytes(16 << 10);
    let mut log = FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options).unwrap();
    block_on(log.recover()).unwrap();
    let mut model = Model::default();
    for step in steps() {
        model.apply(&step);
        match &step {
            Step::Write(writes) => block_on(log.write(writes)).unwrap(),
            Step::Purge(through) => block_on(log.purge(*through)).unwrap(),
            Step::Reopen => {}
        }
    }
    drop(log);
    (disk, model)
}

/// Every line of 16 bytes that is not zeros, with its offset.
fn dump(disk: &SimulatedDisk) -> String {
    let mut text = String::new();
    for path in disk.paths() {
        let bytes = disk.bytes(&path).unwrap();
        writeln!(text, "{} {}", path.display(), bytes.len()).unwrap();
        let mut last = None;
        for (number, line) in bytes.chunks(16).enumerate() {
            if line.iter().all(|byte| *byte == 0) || Some(line) == last {
                if Some(line) == last && line[0] != 0 && !text.ends_with("*\n") {
                    text.push_str("*\n");
                }
                continue;
            }
            last = Some(line);
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:08x} {}", number * 16, hex.join(" ")).unwrap();
        }
    }
    text
}

fn must_be(found: &str, golden: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(Path::new(golden).parent().unwrap()).unwrap();
        std::fs::write(golden, found).unwrap();
    }
    let committed = std::fs::read_to_string(golden).unwrap();
    for (number, (ours, theirs)) in found.lines().zip(committed.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {} of {golden}", number + 1);
    }
    assert_eq!(found.lines().count(), committed.lines().count());
}

#[test]
fn the_format_is_the_one_that_was_committed() {
    must_be(&dump(&written().0), GOLDEN);
}

#[test]
fn the_format_of_a_fenced_vote_is_the_one_that_was_committed() {
    let (disk, _) = written();
    let hard_state = HardState { term: Term(3), voted_for: Some(NodeId(2)), fence: Some(Term(2)) };
    let mut log = FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options()).unwrap();
    block_on(log.recover()).unwrap();
    block_on(log.write(&[LogWrite { hard_state: Some(hard_state), ..LogWrite::default() }])).unwrap();
    drop(log);
    let text = dump(&disk);
    must_be(text.split_once("/store/META").unwrap().0, GOLDEN_FENCED);
    let disk = disk.crash(Unflushed::Dropped);
    let mut log = FileLog::open_on(Arc::new(disk), FOLDER, IDENTITY, options()).unwrap();
    assert_eq!(block_on(log.recover()).unwrap().hard_state, hard_state);
}

#[test]
fn what_was_written_in_the_format_is_read_back() {
    let (disk, model) = written();
    let mut log =
        FileLog::open_on(Arc::new(disk.crash(Unflushed::Dropped)), FOLDER, IDENTITY, options()).unwrap();
    let state = block_on(log.recover()).unwrap();
    assert_eq!(Model::of(&mut log, &state), Ok(model));
    assert_eq!(state.terms, [(LogIndex(2), Term(1)), (LogIndex(4), Term(2))]);
}

#[test]
fn a_folder_of_a_newer_format_is_refused() {
    let (disk, _) = written();
    disk.damage(&Path::new(FOLDER).join("META"), |bytes| {
        for copy in bytes.chunks_mut(4096) {
            copy[8] = 2;
            let crc = crc32c::crc32c(&copy[8..64]);
            copy[4..8].copy_from_slice(&crc.to_le_bytes());
        }
    });
    match FileLog::open_on(Arc::new(disk), FOLDER, IDENTITY, options()) {
        Err(StorageError::Refused(sentence)) => {
            assert!(sentence.contains("format 2") && sentence.contains("reads format 1"), "{sentence}");
        }
        other => panic!("it was not refused: {other:?}"),
    }
}

#[test]
fn files_made_of_chance_are_refused_and_never_a_panic() {
    let (disk, _) = written();
    let mut random = fastrand::Rng::with_seed(5);
    for path in disk.paths() {
        for _ in 0..50 {
            let copy = disk.crash(Unflushed::Kept);
            let length =
                if random.bool() { disk.bytes(&path).unwrap().len() } else { random.usize(0..40_000) };
            copy.damage(&path, |bytes| {
                bytes.resize(length, 0);
                random.fill(bytes);
            });
            let opened = FileLog::open_on(Arc::new(copy.clone()), FOLDER, IDENTITY, options());
            let outcome = opened.and_then(|mut log| block_on(log.recover()));
            let sentence = outcome.unwrap_err().to_string();
            assert!(sentence.contains(path.to_str().unwrap()), "{sentence}");
        }
        copy_without(&disk, &path);
    }
}

/// The same with the file gone.
fn copy_without(disk: &SimulatedDisk, path: &Path) {
    let copy = disk.crash(Unflushed::Kept);
    copy.remove(path).unwrap();
    let opened = FileLog::open_on(Arc::new(copy), FOLDER, IDENTITY, options());
    let outcome = opened.and_then(|mut log| block_on(log.recover()));
    outcome.unwrap_err();
}
