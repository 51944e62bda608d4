//! Members come and go in clusters of real nodes, on virtual time.

use std::{sync::Arc, time::Duration};

use raft_actor::{
    error::StartError,
    membership::{ChangeError, MembershipChange},
    node::Node,
    runtime::{SharedRuntime, sim::SimRuntime},
    testkit::{memory::MemoryLog, network::Network},
    types::{NodeId, Role},
};

use crate::{hall::Hall, sum::Sum};

fn simulate<F: Future<Output = ()>>(run: impl FnOnce(Arc<SimRuntime>) -> F) {
    let simulator = Arc::new(SimRuntime::new(7));
    simulator.run_until(run(simulator.clone()));
}

fn address(node: u64) -> String {
    format!("node {node}")
}

#[test]
fn a_cluster_grows_moves_and_loses_none_of_its_data() {
    simulate(async |simulator| {
        let mut hall = Hall::running(&simulator).await;
        for value in 1..=100 {
            hall.node(1).write(value).await.expect("a write");
        }
        let first = hall.cluster.leader().await;
        for joining in [4, 5] {
            hall.start(joining).await;
            // Any node takes the change: here one that leads and ones that do not.
            hall.node(joining - 3).add_voter(NodeId(joining), address(joining)).await.expect("it joins");
            assert_eq!(hall.sum_on(joining).await, 5050);
        }
        let others = [1, 2, 3].into_iter().filter(|node| NodeId(*node) != first);
        let gone: Vec<u64> = others.chain([first.0]).collect();
        for node in gone {
            hall.node(4).remove(NodeId(node)).await.expect("it leaves");
            hall.node(4).write(1).await.expect("a write in between");
            hall.crash(node);
        }
        let leader = hall.cluster.leader().await;
        let membership = hall.node(leader.0).membership().await;
        assert_eq!(membership.nodes().collect::<Vec<_>>(), [NodeId(4), NodeId(5)]);
        assert_eq!((hall.sum_on(4).await, hall.sum_on(5).await), (5053, 5053));
        hall.cluster.shutdown().await;
    });
}

#[test]
fn a_leader_that_removes_itself_hands_over_well_before_an_election_timeout() {
    simulate(async |simulator| {
        let hall = Hall::running(&simulator).await;
        let leader = hall.cluster.leader().await;
        hall.cluster.node(leader).remove(leader).await.expect("it leaves");
        hall.cluster.sleep(Duration::from_millis(100)).await;
        let next = hall.cluster.leader().await;
        assert_ne!(next, leader);
        let left = hall.cluster.node(leader).status().await;
        assert_eq!(left.role, Role::Follower);
        assert!(!left.membership.contains(leader), "it knows");
        hall.cluster.sleep(Duration::from_secs(30)).await;
        assert_eq!(hall.cluster.leader().await, next, "it disturbs nobody");
        hall.cluster.shutdown().await;
    });
}

#[test]
fn a_dead_node_stays_a_learner_and_add_voter_waits_for_it() {
    simulate(async |simulator| {
        let mut hall = Hall::running(&simulator).await;
        hall.node(2).add_learner(NodeId(4), address(4)).await.expect("a learner may be late");
        let refused = hall.node(2).promote(NodeId(4)).await;
        assert_eq!(refused, Err(ChangeError::Silent { node: NodeId(4) }));
        assert_eq!(hall.node(1).write(5).await, Ok(5), "it holds up nothing");
        hall.start(4).await;
        hall.node(3).add_voter(NodeId(4), address(4)).await.expect("now it is there");
        assert!(hall.node(4).membership().await.voters().contains(&NodeId(4)));
        assert_eq!(hall.sum_on(4).await, 5);
        hall.cluster.shutdown().await;
    });
}

