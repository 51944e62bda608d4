//! raft-actor: replicated applications from actors around a pure Raft core.

#[cfg(feature = "actix")]
pub mod actix;
pub(crate) mod actors;
pub mod config;
pub mod core;
pub mod error;
pub(crate) mod lifecycle;
pub mod membership;
pub mod message;
pub mod node;
pub mod runtime;
pub mod state_machine;
pub mod status;
pub mod storage;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod transport;
pub mod types;
