//! What is fuzzed here, as plain functions: the fuzzer calls them, and so does a test with the corpus.

use bytes::{Bytes, BytesMut};
use raft_actor::message::Envelope;
use raft_net_http::{
    Limits,
    wire::{decode, encode},
};

/// A frame as it comes off a link. Both as it is, and with a header that fits what is behind it, because a
/// checksum keeps chance away from all else.
pub(crate) fn frame(bytes: &[u8]) {
    check(Bytes::copy_from_slice(bytes));
    if bytes.len() >= 16 {
        let mut mended = bytes.to_vec();
        let length = (bytes.len() - 16) as u32;
        mended[..4].copy_from_slice(b"RAF\x01");
        mended[4..8].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&mended[..8]), &mended[12..]);
        mended[8..12].copy_from_slice(&checksum.to_le_bytes());
        check(mended.into());
    }
}

fn check(frame: Bytes) {
    let limits = Limits::default();
    let mut batch = Vec::new();
    match decode(&frame, &limits, &mut batch) {
        Err(error) => {
            assert!(batch.is_empty(), "a part of a broken frame is delivered");
            assert!(!error.to_string().is_empty());
        }
        Ok(()) => assert!(again(&batch, &limits) == batch, "encoding and decoding has changed a batch"),
    }
}

/// The batch, written and read.
fn again(batch: &[Envelope], limits: &Limits) -> Vec<Envelope> {
    let (mut sent, mut arrived) = (0, Vec::new());
    while sent < batch.len() {
        let mut frame = BytesMut::new();
        sent += encode(&batch[sent..], limits, &mut frame).expect("what was decoded can be encoded");
        decode(&frame.freeze(), limits, &mut arrived).expect("what was encoded can be decoded");
    }
    arrived
}
