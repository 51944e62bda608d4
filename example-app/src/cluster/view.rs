//! What people see of the cluster: a table that is drawn anew on a terminal, and a line a change elsewhere.

use std::{
    io::{IsTerminal, Write},
    thread,
    time::Duration,
};

use super::child::Child;
use crate::{
    api::raft_status::RaftStatus,
    client::{Client, table},
};

/// How long a node may take to tell its status.
const ASK_MAX: Duration = Duration::from_millis(400);

pub(super) struct View {
    on_terminal: bool,
    client: Client,
    /// What was last said of each node, where there is no terminal.
    said: Vec<String>,
    /// The lines of the table that stands on the terminal.
    drawn: usize,
}

impl View {
    pub(super) fn new(nodes: u64) -> View {
        let client = Client::new([], ASK_MAX);
        let said = (0..nodes).map(|_| String::new()).collect();
        View { on_terminal: std::io::stdout().is_terminal(), client, said, drawn: 0 }
    }

    /// Says a line, which stays.
    pub(super) fn say(&mut self, line: &str) {
        let erase = self.erase();
        write(&format!("{erase}{line}\n"));
    }

    /// Shows how the nodes are.
    pub(super) fn show(&mut self, children: &[Child]) {
        let statuses = self.ask(children);
        if self.on_terminal {
            let rows: Vec<_> =
                children.iter().zip(&statuses).map(|(child, status)| row(child, status)).collect();
            let heading = ["NODE", "PROCESS", "ADDRESS", "ROLE", "TERM", "LEADER", "COMMIT", "REVISION"];
            let text = table(&heading, &rows);
            let erase = self.erase();
            self.drawn = text.lines().count();
            write(&format!("{erase}{text}"));
            return;
        }
        for (index, (child, status)) in children.iter().zip(&statuses).enumerate() {
            let now = match status {
                Some(status) => format!("{} in term {}", status.role, status.term),
                None => "does not answer".to_owned(),
            };
            if self.said[index] != now {
                let commit = status.as_ref().map(|status| format!(", commit {}", status.commit_index));
                write(&format!("node {}: {now}{}\n", child.node, commit.unwrap_or_default()));
                self.said[index] = now;
            }
        }
    }

    fn ask(&self, children: &[Child]) -> Vec<Option<RaftStatus>> {
        thread::scope(|scope| {
            let asked = children.iter().map(|child| {
                let ask = || self.client.raft_status(&child.address).ok();
                scope.spawn(move || if child.is_running() { ask() } else { None })
            });
            let asked: Vec<_> = asked.collect();
            asked.into_iter().map(|answer| answer.join().unwrap_or_default()).collect()
        })
    }

    /// What takes the last table off the terminal.
    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }
}

fn row(child: &Child, status: &Option<RaftStatus>) -> Vec<String> {
    let process = if child.is_running() { child.id().to_string() } else { "dead".to_owned() };
    let mut row = vec![child.node.to_string(), process, child.address.clone()];
    match status {
        Some(status) => row.extend([
            status.role.to_string(),
            status.term.to_string(),
            status.leader.map_or("-".to_owned(), |leader| leader.to_string()),
            status.commit_index.to_string(),
            status.revision.to_string(),
        ]),
        None => row.resize(8, "-".to_owned()),
    }
    row
}

/// Writes to standard output; whoever reads it may have gone, which must not end the nodes.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
