//! What one key has held: the newest version as it is handed out, and the older ones packed.
//!
//! Most versions are old ones, and hardly anybody asks for them. So they are kept as they stand in a
//! snapshot, one behind the other in blocks: a version then takes its value and about fifteen bytes. A block
//! is shared with the views that snapshots are written from, so what a view makes a command copy is the list of
//! blocks and the one that is still being filled.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::words::KeyValue;

/// When a block is full, in bytes. A larger version has a block to itself.
const BLOCK_BYTES: usize = 2048;

/// The most that a version takes beside its value: four numbers of ten bytes, and whether it is live.
const HEAD_BYTES_MAX: usize = 41;

#[derive(Clone, Debug, Serialize)]
struct Version {
    /// When it was set, or deleted.
    revision: i64,
    /// What it was set to; `None` where it was deleted.
    live: Option<Live>,
}

#[derive(Clone, Debug, Serialize)]
struct Live {
    create_revision: i64,
    version: i64,
    value: Bytes,
}

/// A [`Version`] in the block that it is packed in.
#[derive(Clone, Copy, Deserialize)]
struct Packed<'a> {
    revision: i64,
    #[serde(borrow)]
    live: Option<PackedLive<'a>>,
}

#[derive(Clone, Copy, Deserialize)]
struct PackedLive<'a> {
    create_revision: i64,
    version: i64,
    value: &'a [u8],
}

impl Version {
    fn key_value(&self, key: &Bytes) -> Option<KeyValue> {
        self.live.as_ref().map(|live| KeyValue {
            key: key.clone(),
            create_revision: live.create_revision,
            mod_revision: self.revision,
            version: live.version,
            value: live.value.clone(),
        })
    }
}

impl Packed<'_> {
    /// Whether it can come after one of the revision `last` in a store that is at `revision`.
    fn can_follow(&self, last: i64, revision: i64) -> bool {
        let is_possible = |live: PackedLive<'_>| {
            let until = 1..=self.revision;
            until.contains(&live.create_revision) && until.contains(&live.version)
        };
        self.revision > last && self.revision <= revision && self.live.is_none_or(is_possible)
    }

    fn unpacked(&self) -> Version {
        let live = self.live.map(|PackedLive { create_revision, version, value }| Live {
            create_revision,
            version,
            value: Bytes::copy_from_slice(value),
        });
        Version { revision: self.revision, live }
    }

    fn value_bytes(&self) -> u64 {
        self.live.map_or(0, |live| live.value.len() as u64)
    }
}

/// Some old versions that follow each other.
#[derive(Clone, Debug, Default)]
struct Block {
    /// The revision of the first of them.
    first: i64,
    versions: u64,
    bytes: Vec<u8>,
}

impl Block {
    fn iter(&self) -> impl Iterator<Item = (Packed<'_>, &[u8])> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            // Only what was encoded here, or decoded before, has come into a block; the end is no version.
            let (version, behind) = postcard::take_from_bytes::<Packed<'_>>(rest).ok()?;
            let bytes = rest.split_at(rest.len() - behind.len()).0;
            rest = behind;
            Some((version, bytes))
        })
    }

    fn value_bytes(&self) -> u64 {
        self.iter().map(|(version, _)| version.value_bytes()).sum()
    }

    /// Makes room for one more version, but not for more than a block takes.
    fn reserve(&mut self, bytes: usize) {
        if self.bytes.capacity() - self.bytes.len() < bytes {
            let doubled = self.bytes.len().min(BLOCK_BYTES.saturating_sub(self.bytes.len()));
            self.bytes.reserve_exact(bytes.max(doubled));
        }
    }
}

/// The versions before the newest, ascending by revision.
#[derive(Clone, Debug, Default)]
struct Older {
    blocks: Vec<Arc<Block>>,
}

