//! What comes from outside and is wrong: refused with a reason, and nothing is changed.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::json;

use super::{
    PROGRAM,
    harness::{Cluster, wait_for_exit},
};

fn run(arguments: &[&str]) -> Output {
    std::process::Command::new(PROGRAM).args(arguments).output().expect("the program can be run")
}

/// Sends the head of a request as it is, and gives back the beginning of the answer.
fn raw(cluster: &Cluster, request: &str) -> String {
    let mut stream = TcpStream::connect(cluster.address(1)).expect("the node listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout is possible");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = [0; 2048];
    let length = stream.read(&mut answer).expect("it answers");
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

fn link(cluster: &Cluster, headers: &str) -> String {
    raw(
        cluster,
        &format!(
            "GET /raft/v1/link HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        ),
    )
}

#[test]
fn bad_requests_are_refused_and_change_nothing() {
    let cluster = Cluster::started(PROGRAM, 1);
    cluster.put(1, "key", "value");
    let before = cluster.status(1).expect("it runs");
    assert_eq!(cluster.post_text(1, "/v3/kv/put", "{\"key\": ").0, 400);
    let (status, answer) = cluster.post(1, "/v3/kv/put", &json!({ "key": "*not base64*" }));
    assert_eq!((status, &answer["code"]), (400, &json!(3)));
    let large = json!({ "key": "YQ==", "value": "A".repeat(3 << 20) });
    let (status, answer) = cluster.post(1, "/v3/kv/put", &large);
    assert_eq!((status, &answer["message"]), (413, &json!("etcdserver: request is too large")));
    let (status, answer) = cluster.post(1, "/v3/kv/put", &json!({}));
    assert_eq!((status, &answer["message"]), (400, &json!("etcdserver: key is not provided")));
    let after = cluster.status(1).expect("it still runs");
    assert_eq!((before.revision, before.last_index), (after.revision, after.last_index));
    assert_eq!(cluster.get(1, "key").as_deref(), Some("value"));
}

#[test]
fn strangers_get_no_link() {
    let cluster = Cluster::started(PROGRAM, 1);
    let of_another_cluster = link(
        &cluster,
        "raft-cluster-id: 99\r\nraft-from-node: 2\r\nraft-to-node: 1\r\nraft-protocol-version: 1\r\n",
    );
    assert!(of_another_cluster.starts_with("HTTP/1.1 4"), "{of_another_cluster}");
    assert!(of_another_cluster.contains("cluster"), "it says why: {of_another_cluster}");
    let for_another_node = link(
        &cluster,
        "raft-cluster-id: 1\r\nraft-from-node: 2\r\nraft-to-node: 3\r\nraft-protocol-version: 1\r\n",
    );
    assert!(for_another_node.starts_with("HTTP/1.1 4"), "{for_another_node}");
    let from_no_member = link(
        &cluster,
        "raft-cluster-id: 1\r\nraft-from-node: 77\r\nraft-to-node: 1\r\nraft-protocol-version: 1\r\n",
    );
    assert!(from_no_member.starts_with("HTTP/1.1 4"), "{from_no_member}");
    assert!(from_no_member.contains("member"), "it says why: {from_no_member}");
    let nameless = link(&cluster, "");
    assert!(nameless.starts_with("HTTP/1.1 4"), "{nameless}");
    assert_eq!(cluster.put(1, "still", "here").0, 200);
}

#[test]
fn five_mistakes_in_a_configuration_are_told_at_once() {
    let mistakes = [
        "--node-id=0",
        "--members=1=nowhere",
        "--address=2379",
        "--heartbeat-interval-ms=1000",
        "--election-timeout-max-ms=200",
    ];
    for command in ["check-config", "serve"] {
        let output = run(&[&[command, "--data=/nonexistent/never/made"], &mistakes[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for key in ["node_id", "members", "address", "heartbeat_interval", "election_timeout"] {
            assert!(said.contains(key), "{key} is missing: {said}");
        }
    }
}

#[test]
fn a_folder_in_use_or_of_another_node_is_refused() {
    let mut cluster = Cluster::started(PROGRAM, 1);
    let second = |cluster: &Cluster, node_id: &str| {
        let mut command = cluster.command(1);
        command.args(["--log", "info", "--address", "127.0.0.1:0", "--node-id", node_id]);
        command.args(["--members", &format!("{node_id}=127.0.0.1:1")]);
        let process = command.stderr(Stdio::piped()).spawn().expect("the program can be run");
        let output = process.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = second(&cluster, "1");
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(cluster.put(1, "still", "here").0, 200);
    cluster.kill(1);
    let (code, said) = second(&cluster, "7");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("belongs to node 1"), "{said}");
    cluster.start(1);
    cluster.wait_for_leader(Duration::from_secs(10));
    assert_eq!(cluster.get(1, "still").as_deref(), Some("here"));
}

#[test]
fn a_corrupt_log_is_refused_with_its_file_and_offset() {
    let mut cluster = Cluster::started(PROGRAM, 1);
    for number in 0..100 {
        cluster.put(1, &format!("key {number}"), "value");
    }
    assert!(cluster.signal(1, "TERM").success());
    let (file, offset) = flip_in_the_middle(&cluster);
    let process = cluster.command(1).stderr(Stdio::piped()).spawn().expect("the program can be run");
    let output = process.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(70), "{said}");
    assert!(said.contains(&file) && said.contains("offset"), "flipped {file} at {offset}: {said}");
}

/// Flips a bit in the middle of the largest file's used part.
fn flip_in_the_middle(cluster: &Cluster) -> (String, usize) {
    let mut files = Vec::new();
    let mut folders = vec![cluster.data(1)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("it is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("it can be read");
                let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                files.push((used, path, bytes));
            }
        }
    }
    let (used, path, mut bytes) = files.into_iter().max_by_key(|(used, ..)| *used).expect("there are files");
    bytes[used / 2] ^= 0x10;
    std::fs::write(&path, bytes).expect("it can be written");
    (path.display().to_string(), used / 2)
}

#[test]
fn a_node_ends_in_order_when_its_input_ends() {
    let cluster = Cluster::new(PROGRAM, 1);
    let mut process = cluster.command(1).stderr(Stdio::null()).spawn().expect("the program can be run");
    drop(process.stdin.take());
    assert!(wait_for_exit(process, Duration::from_secs(20)).success());
}
