//! The writer without a thread: whoever asks does the work. For simulators, where all there is runs in one
//! thread and in virtual time.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use raft_actor::{
    runtime::{Place, SharedRuntime, sleep_until},
    storage::StorageError,
    types::Time,
};
use tokio::sync::oneshot;

use crate::{
    Options,
    disk::Disk,
    identity::Identity,
    writer::{Reply, Request, Work},
};

/// An open folder, and the runtime whose clock says when a mark is due.
pub(crate) struct Inline {
    desk: Arc<Mutex<Desk>>,
    disk: Arc<dyn Disk>,
    runtime: SharedRuntime,
}

struct Desk {
    work: Work,
    /// When a mark is written, if nothing else is asked for before.
    mark_at: Time,
    /// Whether a task waits for that time.
    is_timed: bool,
}

impl Inline {
    pub(crate) fn open(
        runtime: SharedRuntime,
        disk: Arc<dyn Disk>,
        folder: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<Inline, StorageError> {
        let seed = options.seed.unwrap_or_else(|| runtime.random());
        let options = options.with_seed(seed).with_spare_in_background(false).with_recovery_threads(1);
        let work = Work::open(disk.clone(), folder, identity, options)?;
        let desk = Desk { work, mark_at: Time::default(), is_timed: false };
        Ok(Inline { desk: Arc::new(Mutex::new(desk)), disk, runtime })
    }

    pub(crate) async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StorageError> {
        let (reply, answer) = oneshot::channel();
        self.answer(request(reply));
        if let Some(settled) = self.disk.settled() {
            settled.await;
        }
        let lost = || StorageError::Poisoned { first: "the request was not answered".to_owned() };
        answer.await.map_err(|_| lost())?
    }

    fn answer(&self, request: Request) {
        let mut desk = lock(&self.desk);
        desk.work.answer(request);
        if !desk.work.mark_is_due() {
            return;
        }
        desk.mark_at = self.runtime.now().after(desk.work.mark_after);
        if !desk.is_timed {
            desk.is_timed = true;
            let task = mark_when_idle(Arc::downgrade(&self.desk), self.runtime.clone());
            self.runtime.spawn("log mark", Place::Any, Box::pin(task));
        }
    }
}

impl fmt::Debug for Inline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inline").field("disk", &self.disk).finish_non_exhaustive()
    }
}

// No code of others runs under this lock; a panic in it leaves the error that ends the node.
fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn mark_when_idle(desk: Weak<Mutex<Desk>>, runtime: SharedRuntime) {
    while let Some(at) = desk.upgrade().and_then(|desk| mark_or_wait(&desk, runtime.now())) {
        sleep_until(&*runtime, at).await;
    }
}

/// Writes the mark where it is due; else says when it will be.
fn mark_or_wait(desk: &Mutex<Desk>, now: Time) -> Option<Time> {
    let mut desk = lock(desk);
    if desk.work.mark_is_due() && now < desk.mark_at {
        return Some(desk.mark_at);
    }
    if desk.work.mark_is_due() {
        desk.work.mark();
    }
    desk.is_timed = false;
    None
}
