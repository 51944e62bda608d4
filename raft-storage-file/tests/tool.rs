//! The command `raft-storage`, run as a process on real folders.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use raft_actor::{
    storage::{LogStorage, SnapshotStorage, StorageError},
    testkit::suite::snapshot_storage::describe,
    types::{ClusterId, LogIndex, NodeId},
};
use raft_storage_file::{FileLog, FileSnapshots, Identity};

use crate::crash::{append, block_on, command, options, vote};

const IDENTITY: Identity = Identity { cluster_id: ClusterId(7), node_id: NodeId(3) };

/// A node's folder with a log of two segments, and a snapshot. Left as by a crash before the mark.
fn node() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (open, node) = (folder.path().join("open"), folder.path().join("node"));
    let mut log = FileLog::open_with(open.join("raft"), IDENTITY, options()).unwrap();
    block_on(log.recover()).unwrap();
    block_on(log.write(&[vote(1, 3)])).unwrap();
    for index in 1..=6 {
        block_on(log.write(&[append(vec![command(index, 1, 5001)])])).unwrap();
    }
    let snapshots = FileSnapshots::open(open.join("snapshots"), IDENTITY).unwrap();
    block_on(snapshots.recover()).unwrap();
    let written = snapshots.write(describe(9, 2, 0), Box::new(|writer| writer.write_all(&[1; 1000])));
    block_on(written).unwrap();
    copy(&open, &node);
    (folder, node)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn segments(node: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> =
        fs::read_dir(node.join("raft/log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// Writes over a file from `offset` on.
fn change(path: &Path, offset: usize, bytes: &[u8]) {
    let mut content = fs::read(path).unwrap();
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
    fs::write(path, content).unwrap();
}

/// Where the last frame of the last segment begins: two blocks long, as the others.
fn last_frame(node: &Path) -> (PathBuf, usize) {
    let last = segments(node).pop().unwrap();
    let content = fs::read(&last).unwrap();
    let end = (4096..content.len()).step_by(4096).find(|at| content[*at] == 0).unwrap();
    (last, end - 8192)
}

fn run(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_raft-storage")).args(arguments).arg(folder).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// All files below a folder, and what is in them. LOCK holds who looked last.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(content(&path));
        } else if !path.ends_with("LOCK") {
            all.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_whole_folder_is_listed_verified_and_dumped_and_nothing_is_changed() {
    let (_folder, node) = node();
    let before = content(&node);
    let listed = run(&["list"], &node);
    let told = text(&listed);
    for what in [
        "node 3 of cluster 7",
        "term 1, vote for node 3",
        "entries after 0@0 up to 6@1",
        "00000000000000000001-0000000000000001.seg  32768 bytes, 3 frames, 3 entries, sealed",
        "3 frames, 3 entries, open",
        "up to 2@",
        "  whole\n",
    ] {
        assert!(told.contains(what), "{what} is not in:\n{told}");
    }
    let verified = run(&["verify"], &node);
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified));
    assert_eq!(text(&run(&["verify", "--json"], &node)), "{\"is\":\"whole\"}\n");
    let dumped = text(&run(&["dump"], &node));
    assert!(dumped.contains("4096: frame 1, append, 1 entries from 1 on"), "{dumped}");
    let dumped = text(&run(&["dump", "--json"], &node));
    assert_eq!(dumped.lines().filter(|line| line.starts_with("{\"is\":\"frame\"")).count(), 6);
    assert_eq!(dumped.lines().filter(|line| line.contains("\"kind\":\"command\"")).count(), 6);
    assert!(text(&run(&["list", "--json"], &node)).contains("\"hard_state\":{\"term\":1,\"voted_for\":3}"));
    assert!(content(&node) == before, "looking has changed something");
}

#[test]
fn a_torn_write_is_told_by_file_and_offset_and_opening_leaves_it_out() {
    let (_folder, node) = node();
    let (file, offset) = last_frame(&node);
    change(&file, offset + 4096, &[0; 512]);
    let before = content(&node);
    let verified = run(&["verify"], &node);
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified));
    let told = text(&verified);
    assert!(told.contains(&format!("torn: {} at offset {offset}", file.display())), "{told}");
    let json = text(&run(&["verify", "--json"], &node));
    assert!(json.starts_with("{\"is\":\"torn\"") && json.contains(&format!("\"offset\":{offset}")), "{json}");
    assert!(content(&node) == before, "looking has changed something");
    let mut log = FileLog::open(node.join("raft"), IDENTITY).unwrap();
    assert_eq!(block_on(log.recover()).unwrap().last.index, LogIndex(5));
}

