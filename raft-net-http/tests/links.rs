//! Links between strangers, to hung peers, and with nonsense on them.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use raft_actor::{
    message::{AppendEntries, Envelope, Message},
    testkit::suite::transport::Collector,
    transport::{PeerLink, Transport, TransportError},
    types::{ClusterId, Entry, GroupId, LogId, LogIndex, NodeId, Origin, Payload, Term},
};
use raft_net_http::{Endpoint, HttpTransport, LINK_PATH, Limits, MESSAGES_PATH};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, ClientRequestBuilder},
};

use crate::server::{CLUSTER, ONE, Server, TWO, numbered};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A transport that waits as long as a busy machine needs: few tests are about the deadline.
pub(crate) fn transport(cluster: ClusterId, node: NodeId) -> HttpTransport {
    HttpTransport::new(cluster, node).with_connect_deadline(PATIENCE)
}

async fn refusal(transport: HttpTransport, peer: NodeId, server: &Server) -> String {
    match transport.connect(peer, &server.address()).await.map(|_| ()) {
        Err(TransportError::Refused { reason, .. }) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub(crate) async fn taken(inbox: &Collector, count: usize) -> Vec<Envelope> {
    timeout(PATIENCE, inbox.take(count)).await.expect("what was sent arrives")
}

/// Sends until the link says that it is broken.
pub(crate) async fn error_of(link: &mut Box<dyn PeerLink>) -> String {
    let sending = async {
        loop {
            if let Err(error) = link.send(&mut vec![numbered(1)]).await {
                return error.to_string();
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, sending).await.expect("a broken link gives an error")
}

#[tokio::test]
async fn another_clusters_node_is_refused_with_both_ids() {
    let inbox = Collector::new();
    let server = Server::of_two(inbox.clone());
    let reason = refusal(transport(ClusterId(78), ONE), TWO, &server).await;
    assert!(reason.contains("cluster 78") && reason.contains("cluster 77"), "{reason}");
    assert!(inbox.is_empty());
}

#[tokio::test]
async fn another_node_than_meant_says_who_it_is() {
    let server = Server::of_two(Collector::new());
    let reason = refusal(transport(CLUSTER, ONE), NodeId(3), &server).await;
    assert_eq!(reason, "this is node 2, not node 3; check the address of node 3");
}

#[tokio::test]
async fn a_second_node_of_the_same_id_is_refused() {
    let server = Server::of_two(Collector::new());
    let reason = refusal(transport(CLUSTER, TWO), TWO, &server).await;
    assert!(reason.contains("give each node an id of its own"), "{reason}");
}

#[tokio::test]
async fn an_unknown_peer_is_refused_where_members_are_checked_and_let_in_where_not() {
    let checking = Endpoint::new(CLUSTER, TWO, Collector::new()).with_members(|node| node == ONE);
    let server = Server::start(checking);
    let reason = refusal(transport(CLUSTER, NodeId(9)), TWO, &server).await;
    assert_eq!(reason, "node 9 is not a member of the cluster, as far as this node knows");
    let known = transport(CLUSTER, ONE).connect(TWO, &server.address()).await;
    known.map(|_| ()).expect("a member is let in");

    let server = Server::of_two(Collector::new());
    let unknown = transport(CLUSTER, NodeId(9)).connect(TWO, &server.address()).await;
    unknown.map(|_| ()).expect("a node that does not check lets in whom it does not know yet");
}

#[tokio::test]
async fn a_peer_that_has_left_loses_its_link_with_its_next_message_and_is_told_why() {
    let is_member = Arc::new(AtomicBool::new(true));
    let inbox = Collector::new();
    let endpoint = Endpoint::new(CLUSTER, TWO, inbox.clone());
    let server = Server::start(endpoint.with_members({
        let is_member = is_member.clone();
        move |_| is_member.load(Ordering::Relaxed)
    }));
    let mut link = transport(CLUSTER, ONE).connect(TWO, &server.address()).await.expect("a member");
    link.send(&mut vec![numbered(0)]).await.expect("the link is open");
    taken(&inbox, 1).await;
    is_member.store(false, Ordering::Relaxed);
    let error = error_of(&mut link).await;
    assert!(error.contains("node 1 is not a member of the cluster"), "{error}");
    assert!(inbox.is_empty(), "nothing is taken in from who has left");
}

/// A plain request with these headers, and the whole answer.
fn request(server: &Server, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has time-outs");
    let length = body.len();
    write!(stream, "{head}connection: close\r\ncontent-length: {length}\r\nhost: x\r\n\r\n").expect("sent");
    stream.write_all(body).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

const HELLO: &str =
    "raft-protocol-version: 1\r\nraft-cluster-id: 77\r\nraft-from-node: 1\r\nraft-to-node: 2\r\n";

#[test]
fn another_version_and_broken_headers_are_refused_with_a_sentence() {
    let server = Server::of_two(Collector::new());
    let answer = |hello: &str| request(&server, &format!("GET {LINK_PATH} HTTP/1.1\r\n{hello}"), b"");
    let version = answer(&HELLO.replace("version: 1", "version: 2"));
    assert!(version.starts_with("HTTP/1.1 409"), "{version}");
    assert!(
        version.contains("the sender speaks version 2 of the link protocol, this node version 1"),
        "{version}"
    );
    let nothing = answer("");
    assert!(nothing.starts_with("HTTP/1.1 400"), "{nothing}");
    assert!(nothing.contains("header raft-protocol-version must be a decimal number"), "{nothing}");
    let words = answer(&HELLO.replace("from-node: 1", "from-node: one"));
    assert!(words.contains("header raft-from-node must be a decimal number"), "{words}");
    let zero = answer(&HELLO.replace("from-node: 1", "from-node: 0"));
    assert!(zero.starts_with("HTTP/1.1 400"), "{zero}");
    let no_upgrade = answer(HELLO);
    assert!(no_upgrade.starts_with("HTTP/1.1 400"), "{no_upgrade}");
}

#[tokio::test]
async fn a_server_that_knows_nothing_of_raft_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the transport connects");
        let _ = stream.read(&mut [0; 4096]).expect("the transport asks");
        let answer =
            "HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 9\r\n\r\n<p>no</p>";
        stream.write_all(answer.as_bytes()).expect("sent");
    });
    let outcome = transport(CLUSTER, ONE).connect(TWO, &address).await;
    match outcome.map(|_| ()) {
        Err(TransportError::Refused { reason, .. }) => {
            assert_eq!(reason, "it answered 404 Not Found to /raft/v1/link");
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    serving.join().expect("the server's thread ends well");
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error_and_no_panic() {
    for address in ["", "nonsense", "127.0.0.1", "127.0.0.1:99999", "a b:1", "http://x/", "\u{0}:1"] {
        let outcome = transport(CLUSTER, ONE).connect(TWO, address).await;
        assert!(matches!(outcome, Err(TransportError::Unreachable { .. })), "{address:?}");
    }
}

#[tokio::test]
async fn a_peer_that_accepts_and_never_answers_is_given_up_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let sender = transport(CLUSTER, ONE).with_connect_deadline(Duration::from_millis(300));
    let began = Instant::now();
    let outcome = sender.connect(TWO, &address).await;
    assert!(matches!(outcome, Err(TransportError::Unreachable { .. })));
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
}

/// Gives a peer up soon once the link is open.
pub(crate) fn impatient() -> HttpTransport {
    transport(CLUSTER, ONE).with_send_deadline(Duration::from_millis(1500))
}

pub(crate) fn large(number: u64) -> Envelope {
    let command = Payload::Command(Bytes::from(vec![7; 1 << 20]));
    let append = AppendEntries {
        term: Term(1),
        prev_log_id: LogId::new(Term(1), LogIndex(number)),
        entries: vec![Entry::new(LogId::new(Term(1), LogIndex(number + 1)), command)].into(),
        leader_commit: LogIndex(0),
        round: 0,
        held_index: LogIndex(0),
    };
    Envelope {
        group: GroupId(0),
        from: ONE,
        to: TWO,
        origin: Origin::default(),
        message: Message::AppendEntries(append),
    }
}

#[tokio::test]
async fn a_message_that_fits_into_no_frame_is_an_error_that_says_so() {
    let server = Server::of_two(Collector::new());
    let small = Limits::default().with_frame_bytes_max(1000);
    let sender = transport(CLUSTER, ONE).with_limits(small);
    let mut link = sender.connect(TWO, &server.address()).await.expect("the server listens");
    let error = link.send(&mut vec![large(1)]).await.expect_err("1 MiB does not fit").to_string();
    assert!(error.contains("does not fit into a frame of at most 1000"), "{error}");
}

#[tokio::test]
async fn a_frame_above_the_receivers_limit_breaks_the_link_and_is_not_delivered() {
    let inbox = Collector::new();
    let limits = Limits::default().with_frame_bytes_max(100_000);
    let server = Server::start(Endpoint::new(CLUSTER, TWO, inbox.clone()).with_limits(limits));
    let mut link = impatient().connect(TWO, &server.address()).await.expect("the server listens");
    link.send(&mut vec![numbered(1)]).await.expect("the link is well");
    assert_eq!(taken(&inbox, 1).await, [numbered(1)]);
    let _ = link.send(&mut vec![large(1)]).await;
    error_of(&mut link).await;
    assert!(inbox.is_empty());
}

/// Opens a link by hand, to send on it what no transport would.
async fn raw_link(server: &Server) -> WebSocketStream<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(server.address).await.expect("the server listens");
    let uri = format!("ws://{}{LINK_PATH}", server.address).parse().expect("an address");
    let request = ClientRequestBuilder::new(uri)
        .with_header("raft-protocol-version", "1")
        .with_header("raft-cluster-id", "77")
        .with_header("raft-from-node", "1")
        .with_header("raft-to-node", "2");
    client_async(request, stream).await.expect("the headers are right").0
}

async fn closed_with(mut socket: WebSocketStream<tokio::net::TcpStream>) -> String {
    let closing = async {
        while let Some(Ok(message)) = socket.next().await {
            if let tungstenite::Message::Close(Some(frame)) = message {
                return frame.reason.to_string();
            }
        }
        String::new()
    };
    timeout(PATIENCE, closing).await.expect("the server closes the link")
}

#[tokio::test]
async fn garbage_on_a_link_closes_it_with_a_reason_and_nothing_is_delivered() {
    let inbox = Collector::new();
    let server = Server::of_two(inbox.clone());
    let mut socket = raw_link(&server).await;
    socket.send(tungstenite::Message::binary(&b"garbage that is long enough"[..])).await.expect("sent");
    let reason = closed_with(socket).await;
    assert!(reason.starts_with("not a frame"), "{reason}");

    let mut socket = raw_link(&server).await;
    socket.send(tungstenite::Message::text("hello")).await.expect("sent");
    assert!(closed_with(socket).await.contains("binary messages only"));

    let mut socket = raw_link(&server).await;
    socket.get_mut().try_write(&[0xff; 100]).expect("sent");
    closed_with(socket).await;
    assert!(inbox.is_empty());
}

#[tokio::test]
async fn a_message_in_another_nodes_name_closes_the_link() {
    let inbox = Collector::new();
    let server = Server::of_two(inbox.clone());
    for (from, to) in [(NodeId(3), TWO), (ONE, NodeId(3))] {
        let mut link = impatient().connect(TWO, &server.address()).await.expect("the server listens");
        let stray = Envelope { from, to, ..numbered(1) };
        link.send(&mut vec![numbered(0), stray]).await.expect("the sender cannot know yet");
        let error = error_of(&mut link).await;
        let expected = format!("a message from node {from} to node {to} does not belong here");
        assert!(error.contains(&expected), "{error}");
    }
    assert!(inbox.is_empty());
}

#[tokio::test]
async fn a_new_link_of_a_peer_replaces_the_one_before() {
    let inbox = Collector::new();
    let server = Server::of_two(inbox.clone());
    let sender = transport(CLUSTER, ONE);
    let mut first = sender.connect(TWO, &server.address()).await.expect("the server listens");
    first.send(&mut vec![numbered(1)]).await.expect("the link is well");
    assert_eq!(taken(&inbox, 1).await, [numbered(1)]);
    let mut second = sender.connect(TWO, &server.address()).await.expect("the server listens");
    let error = error_of(&mut first).await;
    assert!(error.contains("node 1 has opened another link"), "{error}");
    let _ = inbox.take(0).await;
    second.send(&mut vec![numbered(2)]).await.expect("the new link is well");
    assert_eq!(taken(&inbox, 1).await, [numbered(2)]);
    assert_eq!(server.endpoint.peers(), [ONE]);
}

#[tokio::test]
async fn a_closed_endpoint_ends_its_links_and_refuses_new_ones() {
    let server = Server::of_two(Collector::new());
    let sender = transport(CLUSTER, ONE);
    let mut link = sender.connect(TWO, &server.address()).await.expect("the server listens");
    server.endpoint.close();
    let error = error_of(&mut link).await;
    assert!(error.contains("this node is shutting down"), "{error}");
    assert_eq!(refusal(sender, TWO, &server).await, "this node is shutting down");
}

#[tokio::test]
async fn a_closed_endpoint_lets_its_server_stop_gracefully_without_waiting_for_links() {
    let mut server = Server::of_two(Collector::new());
    let sender = transport(CLUSTER, ONE);
    let _link = sender.connect(TWO, &server.address()).await.expect("the server listens");
    server.endpoint.close();
    let began = Instant::now();
    server.stop_gracefully();
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_link_that_was_closed_gives_its_connection_back_even_if_the_peer_does_nothing() {
    let server = Server::of_two(Collector::new());
    let mut socket = raw_link(&server).await;
    socket.send(tungstenite::Message::text("hello")).await.expect("sent");
    let stream = socket.get_mut();
    let reading = async {
        loop {
            stream.readable().await.expect("a socket can be waited for");
            match stream.try_read(&mut [0; 1024]) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("the server closes the connection");
}

#[test]
fn a_single_frame_can_be_posted() {
    let inbox = Collector::new();
    let server = Server::of_two(inbox.clone());
    let mut frame = bytes::BytesMut::new();
    raft_net_http::wire::encode(&[numbered(5)], &Limits::default(), &mut frame).expect("it fits");
    let head = format!("POST {MESSAGES_PATH} HTTP/1.1\r\n{HELLO}");
    let answer = request(&server, &head, &frame);
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(inbox.len(), 1);
    let answer = request(&server, &head, &frame[..frame.len() - 1]);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(inbox.len(), 1);
}
