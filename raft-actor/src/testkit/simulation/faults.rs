//! Which faults are on, how often, and the plan of one run: a list of faults, each with its time.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    Chance,
    disk::Trouble,
    told::{Meant, tell},
};

/// Kinds of faults, and of work on the cluster that goes on meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A machine loses power, perhaps again while it starts, and comes back with what its disk has kept.
    Crash,
    /// Several machines lose power at once, at times all.
    CrashMany,
    /// A node is shut down in order and started again.
    Restart,
    /// A process stands still for a while (SIGSTOP).
    Pause,
    /// The network falls into two parts.
    Partition,
    /// Two nodes no longer reach each other, while both reach the others; or one hears and is not heard.
    PartialPartition,
    /// Messages are late, lost, doubled and out of order, everywhere.
    Weather,
    /// One link is slow.
    SlowLink,
    /// A disk is slow.
    SlowDisk,
    /// A disk answers nothing for a while.
    HangingDisk,
    /// A state machine takes its time to flush what it has applied.
    SlowMachine,
    /// A disk fails to write or flush (EIO), once or for good, or is full (ENOSPC). The node stops, and is
    /// started again when the disk is mended.
    BrokenDisk,
    /// Bits of a disk turn over while its node is down. A node that refuses to start is repaired
    /// from its peers, or replaced.
    BitFlip,
    /// A disk is lost whole. Its node is removed, and a new one added.
    LostDisk,
    /// A machine's clock runs fast or slow, or jumps ahead.
    Clock,
    /// Leadership is handed over, or somebody campaigns.
    Transfer,
    /// A node takes a snapshot.
    Snapshot,
    /// A node joins, another leaves, one loses its vote and gets it back, or another priority.
    Members,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 18] = [
        FaultKind::Crash,
        FaultKind::CrashMany,
        FaultKind::Restart,
        FaultKind::Pause,
        FaultKind::Partition,
        FaultKind::PartialPartition,
        FaultKind::Weather,
        FaultKind::SlowLink,
        FaultKind::SlowDisk,
        FaultKind::HangingDisk,
        FaultKind::SlowMachine,
        FaultKind::BrokenDisk,
        FaultKind::BitFlip,
        FaultKind::LostDisk,
        FaultKind::Clock,
        FaultKind::Transfer,
        FaultKind::Snapshot,
        FaultKind::Members,
    ];

    /// Its name in a [`Coverage`](super::Coverage).
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Crash => "fault: crash",
            FaultKind::CrashMany => "fault: several crash",
            FaultKind::Restart => "fault: restart in order",
            FaultKind::Pause => "fault: pause",
            FaultKind::Partition => "fault: partition",
            FaultKind::PartialPartition => "fault: partial partition",
            FaultKind::Weather => "fault: loss, delay, doubles",
            FaultKind::SlowLink => "fault: slow link",
            FaultKind::SlowDisk => "fault: slow disk",
            FaultKind::HangingDisk => "fault: hanging disk",
            FaultKind::SlowMachine => "fault: slow state machine",
            FaultKind::BrokenDisk => "fault: broken or full disk",
            FaultKind::BitFlip => "fault: bit flips",
            FaultKind::LostDisk => "fault: lost disk",
            FaultKind::Clock => "fault: clock",
            FaultKind::Transfer => "work: transfer, campaign",
            FaultKind::Snapshot => "work: snapshot asked for",
            FaultKind::Members => "work: members asked to change",
        }
    }
}

/// Which faults are on, and how often they come. Default: all, one every two seconds.
#[derive(Clone, Debug)]
pub struct Faults {
    every: Duration,
    weights: BTreeMap<FaultKind, u64>,
}

impl Default for Faults {
    fn default() -> Faults {
        let weight = |kind| match kind {
            FaultKind::Crash | FaultKind::Members => 4,
            FaultKind::LostDisk | FaultKind::BitFlip | FaultKind::CrashMany => 1,
            _ => 2,
        };
        let weights = FaultKind::ALL.into_iter().map(|kind| (kind, weight(kind))).collect();
        Faults { every: Duration::from_secs(2), weights }
    }
}

