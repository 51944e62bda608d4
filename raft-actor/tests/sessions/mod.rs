//! Exactly once: the table of sessions, the client that uses it, and whole clusters under faults.

mod client;
mod faults;
mod table;

use raft_actor::{state_machine::StateMachine, types::LogId};

/// Remembers every value in the order in which it was applied; the output is how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Journal {
    values: Vec<u64>,
}

impl StateMachine for Journal {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, value: u64) -> u64 {
        self.values.push(value);
        self.values.len() as u64
    }
}
