//! raft-actor: three nodes and their clients on one thread, with logs in memory and the test kit's network.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use bytes::Bytes;
use raft_actor::{
    config::Config,
    node::Node,
    runtime::{Place, SharedRuntime, actix::ActixRuntime, tokio::TokioRuntime},
    state_machine::{StateMachine, StateMachineError},
    testkit::cluster::Cluster,
    types::{GroupId, LogId, SnapshotView},
};

use crate::course::{Course, Plan, Sample, Tally, Void, verify};

const NODES: u64 = 3;

/// What the nodes run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// The default: one arbiter.
    Actix,
    /// One thread of tokio.
    Tokio,
}

/// Keeps nothing but a count, by which the run is verified.
struct Empty {
    applied: Arc<AtomicU64>,
}

impl StateMachine for Empty {
    type Command = Bytes;
    type Output = ();

    /// Bytes already, as the rival's.
    fn encode_command(command: &Bytes) -> Result<Bytes, StateMachineError> {
        Ok(command.clone())
    }

    fn decode_command(bytes: &Bytes) -> Result<Bytes, StateMachineError> {
        Ok(bytes.clone())
    }

    fn apply(&mut self, _: LogId, _: Bytes) {
        // The only writer: a load and a store cost less than an atomic addition.
        self.applied.store(self.applied.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn snapshot(&self) -> Option<SnapshotView> {
        let applied = self.applied.load(Ordering::Relaxed);
        Some(Box::new(move |writer| writer.write_all(&applied.to_le_bytes())))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let mut applied = [0; 8];
        reader.read_exact(&mut applied).map_err(|error| StateMachineError { source: error.into() })?;
        self.applied.store(u64::from_le_bytes(applied), Ordering::Relaxed);
        Ok(())
    }
}

/// A snapshot as often as the rival's, and as much of the log kept beside it.
fn config() -> Config {
    let mut config = Config::default();
    config.snapshot_entries = 5000;
    config.trailing_entries = 1000;
    config
}

/// Starts a cluster, has it run the course, verifies it and ends it.
pub(crate) fn run(host: Host, plan: Plan) -> Result<Sample, Void> {
    let runtime = start(host).map_err(|error| format!("no runtime: {error}"))?;
    let here = Place::Group(GroupId::default());
    let counts = Arc::new(<[AtomicU64; NODES as usize]>::default().map(Arc::new));

    let cluster = wait_for(&runtime, {
        let (runtime, counts) = (runtime.clone(), counts.clone());
        let next = AtomicU64::new(0);
        async move {
            let state = move || {
                let number = next.fetch_add(1, Ordering::Relaxed) % NODES;
                Empty { applied: counts[number as usize].clone() }
            };
            let cluster = Cluster::start(runtime, NODES, config(), state).await;
            let cluster = cluster.map_err(|error| format!("no cluster: {error}"))?;
            let leader = cluster.leader().await;
            Ok::<_, String>((cluster, leader))
        }
    })??;
    let (cluster, leader) = cluster;

    let course = Arc::new(Course::default());
    let (sender, tallies) = mpsc::channel();
    // From a task there, as an application does: so a client's memory comes from the thread that it lives on.
    wait_for(&runtime, {
        let (runtime, leader, course) = (runtime.clone(), cluster.node(leader).clone(), course.clone());
        async move {
            for _ in 0..plan.clients {
                let client = client(leader.clone(), plan, course.clone(), sender.clone());
                runtime.spawn("client", here, Box::pin(client));
            }
        }
    })?;
    let sample = course.time(plan, &tallies)?;
    verify(sample.acknowledged, || counts.iter().map(|count| count.load(Ordering::Relaxed)).collect())?;
    wait_for(&runtime, cluster.shutdown())?;
    Ok(sample)
}

fn start(host: Host) -> io::Result<SharedRuntime> {
    Ok(match host {
        Host::Actix => Arc::new(ActixRuntime::new(1)?),
        Host::Tokio => Arc::new(TokioRuntime::owned(1)?),
    })
}

async fn client(leader: Node<Empty>, plan: Plan, course: Arc<Course>, tallies: mpsc::Sender<Tally>) {
    let mut tally = Tally::default();
    loop {
        if let Err(error) = leader.write(plan.command()).await {
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
    runtime: &SharedRuntime,
    task: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    let (sender, result) = mpsc::channel();
    let task = async move {
        // The other side has gone only where this process is about to end.
        let _ = sender.send(task.await);
    };
    runtime.spawn("bench", Place::Group(GroupId::default()), Box::pin(task));
    result.recv().map_err(|_| "the runtime has dropped the bench's task".to_owned())
}
