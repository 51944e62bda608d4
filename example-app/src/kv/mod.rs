//! The state machine: a multi-version key-value store with etcd's semantics. It knows nothing of HTTP, and
//! of Raft only what [`machine`] says.
//!
//! There is one revision for the whole store, which begins at 1; each command that changes something takes
//! the next. A key remembers the revision that created it, the one that last set it, and how often it was
//! set between. A compaction forgets what was before a revision, and is no revision itself.

use std::path::PathBuf;

mod archive;
mod block;
mod check;
mod history;
mod keys;
pub mod machine;
mod range;
mod snapshot;
#[cfg(test)]
mod tests;
mod txn;
mod words;

use self::{archive::Archive, keys::Keys, txn::Writer};
pub use self::{
    archive::Unreadable,
    check::OPERATIONS_MAX,
    words::{
        Answer, Command, Compact, Compare, Comparison, DeleteRange, DeleteRangeReply, KeyValue, Operand,
        Operation, Put, PutReply, Query, Range, RangeReply, Refusal, Reply, SortOrder, SortTarget, Txn,
        TxnReply,
    },
};

/// How far a store is, and how much it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The store's revision.
    pub revision: i64,
    /// The term of the last command.
    pub term: u64,
    /// The bytes of all keys and values, old versions included.
    pub size_bytes: u64,
    /// The bytes of the keys that exist, and of their present values.
    pub live_bytes: u64,
    /// The revision of the last compaction, the first that can be read; `None` before there was one.
    pub compacted: Option<i64>,
}

/// The store. By default all of it is in memory. A copy shows the state as it is now, and shares with the
/// store what that has on the disk.
#[derive(Clone, Debug)]
pub struct Kv {
    keys: Keys,
    revision: i64,
    term: u64,
}

impl Default for Kv {
    fn default() -> Kv {
        Kv::new(None)
    }
}

impl Kv {
    /// An empty store that keeps old versions of its keys in this folder, in files without a name that last
    /// as long as the process. Where the disk does not take them they stay in memory.
    pub fn archived_in(folder: impl Into<PathBuf>) -> Kv {
        Kv::new(Some(Archive::new(folder.into())))
    }

    fn new(archive: Option<Archive>) -> Kv {
        Kv { keys: Keys::new(archive), revision: 1, term: 0 }
    }

    /// Carries out a command that was decided in `term`. The same commands in the same order leave the same
    /// store. Its answer counts only where [`Kv::check_archive`] finds nothing afterwards.
    pub fn apply(&mut self, term: u64, command: Command) -> Answer {
        self.term = term;
        let result = command.check().and_then(|()| {
            let mut writer = Writer::new(&mut self.keys, self.revision);
            let reply = match command {
                Command::Put(put) => Reply::Put(writer.put(put)?),
                Command::DeleteRange(delete) => Reply::DeleteRange(writer.delete_range(&delete)),
                Command::Txn(txn) => Reply::Txn(writer.txn(txn)?),
                Command::Compact(compact) => writer.compact(compact)?,
            };
            self.revision = writer.revision();
            Ok(reply)
        });
        self.answer(result)
    }

    /// Answers a query.
    pub fn query(&self, query: &Query) -> Result<Answer, Unreadable> {
        let answer = self.answer(query.check().and_then(|()| match query {
            Query::Range(range) => {
                range.check_revision(&self.keys, self.revision)?;
                Ok(Reply::Range(range.read(&self.keys, self.revision)))
            }
            Query::Txn(txn) => Ok(Reply::Txn(txn.read(&self.keys, self.revision)?)),
        }));
        self.check_archive().map(|()| answer)
    }

    /// Whether every old version that was looked for could be read. Where one could not, that is final: it
    /// may be missing from the state as well.
    pub fn check_archive(&self) -> Result<(), Unreadable> {
        self.keys.archive.as_ref().map_or(Ok(()), Archive::check)
    }

    /// The store's revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// How much the store holds.
    pub fn summary(&self) -> Summary {
        let Keys { size_bytes, live_bytes, compacted, .. } = self.keys;
        Summary { revision: self.revision, term: self.term, size_bytes, live_bytes, compacted }
    }

    fn answer(&self, result: Result<Reply, Refusal>) -> Answer {
        Answer { revision: self.revision, term: self.term, result }
    }
}

#[cfg(test)]
impl Kv {
    /// Damages a byte of the newest file of its archive.
    pub(crate) fn damage_archive(&self, offset: u64) {
        self.keys.archive.as_ref().expect("it has one").damage(offset);
    }
}
