//! A whole write: three nodes with all their actors, logs in memory and the test kit's network, and clients,
//! on one thread of tokio. Its clock stands still as long as anybody has work, so no heartbeat is counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::future::try_join_all;
use raft_actor::{
    config::Config, runtime::TokioRuntime, state_machine::StateMachine, testkit::cluster::Cluster,
    types::LogId,
};
use tokio::runtime::Builder;

use crate::path::check;

const NODES: u64 = 3;

/// Keeps nothing but a count, for all nodes together.
struct Counter(Arc<AtomicU64>);

impl StateMachine for Counter {
    type Command = ();
    type Output = ();

    fn apply(&mut self, _: LogId, (): ()) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Has `clients` write `times` times in all, each one after the other.
pub(crate) fn run(times: u64, clients: u64) -> Result<(), String> {
    fastrand::seed(1);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let applied = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let (host, counter) = (Arc::new(TokioRuntime::current()), applied.clone());
        let cluster = Cluster::start(host, NODES, Config::default(), move || Counter(counter.clone())).await;
        let cluster = cluster.map_err(|error| format!("no cluster: {error}"))?;
        let leader = cluster.node(cluster.leader().await).clone();
        let client = |_| {
            let leader = leader.clone();
            tokio::spawn(async move {
                for _ in 0..times / clients {
                    leader.write(()).await?;
                }
                Ok::<(), raft_actor::error::WriteError>(())
            })
        };
        let clients = try_join_all((0..clients).map(client)).await.map_err(|error| error.to_string())?;
        clients.into_iter().collect::<Result<(), _>>().map_err(|error| error.to_string())?;
        cluster.sleep(Config::default().election_timeout_min).await;
        cluster.shutdown().await;
        Ok::<(), String>(())
    })?;
    check("commands applied", applied.load(Ordering::Relaxed), NODES * times)
}
