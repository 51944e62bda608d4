//! Holds the pages to the code: every snippet is an anchor of a tested file, every link leads somewhere,
//! every page can be found, every name stands in the source.

mod pages;

use std::collections::{BTreeMap, BTreeSet};

use pages::{Page, anchors_of, fences_of, headings_of, includes_of, links_of, names_of};

/// Tells everything that is wrong at once.
#[track_caller]
fn report(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} thing(s) are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_include_resolves_to_a_part_that_is_not_empty() {
    let mut wrong = Vec::new();
    for page in pages::book() {
        for include in includes_of(&page.text) {
            let place = format!("{}:{}", page.path, include.line);
            match std::fs::read_to_string(pages::root().join(page.beside(&include.file))) {
                Err(error) => wrong.push(format!("{place}: {} cannot be read: {error}", include.file)),
                Ok(text) => {
                    let part = include.anchor.as_ref().map(|name| anchors_of(&text).remove(name));
                    let part = part.unwrap_or(Some(text));
                    if part.is_none_or(|part| part.trim().is_empty()) {
                        wrong.push(format!(
                            "{place}: {}:{:?} is empty or missing",
                            include.file, include.anchor
                        ));
                    }
                }
            }
        }
    }
    report(wrong);
}

#[test]
fn every_anchor_is_shown_by_some_page() {
    let mut shown = BTreeSet::new();
    for page in pages::all() {
        for include in includes_of(&page.text) {
            shown.insert((page.beside(&include.file), include.anchor.unwrap_or_default()));
        }
    }
    shown.insert(README_SNIPPET.map(str::to_owned).into());
    let mut wrong = Vec::new();
    for source in pages::sources() {
        for name in anchors_of(&source.text).into_keys() {
            if !shown.contains(&(source.path.clone(), name.clone())) {
                wrong.push(format!("{}: no page shows the anchor `{name}`", source.path));
            }
        }
    }
    report(wrong);
}

#[test]
fn every_link_picture_and_fragment_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages::all() {
        for link in links_of(&page.text) {
            if let Some(reason) = dead(&page, &link.target) {
                wrong.push(format!("{}:{}: {} {reason}", page.path, link.line, link.target));
            }
        }
    }
    report(wrong);
}

/// Why a link leads nowhere. What lies outside this repository is not looked at.
fn dead(page: &Page, target: &str) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { page.path.clone() } else { page.beside(file) };
    let absolute = pages::root().join(&path);
    if !absolute.exists() {
        return Some("does not exist");
    }
    if fragment.is_empty() {
        return None;
    }
    let text = std::fs::read_to_string(absolute).unwrap_or_default();
    let found = headings_of(&text).iter().any(|heading| heading == fragment);
    (!found).then_some("names no heading there")
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let page = pages::read("docs/src/start.md");
    for target in ["nowhere.md", "#nothing-of-the-sort", "tutorial/one-node.md#neither-there"] {
        assert!(dead(&page, target).is_some(), "{target}");
    }
    for target in ["tutorial/one-node.md", "#kill-the-leader", "how/write.md#on-a-node-that-does-not-lead"] {
        assert_eq!(dead(&page, target), None, "{target}");
    }
}

#[test]
fn every_page_is_in_the_summary_once_and_the_summary_names_nothing_else() {
    let summary = pages::book().into_iter().find(|page| page.path == "docs/src/SUMMARY.md");
    let summary = summary.expect("the book has a summary");
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    for link in links_of(&summary.text) {
        *named.entry(summary.beside(&link.target)).or_default() += 1;
    }
    let pages = pages::book();
    let there: BTreeSet<&str> =
        pages.iter().map(|page| page.path.as_str()).filter(|path| *path != summary.path).collect();
    let mut wrong = Vec::new();
    wrong.extend(
        there.iter().filter(|path| !named.contains_key(**path)).map(|path| format!("{path} is not named")),
    );
    wrong.extend(
        named.keys().filter(|path| !there.contains(path.as_str())).map(|path| format!("{path} is not there")),
    );
    wrong.extend(
        named.iter().filter(|(_, times)| **times > 1).map(|(path, _)| format!("{path} is named twice")),
    );
    report(wrong);
}

#[test]
fn no_rust_fence_holds_anything_but_includes() {
    let mut wrong = Vec::new();
    for page in pages::book() {
        for fence in fences_of(&page.text).into_iter().filter(|fence| fence.language.starts_with("rust")) {
            let lines = fence.text.lines().filter(|line| !line.trim().is_empty());
            if lines.clone().count() == 0
                || lines.into_iter().any(|line| !line.trim().starts_with("{{#include"))
            {
                wrong.push(format!(
                    "{}:{}: code of its own; show an anchor of a tested file",
                    page.path, fence.line
                ));
            }
        }
    }
    report(wrong);
}

#[test]
fn every_picture_has_a_title_and_a_description_and_is_shown() {
    let shown: BTreeSet<String> = pages::all()
        .iter()
        .flat_map(|page| links_of(&page.text).into_iter().map(|link| page.beside(&link.target)))
        .collect();
    let mut wrong = Vec::new();
    for picture in pages::pictures() {
        for part in ["<title>", "<desc>", "viewBox"] {
            if !picture.text.contains(part) {
                wrong.push(format!("{}: has no {part}", picture.path));
            }
        }
        if !shown.contains(&picture.path) {
            wrong.push(format!("{}: no page shows it", picture.path));
        }
    }
    report(wrong);
}

const README_SNIPPET: [&str; 2] = ["docs/tests/tutorial/readme.rs", "compose"];

#[test]
fn the_readmes_program_is_the_one_that_is_tested() {
    let [file, anchor] = README_SNIPPET;
    let tested = std::fs::read_to_string(pages::root().join(file)).expect("the tested program is there");
    let tested = anchors_of(&tested).remove(anchor).expect("the tested program has its anchor");
    let readme = pages::read("README.md");
    let shown = fences_of(&readme.text).into_iter().find(|fence| fence.language == "rust");
    assert_eq!(shown.expect("the README shows a program").text.trim(), tested.trim());
}

#[test]
fn every_name_in_the_architecture_and_in_the_glossary_stands_in_the_source() {
    let sources: Vec<Page> = pages::sources();
    let words: BTreeSet<&str> = sources
        .iter()
        .filter(|source| source.path.contains("/src/"))
        .flat_map(|source| source.text.split(|c: char| c != '_' && !c.is_alphanumeric()))
        .collect();
    let mut wrong = Vec::new();
    for page in ["ARCHITECTURE.md", "docs/src/reference/glossary.md"].map(pages::read) {
        for name in names_of(&page.text) {
            let file = name.text.contains('/') || [".rs", ".md"].iter().any(|end| name.text.ends_with(end));
            let package = pages::root().join(&name.text).join("Cargo.toml").exists();
            let there = match (file, package) {
                (true, _) => ["", "raft-actor/src"]
                    .iter()
                    .any(|base| pages::root().join(base).join(&name.text).exists()),
                (false, true) => true,
                (false, false) => {
                    name.text.split("::").all(|part| words.contains(part.trim_end_matches("()")))
                }
            };
            if !there {
                wrong.push(format!("{}:{}: `{}` is not in the source", page.path, name.line, name.text));
            }
        }
    }
    report(wrong);
}
