#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! Raft messages between real processes, over HTTP on actix-web.
//!
//! What node A says to node B travels on one long-lived connection that A opens: an HTTP/1.1 request to
//! [`LINK_PATH`], upgraded to a WebSocket, then one binary message for each batch. B's link to A carries the
//! answers. A link belongs to a pair of nodes, whatever number of groups they share. Read in this order:
//!
//! * [`wire`]: the bytes of a batch.
//! * [`handshake`]: who may open a link to whom, and the sentence that a stranger gets.
//! * [`transport`]: [`HttpTransport`], which opens links, and the link itself: its deadlines, and how a dead
//!   peer is noticed.
//! * [`server`]: [`Endpoint`], which accepts links in any actix-web application and fills the node's inbox.
//!
//! ```no_run
//! use std::{io, sync::Arc};
//!
//! use actix_web::{App, HttpServer};
//! use raft_actor::{transport::Inbox, types::{ClusterId, NodeId}};
//! use raft_net_http::{Endpoint, HttpTransport};
//!
//! // What the node says goes out here ...
//! let transport = HttpTransport::new(ClusterId(7), NodeId(1));
//!
//! // ... and what it is told comes in here.
//! async fn serve(inbox: Arc<dyn Inbox>) -> io::Result<()> {
//!     let routes = Endpoint::new(ClusterId(7), NodeId(1), inbox).routes();
//!     let server = HttpServer::new(move || App::new().configure(routes.clone()));
//!     server.tcp_nodelay(true).bind("127.0.0.1:7001")?.run().await
//! }
//! ```
//!
//! Nothing is sent twice and nothing is queued here: a link that breaks says so, and the replicator, which
//! alone knows what the peer has, opens the next.

pub mod handshake;
mod link;
pub mod server;
pub mod transport;
pub mod wire;

pub use handshake::{LINK_PATH, MESSAGES_PATH};
pub use server::Endpoint;
pub use transport::HttpTransport;
pub use wire::Limits;
