//! The same application, composed on each runtime by changing one line.

use std::{sync::Arc, time::Duration};

use raft_actor::{
    config::Config,
    error::{StartError, WriteError},
    node::Node,
    runtime::{SharedRuntime, actix::ActixRuntime, sim::SimRuntime, tokio::TokioRuntime},
    state_machine::StateMachine,
    testkit::{cluster::Cluster, memory::MemoryLog, network::Network},
    types::{LogId, NodeId, Role},
};

#[derive(Default)]
struct Counter {
    value: u64,
}

impl StateMachine for Counter {
    type Command = u64;
    type Output = u64;

    fn apply(&mut self, _: LogId, add: u64) -> u64 {
        self.value += add;
        self.value
    }
}

/// The application: it knows nothing of what it runs on.
async fn count_to_three(runtime: SharedRuntime) {
    let cluster =
        Cluster::start(runtime, 3, Config::default(), Counter::default).await.expect("three nodes start");
    let leader = cluster.leader().await;
    let mut outputs = Vec::new();
    for node in cluster.nodes().values() {
        outputs.push(node.write(1).await.expect("any node takes writes"));
    }
    assert_eq!(outputs, [1, 2, 3], "each write sees those before it");
    for node in cluster.nodes().values() {
        assert_eq!(node.read(|counter| counter.value).await, Ok(3), "a linearizable read on {}", node.id());
    }
    let status = cluster.node(leader).status().await;
    assert_eq!(status.role, Role::Leader);
    assert_eq!(status.peers.len(), 2);
    cluster.shutdown().await;
}

#[actix::test]
async fn the_application_runs_on_actix() {
    count_to_three(Arc::new(ActixRuntime::new(1).expect("an arbiter"))).await;
}

#[tokio::test]
async fn the_application_runs_on_tokio() {
    count_to_three(Arc::new(TokioRuntime::current())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_runs_on_tokio_with_two_threads() {
    count_to_three(Arc::new(TokioRuntime::current())).await;
}

#[test]
fn the_application_runs_on_the_simulator() {
    let simulator = SimRuntime::new(7);
    let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
    simulator.run_until(count_to_three(runtime));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let simulator = SimRuntime::new(seed);
        let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
        simulator.run_until(count_to_three(runtime));
        simulator.trace_hash()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

async fn alone(config: Config, runtime: SharedRuntime) -> Node<Counter> {
    let network = Network::new(runtime.clone(), 1);
    Node::builder(NodeId(1), Counter::default())
        .members([(NodeId(1), "alone")])
        .storage(MemoryLog::new())
        .transport(network.transport(NodeId(1)))
        .runtime(runtime)
        .config(config)
        .start()
        .await
        .expect("a node alone starts")
}

#[test]
fn a_write_beyond_what_may_be_under_way_is_refused_at_once_and_nothing_is_done() {
    let simulator = SimRuntime::new(3);
    let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
    simulator.run_until(async move {
        let mut config = Config::default();
        config.writes_max = 2;
        let node = alone(config, runtime).await;
        let (first, second, third) =
            futures_util::future::join3(node.write(1), node.write(1), node.write(1)).await;
        assert_eq!((first, second), (Ok(1), Ok(2)));
        assert_eq!(third, Err(WriteError::Overloaded));
        assert_eq!(node.read(|counter| counter.value).await, Ok(2));
        assert_eq!(node.write(1).await, Ok(3), "the shares have been given back");
        node.shutdown().await;
    });
}

#[test]
fn a_node_that_has_been_shut_down_refuses_and_keeps_its_last_status() {
    let simulator = SimRuntime::new(4);
    let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
    simulator.run_until(async move {
        let node = alone(Config::default(), runtime).await;
        assert_eq!(node.write(5).await, Ok(5));
        node.shutdown().await;
        assert_eq!(node.write(5).await, Err(WriteError::Stopped));
        let status = node.status().await;
        assert_eq!(status.applied_index, status.last_log_id.index);
        assert_eq!(status.failure, None);
        assert_eq!(node.stopped().await, None);
    });
}

#[test]
fn a_clean_shutdown_hands_leadership_over_without_waiting_for_a_timeout() {
    let simulator = SimRuntime::new(5);
    let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
    simulator.run_until(async move {
        let mut cluster =
            Cluster::start(runtime.clone(), 3, Config::default(), Counter::default).await.expect("starts");
        let old = cluster.leader().await;
        let before = runtime.now();
        cluster.node(old).shutdown().await;
        cluster.forget_node(old);
        let new = cluster.leader().await;
        assert_ne!(old, new);
        let took = runtime.now().since(before);
        println!("handed over in {took:?} of virtual time");
        assert!(took < Duration::from_millis(300), "no election timeout has passed: {took:?}");
        assert_eq!(cluster.node(new).write(1).await, Ok(1));
        cluster.shutdown().await;
    });
}

/// What the core refuses because its leader hands over is kept with its command, and carried to the next one.
#[test]
fn what_is_written_while_leadership_is_handed_over_is_done_by_the_next_leader() {
    let simulator = SimRuntime::new(8);
    let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
    simulator.run_until(async move {
        let cluster =
            Cluster::start(runtime.clone(), 3, Config::default(), Counter::default).await.expect("starts");
        let old = cluster.leader().await;
        let node = cluster.node(old);
        cluster.network().delay(Duration::from_millis(10)..=Duration::from_millis(10));
        let write = async |after: u64| {
            cluster.sleep(Duration::from_millis(after)).await;
            node.write(10_u64.pow(after as u32)).await
        };
        let writes = futures_util::future::join4(write(0), write(1), write(2), write(3));
        let (ended, (first, second, third, fourth)) =
            futures_util::future::join(node.transfer_leadership(None), writes).await;
        assert_eq!(ended, Ok(()));
        for outcome in [&first, &second, &third, &fourth] {
            assert!(outcome.is_ok(), "{outcome:?}");
        }
        let new = cluster.leader().await;
        assert_ne!(old, new);
        assert_eq!(cluster.node(new).read(|counter| counter.value).await, Ok(1_111), "each of them once");
        cluster.shutdown().await;
    });
}

#[test]
fn a_node_without_members_or_not_among_them_does_not_start() {
    let simulator = SimRuntime::new(6);
    let runtime: SharedRuntime = Arc::new(simulator.node("machine"));
    simulator.run_until(async move {
        let network = Network::new(runtime.clone(), 1);
        let start = |members: Vec<(NodeId, String)>| {
            Node::builder(NodeId(1), Counter::default())
                .members(members)
                .storage(MemoryLog::new())
                .transport(network.transport(NodeId(1)))
                .runtime(runtime.clone())
                .start()
        };
        assert!(matches!(start(vec![]).await, Err(StartError::NoMembers { node: NodeId(1) })));
        let others = vec![(NodeId(2), "elsewhere".to_owned())];
        assert!(matches!(start(others).await, Err(StartError::NotAMember { node: NodeId(1) })));
    });
}

#[test]
fn the_smallest_application_has_at_most_40_lines_of_its_own() {
    let source = include_str!("../examples/counter.rs");
    let mut is_import = false;
    let mut count = 0;
    for line in source.lines().map(str::trim) {
        is_import |= line.starts_with("use ");
        if !is_import && !line.is_empty() && !line.starts_with("//") {
            count += 1;
        }
        is_import &= !line.ends_with(';');
    }
    println!("the smallest replicated application: {count} lines without imports and comments");
    assert!((30..=40).contains(&count), "{count} lines");
}
