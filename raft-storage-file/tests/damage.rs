//! Damage: every sector of every file zeroed, overwritten, or with one bit turned; files lost, cut or
//! swapped.
//!
//! Whatever is done, a store opens with exactly what it held, or refuses and says in which file, where,
//! and what to do. It never opens with less.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use raft_actor::{
    storage::{LogStorage, StorageError},
    types::{LogId, LogIndex, LogState, LogWrite, Term},
};
use raft_storage_file::{
    FileLog,
    disk::{
        Disk,
        simulated::{SimulatedDisk, Unflushed},
    },
    inspect::{Verdict, inspect},
};

use super::crash::{FOLDER, IDENTITY, Model, Step, append, block_on, command, is_long, options, tell, vote};

fn open(disk: &SimulatedDisk) -> Result<(FileLog, LogState), StorageError> {
    let mut log = FileLog::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY, options())?;
    let state = block_on(log.recover())?;
    Ok((log, state))
}

/// A store of several segments, with a truncation and a purge. `closed`: in good order, so that its end is
/// marked.
fn store(closed: bool) -> (SimulatedDisk, Model) {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    let mut model = Model::default();
    let mut steps = vec![Step::Write(vec![vote(1, 1)])];
    for first in [1, 3, 5, 7, 9] {
        steps.push(Step::Write(vec![append(vec![command(first, 1, 3000), command(first + 1, 1, 700)])]));
    }
    steps.push(Step::Write(vec![vote(2, 3), append(vec![command(11, 2, 6000)])]));
    let replaced = append(vec![command(10, 2, 100), command(11, 2, 100)]);
    steps.push(Step::Write(vec![LogWrite { truncate_from: Some(LogIndex(10)), ..replaced }]));
    for index in 12..=17 {
        steps.push(Step::Write(vec![append(vec![command(index, 2, 4500)])]));
    }
    steps.push(Step::Purge(LogId::new(Term(1), LogIndex(3))));
    steps.push(Step::Write(vec![append(vec![command(18, 2, 2000)])]));
    for step in &steps {
        match step {
            Step::Write(writes) => block_on(log.write(writes)).unwrap(),
            Step::Purge(through) => block_on(log.purge(*through)).unwrap(),
            Step::Reopen => {}
        }
        model.apply(step);
    }
    let crashed = disk.crash(Unflushed::Kept);
    drop(log);
    (if closed { disk.crash(Unflushed::Kept) } else { crashed }, model)
}

fn verdict_of(error: &StorageError) -> Verdict {
    match error {
        StorageError::Corrupt { path, offset, detail } => {
            Verdict::Damaged { file: path.clone(), offset: *offset, detail: detail.clone() }
        }
        other => Verdict::Unknown { detail: other.to_string() },
    }
}

#[derive(Debug, Default)]
struct Counts {
    exact: usize,
    refused: usize,
    lost: Vec<String>,
}

impl Counts {
    /// Opens a damaged copy, reads all of it, and says what became of it.
    /// The tool, which only looks, must say the same, although several threads read for it and here one.
    fn count(&mut self, disk: &SimulatedDisk, model: &Model, damaged: &Path, what: &str) {
        let (shared, calls) = (Arc::new(disk.clone()) as Arc<dyn Disk>, disk.calls());
        let verdict = inspect(&shared, Path::new(FOLDER)).unwrap().verdict();
        assert_eq!(disk.calls(), calls, "{what}: looking has touched the disk");
        let found = open(disk).and_then(|(mut log, state)| {
            let read = Model::of(&mut log, &state);
            read.map_err(StorageError::Refused)
        });
        match found {
            Ok(found) if found == *model => {
                assert!(matches!(verdict, Verdict::Whole | Verdict::Torn { .. }), "{what}: {verdict:?}");
                self.exact += 1;
            }
            Ok(found) => {
                assert!(matches!(verdict, Verdict::Torn { .. }), "{what}: {verdict:?}");
                self.lost.push(format!("{what}: {:?}", found.entries.last().map(|last| last.id)));
            }
            Err(error) => {
                assert_eq!(verdict, verdict_of(&error), "{what}");
                let sentence = error.to_string();
                let names_it = matches!(&error, StorageError::Corrupt { path, .. } if path == damaged)
                    && sentence.contains("at offset")
                    && sentence.contains("keep a copy of the folder");
                assert!(names_it, "{what} is refused without saying where: {sentence}");
                self.refused += 1;
            }
        }
    }
}

