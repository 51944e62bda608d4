//! The short notation of traces, read and written. What a trace shows of a message, a script may say.
//!
//! `n1@4 → n5 AppendEntries prev=3@2 [4@4 5@4:x=1] commit=3`: node 1 speaks in term 4. An entry is
//! `index@term`, with the text of its command, or its members, after a colon. Members are `1,2,3` for voters,
//! `1,2,4/1,2,3` while a joint configuration leaves the second half, and `1,2,3+4` with a learner. `2!5` has
//! priority 5, and `3w` is a witness.

use crate::{
    membership::Membership,
    message::{
        AppendEntries, AppendEntriesReply, AppendOutcome, Message, ReadId, ReadIndex, ReadIndexReply,
        RequestVote, RequestVoteReply, TimeoutNow,
    },
    testkit::cores::Mail,
    types::{Entry, LogId, LogIndex, NodeId, Payload, Term},
};

pub(super) fn show_entry(entry: &Entry) -> String {
    match &entry.payload {
        Payload::Command(command) => format!("{}:{}", entry.id, String::from_utf8_lossy(command)),
        Payload::Membership(membership) => format!("{}:members({})", entry.id, show_members(membership)),
        _ => entry.id.to_string(),
    }
}

pub(super) fn show_entries(entries: &[Entry]) -> String {
    format!("[{}]", entries.iter().map(show_entry).collect::<Vec<_>>().join(" "))
}

pub(super) fn show_members(membership: &Membership) -> String {
    let one = |node: &NodeId| {
        let priority = membership.priorities().get(node);
        let priority = priority.map_or(String::new(), |priority| format!("!{priority}"));
        format!("{node}{}{priority}", if membership.is_witness(*node) { "w" } else { "" })
    };
    let list =
        |nodes: &std::collections::BTreeSet<NodeId>| nodes.iter().map(one).collect::<Vec<_>>().join(",");
    let mut shown = list(membership.voters());
    if membership.is_joint() {
        shown = format!("{shown}/{}", list(membership.outgoing()));
    }
    if !membership.learners().is_empty() {
        shown = format!("{shown}+{}", list(membership.learners()));
    }
    shown
}

fn granted(is_granted: bool) -> &'static str {
    if is_granted { "granted" } else { "denied" }
}

pub(super) fn show_mail(from: NodeId, to: NodeId, message: &Message) -> String {
    let said = match message {
        Message::RequestVote(request) => {
            let name = if request.pre_vote { "PreVote" } else { "RequestVote" };
            let transfer = if request.leadership_transfer { " transfer" } else { "" };
            format!("{name} last={}{transfer}", request.last_log_id)
        }
        Message::RequestVoteReply(reply) => {
            let name = if reply.pre_vote { "PreVoteReply" } else { "RequestVoteReply" };
            format!("{name} {}", granted(reply.vote_granted))
        }
        Message::AppendEntries(append) => {
            let entries = show_entries(&append.entries);
            let (prev, commit) = (append.prev_log_id, append.leader_commit);
            let held =
                if append.held_index.0 == 0 { String::new() } else { format!(" held={}", append.held_index) };
            format!("AppendEntries prev={prev} {entries} commit={commit}{}{held}", show_round(append.round))
        }
        Message::AppendEntriesReply(reply) => {
            let outcome = match reply.outcome {
                AppendOutcome::Matched { match_index } => format!("match={match_index}"),
                AppendOutcome::Conflict { rejected, hint } => format!("conflict={rejected} hint={hint}"),
                AppendOutcome::StaleTerm => "stale".to_owned(),
            };
            format!("AppendEntriesReply {outcome}{}", show_round(reply.round))
        }
        Message::TimeoutNow(_) => "TimeoutNow".to_owned(),
        Message::ReadIndex(request) => format!("ReadIndex read={}", request.id.0),
        Message::ReadIndexReply(reply) => match reply.read_index {
            Some(index) => format!("ReadIndexReply read={} index={index}", reply.id.0),
            None => format!("ReadIndexReply read={} none", reply.id.0),
        },
        other => format!("{other:?}"),
    };
    let term = message.term().unwrap_or_default();
    format!("n{from}@{term} → n{to} {said}")
}

fn show_round(round: u64) -> String {
    if round == 0 { String::new() } else { format!(" round={round}") }
}

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

pub(super) fn read_log_id(text: &str) -> Result<LogId, Wrong> {
    let (index, term) = text.split_once('@').ok_or_else(|| format!("`{text}` is not index@term"))?;
    Ok(LogId::new(Term(read_number(term)?), LogIndex(read_number(index)?)))
}

/// What follows the colon of an entry.
pub(super) fn read_payload(text: Option<&str>) -> Result<Payload, Wrong> {
    let Some(text) = text else { return Ok(Payload::Noop) };
    match text.strip_prefix("members(").and_then(|rest| rest.strip_suffix(')')) {
        Some(members) => read_members(members).map(Payload::Membership),
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
        _ => return Err(format!("`{name}` is no message")),
    })
}
