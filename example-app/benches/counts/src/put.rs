//! The example app's store: a put as it comes out of the log.

use bytes::Bytes;
use raft_actor::{
    client::session::{SessionCommand, SessionOutput},
    state_machine::StateMachine,
    types::{LogId, LogIndex, Term},
};

use crate::{
    kv::{Command, Put, machine::Store},
    path::check,
};

/// How many keys are put, over and over.
pub(crate) const KEYS: u64 = 1_000;

/// Decodes and applies `times` puts.
pub(crate) fn run(times: u64) -> Result<(), String> {
    let encoded = (0..KEYS).map(encoded).collect::<Result<Vec<_>, _>>()?;
    let mut store = Store::default();
    for (index, bytes) in (1..=times).zip(encoded.iter().cycle()) {
        let command = Store::decode_command(bytes).map_err(|error| error.to_string())?;
        let output = store.apply(LogId::new(Term(1), LogIndex(index)), command);
        if !matches!(output, SessionOutput::Output(answer) if answer.result.is_ok()) {
            return Err(format!("put {index} was refused"));
        }
    }
    // An empty store is at revision 1.
    check("the store's revision", store.machine().revision() as u64, 1 + times)
}

fn encoded(number: u64) -> Result<Bytes, String> {
    // Keys in no order, as clients send them.
    let key = format!("key/{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let put = Put { key: key.into(), value: Bytes::from_static(&[7; 128]), ..Put::default() };
    Store::encode_command(&SessionCommand::Plain(Command::Put(put))).map_err(|error| error.to_string())
}
