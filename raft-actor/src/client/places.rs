//! The sequence numbers of a session that are awaited: a bounded window of them.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Mutex,
};

use tokio::sync::oneshot;

use super::lock;

/// See the module.
pub(super) struct Places {
    width: u64,
    state: Mutex<State>,
}

struct State {
    next: u64,
    awaited: BTreeSet<u64>,
    waiting: VecDeque<oneshot::Sender<()>>,
}

impl State {
    fn lowest_awaited(&self) -> u64 {
        self.awaited.first().copied().unwrap_or(self.next)
    }
}

impl Places {
    /// No more than `width` numbers from the lowest awaited one on are given out.
    pub(super) fn new(width: u64) -> Places {
        let state = State { next: 1, awaited: BTreeSet::new(), waiting: VecDeque::new() };
        Places { width: width.max(1), state: Mutex::new(state) }
    }

    /// The next number; waits while the window is full.
    pub(super) async fn take(&self) -> Place<'_> {
        loop {
            let room = {
                let mut state = lock(&self.state);
                if state.next - state.lowest_awaited() < self.width {
                    let sequence = state.next;
                    state.next += 1;
                    state.awaited.insert(sequence);
                    return Place { places: self, sequence };
                }
                let (wake, room) = oneshot::channel();
                state.waiting.push_back(wake);
                room
            };
            // Woken or forgotten, it looks again.
            let _ = room.await;
        }
    }
}

/// A number that is awaited as long as this lives.
pub(super) struct Place<'a> {
    places: &'a Places,
    sequence: u64,
}

impl Place<'_> {
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The lowest number that is awaited now; at most this one.
    pub(super) fn lowest_awaited(&self) -> u64 {
        lock(&self.places.state).lowest_awaited()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.places.state);
        state.awaited.remove(&self.sequence);
        // All of them: one that was given up must not swallow another's wake-up.
        for wake in state.waiting.drain(..) {
            // One that no longer waits is no error.
            let _ = wake.send(());
        }
    }
}
