//! `bench growth`: what becomes dearer with more members, larger payloads, more puts and longer logs, and
//! what a cluster costs that has nothing to do.

use std::{
    thread,
    time::{Duration, Instant},
};

use actix_web::rt::System as Runtime;
use bytes::Bytes;
use clap::ArgMatches;
use example_app::{
    kv::{Command, Put, machine::Store},
    node::log_folder,
};
use raft_actor::{
    client::session::SessionCommand,
    state_machine::StateMachine,
    storage::LogStorage,
    types::{ClusterId, Entry, LogId, LogIndex, LogWrite, NodeId, Payload},
};
use raft_storage_file::{FileLog, Identity};

use crate::{
    Failure,
    http::Point,
    machine,
    nodes::{Cluster, Stage, System},
    numbers,
    report::{Report, Sample},
    wrk::{self, Load},
};

pub(crate) const NAMES: [&str; 5] = ["members", "payload", "memory", "log", "idle"];

/// How long a cluster idles.
const IDLE: Duration = Duration::from_secs(10);

/// Takes whatever was asked for once.
pub(crate) fn round(
    stage: &Stage,
    flags: &ArgMatches,
    round: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    let what: Vec<&String> = flags.get_many("what").map(Iterator::collect).unwrap_or_default();
    for what in what {
        match what.as_str() {
            "members" => members(stage, round, report)?,
            "payload" => payload(stage, round, report)?,
            "memory" => memory(stage, round, report)?,
            "log" => {
                for entries in numbers(flags, "entries") {
                    report.add(Sample {
                        point: format!("start with {entries} entries"),
                        system: System::Ours,
                        round,
                        figures: log(stage, entries)?,
                    });
                }
            }
            _ => idle(stage, round, report)?,
        }
    }
    Ok(())
}

/// Puts of 128 bytes over 64 connections, with 1, 3, 5 and 7 members.
fn members(stage: &Stage, round: u64, report: &mut Report) -> Result<(), Failure> {
    let load = Load::new()?;
    load.keep("put", wrk::puts(wrk::KEYS, 128))?;
    for members in [1, 3, 5, 7] {
        for system in stage.systems(round) {
            let cluster = stage.start(system, members, &[])?;
            let point = Point { load: &load, cluster: &cluster, system, round, seconds: 3 };
            let sample = point.take("put", 64)?;
            report.add(Sample { point: format!("{members} members, 64 connections"), ..sample });
        }
    }
    Ok(())
}

/// Puts over 16 connections, from no value to 1 MiB.
fn payload(stage: &Stage, round: u64, report: &mut Report) -> Result<(), Failure> {
    let load = Load::new()?;
    for system in stage.systems(round) {
        let cluster = stage.start(system, 3, &[])?;
        for bytes in [0, 128, 1 << 10, 16 << 10, 128 << 10, 1 << 20] {
            load.keep("put", wrk::puts(100, bytes))?;
            let point = Point { load: &load, cluster: &cluster, system, round, seconds: 3 };
            let mut sample = point.take("put", 16)?;
            if let Some((_, rate)) = sample.figures.first().filter(|_| bytes > 0) {
                let mebibytes = rate * bytes as f64 / f64::from(1 << 20);
                sample.figures.insert(1, ("MiB a second".to_owned(), mebibytes));
            }
            report.add(Sample { point: format!("value of {bytes} B, 16 connections"), ..sample });
        }
    }
    Ok(())
}

/// What nodes keep in memory after as many puts, whoever takes how long for them.
fn memory(stage: &Stage, round: u64, report: &mut Report) -> Result<(), Failure> {
    let load = Load::new()?;
    load.keep("put", wrk::puts(wrk::KEYS, 128))?;
    for system in stage.systems(round) {
        let cluster = stage.start(system, 3, &[])?;
        let leader = cluster.wait_for_leader()?;
        for puts in [0, 30_000, 100_000, 300_000] {
            while cluster.revision(leader).ok_or("the leader does not answer")? < puts {
                load.run(&cluster.address(leader), "/v3/kv/put", "put", 64, 1)?;
            }
            let nodes = cluster.processes().into_iter().map(|node| machine::mebibytes(node, "VmRSS"));
            let nodes: Vec<f64> = nodes.collect();
            report.add(Sample {
                point: format!("{puts} puts of 128 B"),
                system,
                round,
                figures: vec![
                    ("MiB, mean of the nodes".to_owned(), nodes.iter().sum::<f64>() / nodes.len() as f64),
                    ("MiB, largest node".to_owned(), nodes.into_iter().fold(0.0, f64::max)),
                ],
            });
        }
    }
    Ok(())
}

