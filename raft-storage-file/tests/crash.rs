//! Power cuts after every single call to the disk, with what was not flushed kept, dropped or torn.
//!
//! After each, the folder must open and hold every acknowledged write, with no hole, and a term and vote
//! no older than what was acknowledged.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use bytes::Bytes;
use raft_actor::{
    storage::LogStorage,
    types::{ClusterId, Entry, HardState, LogId, LogIndex, LogState, LogWrite, NodeId, Payload, Term},
};
use raft_storage_file::{
    FileLog, Identity, Options,
    disk::simulated::{SimulatedDisk, Unflushed},
};

pub(crate) const FOLDER: &str = "/store";
pub(crate) const IDENTITY: Identity = Identity { cluster_id: ClusterId(7), node_id: NodeId(3) };

pub(crate) fn options() -> Options {
    Options::default()
        .with_segment_bytes(32 << 10)
        .with_spare_in_background(false)
        .with_recovery_threads(1)
        .with_mark_after(Duration::from_secs(3600))
        .with_seed(42)
}

/// The ways in which a disk takes what is to be written past its cache: our blocks, larger ones only, none.
pub(crate) const UNCACHED_BLOCKS: [Option<u64>; 3] = [Some(4096), Some(1 << 30), None];

/// An empty disk that takes it in one of these ways, as the number says.
pub(crate) fn disk_of_way(number: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.set_uncached_block(UNCACHED_BLOCKS[number as usize % UNCACHED_BLOCKS.len()]);
    disk
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Whether far more is tried than there is time for in every run.
pub(crate) fn is_long() -> bool {
    std::env::var_os("DAMAGE_DEEPER").is_some()
}

/// A row of the table in the book, under "How we test": what was done, how often, how often everything was
/// there, how often it was refused, and how often something acknowledged was gone.
pub(crate) fn tell(what: &str, images: usize, whole: usize, refused: usize, lost: usize) {
    println!("| {what} | {images} | {whole} | {refused} | {lost} |");
}

/// What a caller does, one at a time.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(Vec<LogWrite>),
    Purge(LogId),
    Reopen,
}

/// What must be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) hard_state: HardState,
    pub(crate) purged: LogId,
    pub(crate) entries: Vec<Entry>,
}

impl Model {
    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::Write(writes) => {
                for write in writes {
                    self.hard_state = write.hard_state.unwrap_or(self.hard_state);
                    if let Some(from) = write.truncate_from {
                        self.entries.retain(|entry| entry.id.index < from);
                    }
                    self.entries.extend(write.entries.iter().cloned());
                }
            }
            Step::Purge(through) => {
                self.purged = *through;
                self.entries.retain(|entry| entry.id.index > through.index);
            }
            Step::Reopen => {}
        }
    }

    /// What a store holds, read back whole.
    pub(crate) fn of(log: &mut FileLog, state: &LogState) -> Result<Model, String> {
        let mut entries = Vec::new();
        if state.last.index > state.purged.index {
            let read = log.read(state.purged.index.next(), state.last.index, u64::MAX);
            entries = block_on(read).map_err(|error| error.to_string())?.to_vec();
        }
        Ok(Model { hard_state: state.hard_state, purged: state.purged, entries })
    }
}

pub(crate) fn command(index: u64, term: u64, bytes: usize) -> Entry {
    let fill = if index.is_multiple_of(3) { 0 } else { (index * 7 + term) as u8 };
    let payload = Payload::Command(Bytes::from(vec![fill; bytes]));
    Entry::new(LogId::new(Term(term), LogIndex(index)), payload)
}

pub(crate) fn append(entries: Vec<Entry>) -> LogWrite {
    LogWrite { entries: entries.into(), ..LogWrite::default() }
}

pub(crate) fn vote(term: u64, node: u64) -> LogWrite {
    let hard_state = Some(HardState { term: Term(term), voted_for: Some(NodeId(node)), fence: None });
    LogWrite { hard_state, ..LogWrite::default() }
}

