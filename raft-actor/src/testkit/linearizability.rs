//! Whether a history of calls could have been made to one object that does everything at one moment: a search
//! after Wing and Gong, with Lowe's memory of what was tried.
//!
//! It knows nothing of logs: only when each call began and ended, what was asked, and what was answered. That
//! makes it slow where many calls overlap or many outcomes are unknown, and independent of everything else.
//! For long histories use the check by revision, [`revisions_are_in_order`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What an object does.
pub trait Model {
    /// Its state. Equal states must be equal values.
    type State: Clone + Ord;

    /// What it may be asked, with the answer where it is known.
    type Call: fmt::Debug;

    /// The state before the first call.
    fn first(&self) -> Self::State;

    /// The state after a call, or none where the object would have answered otherwise.
    fn step(&self, state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// A call, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed<C> {
    /// When it began.
    pub began: u64,
    /// When it was answered. None where nobody knows whether it was carried out: it may be at any time from
    /// when it began, or never.
    pub ended: Option<u64>,
    /// What was asked, and answered.
    pub call: C,
}

/// Checks a history.
///
/// # Errors
///
/// The longest run of calls that makes sense, and the calls none of which can come after it, in a few lines.
pub fn check<M: Model>(model: &M, calls: &[Timed<M::Call>]) -> Result<(), String> {
    let mut search = Search { model, calls, tried: BTreeSet::new(), best: Vec::new() };
    let mut done = Done::new(calls.len());
    let mut order = Vec::new();
    if search.go_on(&model.first(), &mut done, &mut order) {
        return Ok(());
    }
    let told = search.best.iter().rev().take(5).rev().map(|at| format!("  {:?}", calls[*at]));
    let last = told.collect::<Vec<_>>().join("\n");
    let stuck =
        calls.iter().enumerate().filter(|(at, call)| !search.best.contains(at) && call.ended.is_some());
    let stuck = stuck.take(5).map(|(_, call)| format!("  {call:?}")).collect::<Vec<_>>().join("\n");
    Err(format!("no order of the calls makes sense; after\n{last}\nnone of these can follow:\n{stuck}"))
}

/// Which calls have been placed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Done(Vec<u64>);

impl Done {
    fn new(count: usize) -> Done {
        Done(vec![0; count.div_ceil(64)])
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    fn flip(&mut self, at: usize) {
        self.0[at / 64] ^= 1 << (at % 64);
    }
}

struct Search<'a, M: Model> {
    model: &'a M,
    calls: &'a [Timed<M::Call>],
    /// What was placed, and the state that it led to: another order of the same is not tried again.
    tried: BTreeSet<(Done, M::State)>,
    best: Vec<usize>,
}

/// A place in the search: the calls that may come next, and how many of them were tried.
struct Level<S> {
    state: S,
    next: Vec<usize>,
    tried: usize,
}

impl<M: Model> Search<'_, M> {
    /// Calls that may come next: those that began before the first of the others ended.
    fn candidates(&self, done: &Done) -> Vec<usize> {
        let left = || (0..self.calls.len()).filter(|at| !done.has(*at));
        let first_end = left().filter_map(|at| self.calls[at].ended).min();
        left().filter(|at| first_end.is_none_or(|end| self.calls[*at].began <= end)).collect()
    }

    fn is_over(&self, done: &Done) -> bool {
        (0..self.calls.len()).all(|at| done.has(at) || self.calls[at].ended.is_none())
    }

    /// Depth first, on a stack of its own: histories are longer than a thread's stack is deep.
    fn go_on(&mut self, first: &M::State, done: &mut Done, order: &mut Vec<usize>) -> bool {
        let mut levels = vec![Level { state: first.clone(), next: self.candidates(done), tried: 0 }];
        while let Some(level) = levels.last_mut() {
            if self.is_over(done) {
                return true;
            }
            let Some(at) = level.next.get(level.tried).copied() else {
                levels.pop();
                order.pop().into_iter().for_each(|at| done.flip(at));
                continue;
            };
            level.tried += 1;
            let Some(state) = self.model.step(&level.state, &self.calls[at].call) else { continue };
            done.flip(at);
            if !self.tried.insert((done.clone(), state.clone())) {
                done.flip(at);
                continue;
            }
            order.push(at);
            if order.len() > self.best.len() {
                self.best.clone_from(order);
            }
            let next = self.candidates(done);
            levels.push(Level { state, next, tried: 0 });
        }
        false
    }
}

/// Checks one history a key: calls to different keys have nothing to do with each other, so each is searched
/// by itself, which is much faster.
///
/// # Errors
///
/// As [`check`], with the key.
pub fn check_keys<K: Ord + fmt::Debug, M: Model>(
    model: &M,
    calls: impl IntoIterator<Item = (K, Timed<M::Call>)>,
) -> Result<(), String> {
    let mut by_key: BTreeMap<K, Vec<Timed<M::Call>>> = BTreeMap::new();
    for (key, call) in calls {
        by_key.entry(key).or_default().push(call);
    }
    for (key, calls) in &by_key {
        check(model, calls).map_err(|what| format!("of {key:?}: {what}"))?;
    }
    Ok(())
}

/// The check by revision, in linear time but for sorting: for objects that count their changes and tell each
/// caller at which one it was made or seen. `calls` are when each began and ended, its revision, and whether
/// it was made by this call alone (a write) or only seen (a read).
///
/// No two writes have the same revision, and no call that began after another had ended has a lower one;
/// a write has a higher one.
///
/// # Errors
///
/// The two calls that contradict each other.
pub fn revisions_are_in_order(calls: &[(u64, u64, i64, bool)]) -> Result<(), String> {
    let mut writes = BTreeSet::new();
    for call in calls.iter().filter(|(.., is_write)| *is_write) {
        if !writes.insert(call.2) {
            return Err(format!("two writes have revision {}", call.2));
        }
    }
    let mut by_begin: Vec<_> = calls.iter().collect();
    by_begin.sort_by_key(|(began, ..)| *began);
    let mut by_end: Vec<_> = calls.iter().collect();
    by_end.sort_by_key(|(_, ended, ..)| *ended);
    let mut ended = by_end.into_iter().peekable();
    let mut highest: Option<&(u64, u64, i64, bool)> = None;
    for call in by_begin {
        while let Some(before) = ended.next_if(|before| before.1 < call.0) {
            if highest.is_none_or(|highest| highest.2 < before.2) {
                highest = Some(before);
            }
        }
        let (.., revision, is_write) = call;
        if let Some(before) =
            highest.filter(|before| before.2 > *revision || (before.2 == *revision && *is_write))
        {
            return Err(format!("{call:?} began after {before:?} had ended, and has no higher revision"));
        }
    }
    Ok(())
}
