#![doc = include_str!("../README.md")]
//!
//! # Modules, in reading order
//!
//! * The words are [`types`], [`membership`] and [`message`].
//! * Plain data at the edges: [`config`], [`error`] and [`status`].
//! * The seams are [`storage`], [`state_machine`], [`transport`] and [`runtime`].
//! * The core, which decides, is [`core`].
//! * [`node`] composes the actors, which do, and is the handle that writes and reads.

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

// Does.
pub(crate) mod actors;
pub(crate) mod lifecycle;
pub mod node;

// For users of actix, and for tests.
#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "testkit")]
pub mod testkit;
