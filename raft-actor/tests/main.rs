//! raft-actor's tests, one binary. Each module is named after what it holds the crate to.

mod composition;
mod core;
mod exhaustive;
mod face;
mod failures;
mod network;
mod runtime;
mod scripts;
mod simulation;
mod tidy;
