//! Traces: whole, the same for the same seed, and readable by programs and by people.

use std::{
    collections::BTreeSet,
    fs,
    io::Cursor,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use raft_actor::{
    config::Config,
    core::{Effect, Input},
    error::TraceError,
    runtime::{SharedRuntime, sim::SimRuntime},
    testkit::{cluster::Cluster, trace_hash::TraceHash},
    trace::{Columns, Record, Trace, merge},
    types::{NodeId, Role},
};

use crate::sum::Sum;

/// The lines of a node's trace.
type Lines = Arc<Mutex<Vec<String>>>;

fn text(lines: &Lines) -> String {
    lines.lock().expect("no sink panics").join("\n") + "\n"
}

/// Runs a cluster of `nodes` through `count` writes and, where there are three, a change of leader; gives
/// each node's trace, and the hash of all.
fn run(seed: u64, nodes: u64, count: u64) -> (Vec<String>, u64) {
    let simulator = Arc::new(SimRuntime::new(seed));
    let traces: Vec<Lines> = (0..nodes).map(|_| Lines::default()).collect();
    let hash = TraceHash::new();
    let (kept, hashed) = (traces.clone(), hash.clone());
    simulator.run_until(async {
        let network: SharedRuntime = Arc::new(simulator.node("network"));
        let mut cluster = Cluster::new(network, nodes, Config::default(), Sum::default);
        cluster.observe(move |node| {
            let lines = kept[node.0 as usize - 1].clone();
            Arc::new(Trace::new(move |line| lines.lock().expect("no sink panics").push(line.to_owned())))
        });
        cluster.observe(move |_| Arc::new(hashed.trace()));
        for id in (1..=nodes).map(NodeId) {
            let machine = Arc::new(simulator.node(&format!("machine {id}")));
            cluster.start_node(id, machine).await.expect("it starts");
        }
        let leader = cluster.leader().await;
        for value in 0..count {
            cluster.node(leader).write(value).await.expect("a write");
        }
        if nodes > 1 && count > 0 {
            cluster.node(leader).transfer_leadership(None).await.expect("it is taken over");
            let next = cluster.leader().await;
            cluster.node(next).write(1).await.expect("a write");
            cluster.node(next).read(|count| count.0).await.expect("a read");
        }
        cluster.shutdown().await;
    });
    (traces.iter().map(text).collect(), hash.value())
}

fn read(traces: &[String]) -> Vec<Record> {
    let records: Result<Vec<Record>, TraceError> = merge(traces.iter().map(Cursor::new)).collect();
    records.expect("they are whole")
}

#[test]
fn two_runs_of_the_same_seed_have_the_same_trace_and_hash() {
    let first = run(7, 3, 20);
    assert_eq!(first, run(7, 3, 20));
    let other = run(8, 3, 20);
    assert!(first.0 != other.0 && first.1 != other.1, "a seed decides");
}

/// What a check against a specification stands on: the trace of a whole cluster explains itself.
#[test]
fn a_trace_holds_every_message_write_and_timeout() {
    let (traces, _) = run(11, 3, 50);
    let mut sent = BTreeSet::new();
    let mut received = 0;
    let mut writes = BTreeSet::new();
    let mut before: [Option<Record>; 3] = [None, None, None];
    for record in read(&traces) {
        let node = record.node;
        for input in &record.inputs {
            match input {
                Input::Receive { from, message } => {
                    let mail = format!("{from} {node} {message:?}");
                    assert!(sent.contains(&mail), "{mail} was never sent");
                    received += 1;
                }
                Input::Flushed { sequence } => assert!(writes.contains(&(node, *sequence))),
                _ => {}
            }
        }
        let last = before[node.0 as usize - 1].take();
        for effect in &record.effects {
            match effect {
                Effect::Send { to, message } => drop(sent.insert(format!("{node} {to} {message:?}"))),
                Effect::Write(write) => {
                    writes.insert((node, write.sequence));
                    if let Some(held) = write.hard_state {
                        assert_eq!((held.term, held.voted_for), (record.state.term, record.state.voted_for));
                    }
                    let end = write.entries.last().map(|entry| entry.id);
                    assert_eq!(end.unwrap_or(record.state.last_log_id), record.state.last_log_id);
                }
                Effect::RoleChanged { role: Role::PreCandidate, .. } => {
                    let last = last.as_ref().expect("a run begins with a start");
                    assert!(record.at >= last.state.deadline, "only a timeout makes one here");
                }
                _ => {}
            }
        }
        // Term and vote never change without a write that says so.
        if let Some(last) = &last
            && (last.state.term, last.state.voted_for) != (record.state.term, record.state.voted_for)
        {
            let is_written =
                |effect: &Effect| matches!(effect, Effect::Write(write) if write.hard_state.is_some());
            assert!(record.effects.iter().any(is_written), "{record:?}");
        }
        assert_eq!(record.start.is_some(), last.is_none(), "one run each");
        before[node.0 as usize - 1] = Some(record);
    }
    assert!(received > 200 && writes.len() > 50, "{received} {}", writes.len());
}

#[test]
fn commands_are_left_out_of_a_trace_and_their_number_is_not() {
    let (traces, _) = run(1, 1, 3);
    let proposed: usize = read(&traces)
        .iter()
        .flat_map(|record| &record.inputs)
        .filter_map(|input| match input {
            Input::Propose { commands } => {
                assert!(commands.iter().all(|command| command.is_empty()));
                Some(commands.len())
            }
            _ => None,
        })
        .sum();
    assert_eq!(proposed, 3);
}

#[test]
fn traces_are_merged_by_the_clocks_that_their_callers_gave() {
    let at = |origin: u64, unix: Option<u64>, times: &[u64]| -> String {
        let (traces, _) = run(1, 1, 0);
        let template = read(&traces)[0].clone();
        let lines = times.iter().enumerate().map(|(place, time)| {
            let mut record = template.clone();
            record.at.0 = origin + time;
            record.node = NodeId(origin);
            record.start = record.start.filter(|_| place == 0);
            if let Some(start) = &mut record.start {
                start.unix = unix;
            }
            serde_json::to_string(&record).expect("it is plain") + "\n"
        });
        lines.collect()
    };
    let order = |traces: &[String]| -> Vec<(u64, u64)> {
        read(traces).iter().map(|record| (record.node.0, record.at.0)).collect()
    };
    // Node 500's runtime began 500 ns before it started, at 10,000; node 9's 9 ns before, at 10,001.
    let traces = [at(500, Some(10_000), &[0, 5, 6]), at(9, Some(10_001), &[0, 4, 5])];
    assert_eq!(
        order(&traces),
        [(500, 10_000), (9, 10_001), (500, 10_005), (9, 10_005), (500, 10_006), (9, 10_006)],
        "by time; of the same time, in the order in which they were given"
    );
    let [first, second] = &traces;
    let again = format!("{first}\n{}", at(500, Some(10_100), &[0, 1]));
    assert_eq!(
        order(&[again, second.clone()]).last(),
        Some(&(500, 10_101)),
        "a second run has its own clock"
    );
    assert_eq!(order(&[at(7, None, &[0, 2])]), [(7, 7), (7, 9)], "without a clock, the runtime's own time");
}

#[test]
fn a_line_that_was_cut_is_left_out_and_one_that_is_damaged_is_refused() {
    let (traces, _) = run(1, 1, 2);
    let whole = &traces[0];
    let count = whole.lines().count();
    let cut = &whole[..whole.len() - 20];
    assert_eq!(read(&[cut.to_owned()]).len(), count - 1, "the process was killed");
    assert_eq!(read(&[format!("{cut}\n{whole}")]).len(), 2 * count - 1, "and started again");
    let damaged: Vec<String> = whole
        .lines()
        .enumerate()
        .map(|(place, line)| if place == 2 { line.replace("term", "trem") } else { line.to_owned() })
        .collect();
    let mut merged = merge([Cursor::new(damaged.join("\n")), Cursor::new(whole.clone())]);
    let error = merged.by_ref().find_map(Result::err).expect("the third line is wrong").to_string();
    assert!(error.starts_with("trace 1, line 3: not a step of a trace: "), "{error}");
    assert!(merged.all(|rest| rest.is_ok()), "the other trace goes on");
    let newer = whole.replacen("\"format\":1", "\"format\":9", 1);
    let error = merge([Cursor::new(newer)]).next().expect("a line").expect_err("of another version");
    assert!(error.to_string().contains("format 9"), "{error}");
    let binary = merge([Cursor::new(vec![0xff; 100])]).next();
    assert!(binary.is_none(), "nothing but a line that was cut");
    let binary: Vec<u8> = [vec![0xff, b'\n'], vec![0xff, b'\n']].concat();
    assert!(matches!(merge([Cursor::new(binary)]).next(), Some(Err(TraceError::Malformed { line: 1, .. }))));
}

/// Compares with a file that the book shows; `UPDATE=1` writes it instead.
fn compare(file: &str, came: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/trace").join(file);
    if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
        fs::write(&path, came).expect("written");
    }
    let stands = fs::read_to_string(&path).expect("a text");
    assert_eq!(
        stands,
        came,
        "{} differs; if that is meant, UPDATE=1, and another format number",
        path.display()
    );
}

#[test]
fn the_format_of_a_trace_is_as_the_book_shows_it() {
    let (traces, _) = run(1, 1, 1);
    let first: String = traces[0].lines().take(5).map(|line| format!("{line}\n")).collect();
    compare("format-1.jsonl", &first);
}

#[test]
fn people_see_a_column_for_each_node_in_the_notation_of_scripts() {
    let (traces, _) = run(1, 3, 1);
    let mut columns = Columns::new();
    let shown: String = read(&traces).iter().map(|record| columns.show(record)).collect();
    // As far as the first write, after the entry that records who is who, is committed by its leader.
    let end = shown.find("commits 4").expect("one write is committed");
    let end = shown[end..].find('\n').expect("a line ends") + end + 1;
    compare("election.txt", &shown[..end]);
}
