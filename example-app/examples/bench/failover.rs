//! `bench failover`: from the end of a leader to the first write that is answered after it.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::ArgMatches;

use crate::{
    Failure,
    nodes::{Cluster, Stage, System},
    report::{Report, Sample},
    writers::Writers,
};

/// The same timeouts for both: those that ours has by default. etcd draws its election timeouts from once to
/// twice what it is given.
const OURS: [&str; 6] =
    ["--heartbeat-interval-ms", "50", "--election-timeout-min-ms", "300", "--election-timeout-max-ms", "600"];
const ETCD: [&str; 4] = ["--heartbeat-interval", "50", "--election-timeout", "300"];

/// How often a write begins: every gap is known to that.
const PAUSE: Duration = Duration::from_millis(5);

/// How long a gap may be.
const GAP_MAX: Duration = Duration::from_secs(30);

/// What becomes of the leader.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Its process is killed, so its connections are closed.
    Kill,
    /// It stands still, and so does whatever is sent to it.
    Freeze,
}

/// Does each thing so often to a fresh cluster of each system.
pub(crate) fn round(
    stage: &Stage,
    flags: &ArgMatches,
    round: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    let times = flags.get_one::<u64>("times").copied().unwrap_or(4);
    for system in stage.systems(round) {
        let flags: &[&str] = if system == System::Ours { &OURS } else { &ETCD };
        let mut cluster = stage.start(system, 3, flags)?;
        for kind in [Kind::Kill, Kind::Freeze] {
            for _ in 0..times {
                let gap = once(&mut cluster, kind)?;
                let point = if kind == Kind::Kill { "kill -9 of the leader" } else { "leader stands still" };
                report.add(Sample {
                    point: point.to_owned(),
                    system,
                    round,
                    figures: vec![("ms without writes".to_owned(), gap.as_secs_f64() * 1e3)],
                });
            }
        }
    }
    Ok(())
}

fn once(cluster: &mut Cluster, kind: Kind) -> Result<Duration, Failure> {
    let leader = cluster.wait_for_leader()?;
    for node in 0..cluster.len() {
        cluster.wait_until_level(node)?;
    }
    let survivors = (0..cluster.len()).filter(|node| *node != leader).map(|node| cluster.address(node));
    let writers = Writers::every(PAUSE, survivors.collect());
    // Not at the same place between two heartbeats each time.
    thread::sleep(Duration::from_millis(700 + fastrand::u64(..100)));
    let process = cluster.process(leader).ok_or("the leader does not run")?;
    let killed = Instant::now();
    let moment = match kind {
        Kind::Kill => {
            cluster.kill(leader);
            killed
        }
        // A write that is sent while the signal is on its way may still be answered, and counts for nothing.
        Kind::Freeze => {
            cluster.signal(leader, "STOP")?;
            Instant::now()
        }
    };
    let gap = writers.first_answer_after(moment, GAP_MAX);
    match kind {
        Kind::Kill => cluster.start(leader)?,
        Kind::Freeze => cluster.signal(leader, "CONT")?,
    }
    writers.stop();
    gap.ok_or_else(|| format!("no write in {GAP_MAX:?} after the end of process {process}").into())
}
