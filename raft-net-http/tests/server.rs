//! A real actix-web server on a thread of its own, for the other tests.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread,
};

use actix_web::{App, HttpServer, dev::ServerHandle, rt::System};
use raft_actor::{
    message::{Envelope, Message, ReadId, ReadIndex},
    transport::Inbox,
    types::{ClusterId, GroupId, NodeId, Origin, Term},
};
use raft_net_http::Endpoint;

pub(crate) const CLUSTER: ClusterId = ClusterId(77);
pub(crate) const ONE: NodeId = NodeId(1);
pub(crate) const TWO: NodeId = NodeId(2);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) endpoint: Endpoint,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(endpoint: Endpoint) -> Server {
        Server::start_at(endpoint, "127.0.0.1:0".parse().expect("an address"))
    }

    pub(crate) fn start_at(endpoint: Endpoint, address: SocketAddr) -> Server {
        let listener = TcpListener::bind(address).expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (sender, receiver) = mpsc::channel();
        let routes = endpoint.routes();
        let thread = thread::spawn(move || {
            System::new().block_on(async move {
                let server = HttpServer::new(move || App::new().configure(routes.clone()))
                    .workers(1)
                    .tcp_nodelay(true)
                    .disable_signals()
                    .listen(listener)
                    .expect("a bound listener can be listened on")
                    .run();
                sender.send(server.handle()).expect("the test waits for the handle");
                server.await.expect("the server runs until it is stopped");
            });
        });
        let handle = receiver.recv().expect("the server starts");
        Server { address, endpoint, handle, thread: Some(thread) }
    }

    /// The endpoint of node 2 of the tests' cluster.
    pub(crate) fn of_two(inbox: Arc<dyn Inbox>) -> Server {
        Server::start(Endpoint::new(CLUSTER, TWO, inbox))
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends it as a process ends: at once.
    pub(crate) fn stop(&mut self) {
        self.end(false);
    }

    /// Ends it once every connection has ended, or after half a minute.
    pub(crate) fn stop_gracefully(&mut self) {
        self.end(true);
    }

    fn end(&mut self, gracefully: bool) {
        if let Some(thread) = self.thread.take() {
            // The command is sent when the future is made; nobody needs to wait for the answer.
            drop(self.handle.stop(gracefully));
            thread.join().expect("the server's thread ends well");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn numbered(number: u64) -> Envelope {
    let message = Message::ReadIndex(ReadIndex { term: Term(1), id: ReadId(number) });
    Envelope { group: GroupId(0), from: ONE, to: TWO, origin: Origin::default(), message }
}
