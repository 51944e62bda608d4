//! The load generator: wrk, with requests that are made beforehand.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{Failure, nodes::version};

/// How many keys there are.
pub(crate) const KEYS: usize = 10_000;

/// Reads a body from each line of a file, makes the requests before the clock starts, and prints one line.
const SCRIPT: &str = r#"
local requests, count, at = {}, 0, 0
wrk.headers["Content-Type"] = "application/json"
function init(arguments)
  for line in io.lines(arguments[2]) do
    count = count + 1
    requests[count] = wrk.format("POST", arguments[1], nil, line)
  end
end
function request()
  at = at % count + 1
  return requests[at]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("bench %d %d %d %f %f %d\n", summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"#;

/// Bodies of requests, on the disk.
pub(crate) struct Load {
    folder: tempfile::TempDir,
}

/// What wrk has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Bytes of an answer, headers and all.
    pub(crate) answer_bytes: f64,
}

impl Load {
    /// # Errors
    ///
    /// Where wrk is not there: how to get it.
    pub(crate) fn new() -> Result<Load, Failure> {
        if version("wrk", "-v").is_none() {
            return Err(
                "there is no `wrk` on the PATH. Debian and Ubuntu have it in the package wrk; others \
                        find it at https://github.com/wg/wrk"
                    .into(),
            );
        }
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("script.lua"), SCRIPT)?;
        Ok(Load { folder })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Keeps bodies under a name.
    pub(crate) fn keep(&self, name: &str, bodies: impl Iterator<Item = Value>) -> Result<(), Failure> {
        let mut file = std::io::BufWriter::new(File::create(self.file(name))?);
        for body in bodies {
            writeln!(file, "{body}")?;
        }
        Ok(file.flush()?)
    }

    /// Posts the bodies in turn to `http://address path` over so many kept connections, with one thread.
    ///
    /// # Errors
    ///
    /// Where any request fails, or is answered by an error.
    pub(crate) fn run(
        &self,
        address: &str,
        path: &str,
        name: &str,
        connections: u64,
        seconds: u64,
    ) -> Result<Seen, Failure> {
        let output = Command::new("wrk")
            .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--timeout", "10s", "-s"])
            .arg(self.file("script.lua"))
            .arg(format!("http://{address}"))
            .args(["--", path])
            .arg(Path::new(&self.file(name)))
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("bench "));
        let numbers: Option<Vec<f64>> =
            line.map(|line| line.split(' ').filter_map(|number| number.parse().ok()).collect());
        let said = || format!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr));
        let Some(&[requests, duration, bytes, p50, p99, errors]) = numbers.as_deref() else {
            return Err(said().into());
        };
        if errors > 0.0 || requests == 0.0 {
            return Err(format!("{errors} requests failed: {}", said()).into());
        }
        Ok(Seen {
            requests: requests as u64,
            per_second: requests * 1e6 / duration,
            p50_ms: p50 / 1e3,
            p99_ms: p99 / 1e3,
            answer_bytes: bytes / requests,
        })
    }
}

/// The key of a number.
pub(crate) fn key(number: usize) -> String {
    STANDARD.encode(format!("key{number:08}"))
}

/// A put of `bytes` bytes to each of the keys, in an order that jumps about.
pub(crate) fn puts(keys: usize, bytes: usize) -> impl Iterator<Item = Value> {
    let value =
        move |number: usize| (0..bytes).map(|at| (at.wrapping_mul(31) ^ number) as u8).collect::<Vec<u8>>();
    jumping(keys).map(move |number| json!({ "key": key(number), "value": STANDARD.encode(value(number)) }))
}

/// A range of each of the keys.
pub(crate) fn ranges(keys: usize, serializable: bool) -> impl Iterator<Item = Value> {
    jumping(keys).map(move |number| {
        if serializable {
            json!({ "key": key(number), "serializable": true })
        } else {
            json!({ "key": key(number) })
        }
    })
}

/// All numbers below `count`, far apart: 7,919 is a prime.
fn jumping(count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |number| number * 7_919 % count)
}
