//! The store as a state machine of raft-actor. This file is all that the store knows of Raft.

use std::io;

use async_trait::async_trait;
use raft_actor::{
    client::session::Sessions,
    state_machine::{StateMachine, StateMachineError},
    types::{LogId, SnapshotView},
};

use super::{Answer, Command, Kv};

/// The store with sessions around it: what a node replicates.
pub type Store = Sessions<Kv>;

#[async_trait]
impl StateMachine for Kv {
    type Command = Command;
    type Output = Answer;

    fn apply(&mut self, id: LogId, command: Command) -> Answer {
        Kv::apply(self, id.term.0, command)
    }

    /// Nothing is flushed: what is on the disk is made anew at each start. But what was answered without a
    /// version that could not be read must not be told.
    async fn flush(&mut self, _: LogId) -> Result<(), StateMachineError> {
        self.check_archive().map_err(|error| StateMachineError { source: error.into() })
    }

    fn snapshot(&self) -> Option<SnapshotView> {
        let view = self.clone();
        Some(Box::new(move |writer| view.write_to(writer)))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let restored = Kv::read_from(reader, self.keys.archive.clone());
        *self = restored.map_err(|error| StateMachineError { source: error.into() })?;
        Ok(())
    }
}
