//! One call's attempts: until it works, cannot work, or takes too long.

use std::{sync::Mutex, time::Duration};

use super::{
    Answer, ClientConfig, Doors, lock,
    session::{SessionCommand, SessionOutput},
};
use crate::{
    error::{ClientError, WriteError},
    runtime::{Backoff, Runtime, sleep, timeout},
    state_machine::StateMachine,
    types::{NodeId, Time},
};

/// See the module.
pub(super) struct Attempts<'a> {
    runtime: &'a dyn Runtime,
    deadline: Time,
    attempt_timeout: Duration,
    backoff: Backoff,
    /// Some attempt may have been applied.
    unknown: bool,
    /// Why the last attempt did nothing.
    last: WriteError,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(runtime: &'a dyn Runtime, config: &ClientConfig) -> Attempts<'a> {
        Attempts {
            runtime,
            deadline: runtime.now().after(config.deadline),
            attempt_timeout: config.attempt_timeout,
            backoff: Backoff::new(config.backoff_min, config.backoff_max),
            unknown: false,
            last: WriteError::NotLeader { leader: None },
        }
    }

    /// How long the next attempt may take; none where there is no time left.
    pub(super) fn time_for_one(&self) -> Option<Duration> {
        let left = self.deadline.since(self.runtime.now());
        (!left.is_zero()).then(|| left.min(self.attempt_timeout))
    }

    /// Tries once. `None` where it came to nothing and another attempt may be made; the wait is over then.
    pub(super) async fn make<S: StateMachine>(
        &mut self,
        doors: &Mutex<Doors<S>>,
        command: SessionCommand<S::Command>,
    ) -> Result<Option<SessionOutput<S::Output>>, ClientError> {
        let Some(time) = self.time_for_one() else { return Err(self.given_up()) };
        // Made before the wait: the lock is not held while an attempt is under way.
        let door = lock(doors).current();
        let Some(door) = door else { return Err(self.given_up()) };
        let answer: Option<Answer<S>> = timeout(self.runtime, time, door.write(command)).await;
        let leader = match answer {
            Some(Ok(output)) => return Ok(Some(output)),
            Some(Err(error)) => self.take(error)?,
            // It may have arrived; nobody will tell.
            None => {
                self.unknown = true;
                None
            }
        };
        lock(doors).turn_from(door.node(), leader);
        self.pause().await;
        Ok(None)
    }

    /// What an error means: the leader that it tells of, or the end of all attempts.
    fn take(&mut self, error: WriteError) -> Result<Option<NodeId>, ClientError> {
        match error {
            WriteError::Unknown => {
                self.unknown = true;
                Ok(None)
            }
            WriteError::TooLarge { .. } | WriteError::Malformed if !self.unknown => {
                Err(ClientError::Refused(error))
            }
            WriteError::NotLeader { leader } => {
                self.last = error;
                Ok(leader)
            }
            _ => {
                self.last = error;
                Ok(None)
            }
        }
    }

    /// The attempt was answered, by a refusal for now.
    pub(super) async fn nothing_done(&mut self) {
        self.last = WriteError::Overloaded;
        self.pause().await;
    }

    /// Waits before the next attempt, not beyond the deadline.
    pub(super) async fn pause(&mut self) {
        let left = self.deadline.since(self.runtime.now());
        sleep(self.runtime, self.backoff.next(self.runtime.random()).min(left)).await;
    }

    /// The deadline has come.
    pub(super) fn given_up(&self) -> ClientError {
        if self.unknown { ClientError::Unknown } else { ClientError::GaveUp { last: self.last.clone() } }
    }

    /// The session is gone, and with it the knowledge of what earlier attempts did.
    pub(super) fn expired(&self) -> ClientError {
        if self.unknown { ClientError::Unknown } else { ClientError::SessionExpired }
    }
}
