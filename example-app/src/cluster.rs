//! `example-app cluster`: several nodes on this machine, each a process of its own, watched and kept alive.
//!
//! A node's standard input is a pipe from here. When it ends, the node stops in order: so this process passes
//! on Ctrl-C and SIGTERM by closing the pipes, and no node outlives it, even where it is killed.

mod child;
mod view;

use std::{
    fs, io,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

use self::{child::Child, view::View};

/// How often the nodes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long the nodes may take to stop in order before they are killed.
const STOP_MAX: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many nodes.
    pub nodes: u64,
    /// The folder in which each has one.
    pub data: PathBuf,
    /// Node n listens at this + 10 * (n - 1).
    pub base_port: u16,
    /// Whether to delete the nodes' folders first.
    pub fresh: bool,
    /// Whether to start again what dies.
    pub restart: bool,
    /// Whether to show the nodes' logs instead of writing them to files.
    pub logs: bool,
    /// Whether each node records its core's steps in its folder.
    pub trace: bool,
}

impl Plan {
    fn address(&self, node: u64) -> String {
        format!("127.0.0.1:{}", u64::from(self.base_port) + 10 * (node - 1))
    }

    fn folder(&self, node: u64) -> PathBuf {
        self.data.join(format!("node{node}"))
    }

    fn members(&self) -> String {
        let members = (1..=self.nodes).map(|node| format!("{node}={}", self.address(node)));
        members.collect::<Vec<_>>().join(",")
    }
}

/// Runs the nodes until this process is told to stop.
pub fn run(plan: &Plan) -> ExitCode {
    match begin(plan) {
        Ok((children, told)) => watch(plan, children, &told),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn begin(plan: &Plan) -> io::Result<(Vec<Child>, Arc<AtomicU32>)> {
    let told = count_signals()?;
    let mut children = Vec::new();
    for node in 1..=plan.nodes {
        let folder = plan.folder(node);
        if plan.fresh && folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        children.push(Child::start(plan, node)?);
    }
    for child in &children {
        println!("node {} is process {} at http://{}", child.node, child.id(), child.address);
    }
    if !plan.logs {
        println!("logs: {}", plan.folder(1).with_file_name("node*").join("log.txt").display());
    }
    println!("Ctrl-C stops them all; once more, at once.");
    Ok((children, told))
}

/// Counts how often this process is told to stop.
fn count_signals() -> io::Result<Arc<AtomicU32>> {
    let told = Arc::new(AtomicU32::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let count = told.clone();
    thread::spawn(move || {
        loop {
            runtime.block_on(std::future::poll_fn(|task| match interrupt.poll_recv(task) {
                std::task::Poll::Pending => terminate.poll_recv(task),
                ready => ready,
            }));
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(told)
}

fn watch(plan: &Plan, mut children: Vec<Child>, told: &AtomicU32) -> ExitCode {
    let mut view = View::new(plan.nodes);
    while told.load(Ordering::Relaxed) == 0 {
        for child in &mut children {
            if let Some(how) = child.ended() {
                view.say(&format!("node {} (process {}) has ended: {how}", child.node, child.id()));
            }
            if plan.restart && child.is_due() {
                match child.start_again(plan) {
                    Ok(()) => {
                        view.say(&format!("node {} is started again: process {}", child.node, child.id()))
                    }
                    Err(error) => view.say(&format!("node {} cannot be started: {error}", child.node)),
                }
            }
        }
        if !plan.restart && children.iter().all(|child| !child.is_running()) {
            view.say("no node is left");
            return ExitCode::FAILURE;
        }
        view.show(&children);
        thread::sleep(LOOK_EVERY);
    }
    view.say("stopping all nodes in order");
    stop(children, &mut view, told)
}

fn stop(mut children: Vec<Child>, view: &mut View, told: &AtomicU32) -> ExitCode {
    for child in &mut children {
        child.ask_to_stop();
    }
    let until = Instant::now() + STOP_MAX;
    let mut all_well = true;
    for child in &mut children {
        let how = child.wait(|| Instant::now() >= until || told.load(Ordering::Relaxed) > 1);
        all_well &= how.well;
        view.say(&format!("node {}: {}", child.node, how.words));
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
