//! A damaged folder made fit to open again: what is intact before the damage stays, all from there on is put
//! aside, and the node gets the rest from its peers.
//!
//! What is put aside may have been acknowledged, so before anything else the hard state is given a fence
//! ([`HardState::fence`](raft_actor::types::HardState)): from then on the node neither votes nor stands for
//! election until a later leader has filled its log. So a crash at any moment of the repair does no harm:
//! what it leaves is fenced, and either opens or is repaired by repairing it again. Term and vote themselves
//! nobody can give back; where they are lost, or older than the log knows, the repair is refused.
//!
//! Nothing is deleted. Damaged files get `.damaged-1` (`-2` ...) added to their names. The last segment that
//! is kept is written anew as one that ends where the damage begins, after a copy of it was put aside.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use raft_actor::{
    storage::StorageError,
    types::{HardState, LogId, LogIndex},
};

use super::{Places, Verdict, inspect, look_at_snapshot, look_at_store, read_only, segments_of};
use crate::{
    Options,
    disk::Disk,
    error::io_error,
    hard_state::HardStateFile,
    identity::Meta,
    layout::{BLOCK_BYTES, Layout},
    recovery::{first_segment, lock},
    scan::{Scan, newest_hard_state_seq},
    segment::Segment,
    spare::Spare,
    store::Base,
};

const CHUNK_BYTES: u64 = 1 << 20;

/// A folder that was repaired, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// What was wrong with it.
    pub why: Verdict,
    /// What is left of the log: the entries after the first, up to the second. A leader sends what follows.
    pub kept: (LogId, LogId),
    /// Term and vote from now on, and the fence; unfenced where nothing of the log is lost.
    pub hard_state: HardState,
    /// Damaged files, and copies of those that were written anew, by their new names.
    pub put_aside: Vec<PathBuf>,
}

/// Puts aside what is damaged in a node's folder, and fences the node. With `really` false, only says what
/// would be done.
///
/// # Errors
///
/// [`StorageError::Refused`] where nothing in it is damaged, where it is in use, and where it is not known
/// any more whose it is or how it has voted: then only [`set_aside`](super::set_aside) is left. And as
/// [`inspect`].
pub fn repair(disk: &Arc<dyn Disk>, folder: &Path, really: bool) -> Result<Repaired, StorageError> {
    let why = inspect(disk, folder)?.verdict();
    let places = Places::find(&**disk, folder)?;
    let refused = |told: &str| refuse(format!("{} is not repaired: {told}", folder.display()));
    match (&why, &places.stores[..]) {
        (Verdict::Damaged { .. }, [_]) => {}
        (Verdict::Damaged { .. }, _) => return refused("name the folder of one node, with its log"),
        (Verdict::Unknown { detail }, _) => return refused(detail),
        _ => return refused("nothing in it is damaged, and opening it mends what a crash has left"),
    }
    repair_places(disk, &places, why, really)
}

pub(crate) fn repair_places(
    disk: &Arc<dyn Disk>,
    places: &Places,
    why: Verdict,
    really: bool,
) -> Result<Repaired, StorageError> {
    let Some(store) = places.stores.first() else {
        return refuse("there is no log here to be repaired".to_owned());
    };
    let layout = Layout::of(store);
    let is_log_damaged = matches!(look_at_store(disk, store).verdict, Verdict::Damaged { .. });
    let pretended = Arc::new(read_only(disk).0);
    let disk: Arc<dyn Disk> = if really { disk.clone() } else { pretended };
    let _lock = lock(&*disk, &layout)?;
    let Some(meta) = Meta::read(&*disk, &layout).map_err(lost_for_good)?.filter(|meta| meta.formed) else {
        return refuse(format!("{} was never a whole store", store.display()));
    };
    let options = Options::default().with_tail_bytes(0).with_spare_in_background(false);
    let base = Base { disk, layout, options, incarnation: meta.incarnation };
    let (snapshots, damaged) = sift_snapshots(&*base.disk, places);
    let mut repair = Repair::of(base, snapshots)?;
    let loses = is_log_damaged || repair.kept.is_empty();
    if loses {
        repair.fence()?;
        repair.cut()?;
    }
    repair.put_snapshots_aside(damaged)?;
    let hard_state = repair.hard_state.newest.hard_state;
    Ok(Repaired { why, kept: repair.held(), hard_state, put_aside: repair.put_aside })
}

