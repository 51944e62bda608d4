//! Applications that encode their commands themselves.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use raft_actor::{
    client::session::{Limits, SessionCommand, SessionId, SessionOutput, Sessions},
    error::WriteError,
    runtime::{SharedRuntime, sim::SimRuntime},
    state_machine::{StateMachine, StateMachineError},
    testkit::cluster::Cluster,
    types::{LogId, LogIndex, NodeId, Payload},
};
use serde::{Deserialize, Serialize};

use crate::sum::Sum;

/// What is said, one after the other.
#[derive(Default)]
struct Speech(String);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Say(String);

/// In the log as it is, and nothing before it.
const AS_IT_IS: &str = "as it is";
const CANNOT_BE_ENCODED: &str = "cannot be encoded";
const CANNOT_BE_DECODED: &str = "cannot be decoded";

fn unless(is_wrong: bool, word: &str) -> Result<(), StateMachineError> {
    if is_wrong { Err(StateMachineError { source: format!("{word:?} is wrong").into() }) } else { Ok(()) }
}

impl StateMachine for Speech {
    type Command = Say;
    type Output = usize;

    fn encode_command(Say(word): &Say) -> Result<Bytes, StateMachineError> {
        unless(word == CANNOT_BE_ENCODED, word)?;
        Ok(Bytes::copy_from_slice(word.as_bytes()))
    }

    fn decode_command(bytes: &Bytes) -> Result<Say, StateMachineError> {
        let word =
            String::from_utf8(bytes.to_vec()).map_err(|error| StateMachineError { source: error.into() })?;
        unless(word == CANNOT_BE_DECODED, &word)?;
        Ok(Say(word))
    }

    fn apply(&mut self, _: LogId, Say(word): Say) -> usize {
        self.0 += &word;
        self.0.len()
    }
}

/// A cluster of three on a simulator, its leader and one that does not lead.
async fn cluster<S: StateMachine>(
    runtime: SharedRuntime,
    machine: impl Fn() -> S + Send + Sync + 'static,
) -> (Cluster<S>, NodeId, NodeId) {
    let cluster = Cluster::start(runtime, 3, Default::default(), machine).await.expect("it starts");
    let leader = cluster.leader().await;
    let follower = cluster.nodes().keys().copied().find(|id| *id != leader).expect("there are three");
    (cluster, leader, follower)
}

fn simulate<F: Future<Output = ()>>(test: impl FnOnce(SharedRuntime) -> F) {
    let simulator = SimRuntime::new(5);
    simulator.run_until(test(Arc::new(simulator.node("hall"))));
}

/// The commands of a node's log.
fn commands<S: StateMachine>(cluster: &Cluster<S>, id: NodeId) -> Vec<Bytes> {
    let tail = cluster.log(id).state().tail;
    let commands = tail.iter().filter_map(|entry| match &entry.payload {
        Payload::Command(bytes) => Some(bytes.clone()),
        _ => None,
    });
    commands.collect()
}

#[test]
fn a_command_stands_in_every_log_as_the_application_encodes_it() {
    simulate(|runtime| async move {
        let (cluster, leader, follower) = cluster(runtime, Speech::default).await;
        for id in [leader, follower] {
            cluster.node(id).write(Say(AS_IT_IS.to_owned())).await.expect("a healthy cluster writes");
        }
        for (id, node) in cluster.nodes() {
            let said = node.read(|speech| speech.0.clone()).await;
            assert_eq!(said, Ok(AS_IT_IS.repeat(2)));
            assert_eq!(commands(&cluster, *id), [AS_IT_IS; 2]);
        }
        cluster.shutdown().await;
    });
}

