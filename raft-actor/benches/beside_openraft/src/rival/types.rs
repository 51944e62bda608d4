//! What openraft's parts are made of here: its own choices for a bench, with as little in them as possible.

use std::fmt;

use bytes::Bytes;
use openraft::{
    Entry, EntryPayload, RaftTypeConfig, Vote,
    impls::{BoxedErrorSource, InlineBatch, OneshotResponder, leader_id_adv::LeaderId},
    vote::RaftLeaderId,
};
use openraft_rt_tokio::TokioRuntime;

/// A command: bytes that nobody looks at.
#[derive(Clone, Debug)]
pub(super) struct Command(pub(super) Bytes);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// An output without content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nothing;

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Types;

impl RaftTypeConfig for Types {
    type D = Command;
    type R = Nothing;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = Vote<Self::LeaderId>;
    type Payload = EntryPayload<Command, u64, ()>;
    type Entry = Entry<<Self::LeaderId as RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = TokioRuntime;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = BoxedErrorSource;
}
