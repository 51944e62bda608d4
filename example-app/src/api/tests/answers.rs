//! What is accepted, and what is answered.

use std::sync::Arc;

use actix_web::http::StatusCode;
use serde_json::json;

use super::{Single, post, send_to};

// "a" is YQ==, "b" Yg==, "1" MQ==, "2" Mg==.

#[actix_web::test]
async fn a_put_answers_with_a_header_of_strings() {
    let service = Arc::new(Single::default());
    let answer = post(&service, "/v3/kv/put", json!({ "key": "YQ==", "value": "MQ==" })).await;
    let header = json!({ "cluster_id": "77", "member_id": "1", "revision": "2", "raft_term": "3" });
    assert_eq!(answer, json!({ "header": header }));
}

#[actix_web::test]
async fn a_compaction_answers_with_the_stores_revision() {
    let service = Arc::new(Single::default());
    for value in ["MQ==", "Mg==", "MQ=="] {
        post(&service, "/v3/kv/put", json!({ "key": "YQ==", "value": value })).await;
    }
    let header = json!({ "cluster_id": "77", "member_id": "1", "revision": "4", "raft_term": "3" });
    for body in [
        json!({ "revision": "2" }),
        json!({ "revision": 3, "physical": true }),
        json!({ "revision": "4", "physical": null }),
    ] {
        let answer = post(&service, "/v3/kv/compaction", body).await;
        assert_eq!(answer, json!({ "header": header }));
    }
    assert_eq!(service.with(|kv| kv.summary().compacted), Some(4));
}

#[actix_web::test]
async fn a_range_leaves_out_what_is_empty() {
    let service = Arc::new(Single::default());
    let nothing = post(&service, "/v3/kv/range", json!({ "key": "YQ==" })).await;
    let header = json!({ "cluster_id": "77", "member_id": "1", "revision": "1", "raft_term": "3" });
    assert_eq!(nothing, json!({ "header": header }), "the term is the node's before any command");
    post(&service, "/v3/kv/put", json!({ "key": "YQ==", "value": "MQ==" })).await;
    let one = post(&service, "/v3/kv/range", json!({ "key": "YQ==" })).await;
    let a = json!({
        "key": "YQ==", "create_revision": "2", "mod_revision": "2", "version": "1", "value": "MQ==",
    });
    assert_eq!(one["kvs"], json!([a]));
    assert_eq!((&one["count"], one.get("more")), (&json!("1"), None));
}

#[actix_web::test]
async fn every_prefix_and_both_cases_of_names_are_the_same() {
    let service = Arc::new(Single::default());
    post(&service, "/v3beta/kv/put", json!({ "key": "YQ==", "value": "MQ==" })).await;
    let answer =
        post(&service, "/v3alpha/kv/put", json!({ "key": "YQ==", "value": "Mg==", "prevKv": true })).await;
    assert_eq!(answer["prev_kv"]["value"], "MQ==");
    let camel = json!({ "key": "YQ==", "rangeEnd": "AA==", "countOnly": true, "sortOrder": 2 });
    let snake = json!({ "key": "YQ==", "range_end": "AA==", "count_only": true, "sort_order": "DESCEND" });
    assert_eq!(post(&service, "/v3/kv/range", camel).await, post(&service, "/v3/kv/range", snake).await);
}

#[actix_web::test]
async fn numbers_may_be_strings_and_nulls_are_defaults_and_unknown_fields_are_ignored() {
    let service = Arc::new(Single::default());
    let put = json!({ "key": "YQ==", "value": null, "lease": "0", "prev_kv": null, "colour": { "x": 1 } });
    post(&service, "/v3/kv/put", put).await;
    for limit in [json!(1), json!("1"), json!(null)] {
        let answer = post(&service, "/v3/kv/range", json!({ "key": "YQ==", "limit": limit })).await;
        assert_eq!(answer["count"], "1");
    }
}

