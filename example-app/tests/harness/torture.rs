//! What is done to real nodes under load, kind by kind, and what must hold after it.
//!
//! All of it is done from outside, to the program that everybody runs: signals, system calls that `strace`
//! has fail or be the last, a small file system that fills up, routes that lead nowhere. The program has no
//! door for it.

use std::{
    fmt,
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use raft_actor::mutants::Mutant;

use super::{Cluster, load::Load, network::Network};

/// How long nodes may take for anything, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A kind of torture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SIGKILL to one node, chosen at random.
    Kill,
    /// SIGKILL to all nodes, one right after the other.
    KillAll,
    /// A node dies just before its n-th write to a file: n is 1, 2, 3 and so on.
    KillAtWrite,
    /// A node dies just before its n-th flush.
    KillAtFlush,
    /// A node dies just before its n-th rename.
    KillAtRename,
    /// A flush fails: the n-th, with EIO.
    FlushFails,
    /// No write finds space, from the n-th on: ENOSPC.
    NoSpace,
    /// A node's file system is full: a small tmpfs.
    DiskFull,
    /// SIGSTOP and later SIGCONT, for the leader and for followers in turn.
    Freeze,
    /// Links between the nodes are cut, one way or both, and later mended.
    Partition,
}

impl Kind {
    /// Its name on the command line and in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::KillAll => "kill-all",
            Kind::KillAtWrite => "kill-at-write",
            Kind::KillAtFlush => "kill-at-flush",
            Kind::KillAtRename => "kill-at-rename",
            Kind::FlushFails => "flush-fails",
            Kind::NoSpace => "no-space",
            Kind::DiskFull => "disk-full",
            Kind::Freeze => "freeze",
            Kind::Partition => "partition",
        }
    }
}

/// What came of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// How often it was done.
    pub(crate) times: u64,
    /// Of these, how often the node went on, because it did not come to its n-th call in time; it was killed.
    pub(crate) not_reached: u64,
    pub(crate) acknowledged: usize,
    pub(crate) unknown: usize,
    /// Acknowledged writes that a node does not have, or has elsewhere.
    pub(crate) lost: Vec<String>,
    /// Writes that were applied more than once.
    pub(crate) twice: Vec<String>,
    /// Keys that nobody has tried to write.
    pub(crate) invented: Vec<String>,
    /// Reads that missed what was acknowledged before they began.
    pub(crate) stale: Vec<String>,
    pub(crate) reads: u64,
    /// Whether all nodes held the same at the end.
    pub(crate) identical: bool,
    /// The longest time from the fault to the first acknowledged write that was sent after it.
    pub(crate) longest_gap: Duration,
}

impl Row {
    /// Whether nothing is wrong, and enough was done for that to mean something.
    pub(crate) fn is_clean(&self) -> bool {
        let wrong = [&self.lost, &self.twice, &self.invented, &self.stale];
        // A node that mostly does not end of its fault may have met it, and gone on.
        let is_met = self.times > self.not_reached * 2;
        wrong.iter().all(|list| list.is_empty()) && self.identical && self.acknowledged > 0 && is_met
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>6} {:>12} {:>8} {:>7} {:>5} {:>5} {:>8} {:>5}  {:<9}  {:>11}",
            self.times - self.not_reached,
            self.acknowledged,
            self.unknown,
            self.reads,
            self.lost.len(),
            self.twice.len(),
            self.invented.len(),
            self.stale.len(),
            if self.identical { "yes" } else { "NO" },
            format!("{:.1?}", self.longest_gap),
        )
    }
}

/// What stands above rows.
pub(crate) const HEADINGS: &str =
    " times acknowledged unknown   reads  lost twice invented stale  identical  longest gap";

/// Tortures a new cluster of three `times` times in one way. With a mutant, all its nodes have that bug.
///
/// # Errors
///
/// A sentence: what this machine lacks for it.
pub(crate) fn run(
    program: PathBuf,
    kind: Kind,
    times: u64,
    seed: u64,
    mutant: Option<Mutant>,
) -> Result<Row, String> {
    let mut cluster = Cluster::new(program, 3);
    cluster.mutant = mutant;
    // Small files and frequent snapshots, so that renames come often and space runs out soon.
    let flags = ["--segment-bytes", "65536", "--snapshot-entries", "300", "--trailing-entries", "50"];
    cluster.flags = flags.map(str::to_owned).to_vec();
    if kind == Kind::Partition {
        cluster.network = Some(Network::new(3)?);
    }
    if strace_call(kind).is_some() {
        can_trace()?;
    }
    // Below the cluster, so that it is unmounted before the folder is removed.
    let small = (kind == Kind::DiskFull).then(|| SmallDisk::new(cluster.data(2))).transpose()?;
    for node in cluster.nodes() {
        cluster.start(node);
    }
    cluster.wait_for_leader(PATIENCE);
    let addresses: Vec<String> = cluster.nodes().map(|node| cluster.address(node)).collect();
    let load = Load::start(&addresses, 6, Duration::from_millis(2));
    let random = fastrand::Rng::with_seed(seed);
    let mut torture = Torture { cluster, load, random, row: Row::default(), small };
    for round in 1..=times {
        torture.round(kind, round);
        torture.row.times += 1;
        torture.pause(300);
    }
    Ok(torture.finish())
}

