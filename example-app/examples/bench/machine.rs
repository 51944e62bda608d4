//! What processes cost, and what the rest of the machine was doing meanwhile, as Linux tells it.

use std::fs;

/// Ticks of processor time in a second. Linux has kept this for the files in `/proc` on every architecture
/// that is in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time since some moment, in ticks.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    processes: Vec<u32>,
    theirs: Vec<u64>,
    /// Of this program, and of the load generators that it has waited for.
    own: u64,
    busy: u64,
    total: u64,
}

/// Processor time between two moments.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    /// Seconds of each process.
    pub(crate) seconds: Vec<f64>,
    /// The part of the machine that neither they nor this program took, from 0 to 1.
    pub(crate) others: f64,
}

impl Clock {
    pub(crate) fn start(processes: &[u32]) -> Clock {
        let all = fs::read_to_string("/proc/stat").unwrap_or_default();
        let all = all.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
        let all: Vec<u64> = all.filter_map(|field| field.parse().ok()).collect();
        let total: u64 = all.iter().sum();
        let idle: u64 = all.iter().skip(3).take(2).sum();
        Clock {
            processes: processes.to_vec(),
            theirs: processes.iter().map(|process| ticks(&process.to_string(), 2)).collect(),
            own: ticks("self", 4),
            busy: total - idle,
            total,
        }
    }

    pub(crate) fn stop(&self) -> Spent {
        let end = Clock::start(&self.processes);
        let theirs: Vec<u64> =
            end.theirs.iter().zip(&self.theirs).map(|(end, begin)| end.saturating_sub(*begin)).collect();
        let known = theirs.iter().sum::<u64>() + end.own.saturating_sub(self.own);
        let busy = (end.busy.saturating_sub(self.busy)).saturating_sub(known);
        Spent {
            seconds: theirs.iter().map(|ticks| *ticks as f64 / TICKS_PER_SECOND).collect(),
            others: busy as f64 / end.total.saturating_sub(self.total).max(1) as f64,
        }
    }
}

/// User and system time of a process; with `fields` 4 also of those that it has waited for.
fn ticks(process: &str, fields: usize) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program is in brackets, and may hold anything; the times are fields 14 to 17.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    after.split_whitespace().skip(11).take(fields).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// A line of a process's status that is in kB (`VmRSS`, `VmHWM`), in MiB.
pub(crate) fn mebibytes(process: u32, line: &str) -> f64 {
    figure(process, line) / 1024.0
}

/// How often a process's threads have gone to sleep of their own will.
pub(crate) fn sleeps(process: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks.filter_map(|task| read(&task.path().join("status"), "voluntary_ctxt_switches")).sum()
}

fn figure(process: u32, line: &str) -> f64 {
    read(format!("/proc/{process}/status").as_ref(), line).unwrap_or_default()
}

fn read(file: &std::path::Path, line: &str) -> Option<f64> {
    let status = fs::read_to_string(file).ok()?;
    let after = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'))?;
    after.split_whitespace().next()?.parse().ok()
}

/// TCP segments that this machine has sent, to whomever.
pub(crate) fn segments_sent() -> f64 {
    let snmp = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let mut tcp = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:")).map(str::split_whitespace);
    let (Some(mut names), Some(mut values)) = (tcp.next(), tcp.next()) else { return f64::NAN };
    let position = names.position(|name| name == "OutSegs");
    position.and_then(|position| values.nth(position)?.parse().ok()).unwrap_or(f64::NAN)
}
