//! Transactions.

use bytes::Bytes;

use super::{
    super::{
        Command, Compare, Comparison, Kv, OPERATIONS_MAX, Operand, Operation, Query, Refusal, Reply, Txn,
        TxnReply,
    },
    delete, do_query, do_range, put, range, store_of,
};

fn compare(key: &str, comparison: Comparison, operand: Operand) -> Compare {
    Compare { key: Bytes::from(key.to_owned()), range_end: Bytes::new(), comparison, operand }
}

fn value(text: &str) -> Operand {
    Operand::Value(Bytes::from(text.to_owned()))
}

fn do_txn(kv: &mut Kv, txn: Txn) -> Result<TxnReply, Refusal> {
    match kv.apply(1, Command::Txn(txn)).result? {
        Reply::Txn(reply) => Ok(reply),
        other => panic!("not the answer to a transaction: {other:?}"),
    }
}

fn holds(kv: &mut Kv, compare: Compare) -> bool {
    let txn = Txn { compare: vec![compare], ..Txn::default() };
    do_txn(kv, txn).expect("a comparison alone is not refused").succeeded
}

#[test]
fn everything_in_a_transaction_has_one_revision() {
    let mut kv = store_of(&[("a", "1")]);
    let success = vec![Operation::Put(put("b", "2")), Operation::Put(put("c", "3"))];
    let reply = do_txn(&mut kv, Txn { success, ..Txn::default() }).expect("it is carried out");
    assert!(reply.succeeded);
    assert_eq!(kv.revision(), 3);
    assert!(do_range(&kv, range("b", "\0")).kvs.iter().all(|kv| kv.mod_revision == 3));
}

#[test]
fn a_transaction_that_changes_nothing_takes_no_revision() {
    let mut kv = store_of(&[("a", "1")]);
    let success = vec![Operation::Range(range("a", "")), Operation::DeleteRange(delete("x", ""))];
    do_txn(&mut kv, Txn { success, ..Txn::default() }).expect("it is carried out");
    assert_eq!(kv.revision(), 2);
}

#[test]
fn a_failed_comparison_takes_the_other_list() {
    let mut kv = store_of(&[("a", "1")]);
    let txn = Txn {
        compare: vec![compare("a", Comparison::Equal, value("2"))],
        success: vec![Operation::Put(put("a", "yes"))],
        failure: vec![Operation::Put(put("a", "no"))],
    };
    assert!(!do_txn(&mut kv, txn).expect("it is carried out").succeeded);
    assert_eq!(do_range(&kv, range("a", "")).kvs[0].value, "no");
}

#[test]
fn comparisons_see_versions_revisions_and_values() {
    let mut kv = store_of(&[("a", "1"), ("b", "2"), ("a", "3")]);
    assert!(holds(&mut kv, compare("a", Comparison::Equal, Operand::Version(2))));
    assert!(holds(&mut kv, compare("a", Comparison::Equal, Operand::Create(2))));
    assert!(holds(&mut kv, compare("a", Comparison::Greater, Operand::Mod(3))));
    assert!(holds(&mut kv, compare("a", Comparison::Less, value("4"))));
    assert!(!holds(&mut kv, compare("a", Comparison::NotEqual, value("3"))));
    assert!(holds(&mut kv, compare("a", Comparison::Equal, Operand::Lease(0))));
}

#[test]
fn a_missing_key_has_zero_for_every_number_and_no_value() {
    let mut kv = Kv::default();
    assert!(holds(&mut kv, compare("x", Comparison::Equal, Operand::Version(0))));
    assert!(holds(&mut kv, compare("x", Comparison::Less, Operand::Create(1))));
    assert!(!holds(&mut kv, compare("x", Comparison::Equal, value(""))));
    assert!(!holds(&mut kv, compare("x", Comparison::NotEqual, value("1"))));
}

#[test]
fn a_comparison_of_a_range_must_hold_for_every_key_of_it() {
    let mut kv = store_of(&[("a", "1"), ("b", "1"), ("c", "2")]);
    let over = |end: &str| Compare {
        range_end: Bytes::from(end.to_owned()),
        ..compare("a", Comparison::Equal, value("1"))
    };
    assert!(holds(&mut kv, over("c")));
    assert!(!holds(&mut kv, over("d")));
}

#[test]
fn a_later_operation_sees_what_an_earlier_one_did() {
    let mut kv = store_of(&[("a", "1")]);
    let success = vec![Operation::Put(put("b", "2")), Operation::Range(range("a", "\0"))];
    let reply = do_txn(&mut kv, Txn { success, ..Txn::default() }).expect("it is carried out");
    let Reply::Range(seen) = &reply.replies[1] else { panic!("not a range: {:?}", reply.replies[1]) };
    assert_eq!((seen.count, seen.revision), (2, 3));
}

