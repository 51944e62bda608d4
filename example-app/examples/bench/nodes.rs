//! Clusters of real processes, ours and etcd's, which answer to the same requests.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use example_app::api::raft_status::RaftStatus;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Failure;

/// How long a cluster may take to have a leader, and a node to catch up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whose nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum System {
    /// The example application.
    Ours,
    /// The etcd that is on the PATH.
    Etcd,
}

impl System {
    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Ours => "ours",
            System::Etcd => "etcd",
        }
    }
}

/// What is there to measure, and where.
pub(crate) struct Stage {
    program: PathBuf,
    folder: PathBuf,
    systems: Vec<System>,
}

impl Stage {
    /// Builds the example application where `program` names none, and looks for etcd.
    pub(crate) fn prepare(
        program: Option<&PathBuf>,
        folder: Option<&PathBuf>,
        only: Option<&str>,
    ) -> Result<Stage, Failure> {
        let here = std::env::current_exe()?;
        let beside = here.parent().and_then(Path::parent).ok_or("this program is in no folder")?;
        let program = match program {
            Some(program) => program.clone(),
            None => {
                build()?;
                beside.join("example-app")
            }
        };
        let mut systems = vec![System::Ours, System::Etcd];
        systems.retain(|system| only.is_none_or(|only| only == system.name()));
        if systems.contains(&System::Etcd) {
            match version("etcd", "--version") {
                Some(version) => println!("beside {version}"),
                None => {
                    println!(
                        "There is no `etcd` on the PATH, so ours is measured alone. Debian and Ubuntu have \
                         it in the package etcd-server; others find it at https://etcd.io."
                    );
                    systems.retain(|system| *system != System::Etcd);
                }
            }
        }
        if systems.is_empty() {
            return Err("nothing is left to measure".into());
        }
        Ok(Stage { program, folder: folder.map_or(beside.to_owned(), Clone::clone), systems })
    }

    /// The systems in the order of a round: each begins in turn.
    pub(crate) fn systems(&self, round: u64) -> Vec<System> {
        let mut systems = self.systems.clone();
        if round % 2 == 1 {
            systems.reverse();
        }
        systems
    }

    /// A fresh cluster of `nodes` nodes with these flags, one of which leads.
    pub(crate) fn start(&self, system: System, nodes: usize, flags: &[&str]) -> Result<Cluster, Failure> {
        let mut cluster = self.cluster(system, nodes, flags)?;
        for node in 0..nodes {
            cluster.start(node)?;
        }
        cluster.wait_for_leader()?;
        Ok(cluster)
    }

    /// The same, before any node is started.
    pub(crate) fn cluster(&self, system: System, nodes: usize, flags: &[&str]) -> Result<Cluster, Failure> {
        Ok(Cluster {
            system,
            program: self.program.clone(),
            folder: tempfile::Builder::new().prefix("bench-").tempdir_in(&self.folder)?,
            ports: free_ports(nodes * 2)?,
            processes: (0..nodes).map(|_| None).collect(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            agent: agent(Duration::from_secs(10)),
        })
    }
}

/// What a program says of itself in its first line, if it is on the PATH.
pub(crate) fn version(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().map(str::to_owned)
}

fn build() -> Result<(), Failure> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--package", "example-app", "--bin", "example-app"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    if command.status()?.success() { Ok(()) } else { Err("example-app cannot be built".into()) }
}

/// Nodes that are processes. Whatever still runs is killed when this is dropped, and the folders go.
pub(crate) struct Cluster {
    system: System,
    program: PathBuf,
    folder: TempDir,
    ports: Vec<u16>,
    processes: Vec<Option<Child>>,
    flags: Vec<String>,
    agent: ureq::Agent,
}

impl Cluster {
    /// How many nodes it has; they are counted from 0.
    pub(crate) fn len(&self) -> usize {
        self.processes.len()
    }

