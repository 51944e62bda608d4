//! The store as a state machine of raft-actor. This file is all that the store knows of Raft.

use raft_actor::{client::session::Sessions, state_machine::StateMachine, types::LogId};

use super::{Answer, Command, Kv};

/// The store with sessions around it: what a node replicates.
pub type Store = Sessions<Kv>;

impl StateMachine for Kv {
    type Command = Command;
    type Output = Answer;

    fn apply(&mut self, id: LogId, command: Command) -> Answer {
        Kv::apply(self, id.term.0, command)
    }
}
