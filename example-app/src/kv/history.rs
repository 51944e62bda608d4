//! What one key has held: the newest version as it is handed out, and the older ones packed.
//!
//! Most versions are old ones, and hardly anybody asks for them. So they are packed in blocks, and a block
//! that is full goes to the [`Archive`], where there is one: of all that is in it, memory then holds where it
//! is. Without an archive, and where its disk takes no more, full blocks stay in memory. Nothing that is
//! answered depends on where they are.
//!
//! Full blocks are shared with the views that snapshots are written from, so what a view makes a command copy
//! is the list of blocks and the one that is still being filled.

use std::{borrow::Cow, io, sync::Arc};

use bytes::Bytes;

use super::{
    archive::{Archive, Place, Unreadable},
    block::{Block, Live, Packed, Version},
    words::KeyValue,
};

/// When a block is full, in bytes. A larger version has a block to itself. Small, as each key has one that is
/// being filled.
const BLOCK_BYTES: usize = 1024;

/// A block that is full: it does not change any more.
#[derive(Clone, Debug)]
enum Full {
    Held(Arc<Block>),
    Archived { place: Place, first: i64, versions: u32, value_bytes: u32 },
}

// All that stays in memory of a block of some seven versions.
const _: () = assert!(size_of::<Full>() <= 40);

impl Full {
    fn new(mut block: Block, archive: Option<&Archive>) -> Full {
        if let Some(place) = archive.and_then(|archive| archive.keep(&block.bytes)) {
            return Full::archived(place, &block);
        }
        if block.bytes.capacity() > block.bytes.len() / 8 * 9 {
            block.bytes.shrink_to_fit();
        }
        Full::Held(Arc::new(block))
    }

    fn archived(place: Place, block: &Block) -> Full {
        // Neither number is more than the block's length, which a place tells in as many bits.
        let (versions, value_bytes) = (block.versions as u32, block.value_bytes as u32);
        Full::Archived { place, first: block.first, versions, value_bytes }
    }

    /// What is left of it, which is its end. It stays where it is.
    fn trimmed(&self, rest: Block) -> Full {
        match self {
            Full::Held(_) => Full::Held(Arc::new(rest)),
            Full::Archived { place, .. } => Full::archived(place.end(&rest.bytes), &rest),
        }
    }

    fn first(&self) -> i64 {
        match self {
            Full::Held(block) => block.first,
            Full::Archived { first, .. } => *first,
        }
    }

    fn versions(&self) -> u64 {
        match self {
            Full::Held(block) => block.versions,
            Full::Archived { versions, .. } => u64::from(*versions),
        }
    }

    fn value_bytes(&self) -> u64 {
        match self {
            Full::Held(block) => block.value_bytes,
            Full::Archived { value_bytes, .. } => u64::from(*value_bytes),
        }
    }

    fn read(&self) -> Result<Cow<'_, Block>, Unreadable> {
        match self {
            Full::Held(block) => Ok(Cow::Borrowed(block)),
            Full::Archived { place, first, .. } => {
                let mut bytes = Vec::with_capacity(place.length());
                place.read(&mut bytes)?;
                let (versions, value_bytes) = (self.versions(), self.value_bytes());
                Ok(Cow::Owned(Block { first: *first, versions, value_bytes, bytes }))
            }
        }
    }

    /// Adds its bytes to `record`.
    fn write_to(&self, record: &mut Vec<u8>) -> Result<(), Unreadable> {
        match self {
            Full::Held(block) => record.extend_from_slice(&block.bytes),
            Full::Archived { place, .. } => place.read(record)?,
        }
        Ok(())
    }
}

/// The versions before the newest, ascending by revision.
#[derive(Clone, Debug, Default)]
struct Older {
    full: Vec<Full>,
    /// Behind them.
    last: Block,
}

impl Older {
    fn push(&mut self, version: &Version, archive: Option<&Archive>) {
        let mut buffer = [0; Version::HEAD_BYTES_MAX];
        let (head, value) = version.packed(&mut buffer);
        self.push_packed(version.revision, head, value, archive);
    }