/// Every kind of call, with rotations, a truncation across segments, purges and a reopening in between.
pub(crate) fn workload() -> Vec<Step> {
    let mut steps = vec![Step::Write(vec![vote(1, 1)])];
    for index in 1..=6 {
        steps.push(Step::Write(vec![append(vec![command(index, 1, 3000)])]));
    }
    steps.push(Step::Write(vec![vote(2, 2), append(vec![command(7, 2, 10), command(8, 2, 9000)])]));
    steps.push(Step::Write(vec![LogWrite {
        truncate_from: Some(LogIndex(4)),
        ..append(vec![command(4, 2, 600), command(5, 2, 20)])
    }]));
    steps.push(Step::Purge(LogId::new(Term(1), LogIndex(2))));
    steps.push(Step::Reopen);
    steps.push(Step::Write(vec![vote(3, 1)]));
    for index in 6..=10 {
        steps.push(Step::Write(vec![append(vec![command(index, 3, 5000)])]));
    }
    steps.push(Step::Purge(LogId::new(Term(3), LogIndex(8))));
    steps.push(Step::Write(vec![
        vote(3, 1),
        append(vec![command(11, 3, 1)]),
        append(vec![command(12, 3, 40_000)]),
    ]));
    steps.push(Step::Write(vec![append(vec![command(13, 3, 0)])]));
    steps
}

pub(crate) fn open(disk: &SimulatedDisk) -> Result<(FileLog, LogState), String> {
    let mut log = FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options())
        .map_err(|error| error.to_string())?;
    let state = block_on(log.recover()).map_err(|error| error.to_string())?;
    Ok((log, state))
}

/// What was acknowledged before the disk stopped, and the step that was cut off.
struct Cut {
    acknowledged: Model,
    attempted: Model,
}

/// Runs until the disk stops answering.
fn run(disk: &SimulatedDisk, steps: &[Step]) -> Cut {
    let mut acknowledged = Model::default();
    let mut log = open(disk).ok().map(|(log, _)| log);
    for step in steps {
        let mut attempted = acknowledged.clone();
        attempted.apply(step);
        let done = match (&mut log, step) {
            (Some(log), Step::Write(writes)) => block_on(log.write(writes)).is_ok(),
            (Some(log), Step::Purge(through)) => block_on(log.purge(*through)).is_ok(),
            (Some(_), Step::Reopen) => {
                drop(log.take());
                log = open(disk).ok().map(|(log, _)| log);
                log.is_some()
            }
            (None, _) => false,
        };
        if !done {
            return Cut { acknowledged, attempted };
        }
        acknowledged = attempted;
    }
    Cut { attempted: acknowledged.clone(), acknowledged }
}

/// All that was acknowledged; of what was cut off all or nothing, but its hard state may be there alone.
fn check(found: &Model, cut: &Cut, what: &str) {
    let entries_of = |model: &Model| (model.purged, model.entries.clone());
    let allowed = [entries_of(&cut.acknowledged), entries_of(&cut.attempted)];
    assert!(allowed.contains(&entries_of(found)), "{what}: found {found:?}\nacked {:?}", cut.acknowledged);
    let votes = [cut.acknowledged.hard_state, cut.attempted.hard_state];
    assert!(votes.contains(&found.hard_state), "{what}: found {:?}, not one of {votes:?}", found.hard_state);
    let is_new = entries_of(found) != allowed[0];
    assert!(!is_new || found.hard_state == votes[1], "{what}: entries came without their term and vote");
}

/// However a crash fell, every segment but the last is sealed again, so the loss of the last one would be
/// seen.
fn check_seals(disk: &SimulatedDisk, what: &str) {
    let mut segments = disk.paths();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.sort_by_key(|path| path.to_string_lossy().split_once('-').map(|(_, id)| id.to_owned()));
    segments.pop();
    for path in segments {
        let bytes = disk.bytes(&path).unwrap();
        assert_eq!(bytes[bytes.len() - 4096 + 56], 4, "{what}: {} has no seal", path.display());
    }
}

