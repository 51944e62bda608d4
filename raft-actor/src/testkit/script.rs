//! Scripts: scenarios on bare cores, with what comes of them written below each command.
//!
//! A script is a text. A line that begins with `#` says what is shown and where it comes from; one that
//! begins with `> ` is a command, or several with `;` between; the lines below it, up to the next empty line,
//! comment or command, are what came of it. [`run`] carries a script out and gives it back with what came of
//! it this time, so a test compares the two texts. After every step all [invariants](super::invariants) are
//! checked: a script that breaks one ends with an error.
//!
//! # Commands
//!
//! | Command | What it does |
//! |---|---|
//! | `cluster 3 key=value ...` | nodes 1 to 3, or members as in `1,2,4/1,2,3+5`; settings below |
//! | `disk n1 term=2 vote=n3 log 1 1 2:text` | n1 starts on a disk with this log: a term an entry |
//! | `disk n1 term=2 purged=4@1 snapshot=5@1:a,b, log 1` | the same, compacted: the log follows 4 |
//! | `join n4` | a new node starts, and waits to be added |
//! | `campaign n1` | n1 campaigns, without waiting for its election timeout |
//! | `wait 300ms`, `tick n1` | the clock moves and nobody notices; n1 looks at the clock |
//! | `pass 300ms` | the clock moves, everyone ticks when it is due, and all comes to rest each time |
//! | `propose n1 a b`, `read n1 7`, `transfer n1 n2` | clients of n1; a read has a number |
//! | `read n1 7 lease`, `read n1 7 within 500ms` | a read that trusts clocks, or may be a little stale |
//! | `change n1 add-learner n4, promote n5` | `demote`, `remove`, `set-address n4 there`; one change |
//! | `change n1 add-witness n4, set-priority n5 7` | the same for how members stand |
//! | `snapshot n1` | n1 is to take a snapshot now |
//! | `stall n1`, `resume n1` | n1's state machine stands still, works on |
//! | `unreachable n1 n2` | n1 is told that its link to n2 broke |
//! | `flush n1`, `flush n1 1` | all writes and purges of n1's log reach its disk, or the oldest |
//! | `store n1`, `store n1 1` | all that n1 is to do about snapshots is done, or the oldest |
//! | `store-last n1 1` | the newest of that is done before the rest |
//! | `deliver n1>n2`, `deliver n1>n2 1` | all messages on a link, or the oldest; alone: everything |
//! | `drop n1>n2`, `duplicate n1>n2`, `delay n1>n2` | the oldest is lost, doubled, made the last |
//! | `hold n1>n2`, `hold n1`, `release ...` | a link or a disk that `settle` and `pass` leave alone |
//! | `settle` | flushes and delivers until nothing is left to do |
//! | `receive n2@3 -> n1 TimeoutNow` | n1 receives a message that no core has sent |
//! | `cut n1 n2`, `isolate n1`, `heal` | links that lose everything |
//! | `crash n1`, `restart n1` | all that is not flushed is lost |
//! | `damage n1 5` | n1, which is down, loses its log from entry 5 on; it is repaired, and fenced |
//! | `disk n1 term=2 purged=4@1 snapshot=5@1:a, log 1` | the same, compacted: the log follows 4 |
//!
//! `quietly` before a command shows only what nodes become and what clients are told.
//!
//! # Settings of a cluster
//!
//! `timeouts=320,380` are the election timeouts that nodes 1, 2, ... draw each time, in milliseconds; without
//! them they are 320, 380, 440, 500, 560, and again. `alone=n1` starts n1 only and plays the others: what
//! they say comes from `receive`. The rest are keys of [`Config`](crate::config::Config):
//! `append_entries_max`, `append_bytes_max`, `inflight_max`, `inflight_bytes_max`, `cache_bytes_max`,
//! `snapshot_entries`, `snapshot_chunk_bytes`, `trailing_entries`, `promotion_lag_max`, `lease_reads`,
//! `clock_drift_percent_max`.

mod notation;
mod prepare;
mod stage;
mod trace;

use stage::Stage;

/// A script that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct ScriptError {
    /// The script.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there, and what to do about it.
    pub what: String,
}

/// Carries a script out, and gives it back with what came of it. `file` is its name, for errors.
pub fn run(file: &str, text: &str) -> Result<String, ScriptError> {
    let mut stage = Stage::default();
    let mut told = String::new();
    let mut expects = false;
    for (number, line) in text.lines().enumerate() {
        let error = |what: String| ScriptError { file: file.to_owned(), line: number + 1, what };
        let Some(commands) = line.strip_prefix("> ") else {
            let is_ours = line.is_empty() || line.starts_with('#');
            if !is_ours && !expects {
                return Err(error(format!("`{line}` is neither a comment, a command nor below a command")));
            }
            if is_ours {
                expects = false;
                told.push_str(line);
                told.push('\n');
            }
            continue;
        };
        expects = true;
        told.push_str(line);
        told.push('\n');
        let mut lines = Vec::new();
        for command in commands.split(';') {
            lines.extend(stage.command(command.trim()).map_err(error)?);
        }
        for line in lines {
            told.push_str(&line);
            told.push('\n');
        }
    }
    Ok(told)
}
