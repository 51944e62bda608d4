//! Instructions of the hot paths, counted by valgrind and held against those that were recorded.
//!
//! A count does not depend on the machine's mood: no clock is read, nothing waits for a disk or a network,
//! and what chance there is has a seed. So it can be held to a few per cent, where a time could not.

mod append;
mod cluster;
mod commit;
mod frame;
mod path;
mod put;
mod record;
mod report;
mod valgrind;

/// The example app's store and the wire, as they stand in their crates: so neither the web server nor the
/// command line beside them has to be built.
#[path = "../../../src/kv/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "only a part of it is counted")]
mod kv;
#[path = "../../../../raft-net-http/src/wire/mod.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "only a part of it is counted")]
mod wire;

use std::{env, process::ExitCode};

use path::Path;

const USAGE: &str = "\
Instructions of the hot paths, counted by valgrind, beside those that are recorded.

  --record          write what is counted to recorded.txt, in place of what stands there
  --only append     paths whose name holds this text (default all)
  --run NAME TIMES  go down one path so many times and count nothing: what valgrind is given to count
  --help            this text

Ends with 1 where a path takes more than the recorded instructions and the tolerance.
";

fn main() -> ExitCode {
    match order(env::args().skip(1)) {
        Ok(is_held) => ExitCode::from(u8::from(!is_held)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Does what the command line says, and says whether all is within the tolerance.
fn order(mut arguments: impl Iterator<Item = String>) -> Result<bool, String> {
    let (mut paths, mut is_recording) = (Path::ALL.to_vec(), false);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--help" => {
                print!("{USAGE}");
                return Ok(true);
            }
            "--record" => is_recording = true,
            "--only" => {
                let text = value()?;
                paths.retain(|path| path.name.contains(&text));
            }
            "--run" => {
                let (name, times) = (value()?, value()?);
                let path = Path::named(&name).ok_or_else(|| format!("there is no path {name:?}"))?;
                let times = times.parse().map_err(|_| format!("{times:?} is not a number"))?;
                return (path.run)(times).map(|()| true);
            }
            _ => return Err(format!("there is no flag {flag}\n\n{USAGE}")),
        }
    }
    if paths.is_empty() {
        let names = Path::ALL.iter().map(|path| path.name).collect::<Vec<_>>().join(", ");
        return Err(format!("--only leaves nothing; there are: {names}"));
    }
    let counted = paths.into_iter().map(|path| Ok((path, valgrind::count(&path)?)));
    let counted = counted.collect::<Result<Vec<_>, String>>()?;
    if is_recording { record::write(&counted).map(|()| true) } else { report::hold(&counted) }
}
