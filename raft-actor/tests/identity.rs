//! Clusters of real nodes in which disks are lost, and memberships do not match, on virtual time.

use std::{sync::Arc, time::Duration};

use raft_actor::{
    events::Change,
    membership::MembershipChange,
    node::survivor::Survivor,
    runtime::sim::SimRuntime,
    testkit::memory::MemoryLog,
    types::{NodeId, Role},
};

use crate::hall::Hall;

impl Hall {
    /// Three nodes that know each other's disks.
    async fn settled(simulator: &Arc<SimRuntime>) -> Hall {
        let hall = Hall::running(simulator).await;
        hall.cluster.sleep(Duration::from_secs(5)).await;
        let leader = hall.cluster.leader().await;
        let membership = hall.cluster.node(leader).membership().await;
        assert!((1..=3).all(|node| membership.incarnation(NodeId(node)) != 0), "{membership:?}");
        hall
    }

    async fn start_with(&mut self, node: u64, members: &[u64]) {
        let machine = self.machines.boot(NodeId(node));
        let members = members.iter().map(|member| (NodeId(*member), format!("node {member}"))).collect();
        self.cluster.start_with(NodeId(node), machine, members).await.expect("it starts");
    }

    fn lose_disk(&mut self, node: u64) {
        self.crash(node);
        self.cluster.lose_disk(NodeId(node));
    }

    async fn write(&self, node: u64, value: u64) {
        self.cluster.node(NodeId(node)).write(value).await.expect("a write");
    }

    async fn refusal_of(&self, node: u64) -> String {
        self.cluster.node(NodeId(node)).status().await.refusal.unwrap_or_default()
    }
}

fn simulate<F: Future<Output = ()>>(run: impl FnOnce(Arc<SimRuntime>) -> F) {
    let simulator = Arc::new(SimRuntime::new(11));
    simulator.run_until(run(simulator.clone()));
}

/// Without the check node 3 would vote for node 2, which slept through everything, and all of it were lost.
#[test]
fn a_node_that_lost_its_disk_elects_nobody_and_is_told_so() {
    simulate(async |simulator| {
        let mut hall = Hall::settled(&simulator).await;
        hall.crash(2);
        hall.cluster.leader().await;
        for value in 1..=10 {
            hall.write(1, value).await;
        }
        hall.crash(1);
        hall.lose_disk(3);
        hall.start(3).await;
        hall.start(2).await;
        hall.cluster.sleep(Duration::from_secs(20)).await;
        for node in [2, 3] {
            let status = hall.cluster.node(NodeId(node)).status().await;
            assert_ne!(status.role, Role::Leader, "node {node} has no majority that can be believed");
        }
        let told = hall.refusal_of(3).await;
        assert!(told.contains("not the one that node 3 had") && told.contains("add it anew"), "{told}");
        let present = hall.node(3).events(1).next().await.expect("a node begins with its present state");
        let Change::Present { status, .. } = present.change else { panic!("{present:?}") };
        assert_eq!(status.refusal, Some(told), "whoever listens is told, too");
        assert_eq!(hall.refusal_of(2).await, "");
        hall.start(1).await;
        assert_eq!(hall.sum_on(2).await, 55, "nothing is lost");
        hall.cluster.shutdown().await;
    });
}

#[test]
fn a_node_that_lost_its_disk_disturbs_nobody_and_comes_back_as_a_learner() {
    simulate(async |simulator| {
        let mut hall = Hall::settled(&simulator).await;
        hall.write(1, 5).await;
        let leader = hall.cluster.leader().await;
        let lost = [1, 2, 3].into_iter().find(|node| NodeId(*node) != leader).expect("there are two");
        hall.lose_disk(lost);
        hall.start(lost).await;
        hall.cluster.sleep(Duration::from_secs(20)).await;
        let id = NodeId(lost);
        hall.write(leader.0, 0).await;
        hall.cluster.sleep(Duration::from_secs(5)).await;
        let status = hall.cluster.node(leader).status().await;
        assert_eq!(hall.cluster.leader().await, leader, "it disturbs nobody");
        assert!(status.peers[&id].match_index < status.commit_index, "and acknowledges nothing");
        hall.cluster.node(leader).remove(id).await.expect("it leaves");
        hall.lose_disk(lost);
        hall.start_with(lost, &[]).await;
        hall.cluster.node(leader).add_voter(id, format!("node {lost}")).await.expect("it is new");
        assert_eq!(hall.sum_on(lost).await, 5);
        assert_eq!(hall.refusal_of(lost).await, "");
        let membership = hall.cluster.node(leader).membership().await;
        assert_eq!(membership.incarnation(id), hall.cluster.log(id).state().incarnation);
        let other = [1, 2, 3].into_iter().find(|node| NodeId(*node) != leader && *node != lost);
        hall.crash(other.expect("there are three"));
        hall.write(leader.0, 1).await;
        hall.cluster.shutdown().await;
    });
}

#[test]
fn late_messages_of_a_disk_that_is_gone_do_not_come_between_a_node_and_its_return() {
    for is_soon_fast in [false, true] {
        return_while_messages_are_late(is_soon_fast);
    }
}

