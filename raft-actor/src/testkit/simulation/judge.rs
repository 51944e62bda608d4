//! What clients were told, held against what was committed: one pass over the log, with a state machine of
//! the judge's own and nothing of the sessions' code but how commands are encoded.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    ACKNOWLEDGED_IS_THERE, EXACTLY_ONCE, LINEARIZABLE,
    clients::{Deed, Proof},
    workload::{Command, Operation, Outcome, Output, Workload},
};
use crate::{
    client::session::{SessionCommand, Sessions},
    state_machine::StateMachine,
    testkit::invariants::{Violation, hold},
    types::{Entry, LogId, LogIndex, Payload},
};

/// What the judge makes of a run: the state that all nodes must have, at its last command.
pub(super) struct Verdict<W: Workload> {
    pub(super) machine: W::Machine,
    pub(super) applied: LogIndex,
}

struct Judge<'a, W: Workload> {
    machine: W::Machine,
    plain: BTreeMap<LogId, &'a Deed<W>>,
    in_sessions: BTreeMap<(u64, u64), &'a Deed<W>>,
    /// By the last command that each has seen.
    reads: BTreeMap<LogIndex, Vec<&'a Deed<W>>>,
    sessions: BTreeMap<u64, Session>,
    /// Of each plain command: how often it is in the log.
    times: BTreeMap<Bytes, u64>,
    applied: LogIndex,
}

/// A session as the judge keeps it.
#[derive(Default)]
struct Session {
    lowest_awaited: u64,
    applied: BTreeSet<u64>,
}

/// Holds what clients were told against what was committed.
pub(super) fn judge<W: Workload>(
    workload: &W,
    committed: &[Entry],
    deeds: &[Deed<W>],
) -> Result<Verdict<W>, Violation> {
    let mut judge = Judge::new(workload, deeds);
    judge.see_reads()?;
    for entry in committed {
        let Payload::Command(bytes) = &entry.payload else { continue };
        let command = Sessions::<W::Machine>::decode_command(bytes).map_err(|error| {
            let what = format!("{} was committed, and is no command: {error}", entry.id);
            Violation { invariant: ACKNOWLEDGED_IS_THERE, what }
        })?;
        judge.apply(entry.id, bytes, command)?;
        judge.applied = entry.id.index;
        judge.see_reads()?;
    }
    judge.nothing_is_left()?;
    judge.counts(deeds)?;
    Ok(Verdict { machine: judge.machine, applied: judge.applied })
}

