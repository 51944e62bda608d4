//! Whose folder this is: META, written before anything else and checked before anything is believed.

use std::{io, path::Path};

use raft_actor::{
    storage::StorageError,
    types::{ClusterId, NodeId},
};

use crate::{
    checksum::crc32c,
    disk::{Disk, RealDisk},
    error::{ADVICE, corrupt, io_error},
    frame::{is_zero, u32_at, u64_at},
    layout::{FORMAT_MAJOR, FORMAT_MINOR, Layout},
};

const MAGIC: u32 = 0x544d_5246;
const COPY_BYTES: usize = 4096;
const RECORD_BYTES: usize = 64;

/// The node that a folder belongs to. Never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The node.
    pub node_id: NodeId,
}

impl Identity {
    /// Whose folder this is; `None` where it is no store's, or is not there. Changes nothing.
    pub fn of_folder(folder: impl AsRef<Path>) -> Result<Option<Identity>, StorageError> {
        let meta = Meta::read_from(&RealDisk, &Layout::of(folder.as_ref()).meta())?;
        Ok(meta.map(|meta| meta.identity))
    }
}

/// What META says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) identity: Identity,
    /// Random, made with the folder: every file of the store carries it, so files of two stores cannot be
    /// mixed.
    pub(crate) incarnation: u128,
    /// Whether the rest of the folder was ever complete. Before that nothing can have been acknowledged.
    pub(crate) formed: bool,
}

impl Meta {
    /// Reads META; `None` where there is none.
    pub(crate) fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Meta>, StorageError> {
        let names = disk.list(layout.folder()).map_err(io_error("list", layout.folder()))?;
        if !names.iter().any(|name| name == "META") {
            return refuse_what_is_not_ours(layout.folder(), &names).map(|()| None);
        }
        let (first, second) = Meta::copies(disk, &layout.meta())?;
        if first.is_none() || second.is_none() {
            tracing::warn!(folder = %layout.folder().display(), "an unreadable copy of META is written anew");
            first.or(second).map_or(Ok(()), |meta| meta.write(disk, layout))?;
        }
        Ok(first.or(second))
    }

    /// Reads the note of whose folder was set aside; `None` where there is none.
    pub(crate) fn read_from(disk: &dyn Disk, path: &Path) -> Result<Option<Meta>, StorageError> {
        match disk.open(path) {
            Ok(_) => Meta::copies(disk, path).map(|(first, second)| first.or(second)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("open", path)(error)),
        }
    }

    /// Both copies, of which at least one is whole.
    fn copies(disk: &dyn Disk, path: &Path) -> Result<(Option<Meta>, Option<Meta>), StorageError> {
        let file = disk.open(path).map_err(io_error("open", path))?;
        file.sync_data().map_err(io_error("flush", path))?;
        let size = file.size().map_err(io_error("look at", path))?;
        if size != 2 * COPY_BYTES as u64 {
            let detail = format!("META is {size} bytes long instead of {}; {ADVICE}", 2 * COPY_BYTES);
            return Err(corrupt(path, size.min(2 * COPY_BYTES as u64), detail));
        }
        // META and the note of what was set aside are alike.
        let copy = |offset: u64| {
            let mut bytes = [0; COPY_BYTES];
            // A copy that cannot be read is as good as one that is damaged: the other may be whole.
            file.read_at(offset, &mut bytes).map_or(Ok(None), |()| decode(&bytes, path))
        };
        match (copy(0)?, copy(COPY_BYTES as u64)?) {
            (None, None) => Err(corrupt(path, 0, format!("neither copy of META can be read; {ADVICE}"))),
            (Some(one), Some(other)) if one != other => {
                Err(corrupt(path, COPY_BYTES as u64, format!("the copies of META differ; {ADVICE}")))
            }
            copies => Ok(copies),
        }
    }

    /// Writes META beside the old one, flushes it, and puts it in the old one's place.
    pub(crate) fn write(&self, disk: &dyn Disk, layout: &Layout) -> Result<(), StorageError> {
        let temporary = layout.meta_temporary();
        self.write_to(disk, &temporary)?;
        disk.rename(&temporary, &layout.meta()).map_err(io_error("rename", &temporary))?;
        disk.sync_folder(layout.folder()).map_err(io_error("flush folder", layout.folder()))
    }

    /// Writes both copies into a new file, and flushes it.
    pub(crate) fn write_to(&self, disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
        let file = disk.create(path).map_err(io_error("create", path))?;
        file.write_at(0, &self.encode().repeat(2)).map_err(io_error("write", path))?;
        file.sync_data().map_err(io_error("flush", path))
    }

    /// Refuses a folder of another node or another cluster.
    pub(crate) fn check(&self, wanted: Identity, folder: &Path) -> Result<(), StorageError> {
        if self.identity == wanted {
            return Ok(());
        }
        Err(StorageError::Refused(format!(
            "the folder {} belongs to node {} of cluster {}, but node {} of cluster {} wants to open it; \
             give each node a folder of its own",
            folder.display(),
            self.identity.node_id,
            self.identity.cluster_id,
            wanted.node_id,
            wanted.cluster_id,
        )))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; COPY_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC.to_le_bytes());
        put(8, &FORMAT_MAJOR.to_le_bytes());
        put(10, &FORMAT_MINOR.to_le_bytes());
        put(12, &u32::from(self.formed).to_le_bytes());
        put(16, &self.incarnation.to_le_bytes());
        put(32, &self.identity.cluster_id.0.to_le_bytes());
        put(40, &self.identity.node_id.0.to_le_bytes());
        let crc = crc32c(&bytes[8..RECORD_BYTES]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

fn decode(bytes: &[u8], path: &Path) -> Result<Option<Meta>, StorageError> {
    if u32_at(bytes, 0) != MAGIC
        || u32_at(bytes, 4) != crc32c(&bytes[8..RECORD_BYTES])
        || !is_zero(&bytes[RECORD_BYTES..])
    {
        return Ok(None);
    }
    let major = u16::from_le_bytes([bytes[8], bytes[9]]);
    if major != FORMAT_MAJOR {
        return Err(StorageError::Refused(format!(
            "{} is of format {major} and this program reads format {FORMAT_MAJOR}; use the program that \
             wrote the folder",
            path.display()
        )));
    }
    let mut incarnation = [0; 16];
    incarnation.copy_from_slice(&bytes[16..32]);
    Ok(Some(Meta {
        identity: Identity { cluster_id: ClusterId(u64_at(bytes, 32)), node_id: NodeId(u64_at(bytes, 40)) },
        incarnation: u128::from_le_bytes(incarnation),
        formed: u32_at(bytes, 12) != 0,
    }))
}

/// A folder without META is new only if nothing is in it but what opening itself puts there.
fn refuse_what_is_not_ours(folder: &Path, names: &[String]) -> Result<(), StorageError> {
    if names.iter().any(|name| name == "HARDSTATE") {
        return Err(corrupt(&folder.join("META"), 0, format!("META is missing from a store; {ADVICE}")));
    }
    match names.iter().find(|name| !["LOCK", "META.tmp", "SET-ASIDE"].contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(StorageError::Refused(format!(
            "the folder {} has no META but is not empty (it holds {name}); name an empty folder for a new \
             node, or restore META if this was a node's folder",
            folder.display()
        ))),
    }
}
