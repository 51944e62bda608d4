//! Logs: one line an event on standard error, each with the time and the node's id.

use std::{fmt, io::IsTerminal};

use raft_actor::types::NodeId;
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        format::Writer,
        time::{FormatTime, SystemTime},
    },
};

/// The beginning of every line. Events come from many threads, so the id is put here and not into a span.
struct Stamp(NodeId);

impl FormatTime for Stamp {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(writer)?;
        write!(writer, " node{}", self.0)
    }
}

/// Begins to log what `filter` lets through, on behalf of `node`. For the process's first call; later ones
/// change nothing.
pub fn start(node: NodeId, filter: &str) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_timer(Stamp(node))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // An error means that logging has begun already.
    let _ = lines.try_init();
}