    /// Adds a version that is encoded as `head` and its value behind it.
    fn push_packed(&mut self, revision: i64, head: &[u8], value: &[u8], archive: Option<&Archive>) {
        let bytes = self.last.bytes.len() + head.len() + value.len();
        if bytes > BLOCK_BYTES && self.last.versions > 0 {
            let full = std::mem::take(&mut self.last);
            if self.full.len() == self.full.capacity() {
                // By a quarter: the lists are most of what memory holds where keys have many versions.
                self.full.reserve_exact(1 + self.full.len() / 4);
            }
            self.full.push(Full::new(full, archive));
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

    fn versions(&self) -> u64 {
        self.full.iter().map(Full::versions).sum::<u64>() + self.last.versions
    }

    fn value_bytes(&self) -> u64 {
        self.full.iter().map(Full::value_bytes).sum::<u64>() + self.last.value_bytes
    }

    /// How many full blocks begin by `revision`.
    fn full_by(&self, revision: i64) -> usize {
        self.full.partition_point(|block| block.first() <= revision)
    }

    /// Whether any version is of this revision, or of one before.
    fn begins_by(&self, revision: i64) -> bool {
        self.full.first().map_or(self.last.begins_by(revision), |block| block.first() <= revision)
    }

    /// Shows the version in force at `revision`. Also `None` where it cannot be read: the archive remembers.
    fn at<T>(&self, revision: i64, look: impl FnOnce(Packed<'_>) -> T) -> Option<T> {
        if self.last.begins_by(revision) {
            return self.last.at(revision).map(look);
        }
        let block = self.full.get(self.full_by(revision).checked_sub(1)?)?.read().ok()?;
        block.at(revision).map(look)
    }

    /// Forgets all but the version in force at `revision`, and that as well where it is a deletion. The
    /// versions behind it stay.
    fn compact(&mut self, revision: i64) -> u64 {
        let is_in_last = self.last.begins_by(revision);
        let by = self.full_by(revision);
        let whole = if is_in_last { by } else { by.saturating_sub(1) };
        let mut forgotten: u64 = self.full.drain(..whole).map(|block| block.value_bytes()).sum();
        if is_in_last {
            forgotten += self.last.compact(revision);
        } else if by > 0 {
            forgotten += self.compact_first(revision);
        }
        self.full.shrink_to_fit();
        forgotten
    }

    /// The same for the first block. Where it cannot be read it is left alone, and the archive remembers.
    fn compact_first(&mut self, revision: i64) -> u64 {
        let first = &self.full[0];
        if first.versions() == 1 && first.value_bytes() > 0 {
            // It is the one in force.
            return 0;
        }
        let Ok(block) = first.read() else { return 0 };
        let mut block = block.into_owned();
        let forgotten = block.compact(revision);
        if block.versions == 0 {
            self.full.remove(0);
        } else {
            self.full[0] = first.trimmed(block);
        }
        forgotten
    }

    /// Adds all of them to `record`.
    fn write_to(&self, record: &mut Vec<u8>) -> Result<(), Unreadable> {
        self.full.iter().try_for_each(|block| block.write_to(record))?;
        record.extend_from_slice(&self.last.bytes);
        Ok(())
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

    /// What the key held at `revision`; `None`: holds now. Where that cannot be read the archive remembers
    /// it.
    pub(super) fn at(&self, key: &Bytes, revision: Option<i64>) -> Option<KeyValue> {
        match revision.filter(|revision| *revision < self.newest.revision) {
            Some(revision) => self.older.as_ref()?.at(revision, |version| version.unpacked())?.key_value(key),
            None => self.present(key),
        }
    }

    /// Whether the key existed at `revision`; `None`: exists now. Where that cannot be read the archive
    /// remembers it.
    pub(super) fn existed(&self, revision: Option<i64>) -> bool {
        match revision.filter(|revision| *revision < self.newest.revision) {
            Some(revision) => self
                .older
                .as_ref()
                .and_then(|older| older.at(revision, |version| version.live.is_some()))
                .unwrap_or_default(),
            None => self.newest.live.is_some(),
        }
    }

    /// Sets it at `revision`; no value: to the one it has.
    pub(super) fn put(&mut self, revision: i64, value: Option<Bytes>, archive: Option<&Archive>) {
        let live = match &self.newest.live {
            Some(held) => Live {
                create_revision: held.create_revision,
                version: held.version + 1,
                value: value.unwrap_or_else(|| held.value.clone()),
            },
            None => Live { create_revision: revision, version: 1, value: value.unwrap_or_default() },
        };
        self.push(Version { revision, live: Some(live) }, archive);
    }

    /// Deletes it at `revision`.
    pub(super) fn delete(&mut self, revision: i64, archive: Option<&Archive>) {
        self.push(Version { revision, live: None }, archive);
    }

    fn push(&mut self, version: Version, archive: Option<&Archive>) {
        self.older.get_or_insert_default().push(&self.newest, archive);
        self.newest = version;
    }

    /// Whether [`History::compact`] at `revision` may find anything to forget.
    pub(super) fn has_older_than(&self, revision: i64) -> bool {
        self.older.as_ref().is_some_and(|older| older.begins_by(revision))
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
    pub(super) fn write_to(&self, key: &Bytes, record: &mut Vec<u8>) -> io::Result<()> {
        let versions = self.older.as_ref().map_or(0, |older| older.versions());
        let head = (key, &self.newest, versions);
        *record = postcard::to_extend(&head, std::mem::take(record)).map_err(io::Error::other)?;
        self.older.iter().try_for_each(|older| older.write_to(record)).map_err(io::Error::other)
    }

    /// Reads what [`History::write_to`] has written. `None` where a store at `revision` cannot have that:
    /// later commands rely on it. Also the bytes of all values.
    pub(super) fn read_from(
        record: &[u8],
        revision: i64,
        archive: Option<&Archive>,
    ) -> Option<(Bytes, History, u64)> {
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
            older.push_packed(version.revision, head, value, archive);
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
