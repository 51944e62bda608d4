//! Where a script is played: the cluster, what is held, and the commands.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    notation::{Wrong, read_change, read_mail, read_node, read_number},
    prepare::{self, Settings},
    trace::{is_loud, show_event, show_log, show_machine, show_status},
};
use crate::{
    core::Input,
    membership::Membership,
    message::ReadId,
    notation::show_mail,
    testkit::{cores::Cores, invariants::Violation},
    types::{LogIndex, NodeId},
};

/// Steps after which a cluster that is still busy will never come to rest.
const STEPS_MAX: usize = 20_000;

type Link = (NodeId, NodeId);

/// A cluster, once there is one, and what is held.
#[derive(Default)]
pub(super) struct Stage {
    play: Option<Play>,
}

struct Play {
    cores: Cores,
    base: Membership,
    settings: Settings,
    /// Changes of members that were asked for.
    changes: u64,
    held_links: BTreeSet<Link>,
    held_disks: BTreeSet<NodeId>,
}

impl From<Violation> for Wrong {
    fn from(violation: Violation) -> Wrong {
        violation.to_string()
    }
}

fn link(text: &str) -> Result<Link, Wrong> {
    let (from, to) = text.split_once('>').ok_or_else(|| format!("`{text}` is no link; write n1>n2"))?;
    Ok((read_node(from)?, read_node(to)?))
}

impl Stage {
    /// Carries a command out. What came of it, a line each.
    pub(super) fn command(&mut self, command: &str) -> Result<Vec<String>, Wrong> {
        let (is_quiet, command) =
            command.strip_prefix("quietly ").map_or((false, command), |command| (true, command));
        let words: Vec<&str> = command.split_whitespace().collect();
        let (name, words) = words.split_first().ok_or("there is no command here")?;
        if *name == "cluster" {
            let (cores, base, settings) = prepare::cluster(words)?;
            let (held_links, held_disks) = Default::default();
            self.play = Some(Play { cores, base, settings, changes: 0, held_links, held_disks });
            return Ok(Vec::new());
        }
        let play = self.play.as_mut().ok_or("a script begins with `cluster`")?;
        if let Some(seen) = play.look(name, words)? {
            return Ok(seen);
        }
        if *name == "receive" {
            let mail = read_mail(command.trim_start_matches("receive").trim())?;
            play.running(mail.to)?;
            play.cores.input(mail.to, Input::Receive { from: mail.from, message: mail.message })?;
        } else if !(play.act(name, words)? || play.mail(name, words)? || play.arrange(name, words)?) {
            return Err(format!("`{name}` is no command"));
        }
        let events = std::mem::take(&mut play.cores.events);
        let shown = events.iter().filter(|(_, event)| !is_quiet || is_loud(event));
        let shown: Vec<String> = shown.filter_map(|(node, event)| show_event(*node, event)).collect();
        let is_told = !shown.is_empty() || is_quiet || SILENT.contains(name);
        Ok(if is_told { shown } else { vec!["(nothing)".to_owned()] })
    }
}

/// Commands of which nothing is expected to come at once.
const SILENT: &[&str] = &[
    "wait",
    "drop",
    "duplicate",
    "delay",
    "hold",
    "release",
    "cut",
    "isolate",
    "heal",
    "crash",
    "restart",
    "disk",
    "damage",
    "join",
    "stall",
];

impl Play {
    fn known(&self, text: &str) -> Result<NodeId, Wrong> {
        let node = read_node(text)?;
        let is_known = self.cores.nodes().contains_key(&node);
        if is_known { Ok(node) } else { Err(format!("there is no n{node} in this cluster")) }
    }

    fn running(&self, node: NodeId) -> Result<NodeId, Wrong> {
        let is_running = self.cores.raft(node).is_some();
        if is_running { Ok(node) } else { Err(format!("n{node} does not run")) }
    }

    fn down(&self, text: &str) -> Result<NodeId, Wrong> {
        let node = self.known(text)?;
        let is_running = self.cores.raft(node).is_some();
        if is_running { Err(format!("n{node} runs; crash it first")) } else { Ok(node) }
    }

    /// The first word as a node that runs.
    fn node(&self, words: &[&str]) -> Result<NodeId, Wrong> {
        let word = words.first().ok_or("say of which node")?;
        self.known(word).and_then(|node| self.running(node))
    }

