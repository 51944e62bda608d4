//! The checkers of histories: what they let pass, and what they do not.

use proptest::prelude::*;
use raft_actor::testkit::linearizability::{Model, Timed, check, check_keys, revisions_are_in_order};

/// A register that is written, read, and compared and set.
struct Register;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Write(u64),
    Read(u64),
    /// From, to, and whether it was done where that is known.
    Swap(u64, u64, Option<bool>),
}

impl Model for Register {
    type State = u64;
    type Call = Call;

    fn first(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, call: &Call) -> Option<u64> {
        match *call {
            Call::Write(value) => Some(value),
            Call::Read(value) => (value == *state).then_some(value),
            Call::Swap(from, to, told) => {
                let is_done = from == *state;
                told.is_none_or(|told| told == is_done).then_some(if is_done { to } else { *state })
            }
        }
    }
}

fn timed(began: u64, ended: impl Into<Option<u64>>, call: Call) -> Timed<Call> {
    Timed { began, ended: ended.into(), call }
}

#[test]
fn a_read_that_overlaps_a_write_may_see_it_or_not() {
    for seen in [0, 1] {
        let calls = [timed(1, 10, Call::Write(1)), timed(2, 3, Call::Read(seen))];
        assert_eq!(check(&Register, &calls), Ok(()));
    }
}

#[test]
fn a_read_after_a_write_sees_it() {
    let calls = [timed(1, 2, Call::Write(1)), timed(3, 4, Call::Read(0))];
    let told = check(&Register, &calls).expect_err("a stale read");
    assert!(told.contains("Read(0)"), "{told}");
}

#[test]
fn a_value_that_was_seen_does_not_go_away() {
    let calls = [timed(1, 20, Call::Write(1)), timed(2, 3, Call::Read(1)), timed(4, 5, Call::Read(0))];
    check(&Register, &calls).expect_err("it goes back");
}

#[test]
fn a_write_of_unknown_outcome_may_come_late_or_never_but_not_before_it_began() {
    let late = [timed(5, None, Call::Write(7)), timed(90, 91, Call::Read(0)), timed(95, 96, Call::Read(7))];
    assert_eq!(check(&Register, &late), Ok(()));
    let early = [timed(1, 2, Call::Read(7)), timed(5, None, Call::Write(7))];
    check(&Register, &early).expect_err("before it began");
}

#[test]
fn a_swap_that_was_refused_found_something_else() {
    let right = [timed(1, 2, Call::Write(3)), timed(3, 4, Call::Swap(4, 5, Some(false)))];
    assert_eq!(check(&Register, &right), Ok(()));
    let wrong = [timed(1, 2, Call::Write(3)), timed(3, 4, Call::Swap(3, 5, Some(false)))];
    check(&Register, &wrong).expect_err("it would have been done");
    let unknown =
        [timed(1, 2, Call::Write(3)), timed(3, None, Call::Swap(3, 5, None)), timed(6, 7, Call::Read(5))];
    assert_eq!(check(&Register, &unknown), Ok(()));
}

#[test]
fn keys_are_searched_one_by_one_and_named() {
    let calls = [("a", timed(1, 2, Call::Write(1))), ("b", timed(3, 4, Call::Read(1)))];
    let told = check_keys(&Register, calls).expect_err("b was never written");
    assert!(told.starts_with("of \"b\""), "{told}");
}

#[test]
fn revisions_tell_stale_reads_and_doubled_writes() {
    assert_eq!(revisions_are_in_order(&[(1, 5, 1, true), (2, 3, 0, false), (6, 7, 1, false)]), Ok(()));
    revisions_are_in_order(&[(1, 2, 1, true), (3, 4, 0, false)]).expect_err("a stale read");
    revisions_are_in_order(&[(1, 5, 1, true), (2, 4, 1, true)]).expect_err("twice the same revision");
    revisions_are_in_order(&[(1, 2, 2, false), (3, 4, 2, true)]).expect_err("a write that was seen before");
}

proptest! {
    /// A history that one register really gave passes, whatever overlaps, and so does one of which some
    /// outcomes are unknown.
    #[test]
    fn what_one_register_did_makes_sense(
        steps in proptest::collection::vec((0_u64..4, 0_u64..3, 0_u64..6, 0_u64..6, any::<bool>()), 0..25),
    ) {
        let (mut state, mut calls) = (0, Vec::new());
        for (at, (kind, value, before, after, is_known)) in steps.into_iter().enumerate() {
            let moment = 10 * (at as u64 + 1);
            let call = match kind {
                0 => Call::Read(state),
                1 => Call::Swap(value, value + 1, is_known.then_some(state == value)),
                _ => Call::Write(value),
            };
            state = Register.step(&state, &call).expect("as it was");
            let is_read = matches!(call, Call::Read(_));
            let ended = (is_known || is_read).then_some(moment + 7 * after);
            calls.push(timed(moment.saturating_sub(7 * before), ended, call));
        }
        prop_assert_eq!(check(&Register, &calls), Ok(()));
    }
}
