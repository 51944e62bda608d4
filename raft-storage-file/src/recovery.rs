//! What a folder says after a crash, and whether it can be believed.
//!
//! The rule behind every decision: bytes are given up only where they provably were never acknowledged.
//! Frames are written one after another, each after the flush of the one before, so the only frame that a
//! crash can tear is the last, and any later trace of it (a frame, a seal, a segment, a hard state that
//! knows of it) proves that it was whole once. A torn frame shows a sector of zeros, because segments are
//! zeroed beforehand and frames hold no such sector. Everything else is damage, and is refused by file and
//! offset.

use std::{collections::VecDeque, path::Path, sync::Arc, thread};

use raft_actor::{
    storage::StorageError,
    types::{Entries, LogId, LogIndex, LogState, Term},
};

use crate::{
    Options,
    disk::{Disk, Lock},
    error::{ADVICE, corrupt, io_error},
    hard_state::HardStateFile,
    identity::{Identity, Meta},
    inspect::check_set_aside,
    layout::{BLOCK_BYTES, Layout, LogName},
    replay::Picture,
    scan::{End, Scan, check_ahead},
    segment::{Segment, SegmentHeader},
    store::{Base, Store},
};

/// A folder that is ours and locked, but not read yet.
#[derive(Debug)]
pub(crate) struct Opened {
    base: Base,
    lock: Lock,
}

/// Locks the folder and checks whose it is. Makes the store where there is none.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    folder: &Path,
    identity: Identity,
    options: Options,
) -> Result<Opened, StorageError> {
    let layout = Layout::of(folder);
    disk.create_folder(folder).map_err(io_error("create folder", folder))?;
    let lock = lock(&*disk, &layout)?;
    let meta = Meta::read(&*disk, &layout)?;
    match &meta {
        Some(meta) => meta.check(identity, folder)?,
        None => check_set_aside(&*disk, &layout, identity)?,
    }
    let mut random = options.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
    let meta = meta.unwrap_or_else(|| Meta { identity, incarnation: random.u128(..), formed: false });
    let base = Base { disk, layout, options, incarnation: meta.incarnation };
    if !meta.formed {
        form(&base, meta)?;
    }
    Ok(Opened { base, lock })
}

/// Makes a store. META says before that it is being made, and after that it is whole, so that a crash in
/// between is told from a loss.
fn form(base: &Base, mut meta: Meta) -> Result<(), StorageError> {
    let (disk, layout) = (&*base.disk, &base.layout);
    meta.write(disk, layout)?;
    disk.create_folder(&layout.log()).map_err(io_error("create folder", &layout.log()))?;
    for name in disk.list(&layout.log()).map_err(io_error("list", &layout.log()))? {
        let path = layout.log().join(name);
        disk.remove(&path).map_err(io_error("remove", &path))?;
    }
    HardStateFile::create(disk, layout.hard_state(), base.incarnation)?;
    first_segment(base)?;
    disk.sync_folder(layout.folder()).map_err(io_error("flush folder", layout.folder()))?;
    meta.formed = true;
    meta.write(disk, layout)
}

/// The segment that a log begins with which holds nothing yet.
pub(crate) fn first_segment(base: &Base) -> Result<(), StorageError> {
    let spare = base.make_spare(0, base.capacity(1), true)?;
    let header = SegmentHeader {
        salt: base.salt(1),
        incarnation: base.incarnation,
        id: 1,
        capacity: 0,
        first_index: LogIndex(1),
        prev_term: Term(0),
        prev_id: 0,
        prev_length: 0,
        last_seq: 0,
        purged: LogId::ZERO,
        hard_state_seq: 0,
        group: 0,
    };
    Segment::create(&*base.disk, &base.layout, spare, header).map(drop)
}

impl Opened {
    /// A store that is there, whoever it belongs to, for those who only look: `disk` must not change
    /// anything.
    pub(crate) fn to_look_at(
        disk: Arc<dyn Disk>,
        folder: &Path,
        meta: &Meta,
    ) -> Result<Opened, StorageError> {
        let layout = Layout::of(folder);
        let lock = lock(&*disk, &layout)?;
        let options = Options::default().with_tail_bytes(0).with_spare_in_background(false);
        Ok(Opened { base: Base { disk, layout, options, incarnation: meta.incarnation }, lock })
    }

    /// Reads everything, decides, and goes on where the last run ended.
    pub(crate) fn recover(self) -> Result<(Store, LogState), StorageError> {
        self.examine()?.go_on()
    }

