//! The logs: how each is written and read back.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use okaywal::{Configuration, EntryId, LogManager, SegmentReader, WriteAheadLog};
use raft_actor::{
    storage::LogStorage,
    types::{LogIndex, Payload},
};
use raft_engine::{Config, Engine, LogBatch, ReadableSize};
use raft_storage_file::Options;
use redb::{ReadableDatabase, ReadableTable};

use super::{ENTRIES, ENTRY_BYTES, payload};
use crate::{
    material::Material,
    speed::{
        Log,
        engine::{REGION, Shape, entry},
        ours::Ours,
    },
};

/// A log. Those that can have several files are told to make them small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Engine,
    Okaywal,
    Fjall,
    Redb,
}

/// What was read back, beside what was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has opened, and told no error.
    Opened {
        lost: u64,
        wrong: u64,
    },
    /// It has opened, and told an error once it was read.
    RefusedRead(String),
    RefusedOpen(String),
    Panics,
    Hangs,
}

type Entries = BTreeMap<u64, Vec<u8>>;

impl Kind {
    pub(crate) const ALL: [Kind; 5] = [Kind::Ours, Kind::Engine, Kind::Okaywal, Kind::Fjall, Kind::Redb];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ours => "raft-storage-file",
            Kind::Engine => "raft-engine",
            Kind::Okaywal => "okaywal",
            Kind::Fjall => "fjall",
            Kind::Redb => "redb",
        }
    }

    /// Writes all, each flushed by itself, and then does what is last.
    pub(crate) fn write(self, folder: &Path, material: &Material, then: impl FnOnce()) -> Result<(), String> {
        match self {
            Kind::Ours => {
                let mut ours = Ours::threaded(folder, options())?.0;
                for _ in 1..=ENTRIES {
                    ours.prepare(material, 1, ENTRY_BYTES);
                    ours.append()?;
                }
                then();
            }
            Kind::Engine => {
                let engine = engine(folder)?;
                let mut batch = LogBatch::default();
                for index in 1..=ENTRIES {
                    let entry = entry(material, index, ENTRY_BYTES);
                    batch.add_entries::<Shape>(REGION, &[entry]).map_err(text)?;
                    engine.write(&mut batch, true).map_err(text)?;
                }
                then();
            }
            Kind::Okaywal => {
                let log = okaywal(folder, Arc::default()).map_err(text)?;
                for index in 1..=ENTRIES {
                    let mut writer = log.begin_entry().map_err(text)?;
                    let record = [&index.to_le_bytes()[..], &payload(material, index)].concat();
                    writer.write_chunk(&record).map_err(text)?;
                    writer.commit().map_err(text)?;
                }
                then();
            }
            Kind::Fjall => {
                let database = fjall::Database::builder(folder).open().map_err(text)?;
                let entries =
                    database.keyspace("log", fjall::KeyspaceCreateOptions::default).map_err(text)?;
                for index in 1..=ENTRIES {
                    entries.insert(index.to_be_bytes(), payload(material, index)).map_err(text)?;
                    database.persist(fjall::PersistMode::SyncData).map_err(text)?;
                }
                then();
            }
            Kind::Redb => {
                let database = redb::Database::create(folder.join("redb")).map_err(text)?;
                for index in 1..=ENTRIES {
                    let transaction = database.begin_write().map_err(text)?;
                    let mut table = transaction.open_table(TABLE).map_err(text)?;
                    table.insert(index, &*payload(material, index)).map_err(text)?;
                    drop(table);
                    transaction.commit().map_err(text)?;
                }
                then();
            }
        }
        Ok(())
    }

    /// Opens it, reads all that it says it has, and compares.
    pub(crate) fn read(self, folder: &Path, material: &Material) -> Outcome {
        let found = match self {
            Kind::Ours => read_ours(folder),
            Kind::Engine => read_engine(folder),
            Kind::Okaywal => read_okaywal(folder),
            Kind::Fjall => read_fjall(folder),
            Kind::Redb => read_redb(folder),
        };
        let found = match found {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        let lost = (1..=ENTRIES).filter(|index| !found.contains_key(index)).count() as u64;
        let wrong =
            found.iter().filter(|(index, bytes)| **bytes != payload(material, **index)).count() as u64;
        Outcome::Opened { lost, wrong }
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

fn at_open(error: impl fmt::Display) -> Outcome {
    Outcome::RefusedOpen(text(error))
}

fn at_read(error: impl fmt::Display) -> Outcome {
    Outcome::RefusedRead(text(error))
}

fn options() -> Options {
    Options::default().with_segment_bytes(1 << 20)
}

fn read_ours(folder: &Path) -> Result<Entries, Outcome> {
    let (mut ours, state) = Ours::threaded(folder, options()).map_err(at_open)?;
    let mut found = Entries::new();
    for index in state.purged.index.0 + 1..=state.last.index.0 {
        let read =
            ours.runtime.block_on(ours.log.read(LogIndex(index), LogIndex(index), 0)).map_err(at_read)?;
        if let Payload::Command(command) = &read[0].payload {
            found.insert(index, command.to_vec());
        }
    }
    Ok(found)
}

fn engine(folder: &Path) -> Result<Engine, String> {
    let dir = folder.to_string_lossy().into_owned();
    let target_file_size = ReadableSize::kb(32);
    Engine::open(Config { dir, target_file_size, ..Config::default() }).map_err(text)
}

fn read_engine(folder: &Path) -> Result<Entries, Outcome> {
    let engine = engine(folder).map_err(at_open)?;
    let mut found = Entries::new();
    let (Some(first), Some(last)) = (engine.first_index(REGION), engine.last_index(REGION)) else {
        return Ok(found);
    };
    for index in first..=last {
        if let Some(entry) = engine.get_entry::<Shape>(REGION, index).map_err(at_read)? {
            found.insert(index, entry.value[8..].to_vec());
        }
    }
    Ok(found)
}

/// Collects what is recovered.
#[derive(Debug)]
struct Collector(Arc<Mutex<Entries>>);

impl LogManager for Collector {
    fn recover(&mut self, entry: &mut okaywal::Entry<'_>) -> io::Result<()> {
        let Some(chunks) = entry.read_all_chunks()? else { return Ok(()) };
        let record = chunks.concat();
        let (index, payload) = record.split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(u64::from_le_bytes(*index), payload.to_vec());
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

fn okaywal(folder: &Path, entries: Arc<Mutex<Entries>>) -> io::Result<WriteAheadLog> {
    // What is checkpointed is gone from it; here nothing is.
    Configuration::default_for(folder).checkpoint_after_bytes(1 << 30).open(Collector(entries))
}

fn read_okaywal(folder: &Path) -> Result<Entries, Outcome> {
    let entries = Arc::<Mutex<Entries>>::default();
    let log = okaywal(folder, entries.clone()).map_err(at_open)?;
    log.shutdown().map_err(at_read)?;
    let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut entries))
}

fn read_fjall(folder: &Path) -> Result<Entries, Outcome> {
    let database = fjall::Database::builder(folder).open().map_err(at_open)?;
    let entries = database.keyspace("log", fjall::KeyspaceCreateOptions::default).map_err(at_open)?;
    let mut found = Entries::new();
    for guard in entries.iter() {
        let (key, value) = guard.into_inner().map_err(at_read)?;
        let key = key.first_chunk().ok_or_else(|| at_read("a key is too short"))?;
        found.insert(u64::from_be_bytes(*key), value.to_vec());
    }
    Ok(found)
}

const TABLE: redb::TableDefinition<'static, u64, &'static [u8]> = redb::TableDefinition::new("log");

fn read_redb(folder: &Path) -> Result<Entries, Outcome> {
    let database = redb::Database::open(folder.join("redb")).map_err(at_open)?;
    let transaction = database.begin_read().map_err(at_open)?;
    let table = transaction.open_table(TABLE).map_err(at_open)?;
    let mut found = Entries::new();
    for row in table.iter().map_err(at_read)? {
        let (key, value) = row.map_err(at_read)?;
        found.insert(key.value(), value.value().to_vec());
    }
    Ok(found)
}

impl Outcome {
    /// As it stands in the table. `torn`: the last entry may be gone.
    pub(crate) fn cell(&self, torn: bool) -> String {
        match self {
            Outcome::Opened { lost: 0, wrong: 0 } => "whole".to_owned(),
            Outcome::Opened { lost: 1, wrong: 0 } if torn => "recovers, without it".to_owned(),
            Outcome::Opened { lost, wrong: 0 } => format!("**LOST {lost}**"),
            Outcome::Opened { lost, wrong } => format!("**LOST {lost}, WRONG {wrong}**"),
            Outcome::RefusedRead(_) => "opens, refuses when read".to_owned(),
            Outcome::RefusedOpen(what) if what.contains(" at offset ") => {
                "refuses, by file and offset".to_owned()
            }
            Outcome::RefusedOpen(_) => "refuses".to_owned(),
            Outcome::Panics => "panics".to_owned(),
            Outcome::Hangs => "hangs".to_owned(),
        }
    }
}

/// One line, from process to process.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |what: &str| what.replace('\n', " ");
        match self {
            Outcome::Opened { lost, wrong } => write!(f, "opened {lost} {wrong}"),
            Outcome::RefusedRead(what) => write!(f, "read {}", line(what)),
            Outcome::RefusedOpen(what) => write!(f, "open {}", line(what)),
            Outcome::Panics => f.write_str("panics"),
            Outcome::Hangs => f.write_str("hangs"),
        }
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(line: &str) -> Result<Outcome, String> {
        let strange = || format!("a reader has said {line:?}");
        let (word, rest) = line.split_once(' ').ok_or_else(strange)?;
        Ok(match word {
            "opened" => {
                let (lost, wrong) = rest.split_once(' ').ok_or_else(strange)?;
                let number = |text: &str| text.parse().map_err(|_| strange());
                Outcome::Opened { lost: number(lost)?, wrong: number(wrong)? }
            }
            "read" => Outcome::RefusedRead(rest.to_owned()),
            "open" => Outcome::RefusedOpen(rest.to_owned()),
            _ => return Err(strange()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn what_a_reader_says_is_understood() {
        for outcome in [
            Outcome::Opened { lost: 3, wrong: 1 },
            Outcome::RefusedOpen("a file at offset 7".to_owned()),
            Outcome::RefusedRead("a checksum".to_owned()),
        ] {
            assert_eq!(outcome.to_string().parse(), Ok(outcome));
        }
        assert!("nonsense".parse::<Outcome>().is_err());
    }
}
