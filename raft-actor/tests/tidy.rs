//! Guards what reviewers forget: who imports whom, lengths, names, words that have no place here.
//!
//! Each test is one rule over the whole workspace, and prints every place that breaks it, why the rule is
//! there and how to mend it. `tidy/bites.rs` shows each rule a snippet that breaks it.

mod bites;
mod directions;
mod places;
mod scan;
mod tree;
mod words;

use tree::SourceFile;

/// A place that breaks a rule.
#[derive(Debug)]
struct Broken {
    path: String,
    line: usize,
    what: String,
    mend: String,
}

impl Broken {
    fn new(file: &SourceFile, line: usize, what: String, mend: &str) -> Broken {
        Broken { path: file.path.clone(), line, what, mend: mend.to_owned() }
    }
}

/// Holds every file to `rule`.
#[track_caller]
fn hold(rule: impl Fn(&SourceFile) -> Vec<Broken>) {
    report(tree::files().iter().flat_map(rule).collect());
}

#[track_caller]
fn report(broken: Vec<Broken>) {
    let told: Vec<String> = broken
        .iter()
        .map(|one| format!("{}:{}: {}\n    to mend it: {}", one.path, one.line, one.what, one.mend))
        .collect();
    assert!(told.is_empty(), "{} place(s) break a rule of the house:\n{}", told.len(), told.join("\n"));
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    hold(words::file_length);
}

#[test]
fn no_function_is_longer_than_70_lines() {
    hold(words::function_length);
}

#[test]
fn no_line_is_wider_than_110_columns() {
    hold(words::line_width);
}

#[test]
fn modules_import_only_what_stands_below_them() {
    hold(directions::module_directions);
}

#[test]
fn other_crates_are_named_only_where_they_have_their_home() {
    hold(directions::confined_paths);
}

#[test]
fn nobody_but_the_node_names_the_actors() {
    hold(directions::actors_are_named_by_the_node_alone);
}

#[test]
fn packages_depend_in_one_direction_only() {
    hold(directions::package_directions);
}

#[test]
fn no_note_of_unfinished_work_and_no_path_of_a_machine_is_left() {
    hold(words::banned_texts);
}

#[test]
fn no_banned_word_stands_in_code_and_no_test_is_ignored() {
    hold(words::banned_words);
}

#[test]
fn identifiers_spell_their_words_out() {
    hold(words::abbreviations);
}

#[test]
fn file_names_say_what_is_in_them() {
    hold(words::file_names);
}

#[test]
fn the_top_of_the_repository_holds_only_what_the_house_lists() {
    report(places::top_level(&tree::top_level()));
}

#[test]
fn each_crate_has_its_readme_as_its_documentation() {
    report(places::readmes(tree::files()));
}

#[test]
fn every_dependency_has_its_home_and_its_reason_in_contributing() {
    report(places::dependency_table(tree::files()));
}

#[test]
fn every_locked_dependency_comes_from_the_public_registry() {
    report(places::lock_sources(tree::files()));
}

#[test]
fn instructions_are_recorded_with_the_compiler_that_builds_the_tree() {
    report(places::counts_of_this_toolchain(tree::files()));
}