/// Late messages of the old life come before those of the new one, or after the first of them.
fn return_while_messages_are_late(is_soon_fast: bool) {
    simulate(async |simulator| {
        let mut hall = Hall::settled(&simulator).await;
        let leader = hall.cluster.leader().await;
        let lost = [1, 2, 3].into_iter().find(|node| NodeId(*node) != leader).expect("there are two");
        let id = NodeId(lost);
        hall.cluster.network().slow(id, leader, Duration::from_millis(800));
        hall.cluster.sleep(Duration::from_millis(700)).await;
        hall.lose_disk(lost);
        if is_soon_fast {
            hall.cluster.network().heal();
        }
        hall.cluster.node(leader).remove(id).await.expect("it leaves");
        hall.start_with(lost, &[]).await;
        hall.cluster.node(leader).add_learner(id, format!("node {lost}")).await.expect("it is new");
        hall.cluster.sleep(Duration::from_secs(10)).await;
        let status = hall.cluster.node(leader).status().await;
        assert_eq!(status.membership.incarnation(id), hall.cluster.log(id).state().incarnation);
        assert_eq!(status.peers[&id].match_index, status.commit_index);
        assert_eq!(hall.refusal_of(lost).await, "", "what is said of its old life is nothing to it");
        hall.cluster.shutdown().await;
    });
}

#[test]
fn to_record_who_is_who_is_one_entry_and_restarts_add_none() {
    simulate(async |simulator| {
        let mut hall = Hall::settled(&simulator).await;
        let records = |log: &MemoryLog| log.state().memberships.len();
        for node in 1..=3 {
            assert_eq!(records(&hall.cluster.log(NodeId(node))), 2, "the first, and what was recorded");
        }
        for node in 1..=3 {
            hall.crash(node);
        }
        for node in 1..=3 {
            hall.start(node).await;
        }
        hall.cluster.leader().await;
        hall.cluster.sleep(Duration::from_secs(20)).await;
        for node in 1..=3 {
            assert_eq!(records(&hall.cluster.log(NodeId(node))), 2);
            assert_eq!(hall.refusal_of(node).await, "");
        }
        hall.cluster.shutdown().await;
    });
}

#[test]
fn a_node_that_was_started_with_other_members_is_told_and_changes_nothing() {
    simulate(async |simulator| {
        let mut hall = Hall::new(&simulator);
        hall.start_with(1, &[1, 2, 3]).await;
        hall.start_with(2, &[1, 2, 3]).await;
        hall.start_with(3, &[2, 3]).await;
        hall.cluster.sleep(Duration::from_secs(10)).await;
        hall.write(1, 7).await;
        hall.cluster.sleep(Duration::from_secs(10)).await;
        let told = hall.refusal_of(3).await;
        assert!(told.contains("node 3 was started with other initial members than node"), "{told}");
        let status = hall.cluster.node(NodeId(3)).status().await;
        assert_eq!((status.leader, status.last_log_id.index.0), (None, 1));
        hall.crash(2);
        hall.cluster.sleep(Duration::from_secs(10)).await;
        let status = hall.cluster.node(NodeId(1)).status().await;
        assert_ne!(status.role, Role::Leader, "node 3 is no part of its majority");
        hall.cluster.shutdown().await;
    });
}

#[test]
fn one_survivor_becomes_the_cluster_and_the_old_members_cannot_come_back() {
    simulate(async |simulator| {
        let mut hall = Hall::settled(&simulator).await;
        for value in 1..=10 {
            hall.write(2, value).await;
        }
        hall.cluster.sleep(Duration::from_secs(1)).await;
        for node in 1..=3 {
            hall.crash(node);
        }
        let mut log = hall.cluster.log(NodeId(1));
        let snapshots = hall.cluster.snapshots(NodeId(1));
        let survivor = Survivor::look(&mut log, Some(&snapshots)).await.expect("it is sound");
        survivor.become_cluster(NodeId(1)).await.expect("it is a member");
        hall.start(1).await;
        assert_eq!(hall.sum_on(1).await, 55);
        hall.write(1, 1).await;
        // Their folders are as they were, and are a majority of what they know.
        hall.start(2).await;
        hall.cluster.sleep(Duration::from_secs(10)).await;
        assert!(hall.refusal_of(2).await.contains("recovered"), "{}", hall.refusal_of(2).await);
        hall.crash(2);
        // With empty ones they come back, and the log tells them of the time when their ids voted.
        for node in [2, 3] {
            hall.cluster.lose_disk(NodeId(node));
            hall.start_with(node, &[]).await;
            let id = NodeId(node);
            hall.cluster.node(NodeId(1)).add_voter(id, format!("node {node}")).await.expect("it joins");
            assert_eq!(hall.sum_on(node).await, 56);
        }
        hall.crash(1);
        hall.cluster.leader().await;
        hall.write(3, 4).await;
        assert_eq!(hall.sum_on(2).await, 60);
        hall.cluster.shutdown().await;
    });
}

/// They have the beginning of a log in which they were a majority; the one that has the rest is away.
#[test]
fn newcomers_under_old_ids_elect_nobody_while_they_take_the_log_in() {
    simulate(async |simulator| {
        let mut hall = Hall::settled(&simulator).await;
        for value in 1..=10 {
            hall.write(2, value).await;
        }
        let leader = hall.cluster.leader().await;
        let others: Vec<u64> = [1, 2, 3].into_iter().filter(|node| NodeId(*node) != leader).collect();
        let change = others.iter().fold(MembershipChange::new(), |change, node| change.remove(NodeId(*node)));
        hall.cluster.node(leader).change_membership(change).await.expect("one is left");
        for node in &others {
            hall.lose_disk(*node);
            hall.start_with(*node, &[]).await;
        }
        for node in &others {
            let added = hall.cluster.node(leader).add_learner(NodeId(*node), format!("node {node}")).await;
            added.expect("a learner");
        }
        hall.crash(leader.0);
        hall.cluster.sleep(Duration::from_secs(20)).await;
        for node in &others {
            let status = hall.cluster.node(NodeId(*node)).status().await;
            assert_eq!(status.role, Role::Follower);
        }
        hall.start(leader.0).await;
        assert_eq!(hall.sum_on(leader.0).await, 55);
        hall.cluster.shutdown().await;
    });
}
