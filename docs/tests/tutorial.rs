//! The programs of the tutorial, chapter by chapter, and of the pages after it: each a test that runs.

mod exactly_once;
mod members;
mod on_disk;
mod one_node;
mod over_http;
mod reading;
mod readme;
mod simulating;
mod snapshots;
#[expect(unreachable_pub, reason = "shown as it stands in a reader's own crate")]
mod state_machine;
mod three_nodes;
mod watching;
