//! raft-net-http's tests, one binary.

mod fuzz;
mod hung;
mod links;
mod server;
mod suite;
mod wire;
