//! How it works, watching a node: its events while it leads, and its trace.

use std::{
    error::Error,
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use raft_actor::{
    events::Change,
    node::Node,
    runtime::{SharedRuntime, sim::SimRuntime},
    testkit::{memory::MemoryLog, network::Network},
    trace::{Columns, Trace, merge},
    types::{NodeId, Role},
};

use super::state_machine::{Add, Counter};

#[test]
fn a_node_is_watched_from_its_election_to_its_end() -> Result<(), Box<dyn Error>> {
    let simulator = SimRuntime::new(7);
    let runtime: SharedRuntime = Arc::new(simulator.node("alone"));
    simulator.run_until(watch(runtime))
}

/// A file, as far as this page is concerned.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics here").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn watch(runtime: SharedRuntime) -> Result<(), Box<dyn Error>> {
    let network = Network::new(runtime.clone(), 1);
    let id = NodeId(1);
    let written = Written::default();
    let mut file = written.clone();

    // ANCHOR: trace
    let trace = Trace::new(move |line| {
        // A trace that cannot be written must not end the node.
        let _ = writeln!(file, "{line}");
    });
    let trace = trace.with_clock(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));

    let builder = Node::builder(id, Counter::default()).observer(trace);
    // ANCHOR_END: trace
    let builder = builder.members([(id, Network::address(id))]).storage(MemoryLog::new());
    let node = builder.transport(network.transport(id)).runtime(runtime).start().await?;

    // ANCHOR: events
    let mut events = node.events(1000);
    while let Some(event) = events.next().await {
        match event.change {
            Change::Present { status, .. } => println!("it is a {} now", status.role),
            Change::RoleChanged { role: Role::Leader, term, .. } => {
                println!("{}: it leads term {term}", event.sequence);
                break;
            }
            other => println!("{}: {other:?}", event.sequence),
        }
    }
    // ANCHOR_END: events

    node.write(Add(1)).await?;
    node.shutdown().await;
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event.change);
    }
    assert_eq!(last, Some(Change::Ended { failure: None }));
    let bytes = written.0.lock().expect("nobody panics here").clone();
    let mut columns = Columns::new();
    let mut shown = String::new();
    for record in merge([bytes.as_slice()]) {
        shown += &columns.show(&record?);
    }
    assert!(shown.contains("n1 becomes leader@2") && shown.contains("n1 commits 3"), "{shown}");
    Ok(())
}
