//! The user's state machine as the simulation runs it: with sessions around it, and reporting what it
//! answers.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;

use super::{watched::Owner, workload::Workload};
use crate::{
    client::session::{SessionCommand, SessionOutput, Sessions},
    state_machine::{StateMachine, StateMachineError},
    testkit::fnv::Fnv,
    types::{LogId, LogIndex, Payload, SnapshotView},
};

/// A workload's state machine on a node.
pub(super) struct Witness<W: Workload> {
    sessions: Sessions<W::Machine>,
    owner: Owner,
    /// The last command that it has seen.
    applied: LogIndex,
}

impl<W: Workload> Witness<W> {
    pub(super) fn new(machine: W::Machine, owner: Owner) -> Witness<W> {
        Witness { sessions: Sessions::new(machine), owner, applied: LogIndex(0) }
    }

    /// The last command that it has seen, and the machine within.
    pub(super) fn state(&self) -> (LogIndex, &W::Machine) {
        (self.applied, self.sessions.machine())
    }
}

/// A number for what was said: of equal outputs, equal ones.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    let mut hash = Fnv::new();
    hash.add(bytes);
    hash.value()
}

#[async_trait]
impl<W: Workload> StateMachine for Witness<W> {
    type Command = SessionCommand<<W::Machine as StateMachine>::Command>;
    type Output = SessionOutput<<W::Machine as StateMachine>::Output>;

    fn encode_command(command: &Self::Command) -> Result<Bytes, StateMachineError> {
        Sessions::<W::Machine>::encode_command(command)
    }

    fn decode_command(bytes: &Bytes) -> Result<Self::Command, StateMachineError> {
        Sessions::<W::Machine>::decode_command(bytes)
    }

    fn apply(&mut self, id: LogId, command: Self::Command) -> Self::Output {
        let output = self.sessions.apply(id, command);
        self.applied = id.index;
        let encoded = postcard::to_allocvec(&output).unwrap_or_default();
        self.owner.watch.applied(self.owner.node, id, digest(&encoded), |payload| {
            let Some(Payload::Command(bytes)) = payload else { return format!("by {output:?}") };
            let command = Self::decode_command(bytes);
            command.map_or_else(|error| error.to_string(), |command| format!("{command:?}, by {output:?}"))
        });
        output
    }

    async fn flush(&mut self, applied: LogId) -> Result<(), StateMachineError> {
        self.owner.flush_machine().await;
        self.sessions.flush(applied).await
    }

    fn snapshot(&self) -> Option<SnapshotView> {
        let (view, applied) = (self.sessions.snapshot()?, self.applied);
        Some(Box::new(move |writer| {
            writer.write_all(&applied.0.to_le_bytes())?;
            view(writer)
        }))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let mut applied = [0; 8];
        reader.read_exact(&mut applied).map_err(|error| StateMachineError { source: error.into() })?;
        self.sessions.restore(reader)?;
        self.applied = LogIndex(u64::from_le_bytes(applied));
        Ok(())
    }
}
