//! Host: plain tokio, either the application's own runtime or threads of its own.

use std::{
    fmt, io,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use tokio::{
    runtime::{Builder, Handle, RuntimeFlavor},
    sync::oneshot,
};

use super::{BoxFuture, Place, Runtime, Timer, clock::Clock};
use crate::types::Time;

/// Runs tasks on tokio.
///
/// Fastest is [`TokioRuntime::owned`], or a current-thread runtime: a group then stays on one thread. On a
/// multi-thread runtime tokio moves tasks between threads as it sees fit, which costs about a third of the
/// throughput of a busy group.
pub struct TokioRuntime {
    handles: Vec<Handle>,
    next: AtomicUsize,
    clock: Clock,
    coalesce: bool,
    /// Dropped with the runtime, which ends its threads.
    _threads: Vec<oneshot::Sender<()>>,
}

impl TokioRuntime {
    /// Runs everything on a runtime of the application's own, which must have its time driver enabled. It is
    /// not shut down; where the application does so, the tasks are dropped.
    pub fn new(handle: Handle) -> TokioRuntime {
        let coalesce = handle.runtime_flavor() != RuntimeFlavor::CurrentThread;
        TokioRuntime::over(vec![handle], coalesce, Vec::new())
    }

    /// Runs everything on the runtime that this is called from.
    ///
    /// # Panics
    ///
    /// Outside tokio, as [`Handle::current`] does.
    pub fn current() -> TokioRuntime {
        TokioRuntime::new(Handle::current())
    }

    /// Starts this many threads (0 is taken as 1), each with a current-thread runtime. Groups are spread over
    /// them by their number, and all tasks of one group share a thread. Once the last handle of the runtime
    /// is dropped (running actors hold one each), the threads end, and tasks that are still on them are
    /// dropped.
    ///
    /// # Errors
    ///
    /// Where a thread cannot be started.
    pub fn owned(threads: usize) -> io::Result<TokioRuntime> {
        let (handles, stops): (Vec<_>, Vec<_>) =
            (0..threads.max(1)).map(own_thread).collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        Ok(TokioRuntime::over(handles, false, stops))
    }

    fn over(handles: Vec<Handle>, coalesce: bool, threads: Vec<oneshot::Sender<()>>) -> TokioRuntime {
        let next = AtomicUsize::new(0);
        TokioRuntime { handles, next, clock: Clock::start(), coalesce, _threads: threads }
    }
}

/// A thread that runs a runtime until the sender is dropped.
fn own_thread(number: usize) -> io::Result<(Handle, oneshot::Sender<()>)> {
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, started) = mpsc::channel();
    thread::Builder::new().name(format!("raft-actor tokio {number}")).spawn(move || {
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                if ready.send(Ok(runtime.handle().clone())).is_ok() {
                    // Done when the sender is dropped, which is an error here, and what we wait for.
                    let _ = runtime.block_on(stopped);
                }
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    })?;
    let handle =
        started.recv().map_err(|_| io::Error::other("a runtime's thread ended before it was up"))??;
    Ok((handle, stop))
}

impl Runtime for TokioRuntime {
    fn spawn(&self, _name: &'static str, place: Place, task: BoxFuture<'static, ()>) {
        let number = match place {
            Place::Group(group) => group.0 as usize,
            Place::Any => self.next.fetch_add(1, Ordering::Relaxed),
        };
        self.handles[number % self.handles.len()].spawn(task);
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn timer(&self) -> Box<dyn Timer> {
        self.clock.timer()
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }

    fn coalesce(&self) -> bool {
        self.coalesce
    }
}

impl fmt::Debug for TokioRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokioRuntime({} runtimes)", self.handles.len())
    }
}
