//! Transactions: all comparisons first, nested ones included, on the state before; then the operations of the
//! path that they chose, at one revision.

use super::{
    keys::{self, Keys},
    words::{
        Compact, Compare, Comparison, DeleteRange, DeleteRangeReply, KeyValue, Operand, Operation, Put,
        PutReply, Refusal, Reply, Txn, TxnReply,
    },
};

/// Which list each transaction takes: this one, and those nested in the list taken, in order.
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

impl Txn {
    fn path(&self, keys: &Keys) -> Path {
        let succeeded = self.compare.iter().all(|compare| compare.holds(keys));
        let nested = self.taken(succeeded).iter().filter_map(|operation| match operation {
            Operation::Txn(txn) => Some(txn.path(keys)),
            _ => None,
        });
        Path { succeeded, nested: nested.collect() }
    }

    fn taken(&self, succeeded: bool) -> &[Operation] {
        if succeeded { &self.success } else { &self.failure }
    }

    /// Whether everything on the path can be done, seen from the state before.
    fn check_path(&self, path: &Path, keys: &Keys, revision: i64) -> Result<(), Refusal> {
        let mut nested = path.nested.iter();
        for operation in self.taken(path.succeeded) {
            match operation {
                Operation::Range(range) => range.check_revision(keys, revision)?,
                Operation::Put(put) => put.check_present(keys)?,
                Operation::DeleteRange(_) => {}
                Operation::Txn(txn) => {
                    if let Some(path) = nested.next() {
                        txn.check_path(path, keys, revision)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Carries out a transaction that only reads.
    pub(super) fn read(&self, keys: &Keys, revision: i64) -> Result<TxnReply, Refusal> {
        let path = self.path(keys);
        self.check_path(&path, keys, revision)?;
        Ok(self.read_path(&path, keys, revision))
    }

    fn read_path(&self, path: &Path, keys: &Keys, revision: i64) -> TxnReply {
        let mut nested = path.nested.iter();
        let replies = self.taken(path.succeeded).iter().filter_map(|operation| match operation {
            Operation::Range(range) => Some(Reply::Range(range.read(keys, revision))),
            Operation::Txn(txn) => Some(Reply::Txn(txn.read_path(nested.next()?, keys, revision))),
            // `only_reads` has kept these out.
            Operation::Put(_) | Operation::DeleteRange(_) => None,
        });
        TxnReply { succeeded: path.succeeded, replies: replies.collect() }
    }
}

impl Compare {
    fn holds(&self, keys: &Keys) -> bool {
        let Some(span) = keys::span(&self.key, &self.range_end) else {
            return self.holds_where_nothing_is();
        };
        let mut any = false;
        let all = keys.range(span, None).all(|kv| {
            any = true;
            self.holds_for(&kv)
        });
        if any { all } else { self.holds_where_nothing_is() }
    }

    fn holds_where_nothing_is(&self) -> bool {
        // A missing value is not an empty one, so no comparison of values holds for it.
        !matches!(self.operand, Operand::Value(_)) && self.holds_for(&KeyValue::default())
    }

    fn holds_for(&self, kv: &KeyValue) -> bool {
        let ordering = match &self.operand {
            Operand::Version(version) => kv.version.cmp(version),
            Operand::Create(revision) => kv.create_revision.cmp(revision),
            Operand::Mod(revision) => kv.mod_revision.cmp(revision),
            Operand::Value(value) => kv.value.cmp(value),
            Operand::Lease(lease) => 0.cmp(lease),
        };
        match self.comparison {
            Comparison::Equal => ordering.is_eq(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::Less => ordering.is_lt(),
            Comparison::NotEqual => ordering.is_ne(),
        }
    }
}

impl Put {
    /// Whether it can be done to the store as it is.
    fn check_present(&self, keys: &Keys) -> Result<(), Refusal> {
        if (self.ignore_value || self.ignore_lease) && !keys.contains(&self.key) {
            return Err(Refusal::KeyNotFound);
        }
        if self.lease != 0 {
            return Err(Refusal::LeaseNotFound);
        }
        Ok(())
    }
}

/// The changes of one command, all at one revision: the one after the store's present.
pub(super) struct Writer<'a> {
    keys: &'a mut Keys,
    revision: i64,
    changed: bool,
}

impl<'a> Writer<'a> {
    /// A writer on a store that is at `revision`.
    pub(super) fn new(keys: &'a mut Keys, revision: i64) -> Writer<'a> {
        Writer { keys, revision, changed: false }
    }

    /// The store's revision, with the changes made so far.
    pub(super) fn revision(&self) -> i64 {
        self.revision + i64::from(self.changed)
    }

    /// Sets a key, if it can be.
    pub(super) fn put(&mut self, put: Put) -> Result<PutReply, Refusal> {
        put.check_present(self.keys)?;
        Ok(self.do_put(put))
    }

    fn do_put(&mut self, put: Put) -> PutReply {
        self.changed = true;
        let value = (!put.ignore_value).then_some(put.value);
        let prev_kv = self.keys.put(put.key, value, self.revision(), put.prev_kv);
        PutReply { revision: self.revision(), prev_kv }
    }

    /// Deletes keys. Where there are none, nothing has changed, and the revision stays.
    pub(super) fn delete_range(&mut self, delete: &DeleteRange) -> DeleteRangeReply {
        let span = keys::span(&delete.key, &delete.range_end);
        let deleted = span.map(|span| self.keys.delete(span, self.revision + 1)).unwrap_or_default();
        self.changed |= !deleted.is_empty();
        DeleteRangeReply {
            revision: self.revision(),
            deleted: deleted.len() as i64,
            prev_kvs: if delete.prev_kv { deleted } else { Vec::new() },
        }
    }

    /// Forgets what was before a revision, where that is still known and not to come.
    pub(super) fn compact(&mut self, compact: Compact) -> Result<Reply, Refusal> {
        if Some(compact.revision) <= self.keys.compacted {
            Err(Refusal::Compacted)
        } else if compact.revision > self.revision {
            Err(Refusal::FutureRevision)
        } else {
            self.keys.compact(compact.revision);
            Ok(Reply::Compact)
        }
    }

    /// Carries out a transaction, or refuses all of it.
    pub(super) fn txn(&mut self, txn: Txn) -> Result<TxnReply, Refusal> {
        let path = txn.path(self.keys);
        txn.check_path(&path, self.keys, self.revision)?;
        Ok(self.do_path(txn, path))
    }

    fn do_path(&mut self, txn: Txn, path: Path) -> TxnReply {
        let mut nested = path.nested.into_iter();
        let operations = if path.succeeded { txn.success } else { txn.failure };
        let replies = operations.into_iter().filter_map(|operation| {
            Some(match operation {
                Operation::Range(range) => Reply::Range(range.read(self.keys, self.revision())),
                Operation::Put(put) => Reply::Put(self.do_put(put)),
                Operation::DeleteRange(delete) => Reply::DeleteRange(self.delete_range(&delete)),
                Operation::Txn(txn) => Reply::Txn(self.do_path(txn, nested.next()?)),
            })
        });
        TxnReply { succeeded: path.succeeded, replies: replies.collect() }
    }
}
