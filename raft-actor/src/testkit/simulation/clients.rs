//! Clients: each does one thing after the other, through whichever node is there, and remembers what it was
//! told.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    chance::Chance,
    coverage,
    workload::{Call, Command, Operation, Outcome, Workload},
    world::{PATIENCE, World},
};
use crate::{
    client::{
        Answer, Client, ClientConfig, Door,
        session::{SessionCommand, SessionId, SessionOutput},
    },
    error::{ClientError, WriteError},
    runtime::timeout,
    types::{LogId, LogIndex, NodeId},
};

/// A call, and what the simulation knows of it that the client does not.
pub(super) struct Deed<W: Workload> {
    pub(super) call: Call<W>,
    /// So much was known to be committed when it began, and when it ended.
    pub(super) committed: (LogIndex, LogIndex),
    pub(super) proof: Proof,
}

/// Where an operation stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A write outside of sessions, at this place where it is known.
    Plain(Option<LogId>),
    /// A write of this sequence in this session, where it was ever sent.
    InSession(Option<(SessionId, u64)>),
    /// A read has seen all commands up to this one, and none after it.
    Read(LogIndex),
}

/// What all clients have done, in the order in which it ended.
pub(super) type Deeds<W> = Arc<Mutex<Vec<Deed<W>>>>;

/// A way to the node on one machine. Notes what passes: a session's client writes one at a time.
struct Way<W: Workload> {
    world: Arc<World<W>>,
    place: usize,
    sent: Arc<Mutex<Option<(SessionId, u64)>>>,
}

#[async_trait]
impl<W: Workload> Door<W::Machine> for Way<W> {
    fn node(&self) -> NodeId {
        self.world.with(self.place, |slot| slot.id).unwrap_or_default()
    }

    async fn write(&self, command: SessionCommand<Command<W>>) -> Answer<W::Machine> {
        if let SessionCommand::InSession { session, sequence, .. } = &command {
            *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = Some((*session, *sequence));
        }
        let node = self.world.with(self.place, |slot| slot.node.clone());
        node.ok_or(WriteError::Stopped)?.write(command).await
    }
}

/// One client.
pub(super) struct Visitor<W: Workload> {
    number: u64,
    world: Arc<World<W>>,
    deeds: Deeds<W>,
    chance: Chance,
    /// Those that write in sessions have one once it is open.
    session: Option<Client<W::Machine>>,
    sent: Arc<Mutex<Option<(SessionId, u64)>>>,
}

impl<W: Workload> Visitor<W> {
    pub(super) fn new(number: u64, world: &Arc<World<W>>, deeds: &Deeds<W>) -> Visitor<W> {
        Visitor {
            number,
            world: world.clone(),
            deeds: deeds.clone(),
            chance: Chance::stream(world.seed, "client", number),
            session: None,
            sent: Arc::default(),
        }
    }

    /// Goes on until the run ends.
    pub(super) async fn live(mut self) {
        let pause = self.world.simulation.pause;
        if self.number % 2 == 1 {
            self.open_session().await;
        }
        let mut number = 0;
        while !self.world.is_ending.load(Ordering::Relaxed) {
            // Mostly one after the other, at times many in a row.
            let wait = if self.chance.once_in(3) { pause / 50 } else { pause * 3 };
            let wait = self.chance.between(Duration::ZERO, wait);
            self.world.sleep(wait).await;
            let world = self.world.clone();
            let operation = world.simulation.workload.next(self.number, number, &mut self.chance);
            number += 1;
            self.carry_out(operation).await;
        }
        self.world.clients.fetch_sub(1, Ordering::Relaxed);
    }

    async fn open_session(&mut self) {
        let places = 0..self.world.slots().len();
        let ways = places.map(|place| {
            let way = Way { world: self.world.clone(), place, sent: self.sent.clone() };
            Arc::new(way) as Arc<dyn Door<W::Machine>>
        });
        let ways: Vec<_> = ways.collect();
        while self.session.is_none() && !self.world.is_ending.load(Ordering::Relaxed) {
            let config = ClientConfig::default().with_deadline(Duration::from_secs(20));
            let opened = Client::open_through(self.world.hall.clone(), ways.clone(), config).await;
            self.session = opened.ok();
        }
    }