#[test]
fn a_nested_transaction_compares_the_state_before_the_outer_one() {
    let mut kv = store_of(&[("a", "1")]);
    let nested = Txn {
        compare: vec![compare("b", Comparison::Equal, Operand::Version(0))],
        success: vec![Operation::Put(put("c", "b was missing"))],
        failure: vec![Operation::Put(put("c", "b was there"))],
    };
    let success = vec![Operation::Put(put("b", "2")), Operation::Txn(nested)];
    do_txn(&mut kv, Txn { success, ..Txn::default() }).expect("it is carried out");
    assert_eq!(do_range(&kv, range("c", "")).kvs[0].value, "b was missing");
    assert_eq!(kv.revision(), 3, "nested ones share the revision");
}

#[test]
fn a_key_is_changed_at_most_once() {
    let mut kv = Kv::default();
    let mut refused = |success: Vec<Operation>| do_txn(&mut kv, Txn { success, ..Txn::default() }).err();
    let twice = vec![Operation::Put(put("a", "1")), Operation::Put(put("a", "2"))];
    assert_eq!(refused(twice), Some(Refusal::DuplicateKey));
    let deleted = vec![Operation::DeleteRange(delete("a", "c")), Operation::Put(put("b", "2"))];
    assert_eq!(refused(deleted), Some(Refusal::DuplicateKey));
    let beside = vec![Operation::DeleteRange(delete("a", "b")), Operation::Put(put("b", "2"))];
    assert_eq!(refused(beside), None);
    let nested = Txn { success: vec![Operation::Put(put("a", "1"))], ..Txn::default() };
    let below = vec![Operation::Txn(nested.clone()), Operation::Put(put("a", "2"))];
    assert_eq!(refused(below), Some(Refusal::DuplicateKey));
    let either = Txn { failure: nested.success.clone(), ..nested };
    assert_eq!(refused(vec![Operation::Txn(either)]), None, "only one of the two lists is done");
}

#[test]
fn a_refused_operation_refuses_the_whole_transaction() {
    let mut kv = store_of(&[("a", "1")]);
    let ignoring = super::Put { ignore_value: true, ..put("missing", "") };
    let success = vec![Operation::Put(put("a", "2")), Operation::Put(ignoring)];
    let refused = do_txn(&mut kv, Txn { success, ..Txn::default() });
    assert_eq!(refused, Err(Refusal::KeyNotFound));
    let future = super::Range { revision: 3, ..range("a", "") };
    let success = vec![Operation::Put(put("a", "2")), Operation::Range(future)];
    assert_eq!(do_txn(&mut kv, Txn { success, ..Txn::default() }), Err(Refusal::FutureRevision));
    assert_eq!(kv.revision(), 2);
    assert_eq!(do_range(&kv, range("a", "")).kvs[0].value, "1");
}

#[test]
fn operations_are_bounded_along_each_path() {
    let mut kv = Kv::default();
    let reads = |count| vec![Operation::Range(range("a", "")); count];
    let mut refused = |success| do_txn(&mut kv, Txn { success, ..Txn::default() }).err();
    assert_eq!(refused(reads(128)), None);
    assert_eq!(refused(reads(129)), Some(Refusal::TooManyOperations));
    let mut outer = reads(100);
    outer.push(Operation::Txn(Txn { success: reads(28), ..Txn::default() }));
    assert_eq!(refused(outer), Some(Refusal::TooManyOperations));
}

#[test]
fn a_transaction_that_only_reads_is_a_query() {
    let kv = store_of(&[("a", "1")]);
    let nested = Txn { success: vec![Operation::Range(range("a", ""))], ..Txn::default() };
    let txn = Txn { success: vec![Operation::Txn(nested)], ..Txn::default() };
    assert!(txn.only_reads());
    assert!(!txn.is_serializable());
    let Ok(Reply::Txn(reply)) = do_query(&kv, &Query::Txn(txn)) else { panic!("refused") };
    let Reply::Txn(nested) = &reply.replies[0] else { panic!("not nested: {reply:?}") };
    assert!(matches!(&nested.replies[0], Reply::Range(range) if range.count == 1));
    let writes = Txn { failure: vec![Operation::Put(put("a", ""))], ..Txn::default() };
    assert!(!writes.only_reads());
}

#[test]
fn a_command_that_is_nested_without_end_is_refused_and_not_followed_down() {
    // Transactions without comparisons, each with one operation: the next transaction.
    let nested = |levels: usize| {
        let mut bytes = vec![2];
        bytes.extend([0, 1, 3].repeat(levels));
        bytes.extend([0, 0, 0]);
        bytes.extend(vec![0; levels]);
        bytes
    };
    let deepest = postcard::from_bytes::<Command>(&nested(OPERATIONS_MAX)).expect("as deep as may be");
    assert_eq!(deepest.check(), Ok(()));
    assert!(postcard::from_bytes::<Command>(&nested(OPERATIONS_MAX + 1)).is_err());
    assert!(postcard::from_bytes::<Command>(&nested(400_000)).is_err());
}
