//! The least that a log can do: one preallocated file of zeros, a header and a checksum an entry, one write
//! and one flush a batch. It keeps no index, and cannot be read after a crash. Beside it, the same with whole
//! blocks past the system's cache, which says what that alone gives.

use std::{
    fs::File,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use bytes::Bytes;
use rustix::fs::{Advice, OFlags, fadvise};

use super::Log;
use crate::material::Material;

const FILE_BYTES: u64 = 256 << 20;
const BLOCK_BYTES: usize = 4096;

pub(crate) struct Bare {
    pub(crate) file: File,
    next: u64,
    offset: u64,
    batch: Vec<Bytes>,
    buffer: Vec<u8>,
    /// The same file, for writing past the cache.
    uncached: Option<File>,
}

impl Bare {
    /// One whose batches are whole blocks, written past the cache. The cache holds none of its zeros, which
    /// each write would have to throw out of it first.
    pub(crate) fn past_cache(folder: &Path) -> Result<Bare, String> {
        let bare = Bare::create(folder)?;
        fadvise(&bare.file, 0, None, Advice::DontNeed).map_err(|error| error.to_string())?;
        let flag = OFlags::DIRECT.bits().cast_signed();
        let file = File::options().write(true).custom_flags(flag).open(folder.join("bare"));
        let file = file.map_err(|error| error.to_string())?;
        Ok(Bare { uncached: Some(file), ..bare })
    }

    pub(crate) fn create(folder: &Path) -> Result<Bare, String> {
        let create = || {
            let file = File::options().read(true).write(true).create_new(true).open(folder.join("bare"))?;
            let zeroes = vec![0; 1 << 20];
            for offset in (0..FILE_BYTES).step_by(zeroes.len()) {
                file.write_all_at(&zeroes, offset)?;
            }
            file.sync_all()?;
            Ok(file)
        };
        let file = create().map_err(|error: std::io::Error| error.to_string())?;
        Ok(Bare { file, next: 1, offset: 0, batch: Vec::new(), buffer: Vec::new(), uncached: None })
    }

    /// One write somewhere, one flush.
    pub(crate) fn put(&self, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let written = self.file.write_all_at(bytes, offset).and_then(|()| self.file.sync_data());
        written.map_err(|error| error.to_string())
    }
}

impl Log for Bare {
    fn prepare(&mut self, material: &Material, count: usize, bytes: usize) {
        self.batch = (self.next..).take(count).map(|index| material.payload(index, bytes)).collect();
        self.next += count as u64;
    }

    fn append(&mut self) -> Result<(), String> {
        self.buffer.clear();
        let start = match self.uncached {
            Some(_) => {
                let bytes: usize = self.batch.iter().map(|payload| 16 + payload.len()).sum();
                self.buffer.reserve(bytes + 2 * BLOCK_BYTES);
                self.buffer.as_ptr().align_offset(BLOCK_BYTES)
            }
            None => 0,
        };
        self.buffer.resize(start, 0);
        let first = self.next - self.batch.len() as u64;
        for (payload, index) in self.batch.iter().zip(first..) {
            self.buffer.extend((payload.len() as u32).to_le_bytes());
            self.buffer.extend(crc32c::crc32c(payload).to_le_bytes());
            self.buffer.extend(index.to_le_bytes());
            self.buffer.extend_from_slice(payload);
        }
        if self.uncached.is_some() {
            let whole = (self.buffer.len() - start).next_multiple_of(BLOCK_BYTES);
            self.buffer.resize(start + whole, 0);
        }
        let bytes = &self.buffer[start..];
        if self.offset + bytes.len() as u64 > FILE_BYTES {
            self.offset = 0;
        }
        match &self.uncached {
            Some(file) => {
                let written = file.write_all_at(bytes, self.offset).and_then(|()| self.file.sync_data());
                written.map_err(|error| error.to_string())?;
            }
            None => self.put(self.offset, bytes)?,
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