/// A node that slept while all the others were replaced is asked by a leader that its log does not know, and
/// can answer it all the same.
#[test]
fn one_that_comes_back_to_a_cluster_of_strangers_catches_up() {
    simulate(async |simulator| {
        let mut hall = Hall::running(&simulator).await;
        let leader = hall.cluster.leader().await;
        let sleeper = [1, 2, 3].into_iter().find(|node| NodeId(*node) != leader).expect("there are two");
        hall.crash(sleeper);
        for joining in [4, 5] {
            hall.start(joining).await;
            hall.cluster.node(leader).add_voter(NodeId(joining), address(joining)).await.expect("it joins");
        }
        let old: Vec<u64> = [1, 2, 3].into_iter().filter(|node| *node != sleeper).collect();
        let change = old.iter().fold(MembershipChange::new(), |change, node| change.remove(NodeId(*node)));
        hall.node(4).change_membership(change).await.expect("both leave at once");
        for node in old {
            hall.crash(node);
        }
        hall.cluster.leader().await;
        hall.node(5).write(9).await.expect("4 and 5 are two of three");
        hall.start(sleeper).await;
        assert_eq!(hall.sum_on(sleeper).await, 9);
        let membership = hall.node(sleeper).membership().await;
        assert_eq!(membership.voters().len(), 3);
        hall.crash(4);
        hall.cluster.leader().await;
        hall.node(5).write(1).await.expect("it counts again");
        hall.cluster.shutdown().await;
    });
}

/// The network in memory refuses an address that is another node's, so the log's is of no use here.
#[test]
fn a_member_whose_address_is_wrong_in_the_log_introduces_itself() {
    simulate(async |simulator| {
        let hall = Hall::running(&simulator).await;
        let leader = hall.cluster.leader().await;
        let moved = [1, 2, 3].into_iter().find(|node| NodeId(*node) != leader).expect("there are two");
        let wrong = Network::address(NodeId(99));
        hall.cluster.node(leader).set_address(NodeId(moved), wrong.clone()).await.expect("two are enough");
        hall.cluster.node(leader).write(3).await.expect("a write");
        hall.cluster.sleep(Duration::from_secs(3)).await;
        assert_eq!(hall.sum_on(moved).await, 3);
        let membership = hall.node(moved).membership().await;
        assert_eq!(membership.address(NodeId(moved)), Some(&*wrong));
        let right = Network::address(NodeId(moved));
        hall.node(moved).set_address(NodeId(moved), right.clone()).await.expect("back again");
        let leader = hall.cluster.leader().await;
        let membership = hall.cluster.node(leader).membership().await;
        assert_eq!(membership.address(NodeId(moved)), Some(&*right));
        hall.cluster.shutdown().await;
    });
}

#[test]
fn a_node_with_nothing_on_its_disk_says_that_it_may_join() {
    simulate(async |simulator| {
        let runtime: SharedRuntime = Arc::new(simulator.node("alone"));
        let network = Network::new(runtime.clone(), 1);
        let builder = |node: u64| {
            Node::builder(NodeId(node), Sum::default())
                .storage(MemoryLog::new())
                .transport(network.transport(NodeId(node)))
                .runtime(simulator.node("alone"))
        };
        let error = builder(4).start().await.expect_err("no members");
        assert!(
            matches!(error, StartError::NoMembers { .. }) && error.to_string().contains("join"),
            "{error}"
        );
        let error = builder(0).join().start().await.expect_err("id 0");
        assert!(matches!(error, StartError::Membership(_)), "{error}");
        let node = builder(4).join().start().await.expect("it waits");
        raft_actor::runtime::sleep(&*runtime, Duration::from_secs(10)).await;
        let status = node.status().await;
        assert_eq!((status.role, status.term.0, status.leader), (Role::Follower, 0, None));
        assert_eq!(node.remove(NodeId(1)).await, Err(ChangeError::NotLeader { leader: None }));
        node.shutdown().await;
        assert_eq!(node.remove(NodeId(1)).await, Err(ChangeError::Stopped));
    });
}