/// Opens what a crash has left, checks it, uses it, and opens it again.
fn survive(crashed: &SimulatedDisk, cut: &Cut, what: &str) {
    let (mut log, state) = open(crashed).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut found = Model::of(&mut log, &state).unwrap_or_else(|error| panic!("{what}: {error}"));
    check(&found, cut, what);
    check_seals(crashed, what);
    let next = found.entries.last().map_or(found.purged.index.0, |entry| entry.id.index.0) + 1;
    let term = found.hard_state.term.0 + 1;
    let step = Step::Write(vec![vote(term, 9), append(vec![command(next, term, 700)])]);
    found.apply(&step);
    let Step::Write(writes) = &step else { unreachable!("it was made a write above") };
    block_on(log.write(writes)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let crashed = crashed.crash(Unflushed::Dropped);
    let (mut log, state) = open(&crashed).unwrap_or_else(|error| panic!("{what}, second time: {error}"));
    assert_eq!(Model::of(&mut log, &state).as_ref(), Ok(&found), "{what}, second time");
}

/// Cuts the power after so many calls, and looks at what is left in twelve states; says how many that were.
fn cut_the_power(way: u64, stop: u64) -> u64 {
    let steps = workload();
    let disk = disk_of_way(way);
    disk.fail_after(stop, ErrorKind::Other);
    let cut = run(&disk, &steps);
    let mut images = 0;
    let states = [Unflushed::Kept, Unflushed::Dropped].into_iter();
    for unflushed in states.chain((0..10).map(|seed| Unflushed::Torn(stop * 100 + seed))) {
        let what = format!("way {way} past the cache, stopped after call {stop}, {unflushed:?}");
        survive(&disk.crash(unflushed), &cut, &what);
        images += 1;
    }
    images
}

pub(crate) fn cut_the_power_after(stop: u64) {
    cut_the_power(stop, stop);
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_is_cut() {
    let whole = SimulatedDisk::new();
    run(&whole, &workload());
    let calls = whole.calls().total();
    let cut_after = |stop: u64| (0..3).map(move |way| cut_the_power(way, stop)).sum::<u64>();
    let images = (0..=calls).map(cut_after).sum::<u64>() as usize;
    tell(&format!("power cut after each of {calls} calls, in 12 states and 3 ways"), images, images, 0, 0);
    assert!(calls > 100 && images > 3600, "the workload has become too small to prove anything");
}

#[test]
fn a_crash_during_recovery_loses_nothing_either() {
    let steps = workload();
    let whole = SimulatedDisk::new();
    run(&whole, &steps);
    let mut images = 0_usize;
    for stop in (40..whole.calls().total()).step_by(3) {
        let disk = disk_of_way(stop / 3);
        disk.fail_after(stop, ErrorKind::Other);
        let cut = run(&disk, &steps);
        for seed in 0..3 {
            let crashed = disk.crash(Unflushed::Torn(seed));
            for again in 0..12 {
                let second = crashed.crash(Unflushed::Kept);
                second.fail_after(again, ErrorKind::Other);
                drop(open(&second));
                let what = format!("stopped after call {stop}, seed {seed}, again in recovery after {again}");
                survive(&second.crash(Unflushed::Torn(again)), &cut, &what);
                images += 1;
            }
        }
    }
    tell("power cut, and again while the folder is opened", images, images, 0, 0);
    assert!(images > 500, "the workload has become too small to prove anything");
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_is_kept() {
    let mut cuts = 0;
    for seed in 0..200 {
        let disk = disk_of_way(seed);
        let (mut log, _) = open(&disk).unwrap();
        let mut model = Model::default();
        let acked = Step::Write(vec![vote(1, 1), append(vec![command(1, 1, 5000)])]);
        let Step::Write(writes) = &acked else { unreachable!("it was made a write above") };
        block_on(log.write(writes)).unwrap();
        model.apply(&acked);
        // The write itself is let through, its flush is not.
        disk.fail_after(1, ErrorKind::Other);
        block_on(log.write(&[append(vec![command(2, 1, 8000)])])).unwrap_err();
        drop(log);
        let crashed = disk.crash(Unflushed::Torn(seed));
        let (mut log, state) = open(&crashed).unwrap();
        let found = Model::of(&mut log, &state).unwrap();
        cuts += u64::from(found == model);
        assert_eq!(found.entries[..1], model.entries[..]);
    }
    tell("power cut while a frame is written", 200, 200, 0, 0);
    assert!(cuts > 190);
}

#[cfg_attr(test, test)]
pub(crate) fn after_a_failed_flush_nothing_is_acknowledged_any_more() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    block_on(log.write(&[vote(1, 1), append(vec![command(1, 1, 50)])])).unwrap();
    disk.fail_next_sync();
    let first = block_on(log.write(&[append(vec![command(2, 1, 50)])])).unwrap_err();
    assert!(first.to_string().contains("cannot flush /store/log/"), "{first}");
    let calls = disk.calls();
    let errors = [
        block_on(log.write(&[append(vec![command(2, 1, 50)])])).unwrap_err(),
        block_on(log.write(&[vote(2, 2)])).unwrap_err(),
        block_on(log.read(LogIndex(1), LogIndex(1), 100)).unwrap_err(),
        block_on(log.purge(LogId::new(Term(1), LogIndex(1)))).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains(&first.to_string()), "{error}");
    }
    drop(log);
    assert_eq!(disk.calls(), calls, "the disk was touched after it had failed");
    let (_, state) = open(&disk.crash(Unflushed::Dropped)).unwrap();
    assert_eq!(state.last, LogId::new(Term(1), LogIndex(1)));
}

#[test]
fn a_full_disk_is_an_error_that_says_so_and_loses_nothing() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    block_on(log.write(&[vote(1, 1), append(vec![command(1, 1, 50)])])).unwrap();
    disk.fail_after(0, ErrorKind::StorageFull);
    // Larger than what is left of the segment: a new one is needed, and there is no room for it.
    let error = block_on(log.write(&[append(vec![command(2, 1, 100_000)])])).unwrap_err();
    assert!(matches!(
        &error,
        raft_actor::storage::StorageError::Io { source, .. } if source.kind() == ErrorKind::StorageFull
    ));
    drop(log);
    let (mut log, state) = open(&disk.crash(Unflushed::Kept)).unwrap();
    assert_eq!(state.last, LogId::new(Term(1), LogIndex(1)));
    block_on(log.write(&[append(vec![command(2, 1, 100_000)])])).unwrap();
}

