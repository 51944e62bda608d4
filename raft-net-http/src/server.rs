//! Accepts links in an actix-web application, and hands what arrives to the node's inbox.
//!
//! One task a link reads frames and delivers them, all that have come at once. It never waits for the node:
//! [`Inbox::deliver`] drops what does not fit, and while the task works the connection fills up, so a sender
//! that is too fast waits at its own end.
//!
//! A node has one link from each peer. When a peer opens another, it has given up the one before, perhaps
//! without this node having heard of it, so the old one is closed.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderName, HeaderValue},
    rt, web,
};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, ProtocolError, Session};
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{AbortHandle, Abortable},
};
use raft_actor::{
    message::Envelope,
    transport::Inbox,
    types::{ClusterId, NodeId},
};
use tracing::{debug, info, warn};

use crate::{
    handshake::{FROM_HEADER, Hello, LINK_PATH, MESSAGES_PATH, Refusal},
    wire::{self, Limits, WireError},
};

/// What has come is delivered once it is this many bytes, even if there is more.
const DELIVER_BYTES_MAX: usize = 1 << 20;

/// So many strangers are remembered, to log each only when its refusal changes.
const REFUSED_MAX: usize = 256;

type IsMember = Arc<dyn Fn(NodeId) -> bool + Send + Sync>;

/// The end of a node at which links arrive. Clones are the same endpoint, for each worker of the server.
#[derive(Clone)]
pub struct Endpoint {
    cluster: ClusterId,
    node: NodeId,
    inbox: Arc<dyn Inbox>,
    limits: Limits,
    is_member: Option<IsMember>,
    links: Arc<Mutex<Links>>,
}

/// Who is connected, and who was sent away.
#[derive(Default)]
struct Links {
    opened: u64,
    open: BTreeMap<NodeId, (u64, AbortHandle)>,
    refused: BTreeMap<Option<NodeId>, Refusal>,
    closed: bool,
}

