//! A cluster of processes in a temporary folder, a load on it, and an audit of what became of the load.

pub(crate) mod audit;
pub(crate) mod load;
pub(crate) mod mutated;
pub(crate) mod network;
pub(crate) mod torture;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use example_app::api::raft_status::RaftStatus;
use raft_actor::{mutants::Mutant, types::Role};
use serde_json::Value;
use tempfile::TempDir;

/// Nodes that are processes. Whatever still runs is killed when this is dropped.
pub(crate) struct Cluster {
    program: PathBuf,
    folder: TempDir,
    ports: Vec<u16>,
    /// A network in which each node has a place of its own; without, all are on the loopback.
    network: Option<network::Network>,
    /// What stands before a node's command at its next start.
    pub(crate) under: BTreeMap<usize, Vec<String>>,
    processes: Vec<Option<Child>>,
    /// Flags that every node gets beside its own.
    pub(crate) flags: Vec<String>,
    /// The one of the nodes that is a witness.
    pub(crate) witness: Option<usize>,
    /// Whether nodes record their cores' steps.
    pub(crate) traced: bool,
    /// A bug that all nodes have. They are processes of this program then, as the other has no door for it.
    pub(crate) mutant: Option<Mutant>,
    /// The nodes from here on join, and wait to be added.
    first_members: usize,
    agent: ureq::Agent,
}

impl Cluster {
    /// A cluster of `nodes` nodes of `program`, none of which runs yet.
    pub(crate) fn new(program: impl AsRef<Path>, nodes: usize) -> Cluster {
        Cluster {
            program: program.as_ref().to_owned(),
            folder: tempfile::tempdir().expect("a temporary folder"),
            ports: free_ports(nodes),
            network: None,
            under: BTreeMap::new(),
            processes: (0..nodes).map(|_| None).collect(),
            flags: Vec::new(),
            witness: None,
            traced: false,
            mutant: None,
            first_members: nodes,
            agent: agent(Duration::from_secs(8)),
        }
    }

    /// A cluster of which all nodes run, and one leads.
    pub(crate) fn started(program: impl AsRef<Path>, nodes: usize) -> Cluster {
        let mut cluster = Cluster::new(program, nodes);
        for node in 1..=nodes {
            cluster.start(node);
        }
        cluster.wait_for_leader(Duration::from_secs(20));
        cluster
    }

    /// A cluster of `first` nodes that run, and `joining` more that do not yet.
    pub(crate) fn growing(program: impl AsRef<Path>, first: usize, joining: usize) -> Cluster {
        let mut cluster = Cluster::new(program, first + joining);
        cluster.first_members = first;
        for node in 1..=first {
            cluster.start(node);
        }
        cluster.wait_for_leader(Duration::from_secs(20));
        cluster
    }

    /// Every node's number.
    pub(crate) fn nodes(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.ports.len()
    }

    /// Where a node is reached, as host:port.
    pub(crate) fn address(&self, node: usize) -> String {
        let host = self.network.as_ref().map_or("127.0.0.1".to_owned(), |network| network.host(node));
        format!("{host}:{}", self.ports[node - 1])
    }

    /// Two nodes that do not run get each other's address.
    pub(crate) fn exchange_addresses(&mut self, one: usize, other: usize) {
        self.ports.swap(one - 1, other - 1);
    }

