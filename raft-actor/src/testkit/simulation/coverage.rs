//! What runs have done, counted: a run that finds nothing must have looked.

use std::{collections::BTreeMap, fmt, time::Duration};

/// Counts by name. The names of faults are those of [`FaultKind`](super::FaultKind).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
    simulated: Duration,
}

/// Runs.
pub const RUNS: &str = "runs";
/// Writes that were acknowledged.
pub const ACKNOWLEDGED: &str = "writes acknowledged";
/// Of them, those made in sessions.
pub const IN_SESSIONS: &str = "of them in sessions";
/// Writes whose outcome nobody knows.
pub const UNKNOWN: &str = "writes of unknown outcome";
/// Writes that were refused.
pub const REFUSED: &str = "writes refused";
/// Reads that were answered.
pub const READS: &str = "reads answered";
/// Reads that were not.
pub const READS_REFUSED: &str = "reads refused";
/// Elections that were won.
pub const ELECTIONS: &str = "elections won";
/// Entries that were committed.
pub const COMMITTED: &str = "entries committed";
/// Snapshots that nodes took.
pub const SNAPSHOTS: &str = "snapshots taken";
/// Snapshots that nodes were sent.
pub const INSTALLED: &str = "snapshots installed";
/// Changes of the members that were committed.
pub const MEMBERSHIP_CHANGES: &str = "membership changes";
/// Steps of cores, after each of which all invariants were checked.
pub const STEPS: &str = "steps checked";
/// Starts of nodes on what their disks had kept.
pub const STARTS: &str = "starts of nodes";
/// Nodes that did not start, or stopped, because of their disks, as they should.
pub const REFUSED_DISKS: &str = "nodes that refused their disks";
/// Of them, those that stopped because their disks were full.
pub const FULL_DISKS: &str = "of them on a full disk";
/// Priorities that members were given.
pub const PRIORITIES: &str = "priorities of members changed";
/// Nodes that came back with a damaged log that was repaired: without what had stood from the damage on.
pub const REPAIRED_LOGS: &str = "logs repaired";
/// Nodes that vote again, because what they had lost was given back to them.
pub const FENCES_LIFTED: &str = "fences lifted";
/// Faults that were planned and could not be carried out when their time came.
pub const SKIPPED: &str = "faults skipped";

impl Coverage {
    /// How often this was counted.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Virtual time, of all runs together.
    pub fn simulated(&self) -> Duration {
        self.simulated
    }

    /// All counts, by name.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(name, count)| (*name, *count))
    }

    /// Takes another run's counts in.
    pub fn add(&mut self, other: &Coverage) {
        other.counts().for_each(|(name, count)| self.note(name, count));
        self.simulated += other.simulated;
    }

    pub(super) fn note(&mut self, name: &'static str, count: u64) {
        *self.counts.entry(name).or_default() += count;
    }

    pub(super) fn lasted(&mut self, simulated: Duration) {
        self.simulated = simulated;
    }

    /// Names that were counted less often than they should: runs that did so little prove nothing.
    pub fn below(&self, floors: &[(&'static str, u64)]) -> Vec<String> {
        let low = floors.iter().filter(|(name, floor)| self.count(name) < *floor);
        low.map(|(name, floor)| format!("{name}: {}, and at least {floor} are wanted", self.count(name)))
            .collect()
    }
}

/// A table, one count a line.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.counts() {
            writeln!(f, "{name:<32} {count:>12}")?;
        }
        let hours = self.simulated.as_secs_f64() / 3600.0;
        write!(f, "{:<32} {hours:>12.2}", "simulated hours")
    }
}
