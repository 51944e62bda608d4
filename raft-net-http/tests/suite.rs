//! The suite of the test kit, over real connections.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use raft_actor::{
    runtime::{SharedRuntime, TokioRuntime},
    testkit::suite::transport::{self, TransportFixture},
    transport::{Inbox, Transport},
    types::NodeId,
};
use raft_net_http::{Endpoint, HttpTransport};

use crate::server::{CLUSTER, Server};

struct Http {
    servers: BTreeMap<NodeId, Server>,
    addresses: BTreeMap<NodeId, SocketAddr>,
}

#[async_trait]
impl TransportFixture for Http {
    fn runtime(&self) -> SharedRuntime {
        Arc::new(TokioRuntime::current())
    }

    fn transport(&self, node: NodeId) -> Box<dyn Transport> {
        Box::new(HttpTransport::new(CLUSTER, node).with_connect_deadline(self.connect_deadline()))
    }

    /// A node that listens again does so at the same address, as a process that is started again.
    async fn listen(&mut self, node: NodeId, inbox: Arc<dyn Inbox>) -> String {
        self.stop(node).await;
        let endpoint = Endpoint::new(CLUSTER, node, inbox);
        let server = match self.addresses.get(&node) {
            Some(address) => Server::start_at(endpoint, *address),
            None => Server::start(endpoint),
        };
        self.addresses.insert(node, server.address);
        let address = server.address();
        self.servers.insert(node, server);
        address
    }

    async fn stop(&mut self, node: NodeId) {
        self.servers.remove(&node);
    }

    fn nowhere(&self) -> String {
        // Bound, so that nobody else gets it, then closed.
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        listener.local_addr().expect("a bound listener has an address").to_string()
    }

    fn connect_deadline(&self) -> Duration {
        Duration::from_secs(15)
    }
}

fn http() -> Http {
    Http { servers: BTreeMap::new(), addresses: BTreeMap::new() }
}

#[tokio::test]
async fn the_transport_keeps_its_contract_on_one_thread() {
    transport::all(&mut http()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transport_keeps_its_contract_on_several_threads() {
    transport::all(&mut http()).await;
}

#[test]
fn the_transport_keeps_its_contract_on_an_actix_arbiter() {
    actix_web::rt::System::new().block_on(async { transport::all(&mut http()).await });
}
