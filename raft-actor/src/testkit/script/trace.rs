//! What a trace shows of each event, and of a node at rest.

use super::notation::{show_entries, show_mail, show_members};
use crate::{
    core::{Effect, LogReader},
    membership::Membership,
    message::ReadId,
    status::PeerState,
    testkit::cores::{CoreNode, Event, SnapshotWork},
    types::{Entry, LogId, LogIndex, LogWrite, NodeId, SnapshotMeta, Time},
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
    use Effect::{
        MembershipChanged, MembershipRefused, ProposalRefused, ReadFailed, ReadReady, RoleChanged,
        SnapshotRefused, TransferEnded,
    };
    matches!(
        event,
        Event::Restored(_)
            | Event::Did(
                RoleChanged { .. }
                    | ProposalRefused { .. }
                    | ReadReady { .. }
                    | ReadFailed { .. }
                    | TransferEnded { .. }
                    | MembershipChanged { .. }
                    | MembershipRefused { .. }
                    | SnapshotRefused
            )
    )
}

/// One line; none for what the notation has no word for.
pub(super) fn show_event(node: NodeId, event: &Event) -> Option<String> {
    let shown = match event {
        Event::Flushed(sequence) => format!("flushed #{sequence}"),
        Event::Committed(index) => format!("commits {index}"),
        Event::Purged(through) => format!("has purged {through}"),
        Event::Stored(SnapshotWork::Store(snapshot, offset, data)) => {
            format!("has kept {} bytes from {offset} of snapshot {}", data.len(), snapshot.id)
        }
        Event::Stored(SnapshotWork::Take(snapshot, _) | SnapshotWork::Finish(snapshot)) => {
            format!("has {}", show_snapshot(snapshot))
        }
        Event::Restored(snapshot) => format!("is restored to {}", show_snapshot(snapshot)),
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
            Effect::TakeSnapshot => "takes a snapshot".to_owned(),
            Effect::SnapshotRefused => "refuses a snapshot".to_owned(),
            Effect::Purge { through } => format!("purges {through}"),
            Effect::SendSnapshot { to, term, snapshot, offset, bytes_max: 0 } => {
                return Some(format!("n{node}@{term} asks n{to} of snapshot {} from {offset}", snapshot.id));
            }
            Effect::SendSnapshot { to, term, snapshot, offset, bytes_max } => {
                let snapshot = snapshot.id;
                let sent = format!("sends n{to} {bytes_max} bytes from {offset} of snapshot {snapshot}");
                return Some(format!("n{node}@{term} {sent}"));
            }
            Effect::FinishSnapshot { snapshot } => format!("finishes snapshot {}", snapshot.id),
            Effect::RestoreSnapshot { snapshot } => format!("restores snapshot {}", snapshot.id),
            Effect::MembershipChanged { id, log_id } => format!("change {id} is made by {log_id}"),
            Effect::MembershipRefused { id, reason } => format!("change {id} is refused: {reason}"),
            Effect::TransferEnded { succeeded: true } => "transfer succeeded".to_owned(),
            Effect::TransferEnded { succeeded: false } => "transfer failed".to_owned(),
            #[allow(unreachable_patterns, reason = "there will be effects without a notation")]
            _ => return None,
        },
    };
    Some(format!("n{node} {shown}"))
}

fn show_snapshot(snapshot: &SnapshotMeta) -> String {
    let members = show_members(&snapshot.membership);
    format!("snapshot {} of {} members={members}", snapshot.id, snapshot.last)
}

fn vote(voted_for: Option<NodeId>) -> String {
    voted_for.map_or("none".to_owned(), |node| format!("n{node}"))
}

/// What of the log is gone, where anything is.
fn show_compacted(first: LogIndex, newest: Option<&SnapshotMeta>) -> String {
    let first = if first == LogIndex(1) { String::new() } else { format!(" first={first}") };
    first + &newest.map_or(String::new(), |newest| format!(" snapshot={}", newest.last))
}

/// A node at rest, and a leader's view of its peers.
pub(super) fn show_status(id: NodeId, node: &CoreNode, base: &Membership, now: Time) -> Vec<String> {
    let Some(raft) = &node.raft else {
        let held = node.disk.hard_state;
        let last = node.disk.log().last();
        let vote = vote(held.voted_for);
        let compacted = show_compacted(node.disk.purged.index.next(), node.disk.newest().map(|(it, _)| it));
        let holds = format!("term={} vote={vote} last={last}{compacted}", held.term);
        return vec![format!("n{id} is down, its disk holds {holds}")];
    };
    let status = raft.status(now);
    let leader = status.leader.map_or("none".to_owned(), |leader| format!("n{leader}"));
    let members = if status.membership == *base {
        String::new()
    } else {
        format!(" members={}", show_members(&status.membership))
    };
    let compacted = show_compacted(status.first_index, status.snapshot.as_ref());
    let mut lines = vec![format!(
        "n{id} {}@{} vote={} leader={leader} last={} flushed={} commit={} applied={}{compacted}{members}",
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
            PeerState::Snapshot { .. } => "snapshot",
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
    // What the disk still holds of a purged beginning is on it all the same.
    let on_disk = |entry: &&Entry| node.disk.log().id_at(entry.id.index) == Some(entry.id);
    let same = written.iter().take_while(on_disk).count();
    let show = |entries: &[Entry]| show_entries(entries);
    let purged = node.written.purged;
    let after = if purged == LogId::ZERO { String::new() } else { format!("after {purged} ") };
    if same == written.len() {
        return format!("n{id} {after}{}", show(written));
    }
    format!("n{id} {after}{} | {}", show(&written[..same]), show(&written[same..]))
}

/// What a state machine has come to.
pub(super) fn show_machine(id: NodeId, node: &CoreNode) -> String {
    let state = String::from_utf8_lossy(&node.machine.state);
    format!("n{id} through {}: {state}", node.machine.log().last())
}