#[test]
fn what_cannot_be_encoded_or_not_be_decoded_by_the_leader_is_refused_and_nobody_stops() {
    simulate(|runtime| async move {
        let (cluster, leader, follower) = cluster(runtime, Speech::default).await;
        let write = |id, word: &str| cluster.node(id).write(Say(word.to_owned()));
        assert_eq!(write(leader, CANNOT_BE_ENCODED).await, Err(WriteError::Malformed));
        assert_eq!(write(follower, CANNOT_BE_ENCODED).await, Err(WriteError::Malformed));
        assert_eq!(write(follower, CANNOT_BE_DECODED).await, Err(WriteError::Malformed));
        assert_eq!(write(follower, "good").await, Ok("good".len()));
        assert_eq!(commands(&cluster, leader), ["good"]);
        cluster.shutdown().await;
    });
}

#[test]
fn an_entry_that_cannot_be_decoded_stops_the_node_which_names_it() {
    simulate(|runtime| async move {
        let (cluster, leader, _) = cluster(runtime, Speech::default).await;
        let node = cluster.node(leader);
        assert_eq!(node.write(Say(CANNOT_BE_DECODED.to_owned())).await, Err(WriteError::Unknown));
        let reason = node.stopped().await.expect("it has failed");
        let place = node.status().await.last_log_id;
        assert!(reason.contains(&format!("the command at {place} cannot be decoded")), "{reason}");
        assert!(reason.contains("is wrong"), "the application's own words: {reason}");
    });
}

#[test]
fn a_command_in_a_session_is_encoded_by_the_machine_within() {
    simulate(|runtime| async move {
        let (cluster, leader, follower) = cluster(runtime, || Sessions::new(Speech::default())).await;
        let node = cluster.node(follower);
        let plain = SessionCommand::Plain(Say(AS_IT_IS.to_owned()));
        assert_eq!(node.write(plain).await, Ok(SessionOutput::Output(AS_IT_IS.len())));
        let (place, opened) = node.write_at(SessionCommand::Open(Limits::default())).await.expect("it opens");
        let session = SessionId(place.index.0);
        assert_eq!(opened, SessionOutput::Opened(session));
        let command = Say(AS_IT_IS.to_owned());
        let once = SessionCommand::InSession { session, sequence: 1, lowest_awaited: 1, command };
        for _ in 0..2 {
            assert_eq!(node.write(once.clone()).await, Ok(SessionOutput::Output(AS_IT_IS.len() * 2)));
        }
        let mut in_session = vec![2, session.0 as u8, 1, 1];
        in_session.extend_from_slice(AS_IT_IS.as_bytes());
        let commands = commands(&cluster, leader);
        assert_eq!(commands[0], [&[0], AS_IT_IS.as_bytes()].concat());
        assert_eq!(commands[2], in_session);
        cluster.shutdown().await;
    });
}

fn any_command() -> impl Strategy<Value = SessionCommand<u64>> {
    prop_oneof![
        any::<u64>().prop_map(SessionCommand::Plain),
        (1..9_u64).prop_map(|answers| SessionCommand::Open(Limits::default().with_answers_max(answers))),
        any::<(u64, u64, u64, u64)>().prop_map(|(session, sequence, lowest_awaited, command)| {
            SessionCommand::InSession { session: SessionId(session), sequence, lowest_awaited, command }
        }),
        any::<u64>().prop_map(|index| SessionCommand::Expire { unused_since: LogIndex(index) }),
    ]
}

proptest! {
    /// So logs of before sessions left the encoding to the machine within are read as ever.
    #[test]
    fn where_the_machine_leaves_it_to_postcard_the_whole_is_as_postcard_writes_it(command in any_command()) {
        let encoded = Sessions::<Sum>::encode_command(&command).expect("it can be encoded");
        prop_assert_eq!(&encoded[..], postcard::to_allocvec(&command).expect("it can be encoded"));
        prop_assert_eq!(Sessions::<Sum>::decode_command(&encoded).expect("and decoded"), command);
    }

    #[test]
    fn bytes_that_end_early_are_refused(command in any_command(), part in 0.0..1.0_f64) {
        let encoded = Sessions::<Sum>::encode_command(&command).expect("it can be encoded");
        let bytes = (encoded.len() as f64 * part) as usize;
        prop_assert!(Sessions::<Sum>::decode_command(&encoded.slice(..bytes)).is_err());
    }
}
