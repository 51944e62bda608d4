//! Changes of members: what is asked of the cluster, and how it is answered. The single copy says that 1 and
//! 2 vote and that 3 learns.

use std::sync::Arc;

use raft_actor::{
    membership::{ChangeError, MembershipChange, MembershipError, TransferError},
    types::NodeId,
};
use serde_json::json;

use super::{Single, post, send_to};

fn asked(service: &Arc<Single>) -> Vec<MembershipChange> {
    std::mem::take(&mut service.changes.lock().expect("no panic"))
}

#[actix_web::test]
async fn each_endpoint_asks_for_its_change_and_tells_the_members() {
    let service = Arc::new(Single::default());
    let new = MembershipChange::new;
    let url = ["http://127.0.0.1:2409"];
    let cases = [
        (
            "add",
            json!({ "peerURLs": url, "isLearner": true }),
            new().add_learner(NodeId(4), "127.0.0.1:2409"),
        ),
        ("add", json!({ "ID": "9", "peerURLs": url }), new().add_learner(NodeId(9), "127.0.0.1:2409")),
        (
            "add",
            json!({ "ID": "9", "peerURLs": url, "isLearner": true, "isWitness": true }),
            new().add_witness(NodeId(9), "127.0.0.1:2409"),
        ),
        ("promote", json!({ "ID": "3" }), new().promote(NodeId(3))),
        ("remove", json!({ "ID": 2 }), new().remove(NodeId(2))),
        ("update", json!({ "ID": "2", "peerURLs": url }), new().set_address(NodeId(2), "127.0.0.1:2409")),
    ];
    for (what, body, expected) in cases {
        let answer = post(&service, &format!("/v3/cluster/member/{what}"), body).await;
        assert_eq!(asked(&service), [expected], "{what}");
        assert_eq!(answer["members"].as_array().map(Vec::len), Some(3), "{answer}");
        assert_eq!(answer["members"][2]["isLearner"], true);
        assert_eq!(
            (&answer["members"][2]["isWitness"], &answer["members"][2]["priority"]),
            (&json!(true), &json!(7))
        );
        assert_eq!(answer["header"]["cluster_id"], "77");
        assert_eq!(answer["member"].is_object(), what == "add");
    }
    assert_eq!(*service.promoted.lock().expect("no panic"), [NodeId(9)], "the one that is to vote");
}

#[actix_web::test]
async fn our_own_endpoint_makes_any_set_of_changes_one() {
    let service = Arc::new(Single::default());
    let body = json!({
        "learners": { "4": "d:4" }, "witnesses": { "6": "f:6" }, "priorities": { "7": 0 },
        "promote": [3], "demote": [2], "remove": [1], "addresses": { "5": "e:5" },
    });
    let answer = post(&service, "/raft/admin/membership", body).await;
    let change = MembershipChange::new().add_learner(NodeId(4), "d:4").add_witness(NodeId(6), "f:6");
    let change = change.set_priority(NodeId(7), 0).set_address(NodeId(5), "e:5");
    assert_eq!(asked(&service), [change.promote(NodeId(3)).demote(NodeId(2)).remove(NodeId(1))]);
    assert_eq!(answer["membership"]["voters"], json!([1, 2]));
    post(&service, "/raft/admin/learner", json!({ "node": 4, "address": "d:4" })).await;
    post(&service, "/raft/admin/promote", json!({ "node": 3 })).await;
    post(&service, "/raft/admin/remove", json!({ "node": 2 })).await;
    assert_eq!(asked(&service).len(), 3);
}

