//! The whole-cluster simulator: what it must find, and that it finds nothing else.

mod ledger;

use std::time::Duration;

use raft_actor::testkit::{
    invariants::STATE_MACHINE_SAFETY,
    simulation::{Coverage, Failure, FaultKind, Faults, Report, Simulation, coverage},
};

use self::ledger::{Bug, Ledgers};

fn simulation(bug: Bug) -> Simulation<Ledgers> {
    Simulation::new(Ledgers(bug)).duration(Duration::from_secs(60))
}

/// One seed, of which nothing may come to light.
pub(crate) fn simulate(seed: u64) -> Report {
    simulation(Bug::None).run(seed).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn clusters_keep_every_promise_under_every_fault_at_once() {
    let seeds = crate::seeds(12);
    let mut total = Coverage::default();
    for seed in 1..=seeds {
        total.add(&simulate(seed).coverage);
    }
    println!("{total}");
    let floors = [
        (coverage::ACKNOWLEDGED, 500),
        (coverage::IN_SESSIONS, 200),
        (coverage::UNKNOWN, 2),
        (coverage::READS, 300),
        (coverage::ELECTIONS, 4),
        (coverage::SNAPSHOTS, 10),
        (coverage::INSTALLED, 1),
        (coverage::MEMBERSHIP_CHANGES, 2),
    ];
    let floors = floors.map(|(name, each)| (name, each * seeds));
    assert_eq!(total.below(&floors), Vec::<String>::new(), "too little was done to mean anything");
    let kinds =
        FaultKind::ALL.map(FaultKind::name).into_iter().filter(|name| *name != FaultKind::BitFlip.name());
    let missing: Vec<&str> = kinds.filter(|name| total.count(name) == 0).collect();
    assert_eq!(missing, [""; 0], "no disk in memory rots, but every other fault must have come");
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_not() {
    let brief = simulation(Bug::None).duration(Duration::from_secs(15));
    let hashes: Vec<u64> = (1..=4).map(|seed| brief.run(seed).expect("nothing is broken").hash).collect();
    let again: Vec<u64> = (1..=4).map(|seed| brief.run(seed).expect("nothing is broken").hash).collect();
    assert_eq!(hashes, again);
    assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]), "{hashes:?}");
}

/// The first seed that fails.
fn first_failure(simulation: &Simulation<Ledgers>) -> Failure {
    let failure = (1..=30).find_map(|seed| simulation.run(seed).err());
    failure.expect("thirty seeds are enough")
}

#[test]
fn a_snapshot_that_forgets_something_is_found_and_the_run_made_short() {
    let simulation = simulation(Bug::ForgetfulSnapshot);
    let failure = first_failure(&simulation);
    println!("{failure}");
    assert_eq!(failure.violation.invariant, STATE_MACHINE_SAFETY, "{failure}");
    let before = failure.faults.len();
    let short = simulation.shrink(failure, 25);
    println!("made short: {short}");
    assert!(short.faults.len() < before.max(2), "from {before} to {short}");
    let again = simulation.replay(short.seed, &short.numbers()).expect_err("it can be replayed");
    assert_eq!(again, short);
}

#[test]
fn an_answer_that_depends_on_more_than_the_log_is_found() {
    let failure = first_failure(&simulation(Bug::Whim));
    assert_eq!(failure.violation.invariant, STATE_MACHINE_SAFETY, "{failure}");
}

#[test]
fn without_faults_nothing_is_unknown_and_one_leader_is_enough() {
    let calm = simulation(Bug::None).faults(Faults::none()).duration(Duration::from_secs(20));
    let coverage = calm.run(1).expect("nothing is broken").coverage;
    assert_eq!((coverage.count(coverage::UNKNOWN), coverage.count(coverage::REFUSED)), (0, 0), "{coverage}");
    assert!(coverage.count(coverage::ELECTIONS) <= 2 && coverage.count(coverage::ACKNOWLEDGED) > 100);
}