#[test]
fn a_write_costs_one_write_and_one_flush() {
    let disk = SimulatedDisk::new();
    let options = options().with_segment_bytes(1 << 20);
    let mut log = FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options).unwrap();
    block_on(log.recover()).unwrap();
    block_on(log.write(&[vote(1, 1)])).unwrap();
    for index in 1..=100 {
        let before = disk.calls();
        block_on(log.write(&[append(vec![command(index, 1, 128)])])).unwrap();
        let after = disk.calls();
        assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (1, 1));
        assert_eq!(after.total() - before.total(), 2);
    }
    let before = disk.calls();
    block_on(log.write(&[vote(2, 1), append(vec![command(101, 2, 128)])])).unwrap();
    let after = disk.calls();
    println!(
        "a write: 1 write, 1 flush; with a vote: {} and {}",
        after.writes - before.writes,
        after.syncs - before.syncs
    );
    assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (3, 2));
}

#[test]
fn an_idle_store_is_marked_once_and_a_busy_one_never() {
    let disk = SimulatedDisk::new();
    let options = options().with_segment_bytes(1 << 20).with_mark_after(Duration::from_millis(200));
    let mut log = FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options).unwrap();
    block_on(log.recover()).unwrap();
    block_on(log.write(&[vote(1, 1)])).unwrap();
    let before = disk.calls();
    let started = std::time::Instant::now();
    for index in 1..=50 {
        block_on(log.write(&[append(vec![command(index, 1, 128)])])).unwrap();
    }
    let busy = disk.calls().writes - before.writes;
    assert!(busy == 50 || started.elapsed() > Duration::from_millis(200), "{busy} writes for 50");
    let before = disk.calls();
    std::thread::sleep(Duration::from_millis(900));
    let after = disk.calls();
    assert_eq!((after.writes - before.writes, after.syncs - before.syncs), (1, 1));
}

