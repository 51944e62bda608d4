//! The counter that can be undone, as it was before anybody thought of snapshots.

// ANCHOR: counter
use raft_actor::{state_machine::StateMachine, types::LogId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default)]
pub struct Counter {
    pub value: i64,
    /// What `Undo` goes back to.
    before: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Change {
    Add(i64),
    Undo,
}

impl StateMachine for Counter {
    type Command = Change;
    type Output = i64;

    fn apply(&mut self, _id: LogId, change: Change) -> i64 {
        match change {
            Change::Add(amount) => {
                self.before = self.value;
                self.value = self.value.saturating_add(amount);
            }
            Change::Undo => self.value = self.before,
        }
        self.value
    }
}
// ANCHOR_END: counter
