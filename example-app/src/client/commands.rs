//! status, snapshot, transfer, get, put, del and compact: what they ask, and how they say what was answered.

use base64::{Engine, engine::general_purpose::STANDARD};
use raft_actor::types::Role;
use serde_json::{Value, json};

use super::{Client, ClientError, table::table};
use crate::api::raft_status::RaftStatus;

/// What `get` is asked for.
#[derive(Clone, Debug, Default)]
pub struct Get {
    /// The key, or what the keys begin with.
    pub key: String,
    /// Every key that begins with `key`.
    pub prefix: bool,
    /// The most keys; 0 for all.
    pub limit: i64,
    /// The revision to read at; 0 for the present.
    pub revision: i64,
    /// Whether the asked node's own state will do.
    pub serializable: bool,
}

/// Reads keys.
pub fn get(client: &Client, get: &Get, as_json: bool) -> Result<String, ClientError> {
    let (key, range_end) = span(&get.key, get.prefix);
    let request = json!({
        "key": key, "range_end": range_end, "limit": get.limit.to_string(),
        "revision": get.revision.to_string(), "serializable": get.serializable,
    });
    let answer = client.read("/v3/kv/range", &request)?;
    if as_json {
        return Ok(format!("{answer}\n"));
    }
    let empty = Vec::new();
    let pairs = answer["kvs"].as_array().unwrap_or(&empty);
    if pairs.is_empty() {
        return Ok(format!("nothing found at revision {}\n", number(&answer["header"]["revision"])));
    }
    let row = |kv: &Value| {
        let numbers = ["version", "create_revision", "mod_revision"].map(|field| number(&kv[field]));
        [vec![text(&kv["key"]), text(&kv["value"])], numbers.to_vec()].concat()
    };
    let rows: Vec<Vec<String>> = pairs.iter().map(row).collect();
    let mut said = table(&["KEY", "VALUE", "VERSION", "CREATED", "CHANGED"], &rows);
    if answer["more"] == true {
        said.push_str(&format!("{} of {}\n", rows.len(), number(&answer["count"])));
    }
    Ok(said)
}

/// Sets a key.
pub fn put(client: &Client, key: &str, value: &str, as_json: bool) -> Result<String, ClientError> {
    let request = json!({ "key": STANDARD.encode(key), "value": STANDARD.encode(value) });
    let answer = client.write("/v3/kv/put", &request)?;
    if as_json {
        return Ok(format!("{answer}\n"));
    }
    Ok(format!("set at revision {}\n", number(&answer["header"]["revision"])))
}

/// Deletes a key, or every key that begins with it.
pub fn delete(client: &Client, key: &str, prefix: bool, as_json: bool) -> Result<String, ClientError> {
    let (key, range_end) = span(key, prefix);
    let answer = client.write("/v3/kv/deleterange", &json!({ "key": key, "range_end": range_end }))?;
    if as_json {
        return Ok(format!("{answer}\n"));
    }
    let revision = number(&answer["header"]["revision"]);
    Ok(format!("{} deleted at revision {revision}\n", number(&answer["deleted"])))
}

/// Has all nodes forget what was before `revision`.
pub fn compact(client: &Client, revision: i64, as_json: bool) -> Result<String, ClientError> {
    let request = json!({ "revision": revision.to_string(), "physical": true });
    let answer = client.write("/v3/kv/compaction", &request)?;
    Ok(if as_json { format!("{answer}\n") } else { format!("compacted revision {revision}\n") })
}

/// Shows every node's view of itself. An error where none answers.
pub fn status(client: &Client, as_json: bool) -> Result<String, ClientError> {
    let views: Vec<(&String, Result<RaftStatus, ureq::Error>)> =
        client.endpoints().iter().map(|endpoint| (endpoint, client.raft_status(endpoint))).collect();
    if views.iter().all(|(_, view)| view.is_err()) {
        let tried = views
            .iter()
            .filter_map(|(endpoint, view)| view.as_ref().err().map(|error| format!("{endpoint}: {error}")));
        return Err(ClientError::Nobody { tried: tried.collect() });
    }
    if as_json {
        let lines = views.iter().map(|(endpoint, view)| match view {
            Ok(status) => json!({ "endpoint": endpoint, "status": status }),
            Err(error) => json!({ "endpoint": endpoint, "error": error.to_string() }),
        });
        return Ok(format!("{}\n", Value::Array(lines.collect())));
    }
    let heading =
        ["ENDPOINT", "ID", "ROLE", "TERM", "LEADER", "LAST", "COMMIT", "APPLIED", "REVISION", "NOTE"];
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|(endpoint, view)| match view {
            Ok(status) => [vec![(*endpoint).clone()], row(status)].concat(),
            Err(error) => {
                let mut row = vec!["-".to_owned(); heading.len()];
                row[0].clone_from(endpoint);
                row[heading.len() - 1] = error.to_string();
                row
            }
        })
        .collect();
    Ok(table(&heading, &rows))
}

