//! Does to three real nodes under load what machines do to programs, again and again, and then looks for what
//! was lost.
//!
//! `cargo build -p example-app && cargo run -p example-app --example torture -- --help`
//!
//! It prints a table, and ends with 1 if an acknowledged write is missing, was applied twice, was missed by a
//! later read, if a key is there that nobody wrote, or if the nodes differ.

#[path = "../tests/harness/mod.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod harness;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Arg, Command, value_parser};
use harness::torture::{HEADINGS, Kind, Row, run};

/// All kinds, in the order in which they are run.
const ALL: [Kind; 10] = [
    Kind::Kill,
    Kind::KillAll,
    Kind::KillAtWrite,
    Kind::KillAtFlush,
    Kind::KillAtRename,
    Kind::FlushFails,
    Kind::NoSpace,
    Kind::DiskFull,
    Kind::Freeze,
    Kind::Partition,
];

fn main() -> ExitCode {
    let names = ALL.map(Kind::name);
    let matches = Command::new("torture")
        .about("Tortures three real nodes under load, and looks for what was lost")
        .after_help(
            "kill-at-..., flush-fails and no-space need strace; disk-full and partition need root. A kind \
             that this machine does not allow is skipped, and the table says why.",
        )
        .arg(
            Arg::new("kinds")
                .long("kinds")
                .value_delimiter(',')
                .value_parser(names)
                .help("What is done, parted by commas; all in turn where left out"),
        )
        .arg(number("times", "How often each is done").default_value("20"))
        .arg(number("seed", "Which nodes and moments are chosen; by chance where left out"))
        .get_matches();
    let chosen: Option<Vec<String>> =
        matches.get_many::<String>("kinds").map(|kinds| kinds.cloned().collect());
    let is_chosen =
        |kind: &Kind| chosen.as_ref().is_none_or(|chosen| chosen.iter().any(|name| name == kind.name()));
    let times = matches.get_one("times").copied().unwrap_or(20);
    let seed = matches.get_one("seed").copied().unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("{times} times each; seed {seed}\n{:<14} {HEADINGS}", "kind");
    let began = Instant::now();
    let mut is_clean = true;
    for kind in ALL.into_iter().filter(is_chosen) {
        match run(program(), kind, times, seed) {
            Err(why) => println!("{:<14} skipped: {why}", kind.name()),
            Ok(row) => {
                println!("{:<14} {row}", kind.name());
                is_clean &= told(&row);
            }
        }
    }
    println!("took {:.0?}", began.elapsed());
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says what is wrong; whether nothing is.
fn told(row: &Row) -> bool {
    if row.not_reached > 0 {
        println!("  {} times the node did not come to its fault in time", row.not_reached);
    }
    for list in [&row.lost, &row.twice, &row.invented, &row.stale] {
        list.iter().take(10).for_each(|wrong| println!("  {wrong}"));
    }
    row.is_clean()
}

fn number(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_parser(value_parser!(u64)).help(help)
}

/// The program beside this one: examples are built into a folder of their own.
fn program() -> PathBuf {
    let here = std::env::current_exe().expect("this program has a path");
    let program = here.parent().and_then(|folder| folder.parent()).expect("a folder").join("example-app");
    assert!(program.exists(), "{} is missing; build it first: cargo build -p example-app", program.display());
    program
}
