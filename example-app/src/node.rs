//! A node of the service, composed from its parts. This is the page to copy: put your own state machine in
//! the place of [`Kv`], and your own routes beside the endpoint's.

use std::{
    io,
    path::{Path, PathBuf},
};

use actix_web::{App, HttpServer, dev::Server, web};
use raft_actor::{
    error::StartError,
    node::{Node, NodeBuilder},
    runtime::actix::ActixRuntime,
    state_machine::{StateMachine, Witness},
};
use raft_net_http::{Endpoint, HttpTransport};
use raft_storage_file::{FileLog, FileSnapshots, Identity, Options};

use crate::{
    api::{self, Api, events::Connection, service::Service},
    kv::{Kv, machine::Store},
    settings::Settings,
    trace,
};

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// What to do: as it says.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What to do: name a file that can be written, or none.
    #[error("cannot append the trace to {}: {source}; name another file, or none", .file.display())]
    Trace {
        /// Which.
        file: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// What to do: stop the other process, or listen elsewhere.
    #[error("cannot listen at {address}: {source}; is another process there?")]
    Listen {
        /// Where.
        address: String,
        /// What went wrong.
        source: io::Error,
    },
}

/// Starts the Raft node: its log and old versions of its keys in its folder, its peers over HTTP, its actors
/// on a thread of their own.
pub async fn start(settings: &Settings) -> Result<Node<Store>, BeginError> {
    compose(settings, Node::builder(settings.node_id, Store::new(Kv::archived_in(&settings.data)))).await
}

/// Starts a witness: the same, without the store.
pub async fn start_witness(settings: &Settings) -> Result<Node<Witness>, BeginError> {
    compose(settings, Node::witness(settings.node_id)).await
}

async fn compose<S: StateMachine>(
    settings: &Settings,
    builder: NodeBuilder<S>,
) -> Result<Node<S>, BeginError> {
    let (cluster_id, node_id) = (settings.cluster_id, settings.node_id);
    let identity = Identity { cluster_id, node_id };
    let options = Options::default().with_segment_bytes(settings.segment_bytes);
    let builder = builder.members(settings.members.clone());
    let builder = builder.witnesses(settings.witnesses.clone()).priorities(settings.priorities.clone());
    let builder = if settings.join { builder.join() } else { builder };
    let builder = match &settings.trace {
        Some(file) => {
            let failed = |source| BeginError::Trace { file: file.clone(), source };
            builder.observer(trace::to_file(file).map_err(failed)?)
        }
        None => builder,
    };
    let log =
        FileLog::open_with(log_folder(&settings.data), identity, options).map_err(StartError::Storage)?;
    let snapshots = snapshots_folder(&settings.data);
    let snapshots = FileSnapshots::open(snapshots, identity).map_err(StartError::Storage)?;
    let node = builder
        .storage(log)
        .snapshots(snapshots)
        .transport(HttpTransport::new(cluster_id, node_id))
        .runtime(ActixRuntime::new(1).map_err(StartError::Runtime)?)
        .config(settings.raft.clone())
        .start()
        .await?;
    Ok(node)
}

/// Where a node has its log, in its folder.
pub fn log_folder(data: &Path) -> PathBuf {
    data.join("raft")
}

/// Where a node has its snapshots, in its folder.
pub fn snapshots_folder(data: &Path) -> PathBuf {
    data.join("snapshots")
}

/// The node's door for its peers. A node that has a leader knows whom to expect, and refuses strangers.
pub fn endpoint<S: StateMachine>(settings: &Settings, node: &Node<S>) -> Endpoint {
    let known = node.clone();
    Endpoint::new(settings.cluster_id, settings.node_id, node.inbox())
        .with_members(move |peer| known.expects(peer))
}

/// The HTTP servers of a node: one for clients and peers, or one for each where peers have an address of
/// their own.
pub fn servers<S: StateMachine>(
    settings: &Settings,
    node: &Node<S>,
    endpoint: &Endpoint,
) -> io::Result<Vec<Server>>
where
    Node<S>: Service,
{
    let identity = api::service::Identity {
        cluster_id: settings.cluster_id,
        node_id: settings.node_id,
        client_addresses: settings.client_addresses.clone(),
    };
    let api = web::Data::new(Api::new(std::sync::Arc::new(node.clone()), identity));
    let (peers, body_bytes_max) = (endpoint.clone(), settings.body_bytes_max);
    let peers_apart = settings.peer_address.is_some();
    let clients = HttpServer::new(move || {
        let app = App::new();
        let app = if peers_apart { app } else { app.configure(peers.routes()) };
        app.configure(api::routes(api.clone(), body_bytes_max))
    });
    let clients = clients.on_connect(Connection::remember);
    let clients = clients.workers(settings.http_workers).tcp_nodelay(true).backlog(4096);
    let mut servers = vec![clients.disable_signals().shutdown_timeout(2).bind(&settings.address)?.run()];
    if let Some(address) = &settings.peer_address {
        let peers = endpoint.clone();
        let server =
            HttpServer::new(move || App::new().configure(peers.routes())).workers(1).tcp_nodelay(true);
        servers.push(server.disable_signals().shutdown_timeout(2).bind(address)?.run());
    }
    Ok(servers)
}
