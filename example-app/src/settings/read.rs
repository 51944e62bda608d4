//! From values to settings: every key is read, and every rule checked, before anything is said.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    time::Duration,
};

use config::{ConfigError, Value};
use raft_actor::{
    config::Config,
    types::{ClusterId, NodeId},
};
use tracing_subscriber::EnvFilter;

use super::{KEYS, Settings, SettingsError};

/// Takes values by their keys, and remembers what is wrong with them.
pub(super) struct Reader {
    values: HashMap<String, Value>,
    broken: Vec<String>,
}

impl Reader {
    pub(super) fn new(values: HashMap<String, Value>) -> Reader {
        let mut unknown: Vec<String> = values
            .keys()
            .filter(|name| !KEYS.iter().any(|key| key.name == **name))
            .map(|name| {
                format!("{name}: there is no such key; `print-config --reference` shows those there are")
            })
            .collect();
        unknown.sort();
        Reader { values, broken: unknown }
    }

    /// The settings, if [`Reader::finish`] says that they are whole.
    pub(super) fn settings(&mut self) -> Settings {
        let join = self.yes_or_no("join");
        if join && self.values.get("members").is_some_and(is_empty) {
            // It takes its members from the cluster's log.
            self.values.remove("members");
        }
        let settings = Settings {
            join,
            cluster_id: ClusterId(self.number("cluster_id", 1)),
            node_id: NodeId(self.number("node_id", 1)),
            data: PathBuf::from(self.text("data")),
            address: self.address("address"),
            peer_address: Some(self.address("peer_address")).filter(|address| !address.is_empty()),
            members: self.addresses("members"),
            witness: self.yes_or_no("witness"),
            witnesses: self.nodes("witnesses"),
            priorities: self.priorities("priorities"),
            client_addresses: self.addresses("client_addresses"),
            http_workers: self.size("http_workers", 1),
            body_bytes_max: self.size("body_bytes_max", 1),
            auto_compaction_retention: self.number("auto_compaction_retention", 0),
            auto_compaction_interval: Duration::from_millis(self.number("auto_compaction_interval_ms", 1)),
            segment_bytes: self.number("segment_bytes", 16 << 10),
            log: self.text("log"),
            trace: Some(self.text("trace")).filter(|file| !file.is_empty()).map(PathBuf::from),
            raft: self.raft(),
        };
        let Settings { node_id, members, .. } = &settings;
        if !join && !members.is_empty() && node_id.0 > 0 && !members.contains_key(node_id) {
            self.break_rule(format!("members: this node ({node_id}) is not among them"));
        }
        self.check_standing(&settings);
        if let Err(error) = EnvFilter::try_new(&settings.log) {
            self.break_rule(format!("log: {error}"));
        }
        settings
    }

    /// Whether everything was right.
    pub(super) fn finish(self) -> Result<(), SettingsError> {
        if self.broken.is_empty() { Ok(()) } else { Err(SettingsError { broken: self.broken }) }
    }

    fn raft(&mut self) -> Config {
        let before = self.broken.len();
        let mut raft = Config::default();
        raft.heartbeat_interval = self.milliseconds("heartbeat_interval_ms");
        raft.election_timeout_min = self.milliseconds("election_timeout_min_ms");
        raft.election_timeout_max = self.milliseconds("election_timeout_max_ms");
        raft.request_timeout = self.milliseconds("request_timeout_ms");
        raft.shutdown_timeout = self.milliseconds("shutdown_timeout_ms");
        raft.promotion_lag_max = self.number("promotion_lag_max", 0);
        raft.lease_reads = self.yes_or_no("lease_reads");
        raft.clock_drift_percent_max = self.number("clock_drift_percent_max", 0);
        raft.forward_writes = self.yes_or_no("forward_writes");
        raft.append_entries_max = self.number("append_entries_max", 0);
        raft.append_bytes_max = self.number("append_bytes_max", 0);
        raft.inflight_max = self.number("inflight_max", 0);
        raft.inflight_bytes_max = self.number("inflight_bytes_max", 0);
        raft.cache_bytes_max = self.number("cache_bytes_max", 0);
        raft.command_bytes_max = self.number("command_bytes_max", 0);
        raft.writes_max = self.number("writes_max", 0);
        raft.write_bytes_max = self.number("write_bytes_max", 0);
        raft.reads_max = self.number("reads_max", 0);
        raft.snapshot_entries = self.number("snapshot_entries", 0);
        raft.snapshot_bytes = self.number("snapshot_bytes", 0);
        raft.trailing_entries = self.number("trailing_entries", 0);
        raft.snapshot_chunk_bytes = self.number("snapshot_chunk_bytes", 0);
        raft.snapshot_rate_bytes = self.number("snapshot_rate_bytes", 0);
        // The framework's rules on numbers that could not be read would only repeat that.
        if self.broken.len() == before
            && let Err(error) = raft.validate()
        {
            self.broken.extend(error.broken);
        }
        raft
    }

