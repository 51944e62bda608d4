//! A state machine for simulations: lists by name, to which values are appended, and which are compared and
//! set. It can be built with a bug in it.

use std::{collections::BTreeMap, io};

use raft_actor::{
    state_machine::{StateMachine, StateMachineError},
    testkit::simulation::{Chance, Operation, Workload},
    types::{LogId, SnapshotView},
};
use serde::{Deserialize, Serialize};

/// A mistake that an application might make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// A snapshot leaves something out.
    ForgetfulSnapshot,
    /// The answer depends on more than the log.
    Whim,
}

/// Lists of numbers by name, and how many commands there were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    lists: BTreeMap<u64, Vec<u64>>,
    commands: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    Append {
        list: u64,
        value: u64,
    },
    /// Empties the list, where it is this long.
    Clear {
        list: u64,
        length: u64,
    },
}

pub(crate) struct Book {
    ledger: Ledger,
    bug: Bug,
    /// Something that is not the log's.
    whims: u64,
}

impl StateMachine for Book {
    type Command = Change;
    type Output = (u64, u64);

    fn apply(&mut self, _: LogId, change: Change) -> (u64, u64) {
        self.whims += 1;
        let ledger = &mut self.ledger;
        ledger.commands += 1;
        let length = match change {
            Change::Append { list, value } => {
                let list = ledger.lists.entry(list).or_default();
                list.push(value);
                list.len() as u64
            }
            Change::Clear { list, length } => {
                let list = ledger.lists.entry(list).or_default();
                let before = list.len() as u64;
                if before == length {
                    list.clear();
                }
                before
            }
        };
        let commands = if self.bug == Bug::Whim { self.whims } else { ledger.commands };
        (length, commands)
    }

    fn snapshot(&self) -> Option<SnapshotView> {
        let mut ledger = self.ledger.clone();
        if self.bug == Bug::ForgetfulSnapshot {
            ledger.lists.pop_first();
        }
        Some(Box::new(move |writer| {
            let bytes = serde_bytes(&ledger)?;
            writer.write_all(&bytes)
        }))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(|error| StateMachineError { source: error.into() })?;
        self.ledger =
            postcard::from_bytes(&bytes).map_err(|error| StateMachineError { source: error.into() })?;
        Ok(())
    }
}

fn serde_bytes(ledger: &Ledger) -> io::Result<Vec<u8>> {
    postcard::to_allocvec(ledger).map_err(io::Error::other)
}

/// Clients that append, clear and read a few lists.
pub(crate) struct Ledgers(pub(crate) Bug);

impl Workload for Ledgers {
    type Machine = Book;
    type Query = u64;
    type Answer = Vec<u64>;

    fn machine(&self) -> Book {
        Book { ledger: Ledger::default(), bug: self.0, whims: 0 }
    }

    fn next(&self, client: u64, number: u64, chance: &mut Chance) -> Operation<Change, u64> {
        let list = chance.below(3);
        match chance.below(10) {
            0..5 => Operation::Write(Change::Append { list, value: client << 32 | number }),
            5..7 => Operation::Write(Change::Clear { list, length: chance.below(6) }),
            _ => Operation::Read(list),
        }
    }

    fn look(book: &Book, list: &u64) -> Vec<u64> {
        book.ledger.lists.get(list).cloned().unwrap_or_default()
    }
}
