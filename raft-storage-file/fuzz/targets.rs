//! What is fuzzed here, as plain functions: the fuzzer calls them, and so does a test with the corpus.
//!
//! Bytes of the fuzzer's own would never pass a checksum. So an input is a list of changes to a good folder,
//! after which, if its first byte says so, the checksums are made to fit again: what is behind them must
//! hold as well.

use std::{
    io::Read,
    path::Path,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use raft_actor::{
    storage::{LogStorage, SnapshotStorage, StorageError},
    testkit::suite::snapshot_storage::describe,
    types::{ClusterId, Entry, HardState, LogId, LogIndex, LogState, LogWrite, NodeId, Payload, Term},
};
use raft_storage_file::{
    FileLog, FileSnapshots, Identity, Options,
    disk::simulated::{SimulatedDisk, Unflushed},
};

const LOG: &str = "/store";
const SNAPSHOTS: &str = "/snapshots";
const IDENTITY: Identity = Identity { cluster_id: ClusterId(7), node_id: NodeId(3) };

/// One change takes so many bytes of the input: which file, what, where, and what with.
const CHANGE_BYTES: usize = 16;
const CHANGES_MAX: usize = 16;

/// A folder of a log: META, term and vote, and segments. It opens, or it is refused with the name of a file
/// and the place in it, and then stays as it was. Without mended checksums it never opens with less than it
/// held.
pub(crate) fn folder(bytes: &[u8]) {
    let (good, held) = good_log();
    let disk = good.crash(Unflushed::Kept);
    let mended = bytes.first().is_some_and(|byte| byte % 2 == 1);
    change(&disk, bytes);
    if mended {
        mend(&disk);
    }
    let before = disk.crash(Unflushed::Kept);
    match open_log(&disk) {
        Ok((mut log, state)) => {
            let read = block_on(read_all(&mut log, &state));
            if !mended {
                match read {
                    Ok(entries) => assert!((state.hard_state, entries) == *held, "a silent loss"),
                    Err(error) => assert!(names_a_place(&error), "{error}"),
                }
            }
        }
        Err(error) => {
            assert!(names_a_place(&error), "{error}");
            for path in disk.paths().iter().filter(|path| !path.ends_with("LOCK") && in_log(path)) {
                assert!(disk.bytes(path) == before.bytes(path), "{} is changed: {error}", path.display());
            }
        }
    }
}

/// A folder of snapshots, and a snapshot that comes in parts. The same holds.
pub(crate) fn snapshot(bytes: &[u8]) {
    let disk = good_snapshots().crash(Unflushed::Kept);
    let mended = bytes.first().is_some_and(|byte| byte % 2 == 1);
    change(&disk, bytes);
    if mended {
        mend_snapshots(&disk);
    }
    let opened = FileSnapshots::open_on(Arc::new(disk.clone()), SNAPSHOTS, IDENTITY);
    let storage = opened.expect("opening looks at nothing yet");
    match block_on(storage.recover()) {
        Err(error) => assert!(names_a_place(&error), "{error}"),
        Ok(None) => {}
        Ok(Some(snapshot)) => {
            let read = block_on(storage.open(snapshot.id)).map_err(|error| error.to_string());
            let mut content = Vec::new();
            let read = read.and_then(|mut reader| {
                reader.read_to_end(&mut content).map(|_| ()).map_err(|error| error.to_string())
            });
            if read.is_ok() && !mended {
                assert!(content == state_of(snapshot.id), "another state than was written");
            }
        }
    }
    receive(&storage, bytes);
}

/// Parts in the order and of the lengths that the input says: refused, or put together as they were sent.
fn receive(storage: &FileSnapshots, bytes: &[u8]) {
    let state = state_of(9);
    let snapshot = describe(9, 90, state.len() as u64);
    for part in bytes.chunks(4).take(CHANGES_MAX) {
        let word = |at: usize| usize::from(part.get(at).copied().unwrap_or(0));
        let offset = word(0) * 64 + word(1);
        let end = (offset + word(2) * 64).min(state.len()).max(offset);
        let data = state.get(offset..end).map(Bytes::copy_from_slice).unwrap_or_default();
        // A part in the wrong place is an error or is passed over; what counts is what is there at the end.
        let _ = block_on(storage.receive_chunk(&snapshot, offset as u64, data));
    }
    if block_on(storage.finish_receive(&snapshot)).is_ok() {
        let mut content = Vec::new();
        let mut reader = block_on(storage.open(9)).expect("it is there");
        reader.read_to_end(&mut content).expect("it is whole");
        assert!(content == state, "what was received is not what was sent");
    }
}

fn names_a_place(error: &StorageError) -> bool {
    match error {
        StorageError::Corrupt { path, .. } | StorageError::Io { path, .. } => path.is_absolute(),
        StorageError::Refused(sentence) => sentence.contains('/'),
        _ => false,
    }
}

fn in_log(path: &Path) -> bool {
    path.starts_with(Path::new(LOG).join("log"))
}

fn change(disk: &SimulatedDisk, bytes: &[u8]) {
    let mut paths = disk.paths();
    paths.retain(|path| !path.ends_with("LOCK"));
    for change in bytes.get(1..).unwrap_or_default().chunks_exact(CHANGE_BYTES).take(CHANGES_MAX) {
        let Some(path) = paths.get(usize::from(change[0]) % paths.len()) else { return };
        let place = u32::from_le_bytes([change[2], change[3], change[4], 0]) as usize;
        let length = usize::from(change[5]).min(8);
        let with = &change[8..8 + length];
        disk.damage(path, |content| {
            let size = content.len().max(1);
            match change[1] % 6 {
                // Near a block's beginning, where headers are.
                0 => put(content, (place % size) / 4096 * 4096 + usize::from(change[6]) % 128, with),
                1 | 2 => put(content, place % size, with),
                3 => content.truncate(place % size),
                4 => content.resize((content.len() + place % 8192).min(1 << 20), change[6]),
                _ => {
                    let (from, to) = (place % size / 512 * 512, usize::from(change[7]) * 512 % size);
                    let sector = content[from..(from + 512).min(content.len())].to_vec();
                    put(content, to, &sector);
                }
            }
        });
    }
}

fn put(content: &mut [u8], at: usize, with: &[u8]) {
    for (byte, new) in content.iter_mut().skip(at).zip(with) {
        *byte = *new;
    }
}

/// Makes the checksums of a log's folder fit what is there.
fn mend(disk: &SimulatedDisk) {
    for path in disk.paths() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        disk.damage(&path, |content| match name.as_str() {
            "META" => {
                content.chunks_exact_mut(4096).for_each(|copy| seal(copy, crc32c::crc32c(&copy[8..64])))
            }
            _ if !in_log(&path) => {
                content.chunks_exact_mut(64 << 10).enumerate().for_each(|(slot, bytes)| {
                    let crc = crc32c::crc32c_append(crc32c::crc32c(&[slot as u8]), &bytes[8..64]);
                    seal(bytes, crc);
                })
            }
            _ => mend_segment(content),
        });
    }
}

