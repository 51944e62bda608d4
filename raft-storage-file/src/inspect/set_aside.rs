//! A damaged folder set aside whole, so that the node can come back empty, and as another.
//!
//! Nothing is cut and nothing is deleted. In the folder's place stays a note of whose it was: a node that
//! has forgotten whom it voted for and what it acknowledged must not come back under its old id, or the
//! cluster could elect two leaders for a term, or lose what it had committed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use raft_actor::storage::StorageError;

use super::{Places, Verdict, inspect};
use crate::{
    disk::Disk,
    error::io_error,
    identity::{Identity, Meta},
    layout::Layout,
};

/// A folder that was set aside, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// Where it is now.
    pub folder: PathBuf,
    /// What is wrong with it.
    pub why: Verdict,
    /// Whether the id that it had is remembered in its place. It is not where nobody can read it any more:
    /// then it is for you to see that no node is started under that id before it is removed from the cluster.
    pub id_is_remembered: bool,
}

/// Gives a node's damaged folder another name beside its old one: `NAME.set-aside-1`, `-2` ... With `really`
/// false, only says what would be done.
///
/// # Errors
///
/// [`StorageError::Refused`] where nothing in it is damaged, or where it is in use; and as [`inspect`].
pub fn set_aside(disk: &Arc<dyn Disk>, folder: &Path, really: bool) -> Result<SetAside, StorageError> {
    let why = inspect(disk, folder)?.verdict();
    if !matches!(why, Verdict::Damaged { .. }) {
        let told = match &why {
            Verdict::Unknown { detail } => detail.as_str(),
            _ => "nothing in it is damaged, and opening it mends what a crash has left",
        };
        return Err(StorageError::Refused(format!("{} is not set aside: {told}", folder.display())));
    }
    let (parent, target) = place_beside(&**disk, folder)?;
    let metas: Vec<_> =
        Places::find(&**disk, folder)?.stores.into_iter().map(|store| read_meta(disk, store)).collect();
    let id_is_remembered = !metas.is_empty() && metas.iter().all(|(_, meta)| meta.is_some());
    if really {
        disk.rename(folder, &target).map_err(io_error("rename", folder))?;
        disk.sync_folder(&parent).map_err(io_error("flush folder", &parent))?;
        for (store, meta) in metas {
            if let Some(meta) = meta {
                let layout = Layout::of(&store);
                disk.create_folder(&store).map_err(io_error("create folder", &store))?;
                meta.write_to(&**disk, &layout.set_aside())?;
                disk.sync_folder(&store).map_err(io_error("flush folder", &store))?;
            }
        }
    }
    Ok(SetAside { folder: target, why, id_is_remembered })
}

fn read_meta(disk: &Arc<dyn Disk>, store: PathBuf) -> (PathBuf, Option<Meta>) {
    let meta = Meta::read(&super::read_only(disk).0, &Layout::of(&store)).ok().flatten();
    (store, meta)
}

/// The folder above, and a name in it that nobody has.
fn place_beside(disk: &dyn Disk, folder: &Path) -> Result<(PathBuf, PathBuf), StorageError> {
    let refused = || StorageError::Refused(format!("{} has no name to be set aside by", folder.display()));
    let name = folder.file_name().ok_or_else(refused)?.to_string_lossy().into_owned();
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let taken = disk.list(parent).map_err(io_error("list", parent))?;
    let free =
        (1_u32..).map(|number| format!("{name}.set-aside-{number}")).find(|name| !taken.contains(name));
    Ok((parent.to_owned(), parent.join(free.ok_or_else(refused)?)))
}

/// Refuses the id of a node whose folder was set aside from here.
pub(crate) fn check_set_aside(
    disk: &dyn Disk,
    layout: &Layout,
    wanted: Identity,
) -> Result<(), StorageError> {
    let path = layout.set_aside();
    let Some(meta) = Meta::read_from(disk, &path)? else { return Ok(()) };
    let was = meta.identity;
    if was != wanted {
        return Ok(());
    }
    Err(StorageError::Refused(format!(
        "the folder of node {} of cluster {} was set aside from {}, and with it what the node had promised; \
         remove the node from the cluster, then start one with another id and add that; only once it is \
         removed may {} be deleted to use the same id",
        was.node_id,
        was.cluster_id,
        layout.folder().display(),
        path.display()
    )))
}
