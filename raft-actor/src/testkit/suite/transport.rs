//! Holds a [`Transport`] against its contract.
//!
//! Write a [`TransportFixture`] for yours, and call [`all`] in a test. A broken promise panics, and names it.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    error::WriteError,
    membership::{ChangeError, Membership, MembershipChange},
    message::{
        AppendEntries, AppendEntriesReply, AppendOutcome, Envelope, ForwardChange, ForwardChangeReply,
        ForwardWrites, ForwardWritesReply, InstallSnapshot, InstallSnapshotReply, Introduction, Message,
        ReadId, ReadIndex, ReadIndexReply, Refusal, RequestVote, RequestVoteReply, TimeoutNow,
    },
    runtime::{SharedRuntime, sleep, timeout},
    transport::{Inbox, PeerLink, Transport, TransportError},
    types::{Entry, GroupId, LogId, LogIndex, NodeId, Origin, Payload, SnapshotMeta, Term},
};

/// How long the suite waits for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the suite needs to try a transport out.
#[async_trait]
pub trait TransportFixture: Send {
    /// What the suite itself waits on.
    fn runtime(&self) -> SharedRuntime;

    /// The transport of `node`, to send with.
    fn transport(&self, node: NodeId) -> Box<dyn Transport>;

    /// Makes `node` reachable, and returns its address; what arrives goes to `inbox`.
    async fn listen(&mut self, node: NodeId, inbox: Arc<dyn Inbox>) -> String;

    /// Makes `node` unreachable, as if its process had ended.
    async fn stop(&mut self, node: NodeId);

    /// An address at which nobody listens.
    fn nowhere(&self) -> String;

    /// How long `connect` may take to give up.
    fn connect_deadline(&self) -> Duration;
}

/// An inbox that keeps what it gets, and can be waited for.
#[derive(Default)]
pub struct Collector(Mutex<Collected>);

#[derive(Default)]
struct Collected {
    envelopes: Vec<Envelope>,
    reader: Option<Waker>,
}

impl Collector {
    /// An empty one.
    pub fn new() -> Arc<Collector> {
        Arc::default()
    }

