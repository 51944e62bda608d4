//! Snapshots on files: the seam's suite, power cuts after every call to the disk, and damage to every block.

use std::{
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use raft_actor::{
    storage::{SnapshotStorage, StorageError},
    testkit::suite::snapshot_storage::{self, describe},
    types::{ClusterId, NodeId, SnapshotMeta},
};
use raft_storage_file::{
    FileSnapshots, Identity,
    disk::simulated::{SimulatedDisk, Unflushed},
};

use super::crash::{block_on, tell};

const FOLDER: &str = "/snapshots";
const IDENTITY: Identity = Identity { cluster_id: ClusterId(7), node_id: NodeId(3) };

fn open(disk: &SimulatedDisk) -> FileSnapshots {
    FileSnapshots::open_on(Arc::new(disk.clone()), FOLDER, IDENTITY).expect("the folder opens")
}

/// What the snapshot of this id holds: long enough for two chunks and a bit.
fn content(id: u64) -> Vec<u8> {
    (0..600_000_u64).map(|at| (at * 7 + at / 255 + id) as u8).collect()
}

fn write(storage: &FileSnapshots, id: u64, index: u64) -> Result<SnapshotMeta, StorageError> {
    let bytes = content(id);
    block_on(storage.write(describe(id, index, 0), Box::new(move |writer| writer.write_all(&bytes))))
}

fn receive(storage: &FileSnapshots, id: u64, index: u64) -> Result<SnapshotMeta, StorageError> {
    let (bytes, snapshot) = (content(id), describe(id, index, 600_000));
    for (number, part) in bytes.chunks(200_000).enumerate() {
        let offset = number as u64 * 200_000;
        block_on(storage.receive_chunk(&snapshot, offset, Bytes::copy_from_slice(part)))?;
    }
    block_on(storage.finish_receive(&snapshot))?;
    Ok(snapshot)
}

fn read(storage: &FileSnapshots, id: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut reader = block_on(storage.open(id)).map_err(|error| error.to_string())?;
    reader.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[test]
fn files_keep_the_contract_of_snapshots() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let fresh = || {
        let folder = tempfile::tempdir().expect("a folder");
        move || FileSnapshots::open(folder.path(), IDENTITY).expect("the folder opens")
    };
    snapshot_storage::check(fresh, |future| runtime.block_on(future));
    let fresh = || {
        let disk = SimulatedDisk::new();
        move || open(&disk)
    };
    snapshot_storage::check(fresh, |future| runtime.block_on(future));
}

/// Two snapshots of the node's own and one of a leader's, until something fails; the acknowledged ones.
fn work(storage: &FileSnapshots) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let mut run = || -> Result<(), StorageError> {
        block_on(storage.recover())?;
        acknowledged.push(write(storage, 1, 10)?.id);
        acknowledged.push(write(storage, 2, 20)?.id);
        block_on(storage.retain(&[]))?;
        acknowledged.push(receive(storage, 3, 30)?.id);
        block_on(storage.retain(&[2]))
    };
    // An error ends the work, as it ends a node.
    let _ = run();
    acknowledged
}

