//! Faults, as people read them.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use super::{
    disk::Trouble,
    faults::{Fault, Who},
};
use crate::types::NodeId;

/// Who was meant when the time came.
pub(super) type Meant = BTreeMap<Who, NodeId>;

/// What a fault does, in a few words. Somebody, where it has not come to anyone.
pub(super) fn tell(fault: &Fault, meant: &Meant) -> String {
    let name = |who: &Who| meant.get(who).map_or("somebody".to_owned(), |id| format!("node {id}"));
    let node = |who: &Who, what: &str| format!("{} {what}", name(who));
    match fault {
        Fault::Crash { who, down, again_after, .. } => {
            let mut told = node(who, &format!("loses power for {}", time(*down)));
            if let Some(after) = again_after {
                let _ = write!(told, ", and again {} into its start", time(*after));
            }
            told
        }
        Fault::CrashMany { count, torn, down } => {
            let all: Vec<String> = crashed_together(*count, *torn)
                .filter_map(|who| meant.get(&who))
                .map(|id| format!("node {id}"))
                .collect();
            let all = if all.is_empty() { "several".to_owned() } else { all.join(", ") };
            format!("power is cut for {}: {all}", time(*down))
        }
        Fault::Restart { who, down } => {
            node(who, &format!("is shut down, and started {} later", time(*down)))
        }
        Fault::Pause { who, lasts } => node(who, &format!("stands still for {}", time(*lasts))),
        Fault::SlowDisk { who, by, lasts } => {
            node(who, &format!("has a disk slower by up to {}, for {}", time(*by), time(*lasts)))
        }
        Fault::HangingDisk { who, lasts } => {
            node(who, &format!("has a disk that hangs for {}", time(*lasts)))
        }
        Fault::SlowMachine { who, by, lasts } => {
            let (by, lasts) = (time(*by), time(*lasts));
            node(who, &format!("takes up to {by} to flush its state, for {lasts}"))
        }
        Fault::BrokenDisk { who, trouble, lasts, .. } => {
            let trouble = match trouble {
                Trouble::Full => "is full",
                Trouble::FlushFailsOnce => "fails to flush once",
                _ => "fails",
            };
            node(who, &format!("has a disk that {trouble}, mended after {}", time(*lasts)))
        }
        Fault::BitFlip { who, .. } => node(who, "has bits of its disk turned over while it is down"),
        Fault::LostDisk { who, same_id } => {
            let id = if *same_id { "the same id" } else { "another id" };
            node(who, &format!("loses its disk, and is replaced under {id}"))
        }
        Fault::Clock { who, rate_percent, jump, lasts } => {
            let (jump, lasts) = (time(*jump), time(*lasts));
            node(who, &format!("has a clock at {rate_percent} % of its rate, {jump} ahead, for {lasts}"))
        }
        Fault::Transfer { who, to } => {
            let to = to.as_ref().map_or("whom it may concern".to_owned(), name);
            node(who, &format!("is asked to have leadership handed to {to}"))
        }
        Fault::Campaign { who } => node(who, "campaigns"),
        Fault::Snapshot { who } => node(who, "takes a snapshot"),
        Fault::Join => "a node joins".to_owned(),
        Fault::Leave { who } => node(who, "leaves"),
        Fault::Demote { who, lasts } => node(who, &format!("loses its vote for {}", time(*lasts))),
        Fault::Priority { who, priority } => node(who, &format!("gets priority {priority}")),
        Fault::Partition { .. } | Fault::Cut { .. } | Fault::Weather { .. } | Fault::SlowLink { .. } => {
            tell_of_network(fault, &name)
        }
    }
}

fn tell_of_network(fault: &Fault, name: &dyn Fn(&Who) -> String) -> String {
    match fault {
        Fault::Partition { lasts, .. } => format!("the network falls in two for {}", time(*lasts)),
        Fault::Cut { one, other, both, everyone, lasts } => {
            let how = if *both { "and" } else { "is not heard by" };
            let other = if *everyone { "anybody else".to_owned() } else { name(other) };
            let apart = if *both { " are cut off from each other" } else { "" };
            format!("{} {how} {other}{apart}, for {}", name(one), time(*lasts))
        }
        Fault::Weather { loss, duplicate, reorder, delay, lasts } => format!(
            "{loss} % of all messages are lost, {duplicate} % doubled, {reorder} % overtaken, all late by up \
             to {}, for {}",
            time(*delay),
            time(*lasts)
        ),
        Fault::SlowLink { one, other, by, lasts } => {
            let (by, lasts) = (time(*by), time(*lasts));
            format!("{} to {} takes {by} longer, for {lasts}", name(one), name(other))
        }
        _ => format!("{fault:?}"),
    }
}

/// Whom a power cut takes that takes so many.
pub(super) fn crashed_together(count: u64, torn: u64) -> impl Iterator<Item = Who> {
    (0..count.min(64)).map(move |number| torn.rotate_left(number as u32))
}

fn time(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
