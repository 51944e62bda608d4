//! What the rounds come to: medians and spreads, as a table for people and as JSON for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{contestant::Contestant, course::Sample};

/// Everything a run of the bench has found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) openraft: String,
    pub(crate) cores: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) rounds: usize,
    pub(crate) warm_up_seconds: f64,
    pub(crate) measured_seconds: f64,
    pub(crate) points: Vec<Point>,
}

/// A number of clients.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) clients: usize,
    pub(crate) figures: Vec<Figure>,
    /// The best of openraft's arrangements here, by its median.
    pub(crate) openraft_best: Option<&'static str>,
    /// Ours by openraft's best, a ratio for each round.
    pub(crate) ratios: Vec<Ratio>,
}

/// One contestant at one point.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    #[serde(skip)]
    pub(crate) contestant: Contestant,
    pub(crate) writes_per_second: Spread,
    /// Of this process, all threads; none where the system does not tell.
    pub(crate) processor_microseconds_per_write: Option<Spread>,
    /// The part of the machine that other processes took, from 0 to 1.
    pub(crate) others: Option<Spread>,
    pub(crate) acknowledged: u64,
    /// Runs that were void because a write was refused, and were taken again.
    pub(crate) void_runs: u64,
}

/// Ours by theirs.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) name: &'static str,
    pub(crate) to_openraft: Spread,
}

/// The rounds of one figure.
#[derive(Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) rounds: Vec<f64>,
}

impl Spread {
    /// None of no rounds.
    fn of(rounds: Vec<f64>) -> Option<Spread> {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Spread { median, least, most, rounds })
    }
}

impl Point {
    /// Sums up what each contestant has shown in each round.
    pub(crate) fn new(clients: usize, samples: &BTreeMap<Contestant, Vec<Sample>>) -> Point {
        let figures = samples.iter().filter_map(|(contestant, samples)| Figure::new(*contestant, samples));
        let figures = figures.collect::<Vec<_>>();
        let rivals = figures.iter().filter(|figure| !figure.contestant.is_ours());
        let median = |figure: &&Figure| figure.writes_per_second.median;
        let best = rivals.max_by(|one, other| median(one).total_cmp(&median(other)));
        let ratios = best.map(|best| figures.iter().filter_map(|figure| figure.beside(best)).collect());
        let openraft_best = best.map(|best| best.name);
        Point { clients, openraft_best, ratios: ratios.unwrap_or_default(), figures }
    }

    /// The rows of this point in the table.
    pub(crate) fn print(&self) {
        for figure in &self.figures {
            let Spread { median, least, most, .. } = &figure.writes_per_second;
            let percent = |spread: &Spread| format!("{:.0} %", spread.median * 100.0);
            let micros = |spread: &Spread| format!("{:.2}", spread.median);
            let is_best = self.openraft_best == Some(figure.name);
            let ratio = match self.ratios.iter().find(|ratio| ratio.name == figure.name) {
                Some(Ratio { to_openraft: Spread { median, least, most, .. }, .. }) => {
                    format!("{median:.2} ({least:.2} to {most:.2})")
                }
                None if is_best => "1 (its best here)".to_owned(),
                None => String::new(),
            };
            let void =
                if figure.void_runs > 0 { format!("; {} void", figure.void_runs) } else { String::new() };
            println!(
                "{:>7} | {:<38} | {:>10} ({:>9} to {:>9}) | {:>6} | {:>6} | {ratio}{void}",
                self.clients,
                figure.name,
                thousands(*median),
                thousands(*least),
                thousands(*most),
                figure.processor_microseconds_per_write.as_ref().map(micros).unwrap_or_default(),
                figure.others.as_ref().map(percent).unwrap_or_default(),
            );
        }
    }
}

/// The head of the table.
pub(crate) fn print_head() {
    println!(
        "{:>7} | {:<38} | {:<37} | {:>6} | {:>6} | by openraft's best",
        "clients", "who", "committed writes/s: median (spread)", "cpu us", "others"
    );
}

impl Figure {
    fn new(contestant: Contestant, samples: &[Sample]) -> Option<Figure> {
        let of_load = |part: fn(&crate::machine::Load) -> f64| {
            let parts =
                samples.iter().map(|sample| sample.load.as_ref().map(part)).collect::<Option<Vec<_>>>();
            parts.and_then(Spread::of)
        };
        Some(Figure {
            name: contestant.name(),
            contestant,
            writes_per_second: Spread::of(samples.iter().map(|sample| sample.writes_per_second).collect())?,
            processor_microseconds_per_write: of_load(|load| load.own),
            others: of_load(|load| load.others),
            acknowledged: samples.iter().map(|sample| sample.acknowledged).sum(),
            void_runs: samples.iter().map(|sample| sample.disturbed).sum(),
        })
    }

    /// Ours by theirs, round by round: what disturbs a round disturbs both.
    fn beside(&self, best: &Figure) -> Option<Ratio> {
        if !self.contestant.is_ours() {
            return None;
        }
        let pairs = self.writes_per_second.rounds.iter().zip(&best.writes_per_second.rounds);
        let to_openraft = Spread::of(pairs.map(|(ours, theirs)| ours / theirs).collect())?;
        Some(Ratio { name: self.name, to_openraft })
    }
}

/// 1,234,567.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Spread, thousands};

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]).expect("three rounds");
        assert_eq!((spread.median, spread.least, spread.most), (2.0, 1.0, 3.0));
        assert_eq!(spread.rounds, [3.0, 1.0, 2.0], "the rounds keep their order");
        assert_eq!(Spread::of(vec![4.0, 1.0]).map(|spread| spread.median), Some(2.5));
        assert!(Spread::of(Vec::new()).is_none());
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(["999", "1,000", "1,234,567"], [999.0, 1000.0, 1_234_567.0].map(thousands).as_slice());
    }
}
