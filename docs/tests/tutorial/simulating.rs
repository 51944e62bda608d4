//! How to simulate your own state machine: one that loses something in its snapshots is found out.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use raft_actor::{
    state_machine::{StateMachine, StateMachineError},
    testkit::simulation::{Chance, Coverage, Failure, Operation, Simulation, Workload, coverage},
    types::{LogId, SnapshotView},
};
use raft_storage_file::simulation::SimulatedStorage;

/// How often each word was said, and how often anything was.
#[derive(Clone, Default)]
struct Words {
    counts: BTreeMap<String, u64>,
    total: u64,
}

// ANCHOR: machine
impl StateMachine for Words {
    type Command = String;
    type Output = (u64, u64);

    fn apply(&mut self, _: LogId, word: String) -> (u64, u64) {
        let count = self.counts.entry(word).or_default();
        *count += 1;
        self.total += 1;
        (*count, self.total)
    }

    fn snapshot(&self) -> Option<SnapshotView> {
        let lines: String = self.counts.iter().map(|(word, count)| format!("{count} {word}\n")).collect();
        Some(Box::new(move |writer| writer.write_all(lines.as_bytes())))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let text = io::read_to_string(reader).map_err(|error| StateMachineError { source: error.into() })?;
        self.counts.clear();
        for line in text.lines() {
            let (count, word) = line
                .split_once(' ')
                .ok_or("a line of two words was expected")
                .map_err(|error| StateMachineError { source: error.into() })?;
            self.counts.insert(word.to_owned(), count.parse().unwrap_or(0));
        }
        // Something is missing here.
        Ok(())
    }
}
// ANCHOR_END: machine

// ANCHOR: workload
struct Speakers;

impl Workload for Speakers {
    type Machine = Words;
    type Query = String;
    type Answer = u64;

    fn machine(&self) -> Words {
        Words::default()
    }

    fn next(&self, _client: u64, _number: u64, chance: &mut Chance) -> Operation<String, String> {
        let word = (*chance.pick(&["yes", "no", "perhaps"])).to_owned();
        if chance.once_in(3) { Operation::Read(word) } else { Operation::Write(word) }
    }

    fn look(words: &Words, word: &String) -> u64 {
        words.counts.get(word).copied().unwrap_or(0)
    }
}
// ANCHOR_END: workload

// ANCHOR: run
/// Twenty seeds, a minute of virtual time each. What was done, or the first failure, made short.
fn simulate<W: Workload>(workload: W) -> Result<Coverage, Failure> {
    let simulation = Simulation::new(workload).duration(Duration::from_secs(60));
    let mut total = Coverage::default();
    for seed in 1..=20 {
        match simulation.run(seed) {
            Ok(report) => total.add(&report.coverage),
            Err(failure) => return Err(simulation.shrink(failure, 20)),
        }
    }
    Ok(total)
}
// ANCHOR_END: run

#[test]
fn the_page_on_simulating_finds_what_a_snapshot_forgets() {
    // ANCHOR: found
    let failure = simulate(Speakers).expect_err("a snapshot forgets the total");
    println!("{failure}");
    // ANCHOR_END: found
    super::assert_shown("docs/src/how/simulating.md", &failure.to_string());
    assert!(failure.violation.to_string().starts_with("State Machine Safety is broken"), "{failure}");
    assert_eq!(failure.coverage.count(coverage::RUNS), 1);
}

#[test]
fn the_page_on_simulating_runs_on_the_real_storage_too() {
    // ANCHOR: disks
    let simulation = Simulation::new(Speakers).disks(|seed| Arc::new(SimulatedStorage::new(seed)));
    // ANCHOR_END: disks
    let failure = (1..=20).find_map(|seed| simulation.run(seed).err()).expect("as in memory");
    assert!(failure.violation.to_string().starts_with("State Machine Safety is broken"), "{failure}");
}
