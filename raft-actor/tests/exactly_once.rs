//! What clients of a journal were told, held against what the nodes have in it.

use std::collections::{BTreeMap, BTreeSet};

/// All journals are the same; each acknowledged value is there once, at the place that its answer gave it;
/// and no value that was refused is there.
pub(crate) fn assert_exactly_once(
    journals: &[Vec<u64>],
    acknowledged: &BTreeMap<u64, u64>,
    refused: &BTreeSet<u64>,
) {
    for journal in journals {
        assert_eq!(
            journal, &journals[0],
            "state machine safety: all nodes applied the same values in the same order"
        );
    }
    let places: BTreeMap<u64, u64> =
        journals[0].iter().zip(1..).map(|(value, place)| (*value, place)).collect();
    assert_eq!(places.len(), journals[0].len(), "no value is applied twice");
    for (value, place) in acknowledged {
        assert_eq!(places.get(value), Some(place), "acknowledged value {value}");
    }
    for value in refused {
        assert!(!places.contains_key(value), "value {value} was refused, and yet applied");
    }
}
