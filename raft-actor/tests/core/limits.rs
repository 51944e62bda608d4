//! Everything that waits is bounded, and no bound is too large to be counted with.

use std::time::Duration;

use raft_actor::{
    config::Config,
    core::{Effect, Effects, Input, LogReader},
    types::{HardState, LogIndex, LogState, Term},
};

use super::{
    cluster::voters,
    one::{One, append, conflict, id, log},
};

/// A follower with ten entries on its disk, the newest `tail` of them in memory, whose leader says that all
/// are committed.
fn with_ten_to_apply(tail: usize) -> (One, Effects) {
    let mut config = Config::default();
    (config.append_entries_max, config.inflight_max) = (1, 2);
    let mut state = LogState::of(HardState { term: Term(1), voted_for: None, fence: None }, log(&[1; 10]));
    state.tail = state.tail.slice(10 - tail, 10);
    let mut one = One::recover(voters(3), state, config);
    let effects = one.receive_and_flush(2, append(1, id(1, 10), &[], 10));
    (one, effects)
}

fn applied(effects: &[Effect]) -> Vec<u64> {
    let applied = effects.iter().filter_map(|effect| match effect {
        Effect::Apply(entries) => Some(entries.iter().map(|entry| entry.id.index.0).collect::<Vec<_>>()),
        _ => None,
    });
    applied.flatten().collect()
}

fn reads(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::ReadLog { .. })).count()
}

#[test]
fn a_slow_state_machine_is_given_no_more_than_its_window() {
    let (mut one, effects) = with_ten_to_apply(10);
    assert_eq!(applied(&effects), [1, 2], "two runs of one entry");
    assert_eq!(applied(&one.input(Input::Tick)), [0; 0]);
    assert_eq!(applied(&one.input(Input::Applied { index: LogIndex(1) })), [3]);
    assert_eq!(applied(&one.input(Input::Applied { index: LogIndex(3) })), [4, 5]);
    let mut index = 5;
    while index < 10 {
        index += applied(&one.input(Input::Applied { index: LogIndex(index) })).len() as u64;
    }
    assert_eq!(applied(&one.input(Input::Applied { index: LogIndex(10) })), [0; 0]);
    assert_eq!(one.raft.applied_index(), LogIndex(10));
}

#[test]
fn a_long_log_is_not_read_back_faster_than_the_state_machine_applies_it() {
    let (mut one, effects) = with_ten_to_apply(0);
    assert_eq!(reads(&effects), 1);
    let answer = |first: usize, last: usize| {
        let entries = log(&[1; 10])[first - 1..last].to_vec().into();
        Input::LogRead { reader: LogReader::Applier, entries }
    };
    let effects = one.input(answer(1, 4));
    assert_eq!((applied(&effects), reads(&effects)), (vec![1, 2, 3, 4], 1));
    let effects = one.input(answer(5, 8));
    assert_eq!((applied(&effects), reads(&effects)), (vec![5, 6, 7, 8], 0), "two runs wait already");
    assert_eq!(reads(&one.input(Input::Applied { index: LogIndex(4) })), 1);
}

#[test]
fn limits_at_the_end_of_the_numbers_are_refused_or_obeyed_and_never_overflow() {
    let mut config = Config::default();
    config.heartbeat_interval = Duration::MAX;
    assert!(config.validate().is_err());

    let mut config = Config::default();
    for limit in [
        &mut config.append_entries_max,
        &mut config.append_bytes_max,
        &mut config.inflight_max,
        &mut config.inflight_bytes_max,
        &mut config.cache_bytes_max,
    ] {
        *limit = u64::MAX;
    }
    config.validate().expect("no limit is too large");
    let mut state = LogState::of(HardState { term: Term(1), voted_for: None, fence: None }, log(&[1; 10]));
    state.tail = state.tail.slice(8, 10);
    let mut one = One::recover(voters(3), state, config);
    one.win();
    assert_eq!(reads(&one.receive(2, conflict(2, id(1, 10), id(1, 3)))), 1);
}
