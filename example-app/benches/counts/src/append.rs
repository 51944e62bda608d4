//! The file log: entries become frames of a segment, and are flushed. It works in the caller's thread, on the
//! real disk, whose own work is not counted.

use std::sync::Arc;

use bytes::Bytes;
use raft_actor::{
    runtime::TokioRuntime,
    storage::{LogStorage, StorageError},
    types::{ClusterId, Entry, HardState, LogId, LogIndex, LogWrite, NodeId, Payload, Term},
};
use raft_storage_file::{FileLog, Identity, Options, disk::RealDisk};
use tokio::runtime::Builder;

use crate::path::check;

const TERM: Term = Term(1);

/// Writes `times` batches of `batch` entries, each durable before the next one begins.
pub(crate) fn run(times: u64, batch: u64) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let tokio = Arc::new(TokioRuntime::new(runtime.handle().clone()));
    let identity = Identity { cluster_id: ClusterId(1), node_id: NodeId(1) };
    let options = Options::default().with_seed(1);
    let written = runtime.block_on(async {
        let mut log = FileLog::open_inline(tokio, Arc::new(RealDisk), folder.path(), identity, options)?;
        log.recover().await?;
        let hard_state = Some(HardState { term: TERM, voted_for: Some(NodeId(1)), fence: None });
        log.write(&[LogWrite { hard_state, ..LogWrite::default() }]).await?;
        let payload = Payload::Command(Bytes::from_static(&[7; 128]));
        for first in (1..).step_by(batch as usize).take(times as usize) {
            let entry = |index| Entry::new(LogId::new(TERM, LogIndex(index)), payload.clone());
            let entries = (first..first + batch).map(entry).collect::<Vec<_>>().into();
            log.write(&[LogWrite { entries, ..LogWrite::default() }]).await?;
        }
        let last = LogIndex(times * batch);
        log.read(last, last, 1).await
    });
    let last = written.map_err(|error: StorageError| error.to_string())?;
    check("last entries found", last.len() as u64, 1)
}
