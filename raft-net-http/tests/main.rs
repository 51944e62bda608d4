//! raft-net-http's tests, one binary.

mod links;
mod server;
mod suite;
mod wire;
