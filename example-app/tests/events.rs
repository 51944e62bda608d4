//! Events and traces of real processes.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{PROGRAM, harness::Cluster};

/// A command that runs until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn endpoints(cluster: &Cluster) -> String {
    cluster.nodes().map(|node| cluster.address(node)).collect::<Vec<_>>().join(",")
}

#[test]
fn the_command_events_shows_an_election_as_it_happens() {
    let mut cluster = Cluster::started(PROGRAM, 3);
    for flags in [vec![], vec!["--json"]] {
        let leader = cluster.wait_for_leader(Duration::from_secs(10));
        let mut command = Command::new(PROGRAM);
        command.args(["events", "--endpoints", &endpoints(&cluster)]).args(&flags).stdout(Stdio::piped());
        let mut running = Running(command.spawn().expect("it runs"));
        let mut lines = BufReader::new(running.0.stdout.take().expect("a pipe")).lines();
        let mut next = || lines.next().expect("it goes on").expect("text");
        // One line of each node is its present.
        let present: String = (0..3).map(|_| next()).collect();
        assert!(present.contains("leader"), "{present}");
        cluster.kill(leader);
        let is_news = |line: &str| match flags.as_slice() {
            [] => line.contains("is leader in term"),
            _ => {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                line["change"]["change"]["role_changed"]["role"] == "leader"
            }
        };
        // The test's own time-out is what ends a wait for ever.
        while !is_news(&next()) {}
        cluster.start(leader);
        cluster.wait_until_caught_up(leader, Duration::from_secs(10));
    }
}

#[test]
fn the_command_trace_prints_what_the_nodes_have_recorded_by_time() {
    let mut cluster = Cluster::new(PROGRAM, 3);
    cluster.traced = true;
    for node in cluster.nodes() {
        cluster.start(node);
    }
    let leader = cluster.wait_for_leader(Duration::from_secs(20));
    assert_eq!(cluster.put(leader, "key", "value").0, 200);
    // One dies in the middle of things, and goes on in the same file.
    cluster.kill(leader);
    let next = cluster.wait_for_leader(Duration::from_secs(20));
    cluster.start(leader);
    cluster.wait_until_caught_up(leader, Duration::from_secs(10));
    for node in cluster.nodes() {
        assert_eq!(cluster.signal(node, "TERM").code(), Some(0));
    }
    let files = cluster.nodes().map(|node| cluster.trace(node));
    let print = |flags: &[&str]| {
        let output = Command::new(PROGRAM).arg("trace").args(files.clone()).args(flags).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let people = print(&[]);
    assert!(people.contains("seconds  n1    n2    n3"), "a column a node");
    let starts = people.lines().filter(|line| line.contains(&format!("n{leader} starts "))).count();
    assert_eq!(starts, 2, "both its runs");
    assert!(people.contains(&format!("n{next} becomes leader@")));
    let program = print(&["--json"]);
    let times: Vec<u64> = program
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["at"].as_u64().expect("a time")
        })
        .collect();
    assert!(times.is_sorted() && times.len() > 100);
}

#[test]
fn a_file_that_is_no_trace_is_refused_in_words() {
    let cluster = Cluster::new(PROGRAM, 1);
    std::fs::write(cluster.trace(1), "one\ntwo\n").expect("written");
    let run = |file: &std::path::Path| {
        let mut running = Command::new(PROGRAM);
        let running = running.arg("trace").arg(file).stderr(Stdio::piped());
        let mut running = running.spawn().expect("it runs");
        let mut said = String::new();
        running.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        (running.wait().expect("it ends").code(), said)
    };
    let (code, said) = run(&cluster.trace(1));
    assert!(code == Some(1) && said.contains("trace 1, line 1: not a step of a trace"), "{said}");
    let (code, said) = run(&cluster.trace(1).with_extension("missing"));
    assert!(code == Some(1) && said.contains("node1.missing"), "{said}");
}
