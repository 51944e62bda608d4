//! A snapshot's file, byte by byte, and how one that is whole is read.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use raft_actor::{
    membership::Membership,
    mutants::{Mutant, is_on},
    storage::StorageError,
    types::{ClusterId, LogId, NodeId, SnapshotMeta},
};
use serde::{Deserialize, Serialize};

use crate::{
    checksum::{Running, crc32c_of},
    disk::{Disk, DiskFile},
    error::{ADVICE, corrupt, io_error, unreadable},
    frame::{u32_at, u64_at},
    identity::Identity,
    layout::{BLOCK_BYTES, FORMAT_MAJOR, FORMAT_MINOR, whole_blocks},
};

/// The bytes of the state in each chunk but the last.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// A chunk's number, length and checksum.
pub(super) const CHUNK_HEADER_BYTES: usize = 16;

const MAGIC: u32 = 0x4e53_4652;
const FOOTER_MAGIC: u32 = 0x4653_4652;
const PREFIX_BYTES: usize = 20;
const FOOTER_BYTES: usize = 32;
/// A header that claims more is none: memberships are small.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// What the header tells, as postcard.
#[derive(Serialize, Deserialize)]
struct Body {
    cluster_id: ClusterId,
    node_id: NodeId,
    id: u64,
    last: LogId,
    membership_log_id: LogId,
    membership: Box<Membership>,
    witness: bool,
}

/// The header of a snapshot, whole blocks long.
pub(super) fn encode_header(identity: Identity, snapshot: &SnapshotMeta) -> Result<Vec<u8>, StorageError> {
    let body = Body {
        cluster_id: identity.cluster_id,
        node_id: identity.node_id,
        id: snapshot.id,
        last: snapshot.last,
        membership_log_id: snapshot.membership_log_id,
        membership: snapshot.membership.clone(),
        witness: snapshot.witness,
    };
    let body = postcard::to_allocvec(&body)
        .map_err(|error| StorageError::Contract(format!("a membership that cannot be encoded: {error}")))?;
    let header_bytes = whole_blocks((PREFIX_BYTES + body.len()) as u64);
    let mut header = Vec::with_capacity(header_bytes as usize);
    header.extend_from_slice(&MAGIC.to_le_bytes());
    header.extend_from_slice(&FORMAT_MAJOR.to_le_bytes());
    header.extend_from_slice(&FORMAT_MINOR.to_le_bytes());
    header.extend_from_slice(&(header_bytes as u32).to_le_bytes());
    header.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let checksum = crc32c_of([&header, &body]);
    header.extend_from_slice(&checksum.to_le_bytes());
    header.extend_from_slice(&body);
    header.resize(header_bytes as usize, 0);
    Ok(header)
}

/// A snapshot's first blocks.
pub(super) struct Header {
    /// How long it is.
    pub(super) bytes: u64,
    pub(super) owner: Identity,
    /// What it tells, without the size, which the footer has.
    pub(super) snapshot: SnapshotMeta,
}

impl Header {
    /// Refuses what belongs to another node.
    pub(super) fn check(self, identity: Identity, path: &Path) -> Result<Header, StorageError> {
        let owner = self.owner;
        if owner == identity {
            return Ok(self);
        }
        Err(StorageError::Refused(format!(
            "{} belongs to node {} of cluster {}, and this is node {} of cluster {}; give each node a folder \
             of its own",
            path.display(),
            owner.node_id,
            owner.cluster_id,
            identity.node_id,
            identity.cluster_id
        )))
    }
}

