//! Tutorial 10: the counter is broken on purpose, and the simulator finds out how.

mod plain {
    #[allow(clippy::duplicate_mod, reason = "one workload for three counters")]
    #[path = "../clicks.rs"]
    pub mod clicks;
    pub mod counter;
}

mod forgetful {
    #[allow(clippy::duplicate_mod, reason = "one workload for three counters")]
    #[path = "../clicks.rs"]
    pub mod clicks;
    pub mod counter;
}

mod mended {
    #[allow(clippy::duplicate_mod, reason = "one workload for three counters")]
    #[path = "../clicks.rs"]
    pub mod clicks;
    pub mod counter;
}

use std::time::Duration;

use raft_actor::{
    state_machine::StateMachine,
    testkit::simulation::{Coverage, Failure, FaultKind, Simulation, Workload, coverage},
    types::{LogId, LogIndex, Term},
};

use super::assert_shown;

// ANCHOR: hunt
/// Five clusters, a minute of virtual time each. What they did, or the first failure, made short.
fn hunt<W: Workload>(workload: W) -> Result<Coverage, Failure> {
    let simulation = Simulation::new(workload).duration(Duration::from_secs(60));
    let mut total = Coverage::default();
    for seed in 25..=29 {
        match simulation.run(seed) {
            Ok(report) => total.add(&report.coverage),
            Err(failure) => return Err(simulation.shrink(failure, 25)),
        }
    }
    Ok(total)
}
// ANCHOR_END: hunt

#[test]
fn a_counter_without_snapshots_passes() {
    use plain::clicks::Clicks;
    // ANCHOR: well
    let coverage = hunt(Clicks).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{coverage}");
    // ANCHOR_END: well
    let floors = [(coverage::ACKNOWLEDGED, 2000), (FaultKind::Crash.name(), 5)];
    assert_eq!(coverage.below(&floors), Vec::<String>::new());
    assert_eq!(coverage.count(coverage::SNAPSHOTS), 0);
}

#[test]
fn the_obvious_test_does_not_see_the_mistake() {
    use forgetful::counter::{Change, Counter};
    // ANCHOR: obvious
    let mut counter = Counter::default();
    counter.apply(LogId::new(Term(1), LogIndex(1)), Change::Add(5));
    let mut bytes = Vec::new();
    counter.snapshot().expect("it has snapshots")(&mut bytes).expect("a vector takes all");

    let mut restored = Counter::default();
    restored.restore(&mut &*bytes).expect("it reads what it has written");
    assert_eq!(restored.value, 5);
    // ANCHOR_END: obvious
}

#[test]
fn a_snapshot_that_forgets_a_field_is_found_made_short_and_mended() {
    let minute = Duration::from_secs(60);
    let whole = (25..=29).find_map(|seed| {
        let run = Simulation::new(forgetful::clicks::Clicks).duration(minute).run(seed);
        run.err()
    });
    let failure = {
        use forgetful::clicks::Clicks;
        // ANCHOR: found
        let failure = hunt(Clicks).expect_err("five seeds are enough");
        println!("{failure}");
        // ANCHOR_END: found
        failure
    };
    assert_shown("docs/src/tutorial/break-it.md", &failure.to_string());
    let whole = whole.expect("the hunt has found one");
    assert_eq!(failure.seed, whole.seed);
    assert!(failure.faults.len() < whole.faults.len(), "{failure} is no shorter than {whole}");
    // A node starts again, from its snapshot.
    let by_snapshot = [FaultKind::Crash, FaultKind::CrashMany];
    assert!(failure.faults.iter().any(|planned| by_snapshot.contains(&planned.kind)), "{failure}");

    {
        use forgetful::clicks::Clicks;
        // ANCHOR: replay
        let simulation = Simulation::new(Clicks).duration(Duration::from_secs(60));
        let again = simulation.replay(failure.seed, &failure.numbers());
        assert_eq!(again, Err(failure.clone()));
        // ANCHOR_END: replay
    }
    use mended::clicks::Clicks;
    // ANCHOR: mended
    let simulation = Simulation::new(Clicks).duration(Duration::from_secs(60));
    simulation.replay(failure.seed, &failure.numbers()).expect("it is mended");
    hunt(Clicks).expect("it is mended");
    // ANCHOR_END: mended
}
