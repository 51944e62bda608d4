//! A store written out and read back is the same store, whatever was in the one that reads.

use raft_actor::state_machine::StateMachine;

use super::{
    super::{Command, Compare, Comparison, DeleteRange, Kv, Operand, Operation, Put, Range, Txn},
    compaction::compact,
    delete, do_delete, do_put, do_range, put, range, store_of,
};

pub(super) fn written(kv: &Kv) -> Vec<u8> {
    let view = StateMachine::snapshot(kv).expect("the store has snapshots");
    let mut bytes = Vec::new();
    view(&mut bytes).expect("memory takes it");
    bytes
}

pub(super) fn restored(mut bytes: &[u8]) -> Kv {
    let mut kv = Kv::default();
    kv.restore(&mut bytes).expect("it is whole");
    kv
}

#[test]
fn a_snapshot_has_every_version_of_every_key_and_the_sizes() {
    let mut kv = store_of(&[("a", "1"), ("b", "2"), ("a", "3"), ("c", "")]);
    do_delete(&mut kv, delete("b", ""));
    let mut restored = store_of(&[("left over", "from before")]);
    restored.restore(&mut written(&kv).as_slice()).expect("it is whole");
    assert_eq!(restored.summary(), kv.summary());
    for revision in 1..=kv.revision() {
        let mut all = range("\0", "\0");
        all.revision = revision;
        assert_eq!(do_range(&restored, all.clone()), do_range(&kv, all), "at revision {revision}");
    }
    assert_eq!(written(&restored), written(&kv), "the same state is the same bytes");
}

#[test]
fn a_view_does_not_see_what_comes_after_it() {
    let mut kv = store_of(&[("a", "1"), ("b", "2")]);
    let before = written(&kv);
    let view = StateMachine::snapshot(&kv).expect("the store has snapshots");
    do_put(&mut kv, put("a", "later"));
    do_delete(&mut kv, delete("b", ""));
    let mut bytes = Vec::new();
    view(&mut bytes).expect("memory takes it");
    assert_eq!(bytes, before);
    assert_ne!(written(&kv), before);
}

#[test]
fn bytes_that_are_no_snapshot_are_refused_and_change_nothing() {
    let kv = store_of(&[("a", "1"), ("b", "2")]);
    let bytes = written(&kv);
    for cut in 0..bytes.len() {
        let mut other = store_of(&[("z", "9")]);
        let before = written(&other);
        assert!(other.restore(&mut &bytes[..cut]).is_err(), "cut at {cut}");
        assert_eq!(written(&other), before);
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(Kv::default().restore(&mut longer.as_slice()).is_err());
    let huge = [&[0xff; 8], &bytes[8..]].concat();
    assert!(Kv::default().restore(&mut huge.as_slice()).is_err());
    // The numbers before the keys: revision, term, bytes of all values, bytes of those that are live.
    let header = [5, 0, 0, 0, 0, 0, 0, 0, 6, 1, 4, 4, 2];
    assert_eq!(bytes[..13], header);
    for (at, number) in [(8, 2), (8, 4), (10, 3), (11, 0), (12, 1)] {
        let mut lying = bytes.clone();
        lying[at] = number;
        assert!(Kv::default().restore(&mut lying.as_slice()).is_err(), "number {at} is {number}");
    }
}

/// Bytes that the first version of the store has written, before there were compactions.
#[test]
fn a_snapshot_of_the_first_version_is_read_and_written_as_it_was() {
    let keys: [&[u8]; 2] = [
        &[1, 97, 12, 1, 4, 6, 0, 2, 4, 1, 4, 2, 1, 49, 8, 1, 4, 4, 1, 51],
        &[1, 98, 14, 1, 14, 2, 1, 54, 2, 6, 1, 6, 2, 3, 116, 119, 111, 10, 0],
    ];
    let records = [&[14, 3, 8, 3, 2][..], keys[0], keys[1]];
    let golden: Vec<u8> = records
        .iter()
        .flat_map(|record| [&(record.len() as u64).to_le_bytes()[..], record].concat())
        .collect();
    let mut kv = store_of(&[("a", "1"), ("b", "two"), ("a", "3")]);
    do_delete(&mut kv, delete("b", ""));
    do_put(&mut kv, put("a", ""));
    kv.apply(3, Command::Put(put("b", "6")));
    assert_eq!(written(&kv), golden);
    let old = restored(&golden);
    assert_eq!((old.summary(), old.summary().compacted), (kv.summary(), None));
    assert_eq!(do_range(&old, range("\0", "\0")), do_range(&kv, range("\0", "\0")));
    assert_eq!(written(&old), golden);
}

/// Commands as they stand in logs.
#[test]
fn a_command_is_encoded_as_it_was_in_the_first_version() {
    let compare = Compare {
        key: "k".into(),
        range_end: "".into(),
        comparison: Comparison::Greater,
        operand: Operand::Mod(300),
    };
    let success = Operation::Put(Put { prev_kv: true, ignore_lease: true, ..put("k", "w") });
    let failure = Operation::Range(Range { limit: 5, ..range("k", "") });
    let txn = Txn { compare: vec![compare], success: vec![success], failure: vec![failure] };
    let golden: [(Command, &[u8]); 3] = [
        (Command::Put(put("k", "v")), &[0, 1, 107, 1, 118, 0, 0, 0, 0]),
        (Command::DeleteRange(DeleteRange { prev_kv: true, ..delete("k", "l") }), &[1, 1, 107, 1, 108, 1]),
        (
            Command::Txn(txn),
            &[
                2, 1, 1, 107, 0, 1, 2, 216, 4, 1, 1, 1, 107, 1, 119, 0, 1, 0, 1, 1, 0, 1, 107, 0, 10, 0, 0,
                0, 0, 0, 0, 0, 0, 0, 0,
            ],
        ),
    ];
    for (command, bytes) in golden {
        assert_eq!(postcard::from_bytes(bytes).as_ref(), Ok(&command));
        assert_eq!(postcard::to_allocvec(&command).as_deref(), Ok(bytes));
    }
}

#[test]
fn a_snapshot_that_was_compacted_where_it_has_not_been_is_refused() {
    let mut kv = store_of(&[("a", "1"), ("b", "2")]);
    assert!(compact(&mut kv, 2).is_ok());
    let bytes = written(&kv);
    // The length, five numbers, and the revision of the compaction.
    assert_eq!(bytes[..14], [6, 0, 0, 0, 0, 0, 0, 0, 6, 1, 4, 4, 2, 4]);
    assert_eq!(restored(&bytes).summary(), kv.summary());
    for revision in [1, 8] {
        let mut lying = bytes.clone();
        lying[13] = revision;
        assert!(Kv::default().restore(&mut lying.as_slice()).is_err(), "{revision} stands for a revision");
    }
}
