//! raft-actor's tests, one binary. Each module is named after what it holds the crate to.

mod composition;
mod core;
mod encounters;
mod endurance;
mod face;
mod failures;
mod network;
mod runtime;
mod sessions;
mod simulation;
mod starving;
mod tidy;
