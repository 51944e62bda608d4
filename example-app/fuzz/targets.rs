//! What is fuzzed here, as plain functions: the fuzzer calls them, and so does a test with the corpus.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use actix_web::{App, http::Uri, test, web};
use async_trait::async_trait;
use example_app::{
    api::{
        Api, routes,
        service::{Consistency, Identity, Service},
    },
    kv::{Answer, Command, Kv, Query, Summary, Unreadable, machine::Store},
};
use raft_actor::{
    client::session::{SessionCommand, SessionOutput},
    error::{ReadError, WriteError},
    membership::{ChangeError, Membership, MembershipChange},
    state_machine::StateMachine,
    status::Status,
    types::{ClusterId, LogId, LogIndex, NodeId, Term},
};
use serde_json::json;

/// The largest body that the API takes here, in bytes.
const BODY_BYTES_MAX: usize = 4096;

/// A request: a path with its query, lines of headers, an empty line, a body. It is answered, with JSON where
/// the path is one of the API's, and never by an error of the server's own; what is refused changes nothing.
pub(crate) fn api(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let path = lines.next().unwrap_or_default();
    // Whatever is none is refused by the HTTP server itself, long before.
    if !path.starts_with('/') || path.parse::<Uri>().is_err() {
        return;
    }
    let mut request = if body.is_empty() {
        test::TestRequest::get()
    } else {
        test::TestRequest::post().set_payload(body.to_owned())
    };
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (
            actix_web::http::header::HeaderName::from_bytes(name.as_bytes()),
            actix_web::http::header::HeaderValue::from_str(value),
        ) {
            request = request.insert_header((name, value));
        }
    }
    let copy = Arc::new(Single::default());
    let service: Arc<dyn Service> = copy.clone();
    let identity =
        Identity { cluster_id: ClusterId(7), node_id: NodeId(1), client_addresses: BTreeMap::new() };
    let api = web::Data::new(Api::new(service, identity));
    let request = request.uri(path).to_request();
    let status = actix_web::rt::System::new().block_on(async {
        let app = test::init_service(App::new().configure(routes(api, BODY_BYTES_MAX))).await;
        let response = test::call_service(&app, request).await;
        let status = response.status();
        test::read_body(response).await;
        status
    });
    assert_ne!(status.as_u16(), 500, "{text}");
    let store = copy.store.lock().unwrap_or_else(PoisonError::into_inner);
    if status.is_client_error() {
        assert_eq!(store.0.machine().revision(), 1, "what was refused has changed the store: {text}");
    }
}

/// A command in the log: it is none, or it is written as it was read, and carried out, or refused without a
/// trace.
pub(crate) fn command(bytes: &[u8]) {
    let mut kv = Kv::default();
    let mut rest = bytes;
    // Several in a row, so that they meet what others have left.
    while let Ok((command, left)) = postcard::take_from_bytes::<Command>(rest) {
        let written = postcard::to_allocvec(&command).expect("what was read can be written");
        assert_eq!(postcard::from_bytes::<Command>(&written).as_ref(), Ok(&command));
        let before = kv.summary();
        let answer = kv.apply(3, command);
        if answer.result.is_err() {
            let after = kv.summary();
            assert_eq!((before.revision, before.size_bytes), (after.revision, after.size_bytes));
        }
        if left.len() == rest.len() {
            return;
        }
        rest = left;
    }
    if let Ok(query) = postcard::from_bytes::<Query>(bytes) {
        // An answer of any kind will do.
        let _ = kv.query(&query);
    }
}

/// A snapshot of the store with its sessions: it is refused and the store is as it was, or it is restored and
/// goes on.
pub(crate) fn store(bytes: &[u8]) {
    let mut store = Store::new(Kv::default());
    let put = || {
        let put = json!({
            "key": b"k", "value": b"v", "lease": 0, "prev_kv": true,
            "ignore_value": false, "ignore_lease": false,
        });
        Command::Put(serde_json::from_value(put).expect("it is one"))
    };
    store.apply(LogId::new(Term(1), LogIndex(1)), SessionCommand::Plain(put()));
    let before = store.machine().summary();
    match store.restore(&mut &*bytes) {
        Err(_) => assert_eq!(store.machine().summary(), before, "a refused snapshot has changed the store"),
        Ok(()) => {
            let view = store.snapshot().expect("it has snapshots");
            let mut written = Vec::new();
            view(&mut written).expect("memory takes it");
            let mut again = Store::new(Kv::default());
            again.restore(&mut &written[..]).expect("what was written can be read");
            assert_eq!(again.machine().summary(), store.machine().summary());
            for index in 900..903 {
                store.apply(LogId::new(Term(9), LogIndex(index)), SessionCommand::Plain(put()));
            }
        }
    }
}

/// One copy in memory, which leads itself.
#[derive(Default)]
struct Single {
    store: Mutex<(Store, u64)>,
}

#[async_trait]
impl Service for Single {
    async fn write(&self, command: SessionCommand<Command>) -> Result<SessionOutput<Answer>, WriteError> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.1 += 1;
        let id = LogId::new(Term(3), LogIndex(store.1));
        Ok(store.0.apply(id, command))
    }

    async fn read(&self, query: Query, _: Consistency) -> Result<Result<Answer, Unreadable>, ReadError> {
        Ok(self.store.lock().unwrap_or_else(PoisonError::into_inner).0.machine().query(&query))
    }

    async fn summary(&self) -> Result<Summary, ReadError> {
        Ok(self.store.lock().unwrap_or_else(PoisonError::into_inner).0.machine().summary())
    }

    async fn change_members(&self, _: MembershipChange) -> Result<(), ChangeError> {
        Ok(())
    }

    fn promote_when_ready(&self, _: NodeId) {}

    async fn status(&self) -> Status {
        let log_id = json!({ "term": 3, "index": 12 });
        let members = Membership::new([(NodeId(1), "127.0.0.1:2379".to_owned())]).expect("one is enough");
        let status = json!({
            "id": 1, "role": "leader", "term": 3, "voted_for": 1, "leader": 1, "first_index": 1,
            "last_log_id": log_id, "flushed_index": 12, "commit_index": 12, "applied_index": 11,
            "membership": members,
            "membership_log_id": log_id, "transfer": null, "election_in": null, "failure": null,
            "peers": {},
        });
        serde_json::from_value(status).expect("it is a status")
    }
}