struct Torture {
    small: Option<SmallDisk>,
    cluster: Cluster,
    load: Load,
    random: fastrand::Rng,
    row: Row,
}

impl Torture {
    fn round(&mut self, kind: Kind, round: u64) {
        match kind {
            Kind::Kill => {
                let node = self.any_node();
                self.cluster.kill(node);
                self.writes_go_on();
                self.pause(300);
                self.bring_back(node);
            }
            Kind::KillAll => {
                self.cluster.nodes().for_each(|node| self.cluster.kill(node));
                self.cluster.nodes().for_each(|node| self.cluster.start(node));
                self.writes_go_on();
                self.all_caught_up();
            }
            Kind::Freeze => self.freeze(round),
            Kind::Partition => self.partition(round),
            Kind::DiskFull => self.fill_the_disk(),
            Kind::KillAtWrite | Kind::KillAtFlush | Kind::KillAtRename => {
                // Renames are rare; the same few are enough.
                let nth = if kind == Kind::KillAtRename { (round - 1) % 5 + 1 } else { round };
                if let Some(code) = self.end_under_strace(kind, nth) {
                    assert_eq!(code, None, "a node that was killed has no exit code");
                }
            }
            Kind::FlushFails | Kind::NoSpace => {
                let nth = self.random.u64(1..40);
                let said = self.cluster.nodes().map(|node| self.cluster.log(node).len()).collect::<Vec<_>>();
                if let Some(code) = self.end_under_strace(kind, nth) {
                    assert_eq!(code, Some(70), "a failing disk is told by the exit code");
                    let words = if kind == Kind::NoSpace { "No space left" } else { "Input/output error" };
                    let new = |node: usize| self.cluster.log(node).split_off(said[node - 1]);
                    assert!(self.cluster.nodes().any(|node| new(node).contains(words)), "and by the log");
                }
            }
        }
    }

    /// Starts a node anew under strace, which ends it at its `nth` call, and brings it back without. `None`:
    /// it did not make so many calls.
    fn end_under_strace(&mut self, kind: Kind, nth: u64) -> Option<Option<i32>> {
        let node = self.any_node();
        self.cluster.kill(node);
        let words = strace_call(kind).map(|call| strace(&format!("{call}:when={nth}{}", again(kind))));
        self.cluster.under.insert(node, words.unwrap_or_default());
        self.cluster.start(node);
        self.cluster.under.remove(&node);
        let ended = self.cluster.wait_for_end(node, PATIENCE / 4);
        self.writes_go_on();
        if ended.is_err() {
            self.row.not_reached += 1;
            self.cluster.kill(node);
        }
        self.bring_back(node);
        ended.ok()
    }

    fn freeze(&mut self, round: u64) {
        let node = match self.cluster.leader() {
            Some(leader) if round % 2 == 1 => leader,
            leader => leader.unwrap_or(1) % 3 + 1,
        };
        self.cluster.freeze(node);
        self.writes_go_on();
        self.pause(2500);
        self.cluster.thaw(node);
        self.cluster.wait_until_caught_up(node, PATIENCE);
    }

    /// Round by round: a node alone; a node that hears and is not heard; two that do not hear each other.
    fn partition(&mut self, round: u64) {
        let one = if round % 2 == 1 { self.cluster.leader().unwrap_or(1) } else { self.any_node() };
        let (next, last) = (one % 3 + 1, (one + 1) % 3 + 1);
        let links = match round % 3 {
            1 => vec![(one, next), (next, one), (one, last), (last, one)],
            2 => vec![(one, next), (one, last)],
            _ => vec![(one, next), (next, one)],
        };
        let network = self.cluster.network.as_ref().expect("it was made for this");
        links.iter().for_each(|(from, to)| network.cut(*from, *to));
        self.writes_go_on();
        self.pause(2500);
        let network = self.cluster.network.as_ref().expect("it was made for this");
        links.iter().for_each(|(from, to)| network.heal(*from, *to));
        self.all_caught_up();
    }

