//! What a trace shows of each event, and of a node at rest.

use crate::{
    core::Effect,
    membership::Membership,
    notation::{show_effect, show_entries, show_mail, show_members},
    status::PeerState,
    testkit::cores::{CoreNode, Event},
    types::{Entry, LogId, NodeId, Time},
};

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

/// Whether scripts show it at all.
fn is_shown(effect: &Effect) -> bool {
    use Effect::{
        Apply, ProposalRefused, Proposed, ReadFailed, ReadLog, ReadReady, RoleChanged, TransferEnded,
    };
    matches!(
        effect,
        Effect::Send { .. }
            | Effect::Write(_)
            | ReadLog { .. }
            | Apply(_)
            | Proposed { .. }
            | ProposalRefused { .. }
            | ReadReady { .. }
            | ReadFailed { .. }
            | RoleChanged { .. }
            | TransferEnded { .. }
    )
}

/// One line; none for what scripts do not show.
pub(super) fn show_event(node: NodeId, event: &Event) -> Option<String> {
    let shown = match event {
        Event::Flushed(sequence) => format!("flushed #{sequence}"),
        Event::Committed(index) => format!("commits {index}"),
        Event::Did(Effect::Send { to, message }) => return Some(show_mail(node, *to, message)),
        Event::Did(effect) => {
            return is_shown(effect).then(|| format!("n{node} {}", show_effect(node, effect)));
        }
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
