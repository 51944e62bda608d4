//! `bench lag`: a follower that is far behind catches up, by the log or by a snapshot, while writes go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::ArgMatches;
use serde_json::{Value, json};

use crate::{
    Failure, machine,
    nodes::{Cluster, Stage, System},
    report::{Report, Sample},
    writers::{Answered, Writers},
    wrk::{Load, key},
};

/// How writers work before the follower comes back.
const BEFORE: Duration = Duration::from_secs(5);

/// Bytes of an entry that is missed.
const ENTRY_BYTES: usize = 16 << 10;

/// Writers while it catches up.
const WRITERS: usize = 16;

/// Flags of nodes that keep all of their log.
const NO_SNAPSHOT: [&str; 4] = ["--snapshot-entries", "1000000000", "--snapshot-bytes", "1000000000000"];

/// Lets one follower miss so much, by the log and by a snapshot.
pub(crate) fn round(
    stage: &Stage,
    flags: &ArgMatches,
    round: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    let mebibytes = flags.get_one::<u64>("mebibytes").copied().unwrap_or(1024);
    let load = Load::new()?;
    load.keep("refused", refused(1_000))?;
    let entries = mebibytes * (1 << 20) / ENTRY_BYTES as u64;
    load.keep("kept", crate::wrk::puts(usize::try_from(entries)?, ENTRY_BYTES))?;
    // A transaction whose condition does not hold is an entry as any other, and leaves the store as it was:
    // so what the nodes hold in memory is not the state.
    for (what, body, path, flags) in [
        ("behind by log", "refused", "/v3/kv/txn", &NO_SNAPSHOT[..]),
        ("behind by snapshot", "kept", "/v3/kv/put", &[]),
    ] {
        let mut cluster = stage.start(System::Ours, 3, flags)?;
        let figures =
            once(&mut cluster, entries, |address| load.run(address, path, body, 16, 1).map(|_| ()))?;
        report.add(Sample { point: format!("{mebibytes} MiB {what}"), system: System::Ours, round, figures });
    }
    Ok(())
}

/// Transactions whose condition does not hold.
fn refused(count: usize) -> impl Iterator<Item = Value> {
    let value = STANDARD.encode(vec![7; ENTRY_BYTES]);
    (0..count).map(move |number| {
        let never =
            json!({ "key": key(number), "target": "VERSION", "result": "EQUAL", "version": "1000000" });
        let put = json!({ "request_put": { "key": key(number), "value": value } });
        json!({ "compare": [never], "success": [put] })
    })
}

fn once(
    cluster: &mut Cluster,
    entries: u64,
    write: impl Fn(&str) -> Result<(), Failure>,
) -> Result<Vec<(String, f64)>, Failure> {
    let leader = cluster.wait_for_leader()?;
    let follower = (leader + 1) % cluster.len();
    let last = |cluster: &Cluster, node| cluster.raft_status(node).map(|status| status.last_index.0);
    let begin = last(cluster, leader).ok_or("the leader does not answer")?;
    cluster.kill(follower);
    while last(cluster, leader).ok_or("the leader does not answer")? < begin + entries {
        write(&cluster.address(leader))?;
    }
    let resting = resident(cluster, leader)?;
    let writers = Writers::closed(WRITERS, vec![cluster.address(leader)]);
    thread::sleep(BEFORE);
    let back = Instant::now();
    cluster.start(follower)?;
    let peaks = Peaks::watch(cluster, [leader, follower])?;
    // It is level once it has what the leader had when it came back.
    let goal = last(cluster, leader).ok_or("the leader does not answer")?;
    let reached = |status: example_app::api::raft_status::RaftStatus| status.applied_index.0 >= goal;
    cluster.wait("the follower to catch up", || cluster.raft_status(follower).is_some_and(reached))?;
    let level = Instant::now();
    thread::sleep(BEFORE);
    let [leader_peak, follower_peak] = peaks.stop();
    let after = resident(cluster, follower)?;
    let answers = writers.stop();
    let before = Phase::of(&answers, back - BEFORE + Duration::from_secs(1), back);
    let meanwhile = Phase::of(&answers, back, level);
    let figure = |name: &str, value: f64| (name.to_owned(), value);
    Ok(vec![
        figure("seconds until level", (level - back).as_secs_f64()),
        figure("writes a second before", before.per_second),
        figure("writes a second meanwhile", meanwhile.per_second),
        figure("p99 ms before", before.p99_ms),
        figure("p99 ms meanwhile", meanwhile.p99_ms),
        figure("p99 meanwhile / before", meanwhile.p99_ms / before.p99_ms),
        figure("longest ms meanwhile", meanwhile.longest_ms),
        figure("leader MiB before", resting),
        figure("leader MiB at most", leader_peak),
        figure("follower MiB at most", follower_peak),
        figure("follower MiB after", after),
    ])
}

fn resident(cluster: &Cluster, node: usize) -> Result<f64, Failure> {
    Ok(machine::mebibytes(cluster.process(node).ok_or("the node does not run")?, "VmRSS"))
}

/// What was answered of the writes that were sent between two moments.
struct Phase {
    per_second: f64,
    p99_ms: f64,
    longest_ms: f64,
}

impl Phase {
    fn of(answers: &[Answered], begin: Instant, end: Instant) -> Phase {
        let within = answers.iter().filter(|answer| (begin..end).contains(&answer.sent));
        let mut took: Vec<Duration> = within.map(|answer| answer.answered - answer.sent).collect();
        took.sort();
        let milliseconds = |took: Option<&Duration>| took.map_or(f64::NAN, |took| took.as_secs_f64() * 1e3);
        Phase {
            per_second: took.len() as f64 / (end - begin).as_secs_f64(),
            p99_ms: milliseconds(took.get(took.len() * 99 / 100)),
            longest_ms: milliseconds(took.last()),
        }
    }
}

/// The most memory that two nodes have taken.
struct Peaks {
    stopping: Arc<AtomicBool>,
    watcher: thread::JoinHandle<[f64; 2]>,
}

impl Peaks {
    fn watch(cluster: &Cluster, nodes: [usize; 2]) -> Result<Peaks, Failure> {
        let [one, other] = nodes.map(|node| cluster.process(node));
        let processes = one.zip(other).ok_or("a node does not run")?;
        let stopping = Arc::<AtomicBool>::default();
        let told = stopping.clone();
        let watcher = thread::spawn(move || {
            let mut most: [f64; 2] = [0.0; 2];
            while !told.load(Ordering::Relaxed) {
                for (most, process) in most.iter_mut().zip([processes.0, processes.1]) {
                    *most = most.max(machine::mebibytes(process, "VmRSS"));
                }
                thread::sleep(Duration::from_millis(10));
            }
            most
        });
        Ok(Peaks { stopping, watcher })
    }

    fn stop(self) -> [f64; 2] {
        self.stopping.store(true, Ordering::Relaxed);
        self.watcher.join().unwrap_or([f64::NAN; 2])
    }
}
