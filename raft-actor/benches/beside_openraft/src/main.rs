//! Three nodes in one process, in memory: committed writes a second of raft-actor beside those of openraft,
//! in the shape of openraft's own published bench, in one run. See docs/src/reference/benchmarks.md.
//!
//! Every contestant has the same course: clients that write a command in a closed loop, for a set time
//! after a warm-up, with an empty state machine, no network and no disk. Each run has a fresh cluster.
//! Contestants take turns within a round, and a ratio is taken within its round, so that what disturbs the
//! machine disturbs both. After each run every node must have applied exactly as many commands as were
//! acknowledged, or the bench fails.

mod contestant;
mod course;
mod machine;
mod ours;
mod report;
mod rival;
mod settings;

use std::{collections::BTreeMap, fs, process::ExitCode, thread};

use contestant::Contestant;
use course::{Plan, Sample};
use report::{Point, Report};
use settings::{Settings, USAGE};

fn main() -> ExitCode {
    let settings = match Settings::parse(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if settings.help {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match bench(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(settings: &Settings) -> Result<(), String> {
    let samples = take_rounds(settings)?;
    let points = samples.iter().map(|(clients, samples)| Point::new(*clients, samples)).collect();
    let report = Report {
        openraft: openraft_version().to_owned(),
        cores: thread::available_parallelism().map_or(1, usize::from),
        payload_bytes: settings.payload,
        rounds: settings.rounds,
        warm_up_seconds: settings.warm_up.as_secs_f64(),
        measured_seconds: settings.measured.as_secs_f64(),
        points,
    };
    println!(
        "raft-actor beside openraft {}, commands of {} bytes, {} rounds of {} s on {} cores",
        report.openraft, report.payload_bytes, report.rounds, report.measured_seconds, report.cores
    );
    report::print_head();
    report.points.iter().for_each(Point::print);
    if let Some(path) = &settings.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        fs::write(path, json).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

type Samples = BTreeMap<usize, BTreeMap<Contestant, Vec<Sample>>>;

fn take_rounds(settings: &Settings) -> Result<Samples, String> {
    let mut samples = Samples::new();
    for round in 0..settings.rounds {
        for &clients in &settings.clients {
            let Settings { payload, warm_up, measured, .. } = *settings;
            let plan = Plan { clients, payload, warm_up, measured };
            // Another one begins each round, so that none always comes after the same.
            let count = settings.contestants.len();
            for position in 0..count {
                let contestant = settings.contestants[(round + position) % count];
                let (sample, disturbed) = contestant.run(plan).map_err(|error| {
                    format!("{} with {clients} clients, round {}: {error}", contestant.name(), round + 1)
                })?;
                let sample = Sample { disturbed, ..sample };
                eprintln!(
                    "round {}, {clients} clients, {}: {:.0} writes/s",
                    round + 1,
                    contestant.name(),
                    sample.writes_per_second
                );
                samples.entry(clients).or_default().entry(contestant).or_default().push(sample);
            }
        }
    }
    Ok(samples)
}

/// The version that this program was built with.
fn openraft_version() -> &'static str {
    let locked = include_str!("../Cargo.lock");
    let after = locked.split_once("name = \"openraft\"\nversion = \"").map(|(_, after)| after);
    after.and_then(|after| after.split_once('"')).map_or("of an unknown version", |(version, _)| version)
}
