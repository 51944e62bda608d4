//! What may be asked of the store, and what it answers: etcd's requests and responses as plain values.
//!
//! They travel in the log and between nodes, encoded by postcard, so every field is always written.

use std::cell::Cell;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::check::OPERATIONS_MAX;

/// Something that may change the store. It is carried out on every node, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Set a key.
    Put(Put),
    /// Delete a key or a range of keys.
    DeleteRange(DeleteRange),
    /// Compare, then do one list of operations or the other.
    Txn(Txn),
    /// Forget what was before a revision.
    Compact(Compact),
}

/// Something that only reads. It never enters the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// A key or a range of keys.
    Range(Range),
    /// A transaction in which nothing writes; see [`Txn::only_reads`].
    Txn(Txn),
}

/// Set a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The key; at least one byte.
    pub key: Bytes,
    /// Its new value.
    pub value: Bytes,
    /// The lease to attach it to; 0 for none. There are no leases yet, so any other is refused.
    pub lease: i64,
    /// Whether to answer with what the key held before.
    pub prev_kv: bool,
    /// Keep the value that the key has; it must exist, and `value` must be empty.
    pub ignore_value: bool,
    /// Keep the lease that the key has; it must exist, and `lease` must be 0.
    pub ignore_lease: bool,
}

/// Read a key or a range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The key, or the first key of the range; at least one byte.
    pub key: Bytes,
    /// One past the range's last key. Empty: `key` alone. A single zero byte: every key from `key` on.
    pub range_end: Bytes,
    /// The most pairs to answer with; 0 or less for all.
    pub limit: i64,
    /// The revision to read at; 0 or less for the present.
    pub revision: i64,
    /// In which order.
    pub sort_order: SortOrder,
    /// By what.
    pub sort_target: SortTarget,
    /// Whether this node's own state will do, stale as it may be.
    pub serializable: bool,
    /// Leave the values out.
    pub keys_only: bool,
    /// Answer with the count alone.
    pub count_only: bool,
    /// Leave out what was changed at an earlier revision; 0 for no bound.
    pub min_mod_revision: i64,
    /// Leave out what was changed at a later revision; 0 for no bound.
    pub max_mod_revision: i64,
    /// Leave out what was created at an earlier revision; 0 for no bound.
    pub min_create_revision: i64,
    /// Leave out what was created at a later revision; 0 for no bound.
    pub max_create_revision: i64,
}

/// The order of a range's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortOrder {
    /// Ascending, as the store keeps its keys.
    #[default]
    None,
    /// Ascending.
    Ascend,
    /// Descending.
    Descend,
}

/// What a range's answer is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// How often the key was set since it was created.
    Version,
    /// When it was created.
    Create,
    /// When it was last set.
    Mod,
    /// Its value.
    Value,
}

/// Delete a key or a range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRange {
    /// The key, or the first key of the range; at least one byte.
    pub key: Bytes,
    /// As in [`Range::range_end`].
    pub range_end: Bytes,
    /// Whether to answer with what was deleted.
    pub prev_kv: bool,
}

/// Forget what was before a revision: reads at earlier revisions are refused from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compact {
    /// The first revision that can still be read; later than that of the last compaction.
    pub revision: i64,
}

/// If everything in `compare` holds, do `success`, else do `failure`; all at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// What must hold. Nothing: it holds.
    pub compare: Vec<Compare>,
    /// What to do if it does.
    pub success: Vec<Operation>,
    /// What to do if it does not.
    pub failure: Vec<Operation>,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Read.
    Range(Range),
    /// Set.
    Put(Put),
    /// Delete.
    DeleteRange(DeleteRange),
    /// A transaction within the transaction. Its comparisons see the state before the outermost one began.
    Txn(#[serde(deserialize_with = "nested")] Txn),
}

/// Reads a transaction within a transaction. No deeper than [`Command::check`] could accept: bytes that nest
/// without end would otherwise use up the stack before anybody can refuse them.
fn nested<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Txn, D::Error> {
    thread_local! {
        static DEPTH: Cell<usize> = const { Cell::new(0) };
    }
    let depth = DEPTH.get();
    if depth >= OPERATIONS_MAX {
        return Err(de::Error::custom("transactions are nested too deeply"));
    }
    DEPTH.set(depth + 1);
    let txn = Txn::deserialize(deserializer);
    DEPTH.set(depth);
    txn
}

/// One comparison of a transaction: `key's target` `comparison` `operand`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The key; at least one byte.
    pub key: Bytes,
    /// As in [`Range::range_end`]; the comparison must hold for every key of the range.
    pub range_end: Bytes,
    /// How to compare.
    pub comparison: Comparison,
    /// What of the key, and with what.
    pub operand: Operand,
}

/// How a comparison compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// The same.
    #[default]
    Equal,
    /// The key's is greater.
    Greater,
    /// The key's is less.
    Less,
    /// Not the same.
    NotEqual,
}

/// What of a key is compared, and with what. A key that does not exist has 0 for every number, and no value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operand {
    /// How often it was set since it was created.
    Version(i64),
    /// When it was created.
    Create(i64),
    /// When it was last set.
    Mod(i64),
    /// Its value.
    Value(Bytes),
    /// Its lease.
    Lease(i64),
}

/// A key and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The revision at which it was created; a deleted key that is set again is created anew.
    pub create_revision: i64,
    /// The revision at which it was last set.
    pub mod_revision: i64,
    /// How often it was set since it was created, from 1.
    pub version: i64,
    /// Its value.
    pub value: Bytes,
}

/// The answer to a command or a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The store's revision once it was carried out.
    pub revision: i64,
    /// The term of the last command that the store has seen.
    pub term: u64,
    /// What came of it. A refused command has changed nothing.
    pub result: Result<Reply, Refusal>,
}

/// What came of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// A key was set.
    Put(PutReply),
    /// Keys were read.
    Range(RangeReply),
    /// Keys were deleted.
    DeleteRange(DeleteRangeReply),
    /// A transaction was carried out.
    Txn(TxnReply),
    /// Old revisions were forgotten.
    Compact,
}

/// A key was set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutReply {
    /// The revision at which it was.
    pub revision: i64,
    /// What it held before, if that was asked for and there was anything.
    pub prev_kv: Option<KeyValue>,
}

/// Keys were read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeReply {
    /// The store's revision when they were.
    pub revision: i64,
    /// The pairs.
    pub kvs: Vec<KeyValue>,
    /// Whether `limit` cut some off.
    pub more: bool,
    /// How many keys the range holds, whatever the limit and the filters.
    pub count: i64,
}

/// Keys were deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRangeReply {
    /// The store's revision once they were.
    pub revision: i64,
    /// How many.
    pub deleted: i64,
    /// What they held, if that was asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// A transaction was carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnReply {
    /// Whether everything compared held.
    pub succeeded: bool,
    /// What came of each operation of the list that was done.
    pub replies: Vec<Reply>,
}

/// Why the store refuses, in etcd's words. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// What to do: give a key of at least one byte.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// What to do: leave the value out where the old one is to be kept.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// What to do: leave the lease out where the old one is to be kept.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// What to do: set the key with a value first.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// What to do: grant the lease first. (There are no leases yet.)
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// What to do: change each key at most once in a transaction.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// What to do: split the transaction; at most [`super::check::OPERATIONS_MAX`] operations fit.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOperations,
    /// What to do: read at a revision that an answer has named.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// What to do: read at a later revision, or at the present one.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
}
