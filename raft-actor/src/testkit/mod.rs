//! The test kit: in-memory twins of the seams, conformance suites, and simulated clusters.

pub mod memory;
pub mod network;
pub mod suite;