fn seal(bytes: &mut [u8], crc: u32) {
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn mend_segment(content: &mut [u8]) {
    if content.len() < 4096 {
        return;
    }
    let crc = crc32c::crc32c(&content[8..4096]);
    seal(content, crc);
    let id: [u8; 8] = content[32..40].try_into().expect("eight bytes");
    for offset in (4096..content.len().saturating_sub(4095)).step_by(4096) {
        let number = |content: &[u8], at: usize| {
            u32::from_le_bytes(content[offset + at..offset + at + 4].try_into().expect("four bytes")) as usize
        };
        if content[offset..offset + 128].iter().all(|byte| *byte == 0) {
            continue;
        }
        let descriptors = offset + 128..offset + 128 + number(content, 40).saturating_mul(24);
        if number(content, 88) == 0
            && let Some(descriptors) = content.get(descriptors)
        {
            let crc = crc32c::crc32c(descriptors);
            content[offset + 44..offset + 48].copy_from_slice(&crc.to_le_bytes());
        }
        let place = crc32c::crc32c_append(crc32c::crc32c(&id), &(offset as u64).to_le_bytes());
        let crc = crc32c::crc32c_append(place, &content[offset + 8..offset + 128]);
        seal(&mut content[offset..], crc);
    }
}

/// Makes the checksum of each snapshot's header fit.
fn mend_snapshots(disk: &SimulatedDisk) {
    for path in disk.paths() {
        disk.damage(&path, |content| {
            if content.len() >= 20 {
                let body = u32::from_le_bytes(content[12..16].try_into().expect("four bytes")) as usize;
                if let Some(body) = content.get(20..20_usize.saturating_add(body)) {
                    let crc = crc32c::crc32c_append(crc32c::crc32c(&content[..16]), body);
                    content[16..20].copy_from_slice(&crc.to_le_bytes());
                }
            }
        });
    }
}

type Held = (HardState, Vec<Entry>);

/// A closed store of several segments.
fn good_log() -> &'static (SimulatedDisk, Held) {
    static GOOD: OnceLock<(SimulatedDisk, Held)> = OnceLock::new();
    GOOD.get_or_init(|| {
        let disk = SimulatedDisk::new();
        let (mut log, _) = open_log(&disk).expect("an empty folder opens");
        let hard_state = HardState { term: Term(2), voted_for: Some(NodeId(1)), fence: None };
        let mut entries = Vec::new();
        for index in 1..=24_u64 {
            let command = Bytes::from(vec![index as u8; 300 * (index as usize % 7)]);
            let id = LogId::new(Term(1 + index / 20), LogIndex(index));
            let entry = Entry::new(id, Payload::Command(command));
            entries.push(entry.clone());
            let write = LogWrite {
                hard_state: (index == 1).then_some(hard_state),
                entries: vec![entry].into(),
                ..LogWrite::default()
            };
            block_on(log.write(&[write])).expect("it is written");
        }
        drop(log);
        (disk, (hard_state, entries))
    })
}

