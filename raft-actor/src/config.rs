//! How a node behaves, as plain data with defaults. Whoever composes a node may read it from a file; this
//! crate reads neither files nor environment variables.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The settings of a node. `Config::default()` suits a local network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Config {
    /// How often a leader says that it lives: default 50 ms, at most a third of `election_timeout_min`. While
    /// there is nothing to do it does so each third of `election_timeout_min`.
    pub heartbeat_interval: Duration,
    /// The shortest time without a leader after which a node campaigns. Default 300 ms.
    pub election_timeout_min: Duration,
    /// The longest such time; each wait is drawn at random between the two (Raft §5.2), where a leader was
    /// heard from the voter's own turn in that range, or from a wider range where votes take long to be
    /// written (Raft §5.6). Default 600 ms.
    pub election_timeout_max: Duration,
    /// Entries in one AppendEntries. Default 4,096; at least 1.
    pub append_entries_max: u64,
    /// Bytes of entries in one AppendEntries (one entry always goes). Default 1 MiB.
    pub append_bytes_max: u64,
    /// AppendEntries on their way to one peer, unanswered; and runs of entries that wait for the state
    /// machine. Default 256; at least 1.
    pub inflight_max: u64,
    /// Bytes of entries on their way to one peer, unanswered; and of those that wait for the state machine.
    /// Default 16 MiB.
    pub inflight_bytes_max: u64,
    /// Bytes of the newest entries kept in memory for peers and the state machine. Default 8 MiB.
    pub cache_bytes_max: u64,
    /// Bytes of one encoded command. Default 2 MiB.
    pub command_bytes_max: u64,
    /// Writes under way on one node, of its own clients and of those that other nodes carry to it; one more
    /// is refused as overloaded. Default 65,536; more than 16,777,215 never are.
    pub writes_max: u64,
    /// Bytes of commands under way on one node, counted the same. Default 64 MiB; more than 1 TiB never are.
    pub write_bytes_max: u64,
    /// Reads under way on one node; one more is refused as overloaded. Default 65,536; more than 16,777,215
    /// never are.
    pub reads_max: u64,
    /// How many entries a learner may be behind when it becomes a voter. Default 1,000.
    pub promotion_lag_max: u64,
    /// Whether a leader may answer reads that allow it from its lease, trusting clocks (thesis §6.4.1). The
    /// same on every node, as `election_timeout_min` must be then. Default false: such reads are confirmed by
    /// a quorum like all others.
    pub lease_reads: bool,
    /// By how many per cent one node's clock may run faster than another's. The lease is as much shorter than
    /// `election_timeout_min`. Default 10. A machine that is suspended with its clock breaks any bound.
    pub clock_drift_percent_max: u64,
    /// Whether a node that does not lead carries writes to the leader. Default true.
    pub forward_writes: bool,
    /// How long a write or a read may take before its caller is told that the outcome is unknown or that it
    /// timed out. Default 5 s.
    pub request_timeout: Duration,
    /// How long a node that is told to end waits for its disk and its state machine to let go, after
    /// answering and handing over. Default 10 s.
    pub shutdown_timeout: Duration,
    /// Entries applied since the last snapshot after which the next is taken; where the last one holds more
    /// than 1 MiB, not before the entries have as many bytes as it holds. Default 100,000; at least 1.
    pub snapshot_entries: u64,
    /// Bytes of entries applied since the last snapshot after which the next is taken, with the same
    /// exception. Default 256 MiB; at least 1.
    pub snapshot_bytes: u64,
    /// Entries that a snapshot covers and that are kept all the same, for followers that are a little behind.
    /// Default 10,000.
    pub trailing_entries: u64,
    /// Bytes of a snapshot in one message. Default 1 MiB; at least 1.
    pub snapshot_chunk_bytes: u64,
    /// Bytes of snapshots that a node sends in a second. Default 0: as fast as it goes.
    pub snapshot_rate_bytes: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            heartbeat_interval: Duration::from_millis(50),
            election_timeout_min: Duration::from_millis(300),
            election_timeout_max: Duration::from_millis(600),
            append_entries_max: 4096,
            append_bytes_max: 1 << 20,
            inflight_max: 256,
            inflight_bytes_max: 16 << 20,
            cache_bytes_max: 8 << 20,
            command_bytes_max: 2 << 20,
            writes_max: 65_536,
            write_bytes_max: 64 << 20,
            reads_max: 65_536,
            promotion_lag_max: 1000,
            lease_reads: false,
            clock_drift_percent_max: 10,
            forward_writes: true,
            request_timeout: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(10),
            snapshot_entries: 100_000,
            snapshot_bytes: 256 << 20,
            trailing_entries: 10_000,
            snapshot_chunk_bytes: 1 << 20,
            snapshot_rate_bytes: 0,
        }
    }
}

/// The rules that a configuration breaks, all of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration breaks {} rule(s): {}", .broken.len(), .broken.join("; "))]
pub struct ConfigError {
    /// One sentence a rule, naming the key.
    pub broken: Vec<String>,
}

impl Config {
    /// Checks every rule, and reports all that are broken at once.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut broken = Vec::new();
        let mut rule = |holds: bool, sentence: &str| {
            if !holds {
                broken.push(sentence.to_owned());
            }
        };
        rule(!self.heartbeat_interval.is_zero(), "heartbeat_interval must be more than zero");
        rule(
            self.heartbeat_interval.saturating_mul(3) <= self.election_timeout_min,
            "heartbeat_interval must be at most a third of election_timeout_min",
        );
        rule(
            self.election_timeout_min < self.election_timeout_max,
            "election_timeout_min must be less than election_timeout_max, or elections collide",
        );
        rule(self.append_entries_max > 0, "append_entries_max must be at least 1");
        rule(self.append_bytes_max > 0, "append_bytes_max must be at least 1");
        rule(self.inflight_max > 0, "inflight_max must be at least 1");
        rule(
            self.inflight_bytes_max >= self.append_bytes_max,
            "inflight_bytes_max must be at least append_bytes_max",
        );
        rule(self.command_bytes_max > 0, "command_bytes_max must be at least 1");
        rule(self.writes_max > 0, "writes_max must be at least 1");
        rule(
            self.write_bytes_max >= self.command_bytes_max,
            "write_bytes_max must be at least command_bytes_max",
        );
        rule(self.reads_max > 0, "reads_max must be at least 1");
        rule(
            self.request_timeout >= self.election_timeout_max,
            "request_timeout must be at least election_timeout_max",
        );
        rule(self.snapshot_entries > 0, "snapshot_entries must be at least 1");
        rule(self.snapshot_bytes > 0, "snapshot_bytes must be at least 1");
        rule(self.snapshot_chunk_bytes > 0, "snapshot_chunk_bytes must be at least 1");
        if broken.is_empty() { Ok(()) } else { Err(ConfigError { broken }) }
    }
}
