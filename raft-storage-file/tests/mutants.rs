//! Do the tests bite? Each bug of `raft_actor::mutants` that is this crate's is put back, and a test of this
//! folder must find it.

use raft_actor::testkit::hunt::Killer;

use super::{crash, damage, snapshots};

/// Tests that are always the same, under their own names.
macro_rules! fixed {
    ($($module:ident::$test:ident,)*) => {
        [$(Killer::fixed(stringify!($test), $module::$test),)*]
    };
}

/// The tests, the cheapest first.
pub(crate) fn killers() -> Vec<Killer> {
    let mut killers = Vec::from(fixed![
        crash::after_a_failed_flush_nothing_is_acknowledged_any_more,
        snapshots::damage_anywhere_is_found_and_told_with_file_and_place,
        damage::a_bit_turned_in_the_last_frame_is_refused_even_before_the_mark,
    ]);
    killers.push(Killer::seeded("power cuts, after so many calls", 130, crash::cut_the_power_after));
    killers
}

#[cfg(test)]
mod tests {
    use raft_actor::{mutants::Mutant, testkit::hunt::survivors};

    #[test]
    fn every_bug_of_the_storage_that_is_put_back_is_found() {
        let mutants = Mutant::ALL.iter().copied().filter(|mutant| mutant.is_of_storage());
        assert_eq!(survivors(mutants, &super::killers()), []);
    }
}