impl<'a, W: Workload> Judge<'a, W> {
    fn new(workload: &W, deeds: &'a [Deed<W>]) -> Judge<'a, W> {
        let mut judge = Judge {
            machine: workload.machine(),
            plain: BTreeMap::new(),
            in_sessions: BTreeMap::new(),
            reads: BTreeMap::new(),
            sessions: BTreeMap::new(),
            times: BTreeMap::new(),
            applied: LogIndex(0),
        };
        for deed in deeds {
            match deed.proof {
                Proof::Plain(Some(place)) => drop(judge.plain.insert(place, deed)),
                Proof::InSession(Some((session, sequence))) => {
                    judge.in_sessions.insert((session.0, sequence), deed);
                }
                Proof::Read(applied) if matches!(deed.call.outcome, Outcome::Seen(_)) => {
                    judge.reads.entry(applied).or_default().push(deed);
                }
                _ => {}
            }
        }
        judge
    }

    fn apply(
        &mut self,
        id: LogId,
        bytes: &Bytes,
        command: SessionCommand<Command<W>>,
    ) -> Result<(), Violation> {
        // A read that began when this was committed must have seen it.
        let (session, sequence, lowest_awaited, command) = match command {
            SessionCommand::Plain(command) => {
                *self.times.entry(bytes.clone()).or_default() += 1;
                let deed = self.plain.remove(&id);
                let said = deed.map(|deed| format!("{:?}", deed.call.operation));
                let is_it = deed.is_none_or(|deed| match &deed.call.operation {
                    Operation::Write(wanted) => {
                        let wanted = SessionCommand::Plain(wanted.clone());
                        Sessions::<W::Machine>::encode_command(&wanted).is_ok_and(|wanted| wanted == bytes)
                    }
                    Operation::Read(_) => false,
                });
                hold(is_it, ACKNOWLEDGED_IS_THERE, || {
                    format!("{said:?} was acknowledged at {id}, where {command:?} stands")
                })?;
                let output = self.machine.apply(id, command);
                return deed.map_or(Ok(()), |deed| fits(deed, id, &output));
            }
            SessionCommand::Open(_) => {
                self.sessions.insert(id.index.0, Session::default());
                return Ok(());
            }
            SessionCommand::Expire { .. } => return Ok(()),
            SessionCommand::InSession { session, sequence, lowest_awaited, command } => {
                (session, sequence, lowest_awaited, command)
            }
        };
        let Some(state) = self.sessions.get_mut(&session.0) else { return Ok(()) };
        state.lowest_awaited = state.lowest_awaited.max(lowest_awaited);
        if sequence < state.lowest_awaited || !state.applied.insert(sequence) {
            return Ok(());
        }
        let output = self.machine.apply(id, command);
        match self.in_sessions.get(&(session.0, sequence)) {
            Some(deed) => {
                let was_refused = matches!(deed.call.outcome, Outcome::Refused);
                hold(!was_refused, EXACTLY_ONCE, || format!("{:?}, and is applied at {id}", deed.call))?;
                fits(deed, id, &output)
            }
            None => Ok(()),
        }
    }

    /// Reads that have seen all up to here.
    fn see_reads(&mut self) -> Result<(), Violation> {
        for deed in self.reads.remove(&self.applied).unwrap_or_default() {
            let (Operation::Read(query), Outcome::Seen(seen)) = (&deed.call.operation, &deed.call.outcome)
            else {
                continue;
            };
            let is = W::look(&self.machine, query);
            hold(*seen == is, LINEARIZABLE, || {
                format!("{:?}, and after {} it is {is:?}", deed.call, self.applied)
            })?;
        }
        Ok(())
    }

    /// Every acknowledgement was found in the log.
    fn nothing_is_left(&self) -> Result<(), Violation> {
        let lost = self.plain.iter().next();
        hold(lost.is_none(), ACKNOWLEDGED_IS_THERE, || {
            let (place, deed) = lost.map_or((LogId::ZERO, None), |(place, deed)| (*place, Some(&deed.call)));
            format!("{deed:?} was acknowledged at {place}, which was not committed")
        })?;
        let unseen = self.reads.iter().next();
        hold(unseen.is_none(), LINEARIZABLE, || {
            format!("a read has seen all up to {:?}, where there is no command", unseen.map(|(at, _)| at))
        })?;
        for ((session, sequence), deed) in &self.in_sessions {
            let was_written = matches!(deed.call.outcome, Outcome::Written(_));
            let is_there = self.sessions.get(session).is_some_and(|state| state.applied.contains(sequence));
            hold(!was_written || is_there, ACKNOWLEDGED_IS_THERE, || {
                format!("{:?} in session {session}, sequence {sequence}, is not in the log", deed.call)
            })?;
        }
        Ok(())
    }

    /// Each plain command is in the log as often as it was acknowledged, or as nobody knows.
    fn counts(&self, deeds: &[Deed<W>]) -> Result<(), Violation> {
        let mut told: BTreeMap<Bytes, (u64, u64)> = BTreeMap::new();
        for deed in deeds {
            let (Proof::Plain(_), Operation::Write(command)) = (deed.proof, &deed.call.operation) else {
                continue;
            };
            let encoded = Sessions::<W::Machine>::encode_command(&SessionCommand::Plain(command.clone()));
            let (sure, perhaps) = told.entry(encoded.unwrap_or_default()).or_default();
            match deed.call.outcome {
                Outcome::Written(_) => *sure += 1,
                Outcome::Unknown => *perhaps += 1,
                Outcome::Refused | Outcome::Seen(_) => {}
            }
        }
        for (command, times) in &self.times {
            let (sure, perhaps) = told.get(command).copied().unwrap_or_default();
            hold((sure..=sure + perhaps).contains(times), EXACTLY_ONCE, || {
                let decoded = Sessions::<W::Machine>::decode_command(command);
                format!("{decoded:?} is applied {times} times: {sure} acknowledged, {perhaps} unknown")
            })?;
        }
        Ok(())
    }
}

/// A write was answered as the judge's machine answers it, and stands where it may: after all that was
/// committed when it began.
fn fits<W: Workload>(deed: &Deed<W>, id: LogId, output: &Output<W>) -> Result<(), Violation> {
    if let Outcome::Written(told) = &deed.call.outcome {
        hold(told == output, LINEARIZABLE, || {
            format!("{:?}; applied at {id}, it gives {output:?}", deed.call)
        })?;
        let (before, after) = deed.committed;
        hold(before < id.index && id.index <= after, LINEARIZABLE, || {
            format!("{:?}; it stands at {id}, and {before} to {after} were committed meanwhile", deed.call)
        })?;
    }
    Ok(())
}

/// A read has seen every command that was committed when it began.
pub(super) fn reads_are_fresh<W: Workload>(committed: &[Entry], deeds: &[Deed<W>]) -> Result<(), Violation> {
    let commands: Vec<LogIndex> = committed
        .iter()
        .filter(|entry| matches!(entry.payload, Payload::Command(_)))
        .map(|entry| entry.id.index)
        .collect();
    for deed in deeds {
        let (Proof::Read(applied), Outcome::Seen(_)) = (deed.proof, &deed.call.outcome) else { continue };
        let (before, after) = deed.committed;
        let last = commands.partition_point(|index| *index <= before).checked_sub(1);
        let at_least = last.map_or(LogIndex(0), |place| commands[place]);
        hold(at_least <= applied && applied <= after, LINEARIZABLE, || {
            format!("{:?}; it saw all up to {applied}, and {at_least} was committed before", deed.call)
        })?;
    }
    Ok(())
}
