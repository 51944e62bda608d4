//! Several traces read as one, by time.

use std::io::{BufRead, Lines};

use super::{FORMAT, Record};
use crate::{error::TraceError, types::Time};

/// The steps of several traces in the order of their times; steps of the same time in the order in which the
/// traces are given. The times of traces with a clock are nanoseconds since 1970 from here on.
///
/// The last line of a run may be cut, where its process was killed: it is left out.
pub fn merge<R: BufRead>(traces: impl IntoIterator<Item = R>) -> Merge<R> {
    let source = |(place, trace): (usize, R)| Source {
        trace: place + 1,
        line: 0,
        lines: trace.lines(),
        ahead: None,
        offset: 0,
    };
    Merge { sources: traces.into_iter().enumerate().map(source).collect() }
}

/// What [`merge`] gives: after an error, nothing more of that trace.
pub struct Merge<R> {
    sources: Vec<Source<R>>,
}

struct Source<R> {
    /// Counted from 1.
    trace: usize,
    line: usize,
    lines: Lines<R>,
    /// What was read, and not given yet. None at the beginning, and after the end.
    ahead: Option<Result<Record, TraceError>>,
    /// What is added to the times of this run, in nanoseconds; it wraps.
    offset: u64,
}

impl<R: BufRead> Source<R> {
    /// Reads the next step, if none is ahead.
    fn fill(&mut self) {
        if self.ahead.is_none() {
            self.ahead = self.read();
        }
    }

    fn read(&mut self) -> Option<Result<Record, TraceError>> {
        let mut cut = None;
        loop {
            let text = self.lines.next()?;
            self.line += 1;
            let (trace, line) = (self.trace, self.line);
            let text = match text {
                Ok(text) if text.is_empty() => continue,
                Ok(text) => text,
                // Bytes that are no text are a line that cannot be read, not a file that cannot.
                Err(source) if source.kind() == std::io::ErrorKind::InvalidData => String::new(),
                Err(source) => return Some(Err(TraceError::Io { trace, line, source })),
            };
            let malformed = |what: String| TraceError::Malformed { trace, line, what };
            match (serde_json::from_str::<Record>(&text), cut.take()) {
                // The line before was a run's last, if another begins here.
                (Ok(record), Some(error)) if record.start.is_none() => return Some(Err(error)),
                (Err(_), Some(error)) => return Some(Err(error)),
                (Ok(record), _) => return Some(self.timed(record).map_err(malformed)),
                (Err(error), None) => cut = Some(malformed(error.to_string())),
            }
        }
    }

    /// The record with the time that all traces share.
    fn timed(&mut self, mut record: Record) -> Result<Record, String> {
        if let Some(start) = &record.start {
            if start.format != FORMAT {
                return Err(format!("format {}, and this version reads {FORMAT}", start.format));
            }
            self.offset = start.unix.map_or(0, |unix| unix.wrapping_sub(record.at.0));
        }
        let shift = |time: Time| Time(time.0.wrapping_add(self.offset));
        (record.at, record.state.deadline) = (shift(record.at), shift(record.state.deadline));
        Ok(record)
    }

    /// Its place in the order: an error comes first, the end last.
    fn time(&self) -> Option<Time> {
        match &self.ahead {
            Some(Ok(record)) => Some(record.at),
            Some(Err(_)) => Some(Time(0)),
            None => None,
        }
    }
}

impl<R: BufRead> Iterator for Merge<R> {
    type Item = Result<Record, TraceError>;

    fn next(&mut self) -> Option<Result<Record, TraceError>> {
        self.sources.iter_mut().for_each(Source::fill);
        let of = |(place, source): (usize, &Source<R>)| Some((source.time()?, place));
        let (_, place) = self.sources.iter().enumerate().filter_map(of).min()?;
        let next = self.sources[place].ahead.take();
        if matches!(next, Some(Err(_))) {
            self.sources.remove(place);
        }
        next
    }
}
