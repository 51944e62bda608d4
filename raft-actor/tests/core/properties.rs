//! Properties that must hold for any input: quorums against their definition, and the log against a plain
//! vector.

use std::collections::BTreeSet;

use proptest::prelude::*;
use raft_actor::{
    core::{Effect, Effects, Input},
    membership::Membership,
    message::{AppendEntries, Message},
    types::{Entry, LogId, LogIndex, NodeId, Payload, Term},
};

use super::{
    cluster::voters,
    one::{One, entry},
};

fn members(ids: &BTreeSet<u64>) -> Membership {
    Membership::new(ids.iter().map(|id| (NodeId(*id), id.to_string()))).expect("not empty")
}

fn half() -> impl Strategy<Value = BTreeSet<u64>> {
    proptest::collection::btree_set(1_u64..9, 1..7)
}

/// More than half of the set, by counting.
fn is_majority(set: &BTreeSet<u64>, agrees: impl Fn(u64) -> bool) -> bool {
    let yes = set.iter().filter(|id| agrees(**id)).count();
    let no = set.len() - yes;
    yes > no
}

proptest! {
    #[test]
    fn a_quorum_is_a_majority_of_each_half(
        new in half(),
        old in proptest::option::of(half()),
        learner in 1_u64..12,
        agreeing in proptest::collection::btree_set(1_u64..12, 0..9),
        reached in proptest::collection::vec(0_u64..6, 12),
    ) {
        let mut membership = members(&new);
        if let Some(old) = &old {
            membership = membership.joint_with(&members(old));
        }
        let membership = membership.with_learner(NodeId(learner), "learner".to_owned());
        let quorum = |agrees: &dyn Fn(u64) -> bool| {
            is_majority(&new, agrees) && old.as_ref().is_none_or(|old| is_majority(old, agrees))
        };
        let agrees = |id: u64| agreeing.contains(&id);
        prop_assert_eq!(membership.has_quorum(|node| agrees(node.0)), quorum(&agrees));
        let highest = (0..6).rev().find(|index| quorum(&|id| reached[id as usize] >= *index)).unwrap_or(0);
        let found = membership.quorum_index(|node| LogIndex(reached[node.0 as usize]));
        prop_assert_eq!(found.0, highest);
        let refuses = |id: u64| agreeing.contains(&id);
        prop_assert_eq!(
            membership.quorum_is_lost(|node| refuses(node.0)),
            !quorum(&|id| !refuses(id))
        );
    }
}

/// What a leader of a later term does to a follower's log.
#[derive(Clone, Debug)]
struct Change {
    keep: usize,
    add: usize,
    is_membership: bool,
    flushes: usize,
    new_term: bool,
}

fn change() -> impl Strategy<Value = Change> {
    (0_usize..12, 0_usize..5, any::<bool>(), 0_usize..3, any::<bool>()).prop_map(
        |(keep, add, is_membership, flushes, new_term)| Change {
            keep,
            add,
            is_membership,
            flushes,
            new_term,
        },
    )
}

/// The follower's log as plain vectors: in memory, and on the disk.
#[derive(Default)]
struct Model {
    log: Vec<Entry>,
    disk: Vec<Entry>,
    writes: Vec<(u64, Option<LogIndex>, Vec<Entry>)>,
}

impl Model {
    fn id_at(&self, index: usize) -> LogId {
        index.checked_sub(1).map_or(LogId::ZERO, |place| self.log[place].id)
    }

    fn take(&mut self, effects: &Effects) {
        for effect in effects {
            if let Effect::Write(write) = effect {
                self.writes.push((write.sequence, write.truncate_from, write.entries.to_vec()));
            }
        }
    }

    /// The oldest write reaches the disk; its sequence.
    fn flush(&mut self) -> Option<u64> {
        if self.writes.is_empty() {
            return None;
        }
        let (sequence, truncate_from, entries) = self.writes.remove(0);
        if let Some(from) = truncate_from {
            self.disk.truncate(from.0 as usize - 1);
        }
        self.disk.extend(entries);
        Some(sequence)
    }

    /// How many entries of the log the disk holds for certain, whatever write comes next.
    fn flushed(&self) -> usize {
        let mut same = self.disk.iter().zip(&self.log).take_while(|(one, other)| one == other).count();
        for (_, truncate_from, _) in &self.writes {
            same = truncate_from.map_or(same, |from| same.min(from.0 as usize - 1));
        }
        same
    }
}

proptest! {
    #[test]
    fn the_log_is_what_a_plain_vector_would_be(changes in proptest::collection::vec(change(), 1..40)) {
        let mut one = One::new(voters(3), 1, None, &[]);
        let mut model = Model::default();
        let mut term = 1;
        for change in changes {
            // Only a new leader rewrites; the present one goes on where it stopped.
            term += u64::from(change.new_term);
            let keep = if change.new_term { change.keep.min(model.log.len()) } else { model.log.len() };
            let prev_log_id = model.id_at(keep);
            let mut entries: Vec<Entry> =
                (0..change.add).map(|offset| entry(term, (keep + offset) as u64 + 1)).collect();
            if let Some(first) = entries.first_mut().filter(|_| change.is_membership) {
                first.payload = Payload::Membership(Box::new(voters(first.id.index.0 % 5 + 1)));
            }
            if !entries.is_empty() {
                model.log.truncate(keep);
                model.log.extend(entries.iter().cloned());
            }
            let request = AppendEntries {
                term: Term(term),
                prev_log_id,
                entries: entries.into(),
                leader_commit: LogIndex(0),
                round: 0,
                held_index: LogIndex(0),
            };
            let from = term % 2 + 2;
            model.take(&one.receive(from, Message::AppendEntries(request)));
            for _ in 0..change.flushes {
                if let Some(sequence) = model.flush() {
                    model.take(&one.input(Input::Flushed { sequence }));
                }
            }
            let raft = &one.raft;
            prop_assert_eq!(raft.last_log_id(), model.id_at(model.log.len()));
            for index in 1..=model.log.len() + 1 {
                let expected = model.log.get(index - 1).map(|entry| entry.id.term);
                prop_assert_eq!(raft.term_at(LogIndex(index as u64)), expected);
            }
            prop_assert_eq!(raft.flushed_index().0 as usize, model.flushed());
            let newest = model.log.iter().rev().find_map(|entry| match &entry.payload {
                Payload::Membership(membership) => Some((entry.id, (**membership).clone())),
                _ => None,
            });
            let (id, membership) = newest.unwrap_or((LogId::ZERO, voters(3)));
            prop_assert_eq!((raft.membership_log_id(), raft.membership()), (id, &membership));
        }
        while let Some(sequence) = model.flush() {
            one.input(Input::Flushed { sequence });
        }
        prop_assert_eq!(&model.disk, &model.log);
        prop_assert_eq!(one.raft.flushed_index().0 as usize, model.log.len());
    }
}
