//! Does to three real nodes under load what machines do to programs, again and again, and then looks for what
//! was lost.
//!
//! `cargo build -p example-app && cargo run -p example-app --example torture -- --help`
//!
//! It prints a table, and ends with 1 if an acknowledged write is missing, was applied twice, was missed by a
//! later read, if a key is there that nobody wrote, or if the nodes differ. To see that, put a bug back:
//! `--mutant reads-before-it-has-applied`.

#[path = "../tests/harness/mod.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod harness;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use clap::{Arg, Command, value_parser};
use harness::{
    mutated,
    torture::{HEADINGS, Kind, Row, run},
};
use raft_actor::mutants::Mutant;

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
    if let Some(code) = mutated::asked() {
        return code;
    }
    let matches = command_line().get_matches();
    let chosen: Option<Vec<String>> =
        matches.get_many::<String>("kinds").map(|kinds| kinds.cloned().collect());
    let is_chosen =
        |kind: &Kind| chosen.as_ref().is_none_or(|chosen| chosen.iter().any(|name| name == kind.name()));
    let times = matches.get_one("times").copied().unwrap_or(20);
    let seed = matches.get_one("seed").copied().unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mutant: Option<Mutant> = matches.get_one("mutant").copied();
    println!("{times} times each; seed {seed}\n{:<14} {HEADINGS}", "kind");
    let began = Instant::now();
    let mut is_clean = true;
    for kind in ALL.into_iter().filter(is_chosen) {
        // What the torture itself demands, as that a node comes back, it demands by a panic.
        match catch_unwind(AssertUnwindSafe(|| run(program(), kind, times, seed, mutant))) {
            Err(_) => {
                println!("{:<14} a demand was not met; it stands above", kind.name());
                is_clean = false;
            }
            Ok(Err(why)) => println!("{:<14} skipped: {why}", kind.name()),
            Ok(Ok(row)) => {
                println!("{:<14} {row}", kind.name());
                is_clean &= told(&row);
            }
        }
    }
    println!("took {:.0?}", began.elapsed());
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn command_line() -> Command {
    Command::new("torture")
        .about("Tortures three real nodes under load, and looks for what was lost")
        .after_help(
            "kill-at-..., flush-fails and no-space need strace; disk-full and partition need root. A kind \
             that this machine does not allow is skipped, and the table says why.",
        )
        .arg(
            Arg::new("kinds")
                .long("kinds")
                .value_delimiter(',')
                .value_parser(ALL.map(Kind::name))
                .help("What is done, parted by commas; all in turn where left out"),
        )
        .arg(number("times", "How often each is done").default_value("20"))
        .arg(number("seed", "Which nodes and moments are chosen; by chance where left out"))
        .arg(
            Arg::new("mutant")
                .long("mutant")
                .value_parser(value_parser!(Mutant))
                .help("Puts this bug back in all nodes, by its name in the book's page \"How we test\""),
        )
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
