//! `example-app serve`: a node from its start to its end, and the exit code that tells how it ended.

use std::{io, process::ExitCode, time::Duration};

use actix_web::dev::ServerHandle;
use raft_actor::{
    error::StartError,
    node::{End, Node},
    state_machine::StateMachine,
    storage::StorageError,
};
use raft_net_http::Endpoint;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::timeout,
};

use crate::{
    api::service::Service,
    compaction,
    node::{self, BeginError},
    settings::Settings,
};

/// The node was refused its start: a configuration, an address, a folder.
pub const EXIT_REFUSED: u8 = 1;
/// The node has stopped for good: a disk that fails, a file that is corrupt.
pub const EXIT_FAILED: u8 = 70;

/// The node was told to stop, and has not in time, or was told twice.
pub const EXIT_UNFINISHED: u8 = 75;

/// How long connections may take to end.
const DOORS_MAX: Duration = Duration::from_secs(5);

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
    starting: impl Future<Output = Result<Node<S>, BeginError>>,
) -> ExitCode
where
    Node<S>: Service,
{
    let (node, endpoint, servers) = match begin(settings, starting).await {
        Ok(begun) => begun,
        Err(error) => {
            tracing::error!("not started: {error}");
            return ExitCode::from(exit_code(&error));
        }
    };
    tracing::info!(address = %settings.address, data = %settings.data.display(), "ready");
    let asked = asked_to_stop(exit_with_parent);
    let failed = {
        let node = node.clone();
        async move { node.stopped().await }
    };
    // A node that has failed does not end in order.
    match first_of(failed, asked).await {
        First::Right(Ok(why)) => {
            tracing::info!("{why}: stopping in order");
            stop_in_order(&node, &endpoint, &servers).await
        }
        First::Right(Err(error)) => {
            tracing::error!("signals cannot be received: {error}");
            stop_in_order(&node, &endpoint, &servers).await;
            ExitCode::from(EXIT_REFUSED)
        }
        First::Left(reason) => {
            let reason = reason.unwrap_or_else(|| "it was shut down from inside".to_owned());
            tracing::error!(
                "stopped for good: {reason}. Nothing more is answered; mend the cause, then start again. \
                 The other nodes go on as long as they are a majority"
            );
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// A disk that fails and a file that is corrupt are failures from the start; anything else is a refusal.
fn exit_code(error: &BeginError) -> u8 {
    match error {
        BeginError::Start(StartError::Storage(StorageError::Io { .. } | StorageError::Corrupt { .. })) => {
            EXIT_FAILED
        }
        BeginError::Start(_) | BeginError::Trace { .. } | BeginError::Listen { .. } => EXIT_REFUSED,
    }
}

async fn begin<S: StateMachine>(
    settings: &Settings,
    starting: impl Future<Output = Result<Node<S>, BeginError>>,
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
            if settings.auto_compaction_retention > 0 && !settings.witness {
                let kept = i64::try_from(settings.auto_compaction_retention).unwrap_or(i64::MAX);
                let interval = settings.auto_compaction_interval;
                actix_web::rt::spawn(compaction::keep(node.clone(), kept, interval));
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
enum First<L, R> {
    Left(L),
    Right(R),
}

/// Waits for either. Where both are there, it is the left one.
async fn first_of<L, R>(left: impl Future<Output = L>, right: impl Future<Output = R>) -> First<L, R> {
    let (mut left, mut right) = (std::pin::pin!(left), std::pin::pin!(right));
    std::future::poll_fn(|task| match left.as_mut().poll(task) {
        std::task::Poll::Ready(left) => std::task::Poll::Ready(First::Left(left)),
        std::task::Poll::Pending => right.as_mut().poll(task).map(First::Right),
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
        let end = node.shutdown().await;
        if end == End::InOrder {
            endpoint.close();
            let doors = async {
                for server in servers {
                    server.stop(true).await;
                }
            };
            if timeout(DOORS_MAX, doors).await.is_err() {
                let reason = format!("clients have not let go within {DOORS_MAX:?}");
                return End::Unfinished { reason };
            }
        }
        end
    };
    match first_of(told_again(), stopping).await {
        First::Right(End::InOrder) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        First::Right(End::Failed { reason }) => {
            tracing::error!("stopped for good: {reason}");
            ExitCode::from(EXIT_FAILED)
        }
        First::Right(End::Unfinished { reason }) => end_at_once(&reason),
        First::Left(why) => end_at_once(&format!("{why} once more: not waiting any longer")),
        First::Right(end) => end_at_once(&format!("{end:?}")),
    }
}

/// Whoever tells it twice does not want to wait. Only signals count: standard input may end after a signal.
async fn told_again() -> &'static str {
    match asked_to_stop(false).await {
        Ok(why) => why,
        Err(_) => std::future::pending().await,
    }
}

/// Ends the process where something in it may never end: nothing is waited for, and nothing is cleaned up.
/// All that was acknowledged is on the disk.
fn end_at_once(reason: &str) -> ! {
    tracing::error!("not stopped in order: {reason}");
    std::process::exit(EXIT_UNFINISHED.into())
}
