//! Each kind of event, where it happens.

use std::{sync::Arc, time::Duration};

use raft_actor::{
    config::Config,
    events::{Change, Event},
    membership::MembershipChange,
    node::Node,
    runtime::{SharedRuntime, timeout},
    testkit::{memory::MemoryLog, network::Network},
    types::{LogIndex, NodeId},
};

use super::{Hall, Reader, Sum, TOO_MUCH, simulate};

#[test]
fn events_tell_all_that_a_status_shows_through_elections_and_transfers() {
    for seed in 0..crate::seeds(5) {
        simulate(seed, async |simulator| {
            let hall = Hall::new(&simulator, Config::default()).await;
            let mut readers = hall.readers();
            for round in 0..6 {
                let leader = hall.cluster.leader().await;
                let other = NodeId(leader.0 % 3 + 1);
                hall.node(other).write(1).await.expect("a write");
                if round % 2 == 0 {
                    hall.node(leader).transfer_leadership(Some(other)).await.expect("it takes over");
                } else {
                    hall.isolate(leader);
                    hall.cluster.sleep(Duration::from_secs(2)).await;
                    hall.cluster.network().heal();
                    // Its peers hear it again.
                    hall.cluster.sleep(Duration::from_secs(1)).await;
                }
                hall.cluster.leader().await;
                hall.hold_all(&mut readers).await;
            }
            let count = |is_wanted: fn(&Change) -> bool| -> usize {
                readers.iter().map(|reader| reader.count(is_wanted)).sum()
            };
            assert!(count(|change| matches!(change, Change::ElectionBegun { .. })) >= 7);
            assert!(count(|change| matches!(change, Change::VoteGiven { .. })) >= 7);
            assert!(count(|change| matches!(change, Change::PeerSilent { .. })) >= 3);
            assert!(count(|change| matches!(change, Change::PeerHeard { .. })) >= 3);
            assert_eq!(count(|change| matches!(change, Change::Dropped { .. })), 0);
            hall.cluster.shutdown().await;
            for reader in &mut readers {
                reader.read();
                let end = reader.events.next().await.expect("it ends");
                assert_eq!(end.change, Change::Ended { failure: None });
                assert_eq!(end.sequence, reader.told.last().expect("some were told").sequence + 1);
                assert_eq!(reader.events.next().await, None);
            }
        });
    }
}

#[test]
fn events_tell_of_members_as_they_change() {
    simulate(3, async |simulator| {
        let mut hall = Hall::new(&simulator, Config::default()).await;
        hall.cluster.leader().await;
        let mut readers = hall.readers();
        hall.start(NodeId(4)).await;
        readers.push(hall.reader(NodeId(4)));
        hall.node(NodeId(1)).add_voter(NodeId(4), Network::address(NodeId(4))).await.expect("it joins");
        let change = MembershipChange::new().demote(NodeId(1)).remove(NodeId(4));
        hall.node(NodeId(2)).change_membership(change).await.expect("two at once");
        hall.hold_all(&mut readers).await;
        let leader = hall.cluster.leader().await;
        let joint = |change: &Change| matches!(change, Change::MembershipChanged { is_joint: true, .. });
        assert!(readers[leader.0 as usize - 1].count(joint) >= 1, "each half of the way is told");
        hall.cluster.shutdown().await;
    });
}

#[test]
fn events_tell_of_entries_that_are_truncated_and_of_members_that_go_with_them() {
    simulate(5, async |simulator| {
        let hall = Hall::new(&simulator, Config::default()).await;
        let old = hall.cluster.leader().await;
        hall.node(old).write(1).await.expect("a write");
        let mut readers = hall.readers();
        hall.isolate(old);
        let last = hall.node(old).status().await.last_log_id.index;
        let lost = hall.node(old).clone();
        let lost: Vec<_> = (0..3).map(|_| lost.write(7)).collect();
        let learner = hall.node(old).add_learner(NodeId(9), Network::address(NodeId(9)));
        let both = futures_util::future::join(futures_util::future::join_all(lost), learner);
        // Nobody else hears of them; the caller gives up before the new leader does away with them.
        let _ = timeout(&*simulator, Duration::from_secs(1), both).await;
        let gone = hall.node(old).status().await;
        assert!(gone.last_log_id.index > last && gone.membership.contains(NodeId(9)));
        hall.cluster.network().heal();
        hall.cluster.leader().await;
        hall.hold_all(&mut readers).await;
        let reader = &readers[old.0 as usize - 1];
        let told: Vec<_> = reader.changes().filter(|it| matches!(it, Change::Truncated { .. })).collect();
        assert_eq!(told, [&Change::Truncated { from: last.next(), through: gone.last_log_id.index }]);
        let members: Vec<_> = reader
            .changes()
            .filter_map(|change| match change {
                Change::MembershipChanged { membership, .. } => Some(membership.contains(NodeId(9))),
                _ => None,
            })
            .collect();
        assert_eq!(members, [true, false], "it came, and went");
        hall.cluster.shutdown().await;
    });
}

