//! The README's program: a node from its real parts.

use std::error::Error;

use super::state_machine::{Add, Counter};

// ANCHOR: compose
use actix_web::{App, HttpServer};
use raft_actor::node::Node;
use raft_actor::types::{ClusterId, NodeId};
use raft_net_http::{Endpoint, HttpTransport};
use raft_storage_file::{FileLog, Identity};

async fn run(id: NodeId, members: Vec<(NodeId, String)>, folder: &str) -> Result<(), Box<dyn Error>> {
    let cluster_id = ClusterId(7);
    let address = members.iter().find(|(node, _)| *node == id).map(|(_, address)| address.clone());
    let node = Node::builder(id, Counter::default())
        .members(members)
        .storage(FileLog::open(folder, Identity { cluster_id, node_id: id })?)
        .transport(HttpTransport::new(cluster_id, id))
        .start()
        .await?;
    let endpoint = Endpoint::new(cluster_id, id, node.inbox());
    let server = HttpServer::new(move || App::new().configure(endpoint.routes()));
    actix_web::rt::spawn(server.bind(address.ok_or("not a member")?)?.run());

    println!("the counter is now {}", node.write(Add(2)).await?);
    println!("and everywhere {}", node.read(|counter| counter.value).await?);
    node.shutdown().await;
    Ok(())
}
// ANCHOR_END: compose

#[actix_web::test]
async fn the_readmes_program_runs_and_counts_on_where_it_stopped() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path().to_str().ok_or("the folder's name is no UTF-8")?;
    let members = || vec![(NodeId(1), "127.0.0.1:0".to_owned())];
    run(NodeId(1), members(), folder).await?;
    run(NodeId(1), members(), folder).await
}
