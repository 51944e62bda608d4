//! The door for events, against a node of its own.

use std::{collections::BTreeMap, future::poll_fn, io::Read, pin::Pin};

use actix_web::{App, body::MessageBody, http::StatusCode, test};
use raft_actor::{
    node::Node,
    runtime::{ActixRuntime, SharedRuntime},
    testkit::{memory::MemoryLog, network::Network},
    types::{ClusterId, Role},
};

use super::*;
use crate::{
    api::{routes, service::Identity},
    kv::{Kv, machine::Store},
};

async fn node() -> Node<Store> {
    let runtime: SharedRuntime = Arc::new(ActixRuntime::new(1).expect("a thread"));
    let network = Network::new(runtime.clone(), 1);
    let id = NodeId(1);
    let builder = Node::builder(id, Store::new(Kv::default())).members([(id, Network::address(id))]);
    let builder = builder.storage(MemoryLog::new()).transport(network.transport(id)).runtime(runtime);
    builder.start().await.expect("it starts")
}

fn api(node: &Node<Store>) -> web::Data<Api> {
    let identity =
        Identity { cluster_id: ClusterId(77), node_id: NodeId(1), client_addresses: BTreeMap::new() };
    web::Data::new(Api::new(Arc::new(node.clone()), identity))
}

/// One event of a stream: its kind and its data; a comment is of the kind `comment`.
fn parsed(piece: &str) -> (String, serde_json::Value) {
    assert!(piece.ends_with("\n\n"), "{piece:?} is not whole");
    if piece.starts_with(':') {
        return ("comment".to_owned(), serde_json::Value::Null);
    }
    let field = |name: &str| piece.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let data: serde_json::Value = serde_json::from_str(field("data: ")).expect("JSON");
    if let Ok(id) = field("id: ").parse::<u64>() {
        assert_eq!(data["sequence"], id);
    }
    (field("event: ").to_owned(), data)
}

#[actix_web::test]
async fn the_door_tells_changes_and_statuses_until_the_node_ends() {
    let node = node().await;
    let app = test::init_service(App::new().configure(routes(api(&node), 1024))).await;
    let request = test::TestRequest::get().uri("/raft/events").to_request();
    let response = test::call_service(&app, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers().get("content-type").expect("a kind"), "text/event-stream");
    let mut body = Box::pin(response.into_body());
    let mut next = async || {
        let piece = poll_fn(|task| Pin::as_mut(&mut body).poll_next(task)).await?;
        let piece = piece.unwrap_or_else(|_| panic!("a body that breaks off"));
        Some(parsed(std::str::from_utf8(&piece).expect("text")))
    };
    let (kind, first) = next().await.expect("the present");
    assert_eq!((kind.as_str(), &first["status"]["id"]), ("status", &serde_json::json!(1)));
    let (mut changes, mut statuses, mut comments) = (Vec::new(), Vec::new(), 0);
    let mut stopping = None;
    while let Some((kind, data)) = next().await {
        match kind.as_str() {
            "comment" => comments += 1,
            "status" => statuses.push(serde_json::from_value::<ToldStatus>(data).expect("a status")),
            _ => changes.push(serde_json::from_value::<ToldChange>(data).expect("a change")),
        }
        if comments == 1 && stopping.is_none() {
            let node = node.clone();
            stopping = Some(rt::spawn(async move { node.shutdown().await }));
        }
    }
    let leads = |told: &ToldChange| matches!(told.change, Change::RoleChanged { role: Role::Leader, .. });
    let last = statuses.last().expect("ten a second");
    assert!(changes.iter().any(leads) || last.status.role == Role::Leader);
    assert!(statuses.len() >= 2);
    for pair in changes.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1);
        assert!(pair[1].time >= pair[0].time);
    }
    assert_eq!(changes.last().expect("the end").change, Change::Ended { failure: None });
}

#[actix_web::test]
async fn statuses_can_be_left_out_and_nonsense_is_refused() {
    let node = node().await;
    let app = test::init_service(App::new().configure(routes(api(&node), 1024))).await;
    let request = test::TestRequest::get().uri("/raft/events?status=perhaps").to_request();
    assert_eq!(test::call_service(&app, request).await.status(), StatusCode::BAD_REQUEST);
    let request = test::TestRequest::get().uri("/raft/events?status=false").to_request();
    let response = test::call_service(&app, request).await;
    rt::spawn(async move {
        rt::time::sleep(3 * STATUS_EVERY).await;
        node.shutdown().await;
    });
    let body = test::read_body(response).await;
    let told: Vec<_> =
        body.split_inclusive(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line)).collect();
    let statuses = told.iter().filter(|line| line.starts_with("event: status")).count();
    assert_eq!(statuses, 1, "the first, and no more");
}

#[actix_web::test]
async fn only_so_many_listen_and_who_leaves_makes_room() {
    let node = node().await;
    let api = api(&node);
    let app = test::init_service(App::new().configure(routes(api.clone(), 1024))).await;
    let ask =
        async || test::call_service(&app, test::TestRequest::get().uri("/raft/events").to_request()).await;
    let mut listening = Vec::new();
    for _ in 0..LISTENERS_MAX {
        let response = ask().await;
        assert_eq!(response.status(), StatusCode::OK);
        listening.push(response);
    }
    assert_eq!(ask().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(listening);
    while api.listeners.available_permits() < LISTENERS_MAX {
        rt::time::sleep(STATUS_EVERY).await;
    }
    assert_eq!(ask().await.status(), StatusCode::OK);
    node.shutdown().await;
}

#[actix_web::test]
async fn a_client_that_takes_nothing_is_given_up_and_its_connection_cut() {
    let node = node().await;
    let api = api(&node);
    let permit = api.listeners.clone().try_acquire_owned().expect("nobody listens");
    let (pieces, mut hangs) = mpsc::channel(1);
    let events = node.events(4);
    let telling = Telling {
        api: api.clone(),
        events,
        pieces,
        statuses: true,
        _permit: permit,
        began: None,
        sequence: 0,
    };
    assert!(!telling.run(Duration::from_millis(50)).await, "it is told to be cut");
    assert_eq!(api.listeners.available_permits(), LISTENERS_MAX);
    assert!(hangs.recv().await.is_some() && hangs.recv().await.is_none(), "its stream has ended");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (server, _) = listener.accept().expect("somebody comes");
    server.set_nonblocking(true).expect("a socket");
    let server = rt::net::TcpStream::from_std(server).expect("a socket");
    let mut extensions = Extensions::new();
    Connection::remember(&server, &mut extensions);
    extensions.get::<Connection>().expect("it is remembered").cut();
    assert_eq!(client.read(&mut [0]).expect("an orderly end"), 0);
    node.shutdown().await;
}
