//! Compares the reference pages with the code that they describe.

use std::collections::BTreeMap;

use raft_actor::config::Config;

fn read(path: &str) -> String {
    let package = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().expect("a package of the workspace lies one folder below its root");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of a page's tables: the first cell, without backticks, and the others.
fn rows_of(page: &str) -> Vec<(String, Vec<String>)> {
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        let first = cells.next().unwrap_or_default();
        rows.push((first.trim_matches('`').to_owned(), cells.collect()));
    }
    rows
}

/// A default as people write it, as `Debug` writes it: `1 MiB` is `1048576`, `50 ms` is `50ms`.
fn plain(written: &str) -> String {
    let written = written.replace(',', "");
    let Some((number, unit)) = written.split_once(' ') else { return written };
    let number: u64 =
        number.parse().unwrap_or_else(|_| panic!("a default must begin with a number: {written}"));
    match unit {
        "KiB" => (number << 10).to_string(),
        "MiB" => (number << 20).to_string(),
        _ => format!("{number}{unit}"),
    }
}

#[test]
fn the_configuration_page_tells_every_key_and_its_default() {
    let told: BTreeMap<String, String> = rows_of(&read("docs/src/reference/configuration.md"))
        .into_iter()
        .map(|(key, cells)| (key, plain(&cells[0])))
        .collect();
    let config = format!("{:#?}", Config::default());
    let actual: BTreeMap<String, String> = config
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "))
        .map(|(key, default)| (key.to_owned(), default.to_owned()))
        .collect();
    assert!(actual.len() >= 14, "the defaults were not understood: {config}");
    assert_eq!(told, actual);
}

/// An error's variants and what their docs say after "What to do:", by `Enum::Variant`.
fn advice_of(source: &str) -> BTreeMap<String, String> {
    let mut advice = BTreeMap::new();
    let mut owner = String::new();
    let mut doc = String::new();
    for line in source.lines() {
        let text = line.trim();
        if let Some(rest) = line.strip_prefix("pub enum ") {
            let name = rest.trim_end_matches(" {");
            if name.ends_with("Error") { name } else { "" }.clone_into(&mut owner);
            doc.clear();
        } else if line == "}" {
            owner.clear();
        } else if let Some(said) = text.strip_prefix("///") {
            doc.push_str(said.trim());
            doc.push(' ');
        } else if !owner.is_empty() && line.starts_with("    ") && line[4..].starts_with(char::is_uppercase) {
            let name = text.split([' ', '(', '{', ',']).next().unwrap_or_default();
            if let Some((_, what_to_do)) = doc.split_once("What to do: ") {
                advice.insert(format!("{owner}::{name}"), what_to_do.trim().to_owned());
            } else {
                advice.insert(format!("{owner}::{name}"), String::new());
            }
            doc.clear();
        } else if !text.starts_with('#') && !text.starts_with('"') && !text.starts_with(')') {
            doc.clear();
        }
    }
    advice
}

#[test]
fn the_errors_page_tells_every_error_and_what_to_do_about_it() {
    let told: BTreeMap<String, String> = rows_of(&read("docs/src/reference/errors.md"))
        .into_iter()
        .map(|(name, cells)| (name, cells[1].clone()))
        .collect();
    let mut actual = advice_of(&read("raft-actor/src/error.rs"));
    actual.append(&mut advice_of(&read("raft-actor/src/membership.rs")));
    actual.append(&mut advice_of(&read("raft-actor/src/membership/transfer.rs")));
    actual.append(&mut advice_of(&read("raft-actor/src/storage.rs")));
    actual.append(&mut advice_of(&read("raft-actor/src/node/survivor.rs")));
    assert!(actual.len() >= 15, "the errors were not understood: {actual:#?}");
    for (name, advice) in &actual {
        let expected = if advice.is_empty() { "" } else { advice };
        let page = told.get(name).unwrap_or_else(|| panic!("errors.md has no row for `{name}`: {expected}"));
        assert!(
            expected.is_empty() || page == expected,
            "errors.md says of `{name}`: {page}\nthe code says: {expected}"
        );
    }
    let gone: Vec<&String> = told.keys().filter(|name| !actual.contains_key(*name)).collect();
    assert!(gone.is_empty(), "errors.md tells of errors that are gone: {gone:?}");
}
