//! Exactly once: sessions around any state machine (thesis §6.3).
//!
//! A client that does not know what became of a write has to send it again, and a log takes both. So the
//! state machine itself must know a write that comes twice. [`Sessions`] is a state machine around another
//! one which does: a client opens a session, numbers its writes, and the first arrival of a number is applied
//! and its answer remembered. Whatever arrives again is answered from memory. All of it is state that is
//! changed by the log alone, so it is the same on every node, and survives elections and restarts as any
//! other state does.
//!
//! # What is forgotten, and when
//!
//! * An answer, once the client no longer waits for it: every write tells the lowest sequence that the client
//!   still awaits. An answer that is awaited is never dropped; instead a write too far ahead of the lowest
//!   awaited one is refused, so a session's memory is bounded.
//! * A session, when there are too many: the one that was unused for the longest stretch of the log makes
//!   room ([`Limits::sessions_max`]). Also by [`SessionCommand::Expire`], which names a place in the log:
//!   what was not used since is gone. Thesis §6.3 asks that all servers agree on what has expired; a place
//!   in the log is what they agree on already, and no clock is asked. Whoever wants a limit in time
//!   remembers the place that it wrote at an hour ago, and proposes that one.
//!
//! A write in a session that is gone is refused and never applied: it cannot be told any more whether it was
//! applied before.
//!
//! Limits travel in the command that opens a session. So nodes whose settings differ still do the same.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read as _},
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    error::SessionError,
    mutants::{Mutant, is_on},
    state_machine::{StateMachine, StateMachineError, encode},
    types::{LogId, LogIndex, SnapshotView},
};

/// A session: the place in the log of the entry that opened it, so no two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What sessions may take up. Given when one is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limits {
    /// Sessions in the whole cluster; one more ends the one that was unused for longest. Default 10,000; 0
    /// counts as 1.
    pub sessions_max: u64,
    /// How far a write may be ahead of the lowest one that is awaited, in sequence numbers, and so how many
    /// answers a session keeps. Default 1,024; 0 counts as 1.
    pub answers_max: u64,
    /// Bytes of encoded answers that a session keeps before it takes only the lowest awaited write. One
    /// answer may go beyond. Default 1 MiB.
    pub answer_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { sessions_max: 10_000, answers_max: 1024, answer_bytes_max: 1 << 20 }
    }
}

impl Limits {
    /// Sets [`Limits::sessions_max`].
    pub fn with_sessions_max(mut self, sessions_max: u64) -> Limits {
        self.sessions_max = sessions_max;
        self
    }

    /// Sets [`Limits::answers_max`].
    pub fn with_answers_max(mut self, answers_max: u64) -> Limits {
        self.answers_max = answers_max;
        self
    }

    /// Sets [`Limits::answer_bytes_max`].
    pub fn with_answer_bytes_max(mut self, answer_bytes_max: u64) -> Limits {
        self.answer_bytes_max = answer_bytes_max;
        self
    }
}

/// What the log holds for a state machine with sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionCommand<C> {
    /// A command outside of any session, applied as often as it is in the log. Costs one byte more than the
    /// command itself.
    Plain(C),
    /// Opens a session.
    Open(Limits),
    /// A command that is applied once, however often it comes.
    InSession {
        /// The session.
        session: SessionId,
        /// The client's number for the command, from 1 on (any order will do).
        sequence: u64,
        /// The lowest sequence whose answer the client still awaits: at most `sequence`. Answers below are
        /// forgotten.
        lowest_awaited: u64,
        /// The command.
        command: C,
    },
    /// Ends all sessions that no entry from this place on has used.
    Expire {
        /// The place.
        unused_since: LogIndex,
    },
}

impl<C> SessionCommand<C> {
    /// What is around the command, which postcard puts before it; and the command.
    fn parts(&self) -> (SessionCommand<()>, Option<&C>) {
        match self {
            SessionCommand::Plain(command) => (SessionCommand::Plain(()), Some(command)),
            &SessionCommand::Open(limits) => (SessionCommand::Open(limits), None),
            &SessionCommand::InSession { session, sequence, lowest_awaited, ref command } => {
                let head = SessionCommand::InSession { session, sequence, lowest_awaited, command: () };
                (head, Some(command))
            }
            &SessionCommand::Expire { unused_since } => (SessionCommand::Expire { unused_since }, None),
        }
    }
}

impl SessionCommand<()> {
    /// Puts a command in its place, where there is one.
    fn around<C, E>(self, command: impl FnOnce() -> Result<C, E>) -> Result<SessionCommand<C>, E> {
        Ok(match self {
            SessionCommand::Plain(()) => SessionCommand::Plain(command()?),
            SessionCommand::Open(limits) => SessionCommand::Open(limits),
            SessionCommand::InSession { session, sequence, lowest_awaited, command: () } => {
                SessionCommand::InSession { session, sequence, lowest_awaited, command: command()? }
            }
            SessionCommand::Expire { unused_since } => SessionCommand::Expire { unused_since },
        })
    }
}