#[test]
fn events_tell_of_snapshots_on_both_sides() {
    let mut config = Config::default();
    (config.snapshot_entries, config.trailing_entries, config.snapshot_chunk_bytes) = (20, 5, 3);
    simulate(8, async |simulator| {
        let hall = Hall::new(&simulator, config).await;
        let leader = hall.cluster.leader().await;
        let away = NodeId(leader.0 % 3 + 1);
        let mut readers = hall.readers();
        hall.isolate(away);
        for value in 0..60 {
            hall.node(leader).write(value).await.expect("two are enough");
        }
        hall.cluster.network().heal();
        hall.cluster.sleep(Duration::from_secs(2)).await;
        hall.hold_all(&mut readers).await;
        let [sender, receiver] = [leader, away].map(|id| &readers[id.0 as usize - 1]);
        let name = |change: &Change| match change {
            Change::SnapshotTaken { .. } => Some("taken"),
            Change::SnapshotSending { peer, .. } if *peer == away => Some("sending"),
            Change::SnapshotSent { peer, .. } if *peer == away => Some("sent"),
            Change::SnapshotReceiving { .. } => Some("receiving"),
            Change::SnapshotReceived { .. } => Some("received"),
            Change::SnapshotRestored { .. } => Some("restored"),
            _ => None,
        };
        // While it was away, newer snapshots took the place of the one that it was to be sent.
        let mut sent: Vec<_> = sender.changes().filter_map(name).filter(|name| *name != "taken").collect();
        sent.dedup();
        assert_eq!(sent, ["sending", "sent"]);
        let received: Vec<_> = receiver.changes().filter_map(name).collect();
        assert_eq!(received, ["receiving", "received", "restored"]);
        hall.cluster.shutdown().await;
    });
}

#[test]
fn a_commit_index_that_races_is_told_ten_times_a_second_and_its_end_always() {
    simulate(2, async |simulator| {
        let hall = Hall::new(&simulator, Config::default()).await;
        let leader = hall.cluster.leader().await;
        let mut reader = Reader::of(hall.node(leader));
        let began = hall.node(leader).status().await.commit_index;
        for value in 0..500 {
            hall.node(leader).write(value).await.expect("a write");
            hall.cluster.sleep(Duration::from_millis(2)).await;
        }
        hall.cluster.sleep(Duration::from_secs(10)).await;
        reader.read();
        let told: Vec<&Event> =
            reader.told.iter().filter(|event| matches!(event.change, Change::Committed { .. })).collect();
        for pair in told.windows(2) {
            assert!(pair[1].time >= pair[0].time.after(Duration::from_millis(100)));
        }
        assert!(told.len() >= 10, "{}", told.len());
        let commit_index = LogIndex(began.0 + 500);
        assert_eq!(told.last().expect("some").change, Change::Committed { commit_index });
        hall.cluster.shutdown().await;
    });
}

#[test]
fn a_reader_that_is_too_slow_is_told_how_many_events_it_has_missed_and_where() {
    simulate(4, async |simulator| {
        let hall = Hall::new(&simulator, Config::default()).await;
        hall.cluster.leader().await;
        let node = hall.node(NodeId(1));
        let (mut slow, mut all) = (node.events(3), node.events(1000));
        for round in 0..3 {
            for value in 0..10 {
                node.write(value).await.expect("a write");
                hall.cluster.sleep(Duration::from_millis(150)).await;
            }
            let told: Vec<Event> = std::iter::from_fn(|| slow.try_next()).collect();
            let whole: Vec<Event> = std::iter::from_fn(|| all.try_next()).collect();
            assert_eq!(told.len(), 4, "three, and a word on the rest: {told:?}");
            assert_eq!(told[..3], whole[..3], "round {round}: the oldest are kept, in order");
            let missed = whole.len() as u64 - 3;
            let expected = Change::Dropped { count: missed };
            assert_eq!((&told[3].change, told[3].sequence), (&expected, whole[3].sequence));
        }
        // Two places are free again: what comes next stands behind the gap, and the numbers show it.
        node.write(1).await.expect("a write");
        hall.cluster.sleep(Duration::from_millis(150)).await;
        assert_eq!(slow.try_next(), all.try_next());
        hall.cluster.shutdown().await;
    });
}

