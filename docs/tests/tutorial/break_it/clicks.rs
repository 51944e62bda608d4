//! What clients do with the counter, whichever it is.

// ANCHOR: workload
use raft_actor::testkit::simulation::{Chance, Operation, Workload};

use super::counter::{Change, Counter};

pub struct Clicks;

impl Workload for Clicks {
    type Machine = Counter;
    type Query = ();
    type Answer = i64;

    fn machine(&self) -> Counter {
        Counter::default()
    }

    fn next(&self, _client: u64, _number: u64, chance: &mut Chance) -> Operation<Change, ()> {
        match chance.below(10) {
            0..5 => Operation::Write(Change::Add(chance.below(100) as i64)),
            5..7 => Operation::Write(Change::Undo),
            _ => Operation::Read(()),
        }
    }

    fn look(counter: &Counter, _: &()) -> i64 {
        counter.value
    }
}
// ANCHOR_END: workload
