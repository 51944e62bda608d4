//! Conformance suites: run them on an implementation of a seam of your own.

pub mod log_storage;
pub mod runtime;
pub mod snapshot_storage;
pub mod transport;
