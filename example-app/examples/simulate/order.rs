//! Whether what clients were told at the beginning of a run could have come from one store that does one
//! thing after the other: a search that knows nothing of logs, and has a store of its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use example_app::kv::{Answer, Command, Comparison, KeyValue, Operand, Operation as Step, Put, Query, Reply};
use raft_actor::testkit::{
    linearizability::{Model, Timed, check},
    simulation::{Call, Operation, Outcome},
};

use super::Shop;

/// A search takes long where many outcomes are unknown, so it goes no further than this.
const CALLS_MAX: usize = 300;

/// Holds the first calls of a run against a store.
pub(super) fn makes_sense(calls: &[Call<Shop>]) -> Result<(), String> {
    let mut by_begin: Vec<&Call<Shop>> = calls.iter().collect();
    by_begin.sort_by_key(|call| call.began);
    by_begin.truncate(CALLS_MAX);
    let last = by_begin.last().map_or(0, |call| call.began.0);
    check(&Shelf, &by_begin.into_iter().filter_map(|call| timed(call, last)).collect::<Vec<_>>())
}

/// A call as it looks to whoever stops listening at `last`: what was answered later may be done or not.
fn timed(call: &Call<Shop>, last: u64) -> Option<Timed<Told>> {
    let is_answered = call.ended.0 <= last;
    let answer = match (&call.outcome, &call.operation) {
        (Outcome::Refused, _) => return None,
        (Outcome::Written(answer) | Outcome::Seen(answer), _) if is_answered => Some(answer.clone()),
        (_, Operation::Read(_)) => return None,
        _ => None,
    };
    let ended = answer.is_some().then_some(call.ended.0);
    Some(Timed { began: call.began.0, ended, call: Told { asked: call.operation.clone(), answer } })
}

/// What was asked, and answered where that is known.
#[derive(Debug)]
struct Told {
    asked: Operation<Command, Query>,
    answer: Option<Answer>,
}

/// Of each key that is there: its value, and how often it was set.
type Pairs = BTreeMap<Bytes, (Bytes, i64)>;

struct Shelf;

impl Model for Shelf {
    type State = Pairs;
    type Call = Told;

    fn first(&self) -> Pairs {
        Pairs::new()
    }

    fn step(&self, pairs: &Pairs, told: &Told) -> Option<Pairs> {
        let mut after = pairs.clone();
        let reply = told.answer.as_ref().map(|answer| answer.result.as_ref());
        let fits = match (&told.asked, reply) {
            (Operation::Write(command), None) => {
                carry_out(&mut after, command);
                true
            }
            (Operation::Write(Command::Put(put)), Some(Ok(Reply::Put(reply)))) => {
                set(&mut after, put);
                !put.prev_kv || is(pairs.get(&put.key), reply.prev_kv.as_ref())
            }
            (Operation::Write(Command::DeleteRange(delete)), Some(Ok(Reply::DeleteRange(reply)))) => {
                is(after.remove(&delete.key).as_ref(), reply.prev_kvs.first())
            }
            (Operation::Write(command @ Command::Txn(_)), Some(Ok(Reply::Txn(reply)))) => {
                carry_out(&mut after, command) == Some(reply.succeeded)
            }
            // Here nothing is known of revisions: those are for who holds the calls against the log. What is
            // there now does not change by a compaction, nor can a read of the past tell of it.
            (Operation::Write(Command::Compact(_)), Some(_)) => true,
            (Operation::Read(Query::Range(range)), Some(_)) if range.revision > 0 => true,
            (Operation::Read(Query::Range(range)), Some(Ok(Reply::Range(reply)))) => {
                let end = if range.range_end.is_empty() { Some(&range.key) } else { None };
                let within =
                    pairs.iter().filter(|(key, _)| end.map_or(**key >= range.key, |end| *key == end));
                let seen = reply.kvs.iter().map(|kv| (&kv.key, &kv.value, kv.version));
                within.map(|(key, (value, version))| (key, value, *version)).eq(seen)
            }
            _ => false,
        };
        fits.then_some(after)
    }
}

/// Does it; of a transaction, whether the comparison held.
fn carry_out(pairs: &mut Pairs, command: &Command) -> Option<bool> {
    match command {
        Command::Put(put) => set(pairs, put),
        Command::DeleteRange(delete) => drop(pairs.remove(&delete.key)),
        Command::Compact(_) => {}
        Command::Txn(txn) => {
            let holds = txn.compare.iter().all(|compare| {
                let version = pairs.get(&compare.key).map_or(0, |(_, version)| *version);
                let Operand::Version(wanted) = compare.operand else { return false };
                match compare.comparison {
                    Comparison::Less => version < wanted,
                    Comparison::Equal => version == wanted,
                    Comparison::Greater => version > wanted,
                    Comparison::NotEqual => version != wanted,
                }
            });
            for step in if holds { &txn.success } else { &txn.failure } {
                if let Step::Put(put) = step {
                    set(pairs, put);
                }
            }
            return Some(holds);
        }
    }
    None
}

fn set(pairs: &mut Pairs, put: &Put) {
    let pair = pairs.entry(put.key.clone()).or_default();
    *pair = (put.value.clone(), pair.1 + 1);
}

fn is(pair: Option<&(Bytes, i64)>, told: Option<&KeyValue>) -> bool {
    pair.map(|(value, version)| (value, *version)) == told.map(|kv| (&kv.value, kv.version))
}
