//! The leader is killed under load, twenty times in a row.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    PROGRAM,
    harness::{Cluster, load::Load},
};

const KILLS: usize = 20;

#[test]
fn no_acknowledged_write_is_lost_and_none_is_applied_twice_when_leaders_are_killed() {
    let mut cluster = Cluster::started(PROGRAM, 3);
    let addresses: Vec<String> = cluster.nodes().map(|node| cluster.address(node)).collect();
    let load = Load::start(&addresses, 8, Duration::from_millis(2));
    let mut gaps = Vec::new();
    for _ in 0..KILLS {
        let leader = cluster.wait_for_leader(Duration::from_secs(10));
        let killed = Instant::now();
        cluster.kill(leader);
        let gap = load.first_answer_after(killed, Duration::from_secs(20));
        gaps.push(gap.expect("writes go on without the leader"));
        cluster.start(leader);
        cluster.wait_until_caught_up(leader, Duration::from_secs(20));
        // So that the next kill meets writes in full flow.
        thread::sleep(Duration::from_millis(300));
    }
    let record = load.stop();
    gaps.sort();
    let (longest, median) = (gaps[KILLS - 1], gaps[KILLS / 2]);
    println!(
        "{KILLS} kills: {} writes acknowledged, {} without an answer, {} reads; from the kill to the first \
         acknowledged write: median {median:?}, longest {longest:?} \
         (three election timeouts are at most 1.8s)",
        record.acknowledged.len(),
        record.unknown.len(),
        record.reads,
    );
    for node in cluster.nodes() {
        let audit = cluster.audit(node, &record);
        println!(
            "node {node}: {} found, {} lost, {} applied twice, {} found of those without an answer",
            audit.found,
            audit.lost.len(),
            audit.twice.len(),
            audit.unknown_found,
        );
        assert_eq!((&audit.lost, &audit.twice, &audit.invented), (&vec![], &vec![], &vec![]));
        assert_eq!(audit.found, record.acknowledged.len());
    }
    assert!(record.acknowledged.len() > 50 * KILLS, "the load was real");
    assert_eq!(record.stale_reads, Vec::<String>::new());
    assert!(cluster.are_identical().1, "all nodes hold the same");
}