    async fn carry_out(&mut self, operation: Operation<Command<W>, W::Query>) {
        let (began, before) = (self.world.hall.now(), self.world.watch.committed());
        let told = match &operation {
            Operation::Read(query) => self.read(query.clone()).await,
            Operation::Write(command) => match self.session.clone() {
                Some(session) => self.write_in_session(&session, command.clone()).await,
                None => self.write(command.clone()).await,
            },
        };
        let Some((outcome, proof)) = told else { return };
        let watch = &self.world.watch;
        let is_read = matches!(operation, Operation::Read(_));
        watch.note(match (&outcome, is_read) {
            (Outcome::Written(_), _) => coverage::ACKNOWLEDGED,
            (Outcome::Seen(_), _) => coverage::READS,
            (Outcome::Unknown, _) => coverage::UNKNOWN,
            (Outcome::Refused, true) => coverage::READS_REFUSED,
            (Outcome::Refused, false) => coverage::REFUSED,
        });
        if matches!((&outcome, proof), (Outcome::Written(_), Proof::InSession(_))) {
            watch.note(coverage::IN_SESSIONS);
        }
        let ended = self.world.hall.now();
        watch.mix(ended.0 ^ self.number << 56);
        let call = Call { client: self.number, began, ended, operation, outcome };
        let deed = Deed { call, committed: (before, watch.committed()), proof };
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner).push(deed);
    }

    async fn write(&mut self, command: Command<W>) -> Option<(OutcomeOf<W>, Proof)> {
        let node = self.world.any_running(self.chance.number())?;
        let command = SessionCommand::Plain(command);
        let told = timeout(&*self.world.hall, PATIENCE, node.write_at(command)).await;
        let mut place = None;
        let outcome = match told {
            Some(Ok((at, SessionOutput::Output(output)))) => {
                place = Some(at);
                Outcome::Written(output)
            }
            Some(Err(WriteError::Unknown)) => Outcome::Unknown,
            Some(Err(_)) => Outcome::Refused,
            Some(Ok(_)) => {
                let what = format!("a plain write on node {} is answered as another kind", node.id());
                self.world.watch.fail(super::ANSWERS, what);
                return None;
            }
            None => {
                self.world.watch.fail(super::ANSWERS, format!("a write on node {} hangs", node.id()));
                return None;
            }
        };
        Some((outcome, Proof::Plain(place)))
    }

    async fn write_in_session(
        &mut self,
        session: &Client<W::Machine>,
        command: Command<W>,
    ) -> Option<(OutcomeOf<W>, Proof)> {
        self.lock_sent().take();
        let outcome = match session.write(command).await {
            Ok(output) => Outcome::Written(output),
            Err(ClientError::Unknown) => Outcome::Unknown,
            Err(ClientError::SessionExpired) => {
                let what = format!("session {} is gone, and nobody has ended it", session.session());
                self.world.watch.fail(super::EXACTLY_ONCE, what);
                return None;
            }
            Err(_) => Outcome::Refused,
        };
        let sent = self.lock_sent().take();
        Some((outcome, Proof::InSession(sent)))
    }

    fn lock_sent(&self) -> std::sync::MutexGuard<'_, Option<(SessionId, u64)>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&mut self, query: W::Query) -> Option<(OutcomeOf<W>, Proof)> {
        let node = self.world.any_running(self.chance.number())?;
        let look = move |witness: &super::witness::Witness<W>| {
            let (applied, machine) = witness.state();
            (applied, W::look(machine, &query))
        };
        let hall = self.world.hall.clone();
        let told = if self.chance.once_in(3) {
            timeout(&*hall, PATIENCE, node.read_lease(look)).await
        } else {
            timeout(&*hall, PATIENCE, node.read(look)).await
        };
        match told {
            Some(Ok((applied, answer))) => Some((Outcome::Seen(answer), Proof::Read(applied))),
            Some(Err(_)) => Some((Outcome::Refused, Proof::Read(LogIndex(0)))),
            None => {
                self.world.watch.fail(super::ANSWERS, format!("a read on node {} hangs", node.id()));
                None
            }
        }
    }
}

type OutcomeOf<W> = Outcome<super::workload::Output<W>, <W as Workload>::Answer>;
