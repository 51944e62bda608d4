//! Holds the page about the bugs of others to the code: every bug has its row, and every script and test that
//! a row names exists.

use std::{fs, path::Path};

use crate::figure_2::{read, root};

/// How many there are.
const BUGS: usize = 45;

/// The number and the names of each row.
fn rows(page: &str) -> Vec<(String, Vec<String>)> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| bug "));
    let cells = rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| {
            let names = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
            (cells[0].to_owned(), names)
        })
        .collect()
}

/// The text of every Rust file below a folder.
fn sources(folder: &Path, texts: &mut String) {
    let entries = fs::read_dir(folder).expect("a folder that can be read");
    for path in entries.map(|entry| entry.expect("a folder that can be read").path()) {
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|end| end == "rs") {
            texts.push_str(&fs::read_to_string(&path).expect("a text"));
        }
    }
}

/// The tests of the whole workspace.
fn tests() -> String {
    let mut texts = String::new();
    for package in ["raft-actor", "raft-storage-file", "raft-net-http", "example-app"] {
        sources(&root().join(package).join("tests"), &mut texts);
    }
    texts
}

/// What is wrong with a row.
fn wrong((number, names): &(String, Vec<String>), tests: &str) -> Option<String> {
    if names.is_empty() {
        return Some(format!("{number}: names neither a test nor `not covered`"));
    }
    let is_there = |name: &&String| {
        let script = root().join(format!("raft-actor/tests/scripts/{name}.txt"));
        *name == "not covered" || script.is_file() || tests.contains(&format!("fn {name}("))
    };
    let missing = names.iter().find(|name| !is_there(name))?;
    Some(format!("{number}: there is no {missing}"))
}

#[test]
fn every_bug_of_the_list_has_its_row_in_order() {
    let numbers: Vec<String> =
        rows(&read("docs/src/reference/bugs.md")).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (1..=BUGS).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn every_script_and_test_that_the_page_of_bugs_names_exists() {
    let tests = tests();
    let rows = rows(&read("docs/src/reference/bugs.md"));
    let wrong: Vec<String> = rows.iter().filter_map(|row| wrong(row, &tests)).collect();
    assert!(wrong.is_empty(), "{} row(s) are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_row_of_a_bug_that_names_what_is_not_there_is_found() {
    let row = |names: &[&str]| ("1".to_owned(), names.iter().map(|name| (*name).to_owned()).collect());
    let tests = "fn this_is_there() {";
    assert_eq!(wrong(&row(&["term-and-vote-are-one-write", "this_is_there"]), tests), None);
    assert_eq!(wrong(&row(&["not covered"]), tests), None);
    for names in [&["no-such-script"][..], &["this_is_there", "this_is_not"], &[]] {
        assert!(wrong(&row(names), tests).is_some(), "{names:?}");
    }
}
