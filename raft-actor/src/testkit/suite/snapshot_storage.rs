//! What every [`SnapshotStorage`] must do, line by line of its contract.
//!
//! [`check`] runs all of it. `fresh` makes a new, empty storage's opener; the opener opens that same
//! storage, again and again, after the one that was open has been dropped. `block_on` is how your runtime
//! waits for a future.
//!
//! ```
//! use raft_actor::testkit::{memory::MemorySnapshots, suite::snapshot_storage};
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! snapshot_storage::check(
//!     || {
//!         let snapshots = MemorySnapshots::new();
//!         move || snapshots.clone()
//!     },
//!     |future| runtime.block_on(future),
//! );
//! ```

use std::{
    io::{self, Read},
    sync::mpsc,
};

use bytes::Bytes;

use super::log_storage::LocalFuture;
use crate::{
    membership::Membership,
    storage::{SnapshotStorage, StorageError},
    types::{LogId, LogIndex, NodeId, SnapshotMeta, SnapshotView, Term},
};

/// Holds a storage against the whole contract. Panics where it is broken, with the line's name printed
/// before.
pub fn check<L, Open>(fresh: impl Fn() -> Open, block_on: impl Fn(LocalFuture<'_>))
where
    L: SnapshotStorage,
    Open: Fn() -> L,
{
    macro_rules! lines {
        ($($line:ident),* $(,)?) => {
            $(
                println!("snapshot storage: {}", stringify!($line));
                block_on(Box::pin(async { $line(fresh()).await }));
            )*
        };
    }
    lines![
        a_new_storage_has_none,
        what_was_written_is_recovered_and_read_back,
        an_empty_snapshot_is_one,
        the_newest_is_the_one_that_covers_most,
        a_view_that_fails_leaves_nothing,
        chunks_are_cut_as_asked,
        what_is_not_there_is_none,
        what_is_received_in_parts_is_whole,
        gaps_and_repetitions_do_no_harm,
        receiving_goes_on_after_a_restart,
        what_is_not_whole_is_not_finished,
        another_snapshot_takes_the_place_of_one_half_received,
        only_the_newest_and_those_named_are_kept,
    ];
}

/// A snapshot's description, of an id and an index.
pub fn describe(id: u64, index: u64, size_bytes: u64) -> SnapshotMeta {
    let membership = Membership::new([(NodeId(1), "a:1".to_owned()), (NodeId(2), "b:2".to_owned())])
        .expect("two nodes are a membership");
    SnapshotMeta {
        id,
        last: LogId::new(Term(3), LogIndex(index)),
        membership: Box::new(membership),
        membership_log_id: LogId::new(Term(1), LogIndex(1)),
        size_bytes,
        witness: false,
    }
}

/// So many bytes, no two places alike.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// A view of these bytes, written in pieces of odd sizes.
fn view(bytes: Vec<u8>) -> SnapshotView {
    Box::new(move |writer| bytes.chunks(4_099).try_for_each(|piece| writer.write_all(piece)))
}

async fn write(storage: &impl SnapshotStorage, id: u64, index: u64, bytes: usize) -> SnapshotMeta {
    let written = storage.write(describe(id, index, 0), view(content(bytes))).await;
    written.expect("a snapshot can be written")
}

async fn read_back(storage: &impl SnapshotStorage, id: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = storage.open(id).await.expect("a snapshot can be opened");
    reader.read_to_end(&mut bytes).expect("and read");
    bytes
}

async fn receive(storage: &impl SnapshotStorage, snapshot: &SnapshotMeta, offset: u64, data: &[u8]) -> u64 {
    let stored = storage.receive_chunk(snapshot, offset, Bytes::copy_from_slice(data)).await;
    stored.expect("a part can be received")
}

async fn a_new_storage_has_none<L: SnapshotStorage>(open: impl Fn() -> L) {
    assert_eq!(open().recover().await.expect("it opens"), None);
}

async fn what_was_written_is_recovered_and_read_back<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    let written = write(&storage, 7, 10, 700_001).await;
    assert_eq!(written, describe(7, 10, 700_001), "the size is told, and nothing else is changed");
    assert_eq!(read_back(&storage, 7).await, content(700_001));
    drop(storage);
    let storage = open();
    assert_eq!(storage.recover().await.expect("it opens again"), Some(written));
    assert_eq!(read_back(&storage, 7).await, content(700_001));
}

async fn an_empty_snapshot_is_one<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    let written = write(&storage, 7, 10, 0).await;
    assert_eq!(read_back(&storage, 7).await, b"");
    drop(storage);
    assert_eq!(open().recover().await.expect("it opens again"), Some(written));
}

async fn the_newest_is_the_one_that_covers_most<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    let newest = write(&storage, 1, 20, 5).await;
    write(&storage, 9, 9, 5).await;
    drop(storage);
    assert_eq!(open().recover().await.expect("it opens again"), Some(newest));
}

async fn a_view_that_fails_leaves_nothing<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    let failing: SnapshotView = Box::new(|writer| {
        writer.write_all(&content(300_000))?;
        Err(io::Error::other("the view broke"))
    });
    let outcome = storage.write(describe(7, 10, 0), failing).await;
    assert!(outcome.is_err_and(|error| error.to_string().contains("the view broke")));
    drop(storage);
    assert_eq!(open().recover().await.expect("it opens again"), None);
}

