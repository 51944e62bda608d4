//! Host: actix. Actors live on arbiters, each of which is one thread; a group stays on one arbiter.

use std::{
    fmt, io, iter,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use actix_rt::{Arbiter, ArbiterHandle, System};

use super::{BoxFuture, Place, Runtime, Timer, clock::Clock};
use crate::types::Time;

/// Runs tasks on actix arbiters. The default host.
///
/// Groups are spread over the arbiters by their number, and all tasks of one group share a thread. Once the
/// last handle of the runtime is dropped (running actors hold one each), the threads that it has started end;
/// tasks that are still on them are dropped. Where the actix system stops first, the tasks are dropped then,
/// and later ones at once.
pub struct ActixRuntime {
    arbiters: Vec<ArbiterHandle>,
    started: Started,
    next: AtomicUsize,
    clock: Clock,
}

/// What the runtime has started, and so has to end.
enum Started {
    Nothing,
    Arbiters,
    System(System),
}

impl ActixRuntime {
    /// Starts this many arbiters (0 is taken as 1): in the actix system of the calling thread, or, where
    /// there is none, in a system of its own on a thread of its own, so that plain and tokio programs can use
    /// it as well.
    ///
    /// # Errors
    ///
    /// Where a thread cannot be started.
    pub fn new(arbiters: usize) -> io::Result<ActixRuntime> {
        let arbiters = arbiters.max(1);
        if !System::is_registered() {
            let (system, arbiters) = own_system(arbiters)?;
            return Ok(ActixRuntime::over(arbiters, Started::System(system)));
        }
        let mut runtime = ActixRuntime::over(Vec::new(), Started::Arbiters);
        for _ in 0..arbiters {
            // Pushed one by one, so that the ones before a failure are stopped with `runtime`.
            runtime.arbiters.push(Arbiter::try_new()?.handle());
        }
        Ok(runtime)
    }

    /// Runs everything on an arbiter of the application's own, for instance `Arbiter::current()`. The arbiter
    /// is not stopped.
    pub fn on_arbiter(arbiter: ArbiterHandle) -> ActixRuntime {
        ActixRuntime::over(vec![arbiter], Started::Nothing)
    }

    fn over(arbiters: Vec<ArbiterHandle>, started: Started) -> ActixRuntime {
        ActixRuntime { arbiters, started, next: AtomicUsize::new(0), clock: Clock::start() }
    }
}

/// A system on a thread of its own. The system's own arbiter is the first.
fn own_system(arbiters: usize) -> io::Result<(System, Vec<ArbiterHandle>)> {
    let (ready, started) = mpsc::channel();
    thread::Builder::new().name("raft-actor actix".to_owned()).spawn(move || {
        let runner = System::new();
        let system = System::current();
        let more = (1..arbiters).map(|_| Ok(Arbiter::try_new()?.handle()));
        let first = Ok(system.arbiter().clone());
        let all = iter::once(first).chain(more).collect::<io::Result<Vec<_>>>();
        let failed = all.is_err();
        if ready.send(all.map(|arbiters| (system.clone(), arbiters))).is_err() || failed {
            system.stop();
        }
        if let Err(error) = runner.run() {
            tracing::error!(%error, "the actix system of the runtime ended badly");
        }
    })?;
    started.recv().map_err(|_| io::Error::other("the thread of the actix system ended before it was up"))?
}

impl Runtime for ActixRuntime {
    fn spawn(&self, name: &'static str, place: Place, task: BoxFuture<'static, ()>) {
        let number = match place {
            Place::Group(group) => group.0 as usize,
            Place::Any => self.next.fetch_add(1, Ordering::Relaxed),
        };
        if !self.arbiters[number % self.arbiters.len()].spawn(task) {
            tracing::warn!(name, "the arbiter has stopped, so the task was dropped");
        }
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
}

impl Drop for ActixRuntime {
    fn drop(&mut self) {
        // Never joined: the last handle may well be dropped by a task on one of these threads.
        match &self.started {
            Started::Nothing => {}
            Started::Arbiters => self.arbiters.iter().for_each(|arbiter| {
                arbiter.stop();
            }),
            Started::System(system) => system.stop(),
        }
    }
}

impl fmt::Debug for ActixRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActixRuntime({} arbiters)", self.arbiters.len())
    }
}
