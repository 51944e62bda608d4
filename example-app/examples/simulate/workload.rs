//! What clients do with the store: they put, delete, compare and set, and read, on a few keys.

#[path = "order.rs"]
mod order;

use example_app::kv::{
    Answer, Command, Compact, Compare, Comparison, DeleteRange, Kv, Operand, Operation as Step, Put, Query,
    Range, Reply, Txn,
};
use raft_actor::testkit::{
    linearizability::revisions_are_in_order,
    simulation::{Call, Chance, Operation, Outcome, Workload},
};

const KEYS: [&[u8]; 5] = [b"apple", b"bread", b"cheese", b"dates", b"eggs"];

pub(crate) struct Shop;

impl Workload for Shop {
    type Machine = Kv;
    type Query = Query;
    type Answer = Answer;

    fn machine(&self) -> Kv {
        Kv::default()
    }

    fn next(&self, client: u64, number: u64, chance: &mut Chance) -> Operation<Command, Query> {
        let value = format!("{client}-{number}");
        match chance.below(12) {
            0..4 => Operation::Write(Command::Put(put(chance, value))),
            4 => Operation::Write(Command::DeleteRange(DeleteRange { prev_kv: true, ..delete(chance) })),
            5..7 => Operation::Write(Command::Txn(compare_and_set(chance, value))),
            7 => Operation::Read(Query::Range(Range {
                key: KEYS[0].into(),
                range_end: b"\0".as_slice().into(),
                ..Range::default()
            })),
            8 => Operation::Write(Command::Compact(Compact { revision: chance.below(400) as i64 })),
            // The past, or what is no more or not yet.
            9 => Operation::Read(Query::Range(Range {
                revision: 1 + chance.below(400) as i64,
                ..range(chance)
            })),
            _ => Operation::Read(Query::Range(range(chance))),
        }
    }

    fn look(kv: &Kv, query: &Query) -> Answer {
        kv.query(query).expect("all of it is in memory")
    }

    /// The store counts its changes, so its own revisions must tell the same as the log's order does; and
    /// some order of the first calls makes sense to who has never heard of a log.
    fn judge(&self, calls: &[Call<Shop>]) -> Result<(), String> {
        let revisions = calls.iter().filter_map(|call| {
            let (Outcome::Written(answer) | Outcome::Seen(answer)) = &call.outcome else { return None };
            // A delete or a transaction may change nothing, and then counts as a read.
            let is_write = matches!(answer.result, Ok(Reply::Put(_)));
            Some((call.began.0, call.ended.0, answer.revision, is_write))
        });
        revisions_are_in_order(&revisions.collect::<Vec<_>>())?;
        order::makes_sense(calls)
    }
}

fn put(chance: &mut Chance, value: String) -> Put {
    let padding = "x".repeat(chance.below(40) as usize);
    Put {
        key: (*chance.pick(&KEYS)).into(),
        value: (value + &padding).into(),
        prev_kv: chance.once_in(2),
        ..Put::default()
    }
}

fn delete(chance: &mut Chance) -> DeleteRange {
    DeleteRange { key: (*chance.pick(&KEYS)).into(), ..DeleteRange::default() }
}

fn range(chance: &mut Chance) -> Range {
    Range { key: (*chance.pick(&KEYS)).into(), ..Range::default() }
}

/// If a key was set so often, set it or another, else read it.
fn compare_and_set(chance: &mut Chance, value: String) -> Txn {
    let compare = Compare {
        key: (*chance.pick(&KEYS)).into(),
        range_end: "".into(),
        comparison: *chance.pick(&[Comparison::Less, Comparison::Equal, Comparison::Greater]),
        operand: Operand::Version(chance.below(4) as i64),
    };
    let read = Range { key: compare.key.clone(), ..Range::default() };
    Txn {
        compare: vec![compare],
        success: vec![Step::Put(put(chance, value))],
        failure: vec![Step::Range(read)],
    }
}
