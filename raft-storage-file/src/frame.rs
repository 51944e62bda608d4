//! The record on the disk. One frame is one group of writes under one flush, and is read back whole or not
//! at all.
//!
//! A frame is a header of 128 bytes, a descriptor an entry, the payloads, and padding up to a whole block.
//! The header's checksum covers its place (segment and offset), so a frame that a disk has put somewhere
//! else is not a frame there. The descriptors have a checksum in the header, and each payload has one in
//! its descriptor, over the entry's identity too.
//!
//! No sector of a frame is ever all zeros: where a payload would make one so, the body is scrambled. A
//! segment is zeroed before it is used, so a sector of zeros within a frame says that this sector never
//! reached the disk, and that is how a torn frame is told from a damaged one.

use bytes::Bytes;
use raft_actor::{
    membership::Membership,
    types::{Entries, Entry, LogId, LogIndex, Payload, Term},
};

use crate::{
    checksum::{crc32c, crc32c_of},
    layout::{SECTOR_BYTES, whole_blocks},
};

pub(crate) const HEADER_BYTES: usize = 128;
pub(crate) const DESCRIPTOR_BYTES: usize = 24;
/// More than this in one write is refused: nothing legitimate comes near, and lengths stay far from overflow.
pub(crate) const BODY_BYTES_MAX: u64 = 1 << 30;
const MAGIC: u32 = 0x5246_4c47;
const VERSION: u16 = 1;
const PADDING: u8 = 0xa5;
/// Index, term and kind of an entry.
const IDENTITY_BYTES: usize = 17;

/// What a frame does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Entries right after the last.
    Append = 1,
    /// Forgets all from `first_index` on, then appends.
    TruncateAppend = 2,
    /// Nothing of its own: proves that what came before was flushed, and carries what was purged.
    Mark = 3,
    /// Closes a segment and names the next. Stands in the segment's last block only.
    Seal = 4,
}

/// Where a frame stands, part of its checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) salt: u32,
    pub(crate) segment_id: u64,
    pub(crate) offset: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// 1, 2, 3 ... through all segments; a seal repeats the last one's.
    pub(crate) seq: u64,
    /// The highest `seq` whose flush had returned when this was built.
    pub(crate) durable_seq: u64,
    pub(crate) first_index: LogIndex,
    /// The term of the entry before `first_index`.
    pub(crate) prev_term: Term,
    pub(crate) entries: u32,
    pub(crate) descriptors_crc: u32,
    pub(crate) payload_bytes: u64,
    pub(crate) kind: Kind,
    pub(crate) group: u32,
    /// The highest number of a hard state whose flush had returned.
    pub(crate) hard_state_seq: u64,
    pub(crate) purged: LogId,
    /// Nonzero where the body is scrambled.
    pub(crate) scramble_key: u64,
    /// Of a seal: where the segment's valid frames end.
    pub(crate) valid_length: u64,
    /// Of a seal: the segment that follows.
    pub(crate) next_segment_id: u64,
}

impl FrameHeader {
    pub(crate) fn body_bytes(&self) -> u64 {
        u64::from(self.entries) * DESCRIPTOR_BYTES as u64 + self.payload_bytes
    }

    /// The same, of a frame that holds these entries.
    pub(crate) fn holding(self, runs: &[Entries]) -> FrameHeader {
        let entries = || runs.iter().flat_map(|run| run.iter());
        let payload_bytes = entries().map(|entry| padded(payload_length(&entry.payload)) as u64).sum();
        let entries = runs.iter().map(|run| run.len()).sum::<usize>() as u32;
        FrameHeader { entries, payload_bytes, ..self }
    }

    /// The whole blocks that the frame takes.
    pub(crate) fn extent(&self) -> u64 {
        whole_blocks(HEADER_BYTES as u64 + self.body_bytes())
    }

