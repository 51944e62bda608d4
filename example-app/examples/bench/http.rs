//! `bench http`: puts, and linearizable and serializable ranges, of three nodes on this machine.

use clap::ArgMatches;

use crate::{
    Failure, machine,
    nodes::{Cluster, Stage, System},
    numbers,
    report::{Report, Sample},
    wrk::{self, KEYS, Load},
};

/// Bytes of a value.
const VALUE_BYTES: usize = 128;

/// What is run.
pub(crate) struct Course {
    connections: Vec<u64>,
    reading: Vec<u64>,
    seconds: u64,
}

impl Course {
    pub(crate) fn new(flags: &ArgMatches) -> Course {
        let seconds = flags.get_one("seconds").copied().unwrap_or(3);
        Course { connections: numbers(flags, "connections"), reading: numbers(flags, "reading"), seconds }
    }
}

/// Takes every point once, with a fresh cluster of each system.
pub(crate) fn round(stage: &Stage, course: &Course, round: u64, report: &mut Report) -> Result<(), Failure> {
    let load = Load::new()?;
    load.keep("put", wrk::puts(KEYS, VALUE_BYTES))?;
    load.keep("range", wrk::ranges(KEYS, false))?;
    load.keep("serializable range", wrk::ranges(KEYS, true))?;
    for system in stage.systems(round) {
        let cluster = stage.start(system, 3, &[])?;
        let point = Point { load: &load, cluster: &cluster, system, round, seconds: course.seconds };
        fill(&point)?;
        for connections in &course.connections {
            report.add(point.take("put", *connections)?);
        }
        for kind in ["range", "serializable range"] {
            for connections in &course.reading {
                report.add(point.take(kind, *connections)?);
            }
        }
    }
    Ok(())
}

/// Sets every key.
fn fill(point: &Point<'_>) -> Result<(), Failure> {
    let leader = point.cluster.wait_for_leader()?;
    let mut set = 0;
    while set < KEYS as u64 {
        set += point.load.run(&point.cluster.address(leader), "/v3/kv/put", "put", 16, 1)?.requests;
    }
    Ok(())
}

/// How a point is taken.
pub(crate) struct Point<'a> {
    pub(crate) load: &'a Load,
    pub(crate) cluster: &'a Cluster,
    pub(crate) system: System,
    pub(crate) round: u64,
    pub(crate) seconds: u64,
}

impl Point<'_> {
    /// Has the leader asked over so many connections, with the bodies that are kept under `kind`.
    pub(crate) fn take(&self, kind: &str, connections: u64) -> Result<Sample, Failure> {
        let path = if kind.contains("range") { "/v3/kv/range" } else { "/v3/kv/put" };
        let leader = self.cluster.wait_for_leader()?;
        let address = self.cluster.address(leader);
        self.load.run(&address, path, kind, connections, 1)?;
        let before = self.cluster.revision(leader).ok_or("the leader does not answer")?;
        let clock = machine::Clock::start(&self.cluster.processes());
        let seen = self.load.run(&address, path, kind, connections, self.seconds)?;
        let spent = clock.stop();
        let after = self.cluster.revision(leader).ok_or("the leader does not answer")?;
        let applied = u64::try_from(after - before)?;
        // Every put that was answered is in the store; of each connection one more may be, and one that was
        // answered when wrk counted no more.
        if path.ends_with("put") && !(seen.requests..=seen.requests + 2 * connections).contains(&applied) {
            return Err(format!("{} puts were answered, and {applied} applied", seen.requests).into());
        }
        // A value of so many bytes is a third longer in base64.
        if path.ends_with("range") && seen.answer_bytes < VALUE_BYTES as f64 * 1.33 {
            return Err(format!("{} bytes an answer cannot hold a value", seen.answer_bytes).into());
        }
        let resident = self.cluster.processes().into_iter().map(|id| machine::mebibytes(id, "VmRSS"));
        Ok(Sample {
            point: format!("{kind}, {connections} connections"),
            system: self.system,
            round: self.round,
            figures: vec![
                ("a second".to_owned(), seen.per_second),
                ("p50 ms".to_owned(), seen.p50_ms),
                ("p99 ms".to_owned(), seen.p99_ms),
                (
                    "nodes' processor us each".to_owned(),
                    spent.seconds.iter().sum::<f64>() * 1e6 / seen.requests as f64,
                ),
                ("largest node MiB".to_owned(), resident.fold(0.0, f64::max)),
                ("others' % of machine".to_owned(), spent.others * 100.0),
            ],
        })
    }
}
