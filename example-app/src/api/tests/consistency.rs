//! The header of a read: what it asks the service for.

use std::{sync::Arc, time::Duration};

use actix_web::http::StatusCode;
use serde_json::json;

use super::{Single, send_to, send_with};
use crate::api::service::Consistency;

const RANGE: &str = r#"{"key": "YQ=="}"#;
const SERIALIZABLE: &str = r#"{"key": "YQ==", "serializable": true}"#;

#[actix_web::test]
async fn the_header_decides_and_without_it_the_body() {
    let service = Arc::new(Single::default());
    let asked = |service: &Single| service.asked.lock().expect("no panic").take();
    let within = Consistency::Within(Duration::from_millis(250));
    let cases = [
        ("linearizable", Consistency::Linearizable),
        ("lease", Consistency::Lease),
        (" local ", Consistency::Local),
        ("within=250", within),
    ];
    for (value, expected) in cases {
        for body in [RANGE, SERIALIZABLE] {
            let headers = [("Raft-Consistency", value)];
            let (status, answer) = send_with(&service, "/v3/kv/range", &headers, body).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            assert_eq!(asked(&service), Some(expected), "{value}: {body}");
        }
        let txn = json!({ "success": [{ "request_range": { "key": "YQ==" } }] }).to_string();
        send_with(&service, "/v3/kv/txn", &[("Raft-Consistency", value)], txn).await;
        assert_eq!(asked(&service), Some(expected), "a transaction that only reads");
    }
    send_to(&service, "/v3/kv/range", RANGE).await;
    assert_eq!(asked(&service), Some(Consistency::Linearizable));
    send_to(&service, "/v3/kv/range", SERIALIZABLE).await;
    assert_eq!(asked(&service), Some(Consistency::Local));
}

#[actix_web::test]
async fn a_level_that_is_not_there_is_400_and_reads_nothing() {
    let service = Arc::new(Single::default());
    for value in ["", "strong", "within", "within=", "within=-1", "within=soon", "LEASE"] {
        let (status, answer) =
            send_with(&service, "/v3/kv/range", &[("Raft-Consistency", value)], RANGE).await;
        assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!(3)), "{value}: {answer}");
    }
    assert_eq!(*service.asked.lock().expect("no panic"), None);
}
