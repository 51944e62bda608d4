//! The course that every contestant runs: clients that write in a closed loop, for a set time after a
//! warm-up.

use std::{
    sync::{
        atomic::{AtomicU8, Ordering},
        mpsc::Receiver,
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::machine::{Load, LoadClock};

const WARM_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// How long a run takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    /// Bytes of a command.
    pub(crate) payload: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

impl Plan {
    /// A command of its own for each write, as a client has that makes it from what it was given.
    pub(crate) fn command(self) -> Bytes {
        if self.payload == 0 { Bytes::new() } else { Bytes::from(vec![7; self.payload]) }
    }
}

/// What the clients look at after each write, to know where the run stands.
#[derive(Debug, Default)]
pub(crate) struct Course(AtomicU8);

/// What one client has done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Writes that were acknowledged, from the first to the last.
    pub(crate) acknowledged: u64,
    /// Those of them that were acknowledged between the start and the end of the measured time.
    pub(crate) measured: u64,
    /// Why the client gave up.
    pub(crate) failure: Option<String>,
}

/// What one run has shown.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) writes_per_second: f64,
    pub(crate) acknowledged: u64,
    pub(crate) load: Option<Load>,
    /// Void runs before this one.
    pub(crate) disturbed: u64,
}

/// Why a run has no sample.
#[derive(Debug)]
pub(crate) enum Void {
    /// A write was refused, as where the leader changed on a busy machine: the run is taken again, and
    /// counted.
    Disturbed(String),
    /// The contestant did what it must never do, or did not even start: the bench fails.
    Wrong(String),
}

impl From<String> for Void {
    fn from(wrong: String) -> Void {
        Void::Wrong(wrong)
    }
}

impl Course {
    /// Counts an acknowledged write. Says whether the client goes on.
    pub(crate) fn acknowledged(&self, tally: &mut Tally) -> bool {
        tally.acknowledged += 1;
        match self.0.load(Ordering::Relaxed) {
            WARM_UP => true,
            MEASURING => {
                tally.measured += 1;
                true
            }
            _ => false,
        }
    }

    /// Keeps the time for clients that are running by now, until each has sent its tally.
    pub(crate) fn time(&self, plan: Plan, tallies: &Receiver<Tally>) -> Result<Sample, Void> {
        thread::sleep(plan.warm_up);
        let load = LoadClock::start();
        let began = Instant::now();
        self.0.store(MEASURING, Ordering::Relaxed);
        thread::sleep(plan.measured);
        let took = began.elapsed();
        self.0.store(OVER, Ordering::Relaxed);
        let load = load.and_then(LoadClock::stop);

        let mut sum = Tally::default();
        for number in 0..plan.clients {
            let tally = tallies
                .recv_timeout(Duration::from_secs(20))
                .map_err(|_| Void::Wrong(format!("only {number} of {} clients came back", plan.clients)))?;
            if let Some(failure) = tally.failure {
                return Err(Void::Disturbed(format!("a write failed: {failure}")));
            }
            sum.acknowledged += tally.acknowledged;
            sum.measured += tally.measured;
        }
        if sum.measured == 0 {
            return Err(Void::Disturbed("nothing was written in the measured time".to_owned()));
        }
        let load = load.map(|load| load.per_write(sum.measured));
        let writes_per_second = sum.measured as f64 / took.as_secs_f64();
        Ok(Sample { writes_per_second, acknowledged: sum.acknowledged, load, disturbed: 0 })
    }
}

/// Waits until every node has applied what was acknowledged, and no more than that. A run that loses or
/// invents writes is void.
pub(crate) fn verify(acknowledged: u64, mut applied: impl FnMut() -> Vec<u64>) -> Result<(), Void> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let counts = applied();
        if counts.iter().all(|count| *count == acknowledged) {
            return Ok(());
        }
        if counts.iter().any(|count| *count > acknowledged) || Instant::now() > until {
            let wrong = format!("{acknowledged} writes were acknowledged, but the nodes applied {counts:?}");
            return Err(Void::Wrong(wrong));
        }
        thread::sleep(Duration::from_millis(2));
    }
}
