//! Waiting on any runtime: until a time, or for something but not for ever.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use super::Runtime;
use crate::types::Time;

/// Waits until `at`.
pub async fn sleep_until(runtime: &dyn Runtime, at: Time) {
    let mut timer = runtime.timer();
    timer.reset(at);
    poll_fn(|task| timer.poll(task)).await;
}

/// Waits this long.
pub async fn sleep(runtime: &dyn Runtime, duration: Duration) {
    sleep_until(runtime, runtime.now().after(duration)).await;
}

/// What `future` gives, or `None` where it takes longer than this. The future is dropped then.
pub async fn timeout<T>(
    runtime: &dyn Runtime,
    duration: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut timer = runtime.timer();
    timer.reset(runtime.now().after(duration));
    let mut future = pin!(future);
    poll_fn(|task| match future.as_mut().poll(task) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => timer.poll(task).map(|()| None),
    })
    .await
}
