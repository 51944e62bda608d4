//! The short notation of traces and scripts, written.
//!
//! `n1@4 → n5 AppendEntries prev=3@2 [4@4 5@4:x=1] commit=3`: node 1 speaks in term 4. An entry is
//! `index@term`, with the text of its command, or its members, after a colon. Members are `1,2,3` for voters,
//! `1,2,4/1,2,3` while a joint configuration leaves the second half, and `1,2,3+4` with a learner. `2!5` has
//! priority 5, and `3w` is a witness.

use crate::{
    core::{Effect, Input, LogReader},
    membership::Membership,
    message::{AppendOutcome, Message, ReadId},
    types::{Entry, LogWrite, NodeId, Payload, SnapshotMeta},
};

pub(crate) fn show_entry(entry: &Entry) -> String {
    match &entry.payload {
        Payload::Command(command) => format!("{}:{}", entry.id, String::from_utf8_lossy(command)),
        Payload::Membership(membership) => format!("{}:members({})", entry.id, show_members(membership)),
        _ => entry.id.to_string(),
    }
}

pub(crate) fn show_entries(entries: &[Entry]) -> String {
    format!("[{}]", entries.iter().map(show_entry).collect::<Vec<_>>().join(" "))
}

pub(crate) fn show_members(membership: &Membership) -> String {
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

pub(crate) fn show_mail(from: NodeId, to: NodeId, message: &Message) -> String {
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
            let held = match append.held_index.0 {
                0 => String::new(),
                held => format!(" held={held}"),
            };
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
        Message::InstallSnapshot(install) => {
            let done = if install.done { " done" } else { "" };
            format!("InstallSnapshot last={} offset={}{done}", install.snapshot.last, install.offset)
        }
        Message::InstallSnapshotReply(reply) => {
            let installed = if reply.installed { " installed" } else { "" };
            format!("InstallSnapshotReply next={}{installed}", reply.next_offset)
        }
        other => format!("{other:?}"),
    };
    let term = message.term().unwrap_or_default();
    format!("n{from}@{term} → n{to} {said}")
}

fn show_round(round: u64) -> String {
    if round == 0 { String::new() } else { format!(" round={round}") }
}

fn show_leader(leader: Option<NodeId>) -> String {
    leader.map_or("no leader".to_owned(), |leader| format!("leader n{leader}"))
}

fn show_write(write: &LogWrite) -> String {
    let mut shown = format!("writes #{}", write.sequence);
    if let Some(held) = write.hard_state {
        shown += &format!(" term={}", held.term);
        shown += &held.voted_for.map_or(String::new(), |node| format!(" vote=n{node}"));
    }
    if let Some(from) = write.truncate_from {
        shown += &format!(" truncate={from}");
    }
    if !write.entries.is_empty() {
        shown += &format!(" {}", show_entries(&write.entries));
    }
    shown
}

fn show_reads(ids: &[ReadId]) -> String {
    ids.iter().map(|read| read.0.to_string()).collect::<Vec<_>>().join(",")
}

fn show_snapshot(snapshot: &SnapshotMeta) -> String {
    format!("snapshot {}", snapshot.last)
}