impl Faults {
    /// None at all.
    pub fn none() -> Faults {
        Faults { every: Duration::from_secs(2), weights: BTreeMap::new() }
    }

    /// How long from one to the next, on average; at least a millisecond.
    pub fn every(mut self, every: Duration) -> Faults {
        self.every = every.max(Duration::from_millis(1));
        self
    }

    /// How often one of this kind comes, beside the weights of the others; 0 for never.
    pub fn with(mut self, kind: FaultKind, weight: u64) -> Faults {
        self.weights.insert(kind, weight);
        self
    }

    /// The plan of a run that lasts so long.
    pub(super) fn plan(&self, chance: &mut Chance, duration: Duration) -> Vec<Planned> {
        let bag: Vec<FaultKind> = self
            .weights
            .iter()
            .flat_map(|(kind, weight)| std::iter::repeat_n(*kind, *weight as usize))
            .collect();
        let mut plan = Vec::new();
        if bag.is_empty() {
            return plan;
        }
        let mut at = chance.between(Duration::ZERO, self.every);
        while at < duration {
            let kind = *chance.pick(&bag);
            let (number, fault) = (plan.len(), Fault::draw(kind, chance));
            let told = tell(&fault, &Meant::new());
            plan.push(Planned { number, at, kind, fault, told });
            // Mostly single ones, at times several at once.
            let gap = if chance.once_in(5) { self.every / 20 } else { self.every * 2 };
            at += chance.between(Duration::ZERO, gap) + Duration::from_micros(1);
        }
        plan
    }
}

/// A fault with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its place in the plan of its seed.
    pub number: usize,
    /// When, after the start.
    pub at: Duration,
    /// Of which kind.
    pub kind: FaultKind,
    pub(super) fault: Fault,
    /// What it did, once that is known.
    pub(super) told: String,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} at {:.3} s: {}", self.number, self.at.as_secs_f64(), self.told)
    }
}

/// Somebody: which of those that can be meant when the time comes.
pub(super) type Who = u64;

/// What is done, with all that chance has to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Crash {
        who: Who,
        torn: u64,
        down: Duration,
        again_after: Option<Duration>,
    },
    CrashMany {
        count: u64,
        torn: u64,
        down: Duration,
    },
    Restart {
        who: Who,
        down: Duration,
    },
    Pause {
        who: Who,
        lasts: Duration,
    },
    /// Those whose bits are set are on one side.
    Partition {
        sides: u64,
        lasts: Duration,
    },
    /// `mute`: does not reach `other`. `both`: neither reaches the other.
    Cut {
        one: Who,
        other: Who,
        both: bool,
        everyone: bool,
        lasts: Duration,
    },
    Weather {
        loss: u64,
        duplicate: u64,
        reorder: u64,
        delay: Duration,
        lasts: Duration,
    },
    SlowLink {
        one: Who,
        other: Who,
        by: Duration,
        lasts: Duration,
    },
    SlowDisk {
        who: Who,
        by: Duration,
        lasts: Duration,
    },
    HangingDisk {
        who: Who,
        lasts: Duration,
    },
    SlowMachine {
        who: Who,
        by: Duration,
        lasts: Duration,
    },
    BrokenDisk {
        who: Who,
        trouble: Trouble,
        chance: u64,
        lasts: Duration,
    },
    BitFlip {
        who: Who,
        chance: u64,
    },
    LostDisk {
        who: Who,
        same_id: bool,
    },
    Clock {
        who: Who,
        rate_percent: u64,
        jump: Duration,
        lasts: Duration,
    },
    Transfer {
        who: Who,
        to: Option<Who>,
    },
    Campaign {
        who: Who,
    },
    Snapshot {
        who: Who,
    },
    Join,
    Leave {
        who: Who,
    },
    Demote {
        who: Who,
        lasts: Duration,
    },
    Priority {
        who: Who,
        priority: u8,
    },
}

