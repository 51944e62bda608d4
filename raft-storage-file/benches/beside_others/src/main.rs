//! The file log beside the bare disk and beside other logs.
//!
//! Two programs in one. Without a word before the flags it measures speed: appends with a flush, reopening,
//! reading, votes. With the word `damage` it does to each log what disks do, and prints what became of what
//! was acknowledged. See docs/src/reference/benchmarks.md and docs/src/how/testing.md.
//!
//! Contestants take turns within a round, another one begins each round, and a ratio is taken within its
//! round, so that what disturbs the machine disturbs both.

mod book;
mod damage;
mod material;
mod settings;
mod speed;

use std::process::ExitCode;

use settings::{Settings, USAGE};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|word| word == damage::CHILD).is_some() {
        return finish(damage::child(arguments));
    }
    let is_damage = arguments.next_if(|word| word == "damage").is_some();
    let settings = match Settings::parse(arguments) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if settings.help {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    finish(if is_damage { damage::run(&settings) } else { speed::run(&settings) })
}

fn finish(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
