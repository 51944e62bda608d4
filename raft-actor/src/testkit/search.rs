//! A bounded exhaustive search: every order in which a small cluster of real cores can act, to a stated
//! depth.
//!
//! At each state every message on the wire may come next (so messages overtake each other freely), every disk
//! may finish its oldest write, and, as far as the [`Bounds`] allow, an election timeout may fire anywhere, a
//! leader may send heartbeats, a client may propose or read, a node may crash, and a message may be lost or
//! doubled. Time is abstract: a timeout is an action, and with it all leaders fall silent for their
//! followers. States that were seen before, by a 64-bit hash of the whole cluster and of the record that the
//! invariants keep, are not entered again. All [invariants](super::invariants) are checked after every step.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Debug, Write},
    rc::Rc,
    time::Duration,
};

use super::{
    cores::{Cores, Event},
    fnv::Fnv,
    invariants::Violation,
};
use crate::{
    config::Config,
    core::{Effect, Input},
    membership::Membership,
    message::ReadId,
    types::{NodeId, Role, Term},
};

/// What may happen, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Nodes of the cluster, all of them voters.
    pub nodes: u64,
    /// Actions in a row.
    pub depth: usize,
    /// Whether all begins with node 1 leading term 1 and everybody at rest; otherwise nobody leads yet.
    pub elected: bool,
    /// Election timeouts that fire.
    pub timeouts: u8,
    /// Rounds of heartbeats that a leader sends because time has passed.
    pub heartbeats: u8,
    /// Commands that clients propose to leaders.
    pub proposals: u8,
    /// Reads that clients begin at leaders.
    pub reads: u8,
    /// Nodes that crash; each may restart at any time.
    pub crashes: u8,
    /// Messages that are lost.
    pub drops: u8,
    /// Messages that come twice.
    pub duplicates: u8,
    /// Disks forget everything when their node crashes, which Raft does not allow: for a test of the search.
    pub forgetful: bool,
}

/// What a search has seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// Steps that were taken, also those that led to a state seen before.
    pub steps: usize,
    /// The most entries that were committed in one state, with those of new leaders.
    pub committed_max: usize,
    /// Reads that were ready.
    pub reads_ready: usize,
    /// The highest term that had a leader.
    pub term_max: Term,
    /// The shortest way to a broken invariant, if there is one.
    pub violation: Option<(Vec<String>, Violation)>,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Deliver(usize),
    Drop(usize),
    Duplicate(usize),
    Flush(NodeId),
    Timeout(NodeId),
    Heartbeat(NodeId),
    Propose(NodeId),
    Read(NodeId),
    Crash(NodeId),
    Restart(NodeId),
}

/// The way to a state, newest action first.
struct Way {
    action: String,
    before: Option<Rc<Way>>,
}

#[derive(Clone)]
struct State {
    cores: Cores,
    left: Bounds,
    /// A hash of each node, so that a step hashes one node only.
    digests: BTreeMap<NodeId, u64>,
    way: Option<Rc<Way>>,
}

/// A hash of what `Debug` writes: the same in every run.
struct Digest(Fnv);

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.add(text.as_bytes());
        Ok(())
    }
}

fn digest(value: &impl Debug) -> u64 {
    let mut digest = Digest(Fnv::new());
    // Writing to a hash cannot fail.
    let _ = write!(digest, "{value:?}");
    digest.0.value()
}

/// Searches everything within `bounds`, level by level, until an invariant is broken.
pub fn search(bounds: Bounds) -> Result<Report, Violation> {
    let mut report = Report::default();
    let start = State::start(bounds)?;
    let mut seen = BTreeSet::from([start.hash()]);
    let mut level = vec![start];
    for _ in 0..bounds.depth {
        let mut next = Vec::new();
        for state in &level {
            for action in state.actions() {
                report.steps += 1;
                let mut after = state.clone();
                if let Err(violation) = after.act(action, &mut report) {
                    // The first that is found is among the shortest: levels are searched one by one.
                    report.states = seen.len();
                    report.violation = Some((after.way(), violation));
                    return Ok(report);
                }
                if seen.insert(after.hash()) {
                    next.push(after);
                }
            }
        }
        level = next;
    }
    report.states = seen.len();
    Ok(report)
}

impl State {
    fn start(bounds: Bounds) -> Result<State, Violation> {
        // A leader is forgotten as soon as time moves at all, and nothing but an action lets it move.
        let config = Config {
            heartbeat_interval: Duration::from_nanos(1),
            election_timeout_min: Duration::from_nanos(1),
            election_timeout_max: Duration::from_secs(1 << 32),
            ..Config::default()
        };
        let ids = (1..=bounds.nodes).map(NodeId);
        let members = ids.clone().map(|id| (id, String::new()));
        let base = Membership::new(members)
            .map_err(|error| Violation { invariant: "a cluster has nodes", what: error.to_string() })?;
        let seeds = ids.clone().map(|id| (id, 1)).collect();
        let mut cores = Cores::new(&base, ids.map(|id| (id, config.clone())).collect(), seeds)?;
        if bounds.elected {
            cores.input(NodeId(1), Input::Campaign)?;
            cores.settle()?;
        }
        cores.events.clear();
        let digests = cores.nodes().iter().map(|(id, node)| (*id, digest(node))).collect();
        Ok(State { cores, left: bounds, digests, way: None })
    }

