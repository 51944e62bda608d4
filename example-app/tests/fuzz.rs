//! The fuzzer's targets, over its corpus. `fuzz/` has the programs that go on from there.

#[path = "../../raft-actor/fuzz/corpus.rs"]
mod corpus;
#[path = "../fuzz/targets.rs"]
mod targets;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/");

#[test]
fn no_request_is_answered_by_an_error_of_the_servers_own() {
    corpus::run(CORPUS.to_owned() + "api", targets::api);
}

#[test]
fn no_bytes_in_the_log_make_the_store_panic() {
    corpus::run(CORPUS.to_owned() + "command", targets::command);
}

#[test]
fn no_bytes_that_should_be_a_snapshot_change_the_store_or_make_it_panic() {
    corpus::run(CORPUS.to_owned() + "store", targets::store);
}
