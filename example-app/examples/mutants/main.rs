//! Do the tests bite? Puts every known bug back, one after another, and lets the tests hunt it.
//!
//! `cargo run --release -p example-app --example mutants -- [name ...] [--seeds N] [--every]`
//!
//! Prints a table: the mutant, what has killed it, and after how many seeds. With names only those; `--seeds`
//! gives the tests that have seeds so many of them; `--every` lets every test try, also where one has killed
//! the mutant already. Ends with 1 if a mutant survives.

#[path = "../../../raft-actor/tests"]
#[allow(dead_code, unused_imports, reason = "the tests themselves use more of it")]
mod node_tests {
    pub(super) mod core {
        mod cluster;
        pub(crate) mod identity;
        mod members;
        mod one;
        pub(crate) mod schedule;
        pub(crate) mod standing;
    }
    mod endurance;
    mod exactly_once;
    mod failures;
    mod hooked;
    mod journal;
    mod machines;
    pub(super) mod mutants;
    mod promises;
    mod scripts;
    mod simulation;
    mod simulator;
    mod snapshots;
    mod sum;
}

#[path = "../../../raft-storage-file/tests"]
#[allow(dead_code, unused_imports, reason = "the tests themselves use more of it")]
mod storage_tests {
    mod crash;
    mod damage;
    pub(super) mod mutants;
    mod snapshots;
}

#[path = "../simulate/workload.rs"]
mod workload;

use std::{process::ExitCode, sync::Arc, time::Instant};

use clap::Parser;
use raft_actor::{
    mutants::Mutant,
    testkit::{
        hunt::{Kill, Killer},
        simulation::Simulation,
    },
};
use raft_storage_file::simulation::SimulatedStorage;

use workload::Shop;

/// Puts known bugs back, and lets the tests hunt them.
#[derive(Parser)]
struct Arguments {
    /// Mutants to hunt; all, where none is named.
    names: Vec<Mutant>,
    /// Seeds for each test that has some, instead of its own number.
    #[arg(long)]
    seeds: Option<u64>,
    /// Let every test try, also where one has killed the mutant already.
    #[arg(long)]
    every: bool,
}

/// Clusters of this service on its own storage, as the example `simulate` runs them, a minute each.
fn simulation_of_the_service() -> Killer {
    let simulation = Simulation::new(Shop).disks(|seed| Arc::new(SimulatedStorage::new(seed)));
    Killer::seeded("simulation of the example app", 100, move |seed| {
        simulation.run(seed).unwrap_or_else(|failure| panic!("{failure}"))
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A mutant dies by a panic: that is no news, and what it has said is kept.
    std::panic::set_hook(Box::new(|_| {}));
    let with_seeds = |killer: Killer| match arguments.seeds {
        Some(seeds) => killer.with_seeds(seeds),
        None => killer,
    };
    let and_the_service = |killers: Vec<Killer>| -> Vec<Killer> {
        killers.into_iter().chain([simulation_of_the_service()]).map(with_seeds).collect()
    };
    let of_nodes = and_the_service(node_tests::mutants::killers());
    let of_storage = and_the_service(storage_tests::mutants::killers());
    let mutants = if arguments.names.is_empty() { Mutant::ALL } else { &arguments.names };
    let mut survivors = 0;
    println!("| no. | mutant | killed by | seeds | s |\n|---|---|---|---|---|");
    for mutant in mutants {
        let killers = if mutant.is_of_storage() { &of_storage } else { &of_nodes };
        let began = Instant::now();
        let kills = killers.iter().filter_map(|killer| killer.hunt(*mutant));
        let kills: Vec<Kill> = if arguments.every { kills.collect() } else { kills.take(1).collect() };
        let seconds = began.elapsed().as_secs_f32();
        if kills.is_empty() {
            survivors += 1;
            println!("| {} | `{mutant}` | SURVIVES | | {seconds:.1} |", mutant.number());
        }
        for kill in kills {
            let seeds = kill.seeds.map(|seeds| seeds.to_string()).unwrap_or_default();
            println!("| {} | `{mutant}` | {} | {seeds} | {seconds:.1} |", mutant.number(), kill.by);
        }
    }
    println!("\n{} of {} killed", mutants.len() - survivors, mutants.len());
    if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
