//! A client for applications: it finds the leader, tries again, and has each write applied once.
//!
//! [`Client::open`] opens a [session] on a cluster whose state machine is wrapped in
//! [`Sessions`]. From then on every write has a number of its own, so it may be sent again when nobody knows
//! what became of it: through another node, after an election, after a restart. Many writes may be under way
//! in one session. The client gives up at its deadline, and says then whether anything may have been done.
//!
//! A client reaches nodes through [`Door`]s. The handle of a [`Node`] in the same process is one; whatever
//! carries encoded commands to another process can be one as well.
//!
//! A write that a client has given up on (or whose future was dropped) is no longer awaited. Once the
//! client's next write is applied, one that is given up and still on its way is refused when it arrives.

mod attempts;
mod places;
pub mod session;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use self::{
    attempts::Attempts,
    places::{Place, Places},
    session::{Limits, SessionCommand, SessionId, SessionOutput, Sessions},
};
use crate::{
    error::{ClientError, ReadError, SessionError, WriteError},
    node::Node,
    runtime::{Runtime, SharedRuntime, timeout},
    state_machine::StateMachine,
    types::NodeId,
};

/// What a [`Door`] answers to a write.
pub type Answer<S> = Result<SessionOutput<<S as StateMachine>::Output>, WriteError>;

/// A way to one node of a cluster.
///
/// # Contract
///
/// * An error other than [`WriteError::Unknown`] is only given where nothing was done, nor ever will be.
#[async_trait]
pub trait Door<S: StateMachine>: Send + Sync + 'static {
    /// The node behind it.
    fn node(&self) -> NodeId;

    /// Has a command committed and applied.
    async fn write(&self, command: SessionCommand<S::Command>) -> Answer<S>;
}

#[async_trait]
impl<S: StateMachine> Door<S> for Node<Sessions<S>> {
    fn node(&self) -> NodeId {
        self.id()
    }

    async fn write(&self, command: SessionCommand<S::Command>) -> Answer<S> {
        Node::write(self, command).await
    }
}

/// How a client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientConfig {
    /// How long one call may take, all attempts together. Default 10 s.
    pub deadline: Duration,
    /// How long one attempt may take before another node is tried. Default 2 s.
    pub attempt_timeout: Duration,
    /// The shortest wait between two attempts. Default 5 ms.
    pub backoff_min: Duration,
    /// The longest. Default 500 ms.
    pub backoff_max: Duration,
    /// What the session may take up.
    pub limits: Limits,
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            deadline: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(2),
            backoff_min: Duration::from_millis(5),
            backoff_max: Duration::from_millis(500),
            limits: Limits::default(),
        }
    }
}

impl ClientConfig {
    /// Sets [`ClientConfig::deadline`].
    pub fn with_deadline(mut self, deadline: Duration) -> ClientConfig {
        self.deadline = deadline;
        self
    }

    /// Sets [`ClientConfig::attempt_timeout`].
    pub fn with_attempt_timeout(mut self, attempt_timeout: Duration) -> ClientConfig {
        self.attempt_timeout = attempt_timeout;
        self
    }

    /// Sets [`ClientConfig::limits`].
    pub fn with_limits(mut self, limits: Limits) -> ClientConfig {
        self.limits = limits;
        self
    }
}

/// An open session. Clones share it, and may write at the same time.
pub struct Client<S: StateMachine>(Arc<Shared<S>>);

/// What all clones share.
struct Shared<S: StateMachine> {
    session: SessionId,
    config: ClientConfig,
    runtime: SharedRuntime,
    doors: Mutex<Doors<S>>,
    places: Places,
}

/// The ways into the cluster.
struct Doors<S: StateMachine> {
    all: Vec<Arc<dyn Door<S>>>,
    /// The one to try first: the last that has answered, or that was said to lead.
    next: usize,
}

impl<S: StateMachine> Doors<S> {
    fn new(all: Vec<Arc<dyn Door<S>>>) -> Doors<S> {
        Doors { all, next: 0 }
    }

    fn current(&self) -> Option<Arc<dyn Door<S>>> {
        self.all.get(self.next % self.all.len().max(1)).cloned()
    }

