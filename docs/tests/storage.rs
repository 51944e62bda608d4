//! Holds the pages on storage to the tests that they name: no row of their tables is without one.

use std::{collections::BTreeSet, fs, path::PathBuf};

fn read(path: &str) -> String {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().expect("a package lies one folder below the root");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of the table whose header begins with this cell: the first cell, and the last.
fn rows(page: &str, header: &str) -> Vec<(String, String)> {
    let begins = format!("| {header} |");
    let table = page.lines().skip_while(|line| !line.starts_with(&begins)).skip(2);
    let cells = table.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        (cells[0].to_owned(), cells[cells.len() - 1].trim_matches('`').to_owned())
    });
    cells.collect()
}

/// What is wrong with a row's test.
fn wrong((row, test): &(String, String)) -> Option<String> {
    let Some((module, name)) = test.split_once("::") else {
        return Some(format!("row {row} names no test, but `{test}`"));
    };
    let source = read(&format!("raft-storage-file/tests/{module}.rs"));
    // Those that hunt mutants too can be called from elsewhere.
    let is_test = source.contains(&format!("#[test]\nfn {name}() {{"))
        || source.contains(&format!("#[cfg_attr(test, test)]\npub(crate) fn {name}() {{"));
    (!is_test).then(|| format!("row {row}: raft-storage-file/tests/{module}.rs has no test {name}"))
}

fn check(rows: &[(String, String)]) {
    let wrong: Vec<String> = rows.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{} row(s) are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_row_of_the_recovery_table_has_its_number_and_its_test() {
    let rows = rows(&read("docs/src/reference/file-format.md"), "#");
    let numbers: Vec<String> = rows.iter().map(|(number, _)| number.clone()).collect();
    assert_eq!(numbers, (1..=32).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    check(&rows);
}

#[test]
fn every_row_of_the_table_of_repairs_has_its_test() {
    let rows = rows(&read("docs/src/reference/file-format.md"), "damage");
    assert_eq!(rows.len(), 9);
    check(&rows);
}

#[test]
fn every_requirement_of_the_research_has_its_row_and_its_test() {
    let rows = rows(&read("docs/src/reference/storage-requirements.md"), "id");
    let expected = [("P", 8), ("F", 5), ("A", 6), ("R", 4)];
    let expected: Vec<String> = expected
        .iter()
        .flat_map(|(group, count)| (1..=*count).map(move |number| format!("{group}{number}")))
        .collect();
    let told: Vec<String> = rows.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(told, expected);
    check(&rows);
}

#[test]
fn a_row_that_names_no_test_is_found() {
    let row = |test: &str| ("1".to_owned(), test.to_owned());
    assert_eq!(wrong(&row("damage::a_copy_of_meta_is_enough")), None);
    for test in ["damage::no_such_test", "the same", "damage::store", "crash::open"] {
        assert!(wrong(&row(test)).is_some(), "{test}");
    }
}

/// What each row of the damage matrix says was lost.
#[test]
fn the_damage_matrix_is_told_row_by_row_and_without_a_loss() {
    let rows = rows(&read("docs/src/how/testing.md"), "what was done");
    let kinds: BTreeSet<String> = rows.iter().map(|(what, _)| what.clone()).collect();
    assert!(rows.len() >= 11 && kinds.len() == rows.len(), "{rows:?}");
    assert!(rows.iter().all(|(_, lost)| lost == "0"), "{rows:?}");
}
