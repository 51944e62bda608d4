//! Versions of a key, and how they are packed: as they stand in a snapshot, one behind the other in blocks. A
//! version then takes its value and about fifteen bytes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::words::KeyValue;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Version {
    /// When it was set, or deleted.
    pub(super) revision: i64,
    /// What it was set to; `None` where it was deleted.
    pub(super) live: Option<Live>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Live {
    pub(super) create_revision: i64,
    pub(super) version: i64,
    pub(super) value: Bytes,
}

/// A [`Version`] in the block that it is packed in.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct Packed<'a> {
    pub(super) revision: i64,
    #[serde(borrow)]
    pub(super) live: Option<PackedLive<'a>>,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) struct PackedLive<'a> {
    pub(super) create_revision: i64,
    pub(super) version: i64,
    pub(super) value: &'a [u8],
}

impl Version {
    /// The most that stands before a version's value: four numbers of ten bytes, and whether it is live.
    pub(super) const HEAD_BYTES_MAX: usize = 41;

    /// What stands before its value in a block, and the value.
    pub(super) fn packed<'a>(&'a self, buffer: &'a mut [u8; Self::HEAD_BYTES_MAX]) -> (&'a [u8], &'a [u8]) {
        let live = self.live.as_ref();
        let head = (self.revision, live.map(|live| (live.create_revision, live.version, live.value.len())));
        let head = postcard::to_slice(&head, buffer).expect("four numbers have room");
        (head, live.map_or(&[], |live| &live.value))
    }

    pub(super) fn key_value(&self, key: &Bytes) -> Option<KeyValue> {
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
    pub(super) fn can_follow(&self, last: i64, revision: i64) -> bool {
        let is_possible = |live: PackedLive<'_>| {
            let until = 1..=self.revision;
            until.contains(&live.create_revision) && until.contains(&live.version)
        };
        self.revision > last && self.revision <= revision && self.live.is_none_or(is_possible)
    }

    pub(super) fn unpacked(&self) -> Version {
        let live = self.live.map(|PackedLive { create_revision, version, value }| Live {
            create_revision,
            version,
            value: Bytes::copy_from_slice(value),
        });
        Version { revision: self.revision, live }
    }

    pub(super) fn value_bytes(&self) -> u64 {
        self.live.map_or(0, |live| live.value.len() as u64)
    }
}

/// Some old versions that follow each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// The revision of the first of them.
    pub(super) first: i64,
    pub(super) versions: u64,
    /// The bytes of their values.
    pub(super) value_bytes: u64,
    pub(super) bytes: Vec<u8>,
}

impl Block {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Packed<'_>, &[u8])> {
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
    pub(super) fn begins_by(&self, revision: i64) -> bool {
        self.versions > 0 && self.first <= revision
    }

    /// The version in force at `revision`, which it begins by.
    pub(super) fn at(&self, revision: i64) -> Option<Packed<'_>> {
        self.iter().map(|(version, _)| version).take_while(|version| version.revision <= revision).last()
    }

    /// Adds a version that is encoded as `head` and its value behind it. There is room for it.
    pub(super) fn push(&mut self, revision: i64, head: &[u8], value: &[u8]) {
        if self.versions == 0 {
            self.first = revision;
        }
        self.versions += 1;
        self.value_bytes += value.len() as u64;
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(value);
    }

    /// Forgets the versions before the one in force at `revision`, and that as well where it is a deletion.
    pub(super) fn compact(&mut self, revision: i64) -> u64 {
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