/// Reads a header.
pub(super) fn decode_header(file: &dyn DiskFile, path: &Path) -> Result<Header, StorageError> {
    let bad = |offset: u64, what: &str| corrupt(path, offset, format!("{what}; {ADVICE}"));
    let size = file.size().map_err(io_error("look at", path))?;
    if size < BLOCK_BYTES {
        return Err(bad(size, "the file is shorter than a snapshot's header"));
    }
    let mut prefix = [0; PREFIX_BYTES];
    file.read_at(0, &mut prefix).map_err(|source| bad(0, &unreadable(&source)))?;
    if u32_at(&prefix, 0) != MAGIC {
        return Err(bad(0, "this is no snapshot"));
    }
    let major = u16::from_le_bytes([prefix[4], prefix[5]]);
    if major > FORMAT_MAJOR {
        return Err(StorageError::Refused(format!(
            "{} has format {major}, and this program knows {FORMAT_MAJOR} at the most; use a newer program",
            path.display()
        )));
    }
    let (header_bytes, body_bytes) = (u64::from(u32_at(&prefix, 8)), u32_at(&prefix, 12) as usize);
    let is_possible = header_bytes <= size.min(HEADER_BYTES_MAX)
        && header_bytes == whole_blocks((PREFIX_BYTES + body_bytes) as u64);
    if !is_possible {
        return Err(bad(8, "the header's length is none"));
    }
    let mut body = vec![0; body_bytes];
    file.read_at(PREFIX_BYTES as u64, &mut body).map_err(|source| bad(20, &unreadable(&source)))?;
    if crc32c_of([&prefix[..16], &body]) != u32_at(&prefix, 16) {
        return Err(bad(16, "the header's checksum is wrong"));
    }
    let body: Body = postcard::from_bytes(&body).map_err(|error| bad(20, &error.to_string()))?;
    let owner = Identity { cluster_id: body.cluster_id, node_id: body.node_id };
    let Body { id, last, membership_log_id, membership, witness, .. } = body;
    let snapshot = SnapshotMeta { id, last, membership, membership_log_id, size_bytes: 0, witness };
    Ok(Header { bytes: header_bytes, owner, snapshot })
}

/// The checksum of a chunk: bound to its snapshot and its place in it.
fn checksum_of(id: u64, head: &[u8], data: &[u8]) -> u32 {
    crc32c_of([&id.to_le_bytes(), head, data])
}

/// A chunk as it stands in the file, and its checksum.
pub(super) fn frame_chunk(id: u64, number: u64, data: &[u8]) -> (Vec<u8>, u32) {
    let mut frame = Vec::with_capacity(CHUNK_HEADER_BYTES + data.len());
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(&(data.len() as u32).to_le_bytes());
    let checksum = checksum_of(id, &frame, data);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame.extend_from_slice(data);
    (frame, checksum)
}

/// Reads the chunk of this number at `position`, and its checksum.
pub(super) fn read_chunk(
    file: &dyn DiskFile,
    path: &Path,
    id: u64,
    number: u64,
    position: u64,
) -> Result<(Vec<u8>, u32), StorageError> {
    let bad = |what: &str| corrupt(path, position, format!("chunk {number}: {what}; {ADVICE}"));
    let size = file.size().map_err(io_error("look at", path))?;
    if position.saturating_add(CHUNK_HEADER_BYTES as u64) > size {
        return Err(bad("the file ends before it"));
    }
    let mut head = [0; CHUNK_HEADER_BYTES];
    file.read_at(position, &mut head).map_err(|source| bad(&unreadable(&source)))?;
    let length = u32_at(&head, 8) as usize;
    let start = position + CHUNK_HEADER_BYTES as u64;
    if u64_at(&head, 0) != number || length == 0 || length > CHUNK_BYTES || start + length as u64 > size {
        return Err(bad("its header is none"));
    }
    let mut data = vec![0; length];
    file.read_at(start, &mut data).map_err(|source| bad(&unreadable(&source)))?;
    let checksum = u32_at(&head, 12);
    if checksum_of(id, &head[..12], &data) != checksum && !is_on(Mutant::BelievesDamagedChunks) {
        return Err(bad("its checksum is wrong"));
    }
    Ok((data, checksum))
}

/// The end of a file: totals, and a checksum of the chunks' checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) chunks: u64,
    pub(super) bytes: u64,
    pub(super) checksums: u32,
}

impl Footer {
    pub(super) fn encode(self, id: u64) -> Vec<u8> {
        let mut footer = Vec::with_capacity(FOOTER_BYTES);
        footer.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
        footer.extend_from_slice(&self.checksums.to_le_bytes());
        footer.extend_from_slice(&self.chunks.to_le_bytes());
        footer.extend_from_slice(&self.bytes.to_le_bytes());
        footer.extend_from_slice(&[0; 4]);
        let checksum = checksum_of(id, &footer, &[]);
        footer.extend_from_slice(&checksum.to_le_bytes());
        footer
    }

    fn decode(id: u64, footer: &[u8; FOOTER_BYTES]) -> Option<Footer> {
        let is_one =
            u32_at(footer, 0) == FOOTER_MAGIC && checksum_of(id, &footer[..28], &[]) == u32_at(footer, 28);
        is_one.then(|| Footer {
            checksums: u32_at(footer, 4),
            chunks: u64_at(footer, 8),
            bytes: u64_at(footer, 16),
        })
    }
}

