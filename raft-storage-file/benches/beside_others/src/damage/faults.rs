//! What is done to the files.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{ENTRIES, files_below, logs::Kind, payload};
use crate::material::Material;

const SECTOR: usize = 512;
const BLOCK: usize = 4096;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    FlipInLastFile,
    SectorInLastFile,
    FlipInFirstFile,
    MiddleFileMissing,
    LastFileMissing,
    MiddleFileReplaced,
    FlipInLastEntry,
    SectorOfLastEntry,
    SectorOfLastEntryWhenIdle,
    Torn,
}

/// The files that hold entries, in the order of those, each with where its entries stand.
pub(crate) struct Files(Vec<(PathBuf, Vec<Found>)>);

/// An entry in a file.
#[derive(Clone, Copy, Debug)]
struct Found {
    index: u64,
    at: usize,
}

impl Files {
    pub(crate) fn of(folder: &Path, kind: Kind, material: &Material) -> Result<Files, String> {
        let starts = (1..=ENTRIES).map(|index| {
            let mut start = [0; 16];
            start.copy_from_slice(&payload(material, index)[..16]);
            (start, index)
        });
        let starts = starts.collect::<BTreeMap<_, _>>();
        let mut files = Vec::new();
        for path in files_below(folder)? {
            let bytes = fs::read(&path).map_err(|error| error.to_string())?;
            let found = bytes.windows(16).enumerate().filter(|(_, window)| window[0] != 0);
            let found = found.filter_map(|(at, window)| {
                let index = starts.get(<&[u8; 16]>::try_from(window).ok()?)?;
                Some(Found { index: *index, at })
            });
            let found = found.collect::<Vec<_>>();
            if !found.is_empty() {
                files.push((path, found));
            }
        }
        files.sort_by_key(|(_, found)| found[0].index);
        if files.is_empty() {
            return Err(format!("no entry of {} is found in its files", kind.name()));
        }
        Ok(Files(files))
    }

    fn last(&self) -> (&Path, &[Found]) {
        let (path, found) = &self.0[self.0.len() - 1];
        (path, found)
    }

    /// Where the entry written last stands.
    fn newest(&self) -> (&Path, usize) {
        let (path, found) = self.last();
        let newest = found.iter().rev().max_by_key(|found| found.index);
        (path, newest.map_or(0, |found| found.at))
    }
}

impl Fault {
    pub(crate) const ALL: [Fault; 11] = [
        Fault::None,
        Fault::FlipInLastFile,
        Fault::SectorInLastFile,
        Fault::FlipInFirstFile,
        Fault::MiddleFileMissing,
        Fault::LastFileMissing,
        Fault::MiddleFileReplaced,
        Fault::FlipInLastEntry,
        Fault::SectorOfLastEntry,
        Fault::SectorOfLastEntryWhenIdle,
        Fault::Torn,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::None => "none, only the death of the process",
            Fault::FlipInLastFile => "a bit turned, middle of the last file",
            Fault::SectorInLastFile => "a sector of 512 B zeroed, middle of the last file",
            Fault::FlipInFirstFile => "a bit turned, middle of the first of several files",
            Fault::MiddleFileMissing => "a file in the middle is missing",
            Fault::LastFileMissing => "the last file is missing",
            Fault::MiddleFileReplaced => "a file in the middle is replaced by the one before it",
            Fault::FlipInLastEntry => "a bit turned in the very last entry",
            Fault::SectorOfLastEntry => "the sector of the very last entry zeroed",
            Fault::SectorOfLastEntryWhenIdle => "the same, where the process was idle for 100 ms first",
            Fault::Torn => "the end of the last write never reached the disk",
        }
    }

    pub(crate) fn is_idle(self) -> bool {
        self == Fault::SectorOfLastEntryWhenIdle
    }

    /// Does it. False where there are not enough files for it.
    pub(crate) fn inflict(self, kind: Kind, files: &Files) -> io::Result<bool> {
        let all = &files.0;
        let middle = all.len() / 2;
        let middle_of = |(path, found): (&Path, &[Found])| (path.to_owned(), found[found.len() / 2].at);
        match self {
            Fault::None => {}
            Fault::FlipInLastFile => {
                let (path, at) = middle_of(files.last());
                change(&path, |bytes| bytes[at + 40] ^= 4)?;
            }
            Fault::SectorInLastFile => {
                let (path, at) = middle_of(files.last());
                change(&path, |bytes| zero(bytes, at / SECTOR * SECTOR, SECTOR))?;
            }
            Fault::FlipInLastEntry => {
                let (path, at) = files.newest();
                change(path, |bytes| bytes[at + 40] ^= 4)?;
            }
            Fault::SectorOfLastEntry | Fault::SectorOfLastEntryWhenIdle => {
                let (path, at) = files.newest();
                change(path, |bytes| zero(bytes, at / SECTOR * SECTOR, SECTOR))?;
            }
            Fault::Torn => {
                let (path, at) = files.newest();
                change(path, |bytes| tear(bytes, at, kind))?;
            }
            _ if all.len() < 3 => return Ok(false),
            Fault::FlipInFirstFile => {
                let (path, at) = middle_of((&all[0].0, &all[0].1));
                change(&path, |bytes| bytes[at + 40] ^= 4)?;
            }
            Fault::MiddleFileMissing => fs::remove_file(&all[middle].0)?,
            Fault::LastFileMissing => fs::remove_file(files.last().0)?,
            Fault::MiddleFileReplaced => fs::copy(&all[middle - 1].0, &all[middle].0).map(drop)?,
        }
        Ok(true)
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
    let mut bytes = fs::read(path)?;
    change(&mut bytes);
    fs::write(path, bytes)
}

fn zero(bytes: &mut [u8], from: usize, count: usize) {
    let end = (from + count).min(bytes.len());
    bytes[from..end].fill(0);
}

/// What was there before the write is there still: zeros in a file made long before it is written to, and
/// nothing in one that grows. Ours writes whole blocks to sectors that held nothing, so what is missing is
/// sectors of the last block; the others share theirs with entries before, which a disk does not lose, so
/// what is missing is the last 20 bytes.
fn tear(bytes: &mut Vec<u8>, newest: usize, kind: Kind) {
    if kind == Kind::Ours {
        let block = newest / BLOCK * BLOCK;
        return zero(bytes, block + SECTOR, BLOCK - SECTOR);
    }
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if end == bytes.len() {
        bytes.truncate(end - 20);
    } else {
        zero(bytes, end - 20, 20);
    }
}
