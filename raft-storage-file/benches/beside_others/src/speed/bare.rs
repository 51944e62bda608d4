//! The least that a log can do: one preallocated file of zeros, a header and a checksum an entry, one write
//! and one flush a batch. It keeps no index, and cannot be read after a crash.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use bytes::Bytes;

use super::Log;
use crate::material::Material;

const FILE_BYTES: u64 = 256 << 20;

pub(crate) struct Bare {
    pub(crate) file: File,
    next: u64,
    offset: u64,
    batch: Vec<Bytes>,
    buffer: Vec<u8>,
}

impl Bare {
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
        Ok(Bare { file, next: 1, offset: 0, batch: Vec::new(), buffer: Vec::new() })
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
        let first = self.next - self.batch.len() as u64;
        for (payload, index) in self.batch.iter().zip(first..) {
            self.buffer.extend((payload.len() as u32).to_le_bytes());
            self.buffer.extend(crc32c::crc32c(payload).to_le_bytes());
            self.buffer.extend(index.to_le_bytes());
            self.buffer.extend_from_slice(payload);
        }
        if self.offset + self.buffer.len() as u64 > FILE_BYTES {
            self.offset = 0;
        }
        self.put(self.offset, &self.buffer)?;
        self.offset += self.buffer.len() as u64;
        Ok(())
    }
}
