//! The test kit.

pub mod cluster;
pub mod memory;
pub mod network;
pub mod suite;
