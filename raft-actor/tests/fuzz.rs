//! The fuzzer's targets, over its corpus. `fuzz/` has the programs that go on from there.

#[path = "../fuzz/corpus.rs"]
mod corpus;
#[path = "../fuzz/targets.rs"]
mod targets;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/");

#[test]
fn no_bytes_that_should_be_a_table_of_sessions_make_a_node_panic() {
    corpus::run(CORPUS.to_owned() + "session_table", targets::session_table);
}

#[test]
fn no_script_makes_the_stage_panic() {
    corpus::run(CORPUS.to_owned() + "script", targets::script);
}
