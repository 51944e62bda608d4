//! How processes begin and end.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{
    PROGRAM,
    harness::{Cluster, wait_for_exit, wait_until},
    membership::run,
};

#[test]
fn a_node_that_is_told_to_stop_hands_over_and_ends_with_zero() {
    let mut cluster = Cluster::started(PROGRAM, 3);
    for signal in ["TERM", "INT"] {
        let leader = cluster.wait_for_leader(Duration::from_secs(10));
        let status = cluster.signal(leader, signal);
        assert_eq!(status.code(), Some(0), "{}", cluster.log(leader));
        let next = cluster.wait_for_leader(Duration::from_secs(10));
        assert_ne!(next, leader);
        assert_eq!(cluster.put(next, "key", signal).0, 200);
        cluster.start(leader);
        cluster.wait_until_caught_up(leader, Duration::from_secs(10));
    }
}

#[test]
fn a_follower_that_was_away_catches_up() {
    let mut cluster = Cluster::started(PROGRAM, 3);
    let leader = cluster.wait_for_leader(Duration::from_secs(10));
    let away = cluster.nodes().find(|node| *node != leader).expect("there are three");
    cluster.kill(away);
    for number in 0..50 {
        assert_eq!(cluster.put(leader, &format!("key {number}"), "value").0, 200);
    }
    cluster.start(away);
    cluster.wait_until_caught_up(away, Duration::from_secs(10));
    assert!(cluster.are_identical().1);
}

/// The command `cluster`, with three nodes on free ports; killed when dropped.
struct Supervised {
    supervisor: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    processes: Vec<u32>,
    folder: tempfile::TempDir,
}

impl Supervised {
    fn start(flags: &[&str]) -> Supervised {
        Supervised::start_from(Path::new(PROGRAM), flags)
    }

    fn start_from(program: &Path, flags: &[&str]) -> Supervised {
        let base_port = free_base_port();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut supervisor = Command::new(program)
            .args(["cluster", "--base-port", &base_port.to_string(), "--data"])
            .arg(folder.path())
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be run");
        let output = supervisor.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let mut processes = Vec::new();
        while processes.len() < 3 {
            let line = lines.next().expect("it says more").expect("text");
            let id = line.split("is process ").nth(1).and_then(|rest| rest.split(' ').next());
            processes.push(id.expect("a node a line").parse().expect("a number"));
        }
        Supervised { supervisor, lines, processes, folder }
    }

    fn wait_for_line(&mut self, words: &str) -> String {
        let found = self.lines.by_ref().map_while(Result::ok).find(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("the supervisor never said {words:?}"))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

/// A port that is free, and so are those ten and twenty above it, where the other two nodes listen.
fn free_base_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut candidates = std::iter::repeat_with(|| fastrand::u16(10_000..30_000));
    candidates.find(|base| [0, 10, 20].iter().all(|step| is_free(base + step))).expect("ports are free")
}

fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(status.expect("kill is there").success());
}

fn runs(process: u32) -> bool {
    // A zombie runs no more.
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[test]
fn the_supervisor_starts_again_what_dies_and_stops_all_in_order() {
    let mut supervised = Supervised::start(&[]);
    supervised.wait_for_line("leader");
    signal(supervised.processes[0], "KILL");
    assert!(supervised.wait_for_line("has ended").contains("node 1"));
    assert!(supervised.wait_for_line("is started again").contains("node 1"));
    signal(supervised.supervisor.id(), "TERM");
    for node in 1..=3 {
        let line = supervised.wait_for_line(&format!("node {node}: "));
        println!("{line}");
    }
    let status = supervised.supervisor.wait().expect("it is ours");
    assert_eq!(status.code(), Some(0));
    assert!(supervised.processes.iter().all(|process| !runs(*process)));
}

#[test]
fn the_supervisor_starts_again_what_dies_although_its_own_file_is_gone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("program");
    fs::copy(PROGRAM, &program).expect("the program can be copied");
    let mut supervised = Supervised::start_from(&program, &[]);
    supervised.wait_for_line("leader");
    fs::remove_file(&program).expect("as a build does that replaces it");
    signal(supervised.processes[0], "KILL");
    assert!(supervised.wait_for_line("is started again").contains("node 1"));
}

