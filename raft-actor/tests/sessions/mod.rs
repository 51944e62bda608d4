//! Exactly once: the table of sessions, the client that uses it, and whole clusters under faults.

mod client;
mod faults;
mod table;
