//! What is counted.

use crate::{append, cluster, commit, frame, put};

/// A hot path that can be gone down as often as wanted.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// What one operation is.
    pub(crate) operation: &'static str,
    /// Prepares, and does this many operations. An error where they have not done what they should.
    pub(crate) run: fn(u64) -> Result<(), String>,
    /// Operations before the counted ones: they fill caches, and let vectors grow.
    pub(crate) warm_up: u64,
    pub(crate) counted: u64,
}

impl Path {
    pub(crate) const ALL: [Path; 11] = [
        Path {
            name: "commit-1",
            operation: "one command, proposed, committed and applied by three cores",
            run: |times| commit::run(times, 1),
            warm_up: 200,
            counted: 2_000,
        },
        Path {
            name: "commit-64",
            operation: "a batch of 64 commands, the same",
            run: |times| commit::run(times, 64),
            warm_up: 20,
            counted: 200,
        },
        Path {
            name: "encode-1",
            operation: "a frame with an AppendEntries of one entry of 128 bytes, encoded",
            run: |times| frame::encode(times, 1),
            warm_up: 100,
            counted: 10_000,
        },
        Path {
            name: "encode-64",
            operation: "a frame with 64 such entries, encoded",
            run: |times| frame::encode(times, 64),
            warm_up: 20,
            counted: 1_000,
        },
        Path {
            name: "decode-1",
            operation: "a frame with one such entry, checked and decoded",
            run: |times| frame::decode(times, 1),
            warm_up: 100,
            counted: 10_000,
        },
        Path {
            name: "decode-64",
            operation: "a frame with 64 such entries, checked and decoded",
            run: |times| frame::decode(times, 64),
            warm_up: 20,
            counted: 1_000,
        },
        Path {
            name: "append-1",
            operation: "one entry of 128 bytes, appended to the file log and flushed",
            run: |times| append::run(times, 1),
            warm_up: 20,
            counted: 200,
        },
        Path {
            name: "append-64",
            operation: "64 such entries, appended to the file log and flushed at once",
            run: |times| append::run(times, 64),
            warm_up: 20,
            counted: 200,
        },
        Path {
            name: "put",
            operation: "a put of 128 bytes, decoded and applied to the example app's store of 1,000 keys",
            run: put::run,
            warm_up: put::KEYS,
            counted: 5_000,
        },
        Path {
            name: "write-1-client",
            operation: "a write of one client, acknowledged by three nodes in memory",
            run: |times| cluster::run(times, 1),
            warm_up: 100,
            counted: 1_000,
        },
        Path {
            name: "write-1024-clients",
            operation: "a write of one of 1,024 clients, the same",
            run: |times| cluster::run(times, 1024),
            warm_up: 2 * 1024,
            counted: 16 * 1024,
        },
    ];

    pub(crate) fn named(name: &str) -> Option<Path> {
        Path::ALL.into_iter().find(|path| path.name == name)
    }
}

/// An error unless `is` is what it should be: a path that does less than it should would look fast.
pub(crate) fn check(what: &str, is: u64, should_be: u64) -> Result<(), String> {
    if is == should_be { Ok(()) } else { Err(format!("{what}: {is} instead of {should_be}")) }
}
