//! Saving a vote, and replacing the end of the log, beside an append of the same size.

use raft_actor::types::LogIndex;
use raft_storage_file::Options;

use super::{BARE, Bench, ENGINE, INLINE, Log, THREAD, bare::Bare, clock::Clock, engine::Theirs, ours::Ours};

const VOTES: u64 = 1000;

pub(crate) const VOTE: &str = "save a vote";
pub(crate) const APPEND: &str = "append 1 x 128 B, alternating";
pub(crate) const REPLACE: &str = "replace the last 1 x 128 B";

pub(crate) fn run(bench: &mut Bench<'_>) -> Result<(), String> {
    bench.rounds(&[BARE, INLINE, THREAD, ENGINE], |bench, name, folder| {
        let mut clock;
        match name {
            BARE => {
                let bare = Bare::create(folder)?;
                clock = Clock::new(folder);
                for vote in 0..VOTES {
                    clock.time(|| bare.put(vote % 4 * 65536, &[vote as u8 + 1; 4096]))?;
                }
            }
            ENGINE => {
                let mut theirs = Theirs::open(folder, false)?;
                clock = Clock::new(folder);
                for vote in 0..VOTES {
                    clock.time(|| theirs.vote(vote.to_le_bytes().to_vec()))?;
                }
            }
            _ => {
                let opened = match name {
                    INLINE => Ours::inline(folder),
                    _ => Ours::threaded(folder, Options::default()),
                };
                let mut ours = opened?.0;
                clock = Clock::new(folder);
                for vote in 0..VOTES {
                    clock.time(|| ours.vote(2 + vote, 1))?;
                }
            }
        }
        clock.enter(&mut bench.book, (VOTE, name), folder, VOTES as usize, 0);
        Ok(())
    })?;
    bench.rounds(&[INLINE, THREAD], |bench, name, folder| {
        let opened = match name {
            INLINE => Ours::inline(folder),
            _ => Ours::threaded(folder, Options::default()),
        };
        let mut ours = opened?.0;
        let mut clocks = [Clock::new(folder), Clock::new(folder)];
        for _ in 0..VOTES {
            ours.prepare(&bench.material, 1, 128);
            clocks[0].time(|| ours.append())?;
            ours.back_to(LogIndex(ours.last.0 - 1));
            ours.prepare(&bench.material, 1, 128);
            ours.replace_last();
            clocks[1].time(|| ours.append())?;
        }
        for (clock, point) in clocks.into_iter().zip([APPEND, REPLACE]) {
            clock.enter(&mut bench.book, (point, name), folder, VOTES as usize, 0);
        }
        Ok(())
    })
}