/// What a state machine with sessions answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionOutput<O> {
    /// The command's own output, now or when it was first applied.
    Output(O),
    /// The new session.
    Opened(SessionId),
    /// How many sessions were ended.
    Expired(u64),
    /// The command was not applied, now.
    Refused(SessionError),
}

/// A state machine that applies what comes in a session once. See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Sessions<S> {
    machine: S,
    table: SessionTable,
}

/// All sessions: a plain value that can be written and read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTable {
    sessions: BTreeMap<SessionId, Session>,
    /// The same, by the entry that used each last.
    by_last_use: BTreeMap<LogIndex, SessionId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    limits: Limits,
    last_use: LogIndex,
    /// No answer below is kept, and no write below is applied.
    lowest_awaited: u64,
    /// Encoded outputs. Every write at or above `lowest_awaited` that was applied is here.
    answers: BTreeMap<u64, Bytes>,
    answer_bytes: u64,
}

impl<S: StateMachine> Sessions<S> {
    /// Sessions around `machine`; none is open.
    pub fn new(machine: S) -> Sessions<S> {
        Sessions { machine, table: SessionTable::default() }
    }

    /// The state machine within.
    pub fn machine(&self) -> &S {
        &self.machine
    }

    /// The sessions.
    pub fn table(&self) -> &SessionTable {
        &self.table
    }

    fn apply_in_session(
        &mut self,
        id: LogId,
        session: SessionId,
        (sequence, lowest_awaited): (u64, u64),
        command: S::Command,
    ) -> Result<S::Output, SessionError> {
        // thesis §6.3: a client without a session is refused, for it may be one whose session has expired.
        let session = self.table.use_now(session, id.index).ok_or(SessionError::SessionExpired)?;
        session.acknowledge(lowest_awaited);
        if sequence < session.lowest_awaited {
            return Err(SessionError::Forgotten);
        }
        // thesis §6.3: what was applied before is answered without being applied again.
        if let Some(answer) = session.answers.get(&sequence) {
            return postcard::from_bytes(answer).map_err(|_| SessionError::Forgotten);
        }
        if !session.has_room_for(sequence) {
            return Err(SessionError::TooFarAhead);
        }
        let output = self.machine.apply(id, command);
        // An output that does not encode is a broken `Serialize`, the same on every node: its first answer is
        // still told, and a later one is not.
        let answer = postcard::to_allocvec(&output).unwrap_or_default();
        session.answer_bytes += answer.len() as u64;
        session.answers.insert(sequence, answer.into());
        Ok(output)
    }
}

impl SessionTable {
    /// How many sessions are open.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether this one is open.
    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// How many answers all sessions keep.
    pub fn answers(&self) -> usize {
        self.sessions.values().map(|session| session.answers.len()).sum()
    }

    /// Writes it down, with its length before it, so that more can follow: a snapshot holds it so.
    pub fn write_to(&self, writer: &mut dyn io::Write) -> io::Result<()> {
        let encoded = postcard::to_allocvec(self).map_err(io::Error::other)?;
        writer.write_all(&(encoded.len() as u64).to_le_bytes())?;
        writer.write_all(&encoded)
    }

    /// Reads back what [`SessionTable::write_to`] has written, and nothing behind it.
    ///
    /// # Errors
    ///
    /// Where the bytes end early, or are no table, or one whose numbers contradict each other.
    pub fn read_from(reader: &mut dyn io::Read) -> io::Result<SessionTable> {
        let mut length = [0; 8];
        reader.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        let mut encoded = Vec::new();
        // A length that is wrong reserves no memory.
        if io::Read::take(reader, length).read_to_end(&mut encoded)? as u64 != length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the table of sessions ends early"));
        }
        let wrong = |what: &str| {
            let words = format!("the table of sessions cannot be decoded: {what}");
            io::Error::new(io::ErrorKind::InvalidData, words)
        };
        let table: SessionTable =
            postcard::from_bytes(&encoded).map_err(|error| wrong(&error.to_string()))?;
        if table.agrees_with_itself() { Ok(table) } else { Err(wrong("its numbers contradict each other")) }
    }

    /// Whether what is kept twice, for speed, is twice the same: every later step relies on it.
    fn agrees_with_itself(&self) -> bool {
        let is_sound = |(id, session): (&SessionId, &Session)| {
            let answer_bytes: u64 = session.answers.values().map(|answer| answer.len() as u64).sum();
            self.by_last_use.get(&session.last_use) == Some(id)
                && answer_bytes == session.answer_bytes
                && session.answers.keys().all(|sequence| *sequence >= session.lowest_awaited)
        };
        self.sessions.len() == self.by_last_use.len() && self.sessions.iter().all(is_sound)
    }

    fn open(&mut self, at: LogIndex, limits: Limits) -> SessionId {
        let others_max = limits.sessions_max.max(1) - 1;
        // thesis §6.3: with a bound on the number, the one used longest ago goes, on every server the same.
        while self.sessions.len() as u64 > others_max {
            let Some((_, oldest)) = self.by_last_use.pop_first() else { break };
            self.sessions.remove(&oldest);
        }
        let id = SessionId(at.0);
        let session =
            Session { limits, last_use: at, lowest_awaited: 0, answers: BTreeMap::new(), answer_bytes: 0 };
        self.sessions.insert(id, session);
        self.by_last_use.insert(at, id);
        id
    }

    fn use_now(&mut self, id: SessionId, at: LogIndex) -> Option<&mut Session> {
        let session = self.sessions.get_mut(&id)?;
        self.by_last_use.remove(&session.last_use);
        self.by_last_use.insert(at, id);
        session.last_use = at;
        Some(session)
    }

    fn expire(&mut self, unused_since: LogIndex) -> u64 {
        let kept = self.by_last_use.split_off(&unused_since);
        let gone = std::mem::replace(&mut self.by_last_use, kept);
        for session in gone.values() {
            self.sessions.remove(session);
        }
        gone.len() as u64
    }
}

