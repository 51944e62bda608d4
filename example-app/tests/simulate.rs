//! The command that simulates: with a bug put back it fails, says how to see that again, and what it says is
//! true.

use std::io::Write;

use clap::Parser;

#[path = "../examples/simulate/main.rs"]
#[allow(dead_code, reason = "its main function")]
mod command;

/// What the command prints, and whether nothing was broken.
fn simulate(arguments: &str) -> (String, bool) {
    let words = std::iter::once("simulate").chain(arguments.split_whitespace());
    let settings = command::Settings::try_parse_from(words).expect("arguments as the command takes them");
    let mut out = Vec::new();
    let is_well = command::carry_out(&settings, &mut out).expect("a vector takes all");
    out.flush().expect("nothing to do");
    (String::from_utf8(out).expect("it prints text"), is_well)
}

#[test]
fn a_simulation_that_fails_is_made_short_and_can_be_run_again_from_the_line_it_prints() {
    let run = "--seeds 20 --minutes 1 --fault-every 2000 --pause 100 --jobs 1 --twice 0 --shrink 20";
    let (told, is_well) = simulate(&format!("{run} --mutant leaves-sessions-out-of-snapshots"));
    println!("{told}");
    assert!(!is_well, "a bug was put back, and nothing was found");
    let failures: Vec<&str> = told.lines().filter(|line| line.contains("FAILED: ")).collect();
    let [first, short] = failures[..] else { panic!("a failure, and the same made short: {told}") };
    let broken =
        |line: &str| line.split_once("s: ").map(|(_, what)| what.split(':').next().map(str::to_owned));
    assert_eq!(broken(first), broken(short), "another thing is broken once it is short");
    let count =
        |line: &str| line.split_once("--faults=").map_or(0, |(_, numbers)| numbers.split(',').count());
    let lines: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("command: ")).collect();
    let [of_first, of_short] = lines[..] else { panic!("a line to replay each: {told}") };
    assert!(count(of_short) < count(of_first), "{told}");

    let (again, is_well) = simulate(of_short);
    assert!(!is_well && again.contains(short.trim_start_matches("made short:")), "{again}");
    let (without, is_well) = simulate(&of_short.replace("--mutant leaves-sessions-out-of-snapshots", ""));
    assert!(is_well, "it fails without the bug: {without}");
}