    fn break_rule(&mut self, sentence: String) {
        self.broken.push(sentence);
    }

    /// The value of a key; `None` where it is not set (which is said, if it must be) or not of its kind.
    fn take<T>(&mut self, name: &str, convert: impl FnOnce(Value) -> Result<T, ConfigError>) -> Option<T> {
        let value = self.values.remove(name)?;
        if is_empty(&value) {
            if let Some(key) = KEYS.iter().find(|key| key.name == name && key.required) {
                self.break_rule(format!("{name} is not set; for example {}", key.example));
            }
            return None;
        }
        let converted = convert(value).map_err(|error| self.break_rule(format!("{name}: {error}")));
        converted.ok()
    }

    fn text(&mut self, name: &str) -> String {
        self.take(name, Value::into_string).unwrap_or_default()
    }

    fn yes_or_no(&mut self, name: &str) -> bool {
        self.take(name, Value::into_bool).unwrap_or_default()
    }

    fn number(&mut self, name: &str, least: u64) -> u64 {
        let number = self.take(name, Value::into_uint);
        if number.is_some_and(|number| number < least) {
            self.break_rule(format!("{name} must be at least {least}"));
        }
        number.unwrap_or_default()
    }

    fn size(&mut self, name: &str, least: u64) -> usize {
        usize::try_from(self.number(name, least)).unwrap_or(usize::MAX)
    }

    fn milliseconds(&mut self, name: &str) -> Duration {
        Duration::from_millis(self.number(name, 0))
    }

    fn address(&mut self, name: &str) -> String {
        let address = self.text(name);
        if !address.is_empty() && !is_address(&address) {
            self.break_rule(format!("{name}: {address:?} is not of the form host:port"));
        }
        address
    }

    /// Witnesses and priorities are those of the first members, which they must be.
    fn check_standing(&mut self, settings: &Settings) {
        let Settings { node_id, members, witnesses, priorities, .. } = settings;
        if !members.is_empty() && settings.witness != witnesses.contains(node_id) && !settings.join {
            self.break_rule(format!(
                "witness: `witnesses` must name this node ({node_id}) where it is true, and only then"
            ));
        }
        for (key, mut named) in [
            ("witnesses", witnesses.iter().collect::<Vec<_>>()),
            ("priorities", priorities.keys().collect::<Vec<_>>()),
        ] {
            named.retain(|node| !members.is_empty() && !members.contains_key(node));
            for node in named {
                self.break_rule(format!("{key}: node {node} is not among the members"));
            }
        }
    }

    fn list(&mut self, name: &str) -> Vec<String> {
        let list: Option<Vec<String>> = self.take(name, |value| match value.clone().into_array() {
            Ok(list) => list.into_iter().map(Value::into_string).collect(),
            Err(_) => Ok(value.into_string()?.split(',').map(|member| member.trim().to_owned()).collect()),
        });
        list.unwrap_or_default()
    }

    fn nodes(&mut self, name: &str) -> BTreeSet<NodeId> {
        let mut nodes = BTreeSet::new();
        for member in self.list(name) {
            match member.trim().parse() {
                Ok(node) => drop(nodes.insert(NodeId(node))),
                Err(_) => self.break_rule(format!("{name}: {member:?} is not a node id")),
            }
        }
        nodes
    }

    fn priorities(&mut self, name: &str) -> BTreeMap<NodeId, u8> {
        let mut priorities = BTreeMap::new();
        for member in self.list(name) {
            let parts =
                member.split_once('=').map(|(id, priority)| (id.trim().parse(), priority.trim().parse()));
            match parts {
                Some((Ok(id), Ok(priority))) => drop(priorities.insert(NodeId(id), priority)),
                _ => self.break_rule(format!("{name}: {member:?} is not of the form id=priority, 0 to 255")),
            }
        }
        priorities
    }

    fn addresses(&mut self, name: &str) -> BTreeMap<NodeId, String> {
        let mut addresses = BTreeMap::new();
        for member in self.list(name) {
            let parts = member.split_once('=').map(|(id, address)| (id.trim().parse(), address.trim()));
            match parts {
                Some((Ok(0), _)) => self.break_rule(format!("{name}: node id 0 is reserved; number from 1")),
                Some((Ok(id), address)) if is_address(address) => {
                    if addresses.insert(NodeId(id), address.to_owned()).is_some() {
                        self.break_rule(format!("{name}: node {id} is named twice"));
                    }
                }
                _ => self.break_rule(format!("{name}: {member:?} is not of the form id=host:port")),
            }
        }
        addresses
    }
}

fn is_empty(value: &Value) -> bool {
    value.clone().into_string().is_ok_and(|text| text.is_empty())
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}
