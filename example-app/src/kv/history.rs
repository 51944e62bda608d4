//! What one key has held: the newest version as it is handed out, and the older ones packed.
//!
//! Most versions are old ones, and hardly anybody asks for them. So they are kept as they stand in a
//! snapshot, one behind the other in blocks: a version then takes its value and about fifteen bytes. A full
//! block is shared with the views that snapshots are written from, so what a view makes a command copy is the
//! list of blocks and the one that is still being filled.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::words::KeyValue;

/// When a block is full, in bytes. A larger version has a block to itself.
const BLOCK_BYTES: usize = 2048;

/// The most that stands before a version's value: four numbers of ten bytes, and whether it is live.
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
    /// The bytes of their values.
    value_bytes: u64,
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

    /// Whether it holds any version of this revision, or of one before.
    fn begins_by(&self, revision: i64) -> bool {
        self.versions > 0 && self.first <= revision
    }

    /// The version in force at `revision`, which it begins by.
    fn at(&self, revision: i64) -> Option<Packed<'_>> {
        self.iter().map(|(version, _)| version).take_while(|version| version.revision <= revision).last()
    }

    /// Adds a version that is encoded as `head` and its value behind it.
    fn push(&mut self, revision: i64, head: &[u8], value: &[u8]) {
        if self.versions == 0 {
            self.first = revision;
        }
        self.versions += 1;
        self.value_bytes += value.len() as u64;
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(value);
    }

    /// Forgets the versions before the one in force at `revision`, and that as well where it is a deletion.
    fn compact(&mut self, revision: i64) -> u64 {
        let (mut gone, mut gone_bytes, mut forgotten) = (0, 0, 0);
        let mut versions = self.iter().peekable();
        while let Some((version, bytes)) = versions.next_if(|(version, _)| version.revision <= revision) {
            let is_in_force = versions.peek().is_none_or(|(next, _)| next.revision > revision);
            if is_in_force && version.live.is_some() {
                break;
            }
            forgotten += version.value_bytes();
            (gone, gone_bytes) = (gone + 1, gone_bytes + bytes.len());
        }
        drop(versions);
        self.versions -= gone;
        self.value_bytes -= forgotten;
        self.bytes.drain(..gone_bytes);
        self.bytes.shrink_to_fit();
        let first = self.iter().next().map(|(version, _)| version.revision);
        self.first = first.unwrap_or_default();
        forgotten
    }
}

/// The versions before the newest, ascending by revision.
#[derive(Clone, Debug, Default)]
struct Older {
    full: Vec<Arc<Block>>,
    /// Behind them.
    last: Block,
}

impl Older {
    fn push(&mut self, version: &Version) {
        let live = version.live.as_ref();
        let head =
            (version.revision, live.map(|live| (live.create_revision, live.version, live.value.len())));
        let mut buffer = [0; HEAD_BYTES_MAX];
        let head = postcard::to_slice(&head, &mut buffer).expect("four numbers have room");
        let value: &[u8] = live.map_or(&[], |live| &live.value);
        self.push_packed(version.revision, head, value);
    }

    fn push_packed(&mut self, revision: i64, head: &[u8], value: &[u8]) {
        let bytes = self.last.bytes.len() + head.len() + value.len();
        if bytes > BLOCK_BYTES && self.last.versions > 0 {
            let mut full = std::mem::take(&mut self.last);
            if full.bytes.capacity() > full.bytes.len() / 8 * 9 {
                full.bytes.shrink_to_fit();
            }
            self.full.push(Arc::new(full));
        }
        self.reserve(head.len() + value.len());
        self.last.push(revision, head, value);
    }

    /// Makes room for a version of so many bytes: twice as much as there was, but no more than what fits.
    fn reserve(&mut self, bytes: usize) {
        let held = self.last.bytes.len();
        if self.last.bytes.capacity() - held < bytes {
            let doubled = held.min(BLOCK_BYTES.saturating_sub(held));
            self.last.bytes.reserve_exact(bytes.max(doubled));
        }
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.full.iter().map(|block| &**block).chain([&self.last])
    }

    fn value_bytes(&self) -> u64 {
        self.blocks().map(|block| block.value_bytes).sum()
    }