impl Fault {
    fn draw(kind: FaultKind, chance: &mut Chance) -> Fault {
        let who = chance.number();
        match kind {
            FaultKind::Crash => {
                let again_after = chance.once_in(4).then(|| chance.millis(0, 30));
                Fault::Crash { who, torn: chance.number(), down: chance.millis(0, 3000), again_after }
            }
            FaultKind::CrashMany => {
                let count = if chance.once_in(3) { u64::MAX } else { 2 };
                Fault::CrashMany { count, torn: who, down: chance.millis(0, 2000) }
            }
            FaultKind::Restart => Fault::Restart { who, down: chance.millis(0, 1000) },
            FaultKind::Pause => Fault::Pause { who, lasts: chance.millis(10, 4000) },
            FaultKind::SlowDisk => {
                Fault::SlowDisk { who, by: chance.millis(1, 200), lasts: chance.millis(100, 8000) }
            }
            FaultKind::HangingDisk => Fault::HangingDisk { who, lasts: chance.millis(100, 4000) },
            FaultKind::SlowMachine => {
                Fault::SlowMachine { who, by: chance.millis(1, 500), lasts: chance.millis(100, 8000) }
            }
            FaultKind::BrokenDisk => {
                let trouble = *chance.pick(&[Trouble::Failing, Trouble::Full, Trouble::FlushFailsOnce]);
                // A full disk is noticed when the next file grows, which may take a while.
                let most = if trouble == Trouble::Full { 20_000 } else { 3000 };
                let lasts = chance.millis(100, most);
                Fault::BrokenDisk { who, trouble, chance: chance.number(), lasts }
            }
            FaultKind::BitFlip => Fault::BitFlip { who, chance: chance.number() },
            FaultKind::LostDisk => Fault::LostDisk { who, same_id: chance.once_in(3) },
            FaultKind::Snapshot => Fault::Snapshot { who },
            FaultKind::Transfer => match chance.below(3) {
                0 => Fault::Campaign { who },
                1 => Fault::Transfer { who, to: None },
                _ => Fault::Transfer { who, to: Some(chance.number()) },
            },
            FaultKind::Members => match chance.below(6) {
                0 | 1 => Fault::Join,
                2 | 3 => Fault::Leave { who },
                // Not 0: who may never stand may be the only one with all that was committed.
                4 => Fault::Priority { who, priority: 1 + chance.below(3) as u8 },
                _ => Fault::Demote { who, lasts: chance.millis(0, 2000) },
            },
            FaultKind::Clock => {
                let (rate_percent, jump) = match chance.below(3) {
                    0 => (100, chance.millis(1, 20_000)),
                    1 => (100 + chance.below(400), Duration::ZERO),
                    _ => (100 - chance.below(80), Duration::ZERO),
                };
                Fault::Clock { who, rate_percent, jump, lasts: chance.millis(500, 10_000) }
            }
            FaultKind::Partition | FaultKind::PartialPartition | FaultKind::Weather | FaultKind::SlowLink => {
                Fault::draw_network(kind, who, chance)
            }
        }
    }

    fn draw_network(kind: FaultKind, who: Who, chance: &mut Chance) -> Fault {
        let lasts = chance.millis(50, 5000);
        let other = chance.number();
        match kind {
            FaultKind::Partition => Fault::Partition { sides: who, lasts },
            FaultKind::PartialPartition => {
                let (both, everyone) = (chance.once_in(2), chance.once_in(4));
                Fault::Cut { one: who, other, both, everyone, lasts }
            }
            FaultKind::SlowLink => Fault::SlowLink { one: who, other, by: chance.millis(10, 1500), lasts },
            _ => Fault::Weather {
                loss: chance.below(25),
                duplicate: chance.below(25),
                reorder: chance.below(25),
                delay: chance.millis(0, 120),
                lasts,
            },
        }
    }
}