#[test]
fn after_a_power_cut_at_any_call_the_newest_acknowledged_snapshot_is_there_and_whole() {
    let disk = SimulatedDisk::new();
    assert_eq!(work(&open(&disk)), [1, 2, 3]);
    let calls = disk.calls().total();
    let mut images = 0;
    for cut in 0..=calls {
        let disk = SimulatedDisk::new();
        disk.fail_after(cut, ErrorKind::Other);
        let acknowledged = work(&open(&disk));
        let kinds = [Unflushed::Kept, Unflushed::Dropped];
        for unflushed in kinds.into_iter().chain((0..6).map(|seed| Unflushed::Torn(cut * 10 + seed))) {
            images += 1;
            let storage = open(&disk.crash(unflushed));
            let newest = block_on(storage.recover()).expect("a crash leaves nothing that is damaged");
            let newest = newest.map_or(0, |snapshot| snapshot.id);
            assert!(
                newest >= acknowledged.last().copied().unwrap_or(0),
                "cut at call {cut}, {unflushed:?}: found {newest}, acknowledged {acknowledged:?}"
            );
            if newest > 0 {
                assert_eq!(read(&storage, newest).expect("it is whole"), content(newest));
            }
            // The node goes on: the next snapshot is taken, and the one that was cut off is received.
            receive(&storage, 3, 30).expect("it is received");
            assert_eq!(read(&storage, 3).expect("it is whole"), content(3));
            write(&storage, 4, 40).expect("it is written");
        }
    }
    tell(&format!("snapshots: power cut after each of {calls} calls, in 8 states"), images, images, 0, 0);
    assert!(images > 150);
}

fn the_file(disk: &SimulatedDisk) -> PathBuf {
    let is_snapshot = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "snap");
    disk.paths().into_iter().find(is_snapshot).expect("there is a snapshot")
}

#[cfg_attr(test, test)]
pub(crate) fn damage_anywhere_is_found_and_told_with_file_and_place() {
    let whole = SimulatedDisk::new();
    write(&open(&whole), 1, 10).expect("it is written");
    let path = the_file(&whole);
    let size = whole.bytes(&path).expect("it is there").len();
    for at in (0..size).step_by(4093).chain([8, 12, 16, 4096, 4104, 4108, size - 32, size - 20, size - 1]) {
        let disk = whole.crash(Unflushed::Kept);
        disk.damage(&path, |bytes| bytes[at] ^= 0x10);
        let storage = open(&disk);
        let outcome = block_on(storage.recover()).map_err(|error| error.to_string());
        let found = outcome.and_then(|found| read(&storage, found.map_or(0, |snapshot| snapshot.id)));
        match found {
            // The rest of the header's last block is no one's.
            Ok(bytes) => {
                assert_eq!(bytes, content(1));
                assert!(at < 4096, "byte {at}");
            }
            Err(told) => {
                assert!(told.contains(".snap") && told.contains("do not delete"), "byte {at}: {told}")
            }
        }
    }
    for cut in [0, 19, 4095, 4096, 5000, size - 1] {
        let disk = whole.crash(Unflushed::Kept);
        disk.damage(&path, |bytes| bytes.truncate(cut));
        let told = block_on(open(&disk).recover()).expect_err("a file that was cut is damaged").to_string();
        assert!(told.contains(".snap"), "{told}");
    }
}

#[test]
fn another_nodes_snapshots_and_those_of_a_newer_program_are_refused() {
    let disk = SimulatedDisk::new();
    write(&open(&disk), 1, 10).expect("it is written");
    let other = Identity { node_id: NodeId(4), ..IDENTITY };
    let storage = FileSnapshots::open_on(Arc::new(disk.clone()), FOLDER, other).expect("the folder opens");
    let told = block_on(storage.recover()).expect_err("it belongs to another node").to_string();
    assert!(told.contains("belongs to node 3 of cluster 7"), "{told}");
    disk.damage(&the_file(&disk), |bytes| bytes[4] = 9);
    let told = block_on(open(&disk).recover()).expect_err("it is too new").to_string();
    assert!(told.contains("has format 9"), "{told}");
}

#[test]
fn a_disk_that_fails_is_an_error_and_leaves_no_snapshot() {
    let disk = SimulatedDisk::new();
    let storage = open(&disk);
    disk.fail_next_sync();
    let told = write(&storage, 1, 10).expect_err("the flush failed").to_string();
    assert!(told.contains("flush"), "{told}");
    assert_eq!(block_on(storage.recover()).expect("nothing is there"), None);
    assert!(disk.paths().iter().all(|path| path.parent() != Some(Path::new(FOLDER))), "{:?}", disk.paths());
}
