//! Traces in files: each step of a node's core appended to one, and several printed as one.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use raft_actor::trace::{Columns, Trace, merge};

/// What was written reaches the file at least as often as this, while the node does anything.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// A trace that is appended to `file`. What a killed process had not written yet, a second's worth at the
/// most, is lost. Where the file cannot be written any more, the node goes on without.
pub fn to_file(file: &Path) -> io::Result<Trace> {
    let opened = OpenOptions::new().create(true).append(true).open(file)?;
    let mut appended = Some(Appended { writer: BufWriter::new(opened), flushed: None });
    if let Some(appended) = &mut appended {
        // The last line of an earlier run may have no end.
        appended.writer.write_all(b"\n")?;
    }
    let path = file.to_owned();
    let trace = Trace::new(move |line| {
        if let Some(Err(error)) = appended.as_mut().map(|appended| appended.write(line)) {
            tracing::error!(file = %path.display(), %error, "the trace ends here");
            appended = None;
        }
    });
    Ok(trace.with_clock(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
}

struct Appended {
    writer: BufWriter<File>,
    /// None before the first line.
    flushed: Option<Instant>,
}

impl Appended {
    fn write(&mut self, line: &str) -> io::Result<()> {
        self.writer.write_all(line.as_bytes())?;
        self.writer.write_all(b"\n")?;
        if self.flushed.is_none_or(|flushed| flushed.elapsed() >= FLUSH_EVERY) {
            self.writer.flush()?;
            self.flushed = Some(Instant::now());
        }
        Ok(())
    }
}

/// Prints the traces in `files` as one, by time: a line for each thing that happened, or with `as_json` the
/// steps as they are in the files.
pub fn print(files: &[PathBuf], as_json: bool, out: &mut dyn Write) -> Result<(), PrintError> {
    let mut traces = Vec::new();
    for file in files {
        let opened = File::open(file).map_err(|source| PrintError::Open { file: file.clone(), source })?;
        traces.push(BufReader::new(opened));
    }
    let mut columns = Columns::new();
    let mut out = BufWriter::new(out);
    for record in merge(traces) {
        let record = record?;
        if as_json {
            serde_json::to_writer(&mut out, &record).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        } else {
            out.write_all(columns.show(&record).as_bytes())?;
        }
    }
    Ok(out.flush()?)
}

/// Why traces were not printed to their end.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// What to do: name a file that a node was given by --trace.
    #[error("{}: {source}", .file.display())]
    Open {
        /// Which.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// What to do: as it says.
    #[error(transparent)]
    Trace(#[from] raft_actor::error::TraceError),
    /// The reader has gone, or has no room.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}
