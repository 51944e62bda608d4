//! Whose folder it is, and who may open it.

use raft_actor::{
    storage::{LogStorage, StorageError},
    types::{ClusterId, NodeId},
};
use raft_storage_file::{FileLog, Identity};

use crate::crash::block_on;

const OURS: Identity = Identity { cluster_id: ClusterId(7), node_id: NodeId(3) };

fn refused(folder: &std::path::Path, identity: Identity) -> String {
    match FileLog::open(folder, identity) {
        Err(StorageError::Refused(sentence)) => sentence,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[test]
fn a_folder_is_made_where_there_is_none_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/c");
    for _ in 0..2 {
        let mut log = FileLog::open(&path, OURS).unwrap();
        assert!(block_on(log.recover()).unwrap().is_new());
    }
}

#[test]
fn a_second_opener_is_told_who_holds_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let log = FileLog::open(folder.path(), OURS).unwrap();
    let sentence = refused(folder.path(), OURS);
    assert!(sentence.contains(&format!("in use by process {}", std::process::id())), "{sentence}");
    drop(log);
    FileLog::open(folder.path(), OURS).unwrap();
}

/// A child has its parent's files until it becomes another program.
#[test]
fn a_child_process_that_is_being_started_does_not_hold_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let opener = std::thread::spawn(move || {
        for _ in 0..200 {
            drop(FileLog::open(&path, OURS).unwrap());
        }
    });
    while !opener.is_finished() {
        std::process::Command::new("true").status().unwrap();
    }
    opener.join().unwrap();
}

#[test]
fn a_folder_of_another_node_or_cluster_is_refused_by_both_names() {
    let folder = tempfile::tempdir().unwrap();
    drop(FileLog::open(folder.path(), OURS).unwrap());
    let others = [
        (Identity { node_id: NodeId(4), ..OURS }, "node 4 of cluster 7"),
        (Identity { cluster_id: ClusterId(8), ..OURS }, "node 3 of cluster 8"),
    ];
    for (other, name) in others {
        let sentence = refused(folder.path(), other);
        assert!(sentence.contains("belongs to node 3 of cluster 7") && sentence.contains(name), "{sentence}");
    }
    FileLog::open(folder.path(), OURS).unwrap();
}

#[test]
fn a_folder_with_something_else_in_it_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("holiday.jpg"), b"beach").unwrap();
    let sentence = refused(folder.path(), OURS);
    assert!(sentence.contains("holiday.jpg") && sentence.contains("not empty"), "{sentence}");
    assert_eq!(std::fs::read(folder.path().join("holiday.jpg")).unwrap(), b"beach");
    assert!(!folder.path().join("META").exists());
}

#[test]
fn a_file_in_the_folders_place_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, b"").unwrap();
    let error = FileLog::open(&path, OURS).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[test]
fn recover_comes_first_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = FileLog::open(folder.path(), OURS).unwrap();
    assert!(matches!(block_on(log.write(&[])), Err(StorageError::Contract(_))));
    block_on(log.recover()).unwrap();
    assert!(matches!(block_on(log.recover()), Err(StorageError::Contract(_))));
    block_on(log.write(&[])).unwrap();
}