impl Older {
    /// The block to add a version to that takes at most `bytes`.
    fn open(&mut self, revision: i64, bytes: usize) -> &mut Block {
        let fits = |block: &Arc<Block>| block.bytes.len() + bytes <= BLOCK_BYTES;
        if !self.blocks.last().is_some_and(fits) {
            if let Some(full) = self.blocks.last_mut().map(Arc::make_mut) {
                full.bytes.shrink_to_fit();
            }
            self.blocks.push(Arc::new(Block { first: revision, ..Block::default() }));
        }
        let last = self.blocks.len() - 1;
        let block = Arc::make_mut(&mut self.blocks[last]);
        block.reserve(bytes);
        block.versions += 1;
        block
    }

    fn push(&mut self, version: &Version) {
        let value_bytes = version.live.as_ref().map_or(0, |live| live.value.len());
        let block = self.open(version.revision, value_bytes + HEAD_BYTES_MAX);
        let bytes = std::mem::take(&mut block.bytes);
        // Numbers and bytes can always be encoded, and memory takes them.
        block.bytes = postcard::to_extend(version, bytes).expect("a version can be encoded");
    }

    fn push_packed(&mut self, revision: i64, bytes: &[u8]) {
        self.open(revision, bytes.len()).bytes.extend_from_slice(bytes);
    }

    /// Forgets all but the version in force at `revision`, and that as well where it is a deletion. The
    /// versions behind it stay.
    fn compact(&mut self, revision: i64) -> u64 {
        let Some(last) = self.blocks.partition_point(|block| block.first <= revision).checked_sub(1) else {
            return 0;
        };
        let mut forgotten: u64 = self.blocks.drain(..last).map(|block| block.value_bytes()).sum();
        let mut versions = self.blocks[0].iter().peekable();
        let (mut gone, mut gone_bytes) = (0, 0);
        while let Some((version, bytes)) = versions.next_if(|(version, _)| version.revision <= revision) {
            let is_in_force = versions.peek().is_none_or(|(next, _)| next.revision > revision);
            if is_in_force && version.live.is_some() {
                break;
            }
            forgotten += version.value_bytes();
            (gone, gone_bytes) = (gone + 1, gone_bytes + bytes.len());
        }
        drop(versions);
        self.cut(gone, gone_bytes);
        forgotten
    }

    /// Takes so many versions, of so many bytes, out of the first block.
    fn cut(&mut self, gone: u64, gone_bytes: usize) {
        if gone > 0 {
            let (whole, bytes) = (&self.blocks[0], self.blocks[0].bytes[gone_bytes..].to_vec());
            let mut rest = Block { first: 0, versions: whole.versions - gone, bytes };
            let first = rest.iter().next().map(|(version, _)| version.revision);
            match first {
                Some(first) => {
                    rest.first = first;
                    self.blocks[0] = Arc::new(rest);
                }
                None => drop(self.blocks.remove(0)),
            }
        }
        self.blocks.shrink_to_fit();
    }

    /// The version in force at `revision`.
    fn at(&self, revision: i64) -> Option<Packed<'_>> {
        let after = self.blocks.partition_point(|block| block.first <= revision);
        let block = self.blocks.get(after.checked_sub(1)?)?;
        block.iter().map(|(version, _)| version).take_while(|version| version.revision <= revision).last()
    }
}

/// Everything that a key has held and that is not forgotten.
#[derive(Clone, Debug)]
pub(super) struct History {
    newest: Version,
    older: Older,
}

impl History {
    /// A key that is created.
    pub(super) fn new(revision: i64, value: Bytes) -> History {
        let live = Live { create_revision: revision, version: 1, value };
        History { newest: Version { revision, live: Some(live) }, older: Older::default() }
    }

    /// What the key holds now.
    pub(super) fn present(&self, key: &Bytes) -> Option<KeyValue> {
        self.newest.key_value(key)
    }

    /// The bytes of what it holds now; `None` where it is deleted.
    pub(super) fn present_bytes(&self) -> Option<u64> {
        self.newest.live.as_ref().map(|live| live.value.len() as u64)
    }

