//! The store, one sentence a test, and against a model that keeps a whole copy of itself for every revision.

mod archive;
mod compaction;
mod model;
mod snapshots;
mod transactions;

use bytes::Bytes;

use super::{
    Answer, Command, DeleteRange, DeleteRangeReply, Kv, Put, PutReply, Query, Range, RangeReply, Refusal,
    Reply, SortOrder, SortTarget,
};

fn put(key: &str, value: &str) -> Put {
    Put { key: Bytes::from(key.to_owned()), value: Bytes::from(value.to_owned()), ..Put::default() }
}

fn range(key: &str, range_end: &str) -> Range {
    let (key, range_end) = (Bytes::from(key.to_owned()), Bytes::from(range_end.to_owned()));
    Range { key, range_end, ..Range::default() }
}

fn delete(key: &str, range_end: &str) -> DeleteRange {
    let range = range(key, range_end);
    DeleteRange { key: range.key, range_end: range.range_end, prev_kv: false }
}

fn do_put(kv: &mut Kv, put: Put) -> PutReply {
    match kv.apply(1, Command::Put(put)).result {
        Ok(Reply::Put(reply)) => reply,
        other => panic!("not the answer to a put: {other:?}"),
    }
}

fn do_delete(kv: &mut Kv, delete: DeleteRange) -> DeleteRangeReply {
    match kv.apply(1, Command::DeleteRange(delete)).result {
        Ok(Reply::DeleteRange(reply)) => reply,
        other => panic!("not the answer to a delete: {other:?}"),
    }
}

fn do_query(kv: &Kv, query: &Query) -> Result<Reply, Refusal> {
    kv.query(query).expect("what it needs can be read").result
}

fn do_range(kv: &Kv, range: Range) -> RangeReply {
    match do_query(kv, &Query::Range(range)) {
        Ok(Reply::Range(reply)) => reply,
        other => panic!("not the answer to a range: {other:?}"),
    }
}

fn keys(reply: &RangeReply) -> Vec<&str> {
    reply.kvs.iter().map(|kv| std::str::from_utf8(&kv.key).expect("the tests' keys are text")).collect()
}

fn store_of(pairs: &[(&str, &str)]) -> Kv {
    let mut kv = Kv::default();
    for (key, value) in pairs {
        do_put(&mut kv, put(key, value));
    }
    kv
}

#[test]
fn the_first_put_gives_revision_two() {
    let mut kv = Kv::default();
    assert_eq!(kv.revision(), 1);
    assert_eq!(do_put(&mut kv, put("a", "1")).revision, 2);
    assert_eq!(kv.revision(), 2);
}

#[test]
fn a_key_remembers_its_creation_its_last_change_and_how_often_it_was_set() {
    let kv = store_of(&[("a", "1"), ("b", "2"), ("a", "3")]);
    let reply = do_range(&kv, range("a", ""));
    let a = &reply.kvs[0];
    assert_eq!((a.create_revision, a.mod_revision, a.version, &a.value[..]), (2, 4, 2, &b"3"[..]));
    assert_eq!((reply.count, reply.more), (1, false));
}

#[test]
fn a_deleted_key_that_is_set_again_is_created_anew() {
    let mut kv = store_of(&[("a", "1"), ("a", "2")]);
    assert_eq!(do_delete(&mut kv, delete("a", "")).revision, 4);
    do_put(&mut kv, put("a", "3"));
    let a = &do_range(&kv, range("a", "")).kvs[0];
    assert_eq!((a.create_revision, a.mod_revision, a.version), (5, 5, 1));
}

#[test]
fn deleting_nothing_changes_nothing() {
    let mut kv = store_of(&[("a", "1")]);
    let reply = do_delete(&mut kv, delete("x", "z"));
    assert_eq!((reply.deleted, reply.revision, kv.revision()), (0, 2, 2));
}

#[test]
fn a_put_and_a_delete_can_answer_with_what_was_there() {
    let mut kv = store_of(&[("a", "1")]);
    let reply = do_put(&mut kv, Put { prev_kv: true, ..put("a", "2") });
    assert_eq!(reply.prev_kv.expect("there was one").value, "1");
    let reply = do_delete(&mut kv, DeleteRange { prev_kv: true, ..delete("a", "") });
    assert_eq!(reply.prev_kvs[0].value, "2");
    let reply = do_put(&mut kv, Put { prev_kv: true, ..put("a", "3") });
    assert_eq!(reply.prev_kv, None);
}

#[test]
fn the_past_can_be_read_and_the_future_cannot() {
    let mut kv = store_of(&[("a", "1"), ("a", "2"), ("b", "3")]);
    do_delete(&mut kv, delete("a", ""));
    let at = |revision| do_range(&kv, Range { revision, ..range("a", "\0") });
    assert_eq!(at(1).count, 0);
    assert_eq!(at(2).kvs[0].value, "1");
    assert_eq!(at(3).kvs[0].value, "2");
    assert_eq!(keys(&at(4)), ["a", "b"]);
    assert_eq!(keys(&at(5)), ["b"]);
    assert_eq!(at(2).revision, 5, "the answer names the present revision");
    let future = do_query(&kv, &Query::Range(Range { revision: 6, ..range("a", "") }));
    assert_eq!(future, Err(Refusal::FutureRevision));
}

#[test]
fn a_range_ends_before_its_end_and_a_zero_byte_means_no_end() {
    let kv = store_of(&[("a", ""), ("b", ""), ("c", "")]);
    assert_eq!(keys(&do_range(&kv, range("a", "c"))), ["a", "b"]);
    assert_eq!(keys(&do_range(&kv, range("b", "\0"))), ["b", "c"]);
    assert_eq!(keys(&do_range(&kv, range("\0", "\0"))), ["a", "b", "c"]);
    assert_eq!(do_range(&kv, range("c", "a")).count, 0, "an end before the beginning holds nothing");
    assert_eq!(do_range(&kv, range("c", "c")).count, 0);
}