/// How a link ended.
enum End {
    /// The peer closed it, or its process ended.
    Gone,
    /// The connection failed, or broke the rules of WebSockets.
    Socket(ProtocolError),
    /// What arrived is no frame.
    Wire(WireError),
    /// What arrived is not from the peer or not for this node.
    Stray { from: NodeId, to: NodeId },
    /// What arrived is text.
    Text,
    /// The peer may not talk to this node any more.
    Refused(Refusal),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Gone => f.write_str("the peer is gone"),
            End::Socket(error) => error.fmt(f),
            End::Wire(error) => error.fmt(f),
            End::Stray { from, to } => {
                write!(f, "a message from node {from} to node {to} does not belong here")
            }
            End::Text => f.write_str("a text message: links carry binary messages only"),
            End::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl Endpoint {
    /// The endpoint of `node` of `cluster`; what arrives goes into `inbox`.
    pub fn new(cluster: ClusterId, node: NodeId, inbox: Arc<dyn Inbox>) -> Endpoint {
        Endpoint { cluster, node, inbox, limits: Limits::default(), is_member: None, links: Arc::default() }
    }

    /// What a frame may hold. The same on all nodes.
    pub fn with_limits(mut self, limits: Limits) -> Endpoint {
        self.limits = limits;
        self
    }

    /// Refuses every sender for which `is_member` is false. Off by default, for a reason: a node that is
    /// being added hears of the cluster's members only from a leader that it does not know yet.
    pub fn with_members(mut self, is_member: impl Fn(NodeId) -> bool + Send + Sync + 'static) -> Endpoint {
        self.is_member = Some(Arc::new(is_member));
        self
    }

    /// Adds the routes to an application: `App::new().configure(endpoint.routes())`.
    ///
    /// Switch `tcp_nodelay(true)` on at the server, so that answers to pings are not held back.
    pub fn routes(&self) -> impl FnOnce(&mut web::ServiceConfig) + Clone + use<> {
        let endpoint = self.clone();
        move |config| {
            let body = web::PayloadConfig::new(endpoint.limits.frame_bytes_max);
            let endpoint = web::Data::new(endpoint);
            let link = web::resource(LINK_PATH).app_data(endpoint.clone()).route(web::get().to(accept));
            let messages = web::resource(MESSAGES_PATH).app_data(endpoint).app_data(body);
            config.service(link).service(messages.route(web::post().to(receive_one)));
        }
    }

    /// The peers whose links are open.
    pub fn peers(&self) -> Vec<NodeId> {
        self.lock().open.keys().copied().collect()
    }

    /// Closes all links and refuses new ones, for good. Call it before the server is stopped, which would
    /// wait for them.
    pub fn close(&self) {
        let open = {
            let mut links = self.lock();
            links.closed = true;
            std::mem::take(&mut links.open)
        };
        for (_, link) in open.into_values() {
            link.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Links> {
        // No code of others runs under this lock, so a poisoned one is still whole.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is asking, if it may talk to this node.
    fn admit(&self, request: &HttpRequest) -> Result<NodeId, Refusal> {
        let hello = Hello::read(request.headers());
        let from = hello.as_ref().map(|hello| hello.from).ok();
        let admitted = hello.and_then(|hello| {
            hello.check(self.cluster, self.node)?;
            if !self.expects(hello.from) {
                return Err(Refusal::NotAMember { node: hello.from });
            }
            if self.lock().closed { Err(Refusal::Closed) } else { Ok(hello.from) }
        });
        admitted.inspect_err(|refusal| self.note_refusal(from, refusal, request))
    }

    fn expects(&self, from: NodeId) -> bool {
        self.is_member.as_ref().is_none_or(|is_member| is_member(from))
    }

    /// Logs a refusal when it is news: a stranger that comes again and again is one line.
    fn note_refusal(&self, from: Option<NodeId>, refusal: &Refusal, request: &HttpRequest) {
        let is_news = {
            let mut links = self.lock();
            if links.refused.len() >= REFUSED_MAX {
                links.refused.clear();
            }
            links.refused.insert(from, refusal.clone()).as_ref() != Some(refusal)
        };
        let address = request.peer_addr();
        if is_news {
            warn!(node = %self.node, ?from, ?address, "link refused: {refusal}");
        } else {
            debug!(node = %self.node, ?from, ?address, "link refused again: {refusal}");
        }
    }

    /// Takes note of a new link, and closes the one it follows. `None` where the endpoint has been closed
    /// meanwhile.
    fn opened(&self, from: NodeId, link: AbortHandle) -> Option<u64> {
        let mut links = self.lock();
        if links.closed {
            return None;
        }
        links.refused.remove(&Some(from));
        links.opened += 1;
        let number = links.opened;
        let before = links.open.insert(from, (number, link));
        drop(links);
        if let Some((_, before)) = before {
            before.abort();
        }
        Some(number)
    }

    fn ended(&self, from: NodeId, number: u64) {
        let mut links = self.lock();
        // Another link may have taken its place.
        if links.open.get(&from).is_some_and(|(current, _)| *current == number) {
            links.open.remove(&from);
        }
    }

    /// Reads until the link ends, and delivers.
    async fn receive(&self, from: NodeId, mut session: Session, mut stream: AggregatedMessageStream) -> End {
        loop {
            let mut batch = Vec::new();
            let mut bytes = 0;
            let mut pings = 0;
            let mut next = stream.recv().await;
            let end = loop {
                match next {
                    Some(Ok(AggregatedMessage::Binary(frame))) => {
                        bytes += frame.len();
                        if let Err(end) = self.take(from, &frame, &mut batch) {
                            break Some(end);
                        }
                    }
                    Some(Ok(AggregatedMessage::Ping(_))) => pings += 1,
                    Some(Ok(AggregatedMessage::Pong(_))) => {}
                    Some(Ok(AggregatedMessage::Text(_))) => break Some(End::Text),
                    Some(Ok(AggregatedMessage::Close(_))) | None => break Some(End::Gone),
                    Some(Err(error)) => break Some(End::Socket(error)),
                }
                if bytes >= DELIVER_BYTES_MAX {
                    break None;
                }
                match stream.recv().now_or_never() {
                    Some(arrived) => next = arrived,
                    None => break None,
                }
            };
            if !self.expects(from) {
                // It has left since; where it opens its next link it is told so.
                return End::Refused(Refusal::NotAMember { node: from });
            }
            if !batch.is_empty() {
                self.inbox.deliver(batch);
            }
            if let Some(end) = end {
                return end;
            }
            // One answer is enough for all of them, and comes after what they followed has been delivered.
            if pings > 0 && session.pong(b"").await.is_err() {
                return End::Gone;
            }
        }
    }

    /// Decodes a frame of `from` into `batch`; nothing of it is kept if anything is wrong with it.
    fn take(&self, from: NodeId, frame: &Bytes, batch: &mut Vec<Envelope>) -> Result<(), End> {
        let before = batch.len();
        wire::decode(frame, &self.limits, batch).map_err(End::Wire)?;
        let stray = batch[before..].iter().find(|envelope| envelope.from != from || envelope.to != self.node);
        if let Some(&Envelope { from, to, .. }) = stray {
            batch.truncate(before);
            return Err(End::Stray { from, to });
        }
        Ok(())
    }
}

/// `GET` [`LINK_PATH`]: the other end of [`crate::HttpTransport`].
async fn accept(request: HttpRequest, body: web::Payload, endpoint: web::Data<Endpoint>) -> HttpResponse {
    let from = match endpoint.admit(&request) {
        Ok(from) => from,
        Err(refusal) => return refused(&refusal),
    };
    let (mut response, session, stream) = match actix_ws::handle(&request, body) {
        Ok(upgraded) => upgraded,
        Err(error) => return error.as_response_error().error_response(),
    };
    let bytes_max = endpoint.limits.frame_bytes_max;
    let stream = stream.max_frame_size(bytes_max).aggregate_continuations().max_continuation_size(bytes_max);
    response.headers_mut().insert(HeaderName::from_static(FROM_HEADER), HeaderValue::from(endpoint.node.0));
    let (abort, registration) = AbortHandle::new_pair();
    let Some(number) = endpoint.opened(from, abort) else {
        return refused(&Refusal::Closed);
    };
    let endpoint = Endpoint::clone(&endpoint);
    info!(node = %endpoint.node, peer = %from, "link from peer opened");
    rt::spawn(async move {
        let receive = endpoint.receive(from, session.clone(), stream);
        let outcome = Abortable::new(receive, registration).await;
        endpoint.ended(from, number);
        close(&endpoint, from, session, outcome.ok()).await;
    });
    response
}

fn refused(refusal: &Refusal) -> HttpResponse {
    HttpResponse::build(refusal.status()).content_type("text/plain; charset=utf-8").body(refusal.to_string())
}

/// Logs why a link ended, and tells the peer, if it is there to hear it.
async fn close(endpoint: &Endpoint, from: NodeId, session: Session, end: Option<End>) {
    let node = endpoint.node;
    let (code, reason) = match &end {
        None if endpoint.lock().closed => (CloseCode::Away, Refusal::Closed.to_string()),
        None => (CloseCode::Policy, format!("node {from} has opened another link")),
        Some(end @ End::Gone) => (CloseCode::Normal, end.to_string()),
        Some(end @ (End::Wire(_) | End::Text)) => (CloseCode::Invalid, end.to_string()),
        Some(end @ (End::Stray { .. } | End::Refused(_))) => (CloseCode::Policy, end.to_string()),
        Some(end @ End::Socket(ProtocolError::Overflow)) => (CloseCode::Size, end.to_string()),
        Some(end @ End::Socket(_)) => (CloseCode::Protocol, end.to_string()),
    };
    match end {
        None | Some(End::Gone) => info!(%node, peer = %from, "link from peer closed: {reason}"),
        Some(_) => warn!(%node, peer = %from, "link from peer closed: {reason}"),
    }
    // An error means that nobody is there any more.
    let _ = session.close(Some(CloseReason { code, description: Some(reason) })).await;
}

/// `POST` [`MESSAGES_PATH`]: one frame, delivered without a link.
async fn receive_one(request: HttpRequest, frame: Bytes, endpoint: web::Data<Endpoint>) -> HttpResponse {
    let from = match endpoint.admit(&request) {
        Ok(from) => from,
        Err(refusal) => return refused(&refusal),
    };
    let mut batch = Vec::new();
    match endpoint.take(from, &frame, &mut batch) {
        Ok(()) => {
            endpoint.inbox.deliver(batch);
            HttpResponse::Accepted().finish()
        }
        Err(end) => {
            let body = end.to_string();
            HttpResponse::BadRequest().content_type("text/plain; charset=utf-8").body(body)
        }
    }
}