const WAYS: [&str; 4] = ["zeroed", "garbage", "one bit", "unreadable"];

/// Damages every sector of every file in one way.
fn matrix(disk: &SimulatedDisk, model: &Model, way: &str) -> Counts {
    let mut random = fastrand::Rng::with_seed(1);
    let mut counts = Counts::default();
    for path in disk.paths() {
        let sectors = disk.bytes(&path).unwrap().len() / 512;
        for sector in 0..sectors {
            let copy = disk.crash(Unflushed::Kept);
            if way == "unreadable" {
                copy.lose_sector(&path, sector as u64 * 512);
            }
            copy.damage(&path, |bytes| {
                let sector = &mut bytes[sector * 512..][..512];
                match way {
                    "zeroed" => sector.fill(0),
                    "garbage" => random.fill(sector),
                    "unreadable" => {}
                    _ => sector[random.usize(0..512)] ^= 1 << random.u32(0..8),
                }
            });
            let what = format!("{} sector {sector} {way}", path.display());
            counts.count(&copy, model, &path, &what);
        }
    }
    counts
}

#[test]
fn no_damage_to_a_closed_store_is_a_silent_loss() {
    let (disk, model) = store(true);
    for way in WAYS {
        let Counts { exact, refused, lost } = matrix(&disk, &model, way);
        tell(
            &format!("each sector of a closed store: {way}"),
            exact + refused + lost.len(),
            exact,
            refused,
            0,
        );
        assert!(lost.is_empty(), "lost silently: {lost:#?}");
        assert!(exact > 30 && refused > 150, "the store has become too small to prove anything");
    }
}

#[test]
fn no_byte_changed_in_a_closed_store_is_a_silent_loss() {
    let (disk, model) = store(true);
    let stride = if is_long() { 1 } else { 211 };
    let (mut exact, mut refused) = (0, 0);
    for path in disk.paths() {
        for at in (0..disk.bytes(&path).unwrap().len()).step_by(stride) {
            let copy = disk.crash(Unflushed::Kept);
            copy.flip_bit(&path, at as u64, at as u32 / stride as u32);
            match open(&copy) {
                Ok((mut log, state)) => {
                    assert_eq!(Model::of(&mut log, &state).as_ref(), Ok(&model), "{path:?}, byte {at}");
                    exact += 1;
                }
                Err(StorageError::Corrupt { path: told, .. }) => {
                    assert_eq!(told, path, "byte {at}");
                    refused += 1;
                }
                Err(other) => panic!("{path:?}, byte {at}: {other}"),
            }
        }
    }
    tell("a bit turned in a byte of a closed store", exact + refused, exact, refused, 0);
    assert!(exact > 500 && refused > 200, "{exact} exact, {refused} refused");
}

/// Between the last acknowledgement and the mark that follows it a few ms later, a sector of the last
/// frame that reads as zeros cannot be told from one that was never written. Everything else must be found
/// even then.
#[test]
fn before_the_mark_only_a_zeroed_sector_of_the_last_frame_passes_for_torn() {
    let (disk, model) = store(false);
    let last = disk.paths().into_iter().rfind(|path| path.extension().is_some()).unwrap();
    let bytes = disk.bytes(&last).unwrap();
    let frames_end = bytes[..bytes.len() - 4096].iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let all = WAYS.map(|way| matrix(&disk, &model, way));
    for what in all.iter().flat_map(|counts| &counts.lost) {
        let of_last_frame = (frames_end - 4096) / 512..frames_end.div_ceil(512);
        let sector: usize = what.split("sector ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(what.contains("zeroed") && what.starts_with(last.to_str().unwrap()), "{what}");
        assert!(of_last_frame.contains(&sector), "{what} is not in the last frame, {of_last_frame:?}");
    }
}

fn segments(disk: &SimulatedDisk) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.to_string_lossy().ends_with(".seg")).collect()
}