#[test]
fn purging_removes_files_and_the_log_goes_on() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    block_on(log.write(&[vote(1, 1)])).unwrap();
    for index in 1..=100 {
        block_on(log.write(&[append(vec![command(index, 1, 3000)])])).unwrap();
    }
    let before = disk.paths().len();
    block_on(log.purge(LogId::new(Term(1), LogIndex(95)))).unwrap();
    assert!(before > 15 && disk.paths().len() < 7, "{before} files, then {:?}", disk.paths());
    drop(log);
    let (mut log, state) = open(&disk.crash(Unflushed::Dropped)).unwrap();
    assert_eq!((state.purged.index, state.last.index), (LogIndex(95), LogIndex(100)));
    assert_eq!(block_on(log.read(LogIndex(96), LogIndex(100), u64::MAX)).unwrap().len(), 5);
}

/// A random call, one that keeps the contract.
fn random_step(random: &mut fastrand::Rng, model: &Model) -> Step {
    let last = model.entries.last().map_or(model.purged, |entry| entry.id);
    let mut term = model.hard_state.term.0.max(1);
    let mut group = Vec::new();
    if model.hard_state.term == Term(0) || random.u32(0..4) == 0 {
        term += random.u64(0..2);
        group.push(vote(term, random.u64(1..4)));
    }
    if random.u32(0..12) == 0 && !model.entries.is_empty() {
        return Step::Purge(model.entries[random.usize(0..model.entries.len())].id);
    }
    if random.u32(0..15) == 0 {
        return Step::Reopen;
    }
    let mut first = last.index.0 + 1;
    let mut write = LogWrite::default();
    if random.u32(0..4) == 0 && !model.entries.is_empty() {
        first = random.u64(model.purged.index.0 + 1..=last.index.0);
        write.truncate_from = Some(LogIndex(first));
    }
    let sizes = [0, 10, 500, 3000, 9000];
    let count = random.u64(0..4);
    let entries = (first..first + count).map(|index| command(index, term, sizes[random.usize(0..5)]));
    write.entries = entries.collect::<Vec<Entry>>().into();
    group.push(write);
    Step::Write(group)
}

#[test]
fn random_work_survives_random_power_cuts() {
    let mut images = 0_usize;
    for seed in 0..if is_long() { 10_000 } else { 150 } {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut model, mut steps) = (Model::default(), Vec::new());
        for _ in 0..30 {
            let step = random_step(&mut random, &model);
            model.apply(&step);
            steps.push(step);
        }
        let whole = SimulatedDisk::new();
        assert_eq!(run(&whole, &steps).acknowledged, model, "seed {seed} is refused without a crash");
        let calls = whole.calls().total();
        for _ in 0..4 {
            let stop = random.u64(20..=calls);
            let disk = disk_of_way(seed);
            disk.fail_after(stop, ErrorKind::Other);
            let cut = run(&disk, &steps);
            let torn = Unflushed::Torn(random.u64(..));
            survive(&disk.crash(torn), &cut, &format!("seed {seed}, stopped after call {stop}, {torn:?}"));
            images += 1;
        }
    }
    tell("random work, random power cut", images, images, 0, 0);
}
