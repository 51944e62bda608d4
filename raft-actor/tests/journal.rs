//! The state machine of tests that look at the order in which things were done.

use std::io;

use raft_actor::{
    state_machine::{StateMachine, StateMachineError},
    types::{LogId, SnapshotView},
};

/// Remembers every value in the order in which it was applied; the output is how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) values: Vec<u64>,
}

impl StateMachine for Journal {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, value: u64) -> u64 {
        self.values.push(value);
        self.values.len() as u64
    }

    fn snapshot(&self) -> Option<SnapshotView> {
        let values = self.values.clone();
        Some(Box::new(move |into| {
            let bytes = postcard::to_allocvec(&values).map_err(io::Error::other)?;
            into.write_all(&bytes)
        }))
    }

    fn restore(&mut self, from: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let failed = |source| StateMachineError { source };
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(|error| failed(error.into()))?;
        self.values = postcard::from_bytes(&bytes).map_err(|error| failed(error.into()))?;
        Ok(())
    }
}
