//! Writers that never write a key twice, so that every write can be told from every other.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::agent;

/// A write that was answered with success.
#[derive(Clone, Debug)]
pub(crate) struct Acknowledged {
    /// The key; its value is the same.
    pub(crate) key: String,
    /// The revision that the answer named.
    pub(crate) revision: i64,
}

/// What the writers did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// The writes that were acknowledged.
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Keys whose writes were sent, and not answered, or answered by an error: they may be there or not.
    pub(crate) unknown: Vec<String>,
    /// Reads that were answered.
    pub(crate) reads: u64,
    /// Reads that missed a write acknowledged before they began.
    pub(crate) stale_reads: Vec<String>,
}

/// Writers at work.
pub(crate) struct Load {
    stopping: Arc<AtomicBool>,
    record: Arc<Mutex<Record>>,
    answers: Receiver<(Instant, Instant)>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `writers` writers, which go round the nodes at `addresses`, pausing after each write. Every
    /// eighth operation is a linearizable read of the writer's last acknowledged key.
    pub(crate) fn start(addresses: &[String], writers: usize, pause: Duration) -> Load {
        let (sender, answers) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let record = Arc::new(Mutex::new(Record::default()));
        let writers = (0..writers).map(|number| {
            let writer = Writer {
                number,
                addresses: addresses.to_vec(),
                agent: agent(Duration::from_secs(4)),
                record: record.clone(),
                answers: sender.clone(),
                last: None,
            };
            let stopping = stopping.clone();
            thread::spawn(move || writer.run(&stopping, pause))
        });
        let writers = writers.collect();
        Load { stopping, record, answers, writers }
    }

    /// Waits for the first answer to a write that was sent after `moment`; how long after `moment` it came.
    pub(crate) fn first_answer_after(&self, moment: Instant, at_most: Duration) -> Option<Duration> {
        let until = Instant::now() + at_most;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let (sent, answered) = self.answers.recv_timeout(left).ok()?;
            if sent > moment {
                return Some(answered - moment);
            }
        }
    }

    /// Ends the writers; what they did.
    pub(crate) fn stop(self) -> Record {
        self.stopping.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.join().expect("no writer panics");
        }
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Writer {
    number: usize,
    addresses: Vec<String>,
    agent: ureq::Agent,
    record: Arc<Mutex<Record>>,
    answers: Sender<(Instant, Instant)>,
    last: Option<String>,
}

impl Writer {
    fn run(mut self, stopping: &AtomicBool, pause: Duration) {
        for operation in 0.. {
            if stopping.load(Ordering::Relaxed) {
                return;
            }
            let address = self.addresses[(self.number + operation) % self.addresses.len()].clone();
            match &self.last {
                Some(last) if operation % 8 == 7 => self.read(&address, last),
                _ => self.write(&address, format!("w{}/{operation:08}", self.number)),
            }
            thread::sleep(pause);
        }
    }

    fn write(&mut self, address: &str, key: String) {
        let body = json!({ "key": STANDARD.encode(&key), "value": STANDARD.encode(&key) });
        let sent = Instant::now();
        let answer = self.ask(address, "put", &body);
        let answered = Instant::now();
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = answer.and_then(|answer| answer["header"]["revision"].as_str()?.parse().ok());
        match revision {
            Some(revision) => {
                self.last = Some(key.clone());
                record.acknowledged.push(Acknowledged { key, revision });
                drop(record);
                // Nobody may be waiting any more.
                let _ = self.answers.send((sent, answered));
            }
            None => record.unknown.push(key),
        }
    }

    fn read(&self, address: &str, key: &str) {
        let answer = self.ask(address, "range", &json!({ "key": STANDARD.encode(key) }));
        if let Some(answer) = answer {
            let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            record.reads += 1;
            if answer["kvs"][0]["value"] != STANDARD.encode(key) {
                record.stale_reads.push(format!("{key} at {address}: {answer}"));
            }
        }
    }

    /// The answer, where there is one and it is no error.
    fn ask(&self, address: &str, what: &str, body: &Value) -> Option<Value> {
        let mut answer = self.agent.post(format!("http://{address}/v3/kv/{what}")).send_json(body).ok()?;
        if answer.status() != 200 {
            return None;
        }
        answer.body_mut().read_json().ok()
    }
}
