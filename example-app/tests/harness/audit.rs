//! What became of a load, node by node.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{Cluster, load::Record};

/// What one node holds of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    /// Acknowledged writes that are there, at the revision that was acknowledged.
    pub(crate) found: usize,
    /// Acknowledged writes that are not there, or at another revision.
    pub(crate) lost: Vec<String>,
    /// Keys that were written once and applied more than once.
    pub(crate) twice: Vec<String>,
    /// Keys that nobody has tried to write.
    pub(crate) invented: Vec<String>,
    /// Writes without an answer that are there all the same.
    pub(crate) unknown_found: usize,
}

/// The revision, the version and the value of each key.
pub(crate) type Contents = BTreeMap<String, (i64, i64, String)>;

impl Cluster {
    /// Everything that a node holds: with all that was acknowledged, or what it has at `revision` by itself.
    pub(crate) fn contents(&self, node: usize, own_at: Option<i64>) -> Contents {
        let all = json!({
            "key": "AA==", "range_end": "AA==",
            "revision": own_at.unwrap_or_default().to_string(), "serializable": own_at.is_some(),
        });
        let (status, answer) = self.post(node, "/v3/kv/range", &all);
        assert_eq!(status, 200, "node {node}: {answer}");
        let number =
            |value: &serde_json::Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        let text = |value: &serde_json::Value| {
            let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).expect("base64");
            String::from_utf8(bytes).expect("the tests' keys and values are text")
        };
        let pairs = answer["kvs"].as_array().cloned().unwrap_or_default();
        let pair = |kv: &serde_json::Value| {
            (text(&kv["key"]), (number(&kv["mod_revision"]), number(&kv["version"]), text(&kv["value"])))
        };
        pairs.iter().map(pair).collect()
    }

    /// Holds what a node has against what the load was told.
    pub(crate) fn audit(&self, node: usize, record: &Record) -> Audit {
        let mut contents = self.contents(node, None);
        let mut audit = Audit::default();
        for write in &record.acknowledged {
            match contents.remove(&write.key) {
                Some((revision, version, value)) if revision == write.revision && value == write.key => {
                    audit.found += 1;
                    if version != 1 {
                        audit.twice.push(write.key.clone());
                    }
                }
                other => audit.lost.push(format!("{write:?} is {other:?}")),
            }
        }
        for key in &record.unknown {
            if let Some((_, version, _)) = contents.remove(key) {
                audit.unknown_found += 1;
                if version != 1 {
                    audit.twice.push(key.clone());
                }
            }
        }
        audit.invented = contents.into_keys().filter(|key| key.starts_with('w')).collect();
        audit
    }

    /// The lowest revision that all nodes have reached, and whether all hold the same there.
    pub(crate) fn are_identical(&self) -> (i64, bool) {
        let statuses = self.nodes().map(|node| self.status(node).expect("every node runs"));
        let revision = statuses.map(|status| status.revision).min().unwrap_or_default();
        let mut all = self.nodes().map(|node| self.contents(node, Some(revision)));
        let first = all.next().unwrap_or_default();
        (revision, all.all(|contents| contents == first))
    }
}
