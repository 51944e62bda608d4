//! Hunting [mutants](crate::mutants): a bug is put back, and tests are run until one of them finds it.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::panicked::words_of;
use crate::mutants::{Mutant, with};

/// A test that may find a bug: it panics if it does.
pub struct Killer {
    name: &'static str,
    seeds: u64,
    work: Box<dyn Fn(u64)>,
}

impl Killer {
    /// A test that is another one for each of so many seeds, from 1 on. What it gives back does not matter.
    pub fn seeded<T>(name: &'static str, seeds: u64, work: impl Fn(u64) -> T + 'static) -> Killer {
        let work = Box::new(move |seed| {
            work(seed);
        });
        Killer { name, seeds, work }
    }

    /// A test that is always the same.
    pub fn fixed(name: &'static str, work: impl Fn() + 'static) -> Killer {
        Killer::seeded(name, 1, move |_| work())
    }

    /// The same, with so many seeds; one that is always the same stays so.
    pub fn with_seeds(mut self, seeds: u64) -> Killer {
        if self.seeds > 1 {
            self.seeds = seeds;
        }
        self
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it finds this bug. What it finds also goes the way of any panic: to the panic hook.
    pub fn hunt(&self, mutant: Mutant) -> Option<Kill> {
        let seeds = 1..=self.seeds;
        seeds.into_iter().find_map(|seed| self.find(mutant, seed))
    }

    fn find(&self, mutant: Mutant, seed: u64) -> Option<Kill> {
        let found = catch_unwind(AssertUnwindSafe(|| with(mutant, || (self.work)(seed))));
        found.err().map(|words| Kill {
            by: self.name,
            seeds: (self.seeds > 1).then_some(seed),
            words: words_of(&*words),
        })
    }
}

/// A bug was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// [`Killer::name`].
    pub by: &'static str,
    /// How many seeds it took; none where the test is always the same.
    pub seeds: Option<u64>,
    /// What was wrong.
    pub words: String,
}

/// Who killed it, and after how many seeds.
impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seeds {
            Some(seeds) => write!(f, "{}, {seeds}", self.by),
            None => write!(f, "{}", self.by),
        }
    }
}

/// Sends the killers after each mutant, one after the other, until one has it, and prints which. Gives back
/// those that none has: they show holes in the tests.
pub fn survivors(mutants: impl IntoIterator<Item = Mutant>, killers: &[Killer]) -> Vec<Mutant> {
    let mut survivors = Vec::new();
    for mutant in mutants {
        match killers.iter().find_map(|killer| killer.hunt(mutant)) {
            Some(kill) => println!("{mutant}: {kill}"),
            None => survivors.push(mutant),
        }
    }
    survivors
}
