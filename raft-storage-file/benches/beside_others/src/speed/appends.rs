//! Appends with a flush: in batches, and from many clients at once.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use raft_engine::LogBatch;
use raft_storage_file::Options;

use super::{
    BARE, Bench, ENGINE, INLINE, Log, PREFILLED, THREAD, UNCACHED,
    bare::Bare,
    clock::Clock,
    engine::{Shape, Theirs, entry},
    ours::Ours,
};
use crate::material::Material;

/// Entries in a batch, bytes in an entry, batches in a run.
const POINTS: [(usize, usize, usize); 6] =
    [(1, 128, 1500), (64, 128, 1200), (1024, 128, 400), (1, 1024, 1500), (64, 1024, 800), (1024, 1024, 150)];
/// Written before the clock runs, in MiB: gets every log into a file of its full size.
const WARM_UP: usize = 90;
const WARM_UP_PAUSE: Duration = Duration::from_millis(3);
const CLIENTS: [usize; 2] = [64, 256];
const CLIENTS_ROUNDS: usize = 1500;

/// The name of a point.
pub(crate) fn point(count: usize, bytes: usize) -> String {
    format!("append {count} x {bytes} B")
}

pub(crate) fn clients_point(clients: usize) -> String {
    format!("{clients} clients x 128 B")
}

fn open(name: &str, folder: &Path) -> Result<Box<dyn Log>, String> {
    Ok(match name {
        BARE => Box::new(Bare::create(folder)?),
        UNCACHED => Box::new(Bare::past_cache(folder)?),
        INLINE => Box::new(Ours::inline(folder)?.0),
        THREAD => Box::new(Ours::threaded(folder, Options::default())?.0),
        _ => Box::new(Theirs::open(folder, name == PREFILLED)?),
    })
}

fn warm_up(log: &mut dyn Log, material: &Material) -> Result<(), String> {
    for _ in 0..WARM_UP {
        log.prepare(material, 1024, 1024);
        log.append()?;
        // A log that makes its next file ready meanwhile is given the time for it, as most loads do.
        thread::sleep(WARM_UP_PAUSE);
    }
    Ok(())
}

pub(crate) fn run(bench: &mut Bench<'_>) -> Result<(), String> {
    let chosen =
        POINTS.into_iter().filter(|(count, bytes, _)| point(*count, *bytes).contains(&bench.settings.point));
    for (count, bytes, batches) in chosen.collect::<Vec<_>>() {
        bench.rounds(&[BARE, UNCACHED, INLINE, THREAD, ENGINE, PREFILLED], |bench, name, folder| {
            let mut log = open(name, folder)?;
            warm_up(&mut *log, &bench.material)?;
            let mut clock = Clock::new(folder);
            for _ in 0..batches {
                log.prepare(&bench.material, count, bytes);
                clock.time(|| log.append())?;
            }
            let entries = count * batches;
            clock.enter(&mut bench.book, (&point(count, bytes), name), folder, entries, entries * bytes);
            Ok(())
        })?;
    }
    Ok(())
}

/// Clients that each write one entry, wait for its flush, and write again. A node gathers what waits and
/// writes it as one group, each client's entry a write of its own; raft-engine has a thread for each client,
/// which is how it gathers.
pub(crate) fn run_clients(bench: &mut Bench<'_>) -> Result<(), String> {
    for clients in CLIENTS {
        let point = clients_point(clients);
        bench.rounds(&[BARE, INLINE, THREAD, ENGINE], |bench, name, folder| {
            if name == ENGINE {
                let rate = engine_rate(&bench.material, folder, clients)?;
                bench.book.enter(&point, name, "entries/s", rate);
                return Ok(());
            }
            let mut log: Box<dyn Log> = match name {
                BARE => Box::new(Bare::create(folder)?),
                _ => {
                    let inline = name == INLINE;
                    let opened = if inline {
                        Ours::inline(folder)
                    } else {
                        Ours::threaded(folder, Options::default())
                    };
                    let mut ours = opened?.0;
                    ours.one_by_one = true;
                    Box::new(ours)
                }
            };
            warm_up(&mut *log, &bench.material)?;
            let mut clock = Clock::new(folder);
            for _ in 0..CLIENTS_ROUNDS {
                log.prepare(&bench.material, clients, 128);
                clock.time(|| log.append())?;
            }
            let entries = clients * CLIENTS_ROUNDS;
            clock.enter(&mut bench.book, (&point, name), folder, entries, entries * 128);
            Ok(())
        })?;
    }
    Ok(())
}

/// Entries a second that so many threads get flushed, each in a region of its own.
fn engine_rate(material: &Material, folder: &Path, clients: usize) -> Result<f64, String> {
    let theirs = Theirs::open(folder, false)?;
    let engine = &*theirs.engine;
    let each = CLIENTS_ROUNDS as u64 / 8;
    let started = Instant::now();
    thread::scope(|scope| {
        let client = |region: u64| {
            move || {
                let mut batch = LogBatch::default();
                for index in 1..=each {
                    let entry = entry(material, index, 128);
                    batch.add_entries::<Shape>(region, &[entry]).map_err(|error| error.to_string())?;
                    engine.write(&mut batch, true).map_err(|error| error.to_string())?;
                }
                Ok::<(), String>(())
            }
        };
        let threads = (1..=clients as u64).map(|region| scope.spawn(client(region))).collect::<Vec<_>>();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a client panicked".to_owned())?)
    })?;
    Ok((clients as u64 * each) as f64 / started.elapsed().as_secs_f64())
}
