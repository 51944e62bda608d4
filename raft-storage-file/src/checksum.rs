//! CRC-32C, the checksum of all that stands on the disk.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of these bytes.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The checksum of these parts, one after another.
pub(crate) fn crc32c_of<const PARTS: usize>(parts: [&[u8]; PARTS]) -> u32 {
    let mut running = Running::default();
    parts.into_iter().for_each(|part| running.add(part));
    running.checksum()
}

/// A checksum of what comes little by little.
#[derive(Clone, Debug)]
pub(crate) struct Running(Digest);

impl Default for Running {
    fn default() -> Running {
        Running(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }
}

impl Running {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of all that has come.
    pub(crate) fn checksum(&self) -> u32 {
        self.0.finalize() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::{crc32c, crc32c_of};

    /// By its definition: bit by bit, with the reflected polynomial of Castagnoli (RFC 3720, B.4).
    fn by_definition(bytes: &[u8]) -> u32 {
        let step = |crc: u32, byte: &u8| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
        };
        !bytes.iter().fold(!0, step)
    }

    #[test]
    fn the_checksum_is_the_one_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn at_every_length_and_place_and_cut_the_checksum_is_that_of_the_definition() {
        let mut bytes = vec![0; 5000];
        fastrand::Rng::with_seed(1).fill(&mut bytes);
        for (number, length) in (0..600).chain([1023, 1024, 1025, 2047, 4096, 4900]).enumerate() {
            let part = &bytes[number % 67..][..length];
            let (one, other) = part.split_at(length * (number % 5) / 5);
            let expected = by_definition(part);
            assert_eq!(crc32c(part), expected, "{length} bytes");
            assert_eq!(crc32c_of([one, other]), expected, "{} and {} bytes", one.len(), other.len());
        }
    }
}
