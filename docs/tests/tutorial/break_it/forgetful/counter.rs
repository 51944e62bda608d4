//! The counter with snapshots. There is a mistake in it.

use std::io;

use raft_actor::{
    state_machine::{StateMachine, StateMachineError},
    types::{LogId, SnapshotView},
};

pub use super::super::plain::counter::Change;

#[derive(Debug, Default)]
pub struct Counter {
    pub value: i64,
    before: i64,
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

    // ANCHOR: snapshots
    fn snapshot(&self) -> Option<SnapshotView> {
        let value = self.value;
        Some(Box::new(move |writer| writer.write_all(&value.to_le_bytes())))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let mut value = [0; 8];
        reader.read_exact(&mut value).map_err(|error| StateMachineError { source: error.into() })?;
        self.value = i64::from_le_bytes(value);
        Ok(())
    }
    // ANCHOR_END: snapshots
}
