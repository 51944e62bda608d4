//! The settings of a node: from a file, then from environment variables, then from flags, each over the one
//! before.
//!
//! One table, [`KEYS`], says what there is. The flags, the environment variables, the reference file and the
//! checks all follow it, so none of them can say something else. Every broken rule is found before any is
//! reported.

mod keys;
mod read;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write,
    path::PathBuf,
    time::Duration,
};

use config::{Environment, File, FileFormat, Value};
use raft_actor::{
    config::Config,
    types::{ClusterId, NodeId},
};

pub use self::keys::{KEYS, Key};
use self::read::Reader;

/// What a node is run with. Each field is explained at its key in [`KEYS`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// This node.
    pub node_id: NodeId,
    /// Its folder.
    pub data: PathBuf,
    /// Where clients reach it, as host:port.
    pub address: String,
    /// Where its peers reach it, if not at `address`.
    pub peer_address: Option<String>,
    /// Whether the node waits to be added to a cluster that exists.
    pub join: bool,
    /// The cluster's first members, each with the address that its peers reach it at.
    pub members: BTreeMap<NodeId, String>,
    /// Whether this node is a witness: it votes and holds no keys.
    pub witness: bool,
    /// Those of the first members that are witnesses.
    pub witnesses: BTreeSet<NodeId>,
    /// Priorities for election of first members; 1 for those that are not named.
    pub priorities: BTreeMap<NodeId, u8>,
    /// Where clients reach members whose two addresses differ.
    pub client_addresses: BTreeMap<NodeId, String>,
    /// Threads that serve HTTP.
    pub http_workers: usize,
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// How many revisions automatic compaction keeps; 0: there is none.
    pub auto_compaction_retention: u64,
    /// How often it comes.
    pub auto_compaction_interval: Duration,
    /// The size of a log segment, in bytes.
    pub segment_bytes: u64,
    /// What is logged.
    pub log: String,
    /// Where the core's steps are recorded, if they are.
    pub trace: Option<PathBuf>,
    /// How the Raft node behaves.
    pub raft: Config,
}

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables: `RAFT_` and the key in capitals.
    pub environment: HashMap<String, String>,
    /// Flags: keys and their values.
    pub flags: BTreeMap<String, String>,
}

/// Every rule that the settings break, a sentence each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration breaks {} rule(s):\n  {}", .broken.len(), .broken.join("\n  "))]
pub struct SettingsError {
    /// The sentences.
    pub broken: Vec<String>,
}

impl Sources {
    /// The process's own environment, and nothing else.
    pub fn of_this_process() -> Sources {
        Sources { environment: std::env::vars().collect(), ..Sources::default() }
    }

    /// Reads and checks all settings.
    pub fn load(&self) -> Result<Settings, SettingsError> {
        let values = self.values().map_err(|sentence| SettingsError { broken: vec![sentence] })?;
        let mut reader = Reader::new(values);
        let settings = reader.settings();
        reader.finish().map(|()| settings)
    }

    /// What [`Sources::load`] would use, as a TOML file that says where each value comes from. Not checked.
    pub fn describe(&self) -> Result<String, SettingsError> {
        let values = self.values().map_err(|sentence| SettingsError { broken: vec![sentence] })?;
        let mut text = String::new();
        for key in KEYS {
            let (value, from) = match values.get(key.name) {
                _ if self.flags.contains_key(key.name) => (values.get(key.name), "flag".to_owned()),
                Some(value) => (Some(value), value.origin().unwrap_or("default").to_owned()),
                None => (None, "not set".to_owned()),
            };
            // Writing to a string cannot fail.
            let _ = match value.map(toml_of).filter(|value| value != "\"\"") {
                Some(value) => writeln!(text, "{} = {value}  # {from}", key.name),
                None => writeln!(text, "# {} is not set", key.name),
            };
        }
        Ok(text)
    }

    fn values(&self) -> Result<HashMap<String, Value>, String> {
        let mut builder = config::Config::builder();
        let failed = |error: config::ConfigError| format!("the configuration cannot be read: {error}");
        for key in KEYS {
            builder = builder.set_default(key.name, key.default).map_err(failed)?;
        }
        if let Some(path) = &self.file {
            builder = builder.add_source(File::from(path.as_path()).format(FileFormat::Toml));
        }
        let known = |name: &str| {
            let key = name.strip_prefix("RAFT_")?.to_lowercase();
            KEYS.iter().any(|known| known.name == key).then_some(())
        };
        // Others may use the prefix as well, so what is not ours is left alone.
        let ours = self.environment.iter().filter(|(name, _)| known(name).is_some());
        let ours = ours.map(|(name, value)| (name.clone(), value.clone())).collect();
        builder =
            builder.add_source(Environment::with_prefix("RAFT").prefix_separator("_").source(Some(ours)));
        for (key, value) in &self.flags {
            builder = builder.set_override(key, value.as_str()).map_err(failed)?;
        }
        builder.build().and_then(config::Config::try_deserialize).map_err(failed)
    }
}

fn toml_of(value: &Value) -> String {
    match value.clone().into_array() {
        Ok(list) => format!("[{}]", list.iter().map(toml_of).collect::<Vec<_>>().join(", ")),
        Err(_) => match value.clone().into_string() {
            Ok(text) if text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok() => text,
            Ok(text) => format!("{text:?}"),
            Err(_) => "\"\"".to_owned(),
        },
    }
}

/// A file with every key at its default, explained. `config/reference.toml` is this.
pub fn reference() -> String {
    let mut text = "# Every setting of a node, at its default where it has one.\n\
        # Each can also be set by an environment variable (RAFT_ and the key in capitals) and by a flag\n\
        # (-- and the key with hyphens). Flags win over the environment, and it wins over this file.\n"
        .to_owned();
    for key in KEYS {
        text.push('\n');
        for line in key.about.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let value = if key.default.is_empty() { key.example } else { key.default };
        let bare = value.parse::<i64>().is_ok() || value.parse::<bool>().is_ok() || value.starts_with('[');
        let commented = if key.default.is_empty() && !key.required { "# " } else { "" };
        let value = if bare { value.to_owned() } else { format!("{value:?}") };
        let _ = writeln!(text, "{commented}{} = {value}", key.name);
    }
    text
}
