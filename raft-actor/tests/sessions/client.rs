//! The client: what it does when nodes refuse, fall silent, or are gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use raft_actor::{
    client::{
        Answer, Client, ClientConfig, Door, read,
        session::{Limits, SessionCommand, SessionOutput, Sessions},
    },
    config::Config,
    error::{ClientError, WriteError},
    runtime::{Place, Runtime, SharedRuntime, sim::SimRuntime, sleep},
    state_machine::StateMachine,
    testkit::cluster::Cluster,
    types::{LogIndex, NodeId},
};

use crate::journal::Journal;

/// A node in front of another one, which answers as it is told.
struct Moody {
    inner: Arc<dyn Door<Journal>>,
    runtime: SharedRuntime,
    /// How many answers are still lost, though the write was done.
    lose: AtomicU64,
    /// How many writes are still refused.
    refuse: AtomicU64,
    writes: AtomicU64,
}

impl Moody {
    fn new(cluster: &Cluster<Sessions<Journal>>, runtime: &SharedRuntime) -> Arc<Moody> {
        Arc::new(Moody {
            inner: Arc::new(cluster.node(NodeId(1)).clone()),
            runtime: runtime.clone(),
            lose: AtomicU64::new(0),
            refuse: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        })
    }
}

fn take_one(count: &AtomicU64) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

struct Front(Arc<Moody>);

#[async_trait]
impl Door<Journal> for Front {
    fn node(&self) -> NodeId {
        self.0.inner.node()
    }

    async fn write(&self, command: SessionCommand<u64>) -> Answer<Journal> {
        self.0.writes.fetch_add(1, Ordering::Relaxed);
        if take_one(&self.0.refuse) {
            return Err(WriteError::Overloaded);
        }
        let answer = self.0.inner.write(command).await;
        if take_one(&self.0.lose) {
            // Long after anyone waits for it.
            sleep(&*self.0.runtime, Duration::from_secs(3600)).await;
        }
        answer
    }
}

fn simulate<F: Future<Output = ()>>(run: impl FnOnce(SharedRuntime) -> F) {
    let simulator = SimRuntime::new(5);
    let runtime: SharedRuntime = Arc::new(simulator.node("all"));
    simulator.run_until(run(runtime));
}

async fn cluster(runtime: &SharedRuntime, count: u64) -> Cluster<Sessions<Journal>> {
    let new_state = || Sessions::new(Journal::default());
    Cluster::start(runtime.clone(), count, Config::default(), new_state).await.expect("a cluster starts")
}

async fn values(cluster: &Cluster<Sessions<Journal>>) -> Vec<u64> {
    let node = cluster.node(cluster.leader().await);
    node.read(|sessions| sessions.machine().values.clone()).await.expect("a leader is there")
}

async fn client_of(runtime: &SharedRuntime, moody: &Arc<Moody>, config: ClientConfig) -> Client<Journal> {
    let doors: Vec<Arc<dyn Door<Journal>>> = vec![Arc::new(Front(moody.clone()))];
    Client::open_through(runtime.clone(), doors, config).await.expect("a session is opened")
}

#[test]
fn a_write_whose_answer_is_lost_is_sent_again_and_applied_once() {
    simulate(async |runtime| {
        let cluster = cluster(&runtime, 3).await;
        let moody = Moody::new(&cluster, &runtime);
        let client = client_of(&runtime, &moody, ClientConfig::default()).await;
        moody.lose.store(2, Ordering::Relaxed);
        assert_eq!(client.write(70).await, Ok(1));
        assert!(moody.writes.load(Ordering::Relaxed) >= 4, "one to open, three for the write");
        assert_eq!(values(&cluster).await, [70]);
    });
}

#[test]
fn a_write_that_is_refused_is_tried_again_until_it_is_taken() {
    simulate(async |runtime| {
        let cluster = cluster(&runtime, 3).await;
        let moody = Moody::new(&cluster, &runtime);
        let client = client_of(&runtime, &moody, ClientConfig::default()).await;
        moody.refuse.store(4, Ordering::Relaxed);
        assert_eq!(client.write(70).await, Ok(1));
    });
}

#[test]
fn a_client_gives_up_at_its_deadline_and_says_what_it_knows() {
    simulate(async |runtime| {
        let cluster = cluster(&runtime, 3).await;
        let moody = Moody::new(&cluster, &runtime);
        let config = ClientConfig::default().with_deadline(Duration::from_secs(4));
        let client = client_of(&runtime, &moody, config).await;
        let began = runtime.now();
        moody.refuse.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(client.write(70).await, Err(ClientError::GaveUp { last: WriteError::Overloaded }));
        moody.refuse.store(0, Ordering::Relaxed);
        moody.lose.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(client.write(71).await, Err(ClientError::Unknown));
        let took = runtime.now().since(began);
        assert!(took >= Duration::from_secs(8) && took < Duration::from_secs(9), "{took:?}");
        assert_eq!(values(&cluster).await, [71], "unknown, and applied in fact: once");
    });
}

