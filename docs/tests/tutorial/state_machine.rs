//! Tutorial 1: a state machine is a plain struct, tested without a cluster.

// ANCHOR: counter
use raft_actor::{
    state_machine::StateMachine,
    types::{LogId, LogIndex, Term},
};
use serde::{Deserialize, Serialize};

/// What the application keeps.
#[derive(Debug, Default)]
pub struct Counter {
    pub value: i64,
}

/// What a client may ask to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Add(pub i64);

impl StateMachine for Counter {
    type Command = Add;
    type Output = i64;

    fn apply(&mut self, _id: LogId, Add(amount): Add) -> i64 {
        self.value = self.value.saturating_add(amount);
        self.value
    }
}
// ANCHOR_END: counter

// ANCHOR: test
#[test]
fn the_same_commands_in_the_same_order_give_the_same_state() {
    let at = |index| LogId::new(Term(1), LogIndex(index));
    let mut one = Counter::default();
    let mut other = Counter::default();
    for (index, amount) in [(1, 2), (2, -5), (3, 40)] {
        assert_eq!(one.apply(at(index), Add(amount)), other.apply(at(index), Add(amount)));
    }
    assert_eq!(one.value, 37);
}
// ANCHOR_END: test

mod bytes_already {
    // ANCHOR: bytes
    use bytes::Bytes;
    use raft_actor::{
        state_machine::{StateMachine, StateMachineError},
        types::LogId,
    };

    /// Remembers how many lines it was told, and how long they were.
    #[derive(Debug, Default)]
    pub struct Lines {
        pub count: u64,
        pub bytes: u64,
    }

    impl StateMachine for Lines {
        type Command = Bytes;
        type Output = u64;

        fn encode_command(line: &Bytes) -> Result<Bytes, StateMachineError> {
            Ok(line.clone())
        }

        fn decode_command(line: &Bytes) -> Result<Bytes, StateMachineError> {
            Ok(line.clone())
        }

        fn apply(&mut self, _id: LogId, line: Bytes) -> u64 {
            self.count += 1;
            self.bytes += line.len() as u64;
            self.count
        }
    }
    // ANCHOR_END: bytes

    #[test]
    fn a_line_is_handed_over_as_it_is() {
        let line = Bytes::from_static(b"to be");
        let encoded = Lines::encode_command(&line).expect("bytes need no encoding");
        assert_eq!(encoded, line);
        let decoded = Lines::decode_command(&encoded).expect("nor decoding");
        let mut lines = Lines::default();
        assert_eq!((lines.apply(LogId::default(), decoded), lines.bytes), (1, 5));
    }
}