#[test]
fn a_damaged_folder_is_told_by_file_offset_and_entries_and_can_be_set_aside_whole() {
    let (_folder, node) = node();
    let file = segments(&node).remove(0);
    change(&file, 4096 + 8192 + 5000, &[0x77; 3]);
    let before = content(&node);
    let verified = run(&["verify"], &node);
    assert_eq!(verified.status.code(), Some(2), "{}", text(&verified));
    let told = text(&verified);
    assert!(told.contains(&format!("damaged: {} at offset 12288", file.display())), "{told}");
    assert!(told.contains("entry 2@1 does not match its checksum"), "{told}");
    let listed = text(&run(&["list"], &node));
    assert!(listed.contains("the entries 2 to 2 may have stood there"), "{listed}");
    assert_eq!(run(&["dump"], &node).status.code(), Some(2));
    let only_told = run(&["set-aside"], &node);
    assert!(text(&only_told).contains("nothing was changed"), "{}", text(&only_told));
    assert!(content(&node) == before, "looking has changed something");

    let aside = node.with_file_name("node.set-aside-1");
    let done = run(&["set-aside", "--yes"], &node);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    let kept: Vec<Vec<u8>> = content(&aside).into_iter().map(|(_, bytes)| bytes).collect();
    assert!(kept == before.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), "something was lost");
    // A node that has forgotten its votes is refused under its old id; another begins empty.
    match FileLog::open(node.join("raft"), IDENTITY) {
        Err(StorageError::Refused(sentence)) => {
            assert!(sentence.contains("node 3 of cluster 7 was set aside"), "{sentence}");
        }
        other => panic!("it was not refused: {other:?}"),
    }
    let another = Identity { node_id: NodeId(4), ..IDENTITY };
    let mut log = FileLog::open(node.join("raft"), another).unwrap();
    assert!(block_on(log.recover()).unwrap().is_new());
    drop(log);
    drop(FileLog::open(node.join("raft"), another).unwrap());
}

#[test]
fn a_folder_whose_owner_cannot_be_read_is_set_aside_with_a_warning() {
    let (_folder, node) = node();
    fs::remove_file(node.join("raft/META")).unwrap();
    let verified = run(&["verify"], &node);
    assert_eq!(verified.status.code(), Some(2), "{}", text(&verified));
    let done = run(&["set-aside", "--yes"], &node);
    assert!(text(&done).contains("whose folder it was cannot be read any more"), "{}", text(&done));
    assert!(!node.exists());
}

#[test]
fn what_needs_no_repair_is_not_set_aside() {
    let (_folder, node) = node();
    let (file, offset) = last_frame(&node);
    for torn in [false, true] {
        if torn {
            change(&file, offset + 4096, &[0; 512]);
        }
        let refused = run(&["set-aside", "--yes"], &node);
        assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
        assert!(text(&refused).contains("nothing in it is damaged"), "{}", text(&refused));
    }
    assert!(node.join("raft/META").exists());
}

#[test]
fn a_folder_in_use_or_of_something_else_is_refused_and_left_alone() {
    let (folder, _) = node();
    let log = FileLog::open(folder.path().join("open/raft"), IDENTITY).unwrap();
    let refused = run(&["verify"], &folder.path().join("open"));
    assert_eq!(refused.status.code(), Some(3));
    let sentence = format!("in use by process {}", std::process::id());
    assert!(text(&refused).contains(&sentence), "{}", text(&refused));
    drop(log);
    let strange = folder.path().join("strange");
    fs::create_dir(&strange).unwrap();
    fs::write(strange.join("holiday.jpg"), b"beach").unwrap();
    for command in ["list", "verify", "dump", "set-aside"] {
        let refused = run(&[command], &strange);
        assert_eq!(refused.status.code(), Some(3));
        assert!(text(&refused).contains("holds neither a log nor snapshots"), "{}", text(&refused));
    }
    assert_eq!(fs::read_dir(&strange).unwrap().count(), 1);
    assert_eq!(run(&["verify"], &folder.path().join("nowhere")).status.code(), Some(3));
}

#[test]
fn a_damaged_snapshot_is_told_too() {
    let (_folder, node) = node();
    let snapshot = fs::read_dir(node.join("snapshots")).unwrap().next().unwrap().unwrap().path();
    change(&snapshot, 4096 + 500, &[9]);
    let verified = run(&["verify"], &node);
    assert_eq!(verified.status.code(), Some(2));
    let sentence = format!("damaged: {} at offset 4096: chunk 0", snapshot.display());
    assert!(text(&verified).contains(&sentence), "{}", text(&verified));
}

#[test]
fn a_damaged_folder_is_repaired_once_it_was_said_what_that_means() {
    let (_folder, node) = node();
    let damaged = segments(&node).pop().unwrap();
    change(&damaged, 4096 + 200, &[0xee; 8]);
    assert_eq!(run(&["verify"], &node).status.code(), Some(2));
    let before = content(&node);
    let said = run(&["repair"], &node);
    assert_eq!(said.status.code(), Some(0), "{}", text(&said));
    assert!(text(&said).contains("up to 3@1 would be kept"), "{}", text(&said));
    assert!(text(&said).contains("nothing was changed, `--yes` does it"), "{}", text(&said));
    assert!(content(&node) == before, "saying has changed something");

    let done = run(&["repair", "--yes"], &node);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    assert!(text(&done).contains("the node is fenced, in term 2"), "{}", text(&done));
    let aside = PathBuf::from(format!("{}.damaged-1", damaged.display()));
    assert!(before.contains(&(damaged, fs::read(&aside).unwrap())), "what was damaged is not there any more");
    assert_eq!(run(&["verify"], &node).status.code(), Some(0));
    let listed = text(&run(&["list"], &node));
    assert!(listed.contains("entries after 0@0 up to 3@1"), "{listed}");
    assert!(listed.contains("it does not vote before it holds an entry of a term later than 1"), "{listed}");

    let again = run(&["repair", "--yes"], &node);
    assert_eq!(again.status.code(), Some(3));
    assert!(text(&again).contains("nothing in it is damaged"), "{}", text(&again));
}
