//! Do the tests bite? Each bug of `raft_actor::mutants` is put back, and the tests of this folder must find it.
//!
//! Here with few seeds. `cargo run --release -p example-app --example mutants` hunts them with all that there
//! is, and prints who has killed which.

use raft_actor::testkit::hunt::Killer;

use super::{core::schedule, endurance, failures, scripts, simulation, snapshots};

/// The tests, the cheapest first.
pub(crate) fn killers() -> Vec<Killer> {
    vec![
        Killer::fixed(
            "every_script_comes_to_what_stands_in_it",
            scripts::every_script_comes_to_what_stands_in_it,
        ),
        Killer::fixed(
            "a_storage_error_stops_the_node_and_its_status_says_why",
            failures::a_storage_error_stops_the_node_and_its_status_says_why,
        ),
        Killer::fixed(
            "a_write_in_a_session_is_not_done_again_after_a_snapshot",
            snapshots::a_write_in_a_session_is_not_done_again_after_a_snapshot,
        ),
        Killer::seeded("random schedules of cores", 400, |seed| drop(schedule::run_one(seed, 700, 0))),
        Killer::seeded("random schedules with other members", 200, |seed| {
            drop(schedule::run_one(seed, 2000, 2));
        }),
        Killer::seeded("whole nodes, everything at once", 40, |seed| drop(endurance::endure(seed))),
        Killer::seeded("whole nodes, snapshots", 40, |seed| drop(snapshots::compact(seed))),
        Killer::seeded("whole nodes, other members", 20, |seed| drop(simulation::simulate(seed, 5))),
    ]
}

#[cfg(test)]
mod tests {
    use raft_actor::{mutants::Mutant, testkit::hunt::hunt};

    #[test]
    fn every_bug_of_core_and_actors_is_found() {
        let killers = super::killers();
        let mutants = Mutant::ALL.iter().copied().filter(|mutant| !mutant.is_of_storage());
        let mut survivors = Vec::new();
        for mutant in mutants {
            let began = std::time::Instant::now();
            let kill = hunt(mutant, &killers);
            match kill {
                Some(kill) => println!(
                    "{mutant}: {kill} {:?} {}",
                    began.elapsed(),
                    kill.words.chars().take(200).collect::<String>()
                ),
                None => survivors.push(mutant),
            }
        }
        assert!(survivors.is_empty(), "no test finds: {survivors:?}");
    }
}
