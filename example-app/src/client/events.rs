//! `events`: what happens to every node, as it happens.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    sync::mpsc,
    thread,
    time::Duration,
};

use raft_actor::{events::Change, membership::Membership, types::NodeId};
use serde_json::{Value, json};

use super::{Client, ClientError};
use crate::api::events::{ToldChange, ToldStatus};

/// Prints what the nodes tell, in the order in which it arrives, until none of them tells any more or nobody
/// reads. An error where none could be asked.
pub fn events(client: &Client, as_json: bool, out: &mut dyn Write) -> Result<(), ClientError> {
    let (sender, told) = mpsc::channel();
    for endpoint in client.endpoints() {
        let (client, endpoint, sender) = (client.clone(), endpoint.clone(), sender.clone());
        thread::spawn(move || {
            let ended = listen(&client, &endpoint, &sender);
            // Whoever prints may have gone.
            let _ = sender.send((endpoint, ended));
        });
    }
    drop(sender);
    let mut tried = Vec::new();
    for (endpoint, told) in told {
        let line = match told {
            Told::Data(kind, data) if as_json => json!({ "endpoint": endpoint, kind: data }).to_string(),
            Told::Data(kind, data) => in_words(&kind, data),
            Told::Ended(why) => {
                tried.push(format!("{endpoint}: {why}"));
                match as_json {
                    true => json!({ "endpoint": endpoint, "error": why }).to_string(),
                    false => format!("{endpoint}: {why}"),
                }
            }
        };
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return Ok(());
        }
    }
    Err(ClientError::Nobody { tried })
}

/// What a node's thread has to say.
enum Told {
    /// An event's kind, and its data.
    Data(String, Value),
    /// Nothing more will come.
    Ended(String),
}

fn listen(client: &Client, endpoint: &str, sender: &mpsc::Sender<(String, Told)>) -> Told {
    let mut answer = match client.open(endpoint, "/raft/events?status=false") {
        Ok(answer) => answer,
        Err(error) => return Told::Ended(error.to_string()),
    };
    if answer.status() != 200 {
        return Told::Ended(format!("HTTP {}", answer.status()));
    }
    let mut kind = String::new();
    for line in BufReader::new(answer.body_mut().as_reader()).lines() {
        let line = match line {
            Ok(line) => line,
            Err(error) => return Told::Ended(error.to_string()),
        };
        if let Some(named) = line.strip_prefix("event: ") {
            named.clone_into(&mut kind);
        } else if let Some(data) = line.strip_prefix("data: ") {
            let data = serde_json::from_str(data).unwrap_or_else(|_| Value::String(data.to_owned()));
            if sender.send((endpoint.to_owned(), Told::Data(kind.clone(), data))).is_err() {
                break;
            }
        }
    }
    Told::Ended("has ended".to_owned())
}

fn in_words(kind: &str, data: Value) -> String {
    let raw = data.to_string();
    let line = |time: u64, node: NodeId, words: String| format!("{}  node {node}  {words}", clock(time));
    if kind == "status" {
        let Ok(ToldStatus { time, node, status, unreachable, .. }) = serde_json::from_value(data) else {
            return raw;
        };
        let leader = status.leader.map_or(String::new(), |leader| format!(", leader {leader}"));
        let broken = match unreachable.as_slice() {
            [] => String::new(),
            some => format!(", no link to {}", list(some)),
        };
        let (role, term, commit) = (status.role, status.term, status.commit_index);
        return line(time, node, format!("is {role} in term {term}{leader}, commit {commit}{broken}"));
    }
    match serde_json::from_value::<ToldChange>(data) {
        Ok(told) => line(told.time, told.node, words(told.node, &told.change)),
        Err(_) => raw,
    }
}

/// A change, for people.
fn words(node: NodeId, change: &Change) -> String {
    match change {
        Change::Dropped { count } => format!("({count} events are missing here)"),
        Change::RoleChanged { role, term, leader } => match leader.filter(|leader| *leader != node) {
            Some(leader) => format!("is {role} in term {term}, leader {leader}"),
            None => format!("is {role} in term {term}"),
        },
        Change::ElectionBegun { term } => format!("stands for election in term {term}"),
        Change::VoteGiven { term, candidate } => format!("votes for node {candidate} in term {term}"),
        Change::MembershipChanged { log_id, membership, is_joint } => {
            let joint = if *is_joint { " (joint)" } else { "" };
            format!("has other members{joint}: {}, from entry {log_id}", members(membership))
        }
        Change::Truncated { from, through } => format!("truncates its log, {from} to {through}"),
        Change::Committed { commit_index } => format!("commits {commit_index}"),
        Change::SnapshotTaken { snapshot } => format!("has taken a snapshot of {}", snapshot.last),
        Change::SnapshotReceiving { snapshot } => {
            format!("begins to receive a snapshot of {}", snapshot.last)
        }
        Change::SnapshotReceived { .. } => "has received the snapshot".to_owned(),
        Change::SnapshotRestored { .. } => "has restored the snapshot".to_owned(),
        Change::SnapshotSending { peer, snapshot } => {
            format!("begins to send node {peer} a snapshot of {}", snapshot.last)
        }
        Change::SnapshotSent { peer, .. } => format!("has sent node {peer} the snapshot"),
        Change::LinkOpened { peer } => format!("has a link to node {peer}"),
        Change::LinkBroken { peer } => format!("has no link to node {peer} any more"),
        Change::PeerSilent { peer } => format!("does not hear node {peer} any more"),
        Change::PeerHeard { peer } => format!("hears node {peer} again"),
        Change::DiskHangs { silent_for } => format!("has a disk that has not answered for {silent_for:.1?}"),
        Change::DiskAnswers => "has a disk that answers again".to_owned(),
        Change::FenceLifted { fence } => {
            format!("has its log again, and votes: the fence of term {fence} is lifted")
        }
        Change::Ended { failure: None } => "has ended".to_owned(),
        Change::Ended { failure: Some(reason) } => format!("has stopped for good: {reason}"),
        other => format!("{other:?}"),
    }
}

fn members(membership: &Membership) -> String {
    let named = |name: &str, nodes: &BTreeSet<NodeId>| match nodes.is_empty() {
        true => String::new(),
        false => format!("{name} {}", list(&nodes.iter().copied().collect::<Vec<_>>())),
    };
    let all = [
        named("voters", membership.voters()),
        named("outgoing", membership.outgoing()),
        named("learners", membership.learners()),
    ];
    all.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// The time of day, in UTC, of milliseconds since 1970.
fn clock(milliseconds: u64) -> String {
    let since = Duration::from_millis(milliseconds);
    let seconds = since.as_secs() % 86_400;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", since.subsec_millis())
}