    fn named(&self, words: &[&str]) -> Result<Vec<NodeId>, Wrong> {
        if words.is_empty() {
            return Ok(self.cores.nodes().keys().copied().collect());
        }
        words.iter().map(|word| self.known(word)).collect()
    }

    /// Commands that only look.
    fn look(&self, name: &str, words: &[&str]) -> Result<Option<Vec<String>>, Wrong> {
        let now = self.cores.now;
        let nodes = || self.named(words);
        Ok(Some(match name {
            "status" => {
                let shown =
                    nodes()?.into_iter().map(|id| show_status(id, &self.cores.nodes()[&id], &self.base, now));
                shown.flatten().collect()
            }
            "log" => nodes()?.into_iter().map(|id| show_log(id, &self.cores.nodes()[&id])).collect(),
            "state" => nodes()?.into_iter().map(|id| show_machine(id, &self.cores.nodes()[&id])).collect(),
            "timer" => {
                let running =
                    nodes()?.into_iter().filter_map(|id| self.cores.raft(id).map(|raft| (id, raft)));
                let left = running.map(|(id, raft)| (id, raft.deadline().since(now).as_millis()));
                left.map(|(id, left)| format!("n{id} is due in {left} ms")).collect()
            }
            "wire" => {
                let mails = self.cores.wire.iter();
                let shown: Vec<String> =
                    mails.map(|mail| show_mail(mail.from, mail.to, &mail.message)).collect();
                if shown.is_empty() { vec!["(nothing)".to_owned()] } else { shown }
            }
            _ => return Ok(None),
        }))
    }

