//! Seeds, shared out among threads.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use raft_actor::{
    mutants::inherited,
    testkit::simulation::{Coverage, Failure, Simulation},
};

use super::{Settings, workload::Shop};

/// What all have found so far.
#[derive(Clone, Default)]
pub(crate) struct Found {
    pub(crate) seeds: u64,
    pub(crate) coverage: Coverage,
    /// How many seeds were run twice, and which were not the same.
    pub(crate) twice: u64,
    pub(crate) differing: Vec<u64>,
    failures: Vec<Failure>,
}

pub(crate) struct Crew {
    settings: Settings,
    simulation: Simulation<Shop>,
    next: AtomicU64,
    has_failed: AtomicBool,
    until: Option<Instant>,
    found: Mutex<Found>,
}

impl Crew {
    pub(crate) fn new(settings: &Settings) -> Crew {
        Crew {
            settings: settings.clone(),
            simulation: settings.simulation(),
            next: AtomicU64::new(settings.from),
            has_failed: AtomicBool::new(false),
            until: settings.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            found: Mutex::default(),
        }
    }

    pub(crate) fn found(&self) -> Found {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs all seeds, and returns those that failed, lowest first. After a failure no more are begun.
    pub(crate) fn work(&self, progress: impl Fn(&Found) + Sync) -> Vec<Failure> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let jobs = self.settings.jobs.unwrap_or(cores).max(1);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                let shift = || {
                    while let Some(seed) = self.take_seed() {
                        self.run(seed);
                        progress(&self.lock());
                    }
                };
                scope.spawn(inherited(shift));
            }
        });
        let mut failures = std::mem::take(&mut self.lock().failures);
        failures.sort_by_key(|failure| failure.seed);
        failures
    }

    fn take_seed(&self) -> Option<u64> {
        let is_late = self.until.is_some_and(|until| Instant::now() >= until);
        if is_late || self.has_failed.load(Ordering::Relaxed) {
            return None;
        }
        let seed = self.next.fetch_add(1, Ordering::Relaxed);
        (seed - self.settings.from < self.settings.seeds).then_some(seed)
    }

    fn run(&self, seed: u64) {
        let outcome = self.simulation.run(seed);
        let is_checked = self.settings.twice > 0 && seed.is_multiple_of(self.settings.twice);
        let is_same = is_checked.then(|| self.simulation.run(seed) == outcome);
        let mut found = self.lock();
        found.seeds += 1;
        found.twice += u64::from(is_checked);
        if is_same == Some(false) {
            found.differing.push(seed);
        }
        match outcome {
            Ok(report) => found.coverage.add(&report.coverage),
            Err(failure) => {
                found.coverage.add(&failure.coverage);
                found.failures.push(failure);
                self.has_failed.store(true, Ordering::Relaxed);
            }
        }
    }
}
