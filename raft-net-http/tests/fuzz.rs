//! The fuzzer's targets, over its corpus. `fuzz/` has the programs that go on from there.

#[path = "../../raft-actor/fuzz/corpus.rs"]
mod corpus;
#[path = "../fuzz/targets.rs"]
mod targets;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/");

#[test]
fn no_bytes_from_a_peer_make_a_node_panic() {
    corpus::run(CORPUS.to_owned() + "frame", targets::frame);
}