    /// An attempt through `door` has come to nothing: tries the leader that it told of, or the next one.
    fn turn_from(&mut self, door: NodeId, leader: Option<NodeId>) {
        let at = |node: NodeId| self.all.iter().position(|door| door.node() == node);
        let told = leader.filter(|leader| *leader != door).and_then(at);
        // Another write may have turned away already.
        let is_current = at(door).is_some_and(|at| at == self.next);
        if let Some(leader) = told {
            self.next = leader;
        } else if is_current {
            self.next = (self.next + 1) % self.all.len();
        }
    }
}

impl<S: StateMachine> Client<S> {
    /// Opens a session on the cluster of these nodes, which are in this process.
    pub async fn open(
        runtime: impl Runtime,
        nodes: impl IntoIterator<Item = Node<Sessions<S>>>,
        config: ClientConfig,
    ) -> Result<Client<S>, ClientError>
    where
        S::Command: Clone,
    {
        let doors = nodes.into_iter().map(|node| Arc::new(node) as Arc<dyn Door<S>>);
        Client::open_through(Arc::new(runtime), doors.collect(), config).await
    }

    /// Opens a session on the cluster behind these doors.
    pub async fn open_through(
        runtime: SharedRuntime,
        doors: Vec<Arc<dyn Door<S>>>,
        config: ClientConfig,
    ) -> Result<Client<S>, ClientError>
    where
        S::Command: Clone,
    {
        let doors = Mutex::new(Doors::new(doors));
        let mut attempts = Attempts::new(&*runtime, &config);
        loop {
            // A session that is opened by an attempt of unknown outcome is never used, and ends as such do.
            let command = SessionCommand::Open(config.limits);
            if let Some(SessionOutput::Opened(session)) = attempts.make(&doors, command).await? {
                let places = Places::new(config.limits.answers_max);
                return Ok(Client(Arc::new(Shared { session, config, runtime, doors, places })));
            }
        }
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.0.session
    }

    /// Replaces the ways into the cluster: after a restart of nodes in the same process, for example.
    pub fn replace_doors(&self, doors: Vec<Arc<dyn Door<S>>>) {
        *lock(&self.0.doors) = Doors::new(doors);
    }

    /// Has `command` applied exactly once, and gives its output. Waits for a place where as many writes are
    /// under way as the session's limits allow.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unknown`] where the outcome is unknown at the deadline; any other error says that
    /// nothing was done.
    pub async fn write(&self, command: S::Command) -> Result<S::Output, ClientError>
    where
        S::Command: Clone,
    {
        let Shared { session, config, runtime, doors, places } = &*self.0;
        let mut attempts = Attempts::new(&**runtime, config);
        let Some(place) = timeout(runtime, config.deadline, places.take()).await else {
            return Err(attempts.given_up());
        };
        loop {
            let in_session = numbered(*session, &place, command.clone());
            match attempts.make(doors, in_session).await? {
                Some(SessionOutput::Output(output)) => return Ok(output),
                Some(SessionOutput::Refused(SessionError::TooFarAhead)) => attempts.nothing_done().await,
                Some(SessionOutput::Refused(_)) => return Err(attempts.expired()),
                // Of another kind of command; a door that answers so keeps no contract.
                Some(_) => return Err(ClientError::Unknown),
                None => {}
            }
        }
    }
}

fn numbered<C>(session: SessionId, place: &Place, command: C) -> SessionCommand<C> {
    let (sequence, lowest_awaited) = (place.sequence(), place.lowest_awaited());
    SessionCommand::InSession { session, sequence, lowest_awaited, command }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under our locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: StateMachine> Clone for Client<S> {
    fn clone(&self) -> Client<S> {
        Client(self.0.clone())
    }
}

impl<S: StateMachine> fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client(session {})", self.0.session)
    }
}

/// Looks at the state through any of `nodes` that can confirm it is up to date, until the deadline.
pub async fn read<S: StateMachine, R: Send + 'static>(
    runtime: &dyn Runtime,
    nodes: &[Node<S>],
    config: &ClientConfig,
    look: impl FnOnce(&S) -> R + Clone + Send + 'static,
) -> Result<R, ClientError> {
    let mut attempts = Attempts::new(runtime, config);
    let mut last = ReadError::NotLeader { leader: None };
    for node in nodes.iter().cycle() {
        let Some(time) = attempts.time_for_one() else { break };
        match timeout(runtime, time, node.read(look.clone())).await {
            Some(Ok(seen)) => return Ok(seen),
            Some(Err(error)) => last = error,
            None => last = ReadError::TimedOut,
        }
        attempts.pause().await;
    }
    Err(ClientError::Read(last))
}