/// The last index that a whole snapshot covers, and the files of those that are damaged.
fn sift_snapshots(disk: &dyn Disk, places: &Places) -> (LogIndex, Vec<PathBuf>) {
    let (mut newest, mut damaged) = (LogIndex(0), Vec::new());
    for path in &places.snapshots {
        let report = look_at_snapshot(disk, path);
        match report.verdict {
            Verdict::Damaged { .. } => damaged.push(path.clone()),
            _ => newest = newest.max(report.last.unwrap_or_default().index),
        }
    }
    (newest, damaged)
}

fn refuse<T>(sentence: String) -> Result<T, StorageError> {
    Err(StorageError::Refused(sentence))
}

/// Whose folder it is, and how it has voted, is known from its own files or not at all.
fn lost_for_good(error: StorageError) -> StorageError {
    StorageError::Refused(format!("this cannot be repaired from peers, only set aside: {error}"))
}

/// A repair under way.
struct Repair {
    base: Base,
    hard_state: HardStateFile,
    /// Segments up to the first damage, each with the length of its intact frames.
    kept: Vec<Segment>,
    scan: Option<Scan>,
    /// The others, in the order of their ids.
    others: Vec<PathBuf>,
    put_aside: Vec<PathBuf>,
}

impl Repair {
    /// Finds what is intact. `snapshot`: a log that begins later than that is of no use.
    fn of(base: Base, snapshot: LogIndex) -> Result<Repair, StorageError> {
        let (disk, layout) = (&*base.disk, &base.layout);
        let hard_state =
            HardStateFile::open(disk, layout.hard_state(), base.incarnation).map_err(lost_for_good)?;
        disk.create_folder(&layout.log()).map_err(io_error("create folder", &layout.log()))?;
        let mut repair = Repair {
            kept: Vec::new(),
            scan: None,
            others: Vec::new(),
            put_aside: Vec::new(),
            hard_state,
            base,
        };
        let mut known_seq = 0;
        for (path, name) in segments_of(&*repair.base.disk, &repair.base.layout) {
            let opened = Segment::open(&*repair.base.disk, path.clone(), name, Some(repair.base.incarnation));
            let segment = match opened {
                Ok(segment) => segment,
                Err(StorageError::Corrupt { .. }) => {
                    repair.others.push(path);
                    continue;
                }
                Err(error) => return Err(error),
            };
            known_seq = known_seq.max(newest_hard_state_seq(&segment));
            if repair.others.is_empty() && repair.continues_with(&segment) {
                repair.read(segment);
            } else {
                repair.others.push(path);
            }
        }
        repair.check_hard_state(known_seq)?;
        let is_usable = repair.scan.as_ref().is_some_and(|scan| {
            scan.picture.base.index <= scan.picture.purged.index && scan.picture.purged.index <= snapshot
        });
        if !is_usable {
            let unused = std::mem::take(&mut repair.kept).into_iter().map(|segment| segment.path);
            repair.others.splice(..0, unused);
            repair.scan = None;
        }
        Ok(repair)
    }

    /// Whether this segment follows on the last one that is kept, and nothing is damaged before it.
    fn continues_with(&self, next: &Segment) -> bool {
        let (Some(last), Some(scan)) = (self.kept.last(), &self.scan) else { return self.others.is_empty() };
        let header = &next.header;
        let is_sealed = last.read_seal().ok().flatten().is_some_and(|seal| {
            (seal.next_segment_id, seal.valid_length, seal.seq) == (header.id, last.length, scan.last_seq)
        });
        let follows = (header.prev_id, header.prev_length, header.last_seq);
        is_sealed && follows == (last.header.id, last.length, scan.last_seq)
    }

    /// Keeps a segment, as far as its frames are intact.
    fn read(&mut self, mut segment: Segment) {
        let scan = self.scan.get_or_insert_with(|| Scan::start(&segment.header));
        if scan.intact(&mut segment) {
            self.kept.push(segment);
        } else {
            self.others.push(segment.path);
        }
    }

