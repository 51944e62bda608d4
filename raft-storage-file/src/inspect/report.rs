//! What is told about a folder.

use std::path::PathBuf;

use raft_actor::{
    storage::StorageError,
    types::{ClusterId, HardState, LogId, LogIndex, NodeId, Term},
};
use serde::Serialize;

/// All stores and snapshots of a node's folder.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Logs, with term and vote.
    pub stores: Vec<StoreReport>,
    /// Snapshots, also those that are not finished.
    pub snapshots: Vec<SnapshotReport>,
}

impl Report {
    /// The worst of all verdicts.
    pub fn verdict(&self) -> Verdict {
        let stores = self.stores.iter().map(|store| &store.verdict);
        let all = stores.chain(self.snapshots.iter().map(|snapshot| &snapshot.verdict));
        all.max_by_key(|verdict| verdict.exit_code()).cloned().unwrap_or(Verdict::Whole)
    }
}

/// What opening it would come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// It opens, with everything that was written.
    Whole,
    /// It opens, and leaves out bytes that provably were never acknowledged.
    Torn {
        /// Where they are.
        file: PathBuf,
        /// From where on, in bytes.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// A crash came before it was finished. What it was to be is made anew.
    Unfinished,
    /// It is refused: a file holds what nobody wrote there, or is gone.
    Damaged {
        /// The file, or the folder that it is missing from.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What was found, which entries it is about, and what to do.
        detail: String,
    },
    /// It could not be looked at: it is in use, of another program, or the system refused.
    Unknown {
        /// Why.
        detail: String,
    },
}

impl Verdict {
    /// For a process that tells it: 0 whole or unfinished, 1 torn, 2 damaged, 3 unknown.
    pub fn exit_code(&self) -> u8 {
        match self {
            Verdict::Whole | Verdict::Unfinished => 0,
            Verdict::Torn { .. } => 1,
            Verdict::Damaged { .. } => 2,
            Verdict::Unknown { .. } => 3,
        }
    }
}

impl From<StorageError> for Verdict {
    fn from(error: StorageError) -> Verdict {
        match error {
            StorageError::Corrupt { path, offset, detail } => Verdict::Damaged { file: path, offset, detail },
            other => Verdict::Unknown { detail: other.to_string() },
        }
    }
}

/// A log, with term and vote.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StoreReport {
    /// Its folder.
    pub folder: PathBuf,
    /// What opening it would come to.
    pub verdict: Verdict,
    /// Whose it is. None where that cannot be read.
    pub owner: Option<Owner>,
    /// Term, vote, and what the log holds. None where it is damaged.
    pub content: Option<Content>,
    /// Each segment by itself, in order.
    pub segments: Vec<SegmentReport>,
    /// What opening it would mend.
    pub mends: Vec<String>,
}

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Owner {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node.
    pub node_id: NodeId,
}

/// What a log that can be believed holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Content {
    /// Term and vote.
    pub hard_state: HardState,
    /// The last entry that was let go of.
    pub purged: LogId,
    /// The last entry.
    pub last: LogId,
}

/// One segment, by itself.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct SegmentReport {
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its id.
    pub id: u64,
    /// The index that comes first in it.
    pub first_index: LogIndex,
    /// Whether it names the one that follows it.
    pub sealed: bool,
    /// Its whole frames.
    pub frames: u64,
    /// The entries in them, also those that were replaced later.
    pub entries: u64,
    /// What in it is no frame, and not the zeros at its end.
    pub damaged: Vec<Damage>,
    /// Why nothing is told of its content.
    pub unreadable: Option<String>,
}

/// A place in a segment that holds no frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// Where, in bytes.
    pub offset: u64,
    /// How many bytes, in whole blocks.
    pub bytes: u64,
    /// What is wrong.
    pub what: String,
    /// The first index that may have stood there.
    pub first_lost: LogIndex,
    /// The last one. None where nothing behind it tells.
    pub last_lost: Option<LogIndex>,
}

impl Damage {
    pub(super) fn up_to(self, next: LogIndex) -> Damage {
        Damage { last_lost: Some(next.previous()), ..self }
    }
}

/// One snapshot.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SnapshotReport {
    /// The file.
    pub file: PathBuf,
    /// Whether all of it is as it was written.
    pub verdict: Verdict,
    /// Whose it is. None where it is not whole.
    pub owner: Option<Owner>,
    /// The last entry that it covers. None where it is not whole.
    pub last: Option<LogId>,
    /// The bytes of the state in it.
    pub size_bytes: u64,
}

/// A line of a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Record {
    /// A frame.
    Frame {
        /// The segment.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// Its number.
        number: u64,
        /// The highest number whose flush had returned when it was written.
        flushed: u64,
        /// What it does.
        kind: &'static str,
        /// The index of its first entry; of a mark, the next one's.
        first_index: LogIndex,
        /// How many entries.
        entries: u32,
        /// The last entry that was let go of before it.
        purged: LogId,
    },
    /// An entry of the frame before.
    Entry {
        /// The segment.
        file: PathBuf,
        /// Where its frame begins.
        offset: u64,
        /// Its index.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// No-op, command or membership.
        kind: &'static str,
        /// A command's bytes in hexadecimal; a membership in words.
        payload: String,
    },
    /// A place that holds no frame.
    Damage {
        /// The segment.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// How many bytes, in whole blocks.
        bytes: u64,
        /// What is wrong.
        what: String,
    },
}
