//! Seam: the application's own state, changed only by committed commands.

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};

use crate::types::LogId;

/// The application. Every node applies the same commands in the same order, so every node has the same state.
///
/// # Contract
///
/// * `apply` is deterministic: it depends on the state and the command alone, never on a clock, chance, the
///   order of a hash map, or anything outside.
/// * A command that cannot be carried out is answered by an output that says so. There is no other error.
/// * Commands are applied once each, in the order of the log, from index 1 or from the machine's restored
///   state on.
/// * Whatever the machine keeps on a disk of its own is flushed when `flush` returns: outputs of the batch
///   are answered after that.
#[async_trait]
pub trait StateMachine: Send + 'static {
    /// What a client may ask to be done. Encoded once, with postcard, at the node that the client spoke to.
    type Command: Serialize + DeserializeOwned + Send + 'static;

    /// What the client is told once it is done.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Carries out a committed command, found in the log at `id`.
    fn apply(&mut self, id: LogId, command: Self::Command) -> Self::Output;

    /// A batch has been applied, up to and including `applied`. A machine with a disk of its own flushes
    /// here; an error is final, and stops the node.
    async fn flush(&mut self, applied: LogId) -> Result<(), StateMachineError> {
        let _ = applied;
        Ok(())
    }
}

/// Why a state machine cannot go on. The node stops, and its status tells the source.
#[derive(Debug, thiserror::Error)]
#[error("the state machine has failed: {source}")]
pub struct StateMachineError {
    /// What went wrong.
    #[from]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