/// A node alone starts up with a log of so many entries, none of them in a snapshot.
fn log(stage: &Stage, entries: u64) -> Result<Vec<(String, f64)>, Failure> {
    let flags = ["--snapshot-entries", "1000000000000", "--snapshot-bytes", "1000000000000"];
    let mut cluster = stage.start(System::Ours, 1, &flags)?;
    cluster.kill(0);
    let last = Runtime::new().block_on(lengthen(&cluster, entries))?;
    let began = Instant::now();
    cluster.start(0)?;
    cluster.wait("the node to answer", || cluster.raft_status(0).is_some())?;
    let answers = began.elapsed();
    let applied = |status: example_app::api::raft_status::RaftStatus| status.applied_index >= last;
    cluster.wait("the log to be applied", || cluster.raft_status(0).is_some_and(applied))?;
    let process = cluster.process(0).ok_or("the node does not run")?;
    Ok(vec![
        ("s until it answers".to_owned(), answers.as_secs_f64()),
        ("s until all is applied".to_owned(), began.elapsed().as_secs_f64()),
        ("MiB at most".to_owned(), machine::mebibytes(process, "VmHWM")),
    ])
}

/// Appends puts of 16 bytes to 1,000 keys; the last entry.
async fn lengthen(cluster: &Cluster, entries: u64) -> Result<LogIndex, Failure> {
    let identity = Identity { cluster_id: ClusterId(1), node_id: NodeId(1) };
    let mut log = FileLog::open(log_folder(&cluster.data(0)), identity)?;
    let mut last = log.recover().await?.last;
    let end = LogIndex(last.index.0 + entries);
    let value = Bytes::from_static(&[7; 16]);
    while last.index < end {
        let through = end.0.min(last.index.0 + 10_000);
        let mut batch = Vec::new();
        for index in last.index.0 + 1..=through {
            let key = format!("key{:08}", index % 1_000).into();
            let put = Command::Put(Put { key, value: value.clone(), ..Put::default() });
            let command = Store::encode_command(&SessionCommand::Plain(put))?;
            let id = LogId { term: last.term, index: LogIndex(index) };
            batch.push(Entry { id, payload: Payload::Command(command) });
        }
        last.index = LogIndex(through);
        log.write(&[LogWrite { entries: batch.into(), ..LogWrite::default() }]).await?;
    }
    Ok(end)
}

/// Three nodes that nobody asks anything.
fn idle(stage: &Stage, round: u64, report: &mut Report) -> Result<(), Failure> {
    for system in stage.systems(round) {
        let cluster = stage.start(system, 3, &[])?;
        let leader = cluster.wait_for_leader()?;
        thread::sleep(Duration::from_secs(2));
        let processes = cluster.processes();
        let slept: Vec<f64> = processes.iter().map(|process| machine::sleeps(*process)).collect();
        let segments = machine::segments_sent();
        let clock = machine::Clock::start(&processes);
        thread::sleep(IDLE);
        let spent = clock.stop();
        let segments = machine::segments_sent() - segments;
        let second = IDLE.as_secs_f64();
        let percent = |node: usize| spent.seconds.get(node).map_or(f64::NAN, |busy| busy / second * 100.0);
        let wakes = |node: usize| {
            let slept = processes.get(node).zip(slept.get(node));
            slept.map_or(f64::NAN, |(process, slept)| (machine::sleeps(*process) - slept) / second)
        };
        let follower = (leader + 1) % cluster.len();
        report.add(Sample {
            point: "three nodes, idle".to_owned(),
            system,
            round,
            figures: vec![
                ("leader % of a core".to_owned(), percent(leader)),
                ("follower % of a core".to_owned(), percent(follower)),
                ("leader's wake-ups a second".to_owned(), wakes(leader)),
                ("follower's wake-ups a second".to_owned(), wakes(follower)),
                ("machine's TCP segments a second".to_owned(), segments / second),
            ],
        });
    }
    Ok(())
}
