//! Holds the table of mutants to the code: each has its row, and what is said to have killed it is a test
//! that hunts it.

use raft_actor::mutants::Mutant;

use crate::figure_2::read;

/// The cells of each row: number, name, killer.
fn rows(page: &str) -> Vec<[String; 3]> {
    let rows = page.lines().skip_while(|line| !line.starts_with("| no. | mutant |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells.map(|cells| [0, 1, 2].map(|place| cells[place].trim_matches('`').to_owned())).collect()
}

#[test]
fn every_mutant_has_its_row_in_order() {
    let told = rows(&read("docs/src/how/testing.md")).into_iter().map(|[number, name, _]| (number, name));
    let known = Mutant::ALL.iter().map(|mutant| (mutant.number().to_string(), mutant.to_string()));
    assert_eq!(told.collect::<Vec<_>>(), known.collect::<Vec<_>>());
}

#[test]
fn whatever_is_said_to_kill_a_mutant_hunts_it() {
    let of_nodes = read("raft-actor/tests/mutants.rs");
    let of_storage = read("raft-storage-file/tests/mutants.rs");
    for ([_, _, killer], mutant) in rows(&read("docs/src/how/testing.md")).into_iter().zip(Mutant::ALL) {
        let hunters = if mutant.is_of_storage() { &of_storage } else { &of_nodes };
        let is_there =
            hunters.contains(&format!("::{killer},")) || hunters.contains(&format!("\"{killer}\""));
        assert!(is_there, "{mutant}: no test that hunts it is called `{killer}`");
    }
}
