//! Term and vote: four slots in a file of fixed size, two copies of the newest and two of the one before.
//!
//! Write number N goes to both slots of the pair N mod 2, under one flush, so the other pair is never
//! touched by it. A slot fits in one sector: a crash leaves it as it was or as it should be. A pair with
//! no readable copy has therefore been damaged since, and since it may have held the newest vote, the
//! store is refused: a vote cannot be asked back from the peers.
//!
//! A fence stands in a part of the record that is there only while there is a fence, so that a program that
//! knows of none takes the copy for a damaged one, and does not vote in spite of it.

use std::{io, path::PathBuf, sync::Arc};

use raft_actor::{
    storage::StorageError,
    types::{HardState, NodeId, Term},
};

use crate::{
    checksum::crc32c_of,
    disk::{Disk, DiskFile},
    error::{ADVICE, corrupt, io_error},
    frame::{is_zero, u32_at, u64_at},
};

const MAGIC: u32 = 0x5448_5246;
const SLOT_BYTES: usize = 4096;
const RECORD_BYTES: usize = 64;
const FENCED_BYTES: usize = 72;
const HAS_VOTE: u64 = 1;
const HAS_FENCE: u64 = 2;
/// Far from each other, so that one bad spot on the disk takes one copy only.
const SLOT_OFFSETS: [u64; 4] = [0, 64 << 10, 128 << 10, 192 << 10];
const FILE_BYTES: u64 = (192 << 10) + SLOT_BYTES as u64;

/// One record, as it stands in a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// 0, 1, 2 ...
    pub(crate) seq: u64,
    pub(crate) hard_state: HardState,
    /// The last frame of the log whose flush had returned when this was written.
    pub(crate) log_seq: u64,
}

/// The open file.
#[derive(Debug)]
pub(crate) struct HardStateFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    incarnation: u128,
    pub(crate) newest: Record,
}

impl HardStateFile {
    /// Makes the file, of term 0 and without a vote. The folder is for the caller to flush.
    pub(crate) fn create(disk: &dyn Disk, path: PathBuf, incarnation: u128) -> Result<(), StorageError> {
        let file = disk.create(&path).map_err(io_error("create", &path))?;
        file.write_at(0, &vec![0; FILE_BYTES as usize]).map_err(io_error("write", &path))?;
        for (slot, offset) in SLOT_OFFSETS.iter().enumerate() {
            let record = Record { seq: slot as u64 / 2, ..Record::default() };
            let bytes = encode(&record, incarnation, slot);
            file.write_at(*offset, &bytes).map_err(io_error("write", &path))?;
        }
        file.sync_data().map_err(io_error("flush", &path))
    }