    fn fill_the_disk(&mut self) {
        let said = self.cluster.log(2).len();
        let small = self.small.as_ref().expect("it was made for this");
        small.fill();
        let code = self.cluster.wait_for_end(2, PATIENCE).expect("a node cannot go on with a full disk");
        assert_eq!(code, Some(70), "a full disk is told by the exit code");
        let said = self.cluster.log(2).split_off(said);
        assert!(said.contains("No space left"), "and by the log: {said}");
        self.writes_go_on();
        self.small.as_ref().expect("it was made for this").clear();
        self.bring_back(2);
    }

    fn any_node(&mut self) -> usize {
        self.random.usize(self.cluster.nodes())
    }

    fn pause(&mut self, milliseconds_max: u64) {
        thread::sleep(Duration::from_millis(self.random.u64(0..milliseconds_max)));
    }

    /// Waits until a write is acknowledged that was sent from now on.
    fn writes_go_on(&mut self) {
        let gap = self.load.first_answer_after(Instant::now(), PATIENCE).expect("two of three go on");
        self.row.longest_gap = self.row.longest_gap.max(gap);
    }

    fn bring_back(&mut self, node: usize) {
        self.cluster.start(node);
        self.cluster.wait_until_caught_up(node, PATIENCE);
    }

    fn all_caught_up(&self) {
        self.cluster.nodes().for_each(|node| self.cluster.wait_until_caught_up(node, PATIENCE));
    }

    /// Ends the load, and looks at what every node holds.
    fn finish(self) -> Row {
        let Torture { cluster, load, mut row, small, .. } = self;
        let record = load.stop();
        cluster.nodes().for_each(|node| cluster.wait_until_caught_up(node, PATIENCE));
        for node in cluster.nodes() {
            let audit = cluster.audit(node, &record);
            row.lost.extend(audit.lost);
            row.twice.extend(audit.twice);
            row.invented.extend(audit.invented);
        }
        row.identical = cluster.are_identical().1;
        (row.acknowledged, row.unknown) = (record.acknowledged.len(), record.unknown.len());
        (row.reads, row.stale) = (record.reads, record.stale_reads);
        // The node has to let go of its folder first.
        let mut cluster = cluster;
        cluster.nodes().for_each(|node| cluster.kill(node));
        drop(small);
        row
    }
}

/// Which system calls, and what becomes of them.
fn strace_call(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::KillAtWrite => Some("pwrite64:signal=KILL"),
        Kind::KillAtFlush => Some("fdatasync,fsync:signal=KILL"),
        Kind::KillAtRename => Some("/^rename:signal=KILL"),
        Kind::FlushFails => Some("fdatasync,fsync:error=EIO"),
        Kind::NoSpace => Some("pwrite64,ftruncate:error=ENOSPC"),
        _ => None,
    }
}

/// A disk that is full stays full.
fn again(kind: Kind) -> &'static str {
    if kind == Kind::NoSpace { "+" } else { "" }
}

/// Words before a command that have strace meddle with its calls. `-D`: the command keeps the process, and
/// strace is the one that stands aside.
pub(crate) fn strace(inject: &str) -> Vec<String> {
    let calls = inject.split(':').next().unwrap_or_default();
    let words = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")];
    let words = words.map(str::to_owned).into_iter();
    words.chain(["-e".to_owned(), format!("inject={inject}")]).collect()
}

pub(crate) fn can_trace() -> Result<(), String> {
    let words = strace("fsync:error=EIO:when=1");
    let run = Command::new(&words[0]).args(&words[1..]).arg("true").stdin(Stdio::null()).output();
    let output = run.map_err(|error| format!("`strace` cannot be run ({error})"))?;
    if output.status.success() && output.stderr.is_empty() {
        return Ok(());
    }
    Err(format!("`strace` is not allowed here: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// A small file system in memory. Unmounted when this is dropped.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    fn new(folder: PathBuf) -> Result<SmallDisk, String> {
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"]).arg(&folder).stdin(Stdio::null());
        let output = mount.output().map_err(|error| format!("`mount` cannot be run ({error})"))?;
        if output.status.success() {
            return Ok(SmallDisk { folder });
        }
        Err(format!("`mount -t tmpfs` is refused here: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let mut ballast = File::create(self.folder.join("ballast")).expect("a file can be made");
        while ballast.write_all(&[7; 4096]).is_ok() {}
    }

    fn clear(&self) {
        fs::remove_file(self.folder.join("ballast")).expect("the ballast is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that was killed just now may still be letting go.
        let unmounted = Command::new("umount").arg("-l").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.folder.display());
        }
    }
}
