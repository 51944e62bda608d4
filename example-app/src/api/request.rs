//! etcd's requests as they come in JSON, in snake case or camel case, and what they mean to the store.

use bytes::Bytes;
use serde::Deserialize;

use super::{
    error::ApiError,
    wire::{self, Named},
};
use crate::kv::{
    Compact, Compare, Comparison, DeleteRange, Operand, Operation, Put, Range, Refusal, SortOrder,
    SortTarget, Txn,
};

impl Named for SortOrder {
    const NAMES: &'static [(&'static str, SortOrder)] =
        &[("NONE", SortOrder::None), ("ASCEND", SortOrder::Ascend), ("DESCEND", SortOrder::Descend)];
}

impl Named for SortTarget {
    const NAMES: &'static [(&'static str, SortTarget)] = &[
        ("KEY", SortTarget::Key),
        ("VERSION", SortTarget::Version),
        ("CREATE", SortTarget::Create),
        ("MOD", SortTarget::Mod),
        ("VALUE", SortTarget::Value),
    ];
}

impl Named for Comparison {
    const NAMES: &'static [(&'static str, Comparison)] = &[
        ("EQUAL", Comparison::Equal),
        ("GREATER", Comparison::Greater),
        ("LESS", Comparison::Less),
        ("NOT_EQUAL", Comparison::NotEqual),
    ];
}

#[derive(Clone, Copy, Default)]
enum CompareTarget {
    #[default]
    Version,
    Create,
    Mod,
    Value,
    Lease,
}

impl Named for CompareTarget {
    const NAMES: &'static [(&'static str, CompareTarget)] = &[
        ("VERSION", CompareTarget::Version),
        ("CREATE", CompareTarget::Create),
        ("MOD", CompareTarget::Mod),
        ("VALUE", CompareTarget::Value),
        ("LEASE", CompareTarget::Lease),
    ];
}

/// A PutRequest.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PutBody {
    #[serde(deserialize_with = "wire::bytes")]
    key: Bytes,
    #[serde(deserialize_with = "wire::bytes")]
    value: Bytes,
    #[serde(deserialize_with = "wire::number")]
    lease: i64,
    #[serde(alias = "prevKv", deserialize_with = "wire::nullable")]
    prev_kv: bool,
    #[serde(alias = "ignoreValue", deserialize_with = "wire::nullable")]
    ignore_value: bool,
    #[serde(alias = "ignoreLease", deserialize_with = "wire::nullable")]
    ignore_lease: bool,
}

impl From<PutBody> for Put {
    fn from(body: PutBody) -> Put {
        let PutBody { key, value, lease, prev_kv, ignore_value, ignore_lease } = body;
        Put { key, value, lease, prev_kv, ignore_value, ignore_lease }
    }
}

/// A RangeRequest.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RangeBody {
    #[serde(deserialize_with = "wire::bytes")]
    key: Bytes,
    #[serde(alias = "rangeEnd", deserialize_with = "wire::bytes")]
    range_end: Bytes,
    #[serde(deserialize_with = "wire::number")]
    limit: i64,
    #[serde(deserialize_with = "wire::number")]
    revision: i64,
    #[serde(alias = "sortOrder", deserialize_with = "wire::named")]
    sort_order: SortOrder,
    #[serde(alias = "sortTarget", deserialize_with = "wire::named")]
    sort_target: SortTarget,
    #[serde(deserialize_with = "wire::nullable")]
    serializable: bool,
    #[serde(alias = "keysOnly", deserialize_with = "wire::nullable")]
    keys_only: bool,
    #[serde(alias = "countOnly", deserialize_with = "wire::nullable")]
    count_only: bool,
    #[serde(alias = "minModRevision", deserialize_with = "wire::number")]
    min_mod_revision: i64,
    #[serde(alias = "maxModRevision", deserialize_with = "wire::number")]
    max_mod_revision: i64,
    #[serde(alias = "minCreateRevision", deserialize_with = "wire::number")]
    min_create_revision: i64,
    #[serde(alias = "maxCreateRevision", deserialize_with = "wire::number")]
    max_create_revision: i64,
}

impl From<RangeBody> for Range {
    fn from(body: RangeBody) -> Range {
        Range {
            key: body.key,
            range_end: body.range_end,
            limit: body.limit,
            revision: body.revision,
            sort_order: body.sort_order,
            sort_target: body.sort_target,
            serializable: body.serializable,
            keys_only: body.keys_only,
            count_only: body.count_only,
            min_mod_revision: body.min_mod_revision,
            max_mod_revision: body.max_mod_revision,
            min_create_revision: body.min_create_revision,
            max_create_revision: body.max_create_revision,
        }
    }
}

