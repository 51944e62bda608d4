//! Seam: the application's own state, changed only by committed commands.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use postcard::experimental::serialized_size;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::types::{LogId, SnapshotView};

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
/// * `snapshot` and `restore` go together: what one writes the other reads, on any node.
/// * A view shows the state as it was when `snapshot` was called, whatever is applied afterwards.
/// * `restore` replaces the whole state: nothing of the state before is left.
/// * `encode_command` and `decode_command` go together: what one has written the other reads, on any node,
///   and after any update of the application, as long as it is in a log.
#[async_trait]
pub trait StateMachine: Send + 'static {
    /// What a client may ask to be done. Encoded once, at the node that the client spoke to.
    type Command: Serialize + DeserializeOwned + Send + 'static;

    /// What the client is told once it is done.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Carries out a committed command, found in the log at `id`.
    fn apply(&mut self, id: LogId, command: Self::Command) -> Self::Output;

    /// A command as it stands in the log and travels between nodes. Default: by postcard. An application
    /// whose commands are bytes already, or have an encoding of their own, hands them over here; what it
    /// gives stays in memory while the log's cache holds it, with all that it is a part of. A write whose
    /// command cannot be encoded is refused.
    fn encode_command(command: &Self::Command) -> Result<Bytes, StateMachineError> {
        encode(command, &[])
    }

    /// Reads what [`StateMachine::encode_command`] has written. A write that another node has carried to the
    /// leader is refused where this fails; an entry of the log that cannot be read stops the node. `bytes`
    /// may be a part of something much larger, which stays in memory as long as a clone or a slice of it
    /// does: copy what the state keeps.
    fn decode_command(bytes: &Bytes) -> Result<Self::Command, StateMachineError> {
        postcard::from_bytes(bytes).map_err(|error| StateMachineError { source: error.into() })
    }

    /// A batch has been applied, up to and including `applied`. A machine with a disk of its own flushes
    /// here; an error is final, and stops the node.
    async fn flush(&mut self, applied: LogId) -> Result<(), StateMachineError> {
        let _ = applied;
        Ok(())
    }

    /// A consistent view of the state as it is now, to be written out on another thread while commands go on.
    /// It should be made quickly: commands wait for it. Default: `None`, this machine has no snapshots, so
    /// its log is never compacted.
    fn snapshot(&self) -> Option<SnapshotView> {
        None
    }

    /// Replaces the whole state by what a view has written. An error is final, and stops the node.
    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let _ = reader;
        let source = "a snapshot was to be restored, but this state machine has no snapshots";
        Err(StateMachineError { source: source.into() })
    }
}

/// `value` by postcard, and `behind` after it. In just as much memory as both take: the log holds it for a
/// while, and so do its copies on the way.
pub(crate) fn encode(value: &impl Serialize, behind: &[u8]) -> Result<Bytes, StateMachineError> {
    let mut encoded = serialized_size(value)
        .and_then(|bytes| postcard::to_extend(value, Vec::with_capacity(bytes + behind.len())))
        .map_err(|error| StateMachineError { source: error.into() })?;
    encoded.extend_from_slice(behind);
    Ok(encoded.into())
}

/// The state machine of a witness: it holds nothing, so there is nothing to read from it. The builder makes
/// it ([`Node::witness`](crate::node::Node::witness)), and it takes the commands of any application.
#[derive(Debug)]
pub struct Witness(());

/// A command that a witness has passed over. Nobody can make one, so nothing can be written through a
/// witness.
#[derive(Debug, Serialize, Deserialize)]
pub struct PassedOver(());

impl Witness {
    pub(crate) fn new() -> Witness {
        Witness(())
    }
}

#[async_trait]
impl StateMachine for Witness {
    type Command = PassedOver;
    type Output = ();

    fn apply(&mut self, _: LogId, _: PassedOver) {}

    fn snapshot(&self) -> Option<SnapshotView> {
        Some(Box::new(|_| Ok(())))
    }

    fn restore(&mut self, _: &mut dyn io::Read) -> Result<(), StateMachineError> {
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
