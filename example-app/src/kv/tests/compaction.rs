//! What a compaction forgets, what it keeps, and what is refused.

use std::collections::BTreeSet;

use super::{
    super::{Command, Compact, KeyValue, Kv, Operation, Query, Refusal, Reply, Txn},
    delete, do_delete, do_put, do_query, do_range, put, range,
    snapshots::{restored, written},
    store_of,
};

pub(super) fn compact(kv: &mut Kv, revision: i64) -> Result<Reply, Refusal> {
    kv.apply(1, Command::Compact(Compact { revision })).result
}

fn at(kv: &Kv, revision: i64) -> Vec<KeyValue> {
    let mut all = range("\0", "\0");
    all.revision = revision;
    do_range(kv, all).kvs
}

/// One key that is set, with values of all sizes, and now and then deleted; and two that are not.
fn a_long_history() -> Kv {
    let mut kv = store_of(&[("first", "stays"), ("gone", "soon")]);
    do_delete(&mut kv, delete("gone", ""));
    for number in 0..120_usize {
        if number % 11 == 10 {
            do_delete(&mut kv, delete("key", ""));
        } else {
            do_put(&mut kv, put("key", &"x".repeat(number * 37 % 900)));
        }
    }
    kv
}

/// The bytes of all that can be read at `compacted` and later.
fn size_bytes(kv: &Kv, compacted: i64) -> u64 {
    let seen: BTreeSet<_> = (compacted..=kv.revision())
        .flat_map(|revision| at(kv, revision))
        .map(|kv| (kv.key, kv.mod_revision, kv.value))
        .collect();
    let keys: BTreeSet<_> = seen.iter().map(|(key, ..)| key).collect();
    let values: usize = seen.iter().map(|(.., value)| value.len()).sum();
    (keys.iter().map(|key| key.len()).sum::<usize>() + values) as u64
}

#[test]
fn what_can_be_read_after_a_compaction_is_what_it_was_and_nothing_more_is_held() {
    let whole = a_long_history();
    for compacted in 1..=whole.revision() {
        let mut kv = whole.clone();
        assert_eq!(compact(&mut kv, compacted), Ok(Reply::Compact));
        let (before, after) = (whole.summary(), kv.summary());
        assert_eq!((after.revision, after.live_bytes), (before.revision, before.live_bytes));
        assert_eq!(after.size_bytes, size_bytes(&whole, compacted), "compacted at {compacted}");
        let other = restored(&written(&kv));
        assert_eq!(other.summary(), after);
        for revision in compacted..=kv.revision() {
            assert_eq!(at(&kv, revision), at(&whole, revision), "{revision}, compacted at {compacted}");
            assert_eq!(at(&other, revision), at(&whole, revision));
        }
        assert_eq!(written(&other), written(&kv), "the same state is the same bytes");
    }
}

#[test]
fn compacting_in_steps_leaves_what_compacting_at_once_leaves() {
    let whole = a_long_history();
    for step in [1, 7, 30] {
        let mut kv = whole.clone();
        for compacted in (1..=whole.revision()).step_by(step) {
            assert_eq!(compact(&mut kv, compacted), Ok(Reply::Compact));
            let mut at_once = whole.clone();
            assert_eq!(compact(&mut at_once, compacted), Ok(Reply::Compact));
            assert_eq!(written(&kv), written(&at_once));
        }
    }
}

#[test]
fn a_compacted_store_goes_on_as_if_nothing_had_been() {
    let (mut whole, mut kv) = (a_long_history(), a_long_history());
    let compacted = kv.revision();
    assert_eq!(compact(&mut kv, compacted), Ok(Reply::Compact));
    for value in ["one", "two"] {
        let answers = [&mut whole, &mut kv].map(|kv| do_put(kv, put("key", value)));
        assert_eq!(answers[0], answers[1]);
        let answers = [&mut whole, &mut kv].map(|kv| do_put(kv, put("gone", value)));
        assert_eq!(answers[0], answers[1]);
    }
    assert_eq!(at(&kv, compacted + 1), at(&whole, compacted + 1));
    assert_eq!(at(&kv, 0), at(&whole, 0));
}

#[test]
fn a_view_sees_what_a_later_compaction_forgets() {
    let mut kv = a_long_history();
    let before = written(&kv);
    let view = raft_actor::state_machine::StateMachine::snapshot(&kv).expect("the store has snapshots");
    let compacted = kv.revision();
    assert_eq!(compact(&mut kv, compacted), Ok(Reply::Compact));
    let mut bytes = Vec::new();
    view(&mut bytes).expect("memory takes it");
    assert_eq!(bytes, before);
    assert!(written(&kv).len() < before.len() / 50, "a snapshot after it is smaller");
}

#[test]
fn reads_before_the_compacted_revision_are_refused_and_at_it_answered() {
    let mut kv = store_of(&[("a", "1"), ("a", "2"), ("a", "3")]);
    assert_eq!(compact(&mut kv, 3), Ok(Reply::Compact));
    let read = |revision| {
        let mut read = range("a", "");
        read.revision = revision;
        let nested = Txn { success: vec![Operation::Range(read.clone())], ..Txn::default() };
        let txn = Txn { success: vec![Operation::Txn(nested)], ..Txn::default() };
        [do_query(&kv, &Query::Range(read)).err(), do_query(&kv, &Query::Txn(txn)).err()]
    };
    assert_eq!(read(2), [Some(Refusal::Compacted); 2]);
    assert_eq!((read(3), read(0)), ([None; 2], [None; 2]));
    assert_eq!(read(5), [Some(Refusal::FutureRevision); 2]);
}

#[test]
fn a_transaction_that_reads_what_is_forgotten_writes_nothing() {
    let mut kv = store_of(&[("a", "1"), ("a", "2"), ("a", "3")]);
    assert_eq!(compact(&mut kv, 3), Ok(Reply::Compact));
    let mut read = range("a", "");
    read.revision = 2;
    let success = vec![Operation::Put(put("a", "4")), Operation::Range(read)];
    let answer = kv.apply(1, Command::Txn(Txn { success, ..Txn::default() }));
    assert_eq!((answer.result, answer.revision), (Err(Refusal::Compacted), 4));
    assert_eq!(do_range(&kv, range("a", "")).kvs[0].value, "3");
}

#[test]
fn a_revision_is_compacted_once_and_only_when_it_has_come() {
    let mut kv = store_of(&[("a", "1"), ("a", "2")]);
    // As in etcd: nothing is before revision 0, and once that may be said.
    assert_eq!(compact(&mut kv, -1), Err(Refusal::Compacted));
    assert_eq!(compact(&mut kv, 0), Ok(Reply::Compact));
    assert_eq!(compact(&mut kv, 0), Err(Refusal::Compacted));
    assert_eq!(compact(&mut kv, 4), Err(Refusal::FutureRevision));
    assert_eq!(kv.summary().compacted, Some(0));
    assert_eq!(compact(&mut kv, 3), Ok(Reply::Compact));
    assert_eq!(compact(&mut kv, 2), Err(Refusal::Compacted));
    assert_eq!((kv.revision(), kv.summary().compacted), (3, Some(3)), "a compaction is no revision");
}
