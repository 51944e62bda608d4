#![doc = include_str!("../README.md")]
//!
//! # Modules, in reading order
//!
//! - [`types`], [`membership`], [`message`]: the words.
//! - [`config`], [`error`], [`status`]: plain data at the edges.
//! - [`storage`], [`state_machine`], [`transport`], [`runtime`]: the seams.
//! - [`core`] decides; an [`observer`] may watch it, and a [`trace`] records what it did.
//! - [`events`]: what happens to a node, for those who ask.
//! - [`node`]: composes the actors, which do, and is the handle that writes and reads.
//! - [`mutants`]: bugs that a test build can put back, to prove that the tests find them.
//! - [`client`]: follows the leader, and writes exactly once.

// The words.
pub mod membership;
pub mod message;
pub mod types;

// Plain data at the edges.
pub mod config;
pub mod error;
pub mod status;

// The seams.
pub mod runtime;
pub mod state_machine;
pub mod storage;
pub mod transport;

// Decides.
pub mod core;
pub(crate) mod notation;
pub mod observer;
pub mod trace;

// Bugs, to be put back by tests.
pub mod mutants;

// Does.
pub(crate) mod actors;
pub mod events;
pub(crate) mod lifecycle;
pub mod node;

// For applications.
pub mod client;

// For users of actix, and for tests.
#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "testkit")]
pub mod testkit;