    /// Reads everything and decides. What has two copies or can only be missing after a crash is mended.
    pub(crate) fn examine(self) -> Result<Examined, StorageError> {
        let Opened { base, lock } = self;
        let (disk, layout) = (&*base.disk, &base.layout);
        disk.sync_folder(layout.folder()).map_err(io_error("flush folder", layout.folder()))?;
        let hard_state = HardStateFile::open(disk, layout.hard_state(), base.incarnation)?;
        let mut segments = open_segments(&base)?;
        let mut scan = Scan::start(&segments[0].header);
        read_sealed(&mut scan, &mut segments, base.options.recovery_threads())?;
        let last = segments.len() - 1;
        let end = scan.tail(&mut segments[last], hard_state.newest.log_seq)?;
        check_seals(&segments, end)?;
        check_whole(&scan, &segments, &hard_state)?;
        Ok(Examined { base, lock, hard_state, segments, scan, end })
    }
}

/// A folder that can be believed.
#[derive(Debug)]
pub(crate) struct Examined {
    base: Base,
    lock: Lock,
    pub(crate) hard_state: HardStateFile,
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) scan: Scan,
    pub(crate) end: End,
}

impl Examined {
    fn go_on(self) -> Result<(Store, LogState), StorageError> {
        let Examined { base, lock, hard_state, segments, scan, end } = self;
        write_again(&scan, &segments, &hard_state)?;
        let mut state = state_of(&scan, &hard_state, base.incarnation);
        let Scan { picture, last_seq, .. } = scan;
        let tail_bytes = base.options.tail_bytes;
        let mut store = Store::new(base, lock, hard_state, picture, segments, last_seq);
        state.tail = store.tail(tail_bytes)?;
        if let End::Torn(bytes) = end {
            let (path, offset) = store.end();
            tracing::warn!(
                path = %path.display(),
                offset,
                bytes,
                last = %state.last,
                "a write that was cut off before it was flushed is left out"
            );
            // The torn bytes stay as they are: the next segment's header says where the valid ones end.
            store.rotate(0)?;
        }
        Ok((store, state))
    }
}

pub(crate) fn lock(disk: &dyn Disk, layout: &Layout) -> Result<Lock, StorageError> {
    let lock = disk.lock(&layout.lock()).map_err(io_error("lock", &layout.lock()))?;
    if let Lock::InUse { by } = &lock {
        return Err(StorageError::Refused(format!(
            "the folder {} is in use by process {by}; stop that process first, or name another folder",
            layout.folder().display()
        )));
    }
    Ok(lock)
}

/// Opens all segments and checks that none is missing between the first and the last.
fn open_segments(base: &Base) -> Result<VecDeque<Segment>, StorageError> {
    let (disk, layout) = (&*base.disk, &base.layout);
    let folder = layout.log();
    disk.sync_folder(&folder).map_err(io_error("flush folder", &folder))?;
    let mut names = Vec::new();
    for name in disk.list(&folder).map_err(io_error("list", &folder))? {
        let path = folder.join(&name);
        match LogName::parse(&name) {
            LogName::Segment { first, id } => names.push((id, first, path)),
            // Holds nothing: it gets its name as a segment before anything is written to it.
            LogName::Spare => disk.remove(&path).map_err(io_error("remove", &path))?,
            LogName::PutAside => {}
            LogName::Unknown => {
                tracing::warn!(path = %path.display(), "a file that is not ours is left alone")
            }
        }
    }
    names.sort_unstable();
    let mut segments: VecDeque<Segment> = VecDeque::new();
    for (id, first, path) in names {
        if let Some(before) = segments.back()
            && before.header.id + 1 != id
        {
            let missing = missing_after(before)?;
            let detail = format!("the segment {missing} is missing, {} follows; {ADVICE}", path.display());
            return Err(corrupt(&before.path, before.seal_offset(), detail));
        }
        let segment = Segment::open(disk, path, (first, id), Some(base.incarnation))?;
        let prev_id = segment.header.prev_id;
        if prev_id + 1 != id {
            return Err(
                segment.corrupt(64, format!("segment {id:x} says that it follows segment {prev_id:x}"))
            );
        }
        segments.push_back(segment);
    }
    if segments.is_empty() {
        let detail = format!("the folder holds no segment, and a store always has one; {ADVICE}");
        return Err(corrupt(&folder, 0, detail));
    }
    Ok(segments)
}

/// Reads all segments but the last, one after the other; what follows is checked meanwhile by other threads.
fn read_sealed(
    scan: &mut Scan,
    segments: &mut VecDeque<Segment>,
    threads: usize,
) -> Result<(), StorageError> {
    let last = segments.len() - 1;
    let ahead = if threads > 1 { threads } else { 0 };
    thread::scope(|scope| {
        let mut checks = VecDeque::new();
        for at in 0..last {
            while at + checks.len() < last.min(at + ahead) {
                let at = at + checks.len();
                let (segment, end) = (segments[at].clone(), segments[at + 1].header.prev_length);
                let thread = thread::Builder::new().name("raft-log-open".to_owned());
                checks.push_back(thread.spawn_scoped(scope, move || check_ahead(&segment, end)));
            }
            // What no thread has checked is read here.
            let checked = checks.pop_front().and_then(|check| check.ok()?.join().ok()).unwrap_or_default();
            let next = segments[at + 1].header.clone();
            scan.sealed(&mut segments[at], &next, checked)?;
        }
        Ok(())
    })
}

