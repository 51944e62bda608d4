//! raft-actor's tests, one binary. Each module is named after what it holds the crate to.

mod composition;
mod core;
mod dying;
mod encodings;
mod encounters;
mod endurance;
mod events;
mod exactly_once;
mod exhaustive;
mod face;
mod failures;
mod fuzz;
mod hall;
mod hanging_disks;
mod hooked;
mod identity;
mod journal;
mod linearizability;
mod machines;
mod members;
mod mutants;
mod network;
mod overload;
mod promises;
mod reads;
mod runtime;
mod scripts;
mod sessions;
mod simulation;
mod simulator;
mod snapshots;
mod starving;
mod sum;
mod tidy;
mod trace;
mod witnesses;

/// How many seeds a random test runs: as the environment variable `RAFT_ACTOR_SEEDS` says, or as many as are
/// good for every day.
fn seeds(every_day: u64) -> u64 {
    std::env::var("RAFT_ACTOR_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(every_day)
}