#[test]
fn a_gap_stands_between_what_came_before_it_and_what_comes_after() {
    simulate(4, async |simulator| {
        let hall = Hall::new(&simulator, Config::default()).await;
        hall.cluster.leader().await;
        let node = hall.node(NodeId(1));
        let (mut slow, mut all) = (node.events(2), node.events(1000));
        let write = async |count: u64| {
            for value in 0..count {
                node.write(value).await.expect("a write");
                hall.cluster.sleep(Duration::from_millis(150)).await;
            }
        };
        write(5).await;
        let first = slow.try_next().expect("the present");
        write(1).await;
        let told: Vec<Event> = [first].into_iter().chain(std::iter::from_fn(|| slow.try_next())).collect();
        let whole: Vec<Event> = std::iter::from_fn(|| all.try_next()).collect();
        assert_eq!(told.len(), 4);
        assert_eq!(told[..2], whole[..2]);
        assert_eq!(told[2].change, Change::Dropped { count: whole.len() as u64 - 3 });
        assert_eq!(told[3], whole[whole.len() - 1]);
        assert_eq!(told[3].sequence, told[2].sequence + whole.len() as u64 - 3);
        hall.cluster.shutdown().await;
    });
}

#[test]
fn a_node_that_fails_says_why_as_its_last_event() {
    simulate(6, async |simulator| {
        let runtime: SharedRuntime = Arc::new(simulator.node("alone"));
        let network = Network::new(runtime.clone(), 1);
        let node = Node::builder(NodeId(1), Sum::default())
            .members([(NodeId(1), Network::address(NodeId(1)))])
            .storage(MemoryLog::new())
            .transport(network.transport(NodeId(1)))
            .runtime(runtime)
            .start()
            .await
            .expect("it starts");
        let mut events = node.events(100);
        node.write(1).await.expect("a write");
        assert!(node.write(TOO_MUCH).await.is_err());
        let mut told = Vec::new();
        while let Some(event) = events.next().await {
            told.push(event.change);
        }
        let failure = node.stopped().await;
        assert!(failure.as_ref().is_some_and(|reason| reason.contains("too much")));
        assert_eq!(told.last(), Some(&Change::Ended { failure: failure.clone() }));
        let mut late = node.events(100);
        assert_eq!(late.next().await.map(|event| event.change), Some(Change::Ended { failure }));
        assert_eq!(late.next().await, None);
    });
}

#[test]
fn events_tell_of_links_that_break_and_open() {
    simulate(7, async |simulator| {
        let mut hall = Hall::new(&simulator, Config::default()).await;
        let leader = hall.cluster.leader().await;
        let mut reader = Reader::of(hall.node(leader));
        let peer = NodeId(leader.0 % 3 + 1);
        hall.machines.crash(peer);
        hall.cluster.forget_node(peer);
        hall.cluster.sleep(Duration::from_secs(2)).await;
        let mut late = Reader::of(hall.node(leader));
        hall.start(peer).await;
        hall.cluster.sleep(Duration::from_secs(2)).await;
        reader.read();
        let about: Vec<&Change> = reader
            .changes()
            .filter(|change| !matches!(change, Change::Present { .. } | Change::Committed { .. }))
            .collect();
        let expected = [
            Change::LinkBroken { peer },
            Change::PeerSilent { peer },
            Change::LinkOpened { peer },
            Change::PeerHeard { peer },
        ];
        assert_eq!(about, expected.iter().collect::<Vec<_>>());
        late.read();
        let Some(Change::Present { unreachable, .. }) = late.changes().next() else {
            panic!("it comes first")
        };
        assert_eq!(unreachable.iter().collect::<Vec<_>>(), [&peer], "the present tells of broken links");
        hall.cluster.shutdown().await;
    });
}
