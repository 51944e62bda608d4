//! GET /raft/events: what happens to this node, as it happens, as server-sent events.
//!
//! `event: change` is a [`Change`], and its id its sequence number; `event: status` is what GET /raft/status
//! answers, ten times a second, unless the query says `status=false`. The first is a status: all changes
//! follow on it. A comment each second keeps the connection alive. A client that takes nothing for some
//! seconds is cut off.

use std::{
    any::Any,
    convert::Infallible,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix_web::{
    HttpRequest, HttpResponse,
    body::{BodySize, MessageBody},
    dev::Extensions,
    rt,
    web::{self, Bytes},
};
use raft_actor::{
    events::{Change, Event, Events},
    types::{NodeId, Time},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, timeout, timeout_at},
};

use super::{Api, error::ApiError, raft_status::RaftStatus, response};

/// Events that wait for one client; what is more is counted and left out.
const QUEUE_MAX: usize = 1024;
/// Pieces on their way to the connection.
const PIECES_MAX: usize = 16;
/// Clients that listen at the same time.
pub(super) const LISTENERS_MAX: usize = 64;
/// How often the status is told.
const STATUS_EVERY: Duration = Duration::from_millis(100);
/// How often the connection is shown to live.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// A client that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(super::get("/raft/events", listen));
}

/// What stands after `data:` of an `event: change`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldChange {
    /// The event's number at this node.
    pub sequence: u64,
    /// When: milliseconds since 1970.
    pub time: u64,
    /// The node that it happened to.
    pub node: NodeId,
    /// What happened.
    pub change: Change,
}

/// What stands after `data:` of an `event: status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldStatus {
    /// The number of the last event before it, among those that were told.
    pub sequence: u64,
    /// When: milliseconds since 1970.
    pub time: u64,
    /// The node that it is of.
    pub node: NodeId,
    /// What it knows of itself.
    pub status: RaftStatus,
    /// In the first: the peers whose links are broken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<NodeId>,
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default = "yes")]
    status: bool,
}

fn yes() -> bool {
    true
}

async fn listen(
    request: HttpRequest,
    api: web::Data<Api>,
    wanted: Result<web::Query<Wanted>, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let Wanted { status } = wanted.map_err(|error| ApiError::invalid(error.to_string()))?.into_inner();
    let Some(events) = api.service.events(QUEUE_MAX) else {
        return Err(ApiError::unsupported("there are no events here"));
    };
    let busy = |_| ApiError::unavailable(format!("{LISTENERS_MAX} clients listen already; try again later"));
    let permit = api.listeners.clone().try_acquire_owned().map_err(busy)?;
    let connection = request.conn_data::<Connection>().cloned();
    let (pieces, body) = mpsc::channel(PIECES_MAX);
    let telling =
        Telling { api, events, pieces, statuses: status, _permit: permit, began: None, sequence: 0 };
    rt::spawn(async move {
        if !telling.run(PATIENCE).await
            && let Some(connection) = connection
        {
            connection.cut();
        }
    });
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream").insert_header(("cache-control", "no-cache"));
    Ok(response.body(Body(body)))
}

/// One client, and what it is told.
struct Telling {
    api: web::Data<Api>,
    events: Events,
    pieces: mpsc::Sender<Bytes>,
    statuses: bool,
    _permit: OwnedSemaphorePermit,
    /// A time of the node's runtime, and the same in milliseconds since 1970.
    began: Option<(Time, u64)>,
    /// The last event's number.
    sequence: u64,
}

impl Telling {
    /// Goes on until the node or the client has ended. False where the client takes nothing any more.
    async fn run(mut self, patience: Duration) -> bool {
        let (mut status_due, mut heartbeat_due) =
            (Instant::now() + STATUS_EVERY, Instant::now() + HEARTBEAT_EVERY);
        loop {
            let due = if self.statuses { status_due.min(heartbeat_due) } else { heartbeat_due };
            let piece = match timeout_at(due, self.events.next()).await {
                Ok(Some(event)) => self.change(event).await,
                Ok(None) => return true,
                Err(_) if self.statuses && due == status_due => {
                    status_due = Instant::now() + STATUS_EVERY;
                    let status = self.api.raft_status().await;
                    self.status(now(), status, Vec::new())
                }
                Err(_) => {
                    heartbeat_due = Instant::now() + HEARTBEAT_EVERY;
                    ": heartbeat\n\n".to_owned()
                }
            };
            match timeout(patience, self.pieces.send(Bytes::from(piece))).await {
                Ok(Ok(())) => {}
                // The client has closed the connection.
                Ok(Err(_)) => return true,
                Err(_) => {
                    tracing::info!("a client of /raft/events takes nothing any more, and is cut off");
                    return false;
                }
            }
        }
    }

    async fn change(&mut self, event: Event) -> String {
        let Event { sequence, time, node, change, .. } = event;
        let (began, at) = *self.began.get_or_insert((time, now()));
        let unix = at + u64::try_from(time.since(began).as_millis()).unwrap_or_default();
        self.sequence = sequence;
        if let Change::Present { status, unreachable } = change {
            let revision = self.api.revision().await;
            let status = RaftStatus::new(self.api.identity.cluster_id, revision, &status);
            return self.status(unix, status, unreachable.into_iter().collect());
        }
        if let Change::Dropped { count } = &change {
            self.sequence = sequence + count - 1;
        }
        let told = ToldChange { sequence, time: unix, node, change };
        format!("id: {}\nevent: change\ndata: {}\n\n", self.sequence, json(&told))
    }

    fn status(&self, time: u64, status: RaftStatus, unreachable: Vec<NodeId>) -> String {
        let told = ToldStatus { sequence: self.sequence, time, node: status.id, status, unreachable };
        format!("event: status\ndata: {}\n\n", json(&told))
    }
}

fn json(told: &impl Serialize) -> String {
    String::from_utf8(response::json(told)).unwrap_or_default()
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What has no end until its sender has.
struct Body(mpsc::Receiver<Bytes>);

impl MessageBody for Body {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.get_mut().0.poll_recv(task).map(|piece| piece.map(Ok))
    }
}

/// A client's connection, to cut it where it hangs: the server itself waits for ever for a client that reads
/// nothing.
#[derive(Clone)]
pub struct Connection(Arc<TcpStream>);

impl Connection {
    /// Keeps hold of a connection that was made; for [`actix_web::HttpServer::on_connect`].
    pub fn remember(connection: &dyn Any, extensions: &mut Extensions) {
        let stream = connection.downcast_ref::<rt::net::TcpStream>();
        // Where it cannot be had, the client is cut when the network gives it up.
        if let Some(Ok(stream)) = stream.map(|stream| stream.as_fd().try_clone_to_owned()) {
            extensions.insert(Connection(Arc::new(TcpStream::from(stream))));
        }
    }

    fn cut(&self) {
        // One that is closed already needs no cutting.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests;