    /// Commands that are inputs of a core, or time.
    fn act(&mut self, name: &str, words: &[&str]) -> Result<bool, Wrong> {
        let rest = words.get(1..).unwrap_or_default();
        let input = match name {
            "campaign" => Input::Campaign,
            "tick" => Input::Tick,
            "propose" if !rest.is_empty() => {
                let commands = rest.iter().map(|command| Bytes::from((*command).to_owned())).collect();
                Input::Propose { commands }
            }
            "propose" => return Err("say what to propose: `propose n1 x`".to_owned()),
            "read" => {
                let number = rest.first().ok_or("give the read a number: `read n1 7`")?;
                let id = ReadId(read_number(number)?);
                match rest.get(1..).unwrap_or_default() {
                    [] => Input::Read { id },
                    ["lease"] => Input::LeaseRead { id },
                    ["within", bound] => Input::ReadWithin { id, bound: prepare::duration(bound)? },
                    _ => return Err("a read is `read n1 7`, `... lease` or `... within 500ms`".to_owned()),
                }
            }
            "snapshot" => Input::TakeSnapshot,
            "change" => {
                self.changes += 1;
                Input::ChangeMembership { id: self.changes, change: read_change(&rest.join(" "))? }
            }
            "transfer" => Input::Transfer { to: rest.first().map(|node| read_node(node)).transpose()? },
            "unreachable" => {
                let peer = rest.first().ok_or("say which peer: `unreachable n1 n2`")?;
                Input::Unreachable { peer: read_node(peer)? }
            }
            "wait" | "pass" => {
                let duration = prepare::duration(words.first().ok_or("say how long: `pass 300ms`")?)?;
                let end = self.cores.now.after(duration);
                while name == "pass"
                    && let Some((due, id)) = self.cores.next_deadline().filter(|(due, _)| *due <= end)
                {
                    self.cores.now = self.cores.now.max(due);
                    self.cores.input(id, Input::Tick)?;
                    self.settle()?;
                }
                self.cores.now = end;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        let node = self.node(words)?;
        self.cores.input(node, input)?;
        Ok(true)
    }

    /// How many, where a command says so.
    fn count(words: &[&str]) -> Result<usize, Wrong> {
        words.get(1).map_or(Ok(usize::MAX), |count| read_number(count).map(|count| count as usize))
    }

    /// Commands about what is on its way to a node or to a disk.
    fn mail(&mut self, name: &str, words: &[&str]) -> Result<bool, Wrong> {
        match name {
            "settle" => self.settle()?,
            "deliver" if words.is_empty() => {
                for _ in 0..self.cores.wire.len() {
                    self.cores.deliver(0)?;
                }
            }
            "deliver" => {
                let link = self.link(words)?;
                let waiting = self.cores.wire.iter().filter(|mail| (mail.from, mail.to) == link).count();
                for _ in 0..waiting.min(Self::count(words)?) {
                    let place = self.oldest(link)?;
                    self.cores.deliver(place)?;
                }
            }
            "drop" | "duplicate" | "delay" => {
                let place = self.oldest(self.link(words)?)?;
                let mail = self.cores.wire[place].clone();
                if name != "duplicate" {
                    self.cores.wire.remove(place);
                }
                if name != "drop" {
                    self.cores.wire.push(mail);
                }
            }
            "flush" | "store" | "store-last" => {
                let node = self.node(words)?;
                for _ in 0..Self::count(words)? {
                    let is_done = match name {
                        "flush" => self.cores.flush(node)?,
                        "store" => self.cores.store(node)?,
                        _ => self.cores.store_last(node)?,
                    };
                    if !is_done {
                        break;
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn link(&self, words: &[&str]) -> Result<Link, Wrong> {
        let link = link(words.first().ok_or("say on which link: n1>n2")?)?;
        self.oldest(link).map(|_| link)
    }

    fn oldest(&self, link: Link) -> Result<usize, Wrong> {
        let place = self.cores.wire.iter().position(|mail| (mail.from, mail.to) == link);
        place.ok_or_else(|| format!("nothing is on its way from n{} to n{}", link.0, link.1))
    }

    /// Commands about links, disks, and whether nodes run.
    fn arrange(&mut self, name: &str, words: &[&str]) -> Result<bool, Wrong> {
        match (name, words) {
            ("disk", [node, rest @ ..]) => {
                let node = self.known(node)?;
                self.cores.place(node, prepare::disk(rest, &self.base)?)?;
            }
            ("damage", [node, from]) => {
                let node = self.down(node)?;
                self.cores.damage(node, LogIndex(read_number(from)?));
            }
            ("join", [node]) => {
                let node = read_node(node)?;
                if self.cores.nodes().contains_key(&node) {
                    return Err(format!("there is a n{node} already"));
                }
                self.settings.join(node, &mut self.cores)?;
            }
            ("stall", [node]) => {
                let node = self.known(node)?;
                self.cores.stall(node);
            }
            ("resume", [node]) => {
                let node = self.known(node)?;
                self.cores.resume(node)?;
            }
            ("hold" | "release", [place]) => {
                let is_held = name == "hold";
                if place.contains('>') {
                    let link = link(place)?;
                    if is_held {
                        self.held_links.insert(link)
                    } else {
                        self.held_links.remove(&link)
                    };
                } else {
                    let node = self.known(place)?;
                    if is_held {
                        self.held_disks.insert(node)
                    } else {
                        self.held_disks.remove(&node)
                    };
                }
            }
            ("cut", [one, other]) => self.cores.cut(self.known(one)?, self.known(other)?),
            ("isolate", [node]) => {
                let node = self.known(node)?;
                for other in self.named(&[])? {
                    self.cores.cut(node, other);
                }
            }
            ("heal", []) => self.cores.heal(),
            ("crash", [node]) => {
                let node = self.known(node).and_then(|node| self.running(node))?;
                self.cores.crash(node);
            }
            ("restart", [node]) => self.cores.restart(self.down(node)?)?,
            (
                "hold" | "release" | "cut" | "isolate" | "heal" | "crash" | "restart" | "disk" | "damage"
                | "join" | "stall" | "resume",
                _,
            ) => {
                return Err(format!("`{name}` needs other words; see the table of commands"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Flushes and delivers, in order, until nothing is left to do but what is held.
    fn settle(&mut self) -> Result<(), Wrong> {
        let ids: Vec<NodeId> = self.cores.nodes().keys().copied().collect();
        for _ in 0..STEPS_MAX {
            let mut is_busy = false;
            for id in ids.iter().filter(|id| !self.held_disks.contains(id)) {
                is_busy |= self.cores.flush(*id)?;
                is_busy |= self.cores.store(*id)?;
            }
            let free = |mail: &Link| !self.held_links.contains(mail);
            let place = self.cores.wire.iter().position(|mail| free(&(mail.from, mail.to)));
            match place {
                Some(place) => self.cores.deliver(place)?,
                None if !is_busy => return Ok(()),
                None => {}
            }
        }
        Err("the cluster does not come to rest".to_owned())
    }
}