    fn hash(&self) -> u64 {
        let mut wire: Vec<u64> = self.cores.wire.iter().map(digest).collect();
        wire.sort_unstable();
        digest(&(&self.digests, wire, self.cores.now, self.cores.invariants(), self.left))
    }

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        let wire = &self.cores.wire;
        for place in 0..wire.len() {
            if wire[..place].contains(&wire[place]) {
                continue;
            }
            actions.push(Action::Deliver(place));
            actions.extend((self.left.drops > 0).then_some(Action::Drop(place)));
            actions.extend((self.left.duplicates > 0).then_some(Action::Duplicate(place)));
        }
        for (id, node) in self.cores.nodes() {
            let Some(raft) = &node.raft else {
                actions.push(Action::Restart(*id));
                continue;
            };
            let leads = raft.role() == Role::Leader;
            actions.extend((!node.unflushed.is_empty()).then_some(Action::Flush(*id)));
            actions.extend((self.left.timeouts > 0 && !leads).then_some(Action::Timeout(*id)));
            actions.extend((self.left.heartbeats > 0 && leads).then_some(Action::Heartbeat(*id)));
            actions.extend((self.left.proposals > 0 && leads).then_some(Action::Propose(*id)));
            actions.extend((self.left.reads > 0 && leads).then_some(Action::Read(*id)));
            actions.extend((self.left.crashes > 0).then_some(Action::Crash(*id)));
        }
        actions
    }

    fn act(&mut self, action: Action, report: &mut Report) -> Result<(), Violation> {
        let told = match action {
            Action::Deliver(place) | Action::Drop(place) | Action::Duplicate(place) => {
                format!("{action:?}: {:?}", self.cores.wire[place])
            }
            _ => format!("{action:?}"),
        };
        self.way = Some(Rc::new(Way { action: told, before: self.way.take() }));
        let changed = self.carry_out(action)?;
        if let Some(node) = changed.and_then(|id| self.cores.nodes().get(&id)) {
            self.digests.insert(changed.unwrap_or_default(), digest(node));
        }
        for (node, event) in std::mem::take(&mut self.cores.events) {
            let leads = self.cores.raft(node).filter(|raft| raft.role() == Role::Leader);
            report.term_max = report.term_max.max(leads.map_or(Term(0), |raft| raft.term()));
            let is_ready = matches!(event, Event::Did(Effect::ReadReady { .. }));
            report.reads_ready += usize::from(is_ready);
        }
        report.committed_max = report.committed_max.max(self.cores.invariants().committed().len());
        Ok(())
    }

    /// The node that has changed.
    fn carry_out(&mut self, action: Action) -> Result<Option<NodeId>, Violation> {
        let to = |state: &State, place: usize| state.cores.wire[place].to;
        let node = match action {
            Action::Deliver(place) => {
                let node = to(self, place);
                self.cores.deliver(place)?;
                node
            }
            Action::Drop(place) => {
                self.left.drops -= 1;
                self.cores.wire.remove(place);
                return Ok(None);
            }
            Action::Duplicate(place) => {
                self.left.duplicates -= 1;
                let (node, twin) = (to(self, place), self.cores.wire[place].clone());
                self.cores.wire.push(twin);
                self.cores.deliver(place)?;
                node
            }
            Action::Flush(node) => self.cores.flush(node).map(|_| node)?,
            Action::Timeout(node) => {
                self.left.timeouts -= 1;
                self.cores.now = self.cores.now.after(Duration::from_nanos(1));
                self.cores.input(node, Input::Campaign).map(|()| node)?
            }
            Action::Heartbeat(node) => {
                self.left.heartbeats -= 1;
                self.cores.now = self.cores.now.after(Duration::from_nanos(1));
                self.cores.input(node, Input::Tick).map(|()| node)?
            }
            Action::Propose(node) => {
                self.left.proposals -= 1;
                let command = format!("x{}", self.left.proposals);
                self.cores.input(node, Input::Propose { commands: vec![command.into()] }).map(|()| node)?
            }
            Action::Read(node) => {
                self.left.reads -= 1;
                let id = ReadId(u64::from(self.left.reads));
                self.cores.input(node, Input::Read { id }).map(|()| node)?
            }
            Action::Crash(node) => {
                self.left.crashes -= 1;
                self.cores.crash(node);
                if self.left.forgetful {
                    self.cores.wipe(node);
                }
                node
            }
            Action::Restart(node) => self.cores.restart(node).map(|()| node)?,
        };
        Ok(Some(node))
    }

    fn way(&self) -> Vec<String> {
        let mut actions = Vec::new();
        let mut at = self.way.as_ref();
        while let Some(way) = at {
            actions.push(way.action.clone());
            at = way.before.as_ref();
        }
        actions.reverse();
        actions
    }
}
