//! A number that stands for a whole run: two runs of the same seed that did not do the same differ in it.

use std::sync::{Arc, Mutex, PoisonError};

use super::fnv::Fnv;
use crate::trace::Trace;

/// The hash of the traces of any number of nodes, line by line in the order in which they come. Clones are
/// the same hash.
#[derive(Clone, Debug)]
pub struct TraceHash(Arc<Mutex<Fnv>>);

impl TraceHash {
    /// Of nothing yet.
    pub fn new() -> TraceHash {
        TraceHash(Arc::new(Mutex::new(Fnv::new())))
    }

    /// A trace that is counted in. For [`Cluster::observe`](super::cluster::Cluster::observe), or a node's
    /// builder.
    pub fn trace(&self) -> Trace {
        let hash = self.clone();
        Trace::new(move |line| hash.add(line))
    }

    fn add(&self, line: &str) {
        let mut hash = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hash.add(line.as_bytes());
        hash.add(b"\n");
    }

    /// Of all that has come so far.
    pub fn value(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).value()
    }
}

impl Default for TraceHash {
    fn default() -> TraceHash {
        TraceHash::new()
    }
}
