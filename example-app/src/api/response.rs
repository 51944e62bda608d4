//! The store's answers as etcd's JSON: zero, false and empty fields are left out.

use bytes::Bytes;
use serde::Serialize;

use super::wire::{is_default, write_bytes, write_number};
use crate::kv::{DeleteRangeReply, KeyValue, PutReply, RangeReply, Reply, TxnReply};

/// A ResponseHeader. Inside a transaction only the revision is told.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Header {
    #[serde(serialize_with = "write_number", skip_serializing_if = "is_default")]
    pub(super) cluster_id: u64,
    #[serde(serialize_with = "write_number", skip_serializing_if = "is_default")]
    pub(super) member_id: u64,
    #[serde(serialize_with = "write_number", skip_serializing_if = "is_default")]
    pub(super) revision: i64,
    #[serde(serialize_with = "write_number", skip_serializing_if = "is_default")]
    pub(super) raft_term: u64,
}

impl Header {
    fn inner(revision: i64) -> Header {
        Header { revision, ..Header::default() }
    }
}

/// A reply to a request of its own.
pub(super) fn body(header: Header, reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Put(reply) => json(&PutJson::new(header, reply)),
        Reply::Range(reply) => json(&RangeJson::new(header, reply)),
        Reply::DeleteRange(reply) => json(&DeleteRangeJson::new(header, reply)),
        Reply::Txn(reply) => json(&TxnJson::new(header, reply)),
        Reply::Compact => json(&CompactJson { header }),
    }
}

/// Any answer as JSON.
pub(super) fn json(answer: &impl Serialize) -> Vec<u8> {
    // Only a map whose keys are not strings, or a failing serializer, could fail; our answers hold neither.
    serde_json::to_vec(answer).expect("answers are made of strings, numbers and lists")
}

#[derive(Serialize)]
struct PairJson<'a> {
    #[serde(serialize_with = "write_bytes")]
    key: &'a Bytes,
    #[serde(serialize_with = "write_number")]
    create_revision: i64,
    #[serde(serialize_with = "write_number")]
    mod_revision: i64,
    #[serde(serialize_with = "write_number")]
    version: i64,
    #[serde(serialize_with = "write_bytes", skip_serializing_if = "Bytes::is_empty")]
    value: &'a Bytes,
}

impl<'a> From<&'a KeyValue> for PairJson<'a> {
    fn from(kv: &'a KeyValue) -> PairJson<'a> {
        PairJson {
            key: &kv.key,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            value: &kv.value,
        }
    }
}

#[derive(Serialize)]
struct PutJson<'a> {
    header: Header,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_kv: Option<PairJson<'a>>,
}

impl<'a> PutJson<'a> {
    fn new(header: Header, reply: &'a PutReply) -> PutJson<'a> {
        PutJson { header, prev_kv: reply.prev_kv.as_ref().map(PairJson::from) }
    }
}

#[derive(Serialize)]
struct RangeJson<'a> {
    header: Header,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kvs: Vec<PairJson<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    more: bool,
    #[serde(serialize_with = "write_number", skip_serializing_if = "is_default")]
    count: i64,
}

impl<'a> RangeJson<'a> {
    fn new(header: Header, reply: &'a RangeReply) -> RangeJson<'a> {
        let kvs = reply.kvs.iter().map(PairJson::from).collect();
        RangeJson { header, kvs, more: reply.more, count: reply.count }
    }
}

#[derive(Serialize)]
struct DeleteRangeJson<'a> {
    header: Header,
    #[serde(serialize_with = "write_number", skip_serializing_if = "is_default")]
    deleted: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prev_kvs: Vec<PairJson<'a>>,
}

impl<'a> DeleteRangeJson<'a> {
    fn new(header: Header, reply: &'a DeleteRangeReply) -> DeleteRangeJson<'a> {
        let prev_kvs = reply.prev_kvs.iter().map(PairJson::from).collect();
        DeleteRangeJson { header, deleted: reply.deleted, prev_kvs }
    }
}

#[derive(Serialize)]
struct TxnJson<'a> {
    header: Header,
    #[serde(skip_serializing_if = "is_default")]
    succeeded: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    responses: Vec<OperationJson<'a>>,
}

impl<'a> TxnJson<'a> {
    fn new(header: Header, reply: &'a TxnReply) -> TxnJson<'a> {
        let responses = reply.replies.iter().filter_map(OperationJson::new).collect();
        TxnJson { header, succeeded: reply.succeeded, responses }
    }
}

#[derive(Serialize)]
struct CompactJson {
    header: Header,
}

#[derive(Serialize)]
enum OperationJson<'a> {
    #[serde(rename = "response_range")]
    Range(RangeJson<'a>),
    #[serde(rename = "response_put")]
    Put(PutJson<'a>),
    #[serde(rename = "response_delete_range")]
    DeleteRange(DeleteRangeJson<'a>),
    #[serde(rename = "response_txn")]
    Txn(TxnJson<'a>),
}

impl<'a> OperationJson<'a> {
    fn new(reply: &'a Reply) -> Option<OperationJson<'a>> {
        Some(match reply {
            Reply::Range(reply) => OperationJson::Range(RangeJson::new(Header::inner(reply.revision), reply)),
            Reply::Put(reply) => OperationJson::Put(PutJson::new(Header::inner(reply.revision), reply)),
            Reply::DeleteRange(reply) => {
                OperationJson::DeleteRange(DeleteRangeJson::new(Header::inner(reply.revision), reply))
            }
            Reply::Txn(reply) => OperationJson::Txn(TxnJson::new(Header::default(), reply)),
            // No operation of a transaction compacts.
            Reply::Compact => return None,
        })
    }
}
