//! The test kit.

pub mod cluster;
pub mod cores;
pub mod invariants;
pub mod memory;
pub mod network;
pub mod script;
pub mod search;
pub mod suite;
pub mod trace_hash;
