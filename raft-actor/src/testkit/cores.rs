//! A cluster of bare cores in memory, for scripts and searches. It has no will of its own: whoever drives it
//! decides what is flushed, delivered, lost, and who crashes. Every write, every message and every node is
//! held against the [`Invariants`] on its way.
//!
//! Cloning is cheap: nodes are shared until they step.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use super::invariants::{HeldLog, Invariants, Sight, Violation};
use crate::{
    config::Config,
    core::{Effect, Effects, Input, Raft},
    membership::Membership,
    message::Message,
    types::{Entry, HardState, LogId, LogIndex, LogState, LogWrite, NodeId, Time},
};

/// A message on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// What is said.
    pub message: Message,
}

/// What a node's disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Term and vote.
    pub hard_state: HardState,
    /// The log, from index 1 on.
    pub entries: Vec<Entry>,
}

impl Disk {
    fn write(&mut self, write: &LogWrite) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(from) = write.truncate_from {
            self.entries.truncate(from.previous().0 as usize);
        }
        self.entries.extend(write.entries.iter().cloned());
    }
}

/// A node: its core while it runs, its disk always.
#[derive(Clone, Debug)]
pub struct CoreNode {
    /// None while it is crashed.
    pub raft: Option<Raft>,
    /// What a crash leaves.
    pub disk: Disk,
    /// What the disk will hold once all is flushed.
    pub written: Disk,
    /// Writes that are not flushed, oldest first.
    pub unflushed: VecDeque<LogWrite>,
    /// What the state machine has seen in this run.
    pub applied: Vec<Entry>,
}

/// Something that has happened at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It wants this done, and it is being done.
    Did(Effect),
    /// Its write of this sequence is on its disk.
    Flushed(u64),
    /// Its commit index has risen to this.
    Committed(LogIndex),
}

/// All nodes, the wire between them, and the record of what must stay true.
#[derive(Clone, Debug)]
pub struct Cores {
    nodes: BTreeMap<NodeId, Rc<CoreNode>>,
    /// On the way, in the order in which it was sent.
    pub wire: Vec<Mail>,
    /// One clock for all.
    pub now: Time,
    /// What has happened since it was last taken.
    pub events: Vec<(NodeId, Event)>,
    configs: BTreeMap<NodeId, Config>,
    base: Membership,
    cut: BTreeSet<(NodeId, NodeId)>,
    seeds: BTreeMap<NodeId, u64>,
    invariants: Invariants,
}

impl Cores {
    /// Nodes that start new with `base`, each with its configuration. A member without one is played by
    /// whoever drives: nothing runs there, and its disk is believed to hold whatever its messages say.
    ///
    /// Every step of a node draws its election timeouts anew from its seed, so the first wait that a step
    /// draws is always as long, and how often a node has drawn makes no difference to what it is.
    pub fn new(
        base: &Membership,
        configs: BTreeMap<NodeId, Config>,
        seeds: BTreeMap<NodeId, u64>,
    ) -> Result<Cores, Violation> {
        let ids: Vec<NodeId> = configs.keys().copied().collect();
        let mut cores = Cores {
            nodes: BTreeMap::new(),
            wire: Vec::new(),
            now: Time(1),
            events: Vec::new(),
            configs,
            base: base.clone(),
            cut: BTreeSet::new(),
            seeds,
            invariants: Invariants::default(),
        };
        for id in ids {
            cores.place(id, Disk::default())?;
        }
        Ok(cores)
    }

    /// The nodes that there are, running or not.
    pub fn nodes(&self) -> &BTreeMap<NodeId, Rc<CoreNode>> {
        &self.nodes
    }

    /// The record so far.
    pub fn invariants(&self) -> &Invariants {
        &self.invariants
    }

    /// A node's core, where there is such a node and it runs.
    pub fn raft(&self, id: NodeId) -> Option<&Raft> {
        self.nodes.get(&id)?.raft.as_ref()
    }

    /// Starts a node on what a disk holds.
    pub fn place(&mut self, id: NodeId, disk: Disk) -> Result<(), Violation> {
        let Some(config) = self.configs.get(&id) else { return Ok(()) };
        let seed = self.seeds.get(&id).copied().unwrap_or(id.0);
        let state = LogState::of(disk.hard_state, disk.entries.clone());
        let mut raft = Raft::new(id, config, seed, self.now, state, self.base.clone());
        raft.reseed(seed);
        self.invariants.start(id, disk.hard_state, LogId::ZERO)?;
        self.invariants.write(id, LogId::ZERO, &disk.entries)?;
        let node = CoreNode {
            raft: Some(raft),
            written: disk.clone(),
            disk,
            unflushed: VecDeque::new(),
            applied: Vec::new(),
        };
        self.nodes.insert(id, Rc::new(node));
        Ok(())
    }

