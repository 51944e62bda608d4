//! What a leader takes that it cannot commit: no more than its bound, whoever carries it there.

use std::{sync::Arc, time::Duration};

use futures_util::future::{join, join_all};
use raft_actor::{
    config::Config,
    error::WriteError,
    runtime::{SharedRuntime, sim::SimRuntime, timeout},
    testkit::cluster::Cluster,
    types::NodeId,
};

use crate::sum::Sum;

/// Writes under way on a node.
const WRITES_MAX: usize = 20;

fn simulate<F: Future<Output = ()>>(seed: u64, test: impl FnOnce(SharedRuntime) -> F) {
    let simulator = SimRuntime::new(seed);
    let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
    simulator.run_until(test(runtime));
}

/// What so many writes of one at these nodes come to, all at once.
async fn write_at(cluster: &Cluster<Sum>, nodes: &[NodeId], each: usize) -> Vec<Result<u64, WriteError>> {
    let nodes = nodes.iter().flat_map(|node| std::iter::repeat_n(cluster.node(*node), each));
    join_all(nodes.map(|node| node.write(1))).await
}

fn count(outcomes: &[Result<u64, WriteError>], error: &WriteError) -> usize {
    outcomes.iter().filter(|outcome| outcome.as_ref().err() == Some(error)).count()
}

/// Seven nodes, and a leader that stays with two of them: they are no quorum, and go on carrying.
fn sides(leader: NodeId) -> (Vec<NodeId>, Vec<NodeId>) {
    let others: Vec<NodeId> = (1..=7).map(NodeId).filter(|node| *node != leader).collect();
    (others[..2].to_vec(), others[2..].to_vec())
}

fn partition(cluster: &Cluster<Sum>, (few, many): (&[NodeId], &[NodeId])) {
    for one in few {
        many.iter().for_each(|other| cluster.network().partition(*one, *other));
    }
}

async fn seven(runtime: &SharedRuntime, change: impl FnOnce(&mut Config)) -> Cluster<Sum> {
    let mut config = Config::default();
    change(&mut config);
    Cluster::start(runtime.clone(), 7, config, Sum::default).await.expect("seven nodes start")
}

/// A leader without its quorum is carried twice its bound, by two nodes, each within its own. Gives what came
/// of it, and how many entries the leader had that were not committed.
async fn overload(
    cluster: &Cluster<Sum>,
    leader: NodeId,
    cut_for: u64,
) -> (Vec<Result<u64, WriteError>>, u64) {
    let (carriers, many) = sides(leader);
    let few = [vec![leader], carriers.clone()].concat();
    partition(cluster, (&few, &many));
    let watch = async {
        cluster.sleep(Duration::from_millis(150)).await;
        let status = cluster.node(leader).status().await;
        let uncommitted = status.last_log_id.index.0 - status.commit_index.0;
        cluster.sleep(Duration::from_millis(cut_for)).await;
        cluster.network().heal();
        uncommitted
    };
    join(write_at(cluster, &carriers, WRITES_MAX), watch).await
}

#[test]
fn a_leader_without_a_quorum_takes_no_more_carried_writes_than_its_bound() {
    for seed in 0..5 {
        simulate(seed, |runtime| async move {
            let cluster = seven(&runtime, |config| config.writes_max = WRITES_MAX as u64).await;
            let leader = cluster.leader().await;
            assert!(write_at(&cluster, &[leader], 1).await[0].is_ok());
            let (outcomes, uncommitted) = overload(&cluster, leader, 100).await;
            assert_eq!(uncommitted, WRITES_MAX as u64, "the bound is used, and kept");
            assert_eq!(count(&outcomes, &WriteError::Overloaded), WRITES_MAX, "the rest is refused");
            let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            assert_eq!(done, WRITES_MAX, "what was taken is done after the heal: {outcomes:?}");
            assert_eq!(cluster.node(leader).read(|sum| sum.0).await, Ok(1 + WRITES_MAX as u64));
            cluster.shutdown().await;
        });
    }
}

#[test]
fn the_bound_counts_bytes_too() {
    simulate(1, |runtime| async move {
        // A command of one is a byte.
        let cluster = seven(&runtime, |config| {
            config.command_bytes_max = 10;
            config.write_bytes_max = WRITES_MAX as u64;
        });
        let cluster = cluster.await;
        let leader = cluster.leader().await;
        let (outcomes, uncommitted) = overload(&cluster, leader, 100).await;
        assert_eq!(uncommitted, WRITES_MAX as u64);
        assert_eq!(count(&outcomes, &WriteError::Overloaded), WRITES_MAX);
        cluster.shutdown().await;
    });
}

#[test]
fn nothing_of_the_bound_leaks_when_leaders_change_and_logs_are_truncated() {
    for seed in 0..5 {
        simulate(seed, |runtime| async move {
            let cluster = seven(&runtime, |config| config.writes_max = WRITES_MAX as u64).await;
            let mut truncated = 0;
            for _ in 0..3 {
                let leader = cluster.leader().await;
                // Long enough for the others to elect another, and for that one to commit.
                let (outcomes, _) = overload(&cluster, leader, 3_000).await;
                truncated += count(&outcomes, &WriteError::Unknown);
                cluster.sleep(Duration::from_secs(2)).await;
                // A node's whole bound is there again, on each: at its own door, and for what it is carried.
                for node in (1..=7).map(NodeId) {
                    let outcomes = write_at(&cluster, &[node], WRITES_MAX).await;
                    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
                    assert_eq!(done, WRITES_MAX, "n{node} of seed {seed}: {outcomes:?}");
                }
            }
            assert!(truncated > 0, "no write was lost with its leader");
            let ended = timeout(&runtime, Duration::from_secs(60), cluster.shutdown()).await;
            assert!(ended.is_some(), "all nodes end");
        });
    }
}
