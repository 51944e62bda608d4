//! Reads the short notation of [`crate::notation`]: what a trace shows of a message, a script may say. Of an
//! InstallSnapshot it must say more: `id=9 last=3@1 members=1,2,3 since=0@0 size=8 offset=4 data=c,d,`.

use bytes::Bytes;

use crate::{
    membership::{Membership, MembershipChange},
    message::{
        AppendEntries, AppendEntriesReply, AppendOutcome, InstallSnapshot, InstallSnapshotReply, Message,
        ReadId, ReadIndex, ReadIndexReply, RequestVote, RequestVoteReply, TimeoutNow,
    },
    testkit::cores::Mail,
    types::{Entry, LogId, LogIndex, NodeId, Payload, SnapshotMeta, Term},
};

/// Why a text is not what it should be.
pub(super) type Wrong = String;

pub(super) fn read_number(text: &str) -> Result<u64, Wrong> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

pub(super) fn read_node(text: &str) -> Result<NodeId, Wrong> {
    let number = text.strip_prefix('n').ok_or_else(|| format!("`{text}` is no node; write n1"))?;
    Ok(NodeId(read_number(number)?))
}

/// A node, its priority where one is set, and whether it is a witness.
fn read_member(text: &str) -> Result<(NodeId, Option<u8>, bool), Wrong> {
    let (node, priority) = text.split_once('!').map_or((text, None), |(node, rest)| (node, Some(rest)));
    let (node, is_witness) = node.strip_suffix('w').map_or((node, false), |node| (node, true));
    let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is no priority from 0 to 255"));
    Ok((NodeId(read_number(node)?), priority.map(number).transpose()?, is_witness))
}

fn read_nodes(text: &str) -> Result<Vec<(NodeId, String)>, Wrong> {
    text.split(',').map(|node| read_member(node).map(|(id, ..)| (id, format!("node {id}")))).collect()
}

/// `3` is nodes 1 to 3; otherwise the notation of members.
pub(super) fn read_members(text: &str) -> Result<Membership, Wrong> {
    let (voting, learners) = text.split_once('+').map_or((text, None), |(left, right)| (left, Some(right)));
    let (new, old) = voting.split_once('/').map_or((voting, None), |(left, right)| (left, Some(right)));
    let of = |nodes: &str| Membership::new(read_nodes(nodes)?).map_err(|error| error.to_string());
    let mut membership = match new.parse::<u64>() {
        Ok(count @ 1..=9) => of(&(1..=count).map(|id| id.to_string()).collect::<Vec<_>>().join(","))?,
        _ => of(new)?,
    };
    if let Some(old) = old {
        membership = membership.joint_with(&of(old)?);
    }
    for (node, address) in learners.map(read_nodes).transpose()?.into_iter().flatten() {
        membership = membership.with_learner(node, address);
    }
    for member in text.split([',', '/', '+']).filter(|member| member.contains(['!', 'w'])) {
        let (node, priority, is_witness) = read_member(member)?;
        let with = |error: crate::membership::MembershipError| error.to_string();
        if let Some(priority) = priority {
            membership = membership.with_priority(node, priority).map_err(with)?;
        }
        if is_witness {
            membership = membership.with_witness(node).map_err(with)?;
        }
    }
    Ok(membership)
}

/// `add-learner n4, promote n5`.
pub(super) fn read_change(text: &str) -> Result<MembershipChange, Wrong> {
    let mut change = MembershipChange::new();
    for step in text.split(',') {
        let words: Vec<&str> = step.split_whitespace().collect();
        let [name, node, rest @ ..] = words.as_slice() else {
            return Err("a change is `add-learner n4, promote n5`".to_owned());
        };
        let node = read_node(node)?;
        change = match (*name, rest) {
            ("add-learner", []) => change.add_learner(node, format!("node {node}")),
            ("promote", []) => change.promote(node),
            ("demote", []) => change.demote(node),
            ("remove", []) => change.remove(node),
            ("add-witness", []) => change.add_witness(node, format!("node {node}")),
            ("set-priority", [priority]) => {
                let wrong = |_| format!("`{priority}` is no priority from 0 to 255");
                change.set_priority(node, priority.parse().map_err(wrong)?)
            }
            ("set-address", [address]) => change.set_address(node, *address),
            _ => return Err(format!("`{}` is no step of a change", step.trim())),
        };
    }
    Ok(change)
}

pub(super) fn read_log_id(text: &str) -> Result<LogId, Wrong> {
    let (index, term) = text.split_once('@').ok_or_else(|| format!("`{text}` is not index@term"))?;
    Ok(LogId::new(Term(read_number(term)?), LogIndex(read_number(index)?)))
}

/// What follows the colon of an entry.
pub(super) fn read_payload(text: Option<&str>) -> Result<Payload, Wrong> {
    let Some(text) = text else { return Ok(Payload::Noop) };
    match text.strip_prefix("members(").and_then(|rest| rest.strip_suffix(')')) {
        Some(members) => read_members(members).map(|members| Payload::Membership(Box::new(members))),
        None => Ok(Payload::Command(text.to_owned().into())),
    }
}

fn read_entry(text: &str) -> Result<Entry, Wrong> {
    let (id, said) = text.split_once(':').map_or((text, None), |(id, said)| (id, Some(said)));
    Ok(Entry::new(read_log_id(id)?, read_payload(said)?))
}

