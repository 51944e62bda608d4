//! What the machine was doing meanwhile, as far as Linux tells it: a figure taken on a busy machine is worth
//! little.

use std::fs;

/// The ticks of processor time in a second. Linux has kept this for the files in `/proc` on every
/// architecture that is in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time since some moment, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadClock {
    own: u64,
    busy: u64,
    total: u64,
}

/// What a run cost, and who else was at work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Processor time of this process: seconds while measuring, microseconds a write afterwards.
    pub(crate) own: f64,
    /// The part of the machine that others took, from 0 to 1.
    pub(crate) others: f64,
}

impl LoadClock {
    /// Where the system tells nothing, neither do we.
    pub(crate) fn start() -> Option<LoadClock> {
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program is in brackets, and may hold anything; user and system time are fields 14
        // and 15.
        let fields = own.rsplit_once(')')?.1.split_whitespace().collect::<Vec<_>>();
        let own = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        let all = fs::read_to_string("/proc/stat").ok()?;
        let all = all.lines().next()?.split_whitespace().skip(1).take(8);
        let all = all.map(|field| field.parse::<u64>().ok()).collect::<Option<Vec<_>>>()?;
        let total = all.iter().sum::<u64>();
        let idle = all.get(3)? + all.get(4)?;
        Some(LoadClock { own, busy: total - idle, total })
    }

    pub(crate) fn stop(self) -> Option<Load> {
        let end = LoadClock::start()?;
        let own = end.own.saturating_sub(self.own);
        let busy = end.busy.saturating_sub(self.busy);
        let total = end.total.saturating_sub(self.total).max(1);
        let others = busy.saturating_sub(own) as f64 / total as f64;
        Some(Load { own: own as f64 / TICKS_PER_SECOND, others })
    }
}

impl Load {
    pub(crate) fn per_write(self, writes: u64) -> Load {
        Load { own: self.own * 1e6 / writes as f64, ..self }
    }
}
