//! What a state machine with sessions does with each command, and that it is what a naive one does that keeps
//! everything for ever.

use proptest::prelude::*;
use raft_actor::{
    client::session::{Limits, SessionCommand, SessionId, SessionOutput, SessionTable, Sessions},
    error::SessionError,
    state_machine::StateMachine,
    types::{LogId, LogIndex, Term},
};

use crate::journal::Journal;

type Command = SessionCommand<u64>;
type Output = SessionOutput<u64>;

/// A machine, and the log that it is fed from.
#[derive(Default)]
struct Machine {
    sessions: Sessions<Journal>,
    last: u64,
}

impl Machine {
    fn apply(&mut self, command: Command) -> Output {
        self.last += 1;
        self.sessions.apply(LogId::new(Term(1), LogIndex(self.last)), command)
    }

    fn open(&mut self, limits: Limits) -> SessionId {
        match self.apply(SessionCommand::Open(limits)) {
            SessionOutput::Opened(session) => session,
            other => panic!("a session is always opened: {other:?}"),
        }
    }

    fn write(&mut self, session: SessionId, sequence: u64, lowest_awaited: u64, command: u64) -> Output {
        self.apply(SessionCommand::InSession { session, sequence, lowest_awaited, command })
    }

    fn values(&self) -> &[u64] {
        &self.sessions.machine().values
    }
}

fn refused(error: SessionError) -> Output {
    SessionOutput::Refused(error)
}

#[test]
fn a_write_that_comes_twice_is_applied_once_and_answered_the_same() {
    let mut machine = Machine::default();
    let session = machine.open(Limits::default());
    assert_eq!(machine.write(session, 1, 1, 70), SessionOutput::Output(1));
    assert_eq!(machine.write(session, 2, 1, 71), SessionOutput::Output(2));
    assert_eq!(machine.write(session, 1, 1, 70), SessionOutput::Output(1), "the first answer, again");
    assert_eq!(machine.values(), [70, 71]);
}

#[test]
fn a_command_outside_of_sessions_is_applied_as_often_as_it_comes() {
    let mut machine = Machine::default();
    assert_eq!(machine.apply(SessionCommand::Plain(5)), SessionOutput::Output(1));
    assert_eq!(machine.apply(SessionCommand::Plain(5)), SessionOutput::Output(2));
}

#[test]
fn writes_of_a_session_may_come_in_any_order() {
    let mut machine = Machine::default();
    let session = machine.open(Limits::default());
    for sequence in [3, 1, 2] {
        machine.write(session, sequence, 1, sequence);
    }
    for sequence in [1, 2, 3] {
        machine.write(session, sequence, 1, sequence);
    }
    assert_eq!(machine.values(), [3, 1, 2]);
}

#[test]
fn two_sessions_may_use_the_same_sequence() {
    let mut machine = Machine::default();
    let (one, other) = (machine.open(Limits::default()), machine.open(Limits::default()));
    assert_ne!(one, other);
    machine.write(one, 1, 1, 10);
    machine.write(other, 1, 1, 11);
    assert_eq!(machine.values(), [10, 11]);
}

