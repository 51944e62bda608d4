//! The conformance suite of the log's seam, on files.

use raft_actor::{
    testkit::{memory::MemoryLog, suite::log_storage},
    types::{ClusterId, NodeId},
};
use raft_storage_file::{FileLog, Identity, Options};

const IDENTITY: Identity = Identity { cluster_id: ClusterId(1), node_id: NodeId(2) };

fn check_files(options: &Options) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fresh = || {
        let folder = tempfile::tempdir().unwrap();
        let options = options.clone();
        async move || FileLog::open_with(folder.path(), IDENTITY, options.clone()).unwrap()
    };
    log_storage::check(fresh, |future| runtime.block_on(future));
}

#[test]
fn files_keep_the_contract() {
    check_files(&Options::default());
}

#[test]
fn files_keep_the_contract_in_small_segments_and_with_a_short_tail() {
    check_files(&Options::default().with_segment_bytes(16 << 10).with_tail_bytes(200));
}

#[test]
fn files_keep_the_contract_without_help_in_the_background() {
    let options = Options::default().with_segment_bytes(64 << 10).with_spare_in_background(false);
    check_files(&options.with_mark_after(std::time::Duration::from_secs(3600)));
}

#[test]
fn memory_keeps_the_contract() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fresh = || {
        let log = MemoryLog::new();
        async move || log.clone()
    };
    log_storage::check(fresh, |future| runtime.block_on(future));
}
