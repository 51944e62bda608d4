//! The counter with snapshots that hold all of it.

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
        let state = [self.value, self.before];
        Some(Box::new(move |writer| {
            state.iter().try_for_each(|number| writer.write_all(&number.to_le_bytes()))
        }))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let mut number = || {
            let mut bytes = [0; 8];
            reader.read_exact(&mut bytes).map_err(|error| StateMachineError { source: error.into() })?;
            Ok::<i64, StateMachineError>(i64::from_le_bytes(bytes))
        };
        // Every field is named: one that is added and forgotten here does not compile.
        *self = Counter { value: number()?, before: number()? };
        Ok(())
    }
    // ANCHOR_END: snapshots
}
