//! Simulates whole clusters of this service under every fault at once, in virtual time, on every core: its
//! own store with sessions around it, on `raft-storage-file` on a simulated disk.
//!
//! `cargo run --release -p example-app --example simulate -- --seeds 2000`
//!
//! It prints what was done, and ends with 1 where anything was broken, with the line that replays it. To see
//! that, put a bug back: `--mutant acks-before-the-flush`.

mod crew;
mod workload;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use raft_actor::{
    mutants::{Mutant, with},
    testkit::simulation::{Failure, Faults, Simulation, coverage},
};
use raft_storage_file::simulation::SimulatedStorage;

use crew::{Crew, Found};
use workload::Shop;

/// What is asked for.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Settings {
    /// How many seeds are run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// No seed is begun after so many seconds of real time.
    #[arg(long)]
    seconds: Option<u64>,
    /// How many seeds run at a time; one for each core where it is not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// How many minutes of virtual time faults come in each run.
    #[arg(long, default_value_t = 15)]
    minutes: u64,
    /// One fault in so many milliseconds, on average.
    #[arg(long, default_value_t = 5000)]
    fault_every: u64,
    /// How long a client waits between two calls, in milliseconds, on average.
    #[arg(long, default_value_t = 1000)]
    pause: u64,
    /// Every so many seeds, one is run twice and has to do the same; 0 for none.
    #[arg(long, default_value_t = 20)]
    twice: u64,
    /// Runs this one seed again, and says what happened.
    #[arg(long)]
    replay: Option<u64>,
    /// With `--replay`: only the faults of these numbers, as `3,17,22`.
    #[arg(long, value_delimiter = ',')]
    faults: Option<Vec<usize>>,
    /// How many runs may be spent to make a failing one shorter.
    #[arg(long, default_value_t = 60)]
    shrink: usize,
    /// Puts this bug back, by its name in the book's page "How we test".
    #[arg(long)]
    mutant: Option<Mutant>,
}

impl Settings {
    fn simulation(&self) -> Simulation<Shop> {
        Simulation::new(Shop)
            .disks(|seed| Arc::new(SimulatedStorage::new(seed)))
            .duration(Duration::from_secs(60 * self.minutes))
            .faults(Faults::default().every(Duration::from_millis(self.fault_every)))
            .pause(Duration::from_millis(self.pause))
    }

    fn tell(&self, failure: &Failure, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\nFAILED: {failure}")?;
        let numbers: Vec<String> = failure.numbers().iter().map(usize::to_string).collect();
        let (minutes, every, pause) = (self.minutes, self.fault_every, self.pause);
        let (seed, numbers) = (failure.seed, numbers.join(","));
        let mutant = self.mutant.map(|mutant| format!(" --mutant {mutant}")).unwrap_or_default();
        write!(out, "command: --minutes {minutes} --fault-every {every} --pause {pause}{mutant}")?;
        writeln!(out, " --replay {seed} --faults={numbers}")
    }
}

fn main() -> ExitCode {
    let settings = Settings::parse();
    // A panic of a node is caught and told as a failure; its own words would only tear the table.
    std::panic::set_hook(Box::new(|_| {}));
    match carry_out(&settings, &mut io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// Whether nothing was broken, and enough was done.
pub(crate) fn carry_out(settings: &Settings, out: &mut impl Write) -> io::Result<bool> {
    match (settings.mutant, settings.replay) {
        (None, None) => run(settings, out),
        (None, Some(seed)) => replay(settings, seed, out),
        (Some(mutant), None) => with(mutant, || run(settings, out)),
        (Some(mutant), Some(seed)) => with(mutant, || replay(settings, seed, out)),
    }
}

fn run(settings: &Settings, out: &mut impl Write) -> io::Result<bool> {
    let began = Instant::now();
    let crew = Crew::new(settings);
    let failures = crew.work(|found| {
        let hours = found.coverage.simulated().as_secs_f64() / 3600.0;
        eprint!("\r{} of {} seeds, {hours:.1} simulated hours", found.seeds, settings.seeds);
    });
    eprintln!();
    report(&crew.found(), began.elapsed(), out)?;
    for failure in failures.iter().take(3) {
        settings.tell(failure, out)?;
    }
    if let Some(first) = failures.into_iter().next() {
        let shortest = settings.simulation().shrink(first, settings.shrink);
        write!(out, "\nmade short:")?;
        settings.tell(&shortest, out)?;
        return Ok(false);
    }
    let found = crew.found();
    let idle = found.coverage.below(&floors(found.seeds, settings.minutes));
    for line in &idle {
        writeln!(out, "too little was done: {line}")?;
    }
    Ok(idle.is_empty() && found.differing.is_empty())
}

fn replay(settings: &Settings, seed: u64, out: &mut impl Write) -> io::Result<bool> {
    let simulation = settings.simulation();
    let outcome = match &settings.faults {
        Some(faults) => simulation.replay(seed, faults),
        None => simulation.run(seed),
    };
    match outcome {
        Ok(report) => {
            let (hash, coverage) = (report.hash, report.coverage);
            writeln!(out, "seed {seed} breaks nothing; its hash is {hash:016x}\n{coverage}")?;
            Ok(true)
        }
        Err(failure) => {
            settings.tell(&failure, out)?;
            Ok(false)
        }
    }
}

/// Less than this is no test. For short runs nothing is demanded: one of them may do nothing at all.
fn floors(seeds: u64, minutes: u64) -> Vec<(&'static str, u64)> {
    let much = seeds * minutes / 10;
    vec![
        (coverage::ACKNOWLEDGED, much * 20),
        (coverage::READS, much * 10),
        (coverage::ELECTIONS, much),
        (coverage::SNAPSHOTS, much),
        (coverage::INSTALLED, much / 10),
        (coverage::MEMBERSHIP_CHANGES, much / 4),
    ]
}

fn report(found: &Found, real: Duration, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", found.coverage)?;
    writeln!(out, "{:<32} {:>12.1}", "real seconds", real.as_secs_f64())?;
    let times = found.coverage.simulated().as_secs_f64() / real.as_secs_f64().max(0.001);
    writeln!(out, "{:<32} {times:>12.0}", "times faster than real time")?;
    writeln!(out, "{:<32} {:>12}", "run twice", found.twice)?;
    writeln!(out, "{:<32} {:>12}", "of them with the same hash", found.twice - found.differing.len() as u64)?;
    for seed in &found.differing {
        writeln!(out, "FAILED: seed {seed} is not the same when it is run again")?;
    }
    Ok(())
}
