//! openraft, set up as its own published bench is: three nodes in one process, a log in a `BTreeMap` behind a
//! lock that is flushed as soon as it is written, a state machine that remembers the last applied entry,
//! calls instead of a network, commands without meaning, and a snapshot every 5,000 entries.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};

use openraft::{Config, Raft, SnapshotPolicy};
use tokio::runtime::{Builder, Runtime};

use crate::course::{Course, Plan, Sample, Tally, Void, verify};

mod network;
mod store;
mod types;

use network::Switchboard;
use store::{Log, Machine};
use types::{Command, Nothing, Types};

const NODES: u64 = 3;

type Member = Raft<Types, Machine>;

/// What the nodes and the clients run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// Everything on one thread.
    OneThread,
    /// Everything on a pool of two threads.
    TwoWorkers,
    /// The nodes on a pool of two threads, the clients on a thread of their own: the arrangement of its own
    /// bench.
    ClientsApart,
}

/// Runtimes that are driven by threads of their own.
struct Threads {
    nodes: tokio::runtime::Handle,
    clients: tokio::runtime::Handle,
    _stop: Vec<tokio::sync::oneshot::Sender<()>>,
}

/// Starts a cluster, has it run the course, verifies it and ends it.
pub(crate) fn run(host: Host, plan: Plan) -> Result<Sample, Void> {
    let threads = start(host).map_err(|error| format!("no runtime: {error}"))?;
    let nodes = wait_for(&threads.nodes, start_cluster())??;
    let leader = &nodes[0];
    let machines = nodes.iter().map(|(_, machine)| machine.clone()).collect::<Vec<_>>();

    let course = Arc::new(Course::default());
    let (sender, tallies) = mpsc::channel();
    wait_for(&threads.clients, {
        let (leader, course) = (leader.0.clone(), course.clone());
        async move {
            for _ in 0..plan.clients {
                tokio::spawn(client(leader.clone(), plan, course.clone(), sender.clone()));
            }
        }
    })?;
    let sample = course.time(plan, &tallies)?;
    verify(sample.acknowledged, || machines.iter().map(Machine::commands).collect())?;
    wait_for(&threads.nodes, async move {
        for (node, _) in nodes {
            node.shutdown().await.map_err(|error| format!("a node did not end: {error}"))?;
        }
        Ok::<_, String>(())
    })??;
    Ok(sample)
}

fn start(host: Host) -> std::io::Result<Threads> {
    let mut stops = Vec::new();
    let mut drive = |runtime: Runtime| -> std::io::Result<tokio::runtime::Handle> {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let handle = runtime.handle().clone();
        // Ends with an error when the sender is dropped, which is what it waits for.
        std::thread::Builder::new().spawn(move || drop(runtime.block_on(stopped)))?;
        stops.push(stop);
        Ok(handle)
    };
    let one_thread = || Builder::new_current_thread().enable_all().build();
    let pool = |workers| Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let (nodes, clients) = match host {
        Host::OneThread => {
            let all = drive(one_thread()?)?;
            (all.clone(), all)
        }
        Host::TwoWorkers => {
            let all = drive(pool(2)?)?;
            (all.clone(), all)
        }
        Host::ClientsApart => (drive(pool(2)?)?, drive(pool(1)?)?),
    };
    Ok(Threads { nodes, clients, _stop: stops })
}

/// Three nodes, the first of which leads.
async fn start_cluster() -> Result<Vec<(Member, Machine)>, String> {
    let config = Config {
        election_timeout_min: 200,
        election_timeout_max: 2000,
        max_payload_entries: 1024,
        purge_batch_size: 1024,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(5000),
        ..Config::default()
    };
    let config = Arc::new(config.validate().map_err(|error| error.to_string())?);
    let members: Arc<OnceLock<BTreeMap<u64, Member>>> = Arc::default();
    let mut nodes = Vec::new();
    for id in 0..NODES {
        let machine = Machine::default();
        let switchboard = Switchboard::new(members.clone());
        let node = Raft::new(id, config.clone(), switchboard, Log::default(), machine.clone()).await;
        nodes.push((node.map_err(|error| error.to_string())?, machine));
    }
    let all = (0..NODES).zip(nodes.iter().map(|(node, _)| node.clone())).collect();
    if members.set(all).is_err() {
        return Err("the members were set twice".to_owned());
    }
    let ids = (0..NODES).collect::<BTreeSet<_>>();
    nodes[0].0.initialize(ids).await.map_err(|error| error.to_string())?;
    for (node, _) in &nodes {
        let wait = node.wait(Some(Duration::from_secs(10)));
        wait.current_leader(0, "the first node leads").await.map_err(|error| error.to_string())?;
    }
    Ok(nodes)
}

async fn client(leader: Member, plan: Plan, course: Arc<Course>, tallies: mpsc::Sender<Tally>) {
    let mut tally = Tally::default();
    loop {
        if let Err(error) = leader.client_write(Command(plan.command())).await {
            tally.failure = Some(error.to_string());
            break;
        }
        if !course.acknowledged(&mut tally) {
            break;
        }
    }
    // Nobody listens any more where the run is void.
    let _ = tallies.send(tally);
}

/// Does `task` on the runtime, and waits for it here.
fn wait_for<T: Send + 'static>(
    runtime: &tokio::runtime::Handle,
    task: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    let (sender, result) = mpsc::channel();
    runtime.spawn(async move {
        // The other side has gone only where this process is about to end.
        let _ = sender.send(task.await);
    });
    result.recv().map_err(|_| "the runtime has dropped the bench's task".to_owned())
}
