//! How a cluster is set up: its members, its settings, its disks.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::notation::{Wrong, read_log_id, read_members, read_node, read_number, read_payload};
use crate::{
    config::Config,
    core::Raft,
    membership::Membership,
    testkit::cores::{Cores, Disk},
    types::{Entry, HardState, LogId, LogIndex, LogState, NodeId, SnapshotMeta, Term, Time},
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

/// What nodes that come later are set up like.
pub(super) struct Settings {
    config: Config,
    timeouts: Vec<u64>,
}

impl Settings {
    fn seed(&self, node: NodeId) -> Result<u64, Wrong> {
        let place = (node.0.saturating_sub(1) as usize) % self.timeouts.len();
        seed_for(node, &self.config, self.timeouts[place])
    }

    /// Starts a new node that waits to be added.
    pub(super) fn join(&self, node: NodeId, cores: &mut Cores) -> Result<(), Wrong> {
        Ok(cores.join(node, self.config.clone(), self.seed(node)?)?)
    }
}

/// `cluster 3 timeouts=320,380,440 inflight_max=2`.
pub(super) fn cluster(words: &[&str]) -> Result<(Cores, Membership, Settings), Wrong> {
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
            "snapshot_entries" => config.snapshot_entries = read_number(value)?,
            "snapshot_chunk_bytes" => config.snapshot_chunk_bytes = read_number(value)?,
            "trailing_entries" => config.trailing_entries = read_number(value)?,
            "promotion_lag_max" => config.promotion_lag_max = read_number(value)?,
            "clock_drift_percent_max" => config.clock_drift_percent_max = read_number(value)?,
            "lease_reads" => config.lease_reads = value == "true",
            _ => return Err(format!("`{key}` is no setting of a cluster")),
        }
    }
    config.validate().map_err(|error| error.to_string())?;
    let settings = Settings { config, timeouts };
    let mut configs = BTreeMap::new();
    let mut seeds = BTreeMap::new();
    for node in base.nodes().filter(|node| alone.is_none_or(|alone| alone == *node)) {
        seeds.insert(node, settings.seed(node)?);
        configs.insert(node, settings.config.clone());
    }
    let cores = Cores::new(&base, configs, seeds)?;
    Ok((cores, base, settings))
}

/// `7@2:a,b,c,`: a snapshot of the state after an entry.
fn snapshot(text: &str, base: &Membership) -> Result<(SnapshotMeta, Bytes), Wrong> {
    let (last, state) = text.split_once(':').ok_or("a snapshot is `snapshot=7@2:a,b,`")?;
    let last = read_log_id(last)?;
    let (membership, membership_log_id) = (Box::new(base.clone()), LogId::ZERO);
    let bytes = Bytes::from(state.to_owned());
    let size_bytes = bytes.len() as u64;
    let (id, witness) = (last.index.0 * 100, false);
    Ok((SnapshotMeta { id, last, membership, membership_log_id, size_bytes, witness }, bytes))
}

/// `term=2 vote=n3 purged=3@1 snapshot=5@1:a,b, log 1 1 2:text`: what is not said is empty.
pub(super) fn disk(words: &[&str], base: &Membership) -> Result<Disk, Wrong> {
    let mut disk = Disk::default();
    let log = words.iter().position(|word| *word == "log").unwrap_or(words.len());
    for word in &words[..log] {
        match word.split_once('=') {
            Some(("term", term)) => disk.hard_state.term = Term(read_number(term)?),
            Some(("vote", node)) => disk.hard_state.voted_for = Some(read_node(node)?),
            Some(("purged", id)) => disk.purged = read_log_id(id)?,
            Some(("snapshot", text)) => {
                let (snapshot, bytes) = snapshot(text, base)?;
                disk.snapshots.insert(snapshot.id, (snapshot, bytes));
            }
            _ => {
                return Err(format!(
                    "`{word}` is none of `term=`, `vote=`, `purged=`, `snapshot=` and `log`"
                ));
            }
        }
    }
    for (word, index) in words.iter().skip(log + 1).zip(disk.purged.index.0 + 1..) {
        let (term, said) = word.split_once(':').map_or((*word, None), |(term, said)| (term, Some(said)));
        let id = LogId::new(Term(read_number(term)?), LogIndex(index));
        disk.entries.push(Entry::new(id, read_payload(said)?));
    }
    let last = disk.log().last().term;
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
