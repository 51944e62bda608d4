//! A long run: file after file is filled, and what lies far behind is purged, so that files come back.

use raft_storage_file::Options;

use super::{BARE, Bench, Log, THREAD, bare::Bare, clock::Clock, ours::Ours};

pub(crate) const POINT: &str = "24 files of 16 MiB, purged behind";
const BATCHES: u64 = 6000;
const COUNT: usize = 64;
const BYTES: usize = 1024;
/// Batches between two purges, and how many are kept.
const PURGED_EVERY: u64 = 100;
const KEPT: u64 = 500;

pub(crate) fn run(bench: &mut Bench<'_>) -> Result<(), String> {
    bench.rounds(&[BARE, THREAD], |bench, name, folder| {
        let entries = BATCHES as usize * COUNT;
        if name == BARE {
            let mut bare = Bare::create(folder)?;
            let mut clock = Clock::new(folder);
            for _ in 0..BATCHES {
                bare.prepare(&bench.material, COUNT, BYTES);
                clock.time(|| bare.append())?;
            }
            clock.enter(&mut bench.book, (POINT, name), folder, entries, entries * BYTES);
            return Ok(());
        }
        let options = Options::default().with_segment_bytes(16 << 20);
        let mut ours = Ours::threaded(folder, options)?.0;
        let mut clock = Clock::new(folder);
        for batch in 1..=BATCHES {
            ours.prepare(&bench.material, COUNT, BYTES);
            clock.time(|| ours.append())?;
            if batch % PURGED_EVERY == 0 && batch > KEPT {
                ours.purge((batch - KEPT) * COUNT as u64)?;
            }
        }
        clock.enter(&mut bench.book, (POINT, name), folder, entries, entries * BYTES);
        Ok(())
    })
}
