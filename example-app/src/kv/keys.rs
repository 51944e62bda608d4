//! The keys and every version that each has had since the last compaction: a map from the key to its history.
//! Old versions go to an archive, where there is one. What cannot be read back from there is missing from
//! what is found here, and the archive remembers that.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use bytes::Bytes;

use super::{archive::Archive, history::History, words::KeyValue};

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

/// All keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// Shared, so that a view for a snapshot copies no value and no history.
    histories: BTreeMap<Bytes, Arc<History>>,
    /// The bytes of all keys and of all values, old ones included.
    pub(super) size_bytes: u64,
    /// The bytes of the keys that exist, and of their present values.
    pub(super) live_bytes: u64,
    /// The revision of the last compaction: the first that can be read. `None` before there was one.
    pub(super) compacted: Option<i64>,
    /// Where old versions go; `None`: they stay in memory.
    pub(super) archive: Option<Archive>,
}

impl Keys {
    /// No keys yet.
    pub(super) fn new(archive: Option<Archive>) -> Keys {
        Keys { archive, ..Keys::default() }
    }

    /// What `key` holds now.
    pub(super) fn get(&self, key: &[u8]) -> Option<KeyValue> {
        let (key, history) = self.histories.get_key_value(key)?;
        history.present(key)
    }

    /// Whether `key` exists now.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.histories.get(key).is_some_and(|history| history.existed(None))
    }

    /// Every key of the span that existed at `revision` (`None`: that exists now), ascending, with what it
    /// held.
    pub(super) fn range<'a>(
        &'a self,
        span: Span<'a>,
        revision: Option<i64>,
    ) -> impl Iterator<Item = KeyValue> + 'a {
        let versions = self.histories.range::<[u8], _>(span);
        versions.filter_map(move |(key, history)| history.at(key, revision))
    }

    /// How many keys of the span existed at `revision` (`None`: exist now).
    pub(super) fn count(&self, span: Span<'_>, revision: Option<i64>) -> usize {
        let versions = self.histories.range::<[u8], _>(span);
        versions.filter(|(_, history)| history.existed(revision)).count()
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
        let Some(history) = self.histories.get_mut(&key) else {
            let value = value.unwrap_or_default();
            let bytes = (key.len() + value.len()) as u64;
            self.size_bytes += bytes;
            self.live_bytes += bytes;
            self.histories.insert(key, Arc::new(History::new(revision, value)));
            return None;
        };
        let history = Arc::make_mut(history);
        let previous = if previous_is_wanted { history.present(&key) } else { None };
        let key_bytes = key.len() as u64;
        self.live_bytes -= history.present_bytes().map_or(0, |bytes| key_bytes + bytes);
        history.put(revision, value, self.archive.as_ref());
        let value_bytes = history.present_bytes().unwrap_or(0);
        self.size_bytes += value_bytes;
        self.live_bytes += key_bytes + value_bytes;
        previous
    }

    /// Deletes every key of the span at `revision`. Answers with what they held.
    pub(super) fn delete(&mut self, span: Span<'_>, revision: i64) -> Vec<KeyValue> {
        let mut deleted = Vec::new();
        for (key, history) in self.histories.range_mut::<[u8], _>(span) {
            if let Some(kv) = history.present(key) {
                Arc::make_mut(history).delete(revision, self.archive.as_ref());
                self.live_bytes -= (kv.key.len() + kv.value.len()) as u64;
                deleted.push(kv);
            }
        }
        deleted
    }

    /// Forgets what nobody sees who reads at `revision` or later: versions that were not in force any more,
    /// and deletions. All at once: it looks at every key, and takes apart the history of those that have old
    /// versions.
    pub(super) fn compact(&mut self, revision: i64) {
        self.compacted = Some(revision);
        let size_bytes = &mut self.size_bytes;
        self.histories.retain(|key, history| {
            if history.has_older_than(revision) {
                *size_bytes -= Arc::make_mut(history).compact(revision);
            }
            let is_over = history.is_over(revision);
            *size_bytes -= if is_over { key.len() as u64 } else { 0 };
            !is_over
        });
    }

    /// How many keys there are, and every one with its history, ascending.
    pub(super) fn histories(&self) -> (usize, impl Iterator<Item = (&Bytes, &History)>) {
        let all = self.histories.iter().map(|(key, history)| (key, &**history));
        (self.histories.len(), all)
    }

    /// Adds a key from its record in a snapshot. Whether a store at `revision` can have that.
    pub(super) fn add(&mut self, record: &[u8], revision: i64) -> bool {
        let read = History::read_from(record, revision, self.archive.as_ref());
        let Some((key, history, value_bytes)) = read else { return false };
        let key_bytes = key.len() as u64;
        self.size_bytes += key_bytes + value_bytes;
        self.live_bytes += history.present_bytes().map_or(0, |bytes| key_bytes + bytes);
        self.histories.insert(key, Arc::new(history)).is_none()
    }
}
