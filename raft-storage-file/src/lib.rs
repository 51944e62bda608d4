#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! A Raft log and hard state in a folder of checksummed, preallocated segments.
//!
//! [`FileLog`] is the [`LogStorage`](raft_actor::storage::LogStorage) that a node on a real machine uses.
//! Its first duty is to be honest: what it has acknowledged is found again, or opening fails with a
//! sentence that names the file and the offset. Only what provably was never acknowledged is cut off.
//!
//! It runs on Unix systems, whose calls it makes.
//!
//! In reading order: [`layout`] names the files, `frame` is the record on the disk, `segment` is one file
//! of frames, `window` the part of a file that is read at once, `hard_state` and `identity` are the two
//! small files beside them, `recovery` decides what a folder says after a crash, `store` does the work of
//! one open folder, `past_cache` is how it writes frames, from `aligned` memory, `writer` is the thread on
//! which all of it happens (`inline` does without one, for simulators), and `log` is the face to the outside.
//! Every access to files goes through the [`disk`] seam. The format is described byte by byte in the book,
//! under "File format".

mod aligned;
mod checksum;
pub mod disk;
mod error;
mod frame;
mod hard_state;
mod identity;
mod inline;
pub mod inspect;
pub mod layout;
mod log;
mod options;
mod past_cache;
mod plan;
mod read;
mod recovery;
mod replay;
mod scan;
mod segment;
#[cfg(feature = "testkit")]
pub mod simulation;
mod snapshot;
mod spare;
mod spares;
mod store;
mod window;
mod writer;

pub use identity::Identity;
pub use log::FileLog;
pub use options::Options;
pub use snapshot::FileSnapshots;
