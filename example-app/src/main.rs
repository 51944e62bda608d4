//! The command line; see the crate's modules for what the commands do.

use std::process::ExitCode;

fn main() -> ExitCode {
    example_app::commands::run(std::env::args_os())
}
