//! Making a failing run short: fewer and fewer faults, as long as it still fails.

use super::{Failure, Simulation, workload::Workload};

impl<W: Workload> Simulation<W> {
    /// Runs a failing seed again and again without some of its faults, and returns the shortest run that
    /// breaks the same invariant. Takes at most `runs_max` runs.
    pub fn shrink(&self, failure: Failure, runs_max: usize) -> Failure {
        let mut shortest = failure;
        let mut runs = 0;
        let mut parts = 2;
        while !shortest.faults.is_empty() && runs < runs_max {
            let numbers = shortest.numbers();
            let size = numbers.len().div_ceil(parts).max(1);
            let mut found = None;
            for part in numbers.chunks(size) {
                if runs == runs_max {
                    break;
                }
                runs += 1;
                let rest: Vec<usize> =
                    numbers.iter().copied().filter(|number| !part.contains(number)).collect();
                let again = self.replay(shortest.seed, &rest);
                if let Err(failure) = again
                    && failure.violation.invariant == shortest.violation.invariant
                {
                    found = Some(failure);
                    break;
                }
            }
            match found {
                Some(failure) => {
                    shortest = failure;
                    parts = parts.saturating_sub(1).max(2);
                }
                None if size == 1 => break,
                None => parts *= 2,
            }
        }
        shortest
    }
}
