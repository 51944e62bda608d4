//! Holds the page about Figure 2 to the code: no line of the figure is missing, and every name, file and
//! script that the page tells exists.

use std::{fs, path::PathBuf};

use raft_actor::mutants::Mutant;

pub(super) fn root() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("a package lies one folder below the root").to_owned()
}

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// How many lines each part of the paper's Figure 2 has.
const PARTS: [(&str, usize); 11] = [
    ("State", 7),
    ("AppendEntries argument", 6),
    ("AppendEntries result", 2),
    ("AppendEntries rule", 5),
    ("RequestVote argument", 4),
    ("RequestVote result", 2),
    ("RequestVote rule", 2),
    ("All servers", 2),
    ("Followers", 2),
    ("Candidates", 4),
    ("Leaders", 4),
];

/// The cells of each row that tells a line: line, words, name, file, script.
fn rows(page: &str) -> Vec<[String; 5]> {
    let cells = page.lines().filter(|line| line.starts_with("| ")).map(|line| {
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        cells.collect::<Vec<_>>()
    });
    cells
        .filter(|cells| cells[0] != "line")
        .map(|cells| cells.try_into().expect("five cells a row"))
        .collect()
}

/// Whether a source has a function, or a field, of this name.
fn has(source: &str, name: &str) -> bool {
    let starts = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("pub(super) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
        line.starts_with(&format!("fn {name}(")) || line.starts_with(&format!("{name}: "))
    };
    source.lines().any(starts)
}

/// What is wrong with one row.
fn wrong(row: &[String; 5]) -> Option<String> {
    let [line, _, name, file, script] = row;
    let path = format!("raft-actor/src/{file}");
    if !root().join(&path).is_file() {
        return Some(format!("{line}: there is no {path}"));
    }
    if !has(&read(&path), name) {
        return Some(format!("{line}: {path} has no `{name}`"));
    }
    let script = format!("raft-actor/tests/scripts/{script}.txt");
    (!root().join(&script).is_file()).then(|| format!("{line}: there is no {script}"))
}

#[test]
fn every_line_of_figure_2_is_told_once_and_in_order() {
    let expected: Vec<String> = PARTS
        .iter()
        .flat_map(|(part, count)| (1..=*count).map(move |number| format!("{part} {number}")))
        .collect();
    let told: Vec<String> =
        rows(&read("docs/src/reference/figure-2.md")).into_iter().map(|[line, ..]| line).collect();
    assert_eq!(told, expected);
}

#[test]
fn every_name_file_and_script_of_the_figure_2_page_exists() {
    let rows = rows(&read("docs/src/reference/figure-2.md"));
    let wrong: Vec<String> = rows.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{} line(s) are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_row_that_names_what_is_not_there_is_found() {
    let row = |name: &str, file: &str, script: &str| ["State 1", "", name, file, script].map(str::to_owned);
    let script = "term-and-vote-are-one-write";
    assert_eq!(wrong(&row("set_hard_state", "core/mod.rs", script)), None);
    for row in [
        row("no_such_function", "core/mod.rs", script),
        row("set_hard_state", "core/nowhere.rs", script),
        row("set_hard_state", "core/mod.rs", "no-such-script"),
    ] {
        assert!(wrong(&row).is_some(), "{row:?}");
    }
}

#[test]
fn every_script_that_a_page_names_exists() {
    for page in ["docs/src/reference/figure-2.md", "docs/src/how/testing.md"] {
        let text = read(page);
        // Their names are sentences: at least four words.
        let names = text.split('`').skip(1).step_by(2).filter(|name| name.matches('-').count() >= 3);
        // Mutants are named in the same manner.
        let names = names.filter(|name| name.parse::<Mutant>().is_err());
        for name in names.filter(|name| !name.contains([' ', '/'])) {
            let script = root().join(format!("raft-actor/tests/scripts/{name}.txt"));
            assert!(script.is_file(), "{page}: there is no script {name}");
        }
    }
}
