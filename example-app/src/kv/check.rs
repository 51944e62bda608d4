//! What can be said against a command or a query without looking at the store: done at the door, so that
//! nothing that is bound to be refused enters the log, and again where it is carried out.

use std::{collections::BTreeSet, ops::Bound};

use bytes::Bytes;

use super::{
    keys::{self, Span},
    words::{Command, Compact, DeleteRange, Operation, Put, Query, Range, Refusal, Txn},
};

/// The most comparisons, or operations of one list, in a transaction and those nested in it, along one path.
/// As in etcd.
pub const OPERATIONS_MAX: usize = 128;

impl Command {
    /// Refuses what no store would accept.
    pub fn check(&self) -> Result<(), Refusal> {
        match self {
            Command::Put(put) => put.check(),
            Command::DeleteRange(delete) => delete.check(),
            Command::Txn(txn) => txn.check(),
            Command::Compact(compact) => compact.check(),
        }
    }
}

impl Query {
    /// Refuses what no store would accept.
    pub fn check(&self) -> Result<(), Refusal> {
        match self {
            Query::Range(range) => range.check(),
            Query::Txn(txn) => txn.check(),
        }
    }
}

impl Put {
    fn check(&self) -> Result<(), Refusal> {
        refuse_empty(&self.key)?;
        if self.ignore_value && !self.value.is_empty() {
            return Err(Refusal::ValueProvided);
        }
        if self.ignore_lease && self.lease != 0 {
            return Err(Refusal::LeaseProvided);
        }
        Ok(())
    }
}

impl Range {
    fn check(&self) -> Result<(), Refusal> {
        refuse_empty(&self.key)
    }
}

impl DeleteRange {
    fn check(&self) -> Result<(), Refusal> {
        refuse_empty(&self.key)
    }
}

impl Compact {
    fn check(&self) -> Result<(), Refusal> {
        // What was before the first revision is as gone as what a compaction has taken. As in etcd.
        if self.revision < 0 { Err(Refusal::Compacted) } else { Ok(()) }
    }
}

impl Txn {
    fn check(&self) -> Result<(), Refusal> {
        self.check_operations(OPERATIONS_MAX)?;
        Changes::of(&self.success)?;
        Changes::of(&self.failure)?;
        Ok(())
    }

    fn check_operations(&self, operations_max: usize) -> Result<(), Refusal> {
        let operations = self.compare.len().max(self.success.len()).max(self.failure.len());
        let left = operations_max.checked_sub(operations).ok_or(Refusal::TooManyOperations)?;
        for compare in &self.compare {
            refuse_empty(&compare.key)?;
        }
        for operation in self.success.iter().chain(&self.failure) {
            match operation {
                Operation::Range(range) => range.check()?,
                Operation::Put(put) => put.check()?,
                Operation::DeleteRange(delete) => delete.check()?,
                Operation::Txn(txn) => txn.check_operations(left)?,
            }
        }
        Ok(())
    }

    /// Whether nothing in it can write, so that it need not enter the log.
    pub fn only_reads(&self) -> bool {
        self.all(&|operation| matches!(operation, Operation::Range(_)))
    }

    /// Whether it only reads, and this node's own state will do for all of it.
    pub fn is_serializable(&self) -> bool {
        self.all(&|operation| matches!(operation, Operation::Range(range) if range.serializable))
    }

    fn all(&self, holds: &dyn Fn(&Operation) -> bool) -> bool {
        self.success.iter().chain(&self.failure).all(|operation| match operation {
            Operation::Txn(txn) => txn.all(holds),
            other => holds(other),
        })
    }
}

fn refuse_empty(key: &Bytes) -> Result<(), Refusal> {
    if key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

/// The keys that a list of operations may change. No key is put twice, nor put and deleted.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<Span<'a>>,
}

impl<'a> Changes<'a> {
    fn of(operations: &'a [Operation]) -> Result<Changes<'a>, Refusal> {
        let mut changes = Changes::default();
        for operation in operations {
            if let Operation::DeleteRange(delete) = operation {
                changes.deletes.extend(keys::span(&delete.key, &delete.range_end));
            }
        }
        for operation in operations {
            if let Operation::Txn(txn) = operation {
                changes.add_nested(txn)?;
            }
        }
        for operation in operations {
            if let Operation::Put(put) = operation {
                changes.add_put(&put.key)?;
            }
        }
        Ok(changes)
    }

    fn add_nested(&mut self, txn: &'a Txn) -> Result<(), Refusal> {
        let success = Changes::of(&txn.success)?;
        let failure = Changes::of(&txn.failure)?;
        for key in &success.puts {
            self.add_put(key)?;
        }
        // Only one of the two lists is carried out, so a key may be in both.
        for key in failure.puts.difference(&success.puts) {
            self.add_put(key)?;
        }
        self.deletes.extend(success.deletes);
        self.deletes.extend(failure.deletes);
        Ok(())
    }

    fn add_put(&mut self, key: &'a [u8]) -> Result<(), Refusal> {
        let deleted = self.deletes.iter().any(|span| holds(span, key));
        if deleted || !self.puts.insert(key) { Err(Refusal::DuplicateKey) } else { Ok(()) }
    }
}

fn holds((first, end): &Span<'_>, key: &[u8]) -> bool {
    let after = match first {
        Bound::Included(first) => key >= *first,
        Bound::Excluded(first) => key > *first,
        Bound::Unbounded => true,
    };
    after
        && match end {
            Bound::Included(last) => key <= *last,
            Bound::Excluded(end) => key < *end,
            Bound::Unbounded => true,
        }
}
