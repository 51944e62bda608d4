//! Opening a large log again, with its files in the system's memory and without, and reading it from
//! beginning to end. Beside a read of as many bytes, a checksum an entry, which is what it costs to look at
//! everything. Ours looks at everything; raft-engine at the indexes of each batch.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Instant,
};

use raft_storage_file::Options;
use rustix::fs::{Advice, fadvise};

use super::{
    BARE, Bench, ENGINE, Log, THREAD, engine::Theirs, fresh, machine::processor_seconds, ours::Ours, remove,
};

const CHUNK: usize = 1 << 20;
const BATCH: usize = 64;
pub(crate) const SIZES: [usize; 2] = [1024, 128];

pub(crate) const MILLISECONDS: &str = "ms";
const PROCESSOR: &str = "cpu ms";

pub(crate) fn point(warm: bool, bytes: usize) -> String {
    format!("open again, {} B, {}", bytes, if warm { "warm" } else { "cold" })
}

pub(crate) fn read_point(bytes: usize) -> String {
    format!("read all, {bytes} B")
}

pub(crate) fn run(bench: &mut Bench<'_>) -> Result<(), String> {
    for bytes in SIZES {
        let root = bench.settings.folder.join("reopen");
        fresh(&root)?;
        let entries = bench.settings.mebibytes * (1 << 20) / bytes;
        let names = [BARE, THREAD, ENGINE];
        for name in names.into_iter().filter(|name| name.contains(&bench.settings.who)) {
            eprintln!("  {name} writes {} MiB in entries of {bytes} B", bench.settings.mebibytes);
            fill(bench, name, &root.join(name), entries, bytes)?;
        }
        bench.rounds(&names, |bench, name, _| take(bench, name, &root.join(name), entries, bytes))?;
        remove(&root)?;
    }
    Ok(())
}

fn fill(bench: &Bench<'_>, name: &str, folder: &Path, entries: usize, bytes: usize) -> Result<(), String> {
    fresh(folder)?;
    if name == BARE {
        let file = File::create(folder.join("bare")).map_err(|error| error.to_string())?;
        for (index, at) in (0..(entries * bytes) as u64).step_by(CHUNK).enumerate() {
            let chunk = bench.material.payload(index as u64, CHUNK);
            file.write_all_at(&chunk, at).map_err(|error| error.to_string())?;
        }
        return file.sync_all().map_err(|error| error.to_string());
    }
    let mut log: Box<dyn Log> = match name {
        THREAD => Box::new(Ours::threaded(folder, Options::default())?.0),
        _ => Box::new(Theirs::open(folder, false)?),
    };
    for _ in 0..entries / BATCH {
        log.prepare(&bench.material, BATCH, bytes);
        log.append()?;
    }
    Ok(())
}

fn take(
    bench: &mut Bench<'_>,
    name: &'static str,
    folder: &Path,
    entries: usize,
    bytes: usize,
) -> Result<(), String> {
    for warm in [false, true] {
        if !warm {
            forget(folder)?;
        }
        let (processor, started) = (processor_seconds(), Instant::now());
        let found = match name {
            BARE => scan(&folder.join("bare"), bytes)?,
            THREAD => Ours::threaded(folder, Options::default())?.1.last.index.0 as usize,
            _ => Theirs::open(folder, false)?.engine.last_index(super::engine::REGION).unwrap_or(0) as usize,
        };
        let point = point(warm, bytes);
        bench.book.enter(&point, name, MILLISECONDS, started.elapsed().as_secs_f64() * 1e3);
        bench.book.enter(&point, name, PROCESSOR, (processor_seconds() - processor) * 1e3);
        if found != entries {
            return Err(format!("{found} entries were found, {entries} were written"));
        }
    }
    read(bench, name, folder, entries, bytes)
}

/// From the system's memory, where opening has just brought everything.
fn read(
    bench: &mut Bench<'_>,
    name: &'static str,
    folder: &Path,
    entries: usize,
    bytes: usize,
) -> Result<(), String> {
    let (found, seconds) = match name {
        BARE => {
            let started = Instant::now();
            (scan(&folder.join("bare"), bytes)?, started.elapsed())
        }
        THREAD => {
            let mut ours = Ours::threaded(folder, Options::default())?.0;
            let started = Instant::now();
            (ours.read(1, entries as u64, CHUNK as u64)? / bytes, started.elapsed())
        }
        _ => {
            let theirs = Theirs::open(folder, false)?;
            let started = Instant::now();
            (theirs.read(1, entries as u64, CHUNK)? / bytes, started.elapsed())
        }
    };
    bench.book.enter(&read_point(bytes), name, MILLISECONDS, seconds.as_secs_f64() * 1e3);
    if found != entries {
        return Err(format!("{found} entries were read, {entries} were written"));
    }
    Ok(())
}

/// Reads a file from end to end, with a checksum for every `bytes` of it. Answers how many.
fn scan(path: &Path, bytes: usize) -> Result<usize, String> {
    let scan = || {
        let file = File::open(path)?;
        let mut buffer = vec![0; CHUNK];
        let (mut sum, mut count) = (0_u32, 0);
        for at in (0..file.metadata()?.len()).step_by(CHUNK) {
            file.read_exact_at(&mut buffer, at)?;
            for entry in buffer.chunks(bytes) {
                sum ^= crc32c::crc32c(entry);
                count += 1;
            }
        }
        std::hint::black_box(sum);
        Ok(count)
    };
    scan().map_err(|error: std::io::Error| error.to_string())
}

/// Asks the system to let go of what it holds of the files in a folder.
fn forget(folder: &Path) -> Result<(), String> {
    for path in files(folder)? {
        let forget = || {
            let file = File::open(&path)?;
            file.sync_all()?;
            Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
        };
        forget().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        match path.is_dir() {
            true => files.extend(self::files(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}
