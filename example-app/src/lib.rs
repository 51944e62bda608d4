//! A replicated key-value service that speaks the etcd v3 JSON API over HTTP.

pub mod api;
pub mod client;
pub mod kv;
pub mod settings;
