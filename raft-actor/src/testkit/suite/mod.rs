//! Conformance suites: run them on an implementation of a seam of your own.

pub mod runtime;
pub mod log_storage;
