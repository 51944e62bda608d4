//! The thread that does the work, so that no caller's thread ever waits for the disk.

use std::{
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use raft_actor::{
    mutants::inherited,
    storage::StorageError,
    types::{Entries, LogId, LogIndex, LogState, LogWrite},
};
use tokio::sync::oneshot;

use crate::{
    Options,
    disk::Disk,
    error::io_error,
    identity::Identity,
    recovery::{Opened, open},
    store::Store,
};

/// Where the answer to a request goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StorageError>>;

/// What a caller wants done.
pub(crate) enum Request {
    Recover { reply: Reply<LogState> },
    Write { writes: Vec<LogWrite>, reply: Reply<()> },
    Read { first: LogIndex, last: LogIndex, bytes_max: u64, reply: Reply<Entries> },
    Purge { through: LogId, reply: Reply<()> },
}

/// The handle to the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        folder: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<Writer, StorageError> {
        let work = Work::open(disk, folder, identity, options)?;
        let (requests, received) = channel();
        let thread = std::thread::Builder::new()
            .name(format!("raft-log-{}", identity.node_id))
            .spawn(inherited(move || run(work, &received)))
            .map_err(io_error("start the writer's thread for", folder))?;
        Ok(Writer { requests: Some(requests), thread: Some(thread) })
    }

    pub(crate) async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StorageError> {
        let (reply, answer) = oneshot::channel();
        let gone = || StorageError::Poisoned { first: "the writer's thread has ended".to_owned() };
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(request(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic over there has been reported by the thread itself, and each caller was told that it
            // is gone.
            let _ = thread.join();
        }
    }
}

enum State {
    Opened(Box<Opened>),
    Running(Box<Store>),
    Failed(String),
}

/// What is done for those who ask, wherever that is.
pub(crate) struct Work {
    state: State,
    pub(crate) mark_after: Duration,
}

fn run(mut work: Work, requests: &Receiver<Request>) {
    loop {
        let request = if work.mark_is_due() {
            match requests.recv_timeout(work.mark_after) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => {
                    work.mark();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        } else {
            match requests.recv() {
                Ok(request) => request,
                Err(_) => break,
            }
        };
        work.answer(request);
    }
    if let State::Running(_) = work.state {
        // Nobody is left to be told; without this the end of the log is only less well proven.
        let _ = work.with(Store::close);
    }
}

impl Work {
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<Work, StorageError> {
        let mark_after = options.mark_after;
        let opened = open(disk, folder, identity, options)?;
        Ok(Work { state: State::Opened(Box::new(opened)), mark_after })
    }

    pub(crate) fn answer(&mut self, request: Request) {
        // A caller that has gone away needs no answer; what it asked for is done all the same.
        match request {
            Request::Recover { reply } => drop(reply.send(self.recover())),
            Request::Write { writes, reply } => drop(reply.send(self.with(|store| store.write(&writes)))),
            Request::Read { first, last, bytes_max, reply } => {
                drop(reply.send(self.with(|store| store.read(first, last, bytes_max))));
            }
            Request::Purge { through, reply } => drop(reply.send(self.with(|store| store.purge(through)))),
        }
    }

    fn recover(&mut self) -> Result<LogState, StorageError> {
        match std::mem::replace(&mut self.state, State::Failed("recovery did not end".to_owned())) {
            State::Opened(opened) => match opened.recover() {
                Ok((store, state)) => {
                    self.state = State::Running(Box::new(store));
                    Ok(state)
                }
                Err(error) => {
                    self.state = State::Failed(error.to_string());
                    Err(error)
                }
            },
            running @ State::Running(_) => {
                self.state = running;
                Err(StorageError::Contract("recover is called once, first".to_owned()))
            }
            State::Failed(first) => {
                self.state = State::Failed(first.clone());
                Err(StorageError::Poisoned { first })
            }
        }
    }

    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Store) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let result = match &mut self.state {
            State::Opened(_) => return Err(StorageError::Contract("recover comes first".to_owned())),
            State::Failed(first) => return Err(StorageError::Poisoned { first: first.clone() }),
            State::Running(store) => act(store),
        };
        match &result {
            // A caller's mistake was found before anything was touched.
            Ok(_) | Err(StorageError::Contract(_)) => {}
            // Never tried again: after a failed flush the system may call pages clean that never reached
            // the disk.
            Err(error) => {
                tracing::error!(%error, "the log has failed and answers nothing more");
                self.state = State::Failed(error.to_string());
            }
        }
        result
    }

    pub(crate) fn mark_is_due(&self) -> bool {
        matches!(&self.state, State::Running(store) if store.mark_is_due())
    }

    pub(crate) fn mark(&mut self) {
        // The error is kept by the state, and every later caller is told.
        let _ = self.with(Store::mark);
    }
}
