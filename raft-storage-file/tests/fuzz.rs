//! The fuzzer's targets, over its corpus. `fuzz/` has the programs that go on from there.

#[path = "../../raft-actor/fuzz/corpus.rs"]
mod corpus;
#[path = "../fuzz/targets.rs"]
mod targets;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/");

#[test]
fn a_changed_folder_opens_with_what_it_held_or_is_refused_and_left_alone() {
    corpus::run(CORPUS.to_owned() + "folder", targets::folder);
}

#[test]
fn a_changed_snapshot_is_read_as_it_was_or_refused() {
    corpus::run(CORPUS.to_owned() + "snapshot", targets::snapshot);
}