#[test]
fn no_node_outlives_a_supervisor_that_is_killed() {
    let mut supervised = Supervised::start(&[]);
    supervised.wait_for_line("leader");
    supervised.supervisor.kill().expect("it is ours to kill");
    wait_until(Duration::from_secs(20), "the nodes to end", || {
        supervised.processes.iter().all(|process| !runs(*process))
    });
}

#[test]
fn a_second_node_at_the_same_address_is_refused() {
    let cluster = Cluster::started(PROGRAM, 1);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = cluster.command(1);
    command.arg("--data").arg(folder.path());
    let process = command.stderr(Stdio::null()).spawn().expect("the program can be run");
    assert_eq!(wait_for_exit(process, Duration::from_secs(20)).code(), Some(1));
}

#[test]
fn the_supervisor_has_each_node_record_its_steps() {
    let mut supervised = Supervised::start(&["--trace"]);
    supervised.wait_for_line("leader");
    signal(supervised.supervisor.id(), "TERM");
    assert_eq!(supervised.supervisor.wait().expect("it is ours").code(), Some(0));
    let files = (1..=3).map(|node| supervised.folder.path().join(format!("node{node}")).join("trace"));
    let output = Command::new(PROGRAM).arg("trace").args(files).output().expect("the program can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("becomes leader@"), "{said}");
    // What one node has sent another has taken: all three are in it.
    assert!(["n1", "n2", "n3"].iter().all(|node| said.contains(&format!("\u{2192} {node}"))), "{said}");
}

#[test]
fn a_trace_that_cannot_be_written_is_the_callers_mistake_and_no_failure_of_the_node() {
    let cluster = Cluster::new(PROGRAM, 1);
    let nowhere = cluster.trace(1).join("there is no such folder");
    let output = cluster.command(1).arg("--trace").arg(&nowhere).output().expect("the program can be run");
    // What a node logs goes to standard error.
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot append the trace to") && said.contains("name another file"), "{said}");
}

#[test]
fn leadership_is_handed_over_from_the_command_line_or_it_says_why_not() {
    let cluster = Cluster::started(PROGRAM, 3);
    let leader = cluster.wait_for_leader(Duration::from_secs(10));
    let next = leader % 3 + 1;
    cluster.wait_until_caught_up(next, Duration::from_secs(10));
    let said = run(&cluster, &["transfer", &next.to_string()]);
    assert!(said.contains("has handed leadership over"), "{said}");
    assert_eq!(cluster.wait_for_leader(Duration::from_secs(10)), next);
    assert!(run(&cluster, &["transfer", "--json"]).contains("raft_term"));
    assert_ne!(cluster.wait_for_leader(Duration::from_secs(10)), next);
    let endpoints = ["--endpoints", &cluster.address(1)];
    let refused = Command::new(PROGRAM).args(["transfer", "9"]).args(endpoints).output();
    let refused = refused.expect("the program can be run");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("node 9 is no voter") || said.contains("not the leader; node"), "{said}");
}

/// The policy and the niceness of each of a node's threads, as Linux numbers them: 0 is the usual policy, 3
/// is batch.
#[cfg(target_os = "linux")]
fn scheduling(cluster: &Cluster, node: usize) -> Vec<(u32, i32)> {
    let threads = fs::read_dir(format!("/proc/{}/task", cluster.process(node))).expect("it runs");
    // A thread may end between the two.
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    let read = |stat: String| {
        let after_name = stat.rsplit_once(')').expect("a name in brackets").1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        (fields[38].parse().expect("a policy"), fields[16].parse().expect("a niceness"))
    };
    stats.map(read).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn all_threads_of_a_node_are_under_the_batch_policy_and_a_niceness_is_left_as_it_was_given() {
    let mut cluster = Cluster::new(PROGRAM, 3);
    cluster.under.insert(2, ["nice", "-n", "5"].map(str::to_owned).to_vec());
    cluster.under.insert(3, ["chrt", "--idle", "0"].map(str::to_owned).to_vec());
    for node in cluster.nodes() {
        cluster.start(node);
    }
    cluster.wait_for_leader(Duration::from_secs(20));
    for (node, expected) in [(1, (3, 0)), (2, (0, 5)), (3, (5, 0))] {
        // One that works only when nobody else does may not have begun yet.
        wait_until(Duration::from_secs(20), &format!("node {node} to have its threads"), || {
            scheduling(&cluster, node).len() > 3
        });
        let threads = scheduling(&cluster, node);
        assert!(threads.len() > 3 && threads.iter().all(|thread| *thread == expected), "{node}: {threads:?}");
    }
}
