//! Nodes with a bug put back, to see whether tests of real processes notice.
//!
//! The program that everybody runs has no door for that. Such a node is another process of the test program
//! itself, which learns from its environment that it is to be one.

use std::{ffi::OsString, process::Command, process::ExitCode};

use raft_actor::mutants::{Mutant, put_back_everywhere};

/// The bug's name and the node's arguments, a line each.
const NODE: &str = "NODE_WITH_A_BUG";

/// The test that asks [`asked`], for a program whose `main` is not ours.
const TEST: &str = "torture::torture_finds_bugs_in_real_processes";

/// The command that runs the same node with this bug.
pub(crate) fn node(mutant: Mutant, without: &Command) -> Command {
    let mut lines = mutant.to_string();
    for word in without.get_args() {
        lines.push('\n');
        lines.push_str(word.to_str().expect("folders of tests have plain names"));
    }
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args([TEST, "--exact", "--nocapture"]).env(NODE, lines);
    command
}

/// Where this process was started as a node with a bug, is that node until it ends.
pub(crate) fn asked() -> Option<ExitCode> {
    let lines = std::env::var(NODE).ok()?;
    let (mutant, arguments) = lines.split_once('\n').expect("a bug, and arguments");
    put_back_everywhere(mutant.parse().expect("the name of a bug"));
    let words = std::iter::once("example-app").chain(arguments.lines());
    Some(example_app::commands::run(words.map(OsString::from)))
}
