//! An open link, the sending end.
//!
//! A link must notice by itself that its peer is gone, because nobody answers on it: a dead process closes
//! its sockets, but a dead machine or a hung process says nothing, and the system's own buffers would swallow
//! heartbeats for many minutes. So three things break a link, all of them seen by the next `send` at the
//! latest: the peer closed it; no byte went out for the send deadline; or a ping, which goes along with the
//! messages now and then, got no pong for as long.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use raft_actor::{
    message::Envelope,
    transport::{PeerLink, TransportError},
    types::NodeId,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message},
};

use crate::wire::{self, EncodeError, Limits};

/// A ping goes along with a batch when the last one is this old.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// Why a link is broken: the `source` of [`TransportError::Unreachable`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Socket(#[from] tungstenite::Error),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("the peer closed the link{}{}", if .0.is_empty() { "" } else { ": " }, .0)]
    Closed(String),
    #[error("the peer has taken nothing in for {0:?}")]
    Stalled(Duration),
    #[error("the peer has answered no ping for {0:?}")]
    Silent(Duration),
    #[error("an earlier send failed, or was given up half done")]
    Broken,
}

/// A connection that counts what the system has taken from it, so that slow can be told from stuck.
#[derive(Debug)]
pub(crate) struct Counted {
    stream: TcpStream,
    written: Arc<AtomicU64>,
}

impl Counted {
    pub(crate) fn new(stream: TcpStream) -> (Counted, Arc<AtomicU64>) {
        let written = Arc::new(AtomicU64::new(0));
        (Counted { stream, written: written.clone() }, written)
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(taken)) = &outcome {
            this.written.fetch_add(*taken as u64, Ordering::Relaxed);
        }
        outcome
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// The link of one node to one peer.
pub(crate) struct HttpLink {
    pub(crate) peer: NodeId,
    pub(crate) address: String,
    pub(crate) limits: Limits,
    pub(crate) deadline: Duration,
    pub(crate) pings: Pings,
    pub(crate) socket: WebSocketStream<Counted>,
    pub(crate) written: Arc<AtomicU64>,
    pub(crate) buffer: BytesMut,
    pub(crate) broken: bool,
}

/// When the peer was last asked whether it lives, and whether it has answered.
pub(crate) struct Pings {
    sent: Instant,
    answered: bool,
}

impl Pings {
    pub(crate) fn new() -> Pings {
        Pings { sent: Instant::now(), answered: true }
    }
}

#[async_trait]
impl PeerLink for HttpLink {
    async fn send(&mut self, batch: &mut Vec<Envelope>) -> Result<(), TransportError> {
        // Set back only at the end: a send whose future is dropped half way leaves a broken link.
        let was_broken = std::mem::replace(&mut self.broken, true);
        let outcome = if was_broken { Err(LinkError::Broken) } else { self.send_all(batch).await };
        match outcome {
            Ok(()) => {
                self.broken = false;
                batch.clear();
                Ok(())
            }
            Err(source) => Err(self.unreachable(source)),
        }
    }

    fn poll_closed(&mut self, task: &mut Context<'_>) -> Poll<TransportError> {
        let source = ready!(self.poll_answers(task));
        self.broken = true;
        Poll::Ready(self.unreachable(source))
    }
}

impl HttpLink {
    async fn send_all(&mut self, batch: &[Envelope]) -> Result<(), LinkError> {
        self.look_at_answers()?;
        let mut sent = 0;
        while sent < batch.len() {
            sent += wire::encode(&batch[sent..], &self.limits, &mut self.buffer)?;
            // Given back once the frame is written, so the next one reuses its memory.
            let frame = self.buffer.split().freeze();
            let feed = self.socket.feed(Message::Binary(frame));
            with_progress(&self.written, self.deadline, feed).await?;
        }
        if self.pings.answered && self.pings.sent.elapsed() >= PING_INTERVAL {
            self.pings = Pings { sent: Instant::now(), answered: false };
            let feed = self.socket.feed(Message::Ping(Bytes::new()));
            with_progress(&self.written, self.deadline, feed).await?;
        }
        with_progress(&self.written, self.deadline, self.socket.flush()).await
    }

    /// Reads what the peer has sent: pongs, until the end of the link.
    fn poll_answers(&mut self, task: &mut Context<'_>) -> Poll<LinkError> {
        loop {
            match ready!(self.socket.poll_next_unpin(task)) {
                Some(Ok(Message::Pong(_))) => self.pings.answered = true,
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.map(|frame| frame.reason.to_string());
                    return Poll::Ready(LinkError::Closed(reason.unwrap_or_default()));
                }
                // A peer has nothing else to say on this link; what it says of Raft, it says on its own.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(error.into()),
                None => return Poll::Ready(LinkError::Closed(String::new())),
            }
        }
    }

    /// The same without waiting, and whether a ping has waited for its answer too long.
    fn look_at_answers(&mut self) -> Result<(), LinkError> {
        if let Some(error) = poll_fn(|task| self.poll_answers(task)).now_or_never() {
            return Err(error);
        }
        if !self.pings.answered && self.pings.sent.elapsed() >= self.deadline {
            return Err(LinkError::Silent(self.deadline));
        }
        Ok(())
    }

    fn unreachable(&self, source: LinkError) -> TransportError {
        let address = self.address.clone();
        TransportError::Unreachable { peer: self.peer, address, source: Box::new(source) }
    }
}

/// Waits for `work`, which writes, as long as something is taken from it in every span of `deadline`: a large
/// batch on a slow line is given its time, a stuck peer is not.
async fn with_progress(
    written: &AtomicU64,
    deadline: Duration,
    work: impl Future<Output = Result<(), tungstenite::Error>>,
) -> Result<(), LinkError> {
    let mut work = pin!(work);
    loop {
        let before = written.load(Ordering::Relaxed);
        match timeout(deadline, work.as_mut()).await {
            Ok(outcome) => return outcome.map_err(LinkError::from),
            Err(_) if written.load(Ordering::Relaxed) != before => {}
            Err(_) => return Err(LinkError::Stalled(deadline)),
        }
    }
}
