//! The test kit.

pub mod cluster;
pub mod cores;
mod fnv;
#[cfg(feature = "mutants")]
pub mod hunt;
pub mod invariants;
pub mod linearizability;
pub mod memory;
pub mod network;
mod panicked;
pub mod script;
pub mod search;
pub mod simulation;
pub mod suite;
pub mod trace_hash;
