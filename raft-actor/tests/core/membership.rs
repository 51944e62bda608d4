//! Changes of members as values: what any set of steps comes to.

use std::collections::BTreeSet;

use proptest::prelude::*;
use raft_actor::{
    membership::{Membership, MembershipChange, MembershipError, MembershipStep},
    types::NodeId,
};

fn before(voters: &BTreeSet<u64>, learners: &BTreeSet<u64>) -> Membership {
    let members = voters.iter().map(|node| (NodeId(*node), format!("old {node}")));
    let membership = Membership::new(members).expect("not empty");
    learners.iter().fold(membership, |it, node| it.with_learner(NodeId(*node), format!("old {node}")))
}

fn step() -> impl Strategy<Value = MembershipStep> {
    let node = (0_u64..9).prop_map(NodeId);
    (0..7_u8, node).prop_map(|(kind, node)| match kind {
        0 => MembershipStep::AddLearner { node, address: format!("new {node}") },
        1 => MembershipStep::Promote { node },
        2 => MembershipStep::Demote { node },
        3 => MembershipStep::Remove { node },
        4 => MembershipStep::AddWitness { node, address: format!("new {node}") },
        5 => MembershipStep::SetPriority { node, priority: 3 },
        _ => MembershipStep::SetAddress { node, address: format!("new {node}") },
    })
}

/// Who a node is after a step, from who it was: `None` for nobody, else whether it votes.
fn naive(was: Option<bool>, step: &MembershipStep) -> Result<Option<bool>, ()> {
    match (was, step) {
        (None, MembershipStep::AddLearner { .. } | MembershipStep::AddWitness { .. }) => Ok(Some(false)),
        (None, _) => Err(()),
        (Some(_), MembershipStep::AddLearner { .. } | MembershipStep::AddWitness { .. }) => Err(()),
        (Some(_), MembershipStep::Promote { .. }) => Ok(Some(true)),
        (Some(_), MembershipStep::Demote { .. }) => Ok(Some(false)),
        (Some(_), MembershipStep::Remove { .. }) => Ok(None),
        (Some(votes), _) => Ok(Some(votes)),
    }
}

fn node_of(step: &MembershipStep) -> NodeId {
    match step {
        MembershipStep::AddLearner { node, .. }
        | MembershipStep::Promote { node }
        | MembershipStep::Demote { node }
        | MembershipStep::Remove { node }
        | MembershipStep::SetAddress { node, .. }
        | MembershipStep::AddWitness { node, .. }
        | MembershipStep::SetPriority { node, .. } => *node,
        other => panic!("a step that this test does not know: {other:?}"),
    }
}

fn standing(membership: &Membership, node: NodeId) -> Option<bool> {
    membership.contains(node).then(|| membership.voters().contains(&node))
}

proptest! {
    #[test]
    fn a_change_does_to_each_node_what_its_step_says_and_nothing_to_the_others(
        voters in proptest::collection::btree_set(1_u64..9, 1..5),
        learners in proptest::collection::btree_set(1_u64..9, 0..4),
        steps in proptest::collection::vec(step(), 0..5),
    ) {
        let old = before(&voters, &learners);
        let change = steps.iter().cloned().fold(MembershipChange::new(), MembershipChange::with);
        prop_assert_eq!(change.steps(), &steps[..]);
        let named: BTreeSet<NodeId> = steps.iter().map(node_of).collect();
        let stands = |step: &MembershipStep| naive(standing(&old, node_of(step)), step);
        let is_sound = named.len() == steps.len() && !named.contains(&NodeId(0))
            && steps.iter().all(|step| stands(step).is_ok());
        let after = match old.changed_by(&change) {
            Ok(after) => after,
            Err(MembershipError::NoVoters) => {
                prop_assert!(is_sound);
                return Ok(());
            }
            Err(_) => {
                prop_assert!(!is_sound, "{:?} is refused", steps);
                return Ok(());
            }
        };
        prop_assert!(is_sound, "{:?} is taken", steps);
        for node in (1..9).map(NodeId) {
            let step = steps.iter().find(|step| node_of(step) == node);
            let expected = step.map_or(Ok(standing(&old, node)), stands);
            prop_assert_eq!(Ok(standing(&after, node)), expected);
            let is_new = matches!(
                step,
                Some(
                    MembershipStep::AddLearner { .. }
                        | MembershipStep::AddWitness { .. }
                        | MembershipStep::SetAddress { .. }
                )
            );
            let is_witness = matches!(step, Some(MembershipStep::AddWitness { .. }));
            prop_assert_eq!(after.is_witness(node), is_witness);
            let is_raised = matches!(step, Some(MembershipStep::SetPriority { .. }));
            prop_assert_eq!(after.priority(node), if is_raised { 3 } else { 1 });
            let address = format!("{} {node}", if is_new { "new" } else { "old" });
            prop_assert_eq!(after.address(node), after.contains(node).then_some(&*address));
        }
        prop_assert!(!after.voters().is_empty());
        prop_assert!(after.voters().is_disjoint(after.learners()));

        let joint = after.clone().joint_with(&old);
        prop_assert_eq!(joint.leave_joint(), after);
        prop_assert!(old.nodes().all(|node| joint.contains(node)), "who leaves is told until then");
    }

    /// Raft §6: why the joint step is there. Two quorums of it share a voter with each half's own.
    #[test]
    fn no_quorum_of_a_half_misses_a_quorum_of_the_joint_configuration(
        old in proptest::collection::btree_set(1_u64..8, 1..6),
        new in proptest::collection::btree_set(1_u64..8, 1..6),
        agree in proptest::collection::btree_set(1_u64..8, 0..8),
    ) {
        let none = BTreeSet::new();
        let (old, new) = (before(&old, &none), before(&new, &none));
        let joint = new.clone().joint_with(&old);
        let agrees = |node: NodeId| agree.contains(&node.0);
        if joint.has_quorum(agrees) {
            prop_assert!(!old.has_quorum(|node| !agrees(node)));
            prop_assert!(!new.has_quorum(|node| !agrees(node)));
        }
    }
}
