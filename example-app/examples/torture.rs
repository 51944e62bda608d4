//! Kills nodes with SIGKILL under load, again and again, and then looks for what was lost.
//!
//! `cargo build -p example-app && cargo run -p example-app --example torture -- [kills] [of-all-at-once]
//! [seed]`
//!
//! By default 200 times one node of three, chosen at random, and 20 times all three at once, spread among
//! them. It prints a table, and ends with 1 if an acknowledged write is missing, was applied twice, was
//! missed by a later read, or if the nodes differ.

#[path = "../tests/harness/mod.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod harness;

use std::{
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use harness::{
    Cluster,
    load::{Load, Record},
};

/// How long nodes may take to come back, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let mut next = |default: u64| arguments.next().unwrap_or(Ok(default)).expect("the arguments are numbers");
    let (single, all, seed) = (next(200), next(20), next(fastrand::u64(..1_000_000)));
    println!("{single} kills of one node, {all} of all nodes at once; seed {seed}");
    let mut torture = Torture::new(seed);
    let mut kinds = vec![false; usize::try_from(single).expect("it fits")];
    kinds.extend(vec![true; usize::try_from(all).expect("it fits")]);
    torture.random.shuffle(&mut kinds);
    for (round, all_at_once) in kinds.iter().enumerate() {
        if *all_at_once {
            torture.kill_all();
        } else {
            torture.kill_one();
        }
        if (round + 1) % 20 == 0 {
            println!("{} kills done after {:.0?}", round + 1, torture.began.elapsed());
        }
    }
    torture.report()
}

struct Torture {
    cluster: Cluster,
    load: Load,
    random: fastrand::Rng,
    began: Instant,
    leaders_killed: u64,
    gaps_of_leaders: Vec<Duration>,
    gaps_of_all: Vec<Duration>,
}

impl Torture {
    fn new(seed: u64) -> Torture {
        let cluster = Cluster::started(program(), 3);
        let addresses: Vec<String> = cluster.nodes().map(|node| cluster.address(node)).collect();
        Torture {
            load: Load::start(&addresses, 6, Duration::from_millis(2)),
            cluster,
            random: fastrand::Rng::with_seed(seed),
            began: Instant::now(),
            leaders_killed: 0,
            gaps_of_leaders: Vec::new(),
            gaps_of_all: Vec::new(),
        }
    }

    /// Kills one node, while the other two run and are a majority.
    fn kill_one(&mut self) {
        let leader = self.cluster.leader();
        let node = self.random.usize(self.cluster.nodes());
        let killed = Instant::now();
        self.cluster.kill(node);
        let gap = self.load.first_answer_after(killed, PATIENCE).expect("two of three go on");
        if leader == Some(node) {
            self.leaders_killed += 1;
            self.gaps_of_leaders.push(gap);
        }
        self.pause();
        self.cluster.start(node);
        self.cluster.wait_until_caught_up(node, PATIENCE);
        self.pause();
    }

    /// Kills all nodes as fast as one after the other can be killed.
    fn kill_all(&mut self) {
        for node in self.cluster.nodes() {
            self.cluster.kill(node);
        }
        for node in self.cluster.nodes() {
            self.cluster.start(node);
        }
        let started = Instant::now();
        let gap = self.load.first_answer_after(started, PATIENCE).expect("they come back");
        self.gaps_of_all.push(gap);
        for node in self.cluster.nodes() {
            self.cluster.wait_until_caught_up(node, PATIENCE);
        }
        self.pause();
    }

    fn pause(&mut self) {
        thread::sleep(Duration::from_millis(self.random.u64(0..300)));
    }

    fn report(self) -> ExitCode {
        let Torture { cluster, load, began, leaders_killed, mut gaps_of_leaders, mut gaps_of_all, .. } = self;
        let record = load.stop();
        for node in cluster.nodes() {
            cluster.wait_until_caught_up(node, PATIENCE);
        }
        println!("took {:.0?}; {leaders_killed} of the nodes killed alone were leaders", began.elapsed());
        println!("kill of a leader to first acknowledged write: {}", spread(&mut gaps_of_leaders));
        println!("start of all nodes to first acknowledged write: {}", spread(&mut gaps_of_all));
        println!(
            "{} writes acknowledged, {} without an answer, {} reads, {} of them stale\n",
            record.acknowledged.len(),
            record.unknown.len(),
            record.reads,
            record.stale_reads.len(),
        );
        let clean = audit(&cluster, &record);
        let (revision, identical) = cluster.are_identical();
        println!(
            "\nall nodes hold the same at revision {revision}: {}",
            if identical { "yes" } else { "NO" }
        );
        if clean && identical && record.stale_reads.is_empty() {
            return ExitCode::SUCCESS;
        }
        record.stale_reads.iter().take(10).for_each(|stale| println!("stale: {stale}"));
        ExitCode::FAILURE
    }
}

/// Prints what each node holds; whether that is what it should.
fn audit(cluster: &Cluster, record: &Record) -> bool {
    println!("node  found     lost  twice  invented  found of those without an answer");
    let mut clean = true;
    for node in cluster.nodes() {
        let audit = cluster.audit(node, record);
        let (lost, twice, invented) = (audit.lost.len(), audit.twice.len(), audit.invented.len());
        println!(
            "{node:<4}  {:<8}  {lost:<4}  {twice:<5}  {invented:<8}  {}",
            audit.found, audit.unknown_found
        );
        audit
            .lost
            .iter()
            .chain(&audit.twice)
            .chain(&audit.invented)
            .take(10)
            .for_each(|key| println!("  {key}"));
        clean &= lost + twice + invented == 0 && audit.found == record.acknowledged.len();
    }
    clean
}

fn spread(durations: &mut [Duration]) -> String {
    durations.sort();
    match (durations.get(durations.len() / 2), durations.last()) {
        (Some(median), Some(longest)) => format!("median {median:.0?}, longest {longest:.0?}"),
        _ => "never seen".to_owned(),
    }
}

/// The program beside this one: examples are built into a folder of their own.
fn program() -> PathBuf {
    let here = std::env::current_exe().expect("this program has a path");
    let program = here.parent().and_then(|folder| folder.parent()).expect("a folder").join("example-app");
    assert!(program.exists(), "{} is missing; build it first: cargo build -p example-app", program.display());
    program
}