    fn encode(&self, place: Place) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &(MAGIC ^ place.salt).to_le_bytes());
        put(8, &self.seq.to_le_bytes());
        put(16, &self.durable_seq.to_le_bytes());
        put(24, &self.first_index.0.to_le_bytes());
        put(32, &self.prev_term.0.to_le_bytes());
        put(40, &self.entries.to_le_bytes());
        put(44, &self.descriptors_crc.to_le_bytes());
        put(48, &self.payload_bytes.to_le_bytes());
        put(56, &[self.kind as u8, 0]);
        put(58, &VERSION.to_le_bytes());
        put(60, &self.group.to_le_bytes());
        put(64, &self.hard_state_seq.to_le_bytes());
        put(72, &self.purged.index.0.to_le_bytes());
        put(80, &self.purged.term.0.to_le_bytes());
        put(88, &self.scramble_key.to_le_bytes());
        put(96, &self.valid_length.to_le_bytes());
        put(104, &self.next_segment_id.to_le_bytes());
        let crc = header_crc(&bytes, place);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the front of `bytes`, if there is a whole one that belongs to this place.
    pub(crate) fn decode(bytes: &[u8], place: Place) -> Option<FrameHeader> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if u32_at(bytes, 0) != MAGIC ^ place.salt
            || u32_at(bytes, 4) != header_crc(bytes, place)
            || bytes[58..60] != VERSION.to_le_bytes()
        {
            return None;
        }
        let header = FrameHeader {
            seq: u64_at(bytes, 8),
            durable_seq: u64_at(bytes, 16),
            first_index: LogIndex(u64_at(bytes, 24)),
            prev_term: Term(u64_at(bytes, 32)),
            entries: u32_at(bytes, 40),
            descriptors_crc: u32_at(bytes, 44),
            payload_bytes: u64_at(bytes, 48),
            kind: match bytes[56] {
                1 => Kind::Append,
                2 => Kind::TruncateAppend,
                3 => Kind::Mark,
                4 => Kind::Seal,
                _ => return None,
            },
            group: u32_at(bytes, 60),
            hard_state_seq: u64_at(bytes, 64),
            purged: LogId::new(Term(u64_at(bytes, 80)), LogIndex(u64_at(bytes, 72))),
            scramble_key: u64_at(bytes, 88),
            valid_length: u64_at(bytes, 96),
            next_segment_id: u64_at(bytes, 104),
        };
        (header.payload_bytes <= BODY_BYTES_MAX && header.body_bytes() <= BODY_BYTES_MAX).then_some(header)
    }
}

fn header_crc(bytes: &[u8; HEADER_BYTES], place: Place) -> u32 {
    crc32c_of([&place.segment_id.to_le_bytes(), &place.offset.to_le_bytes(), &bytes[8..]])
}

/// Builds the frame of `header`, which is of [`holding`](FrameHeader::holding) these `runs` of entries, in
/// `frame`, which is as long as its extent. Whatever stood there is overwritten. Checksums are filled in.
pub(crate) fn encode_frame(frame: &mut [u8], place: Place, mut header: FrameHeader, runs: &[Entries]) {
    let payloads_at = payloads_at(&header) as usize;
    let body_end = HEADER_BYTES + header.body_bytes() as usize;
    let (mut descriptor, mut start) = (HEADER_BYTES, payloads_at);
    for entry in runs.iter().flat_map(|run| run.iter()) {
        let (kind, length) = put_payload(&mut frame[start..], &entry.payload);
        let crc = entry_crc_in_place(frame, start, length, entry.id, kind);
        let bytes = &mut frame[descriptor..descriptor + DESCRIPTOR_BYTES];
        bytes[0..4].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes[8..16].copy_from_slice(&entry.id.term.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&u64::from(kind).to_le_bytes());
        descriptor += DESCRIPTOR_BYTES;
        start += padded(length);
    }
    debug_assert_eq!((descriptor, start), (payloads_at, body_end), "the header counts other entries");
    header.descriptors_crc = crc32c(&frame[HEADER_BYTES..payloads_at]);
    header.scramble_key = 0;
    frame[body_end..].fill(PADDING);
    // The header is put in last; until then its place must not look like an empty sector.
    frame[0] = PADDING;
    while frame.chunks(SECTOR_BYTES).any(is_zero) {
        scramble(&mut frame[HEADER_BYTES..body_end], header.scramble_key, 0);
        header.scramble_key += 1;
        scramble(&mut frame[HEADER_BYTES..body_end], header.scramble_key, 0);
    }
    frame[..HEADER_BYTES].copy_from_slice(&header.encode(place));
}

/// What a payload takes in a frame: each begins at a multiple of 8.
fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

fn payload_length(payload: &Payload) -> usize {
    match payload {
        Payload::Noop => 0,
        Payload::Command(command) => command.len(),
        Payload::Membership(membership) => membership_bytes(membership).len(),
    }
}

/// Puts a payload at the front of `bytes`, and zeros up to what it takes. Its kind and its length.
fn put_payload(bytes: &mut [u8], payload: &Payload) -> (u8, usize) {
    let mut put = |payload: &[u8]| {
        let (length, end) = (payload.len(), padded(payload.len()));
        // The zeros first, so that there is always the same number of them.
        if let Some(last) = bytes[..end].last_chunk_mut::<8>() {
            *last = [0; 8];
        }
        bytes[..length].copy_from_slice(payload);
        length
    };
    match payload {
        Payload::Noop => (0, 0),
        Payload::Command(command) => (1, put(command)),
        Payload::Membership(membership) => (2, put(&membership_bytes(membership))),
    }
}

