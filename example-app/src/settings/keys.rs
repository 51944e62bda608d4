//! What can be set.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file; `RAFT_` and this in capitals in the environment; with hyphens as a flag.
    pub name: &'static str,
    /// Its value where nobody sets it; empty where it has none.
    pub default: &'static str,
    /// A value to show where there is no default.
    pub example: &'static str,
    /// Whether somebody must set it.
    pub required: bool,
    /// What it means, for people.
    pub about: &'static str,
}

const fn key(name: &'static str, default: &'static str, about: &'static str) -> Key {
    Key { name, default, example: "", required: false, about }
}

const fn required(name: &'static str, example: &'static str, about: &'static str) -> Key {
    Key { name, default: "", example, required: true, about }
}

const fn optional(name: &'static str, example: &'static str, about: &'static str) -> Key {
    Key { name, default: "", example, required: false, about }
}

/// Every setting, in the order of the reference file.
pub const KEYS: &[Key] = &[
    key(
        "cluster_id",
        "1",
        "The cluster: a number that all its nodes share. Nodes of another one are refused.",
    ),
    required("node_id", "1", "This node: a number from 1 that no other node has, and that never changes."),
    required(
        "data",
        "data/node1",
        "The folder of this node. It is made where it is missing, and is never shared by two nodes. Beside\n\
         log and snapshots it holds old versions of keys, in files without a name.",
    ),
    key("address", "127.0.0.1:2379", "Where clients reach this node, as host:port; what it listens on."),
    optional(
        "peer_address",
        "127.0.0.1:2380",
        "What it listens on for its peers, as host:port. Not set: at `address`, with the clients.",
    ),
    key(
        "join",
        "false",
        "Whether this node is new in a cluster that exists: it waits to be added, and needs no `members`.\n\
         It may stay true: a folder that is not new goes on where it was.",
    ),
    required(
        "members",
        r#"["1=127.0.0.1:2379", "2=127.0.0.1:2389", "3=127.0.0.1:2399"]"#,
        "The cluster's first members, the same on all of them: id=host:port, the address that its\n\
         peers reach it at. In an environment variable or a flag they are parted by commas.",
    ),
    key(
        "witness",
        "false",
        "Whether this node is a witness: it votes and keeps the log, and holds no keys. It is one of\n\
         `witnesses`, or joins and is added as one.",
    ),
    optional(
        "witnesses",
        r#"["3"]"#,
        "Those of the first members that are witnesses, by their ids; the same on all members.",
    ),
    optional(
        "priorities",
        r#"["1=5", "2=0"]"#,
        "Priorities of first members for election, id=priority, from 0 to 255; the same on all members.\n\
         0 never stands, and of the others those with the highest stand first. 1 for those not named.",
    ),
    optional(
        "client_addresses",
        r#"["1=127.0.0.1:2379", "2=127.0.0.1:2389", "3=127.0.0.1:2399"]"#,
        "Where clients reach members that have another address for their peers, in the form of `members`.\n\
         It is only told to clients that ask for the list of members.",
    ),
    key("http_workers", "1", "Threads that serve HTTP, beside the one on which Raft runs. At least 1."),
    key(
        "body_bytes_max",
        "2097152",
        "The largest body of a request, in bytes. A larger one is refused (413).",
    ),
    key(
        "auto_compaction_retention",
        "0",
        "How many revisions before the present one can be read: the leader has all nodes forget what was\n\
         earlier. 0: nothing is forgotten before a client asks for it.",
    ),
    key("auto_compaction_interval_ms", "300000", "How often it does so, in milliseconds. At least 1."),
    key("segment_bytes", "67108864", "The size of one file of the log, in bytes. At least 16384."),
    key(
        "log",
        "info",
        "What is logged, in the syntax of tracing: a level, or target=level, parted by commas.",
    ),
    optional(
        "trace",
        "node1.trace",
        "A file to which every step of this node's Raft core is appended, a line of JSON each; it grows\n\
         without end. Not set: nothing is recorded.",
    ),
    key(
        "heartbeat_interval_ms",
        "50",
        "How often a leader says that it lives, in milliseconds. An idle one: each third of the next.",
    ),
    key(
        "election_timeout_min_ms",
        "300",
        "The shortest time without a leader after which a node campaigns, in milliseconds. At least three\n\
         heartbeats.",
    ),
    key(
        "election_timeout_max_ms",
        "600",
        "The longest such time, in milliseconds. Each wait is drawn at random between the two.",
    ),
    key(
        "request_timeout_ms",
        "5000",
        "How long a write or a read may take before its client is told that it timed out, in milliseconds.\n\
         At least the longest election timeout.",
    ),
    key(
        "shutdown_timeout_ms",
        "10000",
        "How long a node that is told to stop waits for its disk to let go, in milliseconds, after\n\
         answering and handing over. Then it ends with exit code 75.",
    ),
    key(
        "lease_reads",
        "false",
        "Whether the leader answers reads that ask for it (Raft-Consistency: lease) from its lease,\n\
         trusting clocks. The same on every node, as election_timeout_min_ms must be then.",
    ),
    key(
        "clock_drift_percent_max",
        "10",
        "By how many per cent one node's clock may run faster than another's. A lease is as much shorter.",
    ),
    key(
        "forward_writes",
        "true",
        "Whether a node that does not lead carries its clients' writes to the leader.",
    ),
    key("append_entries_max", "4096", "Entries in one AppendEntries. At least 1."),
    key("append_bytes_max", "1048576", "Bytes of entries in one AppendEntries; one entry always goes."),
    key(
        "inflight_max",
        "256",
        "AppendEntries unanswered by one peer, and runs of entries not applied yet. At least 1.",
    ),
    key(
        "inflight_bytes_max",
        "16777216",
        "Bytes of entries unanswered by one peer, or not applied yet. At least append_bytes_max.",
    ),
    key(
        "cache_bytes_max",
        "8388608",
        "Bytes of the newest entries that are kept in memory for peers and the store.",
    ),
    key("command_bytes_max", "2097152", "Bytes of one command in the log. At least 1."),
    key("promotion_lag_max", "1000", "How many entries a learner may be behind when it is given a vote."),
    key("writes_max", "65536", "Writes under way on this node; one more is refused (429)."),
    key(
        "write_bytes_max",
        "67108864",
        "Bytes of commands under way on this node. At least command_bytes_max.",
    ),
    key("reads_max", "65536", "Reads under way on this node; one more is refused (429)."),
    key(
        "snapshot_entries",
        "100000",
        "Entries applied since the last snapshot after which the next is taken. At least 1.",
    ),
    key(
        "snapshot_bytes",
        "268435456",
        "Bytes of entries applied since the last snapshot after which the next is taken. At least 1.",
    ),
    key(
        "trailing_entries",
        "10000",
        "Entries that a snapshot covers and that are kept all the same, for nodes that are a little behind.",
    ),
    key("snapshot_chunk_bytes", "1048576", "Bytes of a snapshot in one message. At least 1."),
    key(
        "snapshot_rate_bytes",
        "0",
        "Bytes of snapshots that this node sends in a second; 0: as fast as it goes.",
    ),
];
