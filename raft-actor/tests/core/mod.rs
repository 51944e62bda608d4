//! The core against the paper: scenarios one by one, properties at random, and schedules of whole clusters.

mod cluster;
mod departures;
mod elections;
mod figures;
mod hostile;
pub(crate) mod identity;
mod leases;
mod limits;
mod members;
mod membership;
mod one;
mod properties;
mod reading;
mod replicating;
pub(crate) mod schedule;
mod snapshots;
pub(crate) mod standing;