    /// How many full blocks begin by `revision`.
    fn full_by(&self, revision: i64) -> usize {
        self.full.partition_point(|block| block.first <= revision)
    }

    /// The version in force at `revision`.
    fn at(&self, revision: i64) -> Option<Packed<'_>> {
        if self.last.begins_by(revision) {
            return self.last.at(revision);
        }
        self.full.get(self.full_by(revision).checked_sub(1)?)?.at(revision)
    }

    /// Forgets all but the version in force at `revision`, and that as well where it is a deletion. The
    /// versions behind it stay.
    fn compact(&mut self, revision: i64) -> u64 {
        let is_in_last = self.last.begins_by(revision);
        let by = self.full_by(revision);
        let whole = if is_in_last { by } else { by.saturating_sub(1) };
        let mut forgotten: u64 = self.full.drain(..whole).map(|block| block.value_bytes).sum();
        if is_in_last {
            forgotten += self.last.compact(revision);
        } else if by > 0 {
            let first = Arc::make_mut(&mut self.full[0]);
            forgotten += first.compact(revision);
            if first.versions == 0 {
                self.full.remove(0);
            }
        }
        self.full.shrink_to_fit();
        forgotten
    }
}

/// Everything that a key has held and that is not forgotten.
#[derive(Clone, Debug)]
pub(super) struct History {
    newest: Version,
    /// Apart, as many keys are set once.
    older: Option<Box<Older>>,
}

impl History {
    /// A key that is created.
    pub(super) fn new(revision: i64, value: Bytes) -> History {
        let live = Live { create_revision: revision, version: 1, value };
        History { newest: Version { revision, live: Some(live) }, older: None }
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
            Some(revision) => self.older.as_ref()?.at(revision)?.unpacked().key_value(key),
            None => self.present(key),
        }
    }

    /// Whether the key existed at `revision`; `None`: exists now.
    pub(super) fn existed(&self, revision: Option<i64>) -> bool {
        match revision.filter(|revision| *revision < self.newest.revision) {
            Some(revision) => self
                .older
                .as_ref()
                .and_then(|older| older.at(revision))
                .is_some_and(|version| version.live.is_some()),
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

    fn older_blocks(&self) -> impl Iterator<Item = &Block> {
        self.older.iter().flat_map(|older| older.blocks())
    }

    fn push(&mut self, version: Version) {
        self.older.get_or_insert_default().push(&self.newest);
        self.newest = version;
    }

    /// Whether [`History::compact`] at `revision` may find anything to forget.
    pub(super) fn has_older_than(&self, revision: i64) -> bool {
        self.older_blocks().next().is_some_and(|block| block.begins_by(revision))
    }

    /// Forgets what nobody sees who asks at `revision` or later. Answers with the bytes of the values that
    /// are gone.
    pub(super) fn compact(&mut self, revision: i64) -> u64 {
        let Some(older) = &mut self.older else { return 0 };
        if self.newest.revision > revision {
            return older.compact(revision);
        }
        let forgotten = older.value_bytes();
        self.older = None;
        forgotten
    }

    /// Whether it ends with a deletion that nobody sees who asks at `revision` or later.
    pub(super) fn is_over(&self, revision: i64) -> bool {
        self.newest.live.is_none() && self.newest.revision <= revision
    }

    /// Adds the key and its history to `record`, as it stands in a snapshot.
    pub(super) fn write_to(&self, key: &Bytes, record: &mut Vec<u8>) -> Result<(), postcard::Error> {
        let versions: u64 = self.older_blocks().map(|block| block.versions).sum();
        *record = postcard::to_extend(&(key, &self.newest, versions), std::mem::take(record))?;
        for block in self.older_blocks() {
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
            let value = version.live.map_or(&[][..], |live| live.value);
            // What is encoded last is the value.
            let head = rest.split_at(rest.len() - behind.len() - value.len()).0;
            older.push_packed(version.revision, head, value);
            (last, rest) = (version.revision, behind);
            value_bytes += version.value_bytes();
        }
        let is_whole = rest.is_empty() && newest.can_follow(last, revision);
        is_whole.then(|| {
            (
                key,
                History { newest: newest.unpacked(), older: Some(Box::new(older)).filter(|_| versions > 0) },
                value_bytes,
            )
        })
    }
}
