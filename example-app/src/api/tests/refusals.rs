//! What is refused, how, and that nothing is changed by it.

use std::sync::{Arc, Mutex};

use actix_web::http::StatusCode;
use raft_actor::error::{ReadError, WriteError};
use serde_json::{Value, json};

use super::{Single, post, send_to};
use crate::kv::{Command, Kv, Put, machine::Store};

async fn refused(service: &Arc<Single>, path: &str, body: impl Into<String>) -> (u16, u64, String) {
    let (status, answer) = send_to(service, path, body).await;
    assert_eq!(answer["error"], answer["message"], "older clients read the one, newer the other");
    let code = answer["code"].as_u64().unwrap_or_else(|| panic!("no code: {answer}"));
    (status.as_u16(), code, answer["message"].as_str().expect("a string").to_owned())
}

fn etcd(status: u16, code: u64, words: &str) -> (u16, u64, String) {
    (status, code, words.to_owned())
}

#[actix_web::test]
async fn malformed_json_and_base64_are_400_and_change_nothing() {
    let service = Arc::new(Single::default());
    let bodies = [
        "{",
        "[]",
        "nonsense",
        "\u{0}",
        r#"{"key": "YQ"}"#,
        r#"{"key": "Y_-="}"#,
        r#"{"key": "not base64!"}"#,
        r#"{"key": 7}"#,
        r#"{"key": "YQ==", "lease": "many"}"#,
        r#"{"key": "YQ==", "lease": 9223372036854775808}"#,
        r#"{"key": "YQ==", "lease": 1.5}"#,
        r#"{"key": "YQ==", "prev_kv": "yes"}"#,
        r#"{"key": "YQ=="} trailing"#,
    ];
    for body in bodies {
        let (status, code, words) = refused(&service, "/v3/kv/put", body).await;
        assert_eq!((status, code), (400, 3), "{body}: {words}");
    }
    let (status, code, words) =
        refused(&service, "/v3/kv/range", r#"{"key": "YQ==", "sort_order": "UP"}"#).await;
    assert_eq!((status, code), (400, 3));
    assert!(words.contains("DESCEND (2)"), "it says what would be accepted: {words}");
    let nested = "[{\"request_txn\":{\"success\":".repeat(500);
    let (status, ..) = refused(&service, "/v3/kv/txn", format!("{{\"success\":{nested}")).await;
    assert!(status == 400 || status == 413);
    assert_eq!(service.with(|kv| kv.revision()), 1);
}

#[actix_web::test]
async fn a_body_over_the_limit_is_413() {
    let service = Arc::new(Single::default());
    let value = "A".repeat(2000);
    let body = json!({ "key": "YQ==", "value": value }).to_string();
    let expected = etcd(413, 3, "etcdserver: request is too large");
    assert_eq!(refused(&service, "/v3/kv/put", body).await, expected);
    assert_eq!(service.with(|kv| kv.revision()), 1);
}

#[actix_web::test]
async fn the_store_refuses_in_etcds_words() {
    let service = Arc::new(Single::default());
    let expected = etcd(400, 3, "etcdserver: key is not provided");
    assert_eq!(refused(&service, "/v3/kv/put", "").await, expected);
    assert_eq!(refused(&service, "/v3/kv/range", "{}").await, expected);
    assert_eq!(refused(&service, "/v3/kv/deleterange", " ").await, expected);
    let leased = r#"{"key": "YQ==", "lease": "12"}"#;
    let expected = etcd(404, 5, "etcdserver: requested lease not found");
    assert_eq!(refused(&service, "/v3/kv/put", leased).await, expected);
    let future = r#"{"key": "YQ==", "revision": 99}"#;
    let expected = etcd(400, 11, "etcdserver: mvcc: required revision is a future revision");
    assert_eq!(refused(&service, "/v3/kv/range", future).await, expected);
    let put = json!({ "request_put": { "key": "YQ==" } });
    let twice = json!({ "success": [put, put] }).to_string();
    let expected = etcd(400, 3, "etcdserver: duplicate key given in txn request");
    assert_eq!(refused(&service, "/v3/kv/txn", twice).await, expected);
    let expected = etcd(400, 3, "etcdserver: key not found");
    assert_eq!(refused(&service, "/v3/kv/txn", r#"{"success": [{}]}"#).await, expected);
    assert_eq!(service.with(|kv| kv.revision()), 1);
}

#[actix_web::test]
async fn what_is_compacted_is_refused_in_etcds_words() {
    let service = Arc::new(Single::default());
    for value in ["MQ==", "Mg==", "MQ=="] {
        post(&service, "/v3/kv/put", json!({ "key": "YQ==", "value": value })).await;
    }
    post(&service, "/v3/kv/compaction", json!({ "revision": "3" })).await;
    let compacted = etcd(400, 11, "etcdserver: mvcc: required revision has been compacted");
    let early = json!({ "key": "YQ==", "revision": "2" });
    assert_eq!(refused(&service, "/v3/kv/range", early.to_string()).await, compacted);
    let read = json!({ "request_range": early });
    assert_eq!(refused(&service, "/v3/kv/txn", json!({ "success": [read] }).to_string()).await, compacted);
    let put = json!({ "request_put": { "key": "YQ==" } });
    let both = json!({ "success": [put, read] }).to_string();
    assert_eq!(refused(&service, "/v3/kv/txn", both).await, compacted);
    for body in [r#"{"revision": "3"}"#, "{}", r#"{"revision": -1}"#] {
        assert_eq!(refused(&service, "/v3/kv/compaction", body).await, compacted);
    }
    let future = etcd(400, 11, "etcdserver: mvcc: required revision is a future revision");
    assert_eq!(refused(&service, "/v3/kv/compaction", r#"{"revision": "5"}"#).await, future);
    let (status, code, words) = refused(&service, "/v3/kv/compaction", r#"{"revision": "x"}"#).await;
    assert_eq!((status, code), (400, 3), "{words}");
    assert_eq!(service.with(|kv| (kv.revision(), kv.summary().compacted)), (4, Some(3)));
}

#[actix_web::test]
async fn unknown_paths_are_404_and_wrong_methods_405() {
    let service = Arc::new(Single::default());
    assert_eq!(refused(&service, "/v3/kv/nothing", "{}").await, etcd(404, 5, "Not Found"));
    assert_eq!(refused(&service, "/v4/kv/put", "{}").await, etcd(404, 5, "Not Found"));
    assert_eq!(refused(&service, "/v3/kv/put", "GET").await, etcd(405, 12, "Method Not Allowed"));
    assert_eq!(refused(&service, "/version", "{}").await, etcd(405, 12, "Method Not Allowed"));
}

#[actix_web::test]
async fn each_way_a_write_can_fail_has_its_own_code() {
    let cases = [
        (WriteError::NotLeader { leader: None }, etcd(503, 14, "etcdserver: no leader")),
        (WriteError::Overloaded, etcd(429, 8, "etcdserver: too many requests")),
        (WriteError::Unknown, etcd(504, 4, "etcdserver: request timed out")),
        (WriteError::TooLarge { bytes: 2, bytes_max: 1 }, etcd(400, 3, "etcdserver: request is too large")),
        (WriteError::Stopped, etcd(503, 14, "etcdserver: server stopped")),
    ];
    for (error, expected) in cases {
        let service = Arc::new(Single { write_error: Some(error), ..Single::default() });
        assert_eq!(refused(&service, "/v3/kv/put", r#"{"key": "YQ=="}"#).await, expected);
    }
}

#[actix_web::test]
async fn each_way_a_read_can_fail_has_its_own_code_and_a_serializable_one_does_not_fail() {
    let cases = [
        (ReadError::NotLeader { leader: None }, etcd(503, 14, "etcdserver: no leader")),
        (ReadError::Overloaded, etcd(429, 8, "etcdserver: too many requests")),
        (ReadError::TimedOut, etcd(504, 4, "etcdserver: request timed out")),
        (ReadError::Stopped, etcd(503, 14, "etcdserver: server stopped")),
    ];
    for (error, expected) in cases {
        let service = Arc::new(Single { read_error: Some(error), ..Single::default() });
        assert_eq!(refused(&service, "/v3/kv/range", r#"{"key": "YQ=="}"#).await, expected);
        let reads = json!({ "success": [{ "request_range": { "key": "YQ==" } }] });
        assert_eq!(refused(&service, "/v3/kv/txn", reads.to_string()).await, expected);
        post(&service, "/v3/kv/range", json!({ "key": "YQ==", "serializable": true })).await;
        let local = json!({ "success": [{ "request_range": { "key": "YQ==", "serializable": true } }] });
        post(&service, "/v3/kv/txn", local).await;
        post(&service, "/v3/cluster/member/list", json!({ "linearizable": false })).await;
        let (status, health) = send_to(&service, "/health", "GET").await;
        assert_eq!((status, &health["health"]), (StatusCode::SERVICE_UNAVAILABLE, &Value::from("false")));
        assert_eq!(send_to(&service, "/readyz", "GET").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(send_to(&service, "/livez", "GET").await.0, StatusCode::OK);
    }
}

#[actix_web::test]
async fn an_old_version_that_cannot_be_read_back_is_an_error_of_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kv = Kv::archived_in(folder.path());
    for _ in 0..3 {
        let put = Put { key: "a".into(), value: vec![b'x'; 2000].into(), ..Put::default() };
        assert!(kv.apply(1, Command::Put(put)).result.is_ok());
    }
    kv.damage_archive(100);
    let service = Arc::new(Single { store: Mutex::new((Store::new(kv), 0)), ..Single::default() });
    let past = json!({ "key": "YQ==", "revision": "2", "serializable": true }).to_string();
    let reads = json!({ "success": [{ "request_range": { "key": "YQ==", "revision": "2" } }] }).to_string();
    for (path, body) in [("/v3/kv/range", past), ("/v3/kv/txn", reads)] {
        let (status, code, words) = refused(&service, path, body).await;
        let place = format!("from file 1 of the archive in {}, at offset 0: ", folder.path().display());
        assert!((status, code) == (500, 13) && words.contains(&place), "{status} {code} {words}");
    }
}