    /// Where term and vote are older than anything in the log knows, the newest vote is lost.
    fn check_hard_state(&self, known_seq: u64) -> Result<(), StorageError> {
        let newest = self.hard_state.newest;
        let last = self.scan.as_ref().map_or(LogId::ZERO, |scan| scan.picture.last);
        if newest.seq >= known_seq && newest.hard_state.term >= last.term {
            return Ok(());
        }
        let detail = format!("term and vote are of write {}, the log knows of write {known_seq}", newest.seq);
        Err(lost_for_good(StorageError::Corrupt { path: self.hard_state.path().clone(), offset: 8, detail }))
    }

    /// First of all: nothing that follows could otherwise be told from a log that was never longer.
    fn fence(&mut self) -> Result<(), StorageError> {
        let Some(fenced) = self.hard_state.newest.hard_state.fenced() else {
            return refuse("the numbers of terms have come to their end".to_owned());
        };
        self.hard_state.write(fenced, self.scan.as_ref().map_or(0, |scan| scan.last_seq))
    }

    /// The newest first, so that whatever a crash leaves is the same log, cut at the same place.
    fn cut(&mut self) -> Result<(), StorageError> {
        for path in std::mem::take(&mut self.others).into_iter().rev() {
            let aside = self.name_aside(&path)?;
            self.rename(&path, &aside)?;
            self.put_aside.push(aside);
        }
        let Some(last) = self.kept.last() else {
            return first_segment(&self.base);
        };
        let capacity = last.header.capacity;
        let copy = self.spare(0, capacity)?;
        for offset in (0..capacity).step_by(BLOCK_BYTES as usize) {
            // What the disk does not give back any more cannot be kept.
            if let Ok(block) = last.read(offset, BLOCK_BYTES) {
                copy.file.write_at(offset, &block).map_err(io_error("write", &copy.path))?;
            }
        }
        copy.file.sync_data().map_err(io_error("flush", &copy.path))?;
        let anew = self.spare(1, capacity)?;
        let mut offset = 0;
        while offset < last.length {
            let bytes = last.read(offset, (last.length - offset).min(CHUNK_BYTES));
            let bytes = bytes.map_err(last.unreadable(offset))?;
            anew.file.write_at(offset, &bytes).map_err(io_error("write", &anew.path))?;
            offset += bytes.len() as u64;
        }
        anew.file.sync_data().map_err(io_error("flush", &anew.path))?;
        let path = last.path.clone();
        let aside = self.name_aside(&path)?;
        self.rename(&copy.path, &aside)?;
        self.put_aside.push(aside);
        self.rename(&anew.path, &path)
    }

    fn put_snapshots_aside(&mut self, damaged: Vec<PathBuf>) -> Result<(), StorageError> {
        for path in damaged {
            let aside = self.name_aside(&path)?;
            self.rename(&path, &aside)?;
            self.put_aside.push(aside);
        }
        Ok(())
    }

    fn spare(&self, number: u64, capacity: u64) -> Result<Spare, StorageError> {
        self.base.make_spare(number, capacity, true)
    }

    /// The file's name with something added that makes it one that nobody reads, and that nobody has.
    fn name_aside(&self, path: &Path) -> Result<PathBuf, StorageError> {
        let (folder, name) = (folder_of(path), path.file_name().unwrap_or_default().to_string_lossy());
        let taken = self.base.disk.list(folder).map_err(io_error("list", folder))?;
        let mut names = (1_u64..).map(|number| format!("{name}.damaged-{number}"));
        let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
        Ok(folder.join(free))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let disk = &self.base.disk;
        disk.rename(from, to).map_err(io_error("rename", from))?;
        disk.sync_folder(folder_of(to)).map_err(io_error("flush folder", folder_of(to)))
    }

    fn held(&self) -> (LogId, LogId) {
        let picture = self.scan.as_ref().map(|scan| &scan.picture);
        picture.map_or((LogId::ZERO, LogId::ZERO), |picture| (picture.purged, picture.last))
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