/// A file that is whole.
#[derive(Debug)]
pub(super) struct SnapshotFile {
    pub(super) owner: Identity,
    pub(super) snapshot: SnapshotMeta,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header_bytes: u64,
    footer: Footer,
}

impl SnapshotFile {
    /// Opens one, and holds header, footer and size against each other.
    /// Whose it is matters only where that is told.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        identity: Option<Identity>,
    ) -> Result<SnapshotFile, StorageError> {
        let file = disk.open(path).map_err(io_error("open", path))?;
        let mut header = decode_header(&*file, path)?;
        if let Some(identity) = identity {
            header = header.check(identity, path)?;
        }
        let Header { bytes: header_bytes, owner, mut snapshot } = header;
        let size = file.size().map_err(io_error("look at", path))?;
        let at = size.saturating_sub(FOOTER_BYTES as u64);
        let mut bytes = [0; FOOTER_BYTES];
        let footer = if at >= header_bytes {
            file.read_at(at, &mut bytes)
                .map_err(|source| corrupt(path, at, format!("{}; {ADVICE}", unreadable(&source))))?;
            Footer::decode(snapshot.id, &bytes)
        } else {
            None
        };
        let footer = footer.ok_or_else(|| corrupt(path, at, format!("there is no footer; {ADVICE}")))?;
        let expected = u128::from(header_bytes)
            + u128::from(footer.bytes)
            + u128::from(footer.chunks) * CHUNK_HEADER_BYTES as u128;
        if expected != u128::from(at) || footer.chunks != footer.bytes.div_ceil(CHUNK_BYTES as u64) {
            return Err(corrupt(path, at, format!("the footer does not fit the file; {ADVICE}")));
        }
        snapshot.size_bytes = footer.bytes;
        Ok(SnapshotFile { owner, snapshot, path: path.to_owned(), file, header_bytes, footer })
    }

    fn chunk(&self, number: u64) -> Result<(Vec<u8>, u32), StorageError> {
        let position = self.header_bytes + number * (CHUNK_HEADER_BYTES + CHUNK_BYTES) as u64;
        let (data, checksum) = read_chunk(&*self.file, &self.path, self.snapshot.id, number, position)?;
        let expected = (self.footer.bytes - number * CHUNK_BYTES as u64).min(CHUNK_BYTES as u64);
        if data.len() as u64 != expected {
            let detail = format!("chunk {number} is {} bytes instead of {expected}; {ADVICE}", data.len());
            return Err(corrupt(&self.path, position, detail));
        }
        Ok((data, checksum))
    }

    /// Reads all of it once.
    pub(super) fn verify(&self) -> Result<(), StorageError> {
        let mut checksums = Running::default();
        for number in 0..self.footer.chunks {
            let (_, checksum) = self.chunk(number)?;
            checksums.add(&checksum.to_le_bytes());
        }
        if checksums.checksum() != self.footer.checksums {
            let detail = format!("the chunks are not those that the footer tells of; {ADVICE}");
            return Err(corrupt(&self.path, self.header_bytes, detail));
        }
        Ok(())
    }

    /// Bytes of the state from `offset` on.
    pub(super) fn read(&self, offset: u64, bytes_max: u64) -> Result<Bytes, StorageError> {
        let end = offset.saturating_add(bytes_max).min(self.footer.bytes);
        let mut bytes = Vec::new();
        let mut at = offset;
        while at < end {
            let number = at / CHUNK_BYTES as u64;
            let (data, _) = self.chunk(number)?;
            let first = (at - number * CHUNK_BYTES as u64) as usize;
            let last = data.len().min(first + (end - at) as usize);
            bytes.extend_from_slice(&data[first..last]);
            at += (last - first) as u64;
        }
        Ok(bytes.into())
    }
}

/// Reads the state from its beginning to its end, each chunk checked before any of it is handed out.
pub(super) struct SnapshotReader {
    file: SnapshotFile,
    next: u64,
    data: Vec<u8>,
    taken: usize,
}

impl SnapshotReader {
    pub(super) fn new(file: SnapshotFile) -> SnapshotReader {
        SnapshotReader { file, next: 0, data: Vec::new(), taken: 0 }
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.data.len() && self.next < self.file.footer.chunks {
            let chunk = self.file.chunk(self.next);
            (self.data, _) = chunk.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            (self.next, self.taken) = (self.next + 1, 0);
        }
        let count = buffer.len().min(self.data.len() - self.taken);
        buffer[..count].copy_from_slice(&self.data[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}
