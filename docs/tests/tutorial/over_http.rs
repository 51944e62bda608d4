//! Tutorial 5: three nodes that speak HTTP to each other, and a counter that speaks HTTP to its clients.

use std::{error::Error, net::TcpListener};

use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, web};
use raft_actor::{
    config::Config,
    error::WriteError,
    node::Node,
    testkit::memory::MemoryLog,
    types::{ClusterId, NodeId},
};
use raft_net_http::{Endpoint, HttpTransport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::state_machine::{Add, Counter};

// ANCHOR: add
async fn add(node: web::Data<Node<Counter>>, amount: web::Path<i64>) -> HttpResponse {
    match node.write(Add(amount.into_inner())).await {
        Ok(value) => HttpResponse::Ok().body(format!("{value}\n")),
        Err(refused) => refusal(&refused),
    }
}

fn refusal(error: &WriteError) -> HttpResponse {
    let mut answer = match error {
        WriteError::Overloaded => HttpResponse::TooManyRequests(),
        WriteError::TooLarge { .. } => HttpResponse::PayloadTooLarge(),
        WriteError::Unknown => HttpResponse::GatewayTimeout(),
        _ => HttpResponse::ServiceUnavailable(),
    };
    answer.body(format!("{error}\n"))
}
// ANCHOR_END: add

// ANCHOR: value
async fn value(node: web::Data<Node<Counter>>) -> HttpResponse {
    match node.read(|counter| counter.value).await {
        Ok(value) => HttpResponse::Ok().body(format!("{value}\n")),
        Err(error) => HttpResponse::ServiceUnavailable().body(format!("{error}\n")),
    }
}
// ANCHOR_END: value

// ANCHOR: serve
async fn serve(
    id: NodeId,
    members: Vec<(NodeId, String)>,
    listener: TcpListener,
    config: Config,
) -> Result<(Node<Counter>, ServerHandle), Box<dyn Error>> {
    let cluster = ClusterId(7);
    let node = Node::builder(id, Counter::default())
        .members(members)
        .storage(MemoryLog::new())
        .transport(HttpTransport::new(cluster, id))
        .config(config)
        .start()
        .await?;
    let endpoint = Endpoint::new(cluster, id, node.inbox());
    let shared = web::Data::new(node.clone());
    let app = move || {
        App::new()
            .configure(endpoint.routes())
            .app_data(shared.clone())
            .route("/add/{amount}", web::post().to(add))
            .route("/value", web::get().to(value))
    };
    let server = HttpServer::new(app).workers(1).disable_signals().listen(listener)?.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok((node, handle))
}
// ANCHOR_END: serve

/// What `curl -X method http://address/path` shows: the status line's number, and the body.
async fn curl(method: &str, address: &str, path: &str) -> Result<(u16, String), Box<dyn Error>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).unwrap_or_default().parse()?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned());
    Ok((status, body.unwrap_or_default()))
}

/// Three nodes on free ports of this machine.
async fn three(config: &Config) -> Result<(Vec<String>, Vec<(Node<Counter>, ServerHandle)>), Box<dyn Error>> {
    let listeners = [1, 2, 3].map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners = listeners.into_iter().collect::<Result<Vec<TcpListener>, _>>()?;
    let addresses: Vec<String> =
        listeners.iter().map(|one| Ok(one.local_addr()?.to_string())).collect::<std::io::Result<_>>()?;
    let members: Vec<(NodeId, String)> = (1..).map(NodeId).zip(addresses.clone()).collect();
    let mut nodes = Vec::new();
    for ((id, _), listener) in members.clone().into_iter().zip(listeners) {
        nodes.push(serve(id, members.clone(), listener, config.clone()).await?);
    }
    Ok((addresses, nodes))
}

async fn end(nodes: Vec<(Node<Counter>, ServerHandle)>) {
    for (node, server) in nodes {
        node.shutdown().await;
        server.stop(false).await;
    }
}

#[actix_web::test]
async fn any_node_takes_writes_and_reads_over_http() -> Result<(), Box<dyn Error>> {
    let (addresses, nodes) = three(&Config::default()).await?;
    assert_eq!(curl("POST", &addresses[0], "/add/40").await?, (200, "40".to_owned()));
    assert_eq!(curl("POST", &addresses[1], "/add/2").await?, (200, "42".to_owned()));
    assert_eq!(curl("GET", &addresses[2], "/value").await?, (200, "42".to_owned()));
    end(nodes).await;
    Ok(())
}

#[actix_web::test]
async fn a_node_that_does_not_lead_says_who_does_where_it_may_not_carry_writes() -> Result<(), Box<dyn Error>>
{
    // ANCHOR: refuse
    let mut config = Config::default();
    config.forward_writes = false;
    // ANCHOR_END: refuse
    let (addresses, nodes) = three(&config).await?;
    // All three know it: whoever does not yet could not say so.
    let leader = loop {
        let mut known = Vec::new();
        for (node, ..) in &nodes {
            known.push(node.status().await);
        }
        match known[0].leader {
            Some(leader) if known.iter().all(|status| status.leader == Some(leader)) => break leader,
            _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    };
    let follower = addresses[leader.0 as usize % 3].clone();
    let (status, said) = curl("POST", &follower, "/add/1").await?;
    assert_eq!(status, 503);
    assert_eq!(said, format!("not the leader; node {leader} is"));
    end(nodes).await;
    Ok(())
}
