//! Benchmarks of real processes on this machine, beside etcd where it is installed.
//!
//! `cargo run --release -p example-app --example bench -- http` (or `failover`, `lag`, `growth`; `--help`)
//!
//! Every run has fresh folders and flushes for real; systems take turns within a round. A table shows medians
//! and spreads, and a ratio is taken within each round, so that what disturbs the machine disturbs both. The
//! nodes are built by this command, in release mode and without anything that only tests need.

mod failover;
mod growth;
mod http;
mod lag;
mod machine;
mod nodes;
mod report;
mod writers;
mod wrk;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use self::{
    nodes::{Stage, System},
    report::Report,
};

/// Why there are no figures.
type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let matches = command_line().get_matches();
    let Some((name, flags)) = matches.subcommand() else { return ExitCode::FAILURE };
    match run(name, flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("no figures: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, flags: &ArgMatches) -> Result<(), Failure> {
    let folder: Option<&PathBuf> = flags.get_one("folder");
    let only: Option<&String> = flags.get_one("only");
    let stage = Stage::prepare(flags.get_one("program"), folder, only.map(String::as_str))?;
    let mut report = match flags.get_one::<PathBuf>("json") {
        Some(file) if flags.get_flag("go-on") => Report::read(file)?,
        _ => Report::default(),
    };
    let rounds = flags.get_one::<u64>("rounds").copied().unwrap_or(5);
    let first = report.rounds();
    for round in first..first + rounds {
        match name {
            "http" => http::round(&stage, &http::Course::new(flags), round, &mut report)?,
            "failover" => failover::round(&stage, flags, round, &mut report)?,
            "lag" => lag::round(&stage, flags, round, &mut report)?,
            _ => growth::round(&stage, flags, round, &mut report)?,
        }
        if let Some(file) = flags.get_one::<PathBuf>("json") {
            report.write(file)?;
        }
    }
    report.print();
    Ok(())
}

fn command_line() -> Command {
    Command::new("bench")
        .about("Measures real nodes on this machine, beside etcd where it is installed")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_flags(
            Command::new("http")
                .about("Puts and ranges of three nodes over HTTP; the load is wrk's")
                .arg(list("connections", "1,16,64,256,1024", "Numbers of connections for puts"))
                .arg(list("reading", "1,64,256", "Numbers of connections for ranges"))
                .arg(number("seconds", "3", "Measured time of each point, after a second of warm-up")),
        ))
        .subcommand(with_flags(
            Command::new("failover")
                .about("The time without writes when the leader is killed, or stands still")
                .arg(number("times", "4", "How often it is done in a round")),
        ))
        .subcommand(with_flags(
            Command::new("lag")
                .about("A follower that is far behind catches up while writes go on; ours alone")
                .arg(number("mebibytes", "1024", "How far behind it is")),
        ))
        .subcommand(with_flags(
            Command::new("growth")
                .about("What grows with members, payloads, puts and logs; what idling costs")
                .arg(
                    Arg::new("what")
                        .long("what")
                        .value_delimiter(',')
                        .value_parser(growth::NAMES)
                        .default_values(growth::NAMES)
                        .help("Which of them, parted by commas"),
                )
                .arg(list("entries", "10000,100000,1000000,10000000", "Lengths of logs to start up with")),
        ))
}

fn with_flags(command: Command) -> Command {
    let path = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_parser(value_parser!(PathBuf)).help(help)
    };
    command
        .arg(number("rounds", "5", "How often everything is taken"))
        .arg(path("json", "A file for every sample"))
        .arg(
            Arg::new("go-on")
                .long("go-on")
                .action(ArgAction::SetTrue)
                .requires("json")
                .help("Add to the samples that the file holds"),
        )
        .arg(path("folder", "Where nodes keep their data, on a real disk. Default: beside this program"))
        .arg(path("program", "The example-app to measure. Default: it is built"))
        .arg(
            Arg::new("only")
                .long("only")
                .value_parser([System::Ours.name(), System::Etcd.name()])
                .help("Measure one of the two alone"),
        )
}

fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_parser(value_parser!(u64).range(1..)).default_value(default).help(help)
}

fn list(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    number(name, default, help).value_delimiter(',').default_values(default.split(','))
}

/// The numbers of a flag made by `list`.
fn numbers(flags: &ArgMatches, name: &str) -> Vec<u64> {
    flags.get_many(name).map(|numbers| numbers.copied().collect()).unwrap_or_default()
}