    /// Gives a node that runs an input, and carries out what it wants done.
    pub fn input(&mut self, id: NodeId, input: Input) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let node = Rc::make_mut(node);
        let Some(raft) = &mut node.raft else { return Ok(()) };
        if let Input::Read { id: read } = &input {
            self.invariants.begin_read(id, *read);
        }
        let commit_index = raft.commit_index();
        let mut effects = Effects::new();
        raft.step_all(self.now, [input], &mut effects);
        raft.reseed(self.seeds.get(&id).copied().unwrap_or(id.0));
        let committed = raft.commit_index();
        let mut replies = Vec::new();
        let mut event = (committed > commit_index).then_some((id, Event::Committed(committed)));
        for effect in effects {
            // What follows from a commit is told after it.
            if matches!(effect, Effect::Apply(_) | Effect::ReadReady { .. }) {
                self.events.extend(event.take());
            }
            self.carry_out(id, &effect, &mut replies)?;
            self.events.push((id, Event::Did(effect)));
        }
        self.events.extend(event);
        self.check(id)?;
        for reply in replies {
            self.input(id, reply)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, id: NodeId, effect: &Effect, replies: &mut Vec<Input>) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        match effect {
            Effect::Write(write) => {
                let node = Rc::make_mut(node);
                node.written.write(write);
                node.unflushed.push_back(write.clone());
                let start = node.written.entries.len() - write.entries.len();
                let before = node.written.entries.id_at(LogIndex(start as u64)).unwrap_or(LogId::ZERO);
                return self.invariants.write(id, before, &write.entries);
            }
            Effect::Send { to, message } => {
                let flushed = node.disk.entries.len() as u64;
                self.invariants.say(id, *to, node.disk.hard_state, flushed, message)?;
                if self.nodes.contains_key(to) && !self.cut.contains(&(id, *to)) {
                    self.wire.push(Mail { from: id, to: *to, message: message.clone() });
                }
            }
            Effect::ReadLog { reader, first, last, .. } => {
                let entries = &node.written.entries;
                let end = entries.len().min(last.0 as usize);
                let entries = entries[first.previous().0 as usize..end].to_vec().into();
                replies.push(Input::LogRead { reader: *reader, entries });
            }
            Effect::Apply(entries) => {
                Rc::make_mut(node).applied.extend(entries.iter().cloned());
                if let Some(last) = entries.last() {
                    replies.push(Input::Applied { index: last.id.index });
                }
            }
            Effect::ReadReady { ids, read_index } => {
                for read in ids {
                    self.invariants.end_read(id, *read, *read_index)?;
                }
            }
            // Told to clients; nothing is to be done.
            _ => {}
        }
        Ok(())
    }

    fn check(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        let Some(raft) = &node.raft else { return Ok(()) };
        let sight =
            Sight { raft, log: &node.written.entries, disk: &node.disk.entries, applied: &node.applied };
        let on_disk = |node: NodeId, entry: LogId| {
            let node = self.nodes.get(&node);
            node.is_none_or(|node| node.disk.entries.has(entry))
        };
        self.invariants.check(sight, on_disk)
    }

    /// The oldest write of a node that runs reaches its disk. False where there is none.
    pub fn flush(&mut self, id: NodeId) -> Result<bool, Violation> {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.raft.is_some()) else { return Ok(false) };
        let node = Rc::make_mut(node);
        let Some(write) = node.unflushed.pop_front() else { return Ok(false) };
        node.disk.write(&write);
        self.events.push((id, Event::Flushed(write.sequence)));
        self.input(id, Input::Flushed { sequence: write.sequence })?;
        Ok(true)
    }

    /// Delivers the message at this place of the wire, unless its link is cut or its receiver is down.
    pub fn deliver(&mut self, place: usize) -> Result<(), Violation> {
        let mail = self.wire.remove(place);
        if self.cut.contains(&(mail.from, mail.to)) {
            return Ok(());
        }
        self.input(mail.to, Input::Receive { from: mail.from, message: mail.message })
    }

    /// Flushes and delivers, in order, until nothing is left to do.
    pub fn settle(&mut self) -> Result<(), Violation> {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        loop {
            let mut is_busy = false;
            for id in &ids {
                is_busy |= self.flush(*id)?;
            }
            if !self.wire.is_empty() {
                self.deliver(0)?;
            } else if !is_busy {
                return Ok(());
            }
        }
    }

    /// The node stops at once: what it has not flushed is lost, and what is on its way to it.
    pub fn crash(&mut self, id: NodeId) {
        self.wire.retain(|mail| mail.to != id);
        if let Some(node) = self.nodes.get_mut(&id) {
            let node = Rc::make_mut(node);
            node.raft = None;
            node.unflushed.clear();
            node.applied.clear();
            node.written = node.disk.clone();
        }
    }

    /// The disk of a node that is down forgets everything, which no disk may.
    pub fn wipe(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.raft.is_none()) {
            let node = Rc::make_mut(node);
            (node.disk, node.written) = (Disk::default(), Disk::default());
        }
    }

    /// A node that is down starts on what its disk holds.
    pub fn restart(&mut self, id: NodeId) -> Result<(), Violation> {
        match self.nodes.get(&id).filter(|node| node.raft.is_none()) {
            Some(node) => self.place(id, node.disk.clone()),
            None => Ok(()),
        }
    }

    /// Cuts the link between two nodes, both ways; what is on it is lost when it would be delivered.
    pub fn cut(&mut self, one: NodeId, other: NodeId) {
        self.cut.extend([(one, other), (other, one)]);
    }

    /// Mends all links.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// The next tick that is due, and whose it is; the lowest id among equals.
    pub fn next_deadline(&self) -> Option<(Time, NodeId)> {
        self.nodes.iter().filter_map(|(id, node)| Some((node.raft.as_ref()?.deadline(), *id))).min()
    }
}
