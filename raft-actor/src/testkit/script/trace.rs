//! What a trace shows of each event, and of a node at rest.

use super::notation::{show_entries, show_mail, show_members};
use crate::{
    core::{Effect, LogReader},
    membership::Membership,
    message::ReadId,
    status::PeerState,
    testkit::cores::{CoreNode, Event},
    types::{Entry, LogId, LogWrite, NodeId, Time},
};

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

/// Whether a quiet trace shows it: what nodes become, and what clients are told.
pub(super) fn is_loud(event: &Event) -> bool {
    use Effect::{ProposalRefused, ReadFailed, ReadReady, RoleChanged, TransferEnded};
    matches!(
        event,
        Event::Did(
            RoleChanged { .. }
                | ProposalRefused { .. }
                | ReadReady { .. }
                | ReadFailed { .. }
                | TransferEnded { .. }
        )
    )
}

/// One line; none for what the notation has no word for.
pub(super) fn show_event(node: NodeId, event: &Event) -> Option<String> {
    let shown = match event {
        Event::Flushed(sequence) => format!("flushed #{sequence}"),
        Event::Committed(index) => format!("commits {index}"),
        Event::Did(effect) => match effect {
            Effect::Send { to, message } => return Some(show_mail(node, *to, message)),
            Effect::Write(write) => show_write(write),
            Effect::ReadLog { reader: LogReader::Peer { peer, .. }, first, last, .. } => {
                format!("reads back {first}..{last} for n{peer}")
            }
            Effect::ReadLog { first, last, .. } => format!("reads back {first}..{last} to apply"),
            Effect::Apply(entries) => format!("applies {}", show_entries(entries)),
            Effect::Proposed { first, count } => format!("accepts {count} from {first}"),
            Effect::ProposalRefused { leader, count } => format!("refuses {count}, {}", show_leader(*leader)),
            Effect::ReadReady { ids, read_index } => {
                format!("read {} is ready at {read_index}", show_reads(ids))
            }
            Effect::ReadFailed { ids, leader } => {
                format!("read {} failed, {}", show_reads(ids), show_leader(*leader))
            }
            Effect::RoleChanged { role, term, leader } => {
                let of = leader.filter(|leader| *leader != node);
                format!(
                    "becomes {role}@{term}{}",
                    of.map_or(String::new(), |leader| format!(" of n{leader}"))
                )
            }
            Effect::TransferEnded { succeeded: true } => "transfer succeeded".to_owned(),
            Effect::TransferEnded { succeeded: false } => "transfer failed".to_owned(),
            #[allow(unreachable_patterns, reason = "there will be effects without a notation")]
            _ => return None,
        },
    };
    Some(format!("n{node} {shown}"))
}

fn vote(voted_for: Option<NodeId>) -> String {
    voted_for.map_or("none".to_owned(), |node| format!("n{node}"))
}

/// A node at rest, and a leader's view of its peers.
pub(super) fn show_status(id: NodeId, node: &CoreNode, base: &Membership, now: Time) -> Vec<String> {
    let Some(raft) = &node.raft else {
        let held = node.disk.hard_state;
        let last = node.disk.entries.last().map_or(LogId::ZERO, |entry| entry.id);
        let vote = vote(held.voted_for);
        return vec![format!("n{id} is down, its disk holds term={} vote={vote} last={last}", held.term)];
    };
    let status = raft.status(now);
    let leader = status.leader.map_or("none".to_owned(), |leader| format!("n{leader}"));
    let members = if status.membership == *base {
        String::new()
    } else {
        format!(" members={}", show_members(&status.membership))
    };
    let mut lines = vec![format!(
        "n{id} {}@{} vote={} leader={leader} last={} flushed={} commit={} applied={}{members}",
        status.role,
        status.term,
        vote(status.voted_for),
        status.last_log_id,
        status.flushed_index,
        status.commit_index,
        status.applied_index,
    )];
    for (peer, status) in status.peers {
        let state = match status.state {
            PeerState::Probe => "probe",
            PeerState::Replicate => "replicate",
            #[allow(unreachable_patterns, reason = "the states will grow")]
            _ => "other",
        };
        lines.push(format!(
            "  n{peer} {state} match={} next={} inflight={}",
            status.match_index, status.next_index, status.inflight
        ));
    }
    lines
}

/// A log; what stands after the bar is not flushed.
pub(super) fn show_log(id: NodeId, node: &CoreNode) -> String {
    let written = &node.written.entries;
    let same = node.disk.entries.iter().zip(written).take_while(|(one, other)| one == other).count();
    let show = |entries: &[Entry]| show_entries(entries);
    if same == written.len() {
        return format!("n{id} {}", show(written));
    }
    format!("n{id} {} | {}", show(&written[..same]), show(&written[same..]))
}
