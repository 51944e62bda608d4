//! Time on hosts that are made of tokio: one origin a runtime, and timers over [`tokio::time`].

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::Timer;
use crate::types::Time;

/// Where an instant cannot be told, one so far away that nobody lives to see it.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Counts time from when it was made.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    pub(super) fn now(&self) -> Time {
        Time(0).after(self.origin.elapsed())
    }

    pub(super) fn timer(&self) -> Box<dyn Timer> {
        Box::new(SleepTimer { clock: *self, at: None, sleep: None })
    }

    fn instant(&self, at: Time) -> Instant {
        let since = Duration::from_nanos(at.0);
        self.origin.checked_add(since).unwrap_or_else(|| self.origin + FAR)
    }
}

struct SleepTimer {
    clock: Clock,
    at: Option<Time>,
    /// Made at the first poll, because a sleep must be made inside tokio; and the time that it is set to.
    sleep: Option<(Pin<Box<Sleep>>, Time)>,
}

impl Timer for SleepTimer {
    fn reset(&mut self, at: Time) {
        self.at = Some(at);
        // A later time waits until the earlier one has passed: a deadline that every message pushes back (an
        // election timeout) then costs nothing a message.
        if let Some((sleep, set)) = &mut self.sleep
            && at < *set
        {
            sleep.as_mut().reset(self.clock.instant(at));
            *set = at;
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let clock = self.clock;
        let (sleep, set) = self.sleep.get_or_insert_with(|| (Box::pin(sleep_until(clock.instant(at))), at));
        loop {
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if at <= *set {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(clock.instant(at));
            *set = at;
        }
    }
}
