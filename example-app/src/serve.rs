//! `example-app serve`: a node from its start to its end, and the exit code that tells how it ended.

use std::{io, process::ExitCode, time::Duration};

use actix_web::dev::ServerHandle;
use raft_actor::{error::StartError, node::Node, state_machine::StateMachine, storage::StorageError};
use raft_net_http::Endpoint;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::timeout,
};

use crate::{api::service::Service, node, settings::Settings};

/// The node was refused its start: a configuration, an address, a folder.
pub const EXIT_REFUSED: u8 = 1;
/// The node has stopped for good: a disk that fails, a file that is corrupt.
pub const EXIT_FAILED: u8 = 70;

/// How long an orderly end may take.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);

/// Runs a node until it is told to stop, or must. `exit_with_parent`: also when standard input ends.
pub async fn serve(settings: &Settings, exit_with_parent: bool) -> ExitCode {
    if settings.witness {
        run(settings, exit_with_parent, node::start_witness(settings)).await
    } else {
        run(settings, exit_with_parent, node::start(settings)).await
    }
}

async fn run<S: StateMachine>(
    settings: &Settings,
    exit_with_parent: bool,
    starting: impl Future<Output = Result<Node<S>, StartError>>,
) -> ExitCode
where
    Node<S>: Service,
{
    let (node, endpoint, servers) = match begin(settings, starting).await {
        Ok(begun) => begun,
        Err(error) => {
            tracing::error!("not started: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    tracing::info!(address = %settings.address, data = %settings.data.display(), "ready");
    let asked = asked_to_stop(exit_with_parent);
    let failed = {
        let node = node.clone();
        async move { node.stopped().await }
    };
    match first_of(asked, failed).await {
        End::Asked(Ok(why)) => {
            tracing::info!("{why}: stopping in order");
            stop_in_order(&node, &endpoint, &servers).await
        }
        End::Asked(Err(error)) => {
            tracing::error!("signals cannot be received: {error}");
            stop_in_order(&node, &endpoint, &servers).await;
            ExitCode::from(EXIT_REFUSED)
        }
        End::Stopped(reason) => {
            let reason = reason.unwrap_or_else(|| "it was shut down from inside".to_owned());
            tracing::error!(
                "stopped for good: {reason}. Nothing more is answered; mend the cause, then start again. \
                 The other nodes go on as long as they are a majority"
            );
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Why a node has not been started.
#[derive(Debug, thiserror::Error)]
enum BeginError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot listen at {address}: {source}; is another process there?")]
    Listen { address: String, source: io::Error },
}

impl BeginError {
    /// A disk that fails and a file that is corrupt are failures from the start; anything else is a refusal.
    fn exit_code(&self) -> u8 {
        match self {
            BeginError::Start(StartError::Storage(
                StorageError::Io { .. } | StorageError::Corrupt { .. },
            )) => EXIT_FAILED,
            BeginError::Start(_) | BeginError::Listen { .. } => EXIT_REFUSED,
        }
    }
}

async fn begin<S: StateMachine>(
    settings: &Settings,
    starting: impl Future<Output = Result<Node<S>, StartError>>,
) -> Result<(Node<S>, Endpoint, Vec<ServerHandle>), BeginError>
where
    Node<S>: Service,
{
    let node = starting.await?;
    let endpoint = node::endpoint(settings, &node);
    match node::servers(settings, &node, &endpoint) {
        Ok(servers) => {
            let handles = servers.iter().map(|server| server.handle()).collect();
            for server in servers {
                actix_web::rt::spawn(server);
            }
            Ok((node, endpoint, handles))
        }
        Err(source) => {
            node.shutdown().await;
            let peers = settings.peer_address.iter().map(|address| format!(" or {address}"));
            let address = settings.address.clone() + &peers.collect::<String>();
            Err(BeginError::Listen { address, source })
        }
    }
}

/// What ended first.
enum End {
    Asked(io::Result<&'static str>),
    Stopped(Option<String>),
}

async fn first_of(
    asked: impl Future<Output = io::Result<&'static str>>,
    stopped: impl Future<Output = Option<String>>,
) -> End {
    let (mut asked, mut stopped) = (std::pin::pin!(asked), std::pin::pin!(stopped));
    // The failure is asked about first: a node that has failed does not end in order.
    std::future::poll_fn(|task| {
        if let std::task::Poll::Ready(reason) = stopped.as_mut().poll(task) {
            return std::task::Poll::Ready(End::Stopped(reason));
        }
        asked.as_mut().poll(task).map(End::Asked)
    })
    .await
}

/// Returns when the process is asked to stop, and says by what.
async fn asked_to_stop(exit_with_parent: bool) -> io::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut orphaned = exit_with_parent.then(parent_gone);
    std::future::poll_fn(|task| {
        if interrupt.poll_recv(task).is_ready() {
            return std::task::Poll::Ready(Ok("SIGINT"));
        }
        if terminate.poll_recv(task).is_ready() {
            return std::task::Poll::Ready(Ok("SIGTERM"));
        }
        match &mut orphaned {
            Some(orphaned) => std::pin::Pin::new(orphaned).poll(task).map(|_| Ok("the parent is gone")),
            None => std::task::Poll::Pending,
        }
    })
    .await
}

/// Resolves when standard input ends, as it does when the process at its other end dies, however it dies.
fn parent_gone() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // Whatever may be read, and an error as well, only means that the wait is over at its end.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = sender.send(());
    });
    receiver
}

async fn stop_in_order<S: StateMachine>(
    node: &Node<S>,
    endpoint: &Endpoint,
    servers: &[ServerHandle],
) -> ExitCode {
    let stopping = async {
        // The doors stay open until leadership is handed over and every waiting caller is answered.
        node.shutdown().await;
        endpoint.close();
        for server in servers {
            server.stop(true).await;
        }
    };
    match timeout(SHUTDOWN_MAX, stopping).await {
        Ok(()) => match node.stopped().await {
            None => {
                tracing::info!("stopped");
                ExitCode::SUCCESS
            }
            Some(reason) => {
                tracing::error!("stopped for good: {reason}");
                ExitCode::from(EXIT_FAILED)
            }
        },
        Err(_) => {
            tracing::error!("not stopped within {SHUTDOWN_MAX:?}; everything acknowledged is on the disk");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}
