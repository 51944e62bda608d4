//! What can be asked for on the command line.

use std::{path::PathBuf, time::Duration};

use crate::contestant::Contestant;

pub(crate) const USAGE: &str = "\
Three nodes in one process, in memory: committed writes a second, raft-actor's beside openraft's.

  --clients 1,64,256   numbers of clients (default 1,64,256,1024,4096)
  --payload 0          bytes of a command (default 0)
  --rounds 5           how often each point is taken, interleaved (default 5)
  --seconds 1          measured time of each run (default 1)
  --warm-up 0.5        time before that (default 0.5)
  --only actix         contestants whose name holds this text (default all)
  --json FILE          write the figures to FILE as well
  --help               this text
";

/// About as much as a command of raft-actor may have by default.
const PAYLOAD_MAX: usize = (2 << 20) - 16;

/// How the bench is run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) clients: Vec<usize>,
    /// Bytes of a command.
    pub(crate) payload: usize,
    pub(crate) rounds: usize,
    pub(crate) measured: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) help: bool,
}

impl Settings {
    /// Reads the arguments, without the program's name.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Settings, String> {
        let mut settings = Settings {
            clients: vec![1, 64, 256, 1024, 4096],
            payload: 0,
            rounds: 5,
            measured: Duration::from_secs(1),
            warm_up: Duration::from_millis(500),
            contestants: Contestant::ALL.to_vec(),
            json: None,
            help: false,
        };
        while let Some(flag) = arguments.next() {
            if flag == "--help" {
                settings.help = true;
                return Ok(settings);
            }
            // `cargo bench` would add this.
            if flag == "--bench" {
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--clients" => {
                    let clients = value.split(',').map(|number| positive(&flag, number));
                    settings.clients = clients.collect::<Result<_, _>>()?;
                }
                "--payload" => settings.payload = bytes(&flag, &value)?,
                "--rounds" => settings.rounds = positive(&flag, &value)?,
                "--seconds" => settings.measured = seconds(&flag, &value)?,
                "--warm-up" => settings.warm_up = seconds(&flag, &value)?,
                "--only" => settings.contestants.retain(|contestant| contestant.name().contains(&value)),
                "--json" => settings.json = Some(value.into()),
                _ => return Err(format!("there is no flag {flag}")),
            }
        }
        if settings.contestants.is_empty() {
            let names = Contestant::ALL.map(Contestant::name).join("; ");
            return Err(format!("--only leaves nobody; there are: {names}"));
        }
        Ok(settings)
    }
}

fn positive(flag: &str, text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{flag}: {text:?} is not a number above 0"))
}

fn bytes(flag: &str, text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|number| *number <= PAYLOAD_MAX);
    number.ok_or_else(|| format!("{flag}: {text:?} is not a number of bytes up to {PAYLOAD_MAX}"))
}

fn seconds(flag: &str, text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0);
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| format!("{flag}: {text:?} is not a number of seconds above 0"))
}

#[cfg(test)]
mod tests {
    use super::Settings;

    fn parse(line: &str) -> Result<Settings, String> {
        Settings::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_change_what_is_run() {
        let settings =
            parse("--clients 2,3 --payload 256 --rounds 7 --seconds 0.25 --only actix").expect("right flags");
        assert_eq!(settings.clients, [2, 3]);
        assert_eq!((settings.payload, settings.rounds), (256, 7));
        assert_eq!(settings.measured.as_millis(), 250);
        assert_eq!(settings.contestants.len(), 1);
    }

    #[test]
    fn wrong_flags_are_told_by_name() {
        for wrong in [
            "--payload 9999999",
            "--clients 0",
            "--clients x",
            "--rounds",
            "--seconds -1",
            "--seconds inf",
            "--speed 9",
        ] {
            let error = parse(wrong).expect_err(wrong);
            let flag = wrong.split_whitespace().next().unwrap_or_default();
            assert!(error.contains(flag), "{wrong}: {error}");
        }
        assert!(parse("--only nobody").is_err_and(|error| error.contains("openraft, tokio, 1 thread")));
    }
}
