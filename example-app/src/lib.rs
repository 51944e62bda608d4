//! A replicated key-value service that speaks the etcd v3 JSON API over HTTP.

pub mod api;
pub mod client;
pub mod cluster;
pub mod commands;
pub mod kv;
pub mod logs;
pub mod node;
mod replicated;
pub mod serve;
pub mod settings;