    /// What the key held at `revision`; `None`: holds now.
    pub(super) fn at(&self, key: &Bytes, revision: Option<i64>) -> Option<KeyValue> {
        match revision.filter(|revision| *revision < self.newest.revision) {
            Some(revision) => self.older.at(revision)?.unpacked().key_value(key),
            None => self.present(key),
        }
    }

    /// Whether the key existed at `revision`; `None`: exists now.
    pub(super) fn existed(&self, revision: Option<i64>) -> bool {
        match revision.filter(|revision| *revision < self.newest.revision) {
            Some(revision) => self.older.at(revision).is_some_and(|version| version.live.is_some()),
            None => self.newest.live.is_some(),
        }
    }

    /// Sets it at `revision`; no value: to the one it has.
    pub(super) fn put(&mut self, revision: i64, value: Option<Bytes>) {
        let live = match &self.newest.live {
            Some(held) => Live {
                create_revision: held.create_revision,
                version: held.version + 1,
                value: value.unwrap_or_else(|| held.value.clone()),
            },
            None => Live { create_revision: revision, version: 1, value: value.unwrap_or_default() },
        };
        self.push(Version { revision, live: Some(live) });
    }

    /// Deletes it at `revision`.
    pub(super) fn delete(&mut self, revision: i64) {
        self.push(Version { revision, live: None });
    }

    fn push(&mut self, version: Version) {
        self.older.push(&self.newest);
        self.newest = version;
    }

    /// Whether [`History::compact`] at `revision` may find anything to forget.
    pub(super) fn has_older_than(&self, revision: i64) -> bool {
        self.older.blocks.first().is_some_and(|block| block.first <= revision)
    }

    /// Forgets what nobody sees who asks at `revision` or later. Answers with the bytes of the values that
    /// are gone.
    pub(super) fn compact(&mut self, revision: i64) -> u64 {
        if self.newest.revision <= revision {
            std::mem::take(&mut self.older).blocks.iter().map(|block| block.value_bytes()).sum()
        } else {
            self.older.compact(revision)
        }
    }

    /// Whether it ends with a deletion that nobody sees who asks at `revision` or later.
    pub(super) fn is_over(&self, revision: i64) -> bool {
        self.newest.live.is_none() && self.newest.revision <= revision
    }

    /// Adds the key and its history to `record`, as it stands in a snapshot.
    pub(super) fn write_to(&self, key: &Bytes, record: &mut Vec<u8>) -> Result<(), postcard::Error> {
        let versions: u64 = self.older.blocks.iter().map(|block| block.versions).sum();
        *record = postcard::to_extend(&(key, &self.newest, versions), std::mem::take(record))?;
        for block in &self.older.blocks {
            record.extend_from_slice(&block.bytes);
        }
        Ok(())
    }

    /// Reads what [`History::write_to`] has written. `None` where a store at `revision` cannot have that:
    /// later commands rely on it. Also the bytes of all values.
    pub(super) fn read_from(record: &[u8], revision: i64) -> Option<(Bytes, History, u64)> {
        let ((key, newest, versions), mut rest) =
            postcard::take_from_bytes::<(Bytes, Packed<'_>, u64)>(record).ok()?;
        let (mut older, mut last, mut value_bytes) = (Older::default(), 0, newest.value_bytes());
        for _ in 0..versions {
            let (version, behind) = postcard::take_from_bytes::<Packed<'_>>(rest).ok()?;
            if !version.can_follow(last, revision) {
                return None;
            }
            older.push_packed(version.revision, rest.split_at(rest.len() - behind.len()).0);
            (last, rest) = (version.revision, behind);
            value_bytes += version.value_bytes();
        }
        let is_whole = rest.is_empty() && newest.can_follow(last, revision);
        is_whole.then(|| (key, History { newest: newest.unpacked(), older }, value_bytes))
    }
}
