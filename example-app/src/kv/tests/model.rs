//! Random commands, applied to the store and to a model so simple that it can be seen to be right: a plain
//! map, and a copy of it for every revision.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{
    super::{Command, Compact, DeleteRange, KeyValue, Kv, Operation, Put, Query, Range, Refusal, Reply, Txn},
    do_query, do_range,
    snapshots::{restored, written},
};

type Map = BTreeMap<Bytes, KeyValue>;

struct Model {
    /// The map at revision 1, 2, 3 ...
    revisions: Vec<Map>,
    compacted: Option<i64>,
}

impl Model {
    fn new() -> Model {
        Model { revisions: vec![Map::new()], compacted: None }
    }

    fn revision(&self) -> i64 {
        self.revisions.len() as i64
    }

    fn apply(&mut self, operations: &[Operation]) {
        let next = self.revision() + 1;
        let present = self.revisions.last().expect("there is always one");
        let mut map = present.clone();
        let mut changed = false;
        for operation in operations {
            match operation {
                Operation::Put(put) => {
                    let old = map.get(&put.key);
                    let kv = KeyValue {
                        key: put.key.clone(),
                        create_revision: old.map_or(next, |old| old.create_revision),
                        mod_revision: next,
                        version: old.map_or(1, |old| old.version + 1),
                        value: put.value.clone(),
                    };
                    map.insert(put.key.clone(), kv);
                    changed = true;
                }
                Operation::DeleteRange(delete) => {
                    let before = map.len();
                    map.retain(|key, _| !in_range(key, &delete.key, &delete.range_end));
                    changed |= map.len() != before;
                }
                Operation::Range(_) | Operation::Txn(_) => {}
            }
        }
        if changed {
            self.revisions.push(map);
        }
    }

    fn compact(&mut self, compact: Compact) -> Result<(), Refusal> {
        match compact.revision {
            revision if Some(revision) <= self.compacted => Err(Refusal::Compacted),
            revision if revision > self.revision() => Err(Refusal::FutureRevision),
            revision => {
                self.compacted = Some(revision);
                Ok(())
            }
        }
    }

    /// `None` where it is forgotten.
    fn range(&self, range: &Range) -> Option<Vec<KeyValue>> {
        let revision = if range.revision == 0 { self.revision() } else { range.revision };
        if Some(revision) < self.compacted {
            return None;
        }
        let map = &self.revisions[revision as usize - 1];
        Some(map.values().filter(|kv| in_range(&kv.key, &range.key, &range.range_end)).cloned().collect())
    }
}

fn in_range(key: &[u8], first: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == first,
        [0] => key >= first,
        end => key >= first && key < end,
    }
}

fn some_key() -> impl Strategy<Value = Bytes> {
    vec(b'a'..=b'c', 1..3).prop_map(Bytes::from)
}

fn some_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just(Bytes::new()), Just(Bytes::from_static(b"\0")), some_key()]
}

fn a_put() -> impl Strategy<Value = Put> {
    (some_key(), vec(any::<u8>(), 0..4)).prop_map(|(key, value)| Put {
        key,
        value: Bytes::from(value),
        ..Put::default()
    })
}

fn a_delete() -> impl Strategy<Value = DeleteRange> {
    (some_key(), some_end()).prop_map(|(key, range_end)| DeleteRange { key, range_end, prev_kv: false })
}

fn an_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![2 => a_put().prop_map(Operation::Put), 1 => a_delete().prop_map(Operation::DeleteRange)]
}

fn a_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => a_put().prop_map(Command::Put),
        2 => a_delete().prop_map(Command::DeleteRange),
        1 => (0..20_i64).prop_map(|revision| Command::Compact(Compact { revision })),
        1 => vec(an_operation(), 0..4)
            .prop_map(|success| Command::Txn(Txn { success, ..Txn::default() })),
    ]
}

fn operations(command: &Command) -> Vec<Operation> {
    match command {
        Command::Put(put) => vec![Operation::Put(put.clone())],
        Command::DeleteRange(delete) => vec![Operation::DeleteRange(delete.clone())],
        Command::Txn(txn) => txn.success.clone(),
        Command::Compact(_) => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(
        commands in vec(a_command(), 0..40),
        reads in vec((some_key(), some_end(), 0.0..1.0f64), 8),
    ) {
        let (mut kv, mut model) = (Kv::default(), Model::new());
        for command in commands {
            let operations = operations(&command);
            let compact = if let Command::Compact(compact) = &command { Some(*compact) } else { None };
            let result = kv.apply(1, command).result;
            if let Some(compact) = compact {
                prop_assert_eq!(result, model.compact(compact).map(|()| Reply::Compact));
            } else if result.is_ok() {
                model.apply(&operations);
            }
            prop_assert_eq!(kv.revision(), model.revision());
        }
        let restored = restored(&written(&kv));
        for (key, range_end, past) in reads {
            let revision = (past * (model.revision() + 1) as f64) as i64;
            let range = Range { key, range_end, revision, ..Range::default() };
            let Some(expected) = model.range(&range) else {
                prop_assert_eq!(do_query(&kv, &Query::Range(range)), Err(Refusal::Compacted));
                continue;
            };
            let found = do_range(&kv, range.clone());
            prop_assert_eq!(&do_range(&restored, range.clone()), &found);
            prop_assert_eq!(found.count as usize, expected.len());
            prop_assert_eq!(found.kvs, expected);
            let counted = do_range(&kv, Range { count_only: true, ..range });
            prop_assert_eq!(counted.count, found.count);
        }
    }

    #[test]
    fn a_command_survives_the_journey_through_the_log(command in a_command()) {
        let bytes = postcard::to_allocvec(&command).expect("every command can be encoded");
        let back: Command = postcard::from_bytes(&bytes).expect("and decoded");
        prop_assert_eq!(&back, &command);
        let mut kv = Kv::default();
        let answer = kv.apply(3, back);
        let bytes = postcard::to_allocvec(&answer).expect("every answer can be encoded");
        prop_assert_eq!(postcard::from_bytes::<super::Answer>(&bytes).expect("and decoded"), answer);
        let zero = Bytes::from_static(b"\0");
        let all = Range { key: zero.clone(), range_end: zero, ..Range::default() };
        prop_assert!(matches!(do_query(&kv, &Query::Range(all)), Ok(Reply::Range(_))));
    }
}
