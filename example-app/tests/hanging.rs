//! Real processes that hang: on a disk whose flushes strace holds, and on a pipe that nobody reads.

use std::{fs::OpenOptions, process::Command, time::Duration};

use serde_json::json;

use super::{
    PROGRAM,
    harness::{
        Cluster, agent,
        torture::{can_trace, strace},
        wait_until,
    },
    membership::run,
};

/// From the sixtieth flush on: the node has started by then, and taken part.
const HANG: &str = "fdatasync,fsync:delay_enter=600000000:when=60+";

const PATIENCE: Duration = Duration::from_secs(30);

/// The strace that holds a node. While it does, nothing ends the node, not even SIGKILL.
struct Held(u32);

impl Drop for Held {
    fn drop(&mut self) {
        let killed = Command::new("kill").args(["-KILL", &self.0.to_string()]).status();
        assert!(killed.expect("kill is there").success() || std::thread::panicking());
    }
}

#[test]
fn a_leader_whose_disk_hangs_is_replaced() {
    if let Err(why) = can_trace() {
        return println!("skipped: {why}");
    }
    let mut cluster = Cluster::new(PROGRAM, 3);
    cluster.under.insert(1, strace(HANG));
    cluster.nodes().for_each(|node| cluster.start(node));
    let held = Held(cluster.tracer(1));
    if cluster.wait_for_leader(PATIENCE) != 1 {
        cluster.wait_until_caught_up(1, PATIENCE);
        run(&cluster, &["transfer", "1"]);
    }
    assert_eq!(cluster.wait_for_leader(PATIENCE), 1);
    wait_until(PATIENCE, "the disk of node 1 to hang", || {
        let _ = cluster.put(2, "key", "value");
        cluster.status(1).is_some_and(|status| status.disk_hangs_for_ms.is_some())
    });
    wait_until(PATIENCE, "another leader", || cluster.leader().is_some_and(|leader| leader != 1));
    assert_eq!(cluster.put(2, "without node 1", "yes").0, 200);
    assert!(run(&cluster, &["status"]).contains("its disk has not answered for"));
    // Without strace the disk answers.
    drop(held);
    cluster.wait_until_caught_up(1, PATIENCE);
    assert_eq!(cluster.status(1).and_then(|status| status.disk_hangs_for_ms), None);
    assert_eq!(cluster.get(1, "without node 1").as_deref(), Some("yes"));
}

/// A node whose trace goes into a pipe that is full, and that nobody reads: its actors stand still.
fn standing_still(shutdown_timeout_ms: &str) -> Cluster {
    let mut cluster = Cluster::new(PROGRAM, 1);
    let made = Command::new("mkfifo").arg(cluster.trace(1)).status().expect("mkfifo is there");
    assert!(made.success());
    // Held for good, so that the node can open its end.
    let held = OpenOptions::new().read(true).write(true).open(cluster.trace(1)).expect("it is ours");
    std::mem::forget(held);
    cluster.traced = true;
    cluster.flags = ["--shutdown-timeout-ms", shutdown_timeout_ms].map(str::to_owned).to_vec();
    cluster.start(1);
    cluster.wait_for_leader(PATIENCE);
    let (agent, put) = (agent(Duration::from_secs(2)), format!("http://{}/v3/kv/put", cluster.address(1)));
    wait_until(PATIENCE, "the node to stand still", || {
        agent.post(&put).send_json(json!({ "key": "a2V5", "value": "dmFsdWU=" })).is_err()
    });
    cluster
}

#[test]
fn a_node_that_stands_still_ends_all_the_same_when_it_is_told_to_and_says_what_has_not_ended() {
    let mut cluster = standing_still("500");
    assert_eq!(cluster.signal(1, "TERM").code(), Some(75), "{}", cluster.log(1));
    assert!(cluster.log(1).contains("not ended: consensus"), "{}", cluster.log(1));
}

#[test]
fn a_node_that_is_told_twice_to_stop_ends_at_once() {
    let mut cluster = standing_still("600000");
    cluster.tell(1, "INT");
    wait_until(PATIENCE, "the first to be heard", || cluster.log(1).contains("SIGINT: stopping in order"));
    assert_eq!(cluster.signal(1, "INT").code(), Some(75), "{}", cluster.log(1));
    assert!(cluster.log(1).contains("SIGINT once more"), "{}", cluster.log(1));
}
