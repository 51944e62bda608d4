//! Links to peers that hang, are slow, or go away.

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use raft_actor::{
    testkit::suite::transport::Collector,
    transport::{Transport, TransportError},
};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::{WebSocketStream, tungstenite};

use crate::{
    links::{PATIENCE, error_of, impatient, large, taken, transport},
    server::{CLUSTER, ONE, Server, TWO, numbered},
};

/// A peer that opens links and then does as it is told: a server that speaks the handshake by hand.
async fn puppet<F>(then: impl FnOnce(WebSocketStream<tokio::net::TcpStream>) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send,
{
    use tungstenite::handshake::server::{Request, Response};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the transport connects");
        #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
        let answer = |_: &Request, mut response: Response| {
            response.headers_mut().insert("raft-from-node", tungstenite::http::HeaderValue::from(2));
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, answer).await.expect("a handshake");
        then(socket).await;
    });
    address
}

#[tokio::test]
async fn a_peer_that_never_reads_is_given_up_at_the_send_deadline() {
    let address = puppet(|socket| async move {
        let _kept_open = socket;
        std::future::pending::<()>().await;
    })
    .await;
    let mut link = impatient().connect(TWO, &address).await.expect("the puppet opens links");
    let sending = async {
        for number in 0.. {
            if let Err(error) = link.send(&mut vec![large(number)]).await {
                return error.to_string();
            }
        }
        unreachable!("numbers do not end")
    };
    let error = timeout(PATIENCE, sending).await.expect("a full link is given up");
    assert!(error.contains("the peer has taken nothing in for 1.5s"), "{error}");
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_given_up_although_its_system_takes_everything() {
    let address = puppet(|socket| async move {
        let _kept_open = socket;
        std::future::pending::<()>().await;
    })
    .await;
    let mut link = impatient().connect(TWO, &address).await.expect("the puppet opens links");
    let began = Instant::now();
    let error = error_of(&mut link).await;
    assert!(error.contains("the peer has answered no ping for 1.5s"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(6), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_slow_peer_that_goes_on_reading_is_given_its_time() {
    let address = puppet(|mut socket| async move {
        while let Some(Ok(_)) = socket.next().await {
            sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let sender = transport(CLUSTER, ONE).with_send_deadline(Duration::from_secs(3));
    let mut link = sender.connect(TWO, &address).await.expect("the puppet opens links");
    let began = Instant::now();
    let mut batch = (0..32).map(large).collect();
    link.send(&mut batch).await.expect("something was taken in within each three seconds");
    assert!(began.elapsed() > Duration::from_secs(3), "the test is too fast to show anything");
}

#[tokio::test]
async fn an_idle_link_notices_at_the_next_send_that_the_peer_has_gone_and_keeps_the_batch() {
    let (close, closed) = tokio::sync::oneshot::channel();
    let address = puppet(|socket| async move {
        drop(socket);
        let _ = close.send(());
    })
    .await;
    let mut link = impatient().connect(TWO, &address).await.expect("the puppet opens links");
    closed.await.expect("the puppet closes");
    sleep(Duration::from_millis(50)).await;
    let mut batch = vec![numbered(1)];
    link.send(&mut batch).await.expect_err("the peer has gone");
    assert_eq!(batch, [numbered(1)], "nothing of it was sent");
}

#[tokio::test]
async fn a_healthy_link_lives_on_for_many_pings() {
    let inbox = Collector::new();
    let server = Server::of_two(inbox.clone());
    let sender = transport(CLUSTER, ONE).with_send_deadline(Duration::from_secs(3));
    let mut link = sender.connect(TWO, &server.address()).await.expect("the server listens");
    for number in 0..35 {
        link.send(&mut vec![numbered(number)]).await.expect("the link is well");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(taken(&inbox, 35).await.len(), 35);
    // Longer than the deadline without a word: nothing was owed.
    sleep(Duration::from_millis(3500)).await;
    link.send(&mut vec![numbered(35)]).await.expect("an idle link does not age");
    assert_eq!(taken(&inbox, 1).await, [numbered(35)]);
}

#[tokio::test]
async fn a_send_that_is_given_up_half_way_leaves_a_broken_link() {
    let address = puppet(|socket| async move {
        let _kept_open = socket;
        std::future::pending::<()>().await;
    })
    .await;
    let mut link = transport(CLUSTER, ONE).connect(TWO, &address).await.expect("the puppet opens links");
    let mut batch = (0..32).map(large).collect();
    timeout(Duration::from_millis(200), link.send(&mut batch)).await.expect_err("32 MiB do not fit");
    let error = link.send(&mut vec![numbered(1)]).await.expect_err("the link is broken").to_string();
    assert!(error.contains("an earlier send failed, or was given up half done"), "{error}");
}

#[tokio::test]
async fn an_idle_link_says_by_itself_that_the_peer_has_gone_and_a_new_one_that_nobody_is_there() {
    let (close, closing) = tokio::sync::oneshot::channel::<()>();
    let address = puppet(|socket| async move {
        let _kept_open = socket;
        let _ = closing.await;
    })
    .await;
    let mut link = impatient().connect(TWO, &address).await.expect("the puppet opens links");
    let early = poll_fn(|task| Poll::Ready(link.poll_closed(task).is_ready())).await;
    assert!(!early, "nothing has happened");
    close.send(()).expect("the puppet waits");
    let error = timeout(PATIENCE, poll_fn(|task| link.poll_closed(task))).await.expect("it is told");
    assert!(matches!(error, TransportError::Unreachable { peer: TWO, .. }), "{error}");
    let outcome = impatient().connect(TWO, &address).await;
    assert!(matches!(outcome, Err(TransportError::NotThere { peer: TWO, .. })));
}