#[test]
fn what_is_acknowledged_is_forgotten_and_never_applied_again() {
    let mut machine = Machine::default();
    let session = machine.open(Limits::default());
    for sequence in 1..=5 {
        machine.write(session, sequence, 1, sequence);
    }
    assert_eq!(machine.sessions.table().answers(), 5);
    machine.write(session, 6, 5, 6);
    assert_eq!(machine.sessions.table().answers(), 2, "those of 5 and 6");
    assert_eq!(machine.write(session, 4, 1, 4), refused(SessionError::Forgotten));
    assert_eq!(machine.write(session, 5, 1, 5), SessionOutput::Output(5), "still awaited");
    assert_eq!(machine.values(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_session_that_nobody_opened_is_refused_and_nothing_is_applied() {
    let mut machine = Machine::default();
    assert_eq!(machine.write(SessionId(7), 1, 1, 10), refused(SessionError::SessionExpired));
    assert!(machine.values().is_empty());
}

#[test]
fn the_session_that_was_used_longest_ago_makes_room() {
    let mut machine = Machine::default();
    let limits = Limits::default().with_sessions_max(2);
    let (one, other) = (machine.open(limits), machine.open(limits));
    machine.write(one, 1, 1, 10);
    let third = machine.open(limits);
    assert_eq!(machine.write(other, 1, 1, 11), refused(SessionError::SessionExpired));
    assert_eq!(machine.write(one, 1, 1, 10), SessionOutput::Output(1));
    assert_eq!(machine.write(third, 1, 1, 12), SessionOutput::Output(2));
    assert_eq!(machine.sessions.table().len(), 2);
}

#[test]
fn a_bound_of_no_session_leaves_the_newest() {
    let mut machine = Machine::default();
    let limits = Limits::default().with_sessions_max(0);
    let (one, other) = (machine.open(limits), machine.open(limits));
    assert!(!machine.sessions.table().contains(one) && machine.sessions.table().contains(other));
}

#[test]
fn sessions_unused_since_a_place_in_the_log_expire_with_the_command_that_says_so() {
    let mut machine = Machine::default();
    let (one, other) = (machine.open(Limits::default()), machine.open(Limits::default()));
    machine.write(one, 1, 1, 10);
    let unused_since = LogIndex(machine.last);
    assert_eq!(machine.apply(SessionCommand::Expire { unused_since }), SessionOutput::Expired(1));
    assert_eq!(machine.write(other, 1, 1, 11), refused(SessionError::SessionExpired));
    assert_eq!(machine.write(one, 1, 1, 10), SessionOutput::Output(1));
}

#[test]
fn a_write_too_far_ahead_of_what_is_awaited_is_refused_and_comes_in_later() {
    let mut machine = Machine::default();
    let session = machine.open(Limits::default().with_answers_max(3));
    for sequence in 1..=3 {
        machine.write(session, sequence, 1, sequence);
    }
    assert_eq!(machine.write(session, 4, 1, 4), refused(SessionError::TooFarAhead));
    assert_eq!(machine.write(session, 4, 2, 4), SessionOutput::Output(4));
    assert_eq!(machine.sessions.table().answers(), 3);
}

#[test]
fn a_session_that_holds_too_many_bytes_takes_the_lowest_awaited_write_only() {
    let mut machine = Machine::default();
    let session = machine.open(Limits::default().with_answer_bytes_max(2));
    machine.write(session, 2, 1, 2);
    machine.write(session, 3, 1, 3);
    assert_eq!(machine.write(session, 4, 1, 4), refused(SessionError::TooFarAhead));
    assert_eq!(machine.write(session, 1, 1, 1), SessionOutput::Output(3), "or the session would be stuck");
    assert_eq!(machine.write(session, 4, 4, 4), SessionOutput::Output(4));
}

#[test]
fn a_plain_command_costs_one_byte_more_than_without_sessions() {
    let plain = postcard::to_allocvec(&300_u64).expect("encodes");
    let wrapped = postcard::to_allocvec(&SessionCommand::Plain(300_u64)).expect("encodes");
    assert_eq!(wrapped.len(), plain.len() + 1);
}

#[test]
fn the_table_can_be_written_and_read_back() {
    let mut machine = Machine::default();
    let session = machine.open(Limits::default());
    machine.write(session, 1, 1, 10);
    let mut written = Vec::new();
    machine.sessions.table().write_to(&mut written).expect("memory takes it");
    written.extend(b"what follows");
    let mut rest = written.as_slice();
    let read = SessionTable::read_from(&mut rest).expect("it is as it was written");
    assert_eq!((&read, rest), (machine.sessions.table(), b"what follows".as_slice()));
}

#[test]
fn a_table_that_was_cut_off_or_damaged_is_refused() {
    let mut machine = Machine::default();
    let session = machine.open(Limits::default());
    machine.write(session, 1, 1, 10);
    let mut written = Vec::new();
    machine.sessions.table().write_to(&mut written).expect("memory takes it");
    for length in 0..written.len() {
        assert!(SessionTable::read_from(&mut &written[..length]).is_err(), "cut off at {length}");
    }
    let endless = [u64::MAX.to_le_bytes().as_slice(), &[1; 40]].concat();
    assert!(SessionTable::read_from(&mut endless.as_slice()).is_err());
    let nonsense = [10_u64.to_le_bytes().as_slice(), &[255; 10]].concat();
    assert!(SessionTable::read_from(&mut nonsense.as_slice()).is_err());
}

/// Sessions as one would write them down without caring for memory: every write that was ever applied, in a
/// list.
#[derive(Default)]
struct Naive {
    /// Session, its limits, and its last use.
    open: Vec<(u64, Limits, u64)>,
    lowest: Vec<(u64, u64)>,
    /// Session, sequence, and the answer.
    applied: Vec<(u64, u64, u64)>,
    values: Vec<u64>,
}

impl Naive {
    fn lowest(&self, session: u64) -> u64 {
        self.lowest.iter().filter(|(of, _)| *of == session).map(|(_, lowest)| *lowest).max().unwrap_or(0)
    }

    fn apply(&mut self, index: u64, command: &Command) -> Output {
        match command {
            SessionCommand::Plain(value) => {
                self.values.push(*value);
                SessionOutput::Output(self.values.len() as u64)
            }
            SessionCommand::Open(limits) => {
                while self.open.len() as u64 >= limits.sessions_max.max(1) {
                    let oldest = self.open.iter().map(|(_, _, used)| *used).min().expect("not empty");
                    self.open.retain(|(_, _, used)| *used != oldest);
                }
                self.open.push((index, *limits, index));
                SessionOutput::Opened(SessionId(index))
            }
            SessionCommand::Expire { unused_since } => {
                let before = self.open.len();
                self.open.retain(|(_, _, used)| *used >= unused_since.0);
                SessionOutput::Expired((before - self.open.len()) as u64)
            }
            SessionCommand::InSession { session, sequence, lowest_awaited, command } => {
                let Some(open) = self.open.iter_mut().find(|(id, _, _)| *id == session.0) else {
                    return refused(SessionError::SessionExpired);
                };
                open.2 = index;
                let limits = open.1;
                self.lowest.push((session.0, *lowest_awaited));
                let lowest = self.lowest(session.0);
                if *sequence < lowest {
                    return refused(SessionError::Forgotten);
                }
                let of = |(id, number, _): &&(u64, u64, u64)| *id == session.0 && *number == *sequence;
                if let Some((_, _, answer)) = self.applied.iter().find(of) {
                    return SessionOutput::Output(*answer);
                }
                if *sequence > lowest && *sequence >= lowest + limits.answers_max {
                    return refused(SessionError::TooFarAhead);
                }
                self.values.push(*command);
                let answer = self.values.len() as u64;
                self.applied.push((session.0, *sequence, answer));
                SessionOutput::Output(answer)
            }
        }
    }
}

/// Sessions are named by the place that opened them, so small numbers often hit one.
fn command() -> impl Strategy<Value = Command> {
    let limits = (1_u64..5, 1_u64..6).prop_map(|(sessions_max, answers_max)| {
        Limits::default().with_sessions_max(sessions_max).with_answers_max(answers_max)
    });
    prop_oneof![
        1 => any::<u64>().prop_map(SessionCommand::Plain),
        2 => limits.prop_map(SessionCommand::Open),
        12 => (1_u64..25, 1_u64..9, 0_u64..4, any::<u64>()).prop_map(|(session, sequence, behind, command)| {
            let lowest_awaited = sequence.saturating_sub(behind);
            SessionCommand::InSession { session: SessionId(session), sequence, lowest_awaited, command }
        }),
        1 => (0_u64..60).prop_map(|index| SessionCommand::Expire { unused_since: LogIndex(index) }),
    ]
}

proptest! {
    #[test]
    fn sessions_do_what_a_list_of_all_that_was_ever_applied_would_do(
        commands in proptest::collection::vec(command(), 0..120)
    ) {
        let mut machine = Machine::default();
        let mut naive = Naive::default();
        for command in commands {
            let expected = naive.apply(machine.last + 1, &command);
            prop_assert_eq!(machine.apply(command.clone()), expected, "{:?}", command);
        }
        prop_assert_eq!(machine.values(), &naive.values);
        prop_assert_eq!(machine.sessions.table().len(), naive.open.len());
    }
}
