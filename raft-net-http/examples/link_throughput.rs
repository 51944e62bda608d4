//! How fast is one link over loopback, beside one HTTP request for each AppendEntries to the same server?
//!
//! ```text
//! cargo run --release -p raft-net-http --example link_throughput
//! ```
//!
//! Four ways to carry the same AppendEntries from one thread to an actix-web worker on another: a link that
//! is given one at a time, a link that is given 16 at a time, one POST after another on a kept connection,
//! and 16 POSTs pipelined on it. They take turns, round after round, so that whatever else the machine does
//! falls on all of them; the ratios are medians of the rounds' ratios. A round is over when the inbox has got
//! everything.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use actix_web::{App, HttpServer, rt::System};
use bytes::{Bytes, BytesMut};
use raft_actor::{
    message::{AppendEntries, Envelope, Message},
    transport::{Inbox, PeerLink, Transport},
    types::{ClusterId, Entry, GroupId, LogId, LogIndex, NodeId, Origin, Payload, Term},
};
use raft_net_http::{Endpoint, HttpTransport, Limits, MESSAGES_PATH, wire};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

const CLUSTER: ClusterId = ClusterId(1);
const SENDER: NodeId = NodeId(1);
const RECEIVER: NodeId = NodeId(2);
const ROUNDS: usize = 9;
const BATCH: usize = 16;

/// Counts what arrives.
#[derive(Default)]
struct Counter(AtomicU64);

impl Inbox for Counter {
    fn deliver(&self, batch: Vec<Envelope>) {
        self.0.fetch_add(batch.len() as u64, Ordering::Relaxed);
    }
}

impl Counter {
    async fn reaches(&self, count: u64) {
        while self.0.load(Ordering::Relaxed) < count {
            sleep(Duration::from_micros(200)).await;
        }
    }
}

fn serve(inbox: Arc<Counter>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let routes = Endpoint::new(CLUSTER, RECEIVER, inbox).routes();
    let (ready, is_ready) = mpsc::channel();
    thread::spawn(move || {
        System::new().block_on(async move {
            let server = HttpServer::new(move || App::new().configure(routes.clone()));
            let server = server.workers(1).tcp_nodelay(true).disable_signals();
            let running = server.listen(listener).expect("a bound listener can be listened on").run();
            ready.send(()).expect("the main thread waits");
            running.await.expect("the server runs until the process ends");
        });
    });
    is_ready.recv().expect("the server starts");
    address
}

fn append(entries: usize, bytes: usize) -> Envelope {
    let command = Bytes::from(vec![7; bytes]);
    let entry = |index| Entry::new(LogId::new(Term(1), LogIndex(index)), Payload::Command(command.clone()));
    let message = Message::AppendEntries(AppendEntries {
        term: Term(1),
        prev_log_id: LogId::ZERO,
        entries: (1..=entries as u64).map(entry).collect::<Vec<_>>().into(),
        leader_commit: LogIndex(0),
        round: 1,
        held_index: LogIndex(0),
    });
    Envelope { group: GroupId(0), from: SENDER, to: RECEIVER, origin: Origin::default(), message }
}

/// Sends `count` on a link, `at_once` in each batch; how many a second.
async fn by_link(
    link: &mut Box<dyn PeerLink>,
    inbox: &Counter,
    envelope: &Envelope,
    count: usize,
    at_once: usize,
) -> f64 {
    let before = inbox.0.load(Ordering::Relaxed);
    let began = Instant::now();
    let mut batch = Vec::with_capacity(at_once);
    for _ in 0..count / at_once {
        batch.extend((0..at_once).map(|_| envelope.clone()));
        link.send(&mut batch).await.expect("the link lives");
    }
    inbox.reaches(before + (count / at_once * at_once) as u64).await;
    count as f64 / began.elapsed().as_secs_f64()
}

/// Posts `count` frames of one envelope each on a kept connection, `at_once` before it waits for their
/// answers.
async fn by_post(
    stream: &mut TcpStream,
    inbox: &Counter,
    envelope: &Envelope,
    count: usize,
    at_once: usize,
) -> f64 {
    let before = inbox.0.load(Ordering::Relaxed);
    let began = Instant::now();
    let mut answers = vec![0; 64 << 10];
    for _ in 0..count / at_once {
        let mut requests = Vec::new();
        for _ in 0..at_once {
            let mut frame = BytesMut::new();
            wire::encode(std::slice::from_ref(envelope), &Limits::default(), &mut frame).expect("it fits");
            let head = format!(
                "POST {MESSAGES_PATH} HTTP/1.1\r\nhost: x\r\n\
                 raft-protocol-version: 1\r\nraft-cluster-id: {CLUSTER}\r\n\
                 raft-from-node: {SENDER}\r\nraft-to-node: {RECEIVER}\r\ncontent-length: {}\r\n\r\n",
                frame.len()
            );
            requests.extend_from_slice(head.as_bytes());
            requests.extend_from_slice(&frame);
        }
        stream.write_all(&requests).await.expect("the connection lives");
        let (mut filled, mut answered) = (0, 0);
        while answered < at_once {
            let read = stream.read(&mut answers[filled..]).await.expect("the connection lives");
            assert!(read > 0, "the server closed the connection");
            filled += read;
            answered = answers[..filled].windows(4).filter(|end| end == b"\r\n\r\n").count();
        }
        assert!(answers.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answers[..filled]));
    }
    inbox.reaches(before + (count / at_once * at_once) as u64).await;
    count as f64 / began.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let inbox = Arc::new(Counter::default());
    let address = serve(inbox.clone());
    let transport = HttpTransport::new(CLUSTER, SENDER);
    let mut link = transport.connect(RECEIVER, &address.to_string()).await.expect("the server listens");
    let names = ["link, 1 a send", "link, 16 a send", "POST, 1 by 1", "POST, 16 pipelined"];
    for (entries, bytes, scale) in [(1, 200, 4_000), (64, 100, 1_000)] {
        let envelope = append(entries, bytes);
        let mut rates = vec![Vec::new(); names.len()];
        for _ in 0..ROUNDS {
            rates[0].push(by_link(&mut link, &inbox, &envelope, 10 * scale, 1).await);
            rates[1].push(by_link(&mut link, &inbox, &envelope, 40 * scale, BATCH).await);
            // A new one each round, outside the measured time: the server closes connections that idle.
            let mut stream = TcpStream::connect(address).await.expect("the server listens");
            stream.set_nodelay(true).expect("a TCP socket");
            rates[2].push(by_post(&mut stream, &inbox, &envelope, scale, 1).await);
            rates[3].push(by_post(&mut stream, &inbox, &envelope, 4 * scale, BATCH).await);
        }
        println!("AppendEntries with {entries} x {bytes} B, {ROUNDS} rounds:");
        for (name, rates) in names.iter().zip(&rates) {
            let rate = median(rates.clone());
            let megabytes = rate * (entries * bytes) as f64 / 1e6;
            println!("  {name:<20} {rate:>10.0} AppendEntries/s {megabytes:>8.1} MB/s of commands");
        }
        for (fast, slow) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
            let ratios = rates[fast].iter().zip(&rates[slow]).map(|(fast, slow)| fast / slow).collect();
            println!("  {} : {} = {:.1}", names[fast], names[slow], median(ratios));
        }
    }
}