fn membership_bytes(membership: &Membership) -> Vec<u8> {
    postcard::to_allocvec(membership)
        .expect("a membership is sets and strings, which postcard always encodes")
}

/// What an entry's checksum is over besides its payload.
fn identity(id: LogId, kind: u8) -> [u8; IDENTITY_BYTES] {
    let mut identity = [kind; IDENTITY_BYTES];
    identity[..8].copy_from_slice(&id.index.0.to_le_bytes());
    identity[8..16].copy_from_slice(&id.term.0.to_le_bytes());
    identity
}

fn entry_crc(id: LogId, kind: u8, payload: &[u8]) -> u32 {
    crc32c_of([&identity(id, kind), payload])
}

/// The same of a payload that stands in a frame. For as long as it is taken the identity stands right before
/// the payload, in the place of what is put back afterwards: one piece of bytes takes half the time of two.
fn entry_crc_in_place(frame: &mut [u8], start: usize, length: usize, id: LogId, kind: u8) -> u32 {
    let bytes = &mut frame[start - IDENTITY_BYTES..start + length];
    let (front, _) = bytes.split_first_chunk_mut().expect("a header stands before the first payload");
    let before: [u8; IDENTITY_BYTES] = std::mem::replace(front, identity(id, kind));
    let crc = crc32c(bytes);
    bytes[..IDENTITY_BYTES].copy_from_slice(&before);
    crc
}

/// Where an entry's payload is, and what it must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    pub(crate) id: LogId,
    kind: u8,
    length: u32,
    crc: u32,
    /// Where the payload begins, counted from the first payload.
    pub(crate) start: u64,
}

impl Descriptor {
    pub(crate) fn size_bytes(&self) -> u64 {
        32 + if self.kind == 1 { u64::from(self.length) } else { 0 }
    }

    /// Where the next payload begins.
    pub(crate) fn end(&self) -> u64 {
        self.start + u64::from(self.length).next_multiple_of(8)
    }

    /// The payload, which begins `at` bytes into `bytes`, where it is what was written.
    fn check<'a>(&self, bytes: &'a [u8], at: u64) -> Result<&'a [u8], String> {
        let payload = bytes.get(at as usize..at as usize + self.length as usize);
        let payload = payload.ok_or_else(|| format!("entry {} reaches beyond its frame", self.id))?;
        if entry_crc(self.id, self.kind, payload) != self.crc {
            return Err(format!("entry {} does not match its checksum", self.id));
        }
        match self.kind {
            0..=2 => Ok(payload),
            kind => Err(format!("entry {} is of the unknown kind {kind}", self.id)),
        }
    }

    fn membership(&self, payload: &[u8]) -> Result<Membership, String> {
        postcard::from_bytes(payload)
            .map_err(|error| format!("entry {} holds no membership: {error}", self.id))
    }

    /// The entry, whose payload begins `at` bytes into `bytes`.
    pub(crate) fn entry(&self, bytes: &Bytes, at: u64) -> Result<Entry, String> {
        let payload = self.check(bytes, at)?;
        let payload = match self.kind {
            0 => Payload::Noop,
            1 => Payload::Command(bytes.slice_ref(payload)),
            _ => Payload::Membership(Box::new(self.membership(payload)?)),
        };
        Ok(Entry::new(self.id, payload))
    }
}

/// Reads the descriptors of a frame, which must be `bytes` exactly (not scrambled any more).
pub(crate) fn descriptors(header: &FrameHeader, bytes: &[u8]) -> Result<Vec<Descriptor>, String> {
    if crc32c(bytes) != header.descriptors_crc {
        return Err("the descriptors do not match their checksum".to_owned());
    }
    let mut start = 0;
    let mut all = Vec::with_capacity(header.entries as usize);
    for (number, bytes) in bytes.chunks_exact(DESCRIPTOR_BYTES).enumerate() {
        let index = header.first_index.0.saturating_add(number as u64);
        let id = LogId::new(Term(u64_at(bytes, 8)), LogIndex(index));
        let descriptor =
            Descriptor { id, kind: bytes[16], length: u32_at(bytes, 0), crc: u32_at(bytes, 4), start };
        start = descriptor.end();
        all.push(descriptor);
    }
    if start != header.payload_bytes {
        return Err("the payloads' lengths do not add up".to_owned());
    }
    Ok(all)
}

/// What a frame holds, found right, and not kept.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Where each term begins, and the last entry.
    pub(crate) terms: Vec<LogId>,
    pub(crate) memberships: Vec<(LogId, Membership)>,
}

