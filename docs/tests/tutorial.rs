//! The programs of the tutorial, chapter by chapter, and of the pages after it: each a test that runs.

#[expect(unreachable_pub, reason = "shown as it stands in a reader's own crate")]
mod break_it;
mod exactly_once;
mod members;
mod on_disk;
mod one_node;
mod over_http;
mod reading;
mod readme;
mod simulating;
mod snapshots;
#[expect(unreachable_pub, reason = "shown as it stands in a reader's own crate")]
mod state_machine;
mod three_nodes;
mod watching;

/// Holds what a page shows of a simulation that failed, between "```text" and "```", to what has
/// come of it now.
/// `UPDATE=1 cargo test -p docs` writes it into the page.
#[track_caller]
fn assert_shown(page: &str, failure: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../").to_owned() + page;
    let text = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = text.split_once("```text\nseed").expect("the page shows a failure");
    let (shown, after) = rest.split_once("\n```").expect("the fence ends");
    let shown = format!("seed{shown}");
    if std::env::var_os("UPDATE").is_some() {
        let updated = format!("{before}```text\n{failure}\n```{after}");
        return std::fs::write(&path, updated).expect("the page can be written");
    }
    assert_eq!(shown, failure, "{page} is of another day: UPDATE=1 cargo test -p docs");
}
