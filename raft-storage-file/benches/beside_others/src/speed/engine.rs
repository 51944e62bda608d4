//! The crate raft-engine, at its defaults; and with files that were filled before, which is what its own
//! recycling comes to once it has run for long.

use std::{path::Path, sync::Arc};

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::Log;
use crate::material::Material;

pub(crate) const REGION: u64 = 1;

/// An entry is bytes with its index in front: the engine asks for a message of protobuf, and this is the
/// smallest.
#[derive(Clone)]
pub(crate) struct Shape;

impl MessageExt for Shape {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |index| u64::from_le_bytes(*index))
    }
}

pub(crate) fn entry(material: &Material, index: u64, bytes: usize) -> BytesValue {
    let mut value = Vec::with_capacity(8 + bytes);
    value.extend(index.to_le_bytes());
    value.extend_from_slice(&material.payload(index, bytes));
    BytesValue { value, ..BytesValue::default() }
}

pub(crate) struct Theirs {
    pub(crate) engine: Arc<Engine>,
    next: u64,
    entries: Vec<BytesValue>,
    batch: LogBatch,
}

impl Theirs {
    pub(crate) fn open(folder: &Path, prefilled: bool) -> Result<Theirs, String> {
        let mut config = Config { dir: folder.to_string_lossy().into_owned(), ..Config::default() };
        if prefilled {
            // Files that are as large as ours, so that the warm-up gets it into one that was filled.
            config.target_file_size = ReadableSize::mb(64);
            config.prefill_for_recycle = true;
            config.prefill_limit = Some(ReadableSize::mb(384));
        }
        let engine = Engine::open(config).map_err(|error| error.to_string())?;
        let next = engine.last_index(REGION).unwrap_or(0) + 1;
        Ok(Theirs { engine: Arc::new(engine), next, entries: Vec::new(), batch: LogBatch::default() })
    }

    pub(crate) fn vote(&mut self, record: Vec<u8>) -> Result<(), String> {
        self.batch.put(REGION, b"vote".to_vec(), record).map_err(|error| error.to_string())?;
        self.engine.write(&mut self.batch, true).map_err(|error| error.to_string()).map(drop)
    }

    pub(crate) fn read(&self, first: u64, last: u64, bytes_max: usize) -> Result<usize, String> {
        let (mut next, mut bytes) = (first, 0);
        let mut entries = Vec::new();
        while next <= last {
            entries.clear();
            let fetched =
                self.engine.fetch_entries_to::<Shape>(REGION, next, last + 1, Some(bytes_max), &mut entries);
            next += fetched.map_err(|error| error.to_string())? as u64;
            bytes += entries.iter().map(|entry| entry.value.len() - 8).sum::<usize>();
        }
        Ok(bytes)
    }
}

impl Log for Theirs {
    fn prepare(&mut self, material: &Material, count: usize, bytes: usize) {
        self.entries = (self.next..).take(count).map(|index| entry(material, index, bytes)).collect();
        self.next += count as u64;
    }

    fn append(&mut self) -> Result<(), String> {
        self.batch.add_entries::<Shape>(REGION, &self.entries).map_err(|error| error.to_string())?;
        self.engine.write(&mut self.batch, true).map_err(|error| error.to_string()).map(drop)
    }
}
