//! Looking at a folder without changing anything in it: what is there, whether it opens, and what it holds.
//!
//! Whether it opens is found out by the code that opens it, on a disk that only pretends to write. So the
//! two cannot be of different opinions.

mod read_only;
mod repair;
mod report;
mod set_aside;
mod walk;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use raft_actor::storage::StorageError;

use self::read_only::{Changes, ReadOnly};
#[cfg(feature = "testkit")]
pub(crate) use self::repair::repair_places;
pub(crate) use self::set_aside::check_set_aside;
pub use self::{
    repair::{Repaired, repair},
    report::{Content, Damage, Owner, Record, Report, SegmentReport, SnapshotReport, StoreReport, Verdict},
    set_aside::{SetAside, set_aside},
};
use crate::{
    disk::Disk,
    error::io_error,
    identity::{Identity, Meta},
    layout::{Layout, LogName},
    recovery::Opened,
    scan::End,
    segment::Segment,
    snapshot,
};

impl From<Identity> for Owner {
    fn from(identity: Identity) -> Owner {
        Owner { cluster_id: identity.cluster_id, node_id: identity.node_id }
    }
}

/// Looks at a store, at a folder of snapshots, or at a node's folder that has them in it.
///
/// # Errors
///
/// [`StorageError::Refused`] where there is none of these, [`StorageError::Io`] where the folder cannot be
/// listed. What is wrong with what is there is told in the report.
pub fn inspect(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Report, StorageError> {
    let Places { stores, snapshots } = Places::find(&**disk, folder)?;
    let stores = stores.iter().map(|store| look_at_store(disk, store)).collect();
    let snapshots = snapshots.iter().map(|path| look_at_snapshot(&**disk, path)).collect();
    Ok(Report { stores, snapshots })
}

/// Tells every frame and every entry of the logs in a folder, as they stand, and where there is none.
///
/// # Errors
///
/// As [`inspect`].
pub fn dump(disk: &Arc<dyn Disk>, folder: &Path, mut each: impl FnMut(Record)) -> Result<(), StorageError> {
    for store in Places::find(&**disk, folder)?.stores {
        for (path, name) in segments_of(&**disk, &Layout::of(&store)) {
            match Segment::open(&read_only(disk).0, path.clone(), name, None) {
                Ok(segment) => walk::dump(&segment, &mut each),
                Err(error) => {
                    each(Record::Damage { file: path, offset: 0, bytes: 0, what: error.to_string() })
                }
            }
        }
    }
    Ok(())
}

fn read_only(disk: &Arc<dyn Disk>) -> (ReadOnly, Changes) {
    let changes = Changes::default();
    (ReadOnly { disk: disk.clone(), changes: changes.clone() }, changes)
}

/// What is where in a folder.
#[derive(Default)]
pub(crate) struct Places {
    stores: Vec<PathBuf>,
    /// Files.
    snapshots: Vec<PathBuf>,
}

impl Places {
    fn find(disk: &dyn Disk, folder: &Path) -> Result<Places, StorageError> {
        let mut places = Places::default();
        let names = disk.list(folder).map_err(io_error("list", folder))?;
        places.add(folder, &names);
        if places.stores.is_empty() {
            for name in names {
                let below = folder.join(name);
                // What cannot be listed is a file.
                if let Ok(names) = disk.list(&below) {
                    places.add(&below, &names);
                }
            }
        }
        if places.stores.is_empty() && places.snapshots.is_empty() {
            return Err(StorageError::Refused(format!(
                "{} holds neither a log nor snapshots; name a node's folder, or the folder of its log or of \
                 its snapshots",
                folder.display()
            )));
        }
        Ok(places)
    }

    pub(crate) fn add(&mut self, folder: &Path, names: &[String]) {
        if names.iter().any(|name| ["META", "HARDSTATE", "SET-ASIDE"].contains(&name.as_str())) {
            self.stores.push(folder.to_owned());
        }
        let snapshots = names.iter().filter(|name| name.ends_with(".snap") || name.ends_with(".part"));
        self.snapshots.extend(snapshots.map(|name| folder.join(name)));
    }
}

/// The segments by their ids, as far as their names tell.
fn segments_of(disk: &dyn Disk, layout: &Layout) -> Vec<(PathBuf, (raft_actor::types::LogIndex, u64))> {
    let names = disk.list(&layout.log()).unwrap_or_default();
    let mut found: Vec<_> = names
        .iter()
        .filter_map(|name| match LogName::parse(name) {
            LogName::Segment { first, id } => Some((layout.log().join(name), (first, id))),
            LogName::Spare | LogName::PutAside | LogName::Unknown => None,
        })
        .collect();
    found.sort_unstable_by_key(|(_, (_, id))| *id);
    found
}

fn look_at_store(disk: &Arc<dyn Disk>, folder: &Path) -> StoreReport {
    let (looked, changes) = read_only(disk);
    let layout = Layout::of(folder);
    let mut report = StoreReport {
        folder: folder.to_owned(),
        verdict: Verdict::Whole,
        owner: None,
        content: None,
        segments: Vec::new(),
        mends: Vec::new(),
    };
    for (path, name) in segments_of(&looked, &layout) {
        report.segments.push(match Segment::open(&looked, path.clone(), name, None) {
            Ok(segment) => walk::report(&segment),
            Err(error) => {
                let unreadable = Some(error.to_string());
                SegmentReport {
                    file: path,
                    id: name.1,
                    first_index: name.0,
                    unreadable,
                    ..Default::default()
                }
            }
        });
    }
    report.verdict = match Meta::read(&looked, &layout) {
        Ok(None) => Verdict::Unfinished,
        Ok(Some(meta)) => {
            report.owner = Some(meta.identity.into());
            if meta.formed { judge(looked, folder, &meta, &mut report) } else { Verdict::Unfinished }
        }
        Err(error) => error.into(),
    };
    report.mends = changes.told();
    report
}

fn judge(disk: ReadOnly, folder: &Path, meta: &Meta, report: &mut StoreReport) -> Verdict {
    let examined = Opened::to_look_at(Arc::new(disk), folder, meta).and_then(Opened::examine);
    let examined = match examined {
        Ok(examined) => examined,
        Err(error) => return error.into(),
    };
    let picture = &examined.scan.picture;
    report.content = Some(Content {
        hard_state: examined.hard_state.newest.hard_state,
        purged: picture.purged,
        last: picture.last,
    });
    match (examined.end, examined.segments.back()) {
        (End::Torn(bytes), Some(segment)) => {
            if let Some(last) = report.segments.last_mut() {
                // Told by the verdict; nothing of it was acknowledged.
                last.damaged.clear();
            }
            Verdict::Torn { file: segment.path.clone(), offset: segment.length, bytes }
        }
        _ => Verdict::Whole,
    }
}

fn look_at_snapshot(disk: &dyn Disk, path: &Path) -> SnapshotReport {
    let file = path.to_owned();
    let (owner, last, size_bytes) = (None, None, 0);
    if path.extension().is_some_and(|extension| extension == "part") {
        return SnapshotReport { file, verdict: Verdict::Unfinished, owner, last, size_bytes };
    }
    match snapshot::look_at(disk, path) {
        Ok((owner, snapshot)) => SnapshotReport {
            file,
            verdict: Verdict::Whole,
            owner: Some(owner.into()),
            last: Some(snapshot.last),
            size_bytes: snapshot.size_bytes,
        },
        Err(error) => SnapshotReport { file, verdict: error.into(), owner, last, size_bytes },
    }
}