fn row(status: &RaftStatus) -> Vec<String> {
    let leader = status.leader.map_or("-".to_owned(), |leader| leader.to_string());
    vec![
        status.id.to_string(),
        status.role.to_string(),
        status.term.to_string(),
        leader,
        status.last_index.to_string(),
        status.commit_index.to_string(),
        status.applied_index.to_string(),
        status.revision.to_string(),
        note(status),
    ]
}

/// What an operator should know of a node, where there is anything.
fn note(status: &RaftStatus) -> String {
    let hangs =
        || status.disk_hangs_for_ms.map(|for_ms| format!("its disk has not answered for {for_ms} ms"));
    let fenced = || {
        status.fence.map(|fence| {
            format!("repaired: does not vote before its log holds an entry of a term later than {fence}")
        })
    };
    let told = status.failure.clone().or_else(|| status.refusal.clone());
    told.or_else(hangs).or_else(fenced).unwrap_or_default()
}

/// Has every node take a snapshot of its own; says what each has answered.
pub fn snapshot(client: &Client, as_json: bool) -> Result<String, ClientError> {
    let mut taken = Vec::new();
    for endpoint in client.endpoints() {
        taken.push((endpoint, client.ask_one(endpoint, "/raft/admin/snapshot", &Value::Null)?));
    }
    if as_json {
        let lines =
            taken.iter().map(|(endpoint, answer)| json!({ "endpoint": endpoint, "snapshot": answer }));
        return Ok(format!("{}\n", Value::Array(lines.collect())));
    }
    let row = |(endpoint, answer): &(&String, Value)| {
        let numbers = ["node_id", "index", "term", "size_bytes"].map(|field| answer[field].to_string());
        [vec![(*endpoint).clone()], numbers.to_vec()].concat()
    };
    let rows: Vec<Vec<String>> = taken.iter().map(row).collect();
    Ok(table(&["ENDPOINT", "ID", "INDEX", "TERM", "BYTES"], &rows))
}

/// Has the leader hand over to this node, or with 0 to whoever is furthest ahead. Where no node says that it
/// leads, the first that answers is asked, and says what it knows.
pub fn transfer(client: &Client, to: u64, as_json: bool) -> Result<String, ClientError> {
    let views = client.endpoints().iter().map(|endpoint| (endpoint, client.raft_status(endpoint)));
    let (mut answering, mut tried) = (Vec::new(), Vec::new());
    for (endpoint, view) in views {
        match view {
            Ok(status) => answering.push((status.role != Role::Leader, endpoint)),
            Err(error) => tried.push(format!("{endpoint}: {error}")),
        }
    }
    // Of equals the first.
    let asked = answering.into_iter().min_by_key(|(is_other, _)| *is_other);
    let Some((_, endpoint)) = asked else { return Err(ClientError::Nobody { tried }) };
    let request = json!({ "targetID": to.to_string() });
    let answer = client.ask_one(endpoint, "/v3/maintenance/transfer-leadership", &request)?;
    Ok(if as_json { format!("{answer}\n") } else { format!("{endpoint} has handed leadership over\n") })
}

/// A key and its range_end, encoded.
fn span(key: &str, prefix: bool) -> (String, String) {
    if !prefix {
        return (STANDARD.encode(key), String::new());
    }
    let mut end = key.as_bytes().to_vec();
    // The first key that does not begin with `key`: its last byte that can grow has grown.
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    let all_keys: &[u8] = b"\0";
    let first = if key.is_empty() { all_keys } else { key.as_bytes() };
    let end = if end.is_empty() { all_keys } else { &end };
    (STANDARD.encode(first), STANDARD.encode(end))
}

/// A number of an answer, in which zeros are left out.
fn number(value: &Value) -> String {
    value.as_str().unwrap_or("0").to_owned()
}

/// A key or a value as text; what is not text is shown with its bytes escaped.
fn text(value: &Value) -> String {
    let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    match String::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text,
        Ok(text) => text.escape_default().to_string(),
        Err(error) => error.as_bytes().escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_first_key_that_does_not_begin_with_it() {
        let decoded = |key: &str| {
            let (first, end) = span(key, true);
            (STANDARD.decode(first).expect("base64"), STANDARD.decode(end).expect("base64"))
        };
        assert_eq!(decoded("ab"), (b"ab".to_vec(), b"ac".to_vec()));
        assert_eq!(decoded("a\u{7f}"), (b"a\x7f".to_vec(), b"a\x80".to_vec()));
        assert_eq!(decoded(""), (b"\0".to_vec(), b"\0".to_vec()), "everything");
    }

    #[test]
    fn what_is_not_text_is_shown_escaped() {
        assert_eq!(text(&json!(STANDARD.encode("plain"))), "plain");
        assert_eq!(text(&json!(STANDARD.encode("two\nlines"))), "two\\nlines");
        assert_eq!(text(&json!(STANDARD.encode([0xff, 0x41]))), "\\xffA");
    }
}