/// A DeleteRangeRequest.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct DeleteRangeBody {
    #[serde(deserialize_with = "wire::bytes")]
    key: Bytes,
    #[serde(alias = "rangeEnd", deserialize_with = "wire::bytes")]
    range_end: Bytes,
    #[serde(alias = "prevKv", deserialize_with = "wire::nullable")]
    prev_kv: bool,
}

impl From<DeleteRangeBody> for DeleteRange {
    fn from(body: DeleteRangeBody) -> DeleteRange {
        DeleteRange { key: body.key, range_end: body.range_end, prev_kv: body.prev_kv }
    }
}

/// A CompactionRequest.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CompactionBody {
    #[serde(deserialize_with = "wire::number")]
    revision: i64,
    /// Whether to wait until old versions are gone. A compaction here is not over before.
    #[serde(rename = "physical", deserialize_with = "wire::nullable")]
    _physical: bool,
}

impl From<CompactionBody> for Compact {
    fn from(body: CompactionBody) -> Compact {
        Compact { revision: body.revision }
    }
}

/// A TxnRequest.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TxnBody {
    #[serde(deserialize_with = "wire::nullable")]
    compare: Vec<CompareBody>,
    #[serde(deserialize_with = "wire::nullable")]
    success: Vec<OperationBody>,
    #[serde(deserialize_with = "wire::nullable")]
    failure: Vec<OperationBody>,
}

impl TryFrom<TxnBody> for Txn {
    type Error = ApiError;

    fn try_from(body: TxnBody) -> Result<Txn, ApiError> {
        let operations = |list: Vec<OperationBody>| {
            list.into_iter().map(Operation::try_from).collect::<Result<Vec<_>, _>>()
        };
        Ok(Txn {
            compare: body.compare.into_iter().map(Compare::from).collect(),
            success: operations(body.success)?,
            failure: operations(body.failure)?,
        })
    }
}

/// A RequestOp: one of its fields is set.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OperationBody {
    #[serde(alias = "requestRange")]
    request_range: Option<RangeBody>,
    #[serde(alias = "requestPut")]
    request_put: Option<PutBody>,
    #[serde(alias = "requestDeleteRange")]
    request_delete_range: Option<DeleteRangeBody>,
    #[serde(alias = "requestTxn")]
    request_txn: Option<TxnBody>,
}

impl TryFrom<OperationBody> for Operation {
    type Error = ApiError;

    fn try_from(body: OperationBody) -> Result<Operation, ApiError> {
        if let Some(put) = body.request_put {
            return Ok(Operation::Put(put.into()));
        }
        if let Some(range) = body.request_range {
            return Ok(Operation::Range(range.into()));
        }
        if let Some(delete) = body.request_delete_range {
            return Ok(Operation::DeleteRange(delete.into()));
        }
        // etcd's answer to an operation that names none.
        let txn = body.request_txn.ok_or(Refusal::KeyNotFound)?;
        Ok(Operation::Txn(txn.try_into()?))
    }
}

/// A Compare.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CompareBody {
    #[serde(deserialize_with = "wire::named")]
    result: Comparison,
    #[serde(deserialize_with = "wire::named")]
    target: CompareTarget,
    #[serde(deserialize_with = "wire::bytes")]
    key: Bytes,
    #[serde(alias = "rangeEnd", deserialize_with = "wire::bytes")]
    range_end: Bytes,
    #[serde(deserialize_with = "wire::number")]
    version: i64,
    #[serde(alias = "createRevision", deserialize_with = "wire::number")]
    create_revision: i64,
    #[serde(alias = "modRevision", deserialize_with = "wire::number")]
    mod_revision: i64,
    #[serde(deserialize_with = "wire::bytes")]
    value: Bytes,
    #[serde(deserialize_with = "wire::number")]
    lease: i64,
}

impl From<CompareBody> for Compare {
    fn from(body: CompareBody) -> Compare {
        let operand = match body.target {
            CompareTarget::Version => Operand::Version(body.version),
            CompareTarget::Create => Operand::Create(body.create_revision),
            CompareTarget::Mod => Operand::Mod(body.mod_revision),
            CompareTarget::Value => Operand::Value(body.value),
            CompareTarget::Lease => Operand::Lease(body.lease),
        };
        Compare { key: body.key, range_end: body.range_end, comparison: body.result, operand }
    }
}
