//! Whole clusters under every fault at once, in virtual time: for any state machine.
//!
//! A [`Simulation`] takes a [`Workload`] (a state machine, and what clients do with it) and runs it on
//! clusters of real nodes: real cores, real actors, and whatever storage it is given. One seed decides the
//! order of tasks, the fate of every message, every fault and every client's choice, from streams of chance
//! that do not touch each other; so the same seed is the same run, as its hash shows.
//!
//! While it runs, every step of every node is held against all
//! [invariants](super::invariants::INVARIANTS), each storage against what it has acknowledged, and each
//! node's answers against the others'. When it ends, all faults heal, and the cluster has to converge and
//! serve. Then everything that clients were told is held against what was committed: see [`Workload`].
//!
//! A run that fails is a [`Failure`]: its seed, what was broken, and the faults that led to it.
//! [`Simulation::shrink`] leaves out all that are not needed.

mod acts;
mod chance;
mod clients;
pub mod coverage;
pub mod disk;
mod faults;
mod judge;
mod members;
mod run;
mod shrink;
mod told;
mod watch;
mod watched;
mod witness;
mod workload;
mod world;

use std::{fmt, sync::Arc, time::Duration};

use self::disk::{Disk, MemoryDisk};
pub use self::{
    chance::Chance,
    coverage::Coverage,
    faults::{FaultKind, Faults, Planned},
    workload::{Call, Command, Operation, Outcome, Output, Workload},
};
use super::invariants::Violation;
use crate::config::Config;

/// What was acknowledged is in the log, where and as it was.
pub const ACKNOWLEDGED_IS_THERE: &str = "Acknowledged is there";
/// Each write is applied once, and none that was refused.
pub const EXACTLY_ONCE: &str = "Exactly once";
/// Each answer is that of one state machine which does everything at one moment between call and answer.
pub const LINEARIZABLE: &str = "Linearizable";
/// Nodes with the same entries applied have the same state.
pub const SAME_STATE: &str = "Same state";
/// What the workload itself demands.
pub const WORKLOAD: &str = "Workload's own judgement";
/// Every call is answered.
pub const ANSWERS: &str = "Every call is answered";
/// A node stops or refuses to start only where its disk is broken.
pub const STAYS_UP: &str = "Nodes stay up";
/// Once nothing is broken any more, the cluster has a leader, and every member serves.
pub const CONVERGES: &str = "The cluster converges";
/// Nothing panics.
pub const NO_PANIC: &str = "Nothing panics";

/// A simulation of clusters that run a workload. Cheap to clone.
pub struct Simulation<W: Workload> {
    workload: Arc<W>,
    disks: Arc<dyn Fn(u64) -> Arc<dyn Disk> + Send + Sync>,
    faults: Faults,
    duration: Duration,
    clients: u64,
    pause: Duration,
    sizes: Vec<u64>,
    config: Option<Config>,
}

impl<W: Workload> Clone for Simulation<W> {
    fn clone(&self) -> Simulation<W> {
        Simulation {
            workload: self.workload.clone(),
            disks: self.disks.clone(),
            faults: self.faults.clone(),
            sizes: self.sizes.clone(),
            config: self.config.clone(),
            ..*self
        }
    }
}

/// A run that found nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// A hash over everything that happened: the same seed gives the same one.
    pub hash: u64,
    /// What it has done.
    pub coverage: Coverage,
}

/// A run that broke something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// When, after the start, in virtual time.
    pub at: Duration,
    /// What was broken.
    pub violation: Violation,
    /// The faults that had begun by then.
    pub faults: Box<[Planned]>,
    /// What was done until then.
    pub coverage: Coverage,
}

/// The seed, the time and the violation on one line, then one line a fault, and the call that runs it again.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, after {:.3} s: {}", self.seed, self.at.as_secs_f64(), self.violation)?;
        self.faults.iter().try_for_each(|planned| write!(f, "\n  {planned}"))?;
        write!(f, "\nreplay({}, &{:?})", self.seed, self.numbers())
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// The faults' numbers, for [`Simulation::replay`].
    pub fn numbers(&self) -> Vec<usize> {
        self.faults.iter().map(|planned| planned.number).collect()
    }
}

impl<W: Workload> Simulation<W> {
    /// With every fault on, on disks in memory, for a minute of virtual time a run.
    pub fn new(workload: W) -> Simulation<W> {
        Simulation {
            workload: Arc::new(workload),
            disks: Arc::new(|_| Arc::new(MemoryDisk::new())),
            faults: Faults::default(),
            duration: Duration::from_secs(60),
            clients: 4,
            pause: Duration::from_millis(100),
            sizes: vec![3, 3, 5],
            config: None,
        }
    }

    /// What machines keep their nodes on: makes an empty disk, whose chance comes from the seed. Default:
    /// [`MemoryDisk`].
    pub fn disks(mut self, disks: impl Fn(u64) -> Arc<dyn Disk> + Send + Sync + 'static) -> Simulation<W> {
        self.disks = Arc::new(disks);
        self
    }

    /// Which faults come, and how often.
    pub fn faults(mut self, faults: Faults) -> Simulation<W> {
        self.faults = faults;
        self
    }

    /// How long faults come, in virtual time. Default one minute.
    pub fn duration(mut self, duration: Duration) -> Simulation<W> {
        self.duration = duration;
        self
    }

    /// How many clients there are; those with odd numbers write in sessions. Default 4.
    pub fn clients(mut self, clients: u64) -> Simulation<W> {
        self.clients = clients;
        self
    }

    /// How long a client waits between two calls, on average. Default 100 ms.
    pub fn pause(mut self, pause: Duration) -> Simulation<W> {
        self.pause = pause;
        self
    }

    /// How many voters a cluster begins with: one of these, as the seed says. Default 3, or at times 5.
    pub fn sizes(mut self, sizes: impl IntoIterator<Item = u64>) -> Simulation<W> {
        self.sizes = sizes.into_iter().filter(|size| *size > 0).collect();
        if self.sizes.is_empty() {
            self.sizes.push(3);
        }
        self
    }

    /// The nodes' settings. Default: drawn from the seed, often so small that every limit is met.
    pub fn config(mut self, config: Config) -> Simulation<W> {
        self.config = Some(config);
        self
    }

    /// Runs one seed.
    ///
    /// # Errors
    ///
    /// The first thing that was broken.
    pub fn run(&self, seed: u64) -> Result<Report, Failure> {
        run::run(self, seed, None)
    }

    /// Runs one seed again, with no faults but those of these numbers: [`Planned::number`].
    ///
    /// # Errors
    ///
    /// The first thing that was broken.
    pub fn replay(&self, seed: u64, faults: &[usize]) -> Result<Report, Failure> {
        run::run(self, seed, Some(faults))
    }

    fn config_of(&self, chance: &mut Chance) -> Config {
        if let Some(config) = &self.config {
            return config.clone();
        }
        let mut config = Config::default();
        if chance.once_in(2) {
            config.heartbeat_interval = Duration::from_millis(100);
            config.election_timeout_min = Duration::from_millis(500);
            config.election_timeout_max = Duration::from_secs(1);
        }
        config.lease_reads = chance.once_in(2);
        if chance.once_in(2) {
            config.append_entries_max = 1 + chance.below(8);
            config.inflight_max = 1 + chance.below(5);
            config.cache_bytes_max = chance.below(400);
        }
        if !chance.once_in(4) {
            config.snapshot_entries = 20 + chance.below(400);
            config.trailing_entries = chance.below(60);
            config.snapshot_chunk_bytes = 16 + chance.below(2000);
        }
        config.promotion_lag_max = chance.below(200);
        config
    }
}
