//! raft-actor's tests, one binary. Each module is named after what it holds the crate to.

mod composition;
mod core;
mod encounters;
mod face;
mod failures;
mod members;
mod network;
mod runtime;
mod simulation;
mod tidy;
