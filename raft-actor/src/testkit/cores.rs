//! A cluster of bare cores in memory, for scripts and searches. It has no will of its own: whoever drives it
//! decides what is flushed, delivered, lost, and who crashes. Every write, every message and every node is
//! held against the [`Invariants`] on its way.
//!
//! Cloning is cheap: nodes are shared until they step.

mod disk;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use bytes::Bytes;

pub use disk::{Disk, LogWork, Machine, MachineWork, SnapshotWork};

use super::invariants::{Invariants, PURGED_IS_IN_A_SNAPSHOT, Sight, Violation};
use crate::{
    config::Config,
    core::{Effect, Effects, Input, Raft},
    membership::Membership,
    message::{InstallSnapshot, Message},
    types::{LogId, LogIndex, NodeId, SnapshotMeta, Time},
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

/// A node: its core while it runs, its disk always.
#[derive(Clone, Debug)]
pub struct CoreNode {
    /// None while it is crashed.
    pub raft: Option<Raft>,
    /// What a crash leaves.
    pub disk: Disk,
    /// What the disk will hold once all is flushed.
    pub written: Disk,
    /// What the disk has not done yet, oldest first.
    pub unflushed: VecDeque<LogWork>,
    /// What is not done about snapshots yet, oldest first.
    pub unstored: VecDeque<SnapshotWork>,
    /// What the state machine has not done yet, oldest first.
    pub waiting: VecDeque<MachineWork>,
    /// The state machine.
    pub machine: Machine,
}

/// Something that has happened at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It wants this done, and it is being done.
    Did(Effect),
    /// Its write of this sequence is on its disk.
    Flushed(u64),
    /// Its log is purged up to here, durably.
    Purged(LogId),
    /// This is done about a snapshot.
    Stored(SnapshotWork),
    /// Its state machine's state was replaced by a snapshot's.
    Restored(SnapshotMeta),
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
    /// Nodes that were not there at first: they know of no members until the log tells.
    joined: BTreeSet<NodeId>,
    /// Nodes whose state machine does nothing for now.
    stalled: BTreeSet<NodeId>,
    /// When each entry was committed.
    committed_at: Vec<Time>,
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
            joined: BTreeSet::new(),
            stalled: BTreeSet::new(),
            committed_at: Vec::new(),
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
    pub fn place(&mut self, id: NodeId, mut disk: Disk) -> Result<(), Violation> {
        let Some(config) = self.configs.get(&id) else { return Ok(()) };
        let seed = self.seeds.get(&id).copied().unwrap_or(id.0);
        let state = disk.recover();
        let base = if self.joined.contains(&id) { Membership::default() } else { self.base.clone() };
        let mut machine = Machine::default();
        if let Some(newest) = disk.newest() {
            machine.restore(newest);
        }
        let newest = disk.newest().map(|(newest, _)| newest.clone());
        let mut raft = Raft::new(id, config, seed, self.now, state, base).with_snapshots(newest);
        raft.reseed(seed);
        self.invariants.start(id, disk.hard_state, disk.log())?;
        let node = CoreNode {
            raft: Some(raft),
            written: disk.clone(),
            disk,
            unflushed: VecDeque::new(),
            unstored: VecDeque::new(),
            waiting: VecDeque::new(),
            machine,
        };
        self.nodes.insert(id, Rc::new(node));
        Ok(())
    }

    /// Starts a new node that waits to be added to the cluster.
    pub fn join(&mut self, id: NodeId, config: Config, seed: u64) -> Result<(), Violation> {
        self.joined.insert(id);
        self.configs.insert(id, config);
        self.seeds.insert(id, seed);
        self.place(id, Disk::default())
    }

    /// Gives a node that runs an input, and carries out what it wants done.
    pub fn input(&mut self, id: NodeId, input: Input) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let node = Rc::make_mut(node);
        let Some(raft) = &mut node.raft else { return Ok(()) };
        match &input {
            Input::Read { id: read } | Input::LeaseRead { id: read } => self.invariants.begin_read(id, *read),
            Input::ReadWithin { id: read, bound } => {
                let now = self.now;
                let by_then = self.committed_at.partition_point(|at| now.since(*at) >= *bound);
                self.invariants.begin_stale_read(id, *read, by_then);
            }
            _ => {}
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
        self.work(id)
    }

    fn carry_out(&mut self, id: NodeId, effect: &Effect, replies: &mut Vec<Input>) -> Result<(), Violation> {
        match effect {
            Effect::Send { to, message } => self.send(id, *to, message)?,
            Effect::SendSnapshot { to, term, snapshot, offset, bytes_max } => {
                let part = InstallSnapshot {
                    term: *term,
                    snapshot: snapshot.clone(),
                    offset: *offset,
                    data: Bytes::new(),
                    done: false,
                };
                match self.nodes.get(&id).and_then(|node| part_of(&node.disk, part, *bytes_max)) {
                    Some(part) => self.send(id, *to, &Message::InstallSnapshot(part))?,
                    None => replies.push(Input::SnapshotGone { id: snapshot.id }),
                }
            }
            Effect::ReadReady { ids, read_index } => {
                for read in ids {
                    self.invariants.end_read(id, *read, *read_index)?;
                }
            }
            effect => return self.keep(id, effect, replies),
        }
        Ok(())
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: &Message) -> Result<(), Violation> {
        let Some(node) = self.nodes.get(&from) else { return Ok(()) };
        let flushed = node.disk.recovered().last().index;
        self.invariants.say(from, to, node.disk.hard_state, flushed, message)?;
        if self.nodes.contains_key(&to) && !self.cut.contains(&(from, to)) {
            self.wire.push(Mail { from, to, message: message.clone() });
        }
        Ok(())
    }

    /// Effects for a node's own disk and state machine.
    fn keep(&mut self, id: NodeId, effect: &Effect, replies: &mut Vec<Input>) -> Result<(), Violation> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let node = Rc::make_mut(node);
        match effect {
            Effect::Write(write) => {
                node.written.write(write);
                node.unflushed.push_back(LogWork::Write(write.clone()));
                let log = node.written.log();
                let before = LogIndex(log.purged.index.0 + (log.entries.len() - write.entries.len()) as u64);
                let before = log.id_at(before).unwrap_or(LogId::ZERO);
                return self.invariants.write(before, &write.entries);
            }
            Effect::Purge { through } => {
                node.written.purge(*through);
                node.unflushed.push_back(LogWork::Purge(*through));
            }
            Effect::ReadLog { reader, first, last, .. } => match node.written.read(*first, *last) {
                Some(entries) => replies.push(Input::LogRead { reader: *reader, entries: entries.into() }),
                None => {
                    let what = format!("n{id} reads {first} back, and begins after {}", node.written.purged);
                    return Err(Violation { invariant: PURGED_IS_IN_A_SNAPSHOT, what });
                }
            },
            Effect::Apply(entries) => node.waiting.push_back(MachineWork::Apply(entries.to_vec())),
            Effect::TakeSnapshot => node.waiting.push_back(MachineWork::Take),
            Effect::RestoreSnapshot { snapshot } => {
                node.waiting.push_back(MachineWork::Restore(snapshot.clone()));
            }
            Effect::StoreSnapshotChunk { snapshot, offset, data } => {
                node.unstored.push_back(SnapshotWork::Store(snapshot.clone(), *offset, data.clone()));
            }
            Effect::FinishSnapshot { snapshot } => {
                node.unstored.push_back(SnapshotWork::Finish(snapshot.clone()));
            }
            Effect::RetainSnapshots { ids } => node.disk.retain(ids),
            // Told to clients; nothing is to be done.
            _ => {}
        }
        Ok(())
    }

    /// The state machine does what it was given, unless it stands still.
    fn work(&mut self, id: NodeId) -> Result<(), Violation> {
        if self.stalled.contains(&id) {
            return Ok(());
        }
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let Some(work) = Rc::make_mut(node).waiting.pop_front() else { return Ok(()) };
        let node = Rc::make_mut(node);
        let reply = match work {
            MachineWork::Apply(entries) => {
                node.machine.apply(entries);
                Input::Applied { index: node.machine.log().last().index }
            }
            MachineWork::Take => {
                let (snapshot, bytes) = node.machine.snapshot(id, &self.base);
                node.unstored.push_back(SnapshotWork::Take(snapshot, bytes));
                return self.work(id);
            }
            MachineWork::Restore(snapshot) => {
                if let Some(whole) = node.disk.snapshots.get(&snapshot.id) {
                    node.machine.restore(whole);
                }
                self.events.push((id, Event::Restored(snapshot.clone())));
                Input::SnapshotRestored { id: snapshot.id }
            }
        };
        self.input(id, reply)
    }

    fn check(&mut self, id: NodeId) -> Result<(), Violation> {
        let Some(node) = self.nodes.get(&id) else { return Ok(()) };
        let Some(raft) = &node.raft else { return Ok(()) };
        let (log, disk, applied) = (node.written.log(), node.disk.recovered(), node.machine.log());
        let newest = node.disk.newest().map_or(LogId::ZERO, |(newest, _)| newest.last);
        self.invariants.purged(id, node.disk.purged, newest)?;
        let on_disk = |node: NodeId, entry: LogId| {
            let node = self.nodes.get(&node);
            node.is_none_or(|node| node.disk.vouches_for(entry))
        };
        let sight = Sight { raft, log: &log, disk: &disk, applied: &applied, unchanged: LogIndex(0) };
        self.invariants.check(sight, on_disk)?;
        self.committed_at.resize(self.invariants.committed().len(), self.now);
        Ok(())
    }

    /// The oldest write of a node that runs reaches its disk. False where there is none.
    pub fn flush(&mut self, id: NodeId) -> Result<bool, Violation> {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.raft.is_some()) else { return Ok(false) };
        if node.unflushed.is_empty() {
            return Ok(false);
        }
        let node = Rc::make_mut(node);
        let (event, input) = match node.unflushed.pop_front() {
            Some(LogWork::Write(write)) => {
                node.disk.write(&write);
                (Event::Flushed(write.sequence), Input::Flushed { sequence: write.sequence })
            }
            Some(LogWork::Purge(through)) => {
                node.disk.purge(through);
                (Event::Purged(through), Input::Purged { through })
            }
            None => return Ok(false),
        };
        self.events.push((id, event));
        self.input(id, input)?;
        Ok(true)
    }

    /// The oldest work about snapshots of a node that runs is done. False where there is none.
    pub fn store(&mut self, id: NodeId) -> Result<bool, Violation> {
        self.store_one(id, VecDeque::pop_front)
    }

    /// The newest of it is, before what is older: a snapshot of the node's own may take longer than all that
    /// it receives meanwhile.
    pub fn store_last(&mut self, id: NodeId) -> Result<bool, Violation> {
        self.store_one(id, VecDeque::pop_back)
    }

    fn store_one(
        &mut self,
        id: NodeId,
        take: impl FnOnce(&mut VecDeque<SnapshotWork>) -> Option<SnapshotWork>,
    ) -> Result<bool, Violation> {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.raft.is_some()) else { return Ok(false) };
        if node.unstored.is_empty() {
            return Ok(false);
        }
        let node = Rc::make_mut(node);
        let Some(work) = take(&mut node.unstored) else { return Ok(false) };
        let input = match &work {
            SnapshotWork::Take(snapshot, bytes) => {
                node.disk.snapshots.insert(snapshot.id, (snapshot.clone(), bytes.clone()));
                Input::SnapshotTaken { snapshot: snapshot.clone() }
            }
            SnapshotWork::Store(snapshot, offset, data) => {
                let next_offset = node.disk.receive(snapshot, *offset, data);
                Input::SnapshotChunkStored { id: snapshot.id, next_offset }
            }
            SnapshotWork::Finish(snapshot) => {
                node.disk.finish(snapshot);
                Input::SnapshotReceived { id: snapshot.id }
            }
        };
        self.events.push((id, Event::Stored(work)));
        self.input(id, input)?;
        Ok(true)
    }

    /// The state machine of a node does nothing until it is resumed.
    pub fn stall(&mut self, id: NodeId) {
        self.stalled.insert(id);
    }

    /// It works on.
    pub fn resume(&mut self, id: NodeId) -> Result<(), Violation> {
        self.stalled.remove(&id);
        self.work(id)
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
                is_busy |= self.store(*id)?;
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
            node.unstored.clear();
            node.waiting.clear();
            node.machine = Machine::default();
            node.written = node.disk.clone();
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

/// The part with its bytes; none where the snapshot is gone.
fn part_of(disk: &Disk, part: InstallSnapshot, bytes_max: u64) -> Option<InstallSnapshot> {
    let (snapshot, bytes) = disk.snapshots.get(&part.snapshot.id)?;
    let start = (part.offset as usize).min(bytes.len());
    let end = start.saturating_add(bytes_max as usize).min(bytes.len());
    let done = end as u64 >= snapshot.size_bytes;
    Some(InstallSnapshot { data: bytes.slice(start..end), done, ..part })
}