fn refusal(disk: &SimulatedDisk) -> String {
    match open(disk) {
        Ok((_, state)) => panic!("it opened, with entries up to {}", state.last),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_missing_segment_is_named_be_it_first_middle_or_last() {
    let (disk, _) = store(true);
    let all = segments(&disk);
    assert!(all.len() >= 4, "{all:?}");
    for missing in &all {
        let copy = disk.crash(Unflushed::Kept);
        Disk::remove(&copy, missing).unwrap();
        let sentence = refusal(&copy);
        let name = missing.file_name().unwrap().to_str().unwrap();
        let id = name.split_once('-').unwrap().1;
        assert!(sentence.contains(id) && sentence.contains("missing"), "{name}: {sentence}");
    }
}

#[test]
fn a_segment_of_the_wrong_size_is_refused() {
    let (disk, _) = store(true);
    for path in segments(&disk) {
        for size in [0, 4096, 12_288, 20_000, 1 << 20] {
            let copy = disk.crash(Unflushed::Kept);
            copy.damage(&path, |bytes| bytes.resize(size, 0));
            let sentence = refusal(&copy);
            assert!(
                sentence.contains(path.to_str().unwrap()) && sentence.contains("bytes long"),
                "{sentence}"
            );
        }
    }
}

#[test]
fn a_segment_in_anothers_place_is_refused() {
    let (disk, _) = store(true);
    let all = segments(&disk);
    for (one, other) in all.iter().zip(&all[1..]) {
        let copy = disk.crash(Unflushed::Kept);
        let bytes = disk.bytes(other).unwrap();
        copy.damage(one, |content| *content = bytes);
        let sentence = refusal(&copy);
        assert!(sentence.contains("by its header this is segment"), "{sentence}");
    }
}

#[test]
fn an_older_copy_of_any_file_is_refused_or_changes_nothing() {
    let (disk, model) = store(true);
    let (mut log, _) = open(&disk).unwrap();
    let step = Step::Write(vec![vote(5, 2), append(vec![command(19, 5, 300)])]);
    let Step::Write(writes) = &step else { unreachable!("it was made a write above") };
    block_on(log.write(writes)).unwrap();
    drop(log);
    let mut newer = model.clone();
    newer.apply(&step);
    let before = store(true).0;
    let mut refused = 0;
    for path in disk.paths() {
        let copy = disk.crash(Unflushed::Kept);
        let bytes = before.bytes(&path).unwrap();
        copy.damage(&path, |content| *content = bytes);
        match open(&copy) {
            Ok((mut log, state)) => assert_eq!(Model::of(&mut log, &state).unwrap(), newer, "{path:?}"),
            Err(_) => refused += 1,
        }
    }
    assert_eq!(refused, 2, "the older hard state and the older last segment");
}

#[test]
fn a_lost_hard_state_or_meta_is_refused() {
    let (disk, _) = store(true);
    for name in ["HARDSTATE", "META"] {
        let copy = disk.crash(Unflushed::Kept);
        Disk::remove(&copy, &Path::new(FOLDER).join(name)).unwrap();
        assert!(refusal(&copy).contains(name));
    }
    let copy = disk.crash(Unflushed::Kept);
    copy.damage(&Path::new(FOLDER).join("HARDSTATE"), |bytes| {
        bytes[0] ^= 1;
        bytes[64 << 10] ^= 1;
    });
    assert!(refusal(&copy).contains("neither copy of a record of term and vote"));
}

#[test]
fn damage_done_while_it_is_open_is_found_by_the_read() {
    let (disk, _) = store(true);
    let (mut log, _) = open(&disk).unwrap();
    let path = segments(&disk).into_iter().nth_back(1).unwrap();
    disk.damage(&path, |bytes| bytes[4096 + 1000] ^= 4);
    let errors: Vec<StorageError> =
        (4..=18).filter_map(|index| block_on(log.read(LogIndex(index), LogIndex(index), 0)).err()).collect();
    let sentence = errors[0].to_string();
    assert!(sentence.contains(path.to_str().unwrap()) && sentence.contains("at offset 4096"), "{sentence}");
    assert!(matches!(errors[1], StorageError::Poisoned { .. }));
}

#[test]
fn a_frame_of_another_place_or_segment_is_no_frame() {
    let (disk, _) = store(true);
    let all = segments(&disk);
    let last = &all[all.len() - 1];
    let frames_end = |bytes: &[u8]| (4096..bytes.len()).step_by(4096).find(|at| bytes[*at] == 0).unwrap();
    for (from, offset) in [(&all[0], 4096), (last, 4096), (last, 0)] {
        let frame = disk.bytes(from).unwrap()[offset..offset + 4096].to_vec();
        let copy = disk.crash(Unflushed::Kept);
        copy.damage(last, |bytes| {
            let end = frames_end(bytes);
            bytes[end..end + 4096].copy_from_slice(&frame);
        });
        let sentence = refusal(&copy);
        assert!(sentence.contains("nothing proves that it was never acknowledged"), "{sentence}");
    }
}

#[test]
fn one_bad_copy_of_term_and_vote_is_written_anew_from_its_twin() {
    let (disk, model) = store(true);
    let path = Path::new(FOLDER).join("HARDSTATE");
    for copy_offset in [0, 64 << 10, 128 << 10, 192 << 10] {
        let copy = disk.crash(Unflushed::Kept);
        copy.damage(&path, |bytes| bytes[copy_offset..copy_offset + 64].fill(0xff));
        let (mut log, state) = open(&copy).unwrap();
        assert_eq!(Model::of(&mut log, &state), Ok(model.clone()));
        assert_eq!(copy.bytes(&path), disk.bytes(&path));
    }
}

#[test]
fn a_copy_of_meta_is_enough() {
    let (disk, model) = store(true);
    let path = Path::new(FOLDER).join("META");
    for copy_offset in [0, 4096] {
        let copy = disk.crash(Unflushed::Kept);
        copy.damage(&path, |bytes| bytes[copy_offset + 40] ^= 1);
        let (mut log, state) = open(&copy).unwrap();
        assert_eq!(Model::of(&mut log, &state), Ok(model.clone()));
        assert_eq!(copy.bytes(&path), disk.bytes(&path));
    }
}

#[test]
fn spares_that_a_crash_has_left_are_removed() {
    let (disk, model) = store(true);
    let spare = Path::new(FOLDER).join("log/spare-77");
    Disk::create(&disk, &spare).unwrap().write_at(0, &[7; 9000]).unwrap();
    let (mut log, state) = open(&disk).unwrap();
    assert_eq!(Model::of(&mut log, &state), Ok(model));
    assert!(!disk.paths().contains(&spare));
}

#[cfg_attr(test, test)]
pub(crate) fn a_bit_turned_in_the_last_frame_is_refused_even_before_the_mark() {
    let (disk, _) = store(false);
    let last = segments(&disk).pop().unwrap();
    let bytes = disk.bytes(&last).unwrap();
    let end = (4096..bytes.len()).step_by(4096).find(|at| bytes[*at] == 0).unwrap();
    let mut refused = 0;
    for at in (end - 4096..end).step_by(97) {
        let copy = disk.crash(Unflushed::Kept);
        copy.damage(&last, |bytes| bytes[at] ^= 8);
        assert!(refusal(&copy).contains(last.to_str().unwrap()));
        refused += 1;
    }
    assert!(refused > 40);
}

#[test]
fn a_term_lower_than_the_logs_last_is_refused() {
    let (disk, _) = store(true);
    let path = Path::new(FOLDER).join("HARDSTATE");
    disk.damage(&path, |bytes| {
        for (slot, number) in [0, 64 << 10, 128 << 10, 192 << 10].into_iter().zip(0..) {
            let record = &mut bytes[slot..slot + 64];
            record[16..24].copy_from_slice(&1_u64.to_le_bytes());
            let crc = crc32c::crc32c_append(crc32c::crc32c(&[number]), &record[8..]);
            record[4..8].copy_from_slice(&crc.to_le_bytes());
        }
    });
    assert!(refusal(&disk).contains("the term is 1, but the log's last entry is 18@2"));
}

#[test]
fn a_damaged_seal_is_refused() {
    let (disk, _) = store(true);
    let mut sealed = segments(&disk);
    sealed.pop();
    let mut refused = 0;
    for path in sealed {
        let seal = disk.bytes(&path).unwrap().len() - 4096;
        for zeroed in [false, true] {
            let copy = disk.crash(Unflushed::Kept);
            copy.damage(&path, |bytes| {
                bytes[seal + 104] ^= 1;
                if zeroed {
                    bytes[seal..].fill(0);
                }
            });
            // Only where nothing was written to the segment that follows may its seal have been lost in a
            // crash.
            match open(&copy) {
                Err(error) => {
                    assert!(error.to_string().contains("the seal that names the segment"), "{error}");
                    refused += 1;
                }
                Ok(_) => assert_eq!(copy.bytes(&path), disk.bytes(&path)),
            }
        }
    }
    assert!(refused >= 4, "only {refused} were refused");
}

#[test]
fn an_older_vote_of_the_same_term_is_refused() {
    let (disk, _) = store(true);
    let path = Path::new(FOLDER).join("HARDSTATE");
    let before = disk.bytes(&path).unwrap();
    let (mut log, _) = open(&disk).unwrap();
    block_on(log.write(&[vote(2, 5)])).unwrap();
    drop(log);
    disk.damage(&path, |bytes| *bytes = before);
    assert!(refusal(&disk).contains("an older copy of the file was put in its place"));
}
