//! What the rounds come to: medians and spreads, as a table for people and as JSON for programs.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{Failure, nodes::System};

/// What one system showed at one point in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) point: String,
    pub(crate) system: System,
    pub(crate) round: u64,
    /// Names with units, and what was measured.
    pub(crate) figures: Vec<(String, f64)>,
}

/// All samples.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    samples: Vec<Sample>,
}

/// The least, the middle and the most of some rounds.
struct Spread(Vec<f64>);

impl Spread {
    fn of(mut rounds: Vec<f64>) -> Spread {
        rounds.sort_by(f64::total_cmp);
        Spread(rounds)
    }

    fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        let lower = if self.0.len() % 2 == 1 { middle } else { middle.saturating_sub(1) };
        self.0.get(lower).zip(self.0.get(middle)).map_or(f64::NAN, |(one, other)| f64::midpoint(*one, *other))
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (least, most) = (self.0.first().copied(), self.0.last().copied());
        let (least, most) = (least.unwrap_or(f64::NAN), most.unwrap_or(f64::NAN));
        let digits = if most >= 100.0 { 0 } else { 2 };
        write!(f, "{:.digits$} ({least:.digits$} to {most:.digits$})", self.median())
    }
}

impl Report {
    pub(crate) fn read(file: &Path) -> Result<Report, Failure> {
        let text = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))?)
    }

    pub(crate) fn write(&self, file: &Path) -> Result<(), Failure> {
        Ok(fs::write(file, serde_json::to_vec_pretty(self)?)?)
    }

    /// How many rounds it holds.
    pub(crate) fn rounds(&self) -> u64 {
        self.samples.iter().map(|sample| sample.round + 1).max().unwrap_or(0)
    }

    /// Adds a sample, and shows it.
    pub(crate) fn add(&mut self, sample: Sample) {
        let figures: Vec<String> =
            sample.figures.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
        let Sample { point, system, round, .. } = &sample;
        eprintln!("round {}, {point}, {}: {}", round + 1, system.name(), figures.join(", "));
        self.samples.push(sample);
    }

    /// A table: a row for each figure of each point, ours beside etcd's, and the ratio.
    pub(crate) fn print(&self) {
        println!(
            "\n{:<34} | {:<24} | {:<26} | {:<26} | ours / etcd's, by rounds",
            "median (least to most)", "figure", "ours", "etcd"
        );
        for (point, name) in self.rows() {
            let values = |system| {
                let of =
                    self.samples.iter().filter(|sample| sample.point == point && sample.system == system);
                let found = of.filter_map(|sample| Some((sample.round, sample.figure(&name)?)));
                found.collect::<Vec<(u64, f64)>>()
            };
            let (ours, theirs) = (values(System::Ours), values(System::Etcd));
            // Several samples of a round, as of a leader that is killed several times, pair up in order.
            let pairs = ours.iter().zip(&theirs).filter(|(one, other)| one.0 == other.0);
            let ratios: Vec<f64> = pairs.map(|((_, ours), (_, theirs))| ours / theirs).collect();
            let show = |values: Vec<f64>| match values.is_empty() {
                true => String::new(),
                false => Spread::of(values).to_string(),
            };
            let column = |values: &[(u64, f64)]| show(values.iter().map(|(_, value)| *value).collect());
            println!(
                "{point:<34} | {name:<24} | {:<26} | {:<26} | {}",
                column(&ours),
                column(&theirs),
                show(ratios)
            );
        }
    }

    /// Points and figures in the order in which they came up.
    fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut points: Vec<&str> = Vec::new();
        for sample in &self.samples {
            if !points.contains(&sample.point.as_str()) {
                points.push(&sample.point);
            }
        }
        for point in points {
            for sample in self.samples.iter().filter(|sample| sample.point == point) {
                for (name, _) in &sample.figures {
                    let row = (point.to_owned(), name.clone());
                    if !rows.contains(&row) {
                        rows.push(row);
                    }
                }
            }
        }
        rows
    }
}

impl Sample {
    fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(found, _)| found == name).map(|(_, value)| *value)
    }
}