fn open_log(disk: &SimulatedDisk) -> Result<(FileLog, LogState), StorageError> {
    let options = Options::default()
        .with_segment_bytes(32 << 10)
        .with_spare_in_background(false)
        .with_recovery_threads(1)
        .with_mark_after(std::time::Duration::from_secs(3600))
        .with_seed(42);
    let mut log = FileLog::open_on(Arc::new(disk.clone()), LOG, IDENTITY, options)?;
    let state = block_on(log.recover())?;
    Ok((log, state))
}

async fn read_all(log: &mut FileLog, state: &LogState) -> Result<Vec<Entry>, StorageError> {
    if state.last.index <= state.purged.index {
        return Ok(Vec::new());
    }
    Ok(log.read(state.purged.index.next(), state.last.index, 1 << 20).await?.to_vec())
}

/// A folder with a snapshot that is whole.
fn good_snapshots() -> &'static SimulatedDisk {
    static GOOD: OnceLock<SimulatedDisk> = OnceLock::new();
    GOOD.get_or_init(|| {
        let disk = SimulatedDisk::new();
        let storage = FileSnapshots::open_on(Arc::new(disk.clone()), SNAPSHOTS, IDENTITY).expect("it opens");
        block_on(storage.recover()).expect("nothing is there");
        let written = storage.write(describe(1, 10, 0), Box::new(|writer| writer.write_all(&state_of(1))));
        block_on(written).expect("it is written");
        disk
    })
}

fn state_of(id: u64) -> Vec<u8> {
    (0..20_000_u64).map(|at| (at * 7 + at / 255 + id) as u8).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}
