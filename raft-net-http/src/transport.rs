//! Opens links: the client's side of the handshake.

use std::{io, time::Duration};

use async_trait::async_trait;
use bytes::BytesMut;
use raft_actor::{
    transport::{PeerLink, Transport, TransportError},
    types::{ClusterId, NodeId},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{
        self, ClientRequestBuilder,
        handshake::client::Response,
        http::{HeaderMap, Uri},
        protocol::WebSocketConfig,
    },
};

use crate::{
    handshake::{CLUSTER_HEADER, FROM_HEADER, LINK_PATH, TO_HEADER, VERSION_HEADER},
    link::{Counted, HttpLink, Pings},
    wire::{Limits, VERSION},
};

/// A refusal's sentence is cut after so many characters: it may come from anyone, and ends in a log.
const REASON_CHARS_MAX: usize = 400;

/// Opens links from one node to others. Runs on any runtime of tokio's, actix arbiters included.
///
/// Addresses are `host:port`. Each link is one connection with Nagle's algorithm off.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    cluster: ClusterId,
    node: NodeId,
    limits: Limits,
    connect_deadline: Duration,
    send_deadline: Duration,
}

impl HttpTransport {
    /// The transport of `node`, which belongs to `cluster`.
    pub fn new(cluster: ClusterId, node: NodeId) -> HttpTransport {
        HttpTransport {
            cluster,
            node,
            limits: Limits::default(),
            connect_deadline: Duration::from_secs(2),
            send_deadline: Duration::from_secs(5),
        }
    }

    /// What a frame may hold. The same on all nodes.
    pub fn with_limits(mut self, limits: Limits) -> HttpTransport {
        self.limits = limits;
        self
    }

    /// How long it may take to open a link, from the look-up of the name to the end of the handshake. Default
    /// 2 s.
    pub fn with_connect_deadline(mut self, deadline: Duration) -> HttpTransport {
        self.connect_deadline = deadline;
        self
    }

    /// How long a peer may take nothing in, or leave a ping unanswered, before the link counts as broken.
    /// Default 5 s.
    pub fn with_send_deadline(mut self, deadline: Duration) -> HttpTransport {
        self.send_deadline = deadline;
        self
    }

    async fn open(&self, peer: NodeId, address: &str) -> Result<HttpLink, TransportError> {
        let unreachable = |source: Source| unreachable(peer, address, source);
        let uri: Uri = format!("ws://{address}{LINK_PATH}").parse().map_err(|error| {
            unreachable(format!("the address is not of the form host:port ({error})").into())
        })?;
        let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                TransportError::NotThere { peer, address: address.to_owned() }
            }
            _ => unreachable(error.into()),
        })?;
        stream.set_nodelay(true).map_err(|error| unreachable(error.into()))?;
        let request = ClientRequestBuilder::new(uri)
            .with_header(CLUSTER_HEADER, self.cluster.to_string())
            .with_header(FROM_HEADER, self.node.to_string())
            .with_header(TO_HEADER, peer.to_string())
            .with_header(VERSION_HEADER, VERSION.to_string());
        // A peer answers with pongs and one close on this link, so little room is enough to read.
        let config = WebSocketConfig::default()
            .read_buffer_size(4 << 10)
            .max_message_size(Some(64 << 10))
            .max_frame_size(Some(64 << 10));
        let (stream, written) = Counted::new(stream);
        let (socket, response) = match client_async_with_config(request, stream, Some(config)).await {
            Ok(opened) => opened,
            Err(tungstenite::Error::Http(response)) => {
                let reason = reason(&response);
                return Err(TransportError::Refused { peer, address: address.to_owned(), reason });
            }
            Err(error) => return Err(unreachable(error.into())),
        };
        if !names(response.headers(), peer) {
            let reason =
                format!("something accepts WebSockets there, but does not say that it is node {peer}");
            return Err(TransportError::Refused { peer, address: address.to_owned(), reason });
        }
        Ok(HttpLink {
            peer,
            address: address.to_owned(),
            limits: self.limits,
            deadline: self.send_deadline,
            pings: Pings::new(),
            socket,
            written,
            buffer: BytesMut::new(),
            broken: false,
        })
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn connect(&self, peer: NodeId, address: &str) -> Result<Box<dyn PeerLink>, TransportError> {
        match timeout(self.connect_deadline, self.open(peer, address)).await {
            Ok(Ok(link)) => Ok(Box::new(link)),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let source = format!("no link within {:?}", self.connect_deadline);
                Err(unreachable(peer, address, source.into()))
            }
        }
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

fn unreachable(peer: NodeId, address: &str, source: Source) -> TransportError {
    TransportError::Unreachable { peer, address: address.to_owned(), source }
}

/// Whether an answer says that it is from `peer`.
fn names(headers: &HeaderMap, peer: NodeId) -> bool {
    let said = headers.get(FROM_HEADER).and_then(|value| value.to_str().ok());
    said.and_then(|text| text.parse().ok()) == Some(peer.0)
}

/// The sentence of a refusal, or the status where whoever answered is no node of ours.
fn reason(response: &Response) -> String {
    let is_text =
        response.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let body = response.body().as_deref().filter(|body| is_text && !body.is_empty());
    match body {
        Some(body) => {
            let text = String::from_utf8_lossy(body);
            text.chars().filter(|char| !char.is_control()).take(REASON_CHARS_MAX).collect()
        }
        None => format!("it answered {} to {LINK_PATH}", response.status()),
    }
}