    /// Opens the file, and finds the newest record. A copy that is lost while its twin is good is written
    /// anew.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: PathBuf,
        incarnation: u128,
    ) -> Result<HardStateFile, StorageError> {
        let file = match disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let detail = format!("the file is missing, and with it the last vote; {ADVICE}");
                return Err(corrupt(&path, 0, detail));
            }
            opened => opened.map_err(io_error("open", &path))?,
        };
        file.sync_data().map_err(io_error("flush", &path))?;
        let size = file.size().map_err(io_error("look at", &path))?;
        if size != FILE_BYTES {
            let detail = format!("the file is {size} bytes long instead of {FILE_BYTES}; {ADVICE}");
            return Err(corrupt(&path, size.min(FILE_BYTES), detail));
        }
        let mut slots = [None; 4];
        for (slot, offset) in SLOT_OFFSETS.iter().enumerate() {
            let mut block = vec![0; SLOT_BYTES];
            // A copy that cannot be read is as good as one that is damaged: its twin may be whole.
            let read = file.read_at(*offset, &mut block);
            slots[slot] = read.ok().and_then(|()| decode(&block, incarnation, slot));
        }
        let newest_of = |pair: usize| slots[pair * 2].max_by_seq(slots[pair * 2 + 1]);
        for pair in 0..2 {
            if newest_of(pair).is_none() {
                let detail = format!(
                    "neither copy of a record of term and vote can be read, so the last vote may be lost, \
                     and a node that forgets a vote can elect two leaders; {ADVICE}"
                );
                return Err(corrupt(&path, SLOT_OFFSETS[pair * 2], detail));
            }
        }
        let newest = newest_of(0).max_by_seq(newest_of(1)).unwrap_or_default();
        let opened = HardStateFile { path, file, incarnation, newest };
        for pair in 0..2 {
            if slots[pair * 2] != slots[pair * 2 + 1] {
                tracing::warn!(path = %opened.path.display(), "a copy of term and vote is written anew");
                opened.put(newest_of(pair).unwrap_or_default())?;
            }
        }
        Ok(opened)
    }

    /// Writes the next record, both copies, and flushes.
    pub(crate) fn write(&mut self, hard_state: HardState, log_seq: u64) -> Result<(), StorageError> {
        let record = Record { seq: self.newest.seq + 1, hard_state, log_seq };
        self.put(record)?;
        self.newest = record;
        Ok(())
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(crate) fn put(&self, record: Record) -> Result<(), StorageError> {
        let pair = (record.seq % 2) as usize * 2;
        for slot in [pair, pair + 1] {
            let bytes = encode(&record, self.incarnation, slot);
            self.file.write_at(SLOT_OFFSETS[slot], &bytes).map_err(io_error("write", &self.path))?;
        }
        self.file.sync_data().map_err(io_error("flush", &self.path))
    }
}

trait Newer {
    fn max_by_seq(self, other: Self) -> Self;
}

impl Newer for Option<Record> {
    fn max_by_seq(self, other: Option<Record>) -> Option<Record> {
        [self, other].into_iter().flatten().max_by_key(|record| record.seq)
    }
}

fn encode(record: &Record, incarnation: u128, slot: usize) -> Vec<u8> {
    let mut bytes = vec![0; SLOT_BYTES];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let vote = record.hard_state.voted_for;
    put(0, &MAGIC.to_le_bytes());
    put(8, &record.seq.to_le_bytes());
    put(16, &record.hard_state.term.0.to_le_bytes());
    put(24, &vote.map_or(0, |node| node.0).to_le_bytes());
    let fence = record.hard_state.fence;
    let flags = if vote.is_some() { HAS_VOTE } else { 0 } | if fence.is_some() { HAS_FENCE } else { 0 };
    put(32, &flags.to_le_bytes());
    put(40, &record.log_seq.to_le_bytes());
    put(48, &incarnation.to_le_bytes());
    put(64, &fence.map_or(0, |fence| fence.0).to_le_bytes());
    let crc = crc(&bytes, slot);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], incarnation: u128, slot: usize) -> Option<Record> {
    let flags = u64_at(bytes, 32);
    let is_ours = u32_at(bytes, 0) == MAGIC
        && u32_at(bytes, 4) == crc(bytes, slot)
        && bytes[48..64] == incarnation.to_le_bytes()
        && is_zero(&bytes[record_bytes(bytes)..])
        && flags <= HAS_VOTE | HAS_FENCE;
    let record = Record {
        seq: u64_at(bytes, 8),
        hard_state: HardState {
            term: Term(u64_at(bytes, 16)),
            voted_for: (flags & HAS_VOTE != 0).then(|| NodeId(u64_at(bytes, 24))),
            fence: (flags & HAS_FENCE != 0).then(|| Term(u64_at(bytes, RECORD_BYTES))),
        },
        log_seq: u64_at(bytes, 40),
    };
    (is_ours && record.seq % 2 == slot as u64 / 2).then_some(record)
}

fn record_bytes(bytes: &[u8]) -> usize {
    if u64_at(bytes, 32) & HAS_FENCE == 0 { RECORD_BYTES } else { FENCED_BYTES }
}

fn crc(bytes: &[u8], slot: usize) -> u32 {
    crc32c_of([&[slot as u8], &bytes[8..record_bytes(bytes)]])
}
