//! The actors do. The cast of one node, each in a file of its own:
//!
//! * [`consensus`] owns the core: it turns mail into inputs, steps them as one batch, and carries out the
//!   effects;
//! * [`election_timer`] wakes it when the core's next deadline has come;
//! * [`replicator`], one a peer, keeps the link to that peer and sends what the core wants sent;
//! * [`log_store`] alone writes and reads the log, a group of writes a flush;
//! * [`applier`] alone holds the state machine;
//! * [`snapshotter`] writes, sends and receives snapshots.
//!
//! Beside them: [`waiter`], a client that waits for its write; [`writes`], [`reads`] and [`changes`], what
//! the consensus actor remembers of writes, reads and changes of members under way; [`links`], its
//! replicators; [`watchers`], who is told what happens.
//!
//! Mail between them carries batches. None of them decides anything that Raft has a rule for.

pub(crate) mod applier;
pub(crate) mod changes;
pub(crate) mod consensus;
pub(crate) mod election_timer;
pub(crate) mod links;
pub(crate) mod log_store;
pub(crate) mod reads;
pub(crate) mod replicator;
pub(crate) mod snapshotter;
pub(crate) mod waiter;
pub(crate) mod watchers;
pub(crate) mod writes;