#[actix_web::test]
async fn a_deletion_counts_what_it_deleted() {
    let service = Arc::new(Single::default());
    post(&service, "/v3/kv/put", json!({ "key": "YQ==", "value": "MQ==" })).await;
    post(&service, "/v3/kv/put", json!({ "key": "Yg==", "value": "Mg==" })).await;
    let all = json!({ "key": "AA==", "range_end": "AA==", "prev_kv": true });
    let answer = post(&service, "/v3/kv/deleterange", all.clone()).await;
    assert_eq!((&answer["deleted"], &answer["prev_kvs"][1]["value"]), (&json!("2"), &json!("Mg==")));
    let none = post(&service, "/v3/kv/deleterange", all).await;
    assert_eq!((none.get("deleted"), none.get("prev_kvs")), (None, None));
}

#[actix_web::test]
async fn a_transaction_compares_and_answers_each_operation() {
    let service = Arc::new(Single::default());
    post(&service, "/v3/kv/put", json!({ "key": "YQ==", "value": "MQ==" })).await;
    let txn = json!({
        "compare": [
            { "result": "EQUAL", "target": "VALUE", "key": "YQ==", "value": "MQ==" },
            { "target": 0, "key": "YQ==", "version": 1 },
            { "result": "LESS", "target": "MOD", "key": "YQ==", "modRevision": "9" },
        ],
        "success": [
            { "requestPut": { "key": "Yg==", "value": "Mg==" } },
            { "request_range": { "key": "YQ==", "range_end": "AA==", "count_only": true } },
            { "request_txn": { "success": [ { "requestDeleteRange": { "key": "YQ==" } } ] } },
        ],
        "failure": [],
    });
    let answer = post(&service, "/v3/kv/txn", txn.clone()).await;
    assert_eq!(answer["header"]["revision"], "3");
    assert_eq!(answer["succeeded"], true);
    let nested = json!({
        "header": {}, "succeeded": true,
        "responses": [{ "response_delete_range": { "header": { "revision": "3" }, "deleted": "1" } }],
    });
    let responses = json!([
        { "response_put": { "header": { "revision": "3" } } },
        { "response_range": { "header": { "revision": "3" }, "count": "2" } },
        { "response_txn": nested },
    ]);
    assert_eq!(answer["responses"], responses);
    let again = post(&service, "/v3/kv/txn", txn).await;
    assert_eq!((again.get("succeeded"), again.get("responses")), (None, None));
}

#[actix_web::test]
async fn members_are_listed_with_both_addresses() {
    let service = Arc::new(Single::default());
    let (status, answer) = send_to(&service, "/v3/cluster/member/list", "").await;
    assert_eq!(status, StatusCode::OK, "no body at all is an empty request");
    let second = json!({
        "ID": "2", "name": "node2",
        "peerURLs": ["http://127.0.0.1:2389"], "clientURLs": ["http://127.0.0.1:1234"],
    });
    assert_eq!(answer["members"][1], second);
    assert_eq!(answer["members"][2]["isLearner"], true);
}

#[actix_web::test]
async fn the_status_speaks_etcds_names() {
    let service = Arc::new(Single::default());
    post(&service, "/v3/kv/put", json!({ "key": "YQ==", "value": "MQ==" })).await;
    let answer = post(&service, "/v3/maintenance/status", json!({})).await;
    let seen = ["version", "dbSize", "leader", "raftIndex", "raftTerm", "raftAppliedIndex", "dbSizeInUse"]
        .map(|field| answer[field].as_str().expect("a string").to_owned());
    assert_eq!(seen, ["3.5.0", "2", "1", "12", "3", "11", "2"]);
}

#[actix_web::test]
async fn health_version_and_raft_status_answer_a_get() {
    let service = Arc::new(Single::default());
    assert_eq!(send_to(&service, "/health", "GET").await.1, json!({ "health": "true", "reason": "" }));
    assert_eq!(send_to(&service, "/version", "GET").await.1["etcdserver"], "3.5.0");
    assert_eq!(send_to(&service, "/livez", "GET").await, (StatusCode::OK, json!("ok\n")));
    assert_eq!(send_to(&service, "/readyz", "GET").await, (StatusCode::OK, json!("ok\n")));
    let (_, status) = send_to(&service, "/raft/status", "GET").await;
    assert_eq!((&status["role"], &status["last_index"]), (&json!("leader"), &json!(12)));
    assert_eq!(status["peers"]["2"]["last_contact_ms"], 7);
    assert_eq!(status["membership"]["learners"], json!([3]));
}
