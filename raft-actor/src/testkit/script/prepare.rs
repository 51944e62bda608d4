//! How a cluster is set up: its members, its settings, its disks.

use std::{collections::BTreeMap, time::Duration};

use super::notation::{Wrong, read_members, read_node, read_number, read_payload};
use crate::{
    config::Config,
    core::Raft,
    membership::Membership,
    testkit::cores::{Cores, Disk},
    types::{Entry, HardState, LogId, LogIndex, LogState, NodeId, Term, Time},
};

/// What nodes wait for a leader, in milliseconds, where nothing else is said; longer clusters begin again.
const TIMEOUTS: [u64; 5] = [320, 380, 440, 500, 560];

/// A seed with which a node always waits for so many whole milliseconds.
fn seed_for(node: NodeId, config: &Config, milliseconds: u64) -> Result<u64, Wrong> {
    let base = Membership::new([(node, String::new())]).map_err(|error| error.to_string())?;
    let waits = |seed: u64| {
        let raft = Raft::new(node, config, seed, Time(0), LogState::default(), base.clone());
        raft.deadline().since(Time(0))
    };
    let found = (0..20_000).find(|seed| waits(*seed).as_millis() == u128::from(milliseconds));
    let (min, max) = (config.election_timeout_min, config.election_timeout_max);
    found.ok_or_else(|| format!("no node waits {milliseconds} ms: choose from {min:?} up to {max:?}"))
}

/// `cluster 3 timeouts=320,380,440 inflight_max=2`.
pub(super) fn cluster(words: &[&str]) -> Result<(Cores, Membership), Wrong> {
    let (members, settings) = words.split_first().ok_or("say how many nodes: `cluster 3`")?;
    let base = read_members(members)?;
    let mut config = Config::default();
    let mut timeouts = TIMEOUTS.to_vec();
    let mut alone = None;
    for setting in settings {
        let (key, value) = setting.split_once('=').ok_or_else(|| format!("`{setting}` is not key=value"))?;
        match key {
            "timeouts" => timeouts = value.split(',').map(read_number).collect::<Result<_, _>>()?,
            "alone" => alone = Some(read_node(value)?),
            "append_entries_max" => config.append_entries_max = read_number(value)?,
            "append_bytes_max" => config.append_bytes_max = read_number(value)?,
            "inflight_max" => config.inflight_max = read_number(value)?,
            "inflight_bytes_max" => config.inflight_bytes_max = read_number(value)?,
            "cache_bytes_max" => config.cache_bytes_max = read_number(value)?,
            _ => return Err(format!("`{key}` is no setting of a cluster")),
        }
    }
    config.validate().map_err(|error| error.to_string())?;
    let mut configs = BTreeMap::new();
    let mut seeds = BTreeMap::new();
    for node in base.nodes().filter(|node| alone.is_none_or(|alone| alone == *node)) {
        let place = (node.0.saturating_sub(1) as usize) % timeouts.len();
        seeds.insert(node, seed_for(node, &config, timeouts[place])?);
        configs.insert(node, config.clone());
    }
    let cores = Cores::new(&base, configs, seeds).map_err(|violation| violation.to_string())?;
    Ok((cores, base))
}

/// `term=2 vote=n3 log 1 1 2:text`: what is not said is empty.
pub(super) fn disk(words: &[&str]) -> Result<Disk, Wrong> {
    let mut disk = Disk::default();
    let log = words.iter().position(|word| *word == "log").unwrap_or(words.len());
    for word in &words[..log] {
        match word.split_once('=') {
            Some(("term", term)) => disk.hard_state.term = Term(read_number(term)?),
            Some(("vote", node)) => disk.hard_state.voted_for = Some(read_node(node)?),
            _ => return Err(format!("`{word}` is none of `term=`, `vote=` and `log`")),
        }
    }
    for (word, index) in words.iter().skip(log + 1).zip(1..) {
        let (term, said) = word.split_once(':').map_or((*word, None), |(term, said)| (term, Some(said)));
        let id = LogId::new(Term(read_number(term)?), LogIndex(index));
        disk.entries.push(Entry::new(id, read_payload(said)?));
    }
    let last = disk.entries.last().map_or(Term(0), |entry| entry.id.term);
    let HardState { term, .. } = disk.hard_state;
    if last > term {
        return Err(format!("the log is of term {last}, and the disk of term {term}: say `term={last}`"));
    }
    Ok(disk)
}

/// `300ms` or `2s`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    if let Some(number) = text.strip_suffix("ms") {
        return read_number(number).map(Duration::from_millis);
    }
    match text.strip_suffix('s') {
        Some(number) => read_number(number).map(Duration::from_secs),
        None => Err(format!("`{text}` is no time; write 300ms or 2s")),
    }
}
