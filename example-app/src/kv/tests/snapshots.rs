//! A store written out and read back is the same store, whatever was in the one that reads.

use raft_actor::state_machine::StateMachine;

use super::{super::Kv, delete, do_delete, do_put, do_range, put, range, store_of};

fn written(kv: &Kv) -> Vec<u8> {
    let view = StateMachine::snapshot(kv).expect("the store has snapshots");
    let mut bytes = Vec::new();
    view(&mut bytes).expect("memory takes it");
    bytes
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
