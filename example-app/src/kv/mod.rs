//! The state machine: a multi-version key-value store with etcd's semantics. It knows nothing of HTTP, and
//! of Raft only what [`machine`] says.
//!
//! There is one revision for the whole store, which begins at 1; each command that changes something takes
//! the next. A key remembers the revision that created it, the one that last set it, and how often it was
//! set between. A compaction forgets what was before a revision, and is no revision itself.

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

pub use self::{
    check::OPERATIONS_MAX,
    words::{
        Answer, Command, Compact, Compare, Comparison, DeleteRange, DeleteRangeReply, KeyValue, Operand,
        Operation, Put, PutReply, Query, Range, RangeReply, Refusal, Reply, SortOrder, SortTarget, Txn,
        TxnReply,
    },
};
use self::{keys::Keys, txn::Writer};

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

/// The store.
#[derive(Clone, Debug)]
pub struct Kv {
    keys: Keys,
    revision: i64,
    term: u64,
}

impl Default for Kv {
    fn default() -> Kv {
        Kv { keys: Keys::default(), revision: 1, term: 0 }
    }
}

impl Kv {
    /// Carries out a command that was decided in `term`. The same commands in the same order leave the same
    /// store.
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
    pub fn query(&self, query: &Query) -> Answer {
        self.answer(query.check().and_then(|()| match query {
            Query::Range(range) => {
                range.check_revision(&self.keys, self.revision)?;
                Ok(Reply::Range(range.read(&self.keys, self.revision)))
            }
            Query::Txn(txn) => Ok(Reply::Txn(txn.read(&self.keys, self.revision)?)),
        }))
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
