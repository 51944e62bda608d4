//! Every order in which a small cluster can act, to a depth. `SEARCH_DEEPER=4` goes so many actions further;
//! each costs about as much again as two or three before.

use raft_actor::{
    testkit::{
        invariants::COMMITTED_IS_ON_A_QUORUM,
        search::{Bounds, Report, search},
    },
    types::Term,
};

fn deeper() -> usize {
    std::env::var("SEARCH_DEEPER").map_or(0, |more| more.parse().expect("SEARCH_DEEPER is a number"))
}

#[track_caller]
fn run(bounds: Bounds) -> Report {
    let bounds = Bounds { depth: bounds.depth + deeper(), ..bounds };
    let began = std::time::Instant::now();
    let report = search(bounds).expect("a cluster that can start");
    if let Some((way, violation)) = &report.violation {
        panic!("{violation}\nafter\n  {}", way.join("\n  "));
    }
    let Report { states, steps, committed_max, reads_ready, term_max, .. } = &report;
    println!(
        "{} nodes, {} actions deep: {states} states, {steps} steps, no violation; up to {committed_max} \
         commits and term {term_max}, {reads_ready} reads, {:.1} s",
        bounds.nodes,
        bounds.depth,
        began.elapsed().as_secs_f64()
    );
    report
}

const ELECTION: Bounds = Bounds {
    nodes: 2,
    depth: 12,
    elected: false,
    timeouts: 2,
    heartbeats: 0,
    proposals: 1,
    reads: 0,
    crashes: 1,
    drops: 1,
    duplicates: 0,
    forgetful: false,
};

const LEADING: Bounds = Bounds { elected: true, depth: 8, timeouts: 1, reads: 1, ..ELECTION };

#[test]
fn no_order_of_what_can_happen_to_two_nodes_without_a_leader_breaks_an_invariant() {
    let report = run(ELECTION);
    assert!(report.committed_max >= 1 && report.term_max >= Term(2), "vacuous: {report:?}");
}

#[test]
fn no_order_of_what_can_happen_to_two_nodes_with_a_leader_breaks_an_invariant() {
    let report = run(LEADING);
    assert!(report.committed_max >= 2 && report.reads_ready > 0, "vacuous: {report:?}");
}

#[test]
fn no_order_of_what_can_happen_to_three_nodes_without_a_leader_breaks_an_invariant() {
    let report = run(Bounds { nodes: 3, depth: 7, crashes: 0, drops: 0, duplicates: 1, ..ELECTION });
    assert!(report.term_max >= Term(1), "vacuous: {report:?}");
}

#[test]
fn no_order_of_what_can_happen_to_three_nodes_with_a_leader_breaks_an_invariant() {
    let report = run(Bounds { nodes: 3, depth: 5, heartbeats: 1, drops: 0, duplicates: 1, ..LEADING });
    assert!(report.committed_max >= 2 && report.reads_ready > 0, "vacuous: {report:?}");
}

#[test]
fn the_search_finds_what_a_disk_that_forgets_breaks() {
    let bounds = Bounds { forgetful: true, drops: 0, reads: 0, heartbeats: 0, timeouts: 0, ..LEADING };
    let (way, violation) = search(bounds).expect("a cluster that can start").violation.expect("it is found");
    println!("{violation}\nafter {} actions:\n  {}", way.len(), way.join("\n  "));
    assert_eq!(violation.invariant, COMMITTED_IS_ON_A_QUORUM);
}
