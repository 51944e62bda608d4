//! The state machine of tests that need nothing special of one.

use std::io;

use raft_actor::{
    state_machine::{StateMachine, StateMachineError},
    types::{LogId, SnapshotView},
};

/// Adds up what it is given, so it notices what comes twice; and has snapshots.
#[derive(Default)]
pub(crate) struct Sum(pub(crate) u64);

impl StateMachine for Sum {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, value: u64) -> u64 {
        self.0 += value;
        self.0
    }

    fn snapshot(&self) -> Option<SnapshotView> {
        let bytes = self.0.to_le_bytes();
        Some(Box::new(move |writer| writer.write_all(&bytes)))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes).map_err(|error| StateMachineError { source: error.into() })?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}
