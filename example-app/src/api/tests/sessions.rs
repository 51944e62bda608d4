//! The headers of a session: what they do, and what is refused.

use std::sync::Arc;

use actix_web::http::StatusCode;
use serde_json::{Value, json};

use super::{Single, post, send_to, send_with};

const PUT: &str = r#"{"key": "YQ==", "value": "Yg=="}"#;

async fn open(service: &Arc<Single>) -> String {
    let opened = post(service, "/raft/session", json!({})).await;
    opened["session"].as_str().expect("a number as a string").to_owned()
}

async fn write(service: &Arc<Single>, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let (status, answer) = send_with(service, path, headers, body).await;
    (status.as_u16(), answer)
}

async fn version(service: &Arc<Single>) -> Value {
    post(service, "/v3/kv/range", json!({ "key": "YQ==" })).await["kvs"][0]["version"].clone()
}

#[actix_web::test]
async fn a_write_that_is_sent_again_gets_the_first_answer_and_is_applied_once() {
    let service = Arc::new(Single::default());
    let session = open(&service).await;
    let pair = |sequence| [("Raft-Session", session.as_str()), ("Raft-Sequence", sequence)];
    let first = write(&service, "/v3/kv/put", &pair("1"), PUT).await;
    write(&service, "/v3/kv/put", &pair("2"), PUT).await;
    assert_eq!(write(&service, "/v3/kv/put", &pair("1"), PUT).await, first);
    assert_eq!(version(&service).await, "2");
    let delete = write(&service, "/v3/kv/deleterange", &pair("3"), r#"{"key": "YQ=="}"#).await;
    assert_eq!(delete.1["deleted"], "1");
    assert_eq!(write(&service, "/v3/kv/deleterange", &pair("3"), r#"{"key": "YQ=="}"#).await, delete);
    let txn = json!({ "success": [{ "request_put": { "key": "YQ==" } }] }).to_string();
    let done = write(&service, "/v3/kv/txn", &pair("4"), &txn).await;
    assert_eq!(write(&service, "/v3/kv/txn", &pair("4"), &txn).await, done);
    assert_eq!(version(&service).await, "1", "set once since it was deleted");
}

#[actix_web::test]
async fn a_write_without_a_session_is_applied_as_often_as_it_is_sent() {
    let service = Arc::new(Single::default());
    send_to(&service, "/v3/kv/put", PUT).await;
    send_to(&service, "/v3/kv/put", PUT).await;
    assert_eq!(version(&service).await, "2");
}

#[actix_web::test]
async fn unknown_sessions_and_old_or_distant_sequences_are_refused_in_etcds_shape() {
    let service = Arc::new(Single::default());
    let session = open(&service).await;
    let refused = async |session: &str, sequence: &str| {
        let pair = [("Raft-Session", session), ("Raft-Sequence", sequence)];
        let (status, answer) = write(&service, "/v3/kv/put", &pair, PUT).await;
        assert_eq!(answer["error"], answer["message"]);
        (status, answer["code"].as_u64(), answer["message"].as_str().map(str::to_owned))
    };
    let told = |status, code, words: &str| (status, Some(code), Some(words.to_owned()));
    let expected = told(404, 5, "etcdserver: session not found");
    assert_eq!(refused("999", "1").await, expected);
    let pair = [("Raft-Session", session.as_str()), ("Raft-Sequence", "5000")];
    assert_eq!(write(&service, "/v3/kv/put", &pair, PUT).await.0, 200);
    let expected = told(400, 11, "etcdserver: sequence is too old, its answer is forgotten");
    assert_eq!(refused(&session, "5000").await.0, 200, "still kept");
    assert_eq!(refused(&session, "3976").await, expected);
    let far =
        [("Raft-Session", session.as_str()), ("Raft-Sequence", "9000"), ("Raft-Lowest-Awaited", "5000")];
    let (status, answer) = write(&service, "/v3/kv/put", &far, PUT).await;
    assert_eq!((status, answer["code"].as_u64()), (429, Some(8)));
    assert_eq!(version(&service).await, "1");
}

#[actix_web::test]
async fn headers_that_make_no_sense_are_400_and_change_nothing() {
    let service = Arc::new(Single::default());
    let session = open(&service).await;
    let session = ("Raft-Session", session.as_str());
    let cases: &[&[(&str, &str)]] = &[
        &[session],
        &[("Raft-Sequence", "1")],
        &[("Raft-Lowest-Awaited", "1")],
        &[session, ("Raft-Sequence", "0")],
        &[session, ("Raft-Sequence", "-1")],
        &[session, ("Raft-Sequence", "one")],
        &[session, ("Raft-Sequence", "18446744073709551616")],
        &[session, ("Raft-Sequence", "")],
        &[("Raft-Session", "mine"), ("Raft-Sequence", "1")],
        &[session, ("Raft-Sequence", "1"), ("Raft-Lowest-Awaited", "2")],
    ];
    for headers in cases {
        let (status, answer) = send_with(&service, "/v3/kv/put", headers, PUT).await;
        assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!(3)), "{headers:?}: {answer}");
    }
    assert_eq!(service.with(|kv| kv.revision()), 1);
}
