//! One node's process.

use std::{
    fs::OpenOptions,
    io,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{self, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::Plan;

/// The wait before the first new start; it doubles with each that fails soon, up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A node that has lived so long was well: the next wait is the shortest again.
const WELL_AFTER: Duration = Duration::from_secs(10);

/// A node, whose process may be dead.
pub(super) struct Child {
    pub(super) node: u64,
    pub(super) address: String,
    process: process::Child,
    started: Instant,
    wait: Duration,
    /// When to start it again; `None` while it runs.
    due: Option<Instant>,
}

/// How a process ended.
pub(super) struct Ended {
    pub(super) well: bool,
    pub(super) words: String,
}

impl Child {
    pub(super) fn start(plan: &Plan, node: u64) -> io::Result<Child> {
        let process = spawn(plan, node)?;
        let address = plan.address(node);
        Ok(Child { node, address, process, started: Instant::now(), wait: WAIT_MIN, due: None })
    }

    /// The process's id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn is_running(&self) -> bool {
        self.due.is_none()
    }

    /// Says once how the process has ended, if it has.
    pub(super) fn ended(&mut self) -> Option<String> {
        if self.due.is_some() {
            return None;
        }
        let status = self.process.try_wait().ok().flatten()?;
        if self.started.elapsed() > WELL_AFTER {
            self.wait = WAIT_MIN;
        }
        self.due = Some(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(WAIT_MAX);
        Some(describe(status).words)
    }

    /// Whether it is dead, and its wait is over.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    pub(super) fn start_again(&mut self, plan: &Plan) -> io::Result<()> {
        self.due = Some(Instant::now() + self.wait);
        self.process = spawn(plan, self.node)?;
        self.started = Instant::now();
        self.due = None;
        Ok(())
    }

    /// Closes the pipe that the node reads: it stops in order.
    pub(super) fn ask_to_stop(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Waits for the end; kills what has not ended when the wait is over.
    pub(super) fn wait(&mut self, is_over: impl Fn() -> bool) -> Ended {
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) if self.is_running() => return describe(status),
                Ok(Some(status)) => {
                    return Ended { well: true, words: format!("was not running ({status})") };
                }
                Ok(None) if !is_over() => thread::sleep(Duration::from_millis(20)),
                Ok(None) => {
                    let killed = self.process.kill().and_then(|()| self.process.wait());
                    let words = format!("did not stop in time, and was killed ({killed:?})");
                    return Ended { well: false, words };
                }
                Err(error) => return Ended { well: false, words: error.to_string() },
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Where this process gives up early, the pipe closes and the node stops by itself; nobody waits for
        // it then.
        self.ask_to_stop();
    }
}

fn spawn(plan: &Plan, node: u64) -> io::Result<process::Child> {
    let folder = plan.folder(node);
    let mut command = Command::new(program()?);
    command
        .arg("serve")
        .arg("--exit-with-parent")
        .args([
            "--node-id",
            &node.to_string(),
            "--address",
            &plan.address(node),
            "--members",
            &plan.members(),
        ])
        .arg("--data")
        .arg(&folder)
        .stdin(Stdio::piped())
        // A group of its own: Ctrl-C reaches this process alone, which passes it on in order.
        .process_group(0);
    if plan.trace {
        command.arg("--trace").arg(folder.join("trace"));
    }
    if !plan.logs {
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log.txt"))?;
        command.stdout(log.try_clone()?).stderr(log);
    }
    command.spawn()
}

/// This program. Where its file was replaced since it began, as a build does, its path leads nowhere; Linux
/// still has the program itself.
fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(if path.exists() { path } else { "/proc/self/exe".into() })
}

fn describe(status: ExitStatus) -> Ended {
    let words = match status.code() {
        Some(0) => "stopped in order".to_owned(),
        Some(1) => "refused to start; its log says why".to_owned(),
        Some(75) => "did not stop in order; its log says why".to_owned(),
        Some(70) => "failed for good; its log says why".to_owned(),
        _ => status.to_string(),
    };
    Ended { well: status.success(), words }
}
