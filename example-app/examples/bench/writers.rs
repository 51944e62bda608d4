//! Writers within this program: for loads that outlive a node, and for times that wrk does not tell.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::nodes::{agent, ask};

/// A write that was answered with success: when it was sent, and when answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
}

/// Writers at work.
pub(crate) struct Writers {
    stopping: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answered>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What every writer has.
#[derive(Clone)]
struct Hand {
    agent: ureq::Agent,
    addresses: Vec<String>,
    turn: Arc<AtomicUsize>,
    answers: Arc<Mutex<Vec<Answered>>>,
}

impl Hand {
    fn write(&self) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let address = &self.addresses[turn % self.addresses.len()];
        let key = STANDARD.encode(format!("key{:08}", turn % 1_000));
        let body = json!({ "key": key, "value": STANDARD.encode([7; 96]) });
        let sent = Instant::now();
        if ask(&self.agent, &format!("http://{address}/v3/kv/put"), &body).is_some() {
            let answered = Answered { sent, answered: Instant::now() };
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
        }
    }
}

impl Writers {
    fn new(addresses: Vec<String>) -> (Writers, Hand) {
        let answers = Arc::<Mutex<Vec<Answered>>>::default();
        let hand = Hand {
            agent: agent(Duration::from_secs(10)),
            addresses,
            turn: Arc::default(),
            answers: answers.clone(),
        };
        (Writers { stopping: Arc::default(), answers, threads: Vec::new() }, hand)
    }

    /// A write begins every `pause`, at the addresses in turn, whatever became of those before.
    pub(crate) fn every(pause: Duration, addresses: Vec<String>) -> Writers {
        let (mut writers, hand) = Writers::new(addresses);
        let stopping = writers.stopping.clone();
        writers.threads.push(thread::spawn(move || {
            let mut due = Instant::now();
            while !stopping.load(Ordering::Relaxed) {
                let hand = hand.clone();
                thread::spawn(move || hand.write());
                due += pause;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }));
        writers
    }

    /// So many writers, each of which writes again once it is answered.
    pub(crate) fn closed(count: usize, addresses: Vec<String>) -> Writers {
        let (mut writers, hand) = Writers::new(addresses);
        for _ in 0..count {
            let (hand, stopping) = (hand.clone(), writers.stopping.clone());
            writers.threads.push(thread::spawn(move || {
                while !stopping.load(Ordering::Relaxed) {
                    hand.write();
                }
            }));
        }
        writers
    }

    /// Waits for the first answer to a write that was sent after `moment`; how long after `moment` it came.
    pub(crate) fn first_answer_after(&self, moment: Instant, at_most: Duration) -> Option<Duration> {
        while moment.elapsed() < at_most {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            let after = answers.iter().rev().take(1_000).filter(|answer| answer.sent > moment);
            if let Some(first) = after.map(|answer| answer.answered).min() {
                return Some(first - moment);
            }
            drop(answers);
            thread::sleep(Duration::from_millis(1));
        }
        None
    }

    /// Ends the writers; what was answered, those that were sent before first.
    pub(crate) fn stop(self) -> Vec<Answered> {
        self.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A writer has nothing to tell but its answers.
            let _ = thread.join();
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        answers.sort_by_key(|answer| answer.sent);
        answers
    }
}