/// The words of a message after its name.
struct Words<'a> {
    words: Vec<&'a str>,
    entries: Vec<Entry>,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Result<Words<'a>, Wrong> {
        let (before, rest) = text.split_once('[').unwrap_or((text, ""));
        let (inside, after) = rest.split_once(']').unwrap_or(("", rest));
        let entries = inside.split_whitespace().map(read_entry).collect::<Result<_, _>>()?;
        let words = before.split_whitespace().chain(after.split_whitespace()).collect();
        Ok(Words { words, entries })
    }

    fn value(&mut self, key: &str) -> Option<&'a str> {
        let at = self.words.iter().position(|word| word.split_once('=').is_some_and(|(k, _)| k == key))?;
        self.words.remove(at).split_once('=').map(|(_, value)| value)
    }

    fn log_id(&mut self, key: &str) -> Result<LogId, Wrong> {
        read_log_id(self.value(key).ok_or_else(|| format!("`{key}=index@term` is missing"))?)
    }

    fn number(&mut self, key: &str) -> Result<u64, Wrong> {
        read_number(self.value(key).ok_or_else(|| format!("`{key}=` is missing"))?)
    }

    fn optional(&mut self, key: &str) -> Result<u64, Wrong> {
        self.value(key).map_or(Ok(0), read_number)
    }

    fn flag(&mut self, flag: &str) -> bool {
        let at = self.words.iter().position(|word| *word == flag);
        at.map(|at| self.words.remove(at)).is_some()
    }

    fn is_granted(&mut self) -> Result<bool, Wrong> {
        match (self.flag("granted"), self.flag("denied")) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            _ => Err("say `granted` or `denied`".to_owned()),
        }
    }
}

/// `n2@3 → n1 Name ...`; `->` does as well.
pub(super) fn read_mail(text: &str) -> Result<Mail, Wrong> {
    const FORM: &str = "a message is `n2@3 -> n1 Name ...`";
    let (sender, rest) = text.split_once("→").or_else(|| text.split_once("->")).ok_or(FORM)?;
    let (from, term) = sender.trim().split_once('@').ok_or(FORM)?;
    let (to, rest) = rest.trim().split_once(' ').ok_or(FORM)?;
    let (name, rest) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
    let mut words = Words::new(rest)?;
    let message = read_message(name, Term(read_number(term)?), &mut words)?;
    match words.words.first() {
        Some(word) => Err(format!("`{word}` does not belong to {name}")),
        None => Ok(Mail { from: read_node(from)?, to: read_node(to)?, message }),
    }
}

fn read_message(name: &str, term: Term, words: &mut Words<'_>) -> Result<Message, Wrong> {
    Ok(match name {
        "PreVote" | "RequestVote" => Message::RequestVote(RequestVote {
            term,
            last_log_id: words.log_id("last")?,
            pre_vote: name == "PreVote",
            leadership_transfer: words.flag("transfer"),
        }),
        "PreVoteReply" | "RequestVoteReply" => Message::RequestVoteReply(RequestVoteReply {
            term,
            vote_granted: words.is_granted()?,
            pre_vote: name == "PreVoteReply",
        }),
        "AppendEntries" => Message::AppendEntries(AppendEntries {
            term,
            prev_log_id: words.log_id("prev")?,
            entries: std::mem::take(&mut words.entries).into(),
            leader_commit: LogIndex(words.number("commit")?),
            round: words.optional("round")?,
            held_index: LogIndex(words.optional("held")?),
        }),
        "AppendEntriesReply" => {
            let round = words.optional("round")?;
            let outcome = if words.flag("stale") {
                AppendOutcome::StaleTerm
            } else if let Some(rejected) = words.value("conflict") {
                AppendOutcome::Conflict { rejected: read_log_id(rejected)?, hint: words.log_id("hint")? }
            } else {
                AppendOutcome::Matched { match_index: LogIndex(words.number("match")?) }
            };
            Message::AppendEntriesReply(AppendEntriesReply { term, round, outcome })
        }
        "TimeoutNow" => Message::TimeoutNow(TimeoutNow { term }),
        "ReadIndex" => Message::ReadIndex(ReadIndex { term, id: ReadId(words.number("read")?) }),
        "ReadIndexReply" => {
            let id = ReadId(words.number("read")?);
            let none = words.flag("none");
            let read_index = if none { None } else { Some(LogIndex(words.number("index")?)) };
            Message::ReadIndexReply(ReadIndexReply { term, id, read_index })
        }
        "InstallSnapshot" => {
            let snapshot = SnapshotMeta {
                id: words.number("id")?,
                last: words.log_id("last")?,
                membership: Box::new(read_members(words.value("members").ok_or("`members=` is missing")?)?),
                membership_log_id: words.log_id("since")?,
                size_bytes: words.number("size")?,
                witness: words.flag("witness"),
            };
            let offset = words.number("offset")?;
            let data = Bytes::from(words.value("data").unwrap_or_default().to_owned());
            let done = offset.saturating_add(data.len() as u64) >= snapshot.size_bytes;
            Message::InstallSnapshot(InstallSnapshot { term, snapshot, offset, data, done })
        }
        "InstallSnapshotReply" => Message::InstallSnapshotReply(InstallSnapshotReply {
            term,
            snapshot_id: words.number("id")?,
            next_offset: words.number("next")?,
            installed: words.flag("installed"),
        }),
        _ => return Err(format!("`{name}` is no message")),
    })
}