/// What a node wants done, without its name; a message with it.
pub(crate) fn show_effect(node: NodeId, effect: &Effect) -> String {
    match effect {
        Effect::Send { to, message } => show_mail(node, *to, message),
        Effect::Write(write) => show_write(write),
        Effect::ReadLog { reader: LogReader::Peer { peer, .. }, first, last, .. } => {
            format!("reads back {first}..{last} for n{peer}")
        }
        Effect::ReadLog { first, last, .. } => format!("reads back {first}..{last} to apply"),
        Effect::Apply(entries) => format!("applies {}", show_entries(entries)),
        Effect::Proposed { first, count } => format!("accepts {count} from {first}"),
        Effect::ProposalRefused { leader, count } => format!("refuses {count}, {}", show_leader(*leader)),
        Effect::ReadReady { ids, read_index } => format!("read {} is ready at {read_index}", show_reads(ids)),
        Effect::ReadFailed { ids, leader } => {
            format!("read {} failed, {}", show_reads(ids), show_leader(*leader))
        }
        Effect::RoleChanged { role, term, leader } => {
            let of = leader.filter(|leader| *leader != node);
            format!("becomes {role}@{term}{}", of.map_or(String::new(), |leader| format!(" of n{leader}")))
        }
        Effect::TransferEnded { outcome: Ok(()) } => "transfer succeeded".to_owned(),
        Effect::TransferEnded { outcome: Err(reason) } => format!("transfer failed: {reason}"),
        Effect::FenceLifted { fence } => format!("is no longer fenced by term {fence}"),
        Effect::TakeSnapshot => "takes a snapshot".to_owned(),
        Effect::SnapshotRefused => "refuses a snapshot".to_owned(),
        Effect::Purge { through } => format!("purges through {through}"),
        Effect::SendSnapshot { to, snapshot, bytes_max: 0, .. } => {
            format!("asks n{to} how far it has got with {}", show_snapshot(snapshot))
        }
        Effect::SendSnapshot { to, snapshot, offset, .. } => {
            format!("sends {} from {offset} to n{to}", show_snapshot(snapshot))
        }
        Effect::RetainSnapshots { ids } => format!("retains {} snapshots", ids.len()),
        Effect::StoreSnapshotChunk { snapshot, offset, .. } => {
            format!("stores {} from {offset}", show_snapshot(snapshot))
        }
        Effect::FinishSnapshot { snapshot } => format!("finishes {}", show_snapshot(snapshot)),
        Effect::RestoreSnapshot { snapshot } => format!("restores {}", show_snapshot(snapshot)),
        Effect::MembershipChanged { log_id, .. } => format!("change is made at {log_id}"),
        Effect::MembershipRefused { reason, .. } => format!("change is refused: {reason}"),
        Effect::Disbelieved { peer, .. } => format!("does not believe n{peer}"),
        Effect::PeersChanged { peers } => {
            let peers: Vec<String> = peers.keys().map(|peer| format!("n{peer}")).collect();
            format!("talks to {}", peers.join(","))
        }
        #[allow(unreachable_patterns, reason = "there will be effects without a notation")]
        other => format!("{other:?}"),
    }
}

/// What a node takes in, without its name; a message with its sender's. None for a tick.
pub(crate) fn show_input(node: NodeId, input: &Input) -> Option<String> {
    Some(match input {
        Input::Tick => return None,
        Input::Receive { from, message } => format!("takes {}", show_mail(*from, node, message)),
        Input::Identified { peer, origin } => {
            format!("knows n{peer} by disk {:x} of {:x}", origin.incarnation, origin.genesis)
        }
        Input::Propose { commands } => format!("proposes {}", commands.len()),
        Input::Read { id } => format!("reads {}", id.0),
        Input::LeaseRead { id } => format!("reads {} by lease", id.0),
        Input::ReadWithin { id, bound } => format!("reads {} within {bound:?}", id.0),
        Input::Transfer { to: Some(to) } => format!("transfers to n{to}"),
        Input::Transfer { to: None } => "transfers".to_owned(),
        Input::ChangeMembership { change, .. } => format!("changes members: {:?}", change.steps()),
        Input::Campaign => "campaigns".to_owned(),
        Input::Flushed { sequence } => format!("flushed #{sequence}"),
        Input::Applied { index } => format!("applied {index}"),
        Input::LogRead { entries, .. } => format!("has read {}", show_entries(entries)),
        Input::Unreachable { peer } => format!("cannot reach n{peer}"),
        Input::Gone { peer } => format!("finds n{peer} gone"),
        Input::TakeSnapshot => "is asked for a snapshot".to_owned(),
        Input::SnapshotTaken { snapshot } => format!("has taken {}", show_snapshot(snapshot)),
        Input::SnapshotNotTaken => "has no snapshots".to_owned(),
        Input::SnapshotGone { .. } => "has lost a snapshot".to_owned(),
        Input::SnapshotChunkStored { next_offset, .. } => format!("stored up to {next_offset}"),
        Input::SnapshotReceived { .. } => "has received a snapshot".to_owned(),
        Input::Purged { through } => format!("purged through {through}"),
        Input::SnapshotRestored { .. } => "has restored a snapshot".to_owned(),
        #[allow(unreachable_patterns, reason = "there will be inputs without a notation")]
        other => format!("{other:?}"),
    })
}