async fn chunks_are_cut_as_asked<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    let size = 600_000;
    write(&storage, 7, 10, size).await;
    let all = content(size);
    for (offset, bytes_max) in
        [(0, 10), (0, 262_144), (262_100, 100), (5, 600_000), (599_999, 9), (600_000, 1)]
    {
        let chunk = storage.read_chunk(7, offset, bytes_max).await.expect("it reads").expect("it is there");
        let end = (offset + bytes_max).min(size as u64) as usize;
        assert_eq!(chunk, all[offset as usize..end], "{bytes_max} bytes from {offset} on");
    }
}

async fn what_is_not_there_is_none<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    assert_eq!(storage.read_chunk(7, 0, 10).await.expect("no error"), None);
    assert!(storage.open(7).await.is_err());
}

async fn what_is_received_in_parts_is_whole<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    let (all, snapshot) = (content(900_000), describe(7, 10, 900_000));
    assert_eq!(receive(&storage, &snapshot, 0, b"").await, 0, "an empty part only asks");
    let mut offset = 0;
    for part in all.chunks(100_003) {
        let next = receive(&storage, &snapshot, offset, part).await;
        assert_eq!(next, offset + part.len() as u64);
        offset = next;
    }
    storage.finish_receive(&snapshot).await.expect("it is whole");
    storage.finish_receive(&snapshot).await.expect("once more does nothing");
    assert_eq!(receive(&storage, &snapshot, 0, &all[..9]).await, 900_000);
    assert_eq!(read_back(&storage, 7).await, all);
    drop(storage);
    let storage = open();
    assert_eq!(storage.recover().await.expect("it opens again"), Some(snapshot));
    assert_eq!(read_back(&storage, 7).await, all);
}

async fn gaps_and_repetitions_do_no_harm<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    let (all, snapshot) = (content(1000), describe(7, 10, 1000));
    assert_eq!(receive(&storage, &snapshot, 0, &all[..400]).await, 400);
    assert_eq!(receive(&storage, &snapshot, 500, &all[500..]).await, 400, "a gap");
    assert_eq!(receive(&storage, &snapshot, 0, &all[..300]).await, 400, "nothing new");
    assert_eq!(receive(&storage, &snapshot, 300, &all[300..600]).await, 600, "partly new");
    assert_eq!(receive(&storage, &snapshot, 600, &all[600..]).await, 1000);
    storage.finish_receive(&snapshot).await.expect("it is whole");
    assert_eq!(read_back(&storage, 7).await, all);
}

async fn receiving_goes_on_after_a_restart<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    let (all, snapshot) = (content(800_000), describe(7, 10, 800_000));
    assert_eq!(receive(&storage, &snapshot, 0, &all[..700_000]).await, 700_000);
    drop(storage);
    let storage = open();
    assert_eq!(storage.recover().await.expect("it opens again"), None, "what is not whole is none");
    let next = receive(&storage, &snapshot, 0, b"").await;
    assert!(next <= 700_000, "{next}");
    assert!(next >= 500_000, "most of it must be there still, not {next}");
    assert_eq!(receive(&storage, &snapshot, next, &all[next as usize..]).await, 800_000);
    storage.finish_receive(&snapshot).await.expect("it is whole");
    assert_eq!(read_back(&storage, 7).await, all);
}

async fn what_is_not_whole_is_not_finished<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    let snapshot = describe(7, 10, 10);
    receive(&storage, &snapshot, 0, b"nine byte").await;
    let outcome = storage.finish_receive(&snapshot).await;
    assert!(matches!(outcome, Err(StorageError::Contract(_))), "{outcome:?}");
}

async fn another_snapshot_takes_the_place_of_one_half_received<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    let (one, other) = (describe(7, 10, 6), describe(8, 12, 5));
    receive(&storage, &one, 0, b"first").await;
    assert_eq!(receive(&storage, &other, 0, b"other").await, 5);
    storage.finish_receive(&other).await.expect("it is whole");
    assert_eq!(read_back(&storage, 8).await, b"other");
}

async fn only_the_newest_and_those_named_are_kept<L: SnapshotStorage>(open: impl Fn() -> L) {
    let storage = open();
    storage.recover().await.expect("it opens");
    for id in 1..=4 {
        write(&storage, id, id * 10, 5).await;
    }
    storage.retain(&[2, 99]).await.expect("it removes");
    for (id, is_there) in [(1, false), (2, true), (3, false), (4, true)] {
        let chunk = storage.read_chunk(id, 0, 5).await.expect("no error");
        assert_eq!(chunk.is_some(), is_there, "snapshot {id}");
    }
    let (sender, receiver) = mpsc::channel();
    let slow: SnapshotView = Box::new(move |writer| {
        sender.send(()).expect("the test waits");
        writer.write_all(b"later")
    });
    storage.write(describe(5, 50, 0), slow).await.expect("it writes");
    receiver.recv().expect("the view was run");
    drop(storage);
    let newest = open().recover().await.expect("it opens again").expect("there is one");
    assert_eq!(newest.id, 5);
}