#[test]
fn a_command_that_is_too_large_is_refused_at_once() {
    struct TooLarge;

    #[async_trait]
    impl Door<Journal> for TooLarge {
        fn node(&self) -> NodeId {
            NodeId(1)
        }

        async fn write(&self, command: SessionCommand<u64>) -> Answer<Journal> {
            match command {
                SessionCommand::Open(_) => {
                    Ok(SessionOutput::Opened(raft_actor::client::session::SessionId(1)))
                }
                _ => Err(WriteError::TooLarge { bytes: 9, bytes_max: 8 }),
            }
        }
    }

    simulate(async |runtime| {
        let doors: Vec<Arc<dyn Door<Journal>>> = vec![Arc::new(TooLarge)];
        let client = Client::open_through(runtime.clone(), doors, ClientConfig::default()).await;
        let refused = client.expect("it opens").write(70).await;
        assert_eq!(refused, Err(ClientError::Refused(WriteError::TooLarge { bytes: 9, bytes_max: 8 })));
        assert!(runtime.now().0 < 1_000_000, "within a millisecond: nothing was waited for");
    });
}

#[test]
fn a_client_whose_session_has_expired_is_told_so_and_nothing_is_applied() {
    simulate(async |runtime| {
        let cluster = cluster(&runtime, 3).await;
        let nodes: Vec<_> = cluster.nodes().values().cloned().collect();
        let client = Client::open(runtime.clone(), nodes.clone(), ClientConfig::default()).await;
        let client = client.expect("a session is opened");
        let expire = SessionCommand::Expire { unused_since: LogIndex(u64::MAX) };
        assert_eq!(nodes[0].write(expire).await, Ok(SessionOutput::Expired(1)));
        assert_eq!(client.write(70).await, Err(ClientError::SessionExpired));
        assert!(values(&cluster).await.is_empty());
    });
}

#[test]
fn many_writes_under_way_in_one_session_are_each_applied_once() {
    simulate(async |runtime| {
        let cluster = cluster(&runtime, 3).await;
        let nodes: Vec<_> = cluster.nodes().values().cloned().collect();
        let limits = Limits::default().with_answers_max(8);
        let config = ClientConfig::default().with_limits(limits);
        let client = Client::open(runtime.clone(), nodes, config).await.expect("a session is opened");
        let done = Arc::new(AtomicU64::new(0));
        for value in 0..200 {
            let (client, done) = (client.clone(), done.clone());
            let work = async move {
                client.write(value).await.expect("a healthy cluster writes");
                done.fetch_add(1, Ordering::Relaxed);
            };
            runtime.spawn("writer", Place::Any, Box::pin(work));
        }
        while done.load(Ordering::Relaxed) < 200 {
            sleep(&*runtime, Duration::from_millis(5)).await;
        }
        let mut values = values(&cluster).await;
        values.sort_unstable();
        assert_eq!(values, (0..200).collect::<Vec<u64>>());
        let kept = cluster.node(cluster.leader().await).read(|sessions| sessions.table().answers()).await;
        assert!(kept.expect("a leader is there") <= 8, "a session keeps no more than its limit");
    });
}

#[test]
fn a_client_finds_the_next_leader_when_machines_are_lost() {
    let simulator = SimRuntime::new(6);
    let machines = [1, 2, 3].map(|number| simulator.node(&format!("machine {number}")));
    let hall: SharedRuntime = Arc::new(simulator.node("hall"));
    simulator.run_until(async {
        let new_state = || Sessions::new(Journal::default());
        let mut cluster = Cluster::new(hall.clone(), 3, Config::default(), new_state);
        for (id, machine) in (1..).map(NodeId).zip(&machines) {
            cluster.start_node(id, Arc::new(machine.clone())).await.expect("a node starts");
        }
        let nodes: Vec<_> = cluster.nodes().values().cloned().collect();
        let config = ClientConfig::default();
        let client = Client::open(hall.clone(), nodes.clone(), config.clone()).await.expect("a session");
        assert_eq!(client.write(1).await, Ok(1));
        let leader = cluster.leader().await;
        machines[leader.0 as usize - 1].crash();
        cluster.forget_node(leader);
        assert_eq!(client.write(2).await, Ok(2));
        let seen = read(&*hall, &nodes, &config, |sessions| sessions.machine().values.clone()).await;
        assert_eq!(seen, Ok(vec![1, 2]));
    });
}

/// The doors are all that a client knows of a cluster, so it needs no handle of a node.
#[test]
fn a_door_needs_nothing_but_the_state_machines_types() {
    fn takes_any<S: StateMachine>(_: &dyn Door<S>) {}
    simulate(async |runtime| {
        let cluster = cluster(&runtime, 1).await;
        takes_any::<Journal>(cluster.node(NodeId(1)));
        takes_any::<Journal>(&Front(Moody::new(&cluster, &runtime)));
    });
}
