//! The whole-cluster simulator: what it must find, and that it finds nothing else.

mod ledger;

use std::time::Duration;

use raft_actor::testkit::simulation::{Coverage, Simulation};

use self::ledger::{Bug, Ledgers};

fn simulation(bug: Bug) -> Simulation<Ledgers> {
    Simulation::new(Ledgers(bug)).duration(Duration::from_secs(60))
}

#[test]
fn clusters_keep_every_promise_under_every_fault_at_once() {
    let mut coverage = Coverage::default();
    for seed in 1..=crate::seeds(20) {
        match simulation(Bug::None).run(seed) {
            Ok(report) => coverage.add(&report.coverage),
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{coverage}");
}

#[test]
fn debugging() {
    let seed = crate::seeds(12);
    if let Err(failure) = simulation(Bug::None).run(seed) {
        println!("{failure}");
        let failure =
            if crate::seeds(0) > 1_000_000 { simulation(Bug::None).shrink(failure, 60) } else { return };
        println!("SHRUNK {failure}");
    }
}
