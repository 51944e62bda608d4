//! A snapshot that is being written: chunk after chunk, flushed now and then, sealed by the footer.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use raft_actor::{storage::StorageError, types::SnapshotMeta};

use super::file::{
    CHUNK_BYTES, CHUNK_HEADER_BYTES, Footer, Header, decode_header, encode_header, frame_chunk, read_chunk,
};
use crate::{
    checksum::Running,
    disk::{Disk, DiskFile},
    error::io_error,
    identity::Identity,
};

/// So many bytes are flushed at a time, so that the flushes of the log beside them stay short.
const SYNC_BYTES: u64 = 8 << 20;

/// A file in the making.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) snapshot: SnapshotMeta,
    file: Arc<dyn DiskFile>,
    /// Where the next chunk begins in the file.
    position: u64,
    chunks: u64,
    /// Bytes in whole chunks.
    written: u64,
    /// The chunk that is not whole yet.
    buffer: Vec<u8>,
    checksums: Running,
    unflushed: u64,
}

impl Part {
    /// An empty one; a file that is there is replaced.
    pub(super) fn create(
        disk: &dyn Disk,
        path: &Path,
        identity: Identity,
        snapshot: SnapshotMeta,
    ) -> Result<Part, StorageError> {
        let file = disk.create(path).map_err(io_error("create", path))?;
        let header = encode_header(identity, &snapshot)?;
        file.write_at(0, &header).map_err(io_error("write", path))?;
        Ok(Part::of(path, snapshot, file, header.len() as u64))
    }

    fn of(path: &Path, snapshot: SnapshotMeta, file: Arc<dyn DiskFile>, position: u64) -> Part {
        Part {
            path: path.to_owned(),
            snapshot,
            file,
            position,
            chunks: 0,
            written: 0,
            buffer: Vec::new(),
            checksums: Running::default(),
            unflushed: 0,
        }
    }

    /// Goes on with what an earlier run has received, after its last whole chunk. None where the file is of
    /// no use.
    pub(super) fn resume(
        disk: &dyn Disk,
        path: &Path,
        identity: Identity,
        snapshot: &SnapshotMeta,
    ) -> Result<Option<Part>, StorageError> {
        let file = disk.open(path).map_err(io_error("open", path))?;
        // Nothing was promised of a part, so damage to it is no error: it is received again.
        let header = decode_header(&*file, path).and_then(|header| header.check(identity, path));
        let Ok(Header { bytes: header_bytes, snapshot: written, .. }) = header else { return Ok(None) };
        let is_same = SnapshotMeta { size_bytes: snapshot.size_bytes, ..written } == *snapshot;
        if !is_same {
            return Ok(None);
        }
        let mut part = Part::of(path, snapshot.clone(), file, header_bytes);
        while let Ok((data, checksum)) =
            read_chunk(&*part.file, path, snapshot.id, part.chunks, part.position)
        {
            if data.len() < CHUNK_BYTES || part.written + data.len() as u64 > snapshot.size_bytes {
                break;
            }
            part.note(data.len(), checksum);
        }
        Ok(Some(part))
    }

    fn note(&mut self, bytes: usize, checksum: u32) {
        self.position += (CHUNK_HEADER_BYTES + bytes) as u64;
        self.chunks += 1;
        self.written += bytes as u64;
        self.checksums.add(&checksum.to_le_bytes());
    }

    /// How much there is.
    pub(super) fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Adds bytes.
    pub(super) fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.buffer.len() == CHUNK_BYTES {
                self.write_chunk()?;
            }
        }
        Ok(())
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        let (frame, checksum) = frame_chunk(self.snapshot.id, self.chunks, &self.buffer);
        self.file.write_at(self.position, &frame)?;
        self.note(self.buffer.len(), checksum);
        self.buffer.clear();
        self.unflushed += frame.len() as u64;
        if self.unflushed >= SYNC_BYTES {
            self.unflushed = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Nothing more comes: writes the footer, and flushes all of it.
    pub(super) fn seal(mut self) -> Result<SnapshotMeta, StorageError> {
        let path = self.path.clone();
        if !self.buffer.is_empty() {
            self.write_chunk().map_err(io_error("write", &path))?;
        }
        let checksums = self.checksums.checksum();
        let footer = Footer { chunks: self.chunks, bytes: self.written, checksums };
        let bytes = footer.encode(self.snapshot.id);
        self.file.write_at(self.position, &bytes).map_err(io_error("write", &path))?;
        let size = self.position + bytes.len() as u64;
        // An earlier run may have left more.
        self.file.set_size(size).map_err(io_error("cut", &path))?;
        self.file.sync_data().map_err(io_error("flush", &path))?;
        Ok(SnapshotMeta { size_bytes: self.written, ..self.snapshot })
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
