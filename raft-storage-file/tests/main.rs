//! raft-storage-file's tests, one binary. Each module is named after what it holds the crate to.

mod crash;
mod damage;
mod format;
mod identity;
mod mutants;
mod snapshots;
mod suite;