#[actix_web::test]
async fn what_makes_no_sense_is_refused_before_the_cluster_is_asked() {
    let service = Arc::new(Single::default());
    let cases = [
        ("/v3/cluster/member/add", json!({}), 400, 3),
        ("/v3/cluster/member/add", json!({ "peerURLs": ["ftp://x:1/"] }), 400, 3),
        ("/v3/cluster/member/add", json!({ "peerURLs": ["http://x:1", "http://x:2"] }), 400, 3),
        ("/v3/cluster/member/add", json!({ "peerURLs": ["http://127.0.0.1:2389"] }), 400, 9),
        ("/v3/cluster/member/update", json!({ "ID": 1, "peerURLs": ["http://127.0.0.1:2389"] }), 400, 9),
        ("/v3/cluster/member/update", json!({ "ID": 1, "peerURLs": ["nowhere"] }), 400, 3),
        ("/v3/cluster/member/promote", json!({ "ID": 2 }), 400, 9),
        ("/v3/cluster/member/remove", json!({ "ID": -1 }), 404, 5),
        ("/raft/admin/learner", json!({ "node": 4, "address": "nowhere" }), 400, 3),
        ("/raft/admin/membership", json!({ "remove": [1], "unknown": 2 }), 400, 3),
    ];
    for (path, body, status, code) in cases {
        let (is, answer) = send_to(&service, path, body.to_string()).await;
        assert_eq!((is.as_u16(), answer["code"].as_u64()), (status, Some(code)), "{path} {body}: {answer}");
    }
    assert_eq!(asked(&service), []);
}

#[actix_web::test]
async fn refusals_have_etcds_words_and_on_our_own_endpoint_the_reason() {
    let node = NodeId(3);
    let in_sync = "etcdserver: can only promote a learner member which is in sync with leader";
    let started = "etcdserver: re-configuration failed due to not enough started members";
    let cases = [
        (ChangeError::NotLeader { leader: None }, 503, "etcdserver: no leader"),
        (ChangeError::Lagging { node, lag: 9, lag_max: 5 }, 400, in_sync),
        (ChangeError::Silent { node }, 400, in_sync),
        (ChangeError::NoQuorum { silent: vec![node] }, 400, started),
        (ChangeError::Invalid(MembershipError::NoVoters), 400, started),
        (ChangeError::Invalid(MembershipError::NotAMember(node)), 404, "etcdserver: member not found"),
        (
            ChangeError::Invalid(MembershipError::AlreadyAMember(node)),
            400,
            "etcdserver: member ID already exist",
        ),
        (ChangeError::Unknown, 504, "etcdserver: request timed out"),
        (ChangeError::Stopped, 503, "etcdserver: server stopped"),
    ];
    for (error, status, words) in cases {
        let reason = error.to_string();
        let service = Arc::new(Single { change_error: Some(error), ..Single::default() });
        let body = json!({ "ID": 3 }).to_string();
        let (is, answer) = send_to(&service, "/v3/cluster/member/promote", body).await;
        assert_eq!((is.as_u16(), answer["message"].as_str()), (status, Some(words)));
        let body = json!({ "node": 3 }).to_string();
        let (is, answer) = send_to(&service, "/raft/admin/promote", body).await;
        assert_eq!((is.as_u16(), answer["message"].as_str()), (status, Some(&*reason)));
    }
}

#[actix_web::test]
async fn leadership_is_handed_over_or_it_is_said_why_not() {
    let path = "/v3/maintenance/transfer-leadership";
    let service = Arc::new(Single::default());
    for body in [json!({ "targetID": "2" }), json!({ "target_id": 2 }), json!({})] {
        let answer = post(&service, path, body).await;
        assert_eq!(answer["header"]["raft_term"], "3", "{answer}");
    }
    let asked = std::mem::take(&mut *service.transfers.lock().expect("no panic"));
    assert_eq!(asked, [Some(NodeId(2)), Some(NodeId(2)), None]);
    let (status, answer) = send_to(&service, path, r#"{"targetID": "-1"}"#).await;
    assert_eq!((status.as_u16(), service.transfers.lock().expect("no panic").len()), (400, 0), "{answer}");
    for (error, status, code, words) in [
        (TransferError::NotLeader { leader: Some(NodeId(2)) }, 400, 9, "not the leader; node 2 is"),
        (TransferError::NotAVoter(NodeId(9)), 400, 9, "bad leader transferee: node 9 is no voter"),
        (TransferError::NeverStands(NodeId(9)), 400, 9, "priority 0"),
        (TransferError::NotTaken(NodeId(2)), 503, 14, "node 2 did not take over in time"),
        (TransferError::Stopped, 503, 14, "server stopped"),
    ] {
        let service = Arc::new(Single { transfer_error: Some(error), ..Single::default() });
        let (told, answer) = send_to(&service, path, "{}").await;
        assert_eq!((told.as_u16(), answer["code"].as_u64()), (status, Some(code)), "{answer}");
        assert!(answer["message"].as_str().is_some_and(|said| said.contains(words)), "{answer}");
    }
}
