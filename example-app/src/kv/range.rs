//! Reading keys: bounds, filters, order and limit.

use std::cmp::Ordering;

use super::{
    keys::{self, Keys},
    words::{KeyValue, Range, RangeReply, Refusal, SortOrder, SortTarget},
};

impl Range {
    /// Refuses to read what has not happened yet, and what is forgotten.
    pub(super) fn check_revision(&self, keys: &Keys, present: i64) -> Result<(), Refusal> {
        if self.revision > present {
            Err(Refusal::FutureRevision)
        } else if self.revision > 0 && Some(self.revision) < keys.compacted {
            Err(Refusal::Compacted)
        } else {
            Ok(())
        }
    }

    /// Reads. `revision` is the store's, for the answer.
    pub(super) fn read(&self, keys: &Keys, revision: i64) -> RangeReply {
        let mut reply = RangeReply { revision, ..RangeReply::default() };
        let at = (self.revision > 0).then_some(self.revision);
        if self.range_end.is_empty() && at.is_none() && !self.count_only {
            let found = keys.get(&self.key);
            reply.count = i64::from(found.is_some());
            reply.kvs.extend(found.filter(|kv| self.admits(kv)));
        } else if let Some(span) = keys::span(&self.key, &self.range_end) {
            if self.count_only {
                reply.count = keys.count(span, at) as i64;
                return reply;
            }
            self.collect(keys.range(span, at), &mut reply);
        }
        if self.keys_only {
            for kv in &mut reply.kvs {
                kv.value.clear();
            }
        }
        reply
    }

    fn collect(&self, found: impl Iterator<Item = KeyValue>, reply: &mut RangeReply) {
        let limit = usize::try_from(self.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let by_key = self.sort_target == SortTarget::Key && self.sort_order != SortOrder::Descend;
        for kv in found {
            reply.count += 1;
            if !self.admits(&kv) {
                continue;
            }
            if by_key && reply.kvs.len() == limit {
                reply.more = true;
            } else {
                reply.kvs.push(kv);
            }
        }
        if !by_key {
            reply.kvs.sort_by(|left, right| self.compare(left, right));
            reply.more = reply.kvs.len() > limit;
            reply.kvs.truncate(limit);
        }
    }

    fn admits(&self, kv: &KeyValue) -> bool {
        let within = |value: i64, least: i64, most: i64| {
            (least == 0 || value >= least) && (most == 0 || value <= most)
        };
        within(kv.mod_revision, self.min_mod_revision, self.max_mod_revision)
            && within(kv.create_revision, self.min_create_revision, self.max_create_revision)
    }

    fn compare(&self, left: &KeyValue, right: &KeyValue) -> Ordering {
        let ascending = match self.sort_target {
            SortTarget::Key => left.key.cmp(&right.key),
            SortTarget::Version => left.version.cmp(&right.version),
            SortTarget::Create => left.create_revision.cmp(&right.create_revision),
            SortTarget::Mod => left.mod_revision.cmp(&right.mod_revision),
            SortTarget::Value => left.value.cmp(&right.value),
        };
        if self.sort_order == SortOrder::Descend { ascending.reverse() } else { ascending }
    }
}