impl Session {
    /// Forgets the answers that the client no longer awaits.
    fn acknowledge(&mut self, lowest_awaited: u64) {
        if lowest_awaited <= self.lowest_awaited {
            return;
        }
        self.lowest_awaited = lowest_awaited;
        let kept = self.answers.split_off(&lowest_awaited);
        let gone = std::mem::replace(&mut self.answers, kept);
        self.answer_bytes -= gone.values().map(|answer| answer.len() as u64).sum::<u64>();
    }

    /// The lowest awaited write always has room, or a session could be stuck.
    fn has_room_for(&self, sequence: u64) -> bool {
        let ahead = sequence - self.lowest_awaited;
        let is_within = ahead < self.limits.answers_max && self.answer_bytes < self.limits.answer_bytes_max;
        ahead == 0 || is_within
    }
}

#[async_trait]
impl<S: StateMachine> StateMachine for Sessions<S> {
    type Command = SessionCommand<S::Command>;
    type Output = SessionOutput<S::Output>;

    /// What the session needs, by postcard, and behind it the command as the machine within encodes it.
    fn encode_command(command: &Self::Command) -> Result<Bytes, StateMachineError> {
        let (head, command) = command.parts();
        let command = command.map(S::encode_command).transpose()?.unwrap_or_default();
        encode(&head, &command)
    }

    fn decode_command(bytes: &Bytes) -> Result<Self::Command, StateMachineError> {
        let head = postcard::take_from_bytes::<SessionCommand<()>>(bytes);
        let (head, command) = head.map_err(|error| StateMachineError { source: error.into() })?;
        head.around(|| S::decode_command(&bytes.slice_ref(command)))
    }

    fn apply(&mut self, id: LogId, command: Self::Command) -> Self::Output {
        match command {
            SessionCommand::Plain(command) => SessionOutput::Output(self.machine.apply(id, command)),
            SessionCommand::Open(limits) => SessionOutput::Opened(self.table.open(id.index, limits)),
            SessionCommand::InSession { session, sequence, lowest_awaited, command } => {
                let numbers = (sequence, lowest_awaited);
                self.apply_in_session(id, session, numbers, command)
                    .map_or_else(SessionOutput::Refused, SessionOutput::Output)
            }
            SessionCommand::Expire { unused_since } => {
                SessionOutput::Expired(self.table.expire(unused_since))
            }
        }
    }

    async fn flush(&mut self, applied: LogId) -> Result<(), StateMachineError> {
        self.machine.flush(applied).await
    }

    /// The sessions and their answers, and behind them the machine within.
    fn snapshot(&self) -> Option<SnapshotView> {
        let machine = self.machine.snapshot()?;
        let is_left_out = is_on(Mutant::LeavesSessionsOutOfSnapshots);
        let table = if is_left_out { SessionTable::default() } else { self.table.clone() };
        Some(Box::new(move |writer| {
            table.write_to(writer)?;
            machine(writer)
        }))
    }

    fn restore(&mut self, reader: &mut dyn io::Read) -> Result<(), StateMachineError> {
        let table = SessionTable::read_from(reader);
        let table = table.map_err(|error| StateMachineError { source: error.into() })?;
        self.machine.restore(reader)?;
        if is_on(Mutant::RestoresSessionsOnTopOfOthers) {
            self.table.sessions.extend(table.sessions);
            self.table.by_last_use.extend(table.by_last_use);
            return Ok(());
        }
        self.table = table;
        Ok(())
    }
}