/// Checks all of a frame, of which `frame` is the whole extent. Unscrambles it.
pub(crate) fn check_frame(header: &FrameHeader, frame: &mut [u8]) -> Result<Contents, String> {
    let descriptors = open_frame(header, frame)?;
    let mut memberships = Vec::new();
    for descriptor in &descriptors {
        let payload = descriptor.check(frame, payloads_at(header) + descriptor.start)?;
        if descriptor.kind == 2 {
            memberships.push((descriptor.id, descriptor.membership(payload)?));
        }
    }
    let of_one_term = descriptors.chunk_by(|one, next| one.id.term == next.id.term);
    let mut terms: Vec<LogId> = of_one_term.map(|run| run[0].id).collect();
    terms.extend(descriptors.last().map(|last| last.id));
    Ok(Contents { terms, memberships })
}

/// Reads all entries of a frame from its whole extent.
pub(crate) fn decode_entries(header: &FrameHeader, mut frame: Vec<u8>) -> Result<Vec<Entry>, String> {
    let descriptors = open_frame(header, &mut frame)?;
    let bytes = Bytes::from(frame);
    let entry = |descriptor: &Descriptor| descriptor.entry(&bytes, payloads_at(header) + descriptor.start);
    descriptors.iter().map(entry).collect()
}

/// Unscrambles a frame, and reads its descriptors.
fn open_frame(header: &FrameHeader, frame: &mut [u8]) -> Result<Vec<Descriptor>, String> {
    let body_end = HEADER_BYTES + header.body_bytes() as usize;
    if frame[body_end..].iter().any(|byte| *byte != PADDING) {
        return Err("the padding is not what was written".to_owned());
    }
    scramble(&mut frame[HEADER_BYTES..body_end], header.scramble_key, 0);
    descriptors(header, &frame[HEADER_BYTES..payloads_at(header) as usize])
}

/// Where in a frame the payloads begin.
pub(crate) fn payloads_at(header: &FrameHeader) -> u64 {
    HEADER_BYTES as u64 + u64::from(header.entries) * DESCRIPTOR_BYTES as u64
}

/// Scrambles, or unscrambles, the part of a body that begins `from` bytes into it. Key 0 leaves it alone.
pub(crate) fn scramble(body: &mut [u8], key: u64, from: u64) {
    if key == 0 {
        return;
    }
    debug_assert!(from.is_multiple_of(8), "bodies are made of words of 8 bytes");
    for (number, word) in body.chunks_mut(8).enumerate() {
        let position = from / 8 + number as u64 + 1;
        // The mixing function of splitmix64: each word's key can be had without those before it.
        let mut mixed = key.wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        for (byte, mask) in word.iter_mut().zip(mixed.to_le_bytes()) {
            *byte ^= mask;
        }
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { salt: 5, segment_id: 3, offset: 8192 };

    fn header() -> FrameHeader {
        FrameHeader {
            seq: 9,
            durable_seq: 8,
            first_index: LogIndex(1),
            prev_term: Term(0),
            entries: 0,
            descriptors_crc: 0,
            payload_bytes: 0,
            kind: Kind::Append,
            group: 0,
            hard_state_seq: 1,
            purged: LogId::ZERO,
            scramble_key: 0,
            valid_length: 0,
            next_segment_id: 0,
        }
    }

    #[test]
    fn a_frame_is_the_same_whatever_stood_in_its_memory_and_is_read_back_whole() {
        let mut random = fastrand::Rng::with_seed(3);
        let membership = Membership::new([(raft_actor::types::NodeId(1), "host:1".to_owned())]).unwrap();
        for count in 0..120 {
            let payload = |index: u64| match random.u32(0..12) {
                0 => Payload::Noop,
                1 => Payload::Membership(Box::new(membership.clone())),
                _ => Payload::Command(vec![(index % 3) as u8; random.usize(0..700)].into()),
            };
            let entries = (1..=count).map(payload).collect::<Vec<_>>().into_iter().zip(1..);
            let entries =
                entries.map(|(payload, index)| Entry::new(LogId::new(Term(2), LogIndex(index)), payload));
            let entries: Vec<Entry> = entries.collect();
            let (one, other) = entries.split_at(count as usize / 3);
            let runs: [Entries; 2] = [one.to_vec().into(), other.to_vec().into()];
            let header = header().holding(&runs);
            let bytes = header.extent() as usize;
            let frames = [0, 0xff, 0x5a].map(|stood_there| {
                let mut frame = vec![stood_there; bytes];
                encode_frame(&mut frame, PLACE, header.clone(), &runs);
                frame
            });
            assert!(frames[0] == frames[1] && frames[0] == frames[2], "{count} entries");
            assert!(!frames[0].chunks(SECTOR_BYTES).any(is_zero), "{count} entries");
            let header = FrameHeader::decode(&frames[0], PLACE).unwrap();
            assert_eq!(header.extent() as usize, bytes);
            assert_eq!(decode_entries(&header, frames[0].clone()).unwrap(), entries);
        }
    }
}
