//! What can be asked for on the command line.

use std::path::PathBuf;

use crate::speed::Section;

pub(crate) const USAGE: &str = "\
The file log beside the bare disk and other logs.

  (nothing)            measure speed
  damage               damage the files of each log, and see what it makes of that

  --only appends       of the speed sections, only those named, with commas between:
                       appends, clients, votes, rotations, reopen (default all)
  --who ours           contestants whose name holds this text (default all)
  --point '64 x 1024'  of the appends, only those whose name holds this text (default all)
  --rounds 5           how often each point is taken, interleaved (default 5)
  --mebibytes 1024     payload of the log that is opened again and read (default 1024)
  --folder FOLDER      where the logs are made, and removed (default: beside the program)
  --json FILE          write the figures to FILE as well
  --help               this text
";

/// How the bench is run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) sections: Vec<Section>,
    /// Part of the names of those who take part.
    pub(crate) who: String,
    /// Part of the names of the points that are taken.
    pub(crate) point: String,
    pub(crate) rounds: usize,
    pub(crate) mebibytes: usize,
    pub(crate) folder: PathBuf,
    pub(crate) json: Option<PathBuf>,
    pub(crate) help: bool,
}

impl Settings {
    /// Reads the arguments, without the program's name.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Settings, String> {
        let mut settings = Settings {
            sections: Section::ALL.to_vec(),
            who: String::new(),
            point: String::new(),
            rounds: 5,
            mebibytes: 1024,
            folder: concat!(env!("CARGO_MANIFEST_DIR"), "/target/logs").into(),
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
                "--only" => settings.sections = value.split(',').map(section).collect::<Result<_, _>>()?,
                "--who" => settings.who = value,
                "--point" => settings.point = value,
                "--rounds" => settings.rounds = positive(&flag, &value)?,
                "--mebibytes" => settings.mebibytes = positive(&flag, &value)?,
                "--folder" => settings.folder = value.into(),
                "--json" => settings.json = Some(value.into()),
                _ => return Err(format!("there is no flag {flag}")),
            }
        }
        Ok(settings)
    }
}

fn section(name: &str) -> Result<Section, String> {
    let found = Section::ALL.into_iter().find(|section| section.name() == name.trim());
    found.ok_or_else(|| {
        let names = Section::ALL.map(Section::name).join(", ");
        format!("--only: there is no section {name:?}; there are: {names}")
    })
}

fn positive(flag: &str, text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{flag}: {text:?} is not a number above 0"))
}

#[cfg(test)]
mod tests {
    use super::Settings;

    fn parse(line: &str) -> Result<Settings, String> {
        Settings::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_change_what_is_run() {
        let settings = parse("--only votes,reopen --rounds 7 --mebibytes 3").expect("right flags");
        assert_eq!(settings.sections.len(), 2);
        assert_eq!((settings.rounds, settings.mebibytes), (7, 3));
    }

    #[test]
    fn wrong_flags_are_told_by_name() {
        for wrong in ["--rounds 0", "--rounds x", "--rounds", "--only speed", "--mebibytes -1", "--fast 9"] {
            let error = parse(wrong).expect_err(wrong);
            let flag = wrong.split_whitespace().next().unwrap_or_default();
            assert!(error.contains(flag), "{wrong}: {error}");
        }
    }
}
