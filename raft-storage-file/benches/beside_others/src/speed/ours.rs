//! The file log, in the two ways in which it runs.

use std::{path::Path, sync::Arc};

use raft_actor::{
    runtime::TokioRuntime,
    storage::LogStorage,
    types::{ClusterId, Entry, HardState, LogId, LogIndex, LogState, LogWrite, NodeId, Payload, Term},
};
use raft_storage_file::{FileLog, Identity, Options, disk::RealDisk};
use tokio::runtime::{Builder, Runtime};

use super::Log;
use crate::material::Material;

const TERM: Term = Term(1);
pub(crate) const IDENTITY: Identity = Identity { cluster_id: ClusterId(1), node_id: NodeId(1) };

pub(crate) struct Ours {
    pub(crate) log: FileLog,
    pub(crate) runtime: Runtime,
    pub(crate) last: LogIndex,
    writes: Vec<LogWrite>,
    /// Whether each entry is a write of its own, as when each comes from another client.
    pub(crate) one_by_one: bool,
}

impl Ours {
    /// With a thread of its own, and awaited from a runtime such as a node lives on.
    pub(crate) fn threaded(folder: &Path, options: Options) -> Result<(Ours, LogState), String> {
        let log = FileLog::open_with(folder, IDENTITY, options).map_err(|error| error.to_string())?;
        Ours::recover(log, runtime()?)
    }

    /// All in the caller's thread. Segments are larger than what is written, since without a thread nobody
    /// makes the next one ready meanwhile.
    pub(crate) fn inline(folder: &Path) -> Result<(Ours, LogState), String> {
        let options = Options::default().with_segment_bytes(256 << 20);
        let runtime = runtime()?;
        let tokio = Arc::new(TokioRuntime::new(runtime.handle().clone()));
        let log = FileLog::open_inline(tokio, Arc::new(RealDisk), folder, IDENTITY, options);
        Ours::recover(log.map_err(|error| error.to_string())?, runtime)
    }

    fn recover(mut log: FileLog, runtime: Runtime) -> Result<(Ours, LogState), String> {
        let state = runtime.block_on(log.recover()).map_err(|error| error.to_string())?;
        let last = state.last.index;
        let mut ours = Ours { log, runtime, last, writes: Vec::new(), one_by_one: false };
        if state.hard_state.term < TERM {
            ours.vote(TERM.0, 1)?;
        }
        Ok((ours, state))
    }

    pub(crate) fn vote(&mut self, term: u64, node: u64) -> Result<(), String> {
        let hard_state = Some(HardState { term: Term(term), voted_for: Some(NodeId(node)), fence: None });
        self.writes = vec![LogWrite { hard_state, ..LogWrite::default() }];
        self.append()
    }

    /// The next `prepare` replaces the last entry.
    pub(crate) fn replace_last(&mut self) {
        let from = self.last;
        if let Some(write) = self.writes.first_mut() {
            write.truncate_from = Some(from);
        }
    }

    pub(crate) fn back_to(&mut self, index: LogIndex) {
        self.last = index;
    }

    pub(crate) fn purge(&mut self, index: u64) -> Result<(), String> {
        let through = LogId::new(TERM, LogIndex(index));
        self.runtime.block_on(self.log.purge(through)).map_err(|error| error.to_string())
    }

    /// Reads all from `first` to `last`, and answers how many bytes of payload that was.
    pub(crate) fn read(&mut self, first: u64, last: u64, bytes_max: u64) -> Result<usize, String> {
        let (mut next, mut bytes) = (first, 0);
        while next <= last {
            let read = self.log.read(LogIndex(next), LogIndex(last), bytes_max);
            let entries = self.runtime.block_on(read).map_err(|error| error.to_string())?;
            for entry in entries.iter() {
                if let Payload::Command(command) = &entry.payload {
                    bytes += command.len();
                }
            }
            next += entries.len() as u64;
        }
        Ok(bytes)
    }
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

impl Log for Ours {
    fn prepare(&mut self, material: &Material, count: usize, bytes: usize) {
        let entry = |index: u64| {
            let payload = Payload::Command(material.payload(index, bytes));
            Entry::new(LogId::new(TERM, LogIndex(index)), payload)
        };
        let entries = (self.last.0 + 1..).take(count).map(entry).collect::<Vec<_>>();
        let each = if self.one_by_one { 1 } else { count };
        let write = |entries: &[Entry]| LogWrite { entries: entries.to_vec().into(), ..LogWrite::default() };
        self.writes = entries.chunks(each).map(write).collect();
        self.last = LogIndex(self.last.0 + count as u64);
    }

    fn append(&mut self) -> Result<(), String> {
        self.runtime.block_on(self.log.write(&self.writes)).map_err(|error| error.to_string())
    }
}
