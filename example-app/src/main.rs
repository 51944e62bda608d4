//! The command line; see the crate's modules for what the commands do.

use std::process::ExitCode;

/// A request makes and drops some two dozen small allocations, on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    example_app::commands::run(std::env::args_os())
}
