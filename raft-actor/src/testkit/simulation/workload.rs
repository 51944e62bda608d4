//! What a simulation is given by its user: the state machine, and what clients do with it.

use std::fmt;

use super::Chance;
use crate::{state_machine::StateMachine, types::Time};

/// A command of a workload.
pub type Command<W> = <<W as Workload>::Machine as StateMachine>::Command;

/// What a workload's state machine answers to a command.
pub type Output<W> = <<W as Workload>::Machine as StateMachine>::Output;

/// A state machine, and clients that write to it and read from it.
///
/// The simulation itself holds every answer against the state machine: it applies what was committed to a
/// state machine of its own, one command after the other, and each write must have been answered as that one
/// answers, each read as it looks at a place of the log where the read may stand. So a workload says only
/// what is done, and [`Workload::judge`] only what else must be true.
///
/// # Contract
///
/// * Everything depends on the arguments alone, chance on `chance`.
/// * `look` changes nothing.
pub trait Workload: Send + Sync + 'static {
    /// The application.
    type Machine: StateMachine<Command: Clone + fmt::Debug, Output: fmt::Debug + PartialEq>;

    /// What a client may ask without changing anything.
    type Query: Clone + fmt::Debug + Send + Sync + 'static;

    /// What it sees.
    type Answer: fmt::Debug + PartialEq + Send + 'static;

    /// The state before the first command.
    fn machine(&self) -> Self::Machine;

    /// What a client does next. Clients are numbered from 0, and what each does from 0 as well.
    fn next(&self, client: u64, number: u64, chance: &mut Chance) -> Operation<Command<Self>, Self::Query>;

    /// Answers a query.
    fn look(machine: &Self::Machine, query: &Self::Query) -> Self::Answer;

    /// Holds what all clients have done and seen against what must be true of it. Called once, after the
    /// run; the calls are in the order in which they ended. Default: nothing more.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    fn judge(&self, calls: &[Call<Self>]) -> Result<(), String> {
        let _ = calls;
        Ok(())
    }
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation<C, Q> {
    /// Has a command committed and applied.
    Write(C),
    /// Looks at the state.
    Read(Q),
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome<O, A> {
    /// The write was applied, and answered so.
    Written(O),
    /// The read has seen this.
    Seen(A),
    /// The write may have been applied, or may be yet, or never.
    Unknown,
    /// The write was not applied and never will be, or the read was not answered.
    Refused,
}

/// One operation of a client, from its call to its answer.
pub struct Call<W: Workload + ?Sized> {
    /// Whose.
    pub client: u64,
    /// When it was called, in true time.
    pub began: Time,
    /// When it was answered, or given up.
    pub ended: Time,
    /// What was wanted.
    pub operation: Operation<Command<W>, W::Query>,
    /// What came of it.
    pub outcome: Outcome<Output<W>, W::Answer>,
}

impl<W: Workload + ?Sized> fmt::Debug for Call<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { client, began, ended, operation, outcome } = self;
        write!(f, "client {client}, {} to {} ns: {operation:?} gave {outcome:?}", began.0, ended.0)
    }
}
