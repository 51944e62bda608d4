#![doc = include_str!("../README.md")]

pub mod api;
pub mod client;
pub mod cluster;
pub mod commands;
pub mod compaction;
pub mod kv;
pub mod logs;
pub mod node;
pub mod recover;
mod replicated;
#[cfg(target_os = "linux")]
mod scheduling;
pub mod serve;
pub mod settings;
pub mod trace;