    /// A node's folder.
    pub(crate) fn data(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("node{node}"))
    }

    /// Where a node records its core's steps.
    pub(crate) fn trace(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("node{node}.trace"))
    }

    /// The command that runs a node.
    pub(crate) fn command(&self, node: usize) -> Command {
        let mut node_itself = Command::new(&self.program);
        node_itself.args(self.arguments(node));
        if let Some(mutant) = self.mutant {
            node_itself = mutated::node(mutant, &node_itself);
        }
        let inside = self.network.iter().flat_map(|network| network.inside(node));
        let mut words = inside.chain(self.under.get(&node).cloned().unwrap_or_default());
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(node_itself.get_program()).args(node_itself.get_args());
                let given = node_itself.get_envs();
                command.envs(given.filter_map(|(name, value)| Some((name, value?))));
                command
            }
            None => node_itself,
        };
        command.stdin(Stdio::piped());
        command
    }

    /// What the program is told, to be a node.
    fn arguments(&self, node: usize) -> Vec<OsString> {
        let first = 1..=self.first_members;
        let members: Vec<String> = first.map(|member| format!("{member}={}", self.address(member))).collect();
        let mut words: Vec<String> =
            ["serve", "--exit-with-parent", "--log", "info", "--node-id"].map(str::to_owned).to_vec();
        words.extend([node.to_string(), "--address".to_owned(), self.address(node)]);
        if node > self.first_members {
            words.push("--join".to_owned());
        } else {
            words.extend(["--members".to_owned(), members.join(",")]);
        }
        if let Some(witness) = self.witness {
            if witness <= self.first_members {
                words.extend(["--witnesses".to_owned(), witness.to_string()]);
            }
            words.extend((witness == node).then(|| "--witness".to_owned()));
        }
        words.extend(self.flags.clone());
        let mut words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        if self.traced {
            words.extend(["--trace".into(), self.trace(node).into()]);
        }
        words.extend(["--data".into(), self.data(node).into()]);
        words
    }

    /// Starts a node that does not run.
    pub(crate) fn start(&mut self, node: usize) {
        assert!(self.processes[node - 1].is_none(), "node {node} runs already");
        let log = self.folder.path().join(format!("node{node}.log"));
        let log = File::options().create(true).append(true).open(log).expect("a log file");
        let process = self.command(node).stderr(log).spawn().expect("the program can be run");
        self.processes[node - 1] = Some(process);
    }

    /// What a node has logged in all its lives.
    pub(crate) fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("node{node}.log"))).unwrap_or_default()
    }

    /// Kills all nodes, and starts them when none is left.
    pub(crate) fn restart(&mut self) {
        for node in self.nodes() {
            self.kill(node);
        }
        for node in self.nodes() {
            self.start(node);
        }
    }

    /// Kills a node: SIGKILL, so it has no time for anything.
    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.processes[node - 1].take() {
            process.kill().expect("it is ours to kill");
            process.wait().expect("and to wait for");
        }
    }

    /// Waits until a node ends by itself: its exit code, or `None` where it was killed. `Err` where it goes
    /// on.
    pub(crate) fn wait_for_end(&mut self, node: usize, at_most: Duration) -> Result<Option<i32>, Duration> {
        let until = Instant::now() + at_most;
        let process = self.processes[node - 1].as_mut().expect("it was started");
        loop {
            if let Some(status) = process.try_wait().expect("it is ours") {
                self.processes[node - 1] = None;
                return Ok(status.code());
            }
            if Instant::now() > until {
                return Err(at_most);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Has a node stand still, as if its machine had been frozen, until `thaw`.
    pub(crate) fn freeze(&self, node: usize) {
        send_signal(self.processes[node - 1].as_ref().expect("it runs"), "STOP");
    }

    /// Has a frozen node go on.
    pub(crate) fn thaw(&self, node: usize) {
        send_signal(self.processes[node - 1].as_ref().expect("it runs"), "CONT");
    }

    /// Sends a signal by name, and waits for the end.
    pub(crate) fn signal(&mut self, node: usize, signal: &str) -> ExitStatus {
        let process = self.processes[node - 1].take().expect("it runs");
        send_signal(&process, signal);
        wait_for_exit(process, Duration::from_secs(20))
    }

    /// The process that a node is.
    pub(crate) fn process(&self, node: usize) -> u32 {
        self.processes[node - 1].as_ref().expect("it runs").id()
    }

    /// The process that traces a node.
    pub(crate) fn tracer(&self, node: usize) -> u32 {
        let process = self.process(node);
        let traced = || {
            let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:").map(str::to_owned));
            line.and_then(|tracer| tracer.trim().parse().ok()).filter(|tracer| *tracer > 0)
        };
        let mut tracer = None;
        wait_until(Duration::from_secs(10), "it to be traced", || {
            tracer = traced();
            tracer.is_some()
        });
        tracer.expect("it is traced")
    }

    /// Sends a signal, and waits for nothing.
    pub(crate) fn tell(&self, node: usize, signal: &str) {
        send_signal(self.processes[node - 1].as_ref().expect("it runs"), signal);
    }

    /// Asks a node for its view of itself.
    pub(crate) fn status(&self, node: usize) -> Option<RaftStatus> {
        let agent = agent(Duration::from_millis(800));
        let answer = agent.get(format!("http://{}/raft/status", self.address(node))).call();
        answer.ok()?.body_mut().read_json().ok()
    }

    /// The node that leads in the highest term that any node tells of, if it can be told.
    pub(crate) fn leader(&self) -> Option<usize> {
        let statuses: Vec<RaftStatus> = self.nodes().filter_map(|node| self.status(node)).collect();
        let term = statuses.iter().map(|status| status.term).max()?;
        let leads = |status: &&RaftStatus| status.term == term && status.role == Role::Leader;
        statuses.iter().find(leads).map(|status| status.id.0 as usize)
    }

    /// Waits until a node leads.
    pub(crate) fn wait_for_leader(&self, at_most: Duration) -> usize {
        let mut leader = None;
        wait_until(at_most, "a leader", || {
            leader = self.leader();
            leader.is_some()
        });
        leader.expect("it was waited for")
    }

    /// Waits until a node has applied what the leader had committed when the wait began.
    pub(crate) fn wait_until_caught_up(&self, node: usize, at_most: Duration) {
        let statuses = self.nodes().filter_map(|node| self.status(node));
        let commit = statuses.map(|status| status.commit_index).max().unwrap_or_default();
        let what = format!("node {node} at index {commit}");
        wait_until(at_most, &what, || {
            self.status(node).is_some_and(|status| status.applied_index >= commit && status.leader.is_some())
        });
    }

    /// Posts JSON to a node; the HTTP status and the JSON that came.
    pub(crate) fn post(&self, node: usize, path: &str, body: &Value) -> (u16, Value) {
        self.post_text(node, path, &body.to_string())
    }

    /// Posts any text to a node.
    pub(crate) fn post_text(&self, node: usize, path: &str, body: &str) -> (u16, Value) {
        let answer = self.agent.post(format!("http://{}{path}", self.address(node))).send(body);
        let mut answer = answer.unwrap_or_else(|error| panic!("node {node} does not answer: {error}"));
        let text = answer.body_mut().with_config().limit(u64::MAX).read_to_string().expect("a body");
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Sets a key through a node.
    pub(crate) fn put(&self, node: usize, key: &str, value: &str) -> (u16, Value) {
        let body = serde_json::json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value) });
        self.post(node, "/v3/kv/put", &body)
    }

    /// Reads a key through a node, with everything that was acknowledged before.
    pub(crate) fn get(&self, node: usize, key: &str) -> Option<String> {
        let (status, answer) =
            self.post(node, "/v3/kv/range", &serde_json::json!({ "key": STANDARD.encode(key) }));
        assert_eq!(status, 200, "{answer}");
        let value = STANDARD.decode(answer["kvs"][0]["value"].as_str()?).expect("base64");
        Some(String::from_utf8(value).expect("the tests' values are text"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes() {
            self.kill(node);
        }
        if thread::panicking() {
            for node in self.nodes() {
                let log = self.log(node);
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(25)..].join("\n");
                eprintln!("--- the last lines of node {node}:\n{last}");
            }
        }
    }
}

fn send_signal(process: &Child, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &process.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
}

/// Waits for a process; kills it where it takes too long.
pub(crate) fn wait_for_exit(mut process: Child, at_most: Duration) -> ExitStatus {
    let until = Instant::now() + at_most;
    loop {
        if let Some(status) = process.try_wait().expect("it is ours") {
            return status;
        }
        if Instant::now() > until {
            process.kill().expect("it is ours to kill");
            panic!("the process did not end within {at_most:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until something holds.
pub(crate) fn wait_until(at_most: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + at_most;
    while !holds() {
        assert!(Instant::now() < until, "waited {at_most:?} for {what}");
        thread::sleep(Duration::from_millis(15));
    }
}

/// A client that keeps its connections.
pub(crate) fn agent(timeout: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(timeout));
    config.http_status_as_error(false).proxy(None).build().into()
}

/// Ports that are free, below those that the system gives to clients, so that a restarted node finds its own
/// again.
fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 15_000 + u16::try_from(std::process::id() % 500).expect("it is below 500") * 20;
    let candidates = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    let free = candidates.take(5_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let ports: Vec<u16> = free.take(count).collect();
    assert_eq!(ports.len(), count, "no free ports");
    ports
}
