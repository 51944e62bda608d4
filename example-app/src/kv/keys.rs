//! The keys and every version that each has had.
//!
//! A map from the key to its history. The newest version stands apart from the older ones, so a put of a new
//! key and a read of the present allocate nothing but the answer. Nothing is forgotten before a compaction,
//! which comes later, so reads at old revisions always find what they ask for.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::words::KeyValue;

/// Some keys that follow each other.
pub(super) type Span<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The keys that a request's `key` and `range_end` name; `None` where the end is not after the beginning.
pub(super) fn span<'a>(key: &'a [u8], range_end: &'a [u8]) -> Option<Span<'a>> {
    match range_end {
        [] => Some((Bound::Included(key), Bound::Included(key))),
        [0] => Some((Bound::Included(key), Bound::Unbounded)),
        end if end > key => Some((Bound::Included(key), Bound::Excluded(end))),
        _ => None,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Version {
    /// When it was set, or deleted.
    revision: i64,
    /// What it was set to; `None` where it was deleted.
    live: Option<Live>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Live {
    create_revision: i64,
    version: i64,
    value: Bytes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    newest: Version,
    /// Ascending by revision.
    older: Vec<Version>,
}

impl History {
    /// The version in force at `revision`; `None`: the newest.
    fn at(&self, revision: Option<i64>) -> Option<&Version> {
        let Some(revision) = revision.filter(|revision| *revision < self.newest.revision) else {
            return Some(&self.newest);
        };
        let after = self.older.partition_point(|version| version.revision <= revision);
        after.checked_sub(1).and_then(|position| self.older.get(position))
    }

    /// Bytes of the present value, if there is one, and of all values.
    fn bytes(&self) -> (Option<u64>, u64) {
        let bytes = |version: &Version| version.live.as_ref().map(|live| live.value.len() as u64);
        let newest = bytes(&self.newest);
        (newest, newest.unwrap_or(0) + self.older.iter().filter_map(bytes).sum::<u64>())
    }

    /// Whether its versions follow each other, none behind `revision`.
    fn is_sound(&self, revision: i64) -> bool {
        let mut last = 0;
        self.older.iter().chain([&self.newest]).all(|version| {
            let is_possible = |live: &Live| {
                (1..=version.revision).contains(&live.create_revision)
                    && (1..=version.revision).contains(&live.version)
            };
            let follows = version.revision > std::mem::replace(&mut last, version.revision);
            follows && version.revision <= revision && version.live.as_ref().is_none_or(is_possible)
        })
    }

    fn push(&mut self, version: Version) {
        self.older.push(std::mem::replace(&mut self.newest, version));
    }
}

fn key_value(key: &Bytes, version: &Version) -> Option<KeyValue> {
    version.live.as_ref().map(|live| KeyValue {
        key: key.clone(),
        create_revision: live.create_revision,
        mod_revision: version.revision,
        version: live.version,
        value: live.value.clone(),
    })
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// Shared, so that a view for a snapshot copies no value and no history.
    histories: BTreeMap<Bytes, Arc<History>>,
    /// The bytes of all keys and of all values, old ones included.
    pub(super) size_bytes: u64,
    /// The bytes of the keys that exist, and of their present values.
    pub(super) live_bytes: u64,
}

impl Keys {
    /// What `key` holds now.
    pub(super) fn get(&self, key: &[u8]) -> Option<KeyValue> {
        let (key, history) = self.histories.get_key_value(key)?;
        key_value(key, &history.newest)
    }

    /// Whether `key` exists now.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.histories.get(key).is_some_and(|history| history.newest.live.is_some())
    }

    /// Every key of the span that existed at `revision` (`None`: that exists now), ascending, with what it
    /// held.
    pub(super) fn range<'a>(
        &'a self,
        span: Span<'a>,
        revision: Option<i64>,
    ) -> impl Iterator<Item = KeyValue> + 'a {
        let versions = self.histories.range::<[u8], _>(span);
        versions.filter_map(move |(key, history)| key_value(key, history.at(revision)?))
    }

    /// How many keys of the span existed at `revision` (`None`: exist now).
    pub(super) fn count(&self, span: Span<'_>, revision: Option<i64>) -> usize {
        let versions = self.histories.range::<[u8], _>(span);
        versions.filter(|(_, history)| history.at(revision).is_some_and(|at| at.live.is_some())).count()
    }

    /// Sets `key` at `revision`; no value: to the one it has. Answers with what it held before, where that is
    /// wanted: to hold a key and a value twice takes memory of its own.
    pub(super) fn put(
        &mut self,
        key: Bytes,
        value: Option<Bytes>,
        revision: i64,
        previous_is_wanted: bool,
    ) -> Option<KeyValue> {
        let key_bytes = key.len() as u64;
        let Some(history) = self.histories.get_mut(&key) else {
            let live = Live { create_revision: revision, version: 1, value: value.unwrap_or_default() };
            self.size_bytes += key_bytes + live.value.len() as u64;
            self.live_bytes += key_bytes + live.value.len() as u64;
            let newest = Version { revision, live: Some(live) };
            self.histories.insert(key, Arc::new(History { newest, older: Vec::new() }));
            return None;
        };
        let history = Arc::make_mut(history);
        let previous = previous_is_wanted.then(|| key_value(&key, &history.newest)).flatten();
        let live = match &history.newest.live {
            Some(held) => {
                self.live_bytes -= held.value.len() as u64;
                let value = value.unwrap_or_else(|| held.value.clone());
                Live { create_revision: held.create_revision, version: held.version + 1, value }
            }
            None => {
                self.live_bytes += key_bytes;
                Live { create_revision: revision, version: 1, value: value.unwrap_or_default() }
            }
        };
        self.size_bytes += live.value.len() as u64;
        self.live_bytes += live.value.len() as u64;
        history.push(Version { revision, live: Some(live) });
        previous
    }

    /// Deletes every key of the span at `revision`. Answers with what they held.
    pub(super) fn delete(&mut self, span: Span<'_>, revision: i64) -> Vec<KeyValue> {
        let mut deleted = Vec::new();
        for (key, history) in self.histories.range_mut::<[u8], _>(span) {
            if let Some(kv) = key_value(key, &history.newest) {
                Arc::make_mut(history).push(Version { revision, live: None });
                self.live_bytes -= (kv.key.len() + kv.value.len()) as u64;
                deleted.push(kv);
            }
        }
        deleted
    }

    /// How many keys there are, and every one with its history, ascending.
    pub(super) fn histories(&self) -> (usize, impl Iterator<Item = (&Bytes, &History)>) {
        let all = self.histories.iter().map(|(key, history)| (key, &**history));
        (self.histories.len(), all)
    }

    /// Adds a key with its history, as [`Keys::histories`] gave it out. Whether a store at `revision` can
    /// have that: later commands rely on it.
    pub(super) fn add(&mut self, key: Bytes, history: History, revision: i64) -> bool {
        let (live_bytes, size_bytes) = history.bytes();
        let key_bytes = key.len() as u64;
        self.size_bytes += key_bytes + size_bytes;
        self.live_bytes += live_bytes.map_or(0, |bytes| key_bytes + bytes);
        history.is_sound(revision) && self.histories.insert(key, Arc::new(history)).is_none()
    }
}
