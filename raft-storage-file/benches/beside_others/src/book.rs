//! The book that every figure goes into, round by round, and what it comes to.

use serde::Serialize;

/// The rounds of one figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// What was done.
    pub(crate) point: String,
    /// By whom.
    pub(crate) who: &'static str,
    /// What was counted, with its unit.
    pub(crate) what: &'static str,
    pub(crate) rounds: Vec<f64>,
}

/// Figures in the order in which they first came.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Book(Vec<Figure>);

/// Middle and ends of some rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// None of no rounds.
    pub(crate) fn of(rounds: &[f64]) -> Option<Spread> {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Spread { median, least, most })
    }
}

impl Book {
    /// Enters what a round has shown.
    pub(crate) fn enter(&mut self, point: &str, who: &'static str, what: &'static str, value: f64) {
        let is_it = |figure: &&mut Figure| (&*figure.point, figure.who, figure.what) == (point, who, what);
        match self.0.iter_mut().find(is_it) {
            Some(figure) => figure.rounds.push(value),
            None => self.0.push(Figure { point: point.to_owned(), who, what, rounds: vec![value] }),
        }
    }

    pub(crate) fn rounds(&self, point: &str, who: &str, what: &str) -> Option<&[f64]> {
        let figure =
            self.0.iter().find(|figure| (&*figure.point, figure.who, figure.what) == (point, who, what));
        figure.map(|figure| &*figure.rounds)
    }

    /// One by the other, round by round.
    pub(crate) fn ratio(&self, one: [&str; 3], other: [&str; 3]) -> Option<Spread> {
        let one = self.rounds(one[0], one[1], one[2])?;
        let other = self.rounds(other[0], other[1], other[2])?;
        Spread::of(&one.iter().zip(other).map(|(one, other)| one / other).collect::<Vec<_>>())
    }

    /// A row for each point and contestant, with what was counted beside each other.
    pub(crate) fn print(&self) {
        let mut before = ("", "");
        for figure in &self.0 {
            if (&*figure.point, figure.who) == before {
                continue;
            }
            before = (&figure.point, figure.who);
            let of_row = self.0.iter().filter(|other| (&*other.point, other.who) == before);
            let cells = of_row.filter_map(|figure| {
                let Spread { median, least, most } = Spread::of(&figure.rounds)?;
                Some(format!("{} {} ({} to {})", number(median), figure.what, number(least), number(most)))
            });
            let cells = cells.collect::<Vec<_>>().join(" | ");
            println!("{:<34} | {:<23} | {cells}", figure.point, figure.who);
        }
    }
}

/// Three digits that mean something, and thousands apart.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut apart = String::new();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart + rest
}

#[cfg(test)]
mod tests {
    use super::{Book, Spread, number};

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let mut book = Book::default();
        for (one, other) in [(1.0, 2.0), (6.0, 2.0), (4.0, 4.0)] {
            book.enter("point", "one", "s", one);
            book.enter("point", "other", "s", other);
        }
        let ratio = book.ratio(["point", "one", "s"], ["point", "other", "s"]);
        assert_eq!(ratio, Some(Spread { median: 1.0, least: 0.5, most: 3.0 }));
        assert_eq!(book.ratio(["point", "one", "s"], ["point", "nobody", "s"]), None);
    }

    #[test]
    fn numbers_have_as_many_digits_as_mean_something() {
        let shown = [0.1234, 1.234, 12.34, 1234.6, 1_234_567.0].map(number);
        assert_eq!(shown, ["0.123", "1.23", "12.3", "1,235", "1,234,567"]);
    }
}
