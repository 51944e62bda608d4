//! How this node's own disk keeps up, and what follows from it for who leads.
//!
//! A leader commits what a quorum has flushed, its own disk or not (thesis §10.2.1), and applies only what is
//! on its own. So a leader whose disk hangs hears everybody and is heard, and answers nobody: no rule of Raft
//! would ever replace it. Here it hands over, as soon as a quorum has for a whole election timeout had what
//! its own disk has not. Where the others' disks are no better, a quorum has no more than it, and it stays.
//!
//! And it is measured how long a vote takes to be written, which says how wide the waits before elections
//! must be spread.

use std::time::Duration;

use super::{Raft, State};
use crate::types::Time;

/// When the disk last did what it was given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Disk {
    /// Since when it has had work, and has finished none.
    at_work_since: Option<Time>,
    /// Since when, at the least, a quorum has had what it has not, while it finished nothing.
    outrun_since: Option<Time>,
    /// When it was given the last term and vote.
    hard_state_given: Time,
    /// How long it took to flush them.
    hard_state_took: Duration,
}

/// A vote that took longer than so many election timeouts is taken for one that met a hanging disk. Disks
/// that are as slow as that every time elect by luck.
const SLOWEST_VOTE: u32 = 5;

impl Disk {
    pub(super) fn given_hard_state(&mut self, now: Time) {
        self.hard_state_given = now;
    }

    pub(super) fn has_hard_state(&mut self, now: Time) {
        self.hard_state_took = now.since(self.hard_state_given);
    }

    pub(super) fn given_work(&mut self, now: Time) {
        self.at_work_since.get_or_insert(now);
    }

    /// Some of its work is done. A disk that is slow and gets on does not hang.
    pub(super) fn got_on(&mut self, now: Time, is_idle: bool) {
        self.at_work_since = (!is_idle).then_some(now);
        self.outrun_since = None;
    }
}

impl Raft {
    /// How long the disk has had work and has finished none of it, where that is longer than the longest
    /// election timeout: it hangs. While it does, this node does not stand for election.
    pub fn disk_hangs_for(&self, now: Time) -> Option<Duration> {
        let silence = self.disk.at_work_since.map(|since| now.since(since));
        silence.filter(|silence| *silence >= self.config.election_timeout_max)
    }

    /// How long the last vote took to be written. Bounded, so that after a disk has hung for an hour nobody
    /// waits for hours.
    pub(super) fn vote_takes(&self) -> Duration {
        let bound = self.config.election_timeout_max.saturating_mul(SLOWEST_VOTE);
        self.disk.hard_state_took.min(bound)
    }

    /// Compares the disk with the quorum's, whenever either has got on.
    pub(super) fn watch_disk(&mut self) {
        if self.commit_index <= self.log.flushed() {
            self.disk.outrun_since = None;
        } else if self.disk.outrun_since.is_none() {
            self.disk.outrun_since = Some(self.now);
        }
    }

    /// Whether others have long done what this node's disk has not.
    pub(super) fn is_outrun(&self) -> bool {
        let since = self.disk.outrun_since;
        since.is_some_and(|since| self.now.since(since) >= self.config.election_timeout_max)
    }

    /// A leader that is outrun hands over (thesis §3.10), which asks nothing of its own disk. Where nobody is
    /// there who may lead, it stays.
    pub(super) fn yield_if_outrun(&mut self) {
        let State::Leader(leadership) = &self.state else { return };
        if leadership.transfer.is_some() || !self.is_outrun() {
            return;
        }
        let heir = self.successor(None);
        if heir.is_some() {
            self.start_transfer(heir);
        }
    }
}