    /// How many envelopes have arrived and not been taken.
    pub fn len(&self) -> usize {
        self.lock().envelopes.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for at least `count` envelopes, and takes all that are there.
    pub async fn take(&self, count: usize) -> Vec<Envelope> {
        poll_fn(|context| {
            let mut collected = self.lock();
            if collected.envelopes.len() >= count {
                return Poll::Ready(std::mem::take(&mut collected.envelopes));
            }
            collected.reader = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox for Collector {
    fn deliver(&self, batch: Vec<Envelope>) {
        let reader = {
            let mut collected = self.lock();
            collected.envelopes.extend(batch);
            collected.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// The whole suite.
pub async fn all(fixture: &mut impl TransportFixture) {
    every_kind_of_message_arrives_as_it_was_sent(fixture).await;
    messages_arrive_in_order_and_once(fixture).await;
    a_large_batch_arrives_in_order(fixture).await;
    large_messages_arrive_whole(fixture).await;
    two_senders_do_not_disturb_each_other(fixture).await;
    a_node_that_was_not_meant_refuses(fixture).await;
    connecting_to_nobody_fails_within_the_deadline(fixture).await;
    a_broken_link_says_so_and_a_new_one_works(fixture).await;
}

/// What is sent is what arrives, whatever it is, for whatever group.
pub async fn every_kind_of_message_arrives_as_it_was_sent(fixture: &mut impl TransportFixture) {
    let (from, to) = (NodeId(1), NodeId(101));
    let (mut link, inbox) = open(fixture, from, to).await;
    let sent: Vec<Envelope> = samples()
        .into_iter()
        .enumerate()
        .map(|(number, message)| Envelope {
            group: GroupId(number as u32 % 3),
            from,
            to,
            origin: Origin::default(),
            message,
        })
        .collect();
    let mut batch = sent.clone();
    link.send(&mut batch).await.expect("a link that was just opened takes a batch");
    assert!(batch.is_empty(), "send leaves the batch empty");
    link.send(&mut batch).await.expect("an empty batch is no error");
    assert_eq!(received(fixture, &inbox, sent.len()).await, sent, "what arrives is what was sent");
}

/// Many small batches on one link, sent as fast as it takes them.
pub async fn messages_arrive_in_order_and_once(fixture: &mut impl TransportFixture) {
    let (from, to) = (NodeId(1), NodeId(102));
    let (mut link, inbox) = open(fixture, from, to).await;
    let mut batch = Vec::new();
    let mut next = 0;
    for size in (1..=20).cycle().take(500) {
        batch.extend((next..next + size).map(|number| numbered(from, to, number)));
        next += size;
        link.send(&mut batch).await.expect("nothing has happened to the link");
    }
    check_numbers(&received(fixture, &inbox, next as usize).await, next);
    sleep(&*fixture.runtime(), Duration::from_millis(50)).await;
    assert!(inbox.is_empty(), "nothing arrives twice");
}

/// One batch of more messages than any frame holds.
pub async fn a_large_batch_arrives_in_order(fixture: &mut impl TransportFixture) {
    let (from, to) = (NodeId(1), NodeId(103));
    let (mut link, inbox) = open(fixture, from, to).await;
    let mut batch: Vec<Envelope> = (0..100_000).map(|number| numbered(from, to, number)).collect();
    link.send(&mut batch).await.expect("nothing has happened to the link");
    check_numbers(&received(fixture, &inbox, 100_000).await, 100_000);
}

/// A command of 8 MiB, and an AppendEntries of 4,096 entries of 1 KiB.
pub async fn large_messages_arrive_whole(fixture: &mut impl TransportFixture) {
    let (from, to) = (NodeId(1), NodeId(104));
    let (mut link, inbox) = open(fixture, from, to).await;
    let noise = |bytes: usize, seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        Bytes::from((0..bytes).map(|_| random.u8(..)).collect::<Vec<u8>>())
    };
    let large = append(vec![noise(8 << 20, 1)]);
    let many = append((0..4096).map(|number| noise(1024, number)).collect());
    let envelope = |message| Envelope { group: GroupId(0), from, to, origin: Origin::default(), message };
    let sent = vec![envelope(large), numbered(from, to, 7), envelope(many)];
    link.send(&mut sent.clone()).await.expect("nothing has happened to the link");
    // Not with assert_eq, which would print megabytes.
    assert!(received(fixture, &inbox, sent.len()).await == sent, "large messages arrive as they were sent");
}

/// Order is per link.
pub async fn two_senders_do_not_disturb_each_other(fixture: &mut impl TransportFixture) {
    let to = NodeId(105);
    let (mut first, inbox) = open(fixture, NodeId(1), to).await;
    let address = fixture.listen(to, inbox.clone()).await;
    drop(first);
    first = connect(fixture, NodeId(1), to, &address).await;
    let mut second = connect(fixture, NodeId(2), to, &address).await;
    for number in 0..200 {
        first.send(&mut vec![numbered(NodeId(1), to, number)]).await.expect("the first link is well");
        second.send(&mut vec![numbered(NodeId(2), to, number)]).await.expect("the second link is well");
    }
    let (of_first, of_second): (Vec<_>, Vec<_>) =
        received(fixture, &inbox, 400).await.into_iter().partition(|envelope| envelope.from == NodeId(1));
    check_numbers(&of_first, 200);
    check_numbers(&of_second, 200);
}

/// An address may have been given to another node.
pub async fn a_node_that_was_not_meant_refuses(fixture: &mut impl TransportFixture) {
    let inbox = Collector::new();
    let address = fixture.listen(NodeId(106), inbox.clone()).await;
    let transport = fixture.transport(NodeId(1));
    let outcome = within(fixture, PATIENCE, transport.connect(NodeId(999), &address)).await;
    match outcome.map(|_| ()) {
        Err(TransportError::Refused { peer, reason, .. }) => {
            assert_eq!(peer, NodeId(999), "the error names who was meant");
            assert!(!reason.is_empty(), "the error says why");
        }
        other => panic!("node 106 must refuse a link that is meant for node 999, but: {other:?}"),
    }
    assert!(inbox.is_empty());
}

/// Nobody answers, or nobody is there: an error, and soon.
pub async fn connecting_to_nobody_fails_within_the_deadline(fixture: &mut impl TransportFixture) {
    let transport = fixture.transport(NodeId(1));
    let address = fixture.nowhere();
    let patience = fixture.connect_deadline() + Duration::from_secs(1);
    let outcome = within(fixture, patience, transport.connect(NodeId(107), &address)).await;
    match outcome.map(|_| ()) {
        Err(
            TransportError::Unreachable { peer, address: tried, .. }
            | TransportError::NotThere { peer, address: tried },
        ) => {
            assert_eq!((peer, tried), (NodeId(107), address), "the error says who and where");
        }
        other => panic!("nobody listens at {address}, but: {other:?}"),
    }
}

/// A peer's process ends and comes back.
pub async fn a_broken_link_says_so_and_a_new_one_works(fixture: &mut impl TransportFixture) {
    let (from, to) = (NodeId(1), NodeId(108));
    let (mut link, inbox) = open(fixture, from, to).await;
    link.send(&mut vec![numbered(from, to, 0)]).await.expect("nothing has happened to the link");
    check_numbers(&received(fixture, &inbox, 1).await, 1);

    fixture.stop(to).await;
    let runtime = fixture.runtime();
    let noticed = timeout(&*runtime, PATIENCE, async {
        // What is sent before the end is heard of is lost.
        while link.send(&mut vec![numbered(from, to, 1)]).await.is_ok() {
            sleep(&*runtime, Duration::from_millis(10)).await;
        }
    });
    noticed.await.expect("a sender must notice that its peer is gone");
    let again = link.send(&mut vec![numbered(from, to, 2)]).await;
    assert!(again.is_err(), "a broken link stays broken");
    // The end may have come a moment after `stop`; now that the sender knows of it, it is over.
    let last_words = inbox.take(0).await;
    assert!(last_words.iter().all(|envelope| *envelope == numbered(from, to, 1)), "{last_words:?}");

    let reborn = Collector::new();
    let address = fixture.listen(to, reborn.clone()).await;
    assert!(link.send(&mut vec![numbered(from, to, 3)]).await.is_err(), "a broken link does not mend itself");
    let mut link = connect(fixture, from, to, &address).await;
    link.send(&mut vec![numbered(from, to, 0)]).await.expect("nothing has happened to the new link");
    check_numbers(&received(fixture, &reborn, 1).await, 1);
    assert!(inbox.is_empty(), "nothing arrives at a node that has stopped");
}

/// One message of every kind, with every kind of entry, outcome and result, and numbers at both ends of their
/// range.
pub fn samples() -> Vec<Message> {
    let id = |term, index| LogId::new(Term(term), LogIndex(index));
    let members = Membership::new([(NodeId(1), "a:1".to_owned()), (NodeId(2), "b:2".to_owned())])
        .expect("two nodes are a membership")
        .with_learner(NodeId(3), "c:3".to_owned());
    let entries = vec![
        Entry::new(id(3, 8), Payload::Noop),
        Entry::new(id(3, 9), Payload::Command(Bytes::from_static(b"a command"))),
        Entry::new(id(4, 10), Payload::Command(Bytes::new())),
        Entry::new(id(u64::MAX, 11), Payload::Membership(Box::new(members.clone()))),
    ];
    let reply =
        |outcome| Message::AppendEntriesReply(AppendEntriesReply { term: Term(4), round: 17, outcome });
    let read =
        |read_index| Message::ReadIndexReply(ReadIndexReply { term: Term(4), id: ReadId(5), read_index });
    let mut samples = vec![
        Message::RequestVote(RequestVote {
            term: Term(u64::MAX),
            last_log_id: id(3, 7),
            pre_vote: true,
            leadership_transfer: false,
        }),
        Message::RequestVoteReply(RequestVoteReply { term: Term(1), vote_granted: true, pre_vote: false }),
        Message::AppendEntries(AppendEntries {
            term: Term(4),
            prev_log_id: id(2, 7),
            entries: entries.into(),
            leader_commit: LogIndex(6),
            round: u64::MAX,
            held_index: LogIndex(u64::MAX),
        }),
        Message::AppendEntries(AppendEntries {
            term: Term(4),
            prev_log_id: LogId::ZERO,
            entries: Vec::new().into(),
            leader_commit: LogIndex(0),
            round: 0,
            held_index: LogIndex(0),
        }),
        reply(AppendOutcome::Matched { match_index: LogIndex(u64::MAX) }),
        reply(AppendOutcome::Conflict { rejected: id(2, 7), hint: id(1, 5) }),
        reply(AppendOutcome::StaleTerm),
        Message::TimeoutNow(TimeoutNow { term: Term(4) }),
        Message::ReadIndex(ReadIndex { term: Term(4), id: ReadId(5) }),
        read(Some(LogIndex(11))),
        read(None),
        Message::ForwardWrites(ForwardWrites {
            id: 1,
            commands: vec![Bytes::from_static(b"first"), Bytes::new()],
        }),
        Message::ForwardWritesReply(ForwardWritesReply {
            id: 1,
            results: vec![
                Ok((id(4, 12), Bytes::from_static(b"output"))),
                Err(WriteError::NotLeader { leader: None }),
                Err(WriteError::NotLeader { leader: Some(NodeId(2)) }),
                Err(WriteError::Overloaded),
                Err(WriteError::TooLarge { bytes: 3, bytes_max: 2 }),
                Err(WriteError::Unknown),
                Err(WriteError::Stopped),
            ],
        }),
    ];
    samples.extend(snapshot_samples(members));
    samples.extend(samples_of_members());
    samples
}

fn snapshot_samples(members: Membership) -> [Message; 2] {
    let id = |term, index| LogId::new(Term(term), LogIndex(index));
    [
        Message::InstallSnapshot(InstallSnapshot {
            term: Term(4),
            snapshot: SnapshotMeta {
                id: u64::MAX,
                last: id(3, 9),
                membership: Box::new(members),
                membership_log_id: id(1, 1),
                size_bytes: 1_000_000,
                witness: true,
            },
            offset: 999_991,
            data: Bytes::from_static(b"the end."),
            done: true,
        }),
        Message::InstallSnapshotReply(InstallSnapshotReply {
            term: Term(4),
            snapshot_id: u64::MAX,
            next_offset: 1_000_000,
            installed: false,
        }),
    ]
}

fn samples_of_members() -> Vec<Message> {
    let change = MembershipChange::new().add_learner(NodeId(4), "d:4").promote(NodeId(3)).remove(NodeId(1));
    let log_id = LogId::new(Term(4), LogIndex(13));
    vec![
        Message::Introduction(Introduction { address: "d:4".to_owned() }),
        Message::ForwardChange(ForwardChange { id: 1, change }),
        Message::ForwardChangeReply(ForwardChangeReply { id: 1, result: Ok(log_id) }),
        Message::ForwardChangeReply(ForwardChangeReply { id: 2, result: Err(ChangeError::UnderWay) }),
        Message::Refusal(Refusal::OtherFolder { node: NodeId(3) }),
        Message::Refusal(Refusal::OtherGenesis { node: NodeId(3), refused_by: NodeId(1) }),
    ]
}

fn append(commands: Vec<Bytes>) -> Message {
    let entry = |(number, command)| {
        Entry::new(LogId::new(Term(1), LogIndex(number as u64 + 1)), Payload::Command(command))
    };
    Message::AppendEntries(AppendEntries {
        term: Term(1),
        prev_log_id: LogId::ZERO,
        entries: commands.into_iter().enumerate().map(entry).collect::<Vec<_>>().into(),
        leader_commit: LogIndex(0),
        round: 0,
        held_index: LogIndex(0),
    })
}

fn numbered(from: NodeId, to: NodeId, number: u64) -> Envelope {
    let message = Message::ReadIndex(ReadIndex { term: Term(1), id: ReadId(number) });
    Envelope { group: GroupId(0), from, to, origin: Origin::default(), message }
}

fn check_numbers(envelopes: &[Envelope], count: u64) {
    let number = |envelope: &Envelope| match envelope.message {
        Message::ReadIndex(ReadIndex { id, .. }) => id.0,
        ref other => panic!("a message arrived that nobody sent: {other:?}"),
    };
    let arrived: Vec<u64> = envelopes.iter().map(number).collect();
    assert_eq!(arrived.len() as u64, count, "each message arrives once");
    assert!(arrived.iter().copied().eq(0..count), "messages arrive in the order sent");
}

async fn open(
    fixture: &mut impl TransportFixture,
    from: NodeId,
    to: NodeId,
) -> (Box<dyn PeerLink>, Arc<Collector>) {
    let inbox = Collector::new();
    let address = fixture.listen(to, inbox.clone()).await;
    (connect(fixture, from, to, &address).await, inbox)
}

async fn connect(
    fixture: &mut impl TransportFixture,
    from: NodeId,
    to: NodeId,
    address: &str,
) -> Box<dyn PeerLink> {
    let transport = fixture.transport(from);
    let link = within(fixture, PATIENCE, transport.connect(to, address)).await;
    link.unwrap_or_else(|error| panic!("a node that listens must be reached: {error}"))
}

/// Waits for `count` envelopes.
async fn received(fixture: &impl TransportFixture, inbox: &Collector, count: usize) -> Vec<Envelope> {
    let envelopes = timeout(&*fixture.runtime(), PATIENCE, inbox.take(count)).await;
    envelopes.unwrap_or_else(|| panic!("only {} of {count} messages have arrived", inbox.len()))
}

async fn within<T>(fixture: &impl TransportFixture, patience: Duration, work: impl Future<Output = T>) -> T {
    let outcome = timeout(&*fixture.runtime(), patience, work).await;
    outcome.unwrap_or_else(|| panic!("a connect must end within {patience:?}, whatever the peer does"))
}
