//! Speed: each section is a kind of work, done by each contestant in turn.

mod appends;
mod bare;
mod bars;
mod clock;
pub(crate) mod engine;
// The same clock as the other bench's, which asks it for more.
#[allow(dead_code, reason = "what a write costs is not asked here")]
#[path = "../../../../../raft-actor/benches/beside_openraft/src/machine.rs"]
mod load;
mod machine;
pub(crate) mod ours;
mod reopen;
mod rotations;
mod votes;

use std::{fs, path::Path};

use serde::Serialize;

use crate::{book::Book, material::Material, settings::Settings};
use bars::Bar;

/// One preallocated file of zeros, one write and one flush: what the disk allows.
pub(crate) const BARE: &str = "bare";
/// The same past the system's cache, in whole blocks. No bar is set against it.
pub(crate) const UNCACHED: &str = "bare, past the cache";
/// The file log, in the caller's own thread.
pub(crate) const INLINE: &str = "ours, inline";
/// The file log with its writer's thread, awaited: what a node does.
pub(crate) const THREAD: &str = "ours, as a node does";
pub(crate) const ENGINE: &str = "raft-engine";
pub(crate) const PREFILLED: &str = "raft-engine, prefilled";

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Appends,
    Clients,
    Votes,
    Rotations,
    Reopen,
}

impl Section {
    pub(crate) const ALL: [Section; 5] =
        [Section::Appends, Section::Clients, Section::Votes, Section::Rotations, Section::Reopen];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Section::Appends => "appends",
            Section::Clients => "clients",
            Section::Votes => "votes",
            Section::Rotations => "rotations",
            Section::Reopen => "reopen",
        }
    }

    fn run(self, bench: &mut Bench<'_>) -> Result<(), String> {
        match self {
            Section::Appends => appends::run(bench),
            Section::Clients => appends::run_clients(bench),
            Section::Votes => votes::run(bench),
            Section::Rotations => rotations::run(bench),
            Section::Reopen => reopen::run(bench),
        }
    }
}

/// A log that takes entries and flushes them.
pub(crate) trait Log {
    /// Gets the next entries ready, as a caller would hand them over. Not measured.
    fn prepare(&mut self, material: &Material, count: usize, bytes: usize);
    /// Appends what is ready, and flushes it.
    fn append(&mut self) -> Result<(), String>;
}

/// What every section needs.
pub(crate) struct Bench<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) material: Material,
    pub(crate) book: Book,
}

impl Bench<'_> {
    /// Lets all take turns, another one first in each round, each in a fresh folder.
    pub(crate) fn rounds(
        &mut self,
        names: &[&'static str],
        mut take: impl FnMut(&mut Self, &'static str, &Path) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut names = names.to_vec();
        names.retain(|name| name.contains(&self.settings.who));
        for round in 0..self.settings.rounds {
            for position in 0..names.len() {
                let name = names[(round + position) % names.len()];
                let folder = self.settings.folder.join("speed");
                fresh(&folder)?;
                take(self, name, &folder).map_err(|error| format!("{name}: {error}"))?;
            }
        }
        remove(&self.settings.folder.join("speed"))
    }
}

/// An empty folder, whatever was there.
pub(crate) fn fresh(folder: &Path) -> Result<(), String> {
    remove(folder)?;
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))
}

pub(crate) fn remove(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if folder.exists() => Err(format!("cannot remove {}: {error}", folder.display())),
        _ => Ok(()),
    }
}

#[derive(Serialize)]
struct Report<'a> {
    cores: usize,
    rounds: usize,
    others: Option<f64>,
    figures: &'a Book,
    bars: &'a [Bar],
}

/// Measures, prints, and says which bars are reached.
pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    let mut bench = Bench { settings, material: Material::new(), book: Book::default() };
    let load = load::LoadClock::start();
    for section in &settings.sections {
        eprintln!("{} ...", section.name());
        section.run(&mut bench)?;
    }
    let others = load.and_then(load::LoadClock::stop).map(|load| load.others);
    let bars = bars::of(&bench.book, settings.mebibytes);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{} rounds on {cores} cores; median (least to most)\n", settings.rounds);
    bench.book.print();
    println!();
    bars.iter().for_each(Bar::print);
    if let Some(others) = others {
        println!("\nother processes took {:.0} % of the machine meanwhile", others * 100.0);
    }
    let report = Report { cores, rounds: settings.rounds, others, figures: &bench.book, bars: &bars };
    if let Some(path) = &settings.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        fs::write(path, json).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}