    /// Where clients reach a node, as host:port.
    pub(crate) fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.ports[node])
    }

    fn peer_address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.ports[node + self.len()])
    }

    /// A node's folder.
    pub(crate) fn data(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("node{}", node + 1))
    }

    /// Ids of the processes that run.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.processes.iter().flatten().map(Child::id).collect()
    }

    /// The id of a node's process.
    pub(crate) fn process(&self, node: usize) -> Option<u32> {
        self.processes[node].as_ref().map(Child::id)
    }

    /// Starts a node, or starts it again on its own folder.
    pub(crate) fn start(&mut self, node: usize) -> Result<(), Failure> {
        let mut command = match self.system {
            System::Ours => self.ours(node),
            System::Etcd => self.etcd(node),
        };
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        command.args(&self.flags).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        self.processes[node] = Some(command.spawn()?);
        Ok(())
    }

    fn ours(&self, node: usize) -> Command {
        let member = |node| format!("{}={}", node + 1, self.address(node));
        let members: Vec<String> = (0..self.len()).map(member).collect();
        let mut command = Command::new(&self.program);
        command.args(["serve", "--exit-with-parent", "--log", "warn", "--node-id", &(node + 1).to_string()]);
        command.args(["--address", &self.address(node), "--members", &members.join(",")]);
        command.arg("--data").arg(self.data(node));
        command
    }

    fn etcd(&self, node: usize) -> Command {
        let member = |node| format!("node{}=http://{}", node + 1, self.peer_address(node));
        let members: Vec<String> = (0..self.len()).map(member).collect();
        let (client, peer) = (self.address(node), self.peer_address(node));
        let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("node{}", node + 1), "--log-level", "error"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &members.join(","), "--quota-backend-bytes", "8589934592"]);
        command.arg("--data-dir").arg(self.data(node));
        command
    }

    /// Kills a node: SIGKILL, so it has no time for anything.
    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.processes[node].take() {
            // It may be dead already, which is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Has a node stand still (`STOP`), or go on (`CONT`).
    pub(crate) fn signal(&self, node: usize, signal: &str) -> Result<(), Failure> {
        let process = self.process(node).ok_or("the node does not run")?;
        let sent = Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err("kill failed".into()) }
    }

    /// Asks a node; `None` where it gives no answer, or an error.
    pub(crate) fn ask(&self, node: usize, path: &str, body: &Value) -> Option<Value> {
        ask(&self.agent, &format!("http://{}{path}", self.address(node)), body)
    }

    /// The node that leads, if they know.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leads = |node: &usize| {
            let status = self.ask(*node, "/v3/maintenance/status", &json!({}));
            status.is_some_and(|status| {
                let leader = &status["leader"];
                leader.is_string() && *leader == status["header"]["member_id"]
            })
        };
        (0..self.len()).filter(|node| self.processes[*node].is_some()).find(leads)
    }

    /// Waits until a node leads and a write is answered.
    pub(crate) fn wait_for_leader(&self) -> Result<usize, Failure> {
        let mut leader = None;
        self.wait("a leader", || {
            leader = self.leader();
            let body = json!({ "key": STANDARD.encode("ready"), "value": "" });
            leader.is_some_and(|leader| self.ask(leader, "/v3/kv/put", &body).is_some())
        })?;
        leader.ok_or_else(|| "no leader".into())
    }

    /// Waits until a node's store is where the leader's is now.
    pub(crate) fn wait_until_level(&self, node: usize) -> Result<(), Failure> {
        let leader = self.wait_for_leader()?;
        let revision = self.revision(leader).ok_or("the leader does not answer")?;
        self.wait("a node to catch up", || self.revision(node).is_some_and(|own| own >= revision))
    }

    /// The revision of a node's own store.
    pub(crate) fn revision(&self, node: usize) -> Option<i64> {
        let key = STANDARD.encode("ready");
        let answer = self.ask(node, "/v3/kv/range", &json!({ "key": key, "serializable": true }))?;
        answer["header"]["revision"].as_str()?.parse().ok()
    }

    /// What one of our own nodes knows of itself.
    pub(crate) fn raft_status(&self, node: usize) -> Option<RaftStatus> {
        let mut answer = self.agent.get(format!("http://{}/raft/status", self.address(node))).call().ok()?;
        answer.body_mut().read_json().ok()
    }

    /// Waits until something holds; looks every few milliseconds.
    pub(crate) fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        while !holds() {
            if Instant::now() > until {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                let name = self.system.name();
                return Err(format!("{name}: waited {PATIENCE:?} for {what}; its log ends: {last:?}").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 0..self.len() {
            self.kill(node);
        }
    }
}

/// Posts JSON; the answer where it is no error.
pub(crate) fn ask(agent: &ureq::Agent, address: &str, body: &Value) -> Option<Value> {
    let mut answer = agent.post(address).send_json(body).ok()?;
    if answer.status() != 200 {
        return None;
    }
    answer.body_mut().read_json().ok()
}

/// A client that keeps its connections.
pub(crate) fn agent(timeout: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(timeout));
    let config = config.max_idle_connections(256).max_idle_connections_per_host(64);
    config.http_status_as_error(false).proxy(None).build().into()
}

/// Ports that are free, below those that the system gives to clients, so that a restarted node finds its own
/// again.
fn free_ports(count: usize) -> Result<Vec<u16>, Failure> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 26_000 + u16::try_from(std::process::id() % 250)? * 20;
    let candidates = std::iter::repeat_with(|| first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)));
    let free = candidates.take(1_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let ports: Vec<u16> = free.take(count).collect();
    if ports.len() == count { Ok(ports) } else { Err("there are not enough free ports".into()) }
}