/// The name of the segment after this one, as well as it is known.
fn missing_after(segment: &Segment) -> Result<String, StorageError> {
    let id = segment.header.id + 1;
    Ok(match segment.read_seal()? {
        Some(seal) => format!("{:020}-{id:016x}.seg", seal.first_index.0),
        None => format!("*-{id:016x}.seg"),
    })
}

/// Every segment but the last is sealed and names the next. Only a crash between the birth of the last and
/// the seal of the one before leaves that seal out, and then nothing was written to the last yet: the seal
/// is written now.
fn check_seals(segments: &VecDeque<Segment>, end: End) -> Result<(), StorageError> {
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
        let is_last = next.header.id == segments[segments.len() - 1].header.id;
        match segment.read_seal()? {
            Some(seal)
                if seal.next_segment_id == next.header.id
                    && seal.valid_length == next.header.prev_length
                    && seal.seq == next.header.last_seq => {}
            None if is_last && next.length == BLOCK_BYTES && end == End::Clean => {
                segment.seal(&next.header)?
            }
            _ => {
                let detail = format!("the seal that names the segment {} is damaged", next.path.display());
                return Err(segment.corrupt(segment.seal_offset(), detail));
            }
        }
    }
    Ok(())
}

/// What the last run wrote last may have been the write whose flush failed. Systems call such pages clean:
/// they are read back, no later flush writes them, and the next power cut takes them. All before was flushed
/// before that was written.
fn write_again(
    scan: &Scan,
    segments: &VecDeque<Segment>,
    hard_state: &HardStateFile,
) -> Result<(), StorageError> {
    hard_state.put(hard_state.newest)?;
    let (Some(last), Some((segment_id, offset, bytes))) = (segments.back(), scan.last_frame) else {
        return Ok(());
    };
    if last.header.id == segment_id {
        let frame = last.read(offset, bytes).map_err(last.unreadable(offset))?;
        last.file.write_at(offset, &frame).map_err(io_error("write", &last.path))?;
        return last.file.sync_data().map_err(io_error("flush", &last.path));
    }
    match segments.iter().rev().nth(1) {
        Some(before) => before.seal(&last.header),
        None => Ok(()),
    }
}

fn check_whole(
    scan: &Scan,
    segments: &VecDeque<Segment>,
    hard_state: &HardStateFile,
) -> Result<(), StorageError> {
    let picture: &Picture = &scan.picture;
    if picture.base.index > picture.purged.index {
        let first = &segments[0];
        let detail = format!(
            "the segment *-{:016x}.seg with the entries {} to {} is missing; {ADVICE}",
            first.header.prev_id,
            picture.purged.index.next(),
            picture.base.index
        );
        return Err(corrupt(&first.path, 64, detail));
    }
    let newest = hard_state.newest;
    if newest.seq < scan.hard_state_seq {
        let detail = format!(
            "term and vote are of write {}, but the log knows of write {}: an older copy of the file was put \
             in its place; {ADVICE}",
            newest.seq, scan.hard_state_seq
        );
        return Err(corrupt(hard_state.path(), 8, detail));
    }
    if newest.hard_state.term < picture.last.term && !picture.frames.is_empty() {
        let detail = format!(
            "the term is {}, but the log's last entry is {}: the file and the log are not of one time; \
             {ADVICE}",
            newest.hard_state.term, picture.last
        );
        return Err(corrupt(hard_state.path(), 16, detail));
    }
    if newest.log_seq > scan.last_seq {
        let last = segments.back().unwrap_or(&segments[0]);
        let detail = format!(
            "the log ends with frame {} after entry {}, but frame {} was flushed once; {ADVICE}",
            scan.last_seq, picture.last, newest.log_seq
        );
        return Err(corrupt(&last.path, last.length, detail));
    }
    Ok(())
}

fn state_of(scan: &Scan, hard_state: &HardStateFile, incarnation: u128) -> LogState {
    let picture = &scan.picture;
    LogState {
        // Half of it is random enough; 0 would say that there is none.
        incarnation: (incarnation as u64).max(1),
        hard_state: hard_state.newest.hard_state,
        purged: picture.purged,
        last: picture.last,
        terms: picture.terms.iter().copied().collect(),
        memberships: scan.memberships.clone(),
        tail: Entries::empty(),
    }
}
