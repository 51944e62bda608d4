//! Settings.

use std::{collections::BTreeMap, io::Write, path::PathBuf, time::Duration};

use raft_actor::{config::Config, types::NodeId};

use super::{KEYS, Settings, SettingsError, Sources, reference};

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let mut written = tempfile::Builder::new().suffix(".toml").tempfile().expect("a temporary file");
    written.write_all(file.as_bytes()).expect("written");
    let sources = Sources {
        file: Some(written.path().to_owned()),
        environment: environment.iter().map(owned).collect(),
        flags: flags.iter().map(owned).collect(),
    };
    sources.load()
}

const SMALLEST: &str = r#"
    node_id = 1
    data = "d"
    members = ["1=127.0.0.1:2379"]
"#;

#[test]
fn what_nobody_sets_is_at_its_default() {
    let settings = load(SMALLEST, &[], &[]).expect("it is whole");
    assert_eq!(settings.raft, Config::default(), "the table repeats the framework's defaults");
    assert_eq!((settings.address.as_str(), settings.peer_address), ("127.0.0.1:2379", None));
    assert_eq!(settings.members, BTreeMap::from([(NodeId(1), "127.0.0.1:2379".to_owned())]));
    assert_eq!(settings.auto_compaction_retention, 0, "nothing is forgotten unasked");
    assert_eq!(settings.auto_compaction_interval, Duration::from_secs(300));
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let file = format!("{SMALLEST}\nhttp_workers = 2\nwrites_max = 10\nreads_max = 10");
    let environment = [("RAFT_WRITES_MAX", "20"), ("RAFT_READS_MAX", "20"), ("RAFT_OF_OTHERS", "x")];
    let settings = load(&file, &environment, &[("reads_max", "30")]).expect("it is whole");
    assert_eq!((settings.http_workers, settings.raft.writes_max, settings.raft.reads_max), (2, 20, 30));
}

#[test]
fn everything_can_come_from_the_environment() {
    let environment = [
        ("RAFT_NODE_ID", "2"),
        ("RAFT_DATA", "/tmp/x"),
        ("RAFT_MEMBERS", "1=a:1, 2=b:2"),
        ("RAFT_HEARTBEAT_INTERVAL_MS", "20"),
        ("RAFT_FORWARD_WRITES", "false"),
    ];
    let settings = load("", &environment, &[]).expect("it is whole");
    assert_eq!((settings.node_id, settings.data), (NodeId(2), PathBuf::from("/tmp/x")));
    assert_eq!(settings.members[&NodeId(2)], "b:2");
    assert_eq!(settings.raft.heartbeat_interval, Duration::from_millis(20));
    assert!(!settings.raft.forward_writes);
}

#[test]
fn all_broken_rules_are_reported_at_once() {
    let file = r#"
        node_id = 0
        members = ["1=127.0.0.1:2379", "1=127.0.0.1:2389", "two"]
        address = "nowhere"
        heartbeat_interval_ms = 500
        http_workers = "many"
        colour = "red"
    "#;
    let broken = load(file, &[], &[("election_timeout_max_ms", "100")]).expect_err("it is not whole").broken;
    let said = |words: &str| {
        assert!(broken.iter().any(|sentence| sentence.contains(words)), "{words:?} is missing: {broken:#?}");
    };
    said("colour: there is no such key");
    said("node_id must be at least 1");
    said("data is not set");
    said("node 1 is named twice");
    said("\"two\" is not of the form id=host:port");
    said("\"nowhere\" is not of the form host:port");
    said("heartbeat_interval must be at most a third");
    said("election_timeout_min must be less than election_timeout_max");
    said("http_workers");
    assert_eq!(broken.len(), 9, "{broken:#?}");
}

#[test]
fn a_node_that_is_not_a_member_is_refused() {
    let error = load(SMALLEST, &[], &[("node_id", "7")]).expect_err("it is not among them");
    assert_eq!(error.broken, ["members: this node (7) is not among them"]);
}

#[test]
fn witnesses_and_priorities_are_those_of_members() {
    let two = [("members", "1=a:1,2=b:2"), ("witnesses", "2"), ("priorities", "1=7, 2=0")];
    let settings = load(SMALLEST, &[], &two).expect("it is whole");
    assert_eq!((settings.witness, settings.witnesses.contains(&NodeId(2))), (false, true));
    assert_eq!(settings.priorities, BTreeMap::from([(NodeId(1), 7), (NodeId(2), 0)]));
    let broken = |flags: &[(&str, &str)]| load(SMALLEST, &[], flags).expect_err("it is not whole").broken;
    let wrong = broken(&[("witnesses", "2,x"), ("priorities", "3=1,1=256")]);
    assert_eq!(
        wrong,
        [
            "witnesses: \"x\" is not a node id",
            "priorities: \"1=256\" is not of the form id=priority, 0 to 255",
            "witnesses: node 2 is not among the members",
            "priorities: node 3 is not among the members",
        ]
    );
    let wrong = broken(&[("witness", "true")]);
    assert!(wrong[0].contains("`witnesses` must name this node (1)"), "{wrong:?}");
}

#[test]
fn a_file_that_is_missing_or_is_no_toml_is_refused() {
    let missing = Sources { file: Some(PathBuf::from("/nonexistent.toml")), ..Sources::default() };
    assert!(missing.load().expect_err("it is missing").broken[0].contains("/nonexistent.toml"));
    assert!(load("= what", &[], &[]).expect_err("it is no TOML").broken[0].contains("cannot be read"));
}

#[test]
fn the_reference_file_holds_every_key_and_is_what_the_program_prints() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/reference.toml");
    let written = std::fs::read_to_string(file).expect("it is there");
    assert_eq!(written, reference(), "run `example-app print-config --reference` to write it anew");
    assert!(KEYS.iter().all(|key| written.contains(&format!("{} = ", key.name))));
    load(&written, &[], &[]).expect("and it is a configuration");
}

#[test]
fn the_three_sample_files_are_one_cluster() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let of = |node: u64| {
        let file = Some(PathBuf::from(format!("{folder}/node{node}.toml")));
        Sources { file, ..Sources::default() }.load().expect("it is whole")
    };
    let all = [of(1), of(2), of(3)];
    for settings in &all {
        assert_eq!(settings.members, all[0].members);
        assert_eq!(settings.members[&settings.node_id], settings.address);
    }
}
