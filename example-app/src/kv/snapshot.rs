//! The store as bytes, and back.
//!
//! A view is a copy of the tree of keys that shares every history and value: making it costs some tens of
//! nanoseconds for each key, during which commands wait, and no memory for values. A command that changes a
//! key while a view is being written copies that key's history first. What a history has in the archive is
//! read from there when its turn comes: the view keeps it there, whatever is compacted meanwhile.
//!
//! The bytes are records, each behind its length: first the numbers, then every key with its history. The
//! revision of the last compaction stands behind the numbers, where there was one.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::{Kv, archive::Archive, keys::Keys};

/// What stands before the keys.
#[derive(Serialize, Deserialize)]
struct Numbers {
    revision: i64,
    term: u64,
    size_bytes: u64,
    live_bytes: u64,
    keys: u64,
}

impl Kv {
    /// Writes all of it.
    pub(super) fn write_to(&self, writer: &mut dyn Write) -> io::Result<()> {
        let Keys { size_bytes, live_bytes, .. } = self.keys;
        let (keys, histories) = self.keys.histories();
        let (revision, term) = (self.revision, self.term);
        let mut writer = io::BufWriter::with_capacity(64 << 10, writer);
        let numbers = Numbers { revision, term, size_bytes, live_bytes, keys: keys as u64 };
        let mut record = postcard::to_allocvec(&numbers).map_err(io::Error::other)?;
        if let Some(revision) = self.keys.compacted {
            record = postcard::to_extend(&revision, record).map_err(io::Error::other)?;
        }
        put(&mut writer, &record)?;
        for (key, history) in histories {
            record.clear();
            history.write_to(key, &mut record)?;
            put(&mut writer, &record)?;
        }
        writer.flush()
    }

    /// Reads a store that [`Kv::write_to`] has written, and has its old versions in `archive` from the first
    /// on.
    pub(super) fn read_from(reader: &mut dyn Read, archive: Option<Archive>) -> io::Result<Kv> {
        let mut reader = io::BufReader::with_capacity(64 << 10, reader);
        let mut record = Vec::new();
        take(&mut reader, &mut record)?;
        let (numbers, behind) = postcard::take_from_bytes::<Numbers>(&record).map_err(io::Error::other)?;
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the snapshot {what}"));
        if !(1..i64::MAX).contains(&numbers.revision) {
            return Err(wrong("is of a revision that no store reaches"));
        }
        let mut keys = Keys::new(archive);
        if !behind.is_empty() {
            let revision: i64 = postcard::from_bytes(behind).map_err(io::Error::other)?;
            if !(0..=numbers.revision).contains(&revision) {
                return Err(wrong("was compacted at a revision that it has not reached"));
            }
            keys.compacted = Some(revision);
        }
        for _ in 0..numbers.keys {
            take(&mut reader, &mut record)?;
            if !keys.add(&record, numbers.revision) {
                return Err(wrong("has a key whose history cannot be"));
            }
        }
        if reader.read(&mut [0])? > 0 {
            return Err(wrong("goes on after its last key"));
        }
        if (keys.size_bytes, keys.live_bytes) != (numbers.size_bytes, numbers.live_bytes) {
            return Err(wrong("tells sizes that are not those of its keys"));
        }
        Ok(Kv { keys, revision: numbers.revision, term: numbers.term })
    }
}

fn put(writer: &mut impl Write, record: &[u8]) -> io::Result<()> {
    writer.write_all(&(record.len() as u64).to_le_bytes())?;
    writer.write_all(record)
}

/// Reads the next record into `record`.
fn take(reader: &mut impl Read, record: &mut Vec<u8>) -> io::Result<()> {
    let mut length = [0; 8];
    reader.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    record.clear();
    // What is not there is not allocated, whatever the length claims.
    if reader.take(length).read_to_end(record)? as u64 != length {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the snapshot ends in the middle of a record",
        ));
    }
    Ok(())
}
