//! The test kit.

pub mod cluster;
pub mod cores;
#[cfg(feature = "mutants")]
pub mod hunt;
pub mod invariants;
pub mod linearizability;
pub mod memory;
pub mod network;
pub mod script;
pub mod search;
pub mod simulation;
pub mod suite;
pub mod trace_hash;