#[test]
fn a_limit_says_that_there_is_more_and_the_count_is_of_all() {
    let kv = store_of(&[("a", ""), ("b", ""), ("c", "")]);
    let reply = do_range(&kv, Range { limit: 2, ..range("a", "\0") });
    assert_eq!((keys(&reply), reply.more, reply.count), (vec!["a", "b"], true, 3));
    let reply = do_range(&kv, Range { limit: 3, ..range("a", "\0") });
    assert_eq!((keys(&reply).len(), reply.more), (3, false));
    let reply = do_range(&kv, Range { limit: 1, sort_order: SortOrder::Descend, ..range("a", "\0") });
    assert_eq!((keys(&reply), reply.more), (vec!["c"], true));
}

#[test]
fn a_count_carries_no_pairs_and_keys_only_no_values() {
    let kv = store_of(&[("a", "1"), ("b", "2")]);
    let reply = do_range(&kv, Range { count_only: true, ..range("a", "\0") });
    assert_eq!((reply.count, reply.kvs.len()), (2, 0));
    let reply = do_range(&kv, Range { keys_only: true, ..range("a", "\0") });
    assert!(reply.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 0));
    let reply = do_range(&kv, Range { count_only: true, ..range("a", "") });
    assert_eq!((reply.count, reply.kvs.len()), (1, 0));
}

#[test]
fn pairs_are_ordered_by_what_was_asked_for() {
    let kv = store_of(&[("b", "1"), ("c", "3"), ("a", "2"), ("b", "0")]);
    let by = |sort_target, sort_order| {
        let reply = do_range(&kv, Range { sort_target, sort_order, ..range("a", "\0") });
        keys(&reply).concat()
    };
    assert_eq!(by(SortTarget::Key, SortOrder::None), "abc");
    assert_eq!(by(SortTarget::Key, SortOrder::Descend), "cba");
    assert_eq!(by(SortTarget::Value, SortOrder::Ascend), "bac");
    assert_eq!(by(SortTarget::Value, SortOrder::None), "bac", "a target alone means ascending");
    assert_eq!(by(SortTarget::Mod, SortOrder::Descend), "bac");
    assert_eq!(by(SortTarget::Create, SortOrder::Ascend), "bca");
    assert_eq!(by(SortTarget::Version, SortOrder::Descend), "bac");
}

#[test]
fn filters_leave_pairs_out_but_not_out_of_the_count() {
    let kv = store_of(&[("a", ""), ("b", ""), ("a", "")]);
    let filtered = |range: Range| {
        let reply = do_range(&kv, range);
        (keys(&reply).concat(), reply.count)
    };
    assert_eq!(filtered(Range { min_mod_revision: 4, ..range("a", "\0") }), ("a".into(), 2));
    assert_eq!(filtered(Range { max_mod_revision: 3, ..range("a", "\0") }), ("b".into(), 2));
    assert_eq!(filtered(Range { min_create_revision: 3, ..range("a", "\0") }), ("b".into(), 2));
    assert_eq!(filtered(Range { max_create_revision: 2, ..range("a", "\0") }), ("a".into(), 2));
    assert_eq!(filtered(Range { min_mod_revision: 5, ..range("a", "") }), (String::new(), 1));
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut kv = store_of(&[("a", "1")]);
    let mut refused = |put| kv.apply(7, Command::Put(put));
    assert_eq!(refused(put("", "1")).result, Err(Refusal::EmptyKey));
    assert_eq!(refused(Put { lease: 9, ..put("a", "2") }).result, Err(Refusal::LeaseNotFound));
    assert_eq!(refused(Put { ignore_value: true, ..put("a", "2") }).result, Err(Refusal::ValueProvided));
    assert_eq!(refused(Put { ignore_value: true, ..put("b", "") }).result, Err(Refusal::KeyNotFound));
    assert_eq!(
        refused(Put { ignore_lease: true, lease: 1, ..put("a", "") }).result,
        Err(Refusal::LeaseProvided)
    );
    let last = refused(Put { ignore_lease: true, ..put("b", "") });
    assert_eq!(last, Answer { revision: 2, term: 7, result: Err(Refusal::KeyNotFound) });
    let empty = kv.apply(7, Command::DeleteRange(delete("", "\0")));
    assert_eq!(empty.result, Err(Refusal::EmptyKey));
    assert_eq!(do_range(&kv, range("a", "\0")).kvs[0].value, "1");
}

#[test]
fn a_put_can_keep_the_value_and_still_be_a_change() {
    let mut kv = store_of(&[("a", "1")]);
    do_put(&mut kv, Put { ignore_value: true, ..put("a", "") });
    let a = &do_range(&kv, range("a", "")).kvs[0];
    assert_eq!((a.mod_revision, a.version, &a.value[..]), (3, 2, &b"1"[..]));
}

fn sizes(kv: &Kv) -> (u64, u64) {
    let summary = kv.summary();
    (summary.size_bytes, summary.live_bytes)
}

#[test]
fn sizes_follow_what_is_kept() {
    let mut kv = store_of(&[("a", "12"), ("a", "345"), ("b", "6")]);
    assert_eq!(sizes(&kv), (8, 6));
    do_delete(&mut kv, delete("a", ""));
    assert_eq!(sizes(&kv), (8, 2));
    do_put(&mut kv, put("a", ""));
    assert_eq!(sizes(&kv), (8, 3));
}
