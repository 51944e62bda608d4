//! raft-actor's tests, one binary. Each module is named after what it holds the crate to.

mod composition;
mod core;
mod encounters;
mod endurance;
mod exhaustive;
mod face;
mod failures;
mod network;
mod reads;
mod runtime;
mod scripts;
mod sessions;
mod simulation;
mod starving;
mod tidy;
