//! What is fuzzed here, as plain functions: the fuzzer calls them, and so does a test with the corpus.

use raft_actor::{
    client::session::{Limits, SessionCommand, SessionId, SessionTable, Sessions},
    state_machine::{StateMachine, StateMachineError},
    testkit::script,
    types::{LogId, LogIndex, SnapshotView, Term},
};

/// The table of sessions in a snapshot: it is refused, or it is written as it was read, and the next
/// commands can be applied to it.
pub(crate) fn session_table(bytes: &[u8]) {
    read_table(bytes);
    // As it is behind the length that it must have: chance seldom finds that.
    let mut framed = (bytes.len() as u64).to_le_bytes().to_vec();
    framed.extend_from_slice(bytes);
    read_table(&framed);
}

fn read_table(mut bytes: &[u8]) {
    let Ok(table) = SessionTable::read_from(&mut bytes) else { return };
    let mut written = Vec::new();
    table.write_to(&mut written).expect("a table that was read can be written");
    assert_eq!(SessionTable::read_from(&mut &written[..]).expect("and read again"), table);
    let mut sessions = Sessions::new(Nothing);
    sessions.restore(&mut &written[..]).expect("the table is sound");
    for (at, session) in (1000..).zip([0, 1, 2, 3, 5, 300]) {
        let session = SessionId(session);
        for sequence in [1, 2, 7] {
            let in_session =
                SessionCommand::InSession { session, sequence, lowest_awaited: sequence, command: 1 };
            sessions.apply(LogId::new(Term(9), LogIndex(at)), in_session);
        }
    }
    sessions.apply(LogId::new(Term(9), LogIndex(2000)), SessionCommand::Open(Limits::default()));
    sessions
        .apply(LogId::new(Term(9), LogIndex(2001)), SessionCommand::Expire { unused_since: LogIndex(1500) });
}

/// A state machine without a state.
struct Nothing;

impl StateMachine for Nothing {
    type Command = u8;
    type Output = u8;

    fn apply(&mut self, _: LogId, command: u8) -> u8 {
        command
    }

    fn snapshot(&self) -> Option<SnapshotView> {
        Some(Box::new(|_| Ok(())))
    }

    fn restore(&mut self, _: &mut dyn std::io::Read) -> Result<(), StateMachineError> {
        Ok(())
    }
}

/// A script: it is carried out, or refused with the line that is wrong.
pub(crate) fn script(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Hours that pass are only slow, and what a script is about is how it is read.
    let is_long = |word: &str| word.bytes().filter(u8::is_ascii_digit).count() > 3;
    if text.split_whitespace().any(is_long) || text.matches("pass").count() > 3 {
        return;
    }
    if let Err(error) = script::run("fuzz", text) {
        assert!((1..=text.lines().count()).contains(&error.line), "{error}");
        assert!(!error.what.is_empty());
    }
}
