//! What was to be reached, beside what was. A bar is a bound on a ratio within a round, or on a figure.

use serde::Serialize;

use super::{
    BARE, ENGINE, INLINE, PREFILLED, THREAD,
    appends::{clients_point, point},
    reopen, rotations, votes,
};
use crate::book::{Book, Spread, number};

const RATE: &str = "entries/s";

/// A bound.
#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    name: &'static str,
    what: String,
    /// At least this; at most this, where the second is true.
    bound: f64,
    at_most: bool,
    found: Spread,
    reached: bool,
}

impl Bar {
    pub(crate) fn print(&self) {
        let Spread { median, least, most } = self.found;
        println!(
            "{:<4} | {:<72} | {} {:>5} | {:>6} ({} to {}) | {}",
            self.name,
            self.what,
            if self.at_most { "<=" } else { ">=" },
            number(self.bound),
            number(median),
            number(least),
            number(most),
            if self.reached { "reached" } else { "MISSED" }
        );
    }
}

struct Bars<'a> {
    book: &'a Book,
    bars: Vec<Bar>,
}

impl Bars<'_> {
    /// A section that was not run has no bars.
    fn add(
        &mut self,
        name: &'static str,
        what: String,
        (bound, at_most): (f64, bool),
        found: Option<Spread>,
    ) {
        if let Some(found) = found {
            let reached = if at_most { found.median <= bound } else { found.median >= bound };
            self.bars.push(Bar { name, what, bound, at_most, found, reached });
        }
    }

    /// Our rate by another's.
    fn rate(&mut self, name: &'static str, point: &str, ours: &str, other: &str, bound: f64) {
        let found = self.book.ratio([point, ours, RATE], [point, other, RATE]);
        self.add(name, format!("{point}: {ours}, by {other}"), (bound, false), found);
    }

    fn at_most(&mut self, name: &'static str, point: &str, who: &str, what: &str, bound: f64) {
        let found = self.book.rounds(point, who, what).and_then(Spread::of);
        self.add(name, format!("{point}: {who}, {what}"), (bound, true), found);
    }

    fn time(&mut self, name: &'static str, point: &str, other: &str, bound: f64) {
        let ms = reopen::MILLISECONDS;
        let found = self.book.ratio([point, THREAD, ms], [point, other, ms]);
        self.add(name, format!("{point}: ours, by {other}, time"), (bound, true), found);
    }

    fn tail(&mut self, name: &'static str, point: &str, who: &str, bound: f64) {
        let found = self.book.ratio([point, who, "us p99"], [point, who, "us p50"]);
        self.add(name, format!("{point}: {who}, p99 by p50"), (bound, true), found);
    }
}

/// All bars of the sections that were run. Those for opening are set for 1 GiB; less has less time.
pub(crate) fn of(book: &Book, mebibytes: usize) -> Vec<Bar> {
    let mut bars = Bars { book, bars: Vec::new() };
    appends(&mut bars);
    for clients in [64, 256] {
        bars.rate("B6", &clients_point(clients), THREAD, BARE, 0.75);
    }
    bars.rate("B6", &clients_point(64), THREAD, ENGINE, 3.0);
    let rotations = rotations::POINT;
    bars.at_most("B7", rotations, THREAD, "disk writes/flush", 2.1);
    bars.tail("B9", rotations, THREAD, 4.0);
    bars.at_most("B13", rotations, THREAD, "bytes written/byte", 2.15);
    bars.rate("B10", votes::VOTE, INLINE, BARE, 0.85);
    for who in [INLINE, THREAD] {
        let found = book.ratio([votes::REPLACE, who, RATE], [votes::APPEND, who, RATE]);
        bars.add("B10", format!("replacing the last entry, by appending it: {who}"), (0.9, false), found);
    }
    let part = mebibytes as f64 / 1024.0;
    for (bytes, warm_max) in reopen::SIZES.into_iter().zip([100.0, 300.0]) {
        bars.at_most("B11", &reopen::point(true, bytes), THREAD, reopen::MILLISECONDS, warm_max * part);
        bars.time("B11", &reopen::point(true, bytes), BARE, 2.0);
    }
    bars.at_most("B11", &reopen::point(false, 1024), THREAD, reopen::MILLISECONDS, 250.0 * part);
    for bytes in reopen::SIZES {
        bars.time("B12", &reopen::read_point(bytes), BARE, 2.0);
    }
    bars.bars
}

fn appends(bars: &mut Bars<'_>) {
    for bytes in [128, 1024] {
        bars.rate("B1", &point(1, bytes), INLINE, BARE, 0.85);
        bars.rate("B1", &point(1, bytes), INLINE, ENGINE, 0.95);
    }
    bars.rate("B2", &point(64, 128), INLINE, BARE, 0.9);
    bars.rate("B2", &point(64, 128), INLINE, ENGINE, 1.8);
    bars.rate("B3", &point(64, 1024), INLINE, BARE, 0.9);
    bars.rate("B3", &point(64, 1024), INLINE, ENGINE, 1.7);
    bars.rate("B3", &point(64, 1024), INLINE, PREFILLED, 1.2);
    for bytes in [128, 1024] {
        bars.rate("B4", &point(1024, bytes), INLINE, BARE, 0.85);
        bars.rate("B4", &point(1024, bytes), INLINE, ENGINE, 1.7);
    }
    bars.at_most("B8", &point(64, 128), INLINE, "cpu us/entry", 1.2);
    bars.at_most("B8", &point(1024, 128), INLINE, "cpu us/entry", 0.2);
    for (count, bytes) in [(1, 128), (64, 128), (64, 1024)] {
        bars.tail("B9", &point(count, bytes), INLINE, 2.5);
    }
}
