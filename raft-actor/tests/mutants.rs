//! Do the tests bite? Each bug of `raft_actor::mutants` is put back, and the tests of this folder must find
//! it.
//!
//! Here with few seeds. `cargo run --release -p example-app --example mutants` hunts them with more, and
//! prints what has killed which.

use raft_actor::testkit::hunt::Killer;

use super::{
    core::{identity, schedule, standing},
    endurance, failures, promises, scripts, simulation, simulator, snapshots,
};

/// Tests that are always the same, under their own names.
macro_rules! fixed {
    ($($module:ident::$test:ident,)*) => {
        [$(Killer::fixed(stringify!($test), $module::$test),)*]
    };
}

/// The tests, the cheapest first.
pub(crate) fn killers() -> Vec<Killer> {
    let mut killers = Vec::from(fixed![
        scripts::every_script_comes_to_what_stands_in_it,
        identity::an_acknowledgement_of_a_node_with_another_disk_commits_nothing,
        identity::clusters_of_other_initial_members_do_not_believe_each_other,
        standing::a_witness_keeps_what_a_full_voter_may_still_need,
        failures::a_storage_error_stops_the_node_and_its_status_says_why,
        snapshots::a_write_in_a_session_is_not_done_again_after_a_snapshot,
        promises::no_write_is_answered_before_it_is_flushed,
        promises::nothing_is_purged_before_the_snapshot_that_covers_it_is_durable,
        promises::a_snapshot_covers_all_of_the_batch_that_was_applied_last,
        promises::a_write_that_the_next_leader_may_commit_is_not_called_undone,
        promises::what_another_node_has_carried_here_is_done_once_however_often_it_is_delivered,
        promises::a_follower_serves_a_read_only_when_its_state_machine_has_got_there,
    ]);
    killers.extend([
        Killer::seeded("random schedules", 300, |seed| schedule::run_one(seed, 700, 0)),
        Killer::seeded("random schedules with other members", 150, |seed| schedule::run_one(seed, 2000, 2)),
        Killer::seeded("whole nodes, everything at once", 40, endurance::endure),
        Killer::seeded("whole nodes, snapshots", 25, snapshots::compact),
        Killer::seeded("simulation", 40, simulator::simulate),
        Killer::seeded("whole nodes, other members", 20, |seed| simulation::simulate(seed, 5)),
    ]);
    killers
}

#[cfg(test)]
mod tests {
    use raft_actor::{mutants::Mutant, testkit::hunt::survivors};

    #[test]
    fn every_bug_of_core_and_actors_that_is_put_back_is_found() {
        let mutants = Mutant::ALL.iter().copied().filter(|mutant| !mutant.is_of_storage());
        assert_eq!(survivors(mutants, &super::killers()), []);
    }

    #[test]
    fn without_a_bug_the_hunt_finds_nothing() {
        for killer in super::killers() {
            let mutant = Mutant::BelievesDamagedChunks;
            assert_eq!(killer.with_seeds(2).hunt(mutant), None, "no bug of these crates is put back");
        }
    }

    #[test]
    fn a_mutant_is_known_by_its_name_and_by_no_other() {
        for (number, mutant) in (1..).zip(Mutant::ALL) {
            assert_eq!(mutant.number(), number);
            assert_eq!(mutant.to_string().parse(), Ok(*mutant));
        }
        let error = "acks".parse::<Mutant>().expect_err("no name").to_string();
        assert!(error.contains("no mutant called `acks`"), "{error}");
    }
}
