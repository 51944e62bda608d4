//! A number that stands for a whole run: two runs of the same seed that did not do the same differ in it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::trace::Trace;

/// The hash of the traces of any number of nodes, line by line in the order in which they come. Clones are
/// the same hash.
#[derive(Clone, Debug)]
pub struct TraceHash(Arc<Mutex<u64>>);

impl TraceHash {
    /// Of nothing yet.
    pub fn new() -> TraceHash {
        TraceHash(Arc::new(Mutex::new(0xcbf2_9ce4_8422_2325)))
    }

    /// A trace that is counted in. For [`Cluster::observe`](super::cluster::Cluster::observe), or a node's
    /// builder.
    pub fn trace(&self) -> Trace {
        let hash = self.clone();
        Trace::new(move |line| hash.add(line))
    }

    /// FNV-1a, 64 bits: the same on every machine and with every version of the compiler.
    fn add(&self, line: &str) {
        let mut hash = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in line.bytes().chain([b'\n']) {
            *hash = (*hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Of all that has come so far.
    pub fn value(&self) -> u64 {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for TraceHash {
    fn default() -> TraceHash {
        TraceHash::new()
    }
}
