//! One run, from the first boot to the judgement.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use super::{
    Failure, NO_PANIC, Report, SAME_STATE, Simulation, WORKLOAD,
    chance::{Chance, stream_seed},
    clients::{Deed, Deeds, Visitor},
    coverage,
    faults::Planned,
    judge::{Verdict, judge, reads_are_fresh},
    told::tell,
    watch::Watch,
    workload::{Call, Operation, Workload},
    world::{PATIENCE, World},
};
use crate::{
    runtime::{Place, Runtime, SimRuntime, timeout},
    testkit::{
        invariants::{Violation, hold},
        panicked::words_of,
    },
    types::NodeId,
};

/// How many questions all nodes are asked in the end.
const QUESTIONS_MAX: usize = 100;

pub(super) fn run<W: Workload>(
    simulation: &Simulation<W>,
    seed: u64,
    only: Option<&[usize]>,
) -> Result<Report, Failure> {
    let simulator = SimRuntime::new(stream_seed(seed, "scheduling", 0));
    let world = World::new(simulation, seed, &simulator);
    let mut plan = simulation.faults.plan(&mut Chance::stream(seed, "faults", 0), simulation.duration);
    if let Some(only) = only {
        plan.retain(|planned| only.contains(&planned.number));
    }
    let watch = world.watch.clone();
    let life = live(world, plan.clone());
    let outcome = catch_unwind(AssertUnwindSafe(|| simulator.run_until(watch.until_broken(life))));
    let at = Duration::from_nanos(simulator.now().0);
    let outcome =
        outcome.unwrap_or_else(|panic| Err(Violation { invariant: NO_PANIC, what: words_of(&*panic) }));
    let coverage = coverage_of(&watch, at);
    match outcome {
        Ok(()) => Ok(Report { seed, hash: simulator.trace_hash() ^ watch.hash(), coverage }),
        Err(violation) => {
            plan.retain(|planned| planned.at <= at);
            let meant = watch.meant();
            plan.iter_mut().for_each(|planned| planned.told = tell(&planned.fault, &meant));
            Err(Failure { seed, at, violation, faults: plan.into(), coverage })
        }
    }
}

fn coverage_of(watch: &Watch, simulated: Duration) -> coverage::Coverage {
    let mut coverage = watch.coverage();
    coverage.note(coverage::RUNS, 1);
    coverage.lasted(simulated);
    coverage
}

async fn live<W: Workload>(world: Arc<World<W>>, plan: Vec<Planned>) -> Result<(), Violation> {
    for place in 0..world.first_members.len() {
        world.boot_surely(place).await;
    }
    let deeds: Deeds<W> = Arc::default();
    let clients = world.simulation.clients;
    world.clients.store(clients, Ordering::Relaxed);
    for number in 0..clients {
        let visitor = Visitor::new(number, &world, &deeds);
        world.hall.spawn("client", Place::Any, Box::pin(visitor.live()));
    }
    for planned in plan {
        let wait = planned.at.saturating_sub(Duration::from_nanos(world.hall.now().0));
        world.sleep(wait).await;
        world.under_way.fetch_add(1, Ordering::Relaxed);
        world.hall.spawn("fault", Place::Any, Box::pin(world.clone().carry_out(planned)));
    }
    let wait = world.simulation.duration.saturating_sub(Duration::from_nanos(world.hall.now().0));
    world.sleep(wait).await;
    // Every fault ends by itself.
    while world.under_way.load(Ordering::Relaxed) > 0 {
        world.sleep(Duration::from_millis(100)).await;
    }
    world.network.heal();
    world.calm();
    world.converge().await;
    world.is_ending.store(true, Ordering::Relaxed);
    while world.clients.load(Ordering::Relaxed) > 0 {
        world.sleep(Duration::from_millis(100)).await;
    }
    // What was sent again may still be on its way.
    world.sleep(Duration::from_secs(10)).await;
    let deeds = std::mem::take(&mut *deeds.lock().unwrap_or_else(PoisonError::into_inner));
    let verdict = pass_judgement(&world, &deeds)?;
    compare_nodes(&world, &verdict, &deeds).await?;
    let calls: Vec<Call<W>> = deeds.into_iter().map(|deed| deed.call).collect();
    let judged = world.simulation.workload.judge(&calls);
    judged.map_err(|what| Violation { invariant: WORKLOAD, what })
}

fn pass_judgement<W: Workload>(world: &World<W>, deeds: &[Deed<W>]) -> Result<Verdict<W>, Violation> {
    let committed = world.watch.committed_entries();
    reads_are_fresh(&committed, deeds)?;
    judge(&*world.simulation.workload, &committed, deeds)
}

/// Every member's state is that of the judge, as far as clients have asked for it.
async fn compare_nodes<W: Workload>(
    world: &World<W>,
    verdict: &Verdict<W>,
    deeds: &[Deed<W>],
) -> Result<(), Violation> {
    let questions = deeds.iter().rev().filter_map(|deed| match &deed.call.operation {
        Operation::Read(query) => Some(query.clone()),
        Operation::Write(_) => None,
    });
    let questions: Arc<Vec<W::Query>> = Arc::new(questions.take(QUESTIONS_MAX).collect());
    let expected: Vec<W::Answer> = questions.iter().map(|query| W::look(&verdict.machine, query)).collect();
    let Some(leader) = world.leader().await else { return Ok(()) };
    let nodes: BTreeMap<NodeId, _> = world.running().into_iter().map(|node| (node.id(), node)).collect();
    for member in leader.membership.nodes() {
        let Some(node) = nodes.get(&member) else { continue };
        let questions = questions.clone();
        let look = move |witness: &super::witness::Witness<W>| {
            let (applied, machine) = witness.state();
            let answers: Vec<W::Answer> = questions.iter().map(|query| W::look(machine, query)).collect();
            (applied, answers)
        };
        let Some(Ok((applied, answers))) = timeout(&*world.hall, PATIENCE, node.read(look)).await else {
            let what = format!("node {member} does not answer a read after the run");
            return Err(Violation { invariant: super::CONVERGES, what });
        };
        // Something may have been committed since the judgement: a late copy of a session's write.
        if applied == verdict.applied {
            let differs = answers.iter().zip(&expected).position(|(is, expected)| is != expected);
            hold(differs.is_none(), SAME_STATE, || {
                let place = differs.unwrap_or_default();
                format!("node {member} answers {:?}, not {:?}", answers[place], expected[place])
            })?;
        }
    }
    Ok(())
}
