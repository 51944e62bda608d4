//! What a trace shows of each event, and of a node at rest.

use crate::{
    core::Effect,
    membership::Membership,
    notation::{show_effect, show_entries, show_mail, show_members},
    status::PeerState,
    testkit::cores::{CoreNode, Event, SnapshotWork},
    types::{Entry, LogId, LogIndex, NodeId, SnapshotMeta, Term, Time},
};

/// Whether a quiet trace shows it: what nodes become, and what clients are told.
pub(super) fn is_loud(event: &Event) -> bool {
    use Effect::{
        FenceLifted, MembershipChanged, MembershipRefused, ProposalRefused, ReadFailed, ReadReady,
        RoleChanged, SnapshotRefused, TransferEnded,
    };
    matches!(
        event,
        Event::Restored(_)
            | Event::Did(
                RoleChanged { .. }
                    | FenceLifted { .. }
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

/// Whether scripts show it at all.
fn is_shown(effect: &Effect) -> bool {
    use Effect::{PeersChanged, RetainSnapshots, StoreSnapshotChunk};
    !matches!(effect, PeersChanged { .. } | RetainSnapshots { .. } | StoreSnapshotChunk { .. })
}

/// One line; none for what scripts do not show.
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
        Event::Did(Effect::Send { to, message }) => return Some(show_mail(node, *to, message)),
        Event::Did(effect) => {
            return is_shown(effect).then(|| format!("n{node} {}", show_effect(node, effect)));
        }
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

fn show_fence(fence: Option<Term>) -> String {
    fence.map_or(String::new(), |fence| format!(" fence={fence}"))
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
        let fence = show_fence(held.fence);
        let holds = format!("term={} vote={vote}{fence} last={last}{compacted}", held.term);
        return vec![format!("n{id} is down, its disk holds {holds}")];
    };
    let status = raft.status(now);
    let leader = status.leader.map_or("none".to_owned(), |leader| format!("n{leader}"));
    let shown = show_members(&status.membership);
    let members = if shown == show_members(base) { String::new() } else { format!(" members={shown}") };
    let compacted = show_compacted(status.first_index, status.snapshot.as_ref());
    let mut lines = vec![format!(
        "n{id} {}@{} vote={}{} leader={leader} last={} flushed={} commit={} applied={}{compacted}{members}",
        status.role,
        status.term,
        vote(status.voted_for),
        show_fence(status.fence),
        status.last_log_id,
        status.flushed_index,
        status.commit_index,
        status.applied_index,
    )];
    for (peer, status) in status.peers {
        let state = match status.state {
            PeerState::Probe => "probe",
            PeerState::Replicate => "replicate",
            PeerState::Snapshot => "snapshot",
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
