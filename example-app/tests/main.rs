//! Real processes, real files, real connections.

mod bad_input;
mod basics;
mod compaction;
mod consistency;
mod disasters;
mod events;
mod exactly_once;
mod fuzz;
mod hanging;
mod harness;
mod leader_loss;
mod lifecycle;
mod membership;
mod old_versions;
mod simulate;
mod snapshots;
mod torture;
mod witness;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_example-app");
