//! raft-storage-file's tests, one binary. Each module is named after what it holds the crate to.

mod crash;
mod damage;
mod faults;
mod format;
mod fuzz;
mod identity;
mod mutants;
mod past_cache;
mod reading;
mod recycle;
mod repair;
mod requirements;
mod simulator;
mod snapshots;
mod suite;
mod survivor;
mod tool;
