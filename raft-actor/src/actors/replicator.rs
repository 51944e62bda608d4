//! A replicator: keeps the link to one peer, and sends what the core wants sent. It waits for the network so
//! that nobody else has to, and tells the consensus actor when the link breaks. What cannot be sent is
//! dropped: the protocol repairs it.

use std::{
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use super::consensus;
use crate::{
    message::{Envelope, Message},
    runtime::{
        Timer,
        actor::{Actor, Context},
        backoff::Backoff,
        mailbox::Addr,
    },
    state_machine::StateMachine,
    transport::{PeerLink, Transport, TransportError},
    types::{GroupId, NodeId, Origin, Time},
};

/// The shortest wait before a broken link is tried again. A process that dies closes its links a moment
/// before it stops listening: whoever comes back in between is cut off once more, and only the next attempt
/// finds that nobody is there.
const RECONNECT_MIN: Duration = Duration::from_millis(2);

/// The longest such wait. A fraction of an election timeout, so that a network that was away for a moment
/// does not cost an election; far above a flood.
const RECONNECT_MAX: Duration = Duration::from_millis(100);

/// A replicator's mail.
pub(crate) enum Mail {
    /// Send this to the peer.
    Send(Message),
    /// The peer is reached at another address from now on.
    Move(String),
    /// From now on this node speaks as this.
    Identify(Origin),
    /// The node is ending.
    Stop,
}

/// Where a link goes.
pub(crate) struct Route {
    pub(crate) group: GroupId,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) address: String,
    pub(crate) origin: Origin,
}

/// See the module.
pub(crate) struct Replicator<S: StateMachine> {
    route: Route,
    transport: Arc<dyn Transport>,
    consensus: Addr<consensus::Mail<S>>,
    link: Option<Box<dyn PeerLink>>,
    backoff: Backoff,
    /// Before this time no connection is tried.
    retry_at: Time,
    /// Whether the last thing that people were told is that the peer cannot be reached.
    told_unreachable: bool,
    outbox: Vec<Envelope>,
    /// The peer has closed the link.
    closed: Option<TransportError>,
    /// Until a link that is not there is tried again.
    pause: Box<dyn Timer>,
    opened_at: Time,
}

impl<S: StateMachine> Replicator<S> {
    pub(crate) fn new(
        route: Route,
        transport: Arc<dyn Transport>,
        consensus: Addr<consensus::Mail<S>>,
        pause: Box<dyn Timer>,
    ) -> Replicator<S> {
        Replicator {
            route,
            transport,
            consensus,
            link: None,
            backoff: Backoff::new(RECONNECT_MIN, RECONNECT_MAX),
            retry_at: Time(0),
            told_unreachable: false,
            outbox: Vec::new(),
            closed: None,
            pause,
            opened_at: Time(0),
        }
    }

    async fn send(&mut self, context: &Context<Mail>) {
        if self.link.is_none() && (context.now() < self.retry_at || !self.connect(context).await) {
            return self.drop_unsent();
        }
        let Some(link) = &mut self.link else { return };
        if let Err(error) = link.send(&mut self.outbox).await {
            // Part of it may have arrived: what was carried for clients has an unknown outcome from here on.
            self.outbox.clear();
            self.lost(&error, context).await;
        }
    }

    async fn connect(&mut self, context: &Context<Mail>) -> bool {
        match self.transport.connect(self.route.to, &self.route.address).await {
            Ok(link) => {
                let Route { from, to, address, .. } = &self.route;
                tracing::info!(node = %from, peer = %to, %address, "link is up");
                self.link = Some(link);
                self.opened_at = context.now();
                self.backoff.reset();
                self.told_unreachable = false;
                self.consensus.send(consensus::Mail::Reachable { peer: *to });
                true
            }
            Err(error) => {
                // Told before the link is: what was not sent is not among what the link has lost.
                self.drop_unsent();
                if matches!(error, TransportError::NotThere { .. }) {
                    self.consensus.send(consensus::Mail::Gone { peer: self.route.to });
                }
                self.broken(&error, context);
                false
            }
        }
    }

    /// The link is lost. Whether the peer's process is still there is found out at once: what waits for a
    /// leader should not wait for one that has died. A link that did not hold is not opened again so fast.
    async fn lost(&mut self, error: &TransportError, context: &Context<Mail>) {
        self.broken(error, context);
        if context.now().since(self.opened_at) >= RECONNECT_MAX {
            self.connect(context).await;
        }
    }

    /// There is no link. It is tried again when there is mail, and without any too: what a leader said last
    /// may reach the core after the first word of its end. People are told once, not at each attempt.
    fn broken(&mut self, error: &TransportError, context: &Context<Mail>) {
        self.link = None;
        self.retry_at = context.now().after(self.backoff.next(context.runtime().random()));
        self.pause.reset(self.retry_at);
        if !std::mem::replace(&mut self.told_unreachable, true) {
            let Route { from, to, .. } = &self.route;
            tracing::warn!(node = %from, peer = %to, %error, "link is down; trying again until it is up");
        }
        self.consensus.send(consensus::Mail::Unreachable { peer: self.route.to });
    }

    /// Drops what never left. Writes of clients among it were certainly not done, and may be carried anew.
    fn drop_unsent(&mut self) {
        for envelope in self.outbox.drain(..) {
            if let Message::ForwardWrites(forward) = envelope.message {
                self.consensus.send(consensus::Mail::ForwardNotSent { id: forward.id });
            }
        }
    }
}

impl<S: StateMachine> Actor for Replicator<S> {
    type Message = Mail;

    async fn handle(&mut self, batch: &mut Vec<Mail>, context: &mut Context<Mail>) {
        let Route { group, from, to, .. } = self.route;
        for mail in batch.drain(..) {
            match mail {
                Mail::Send(message) => {
                    let origin = self.route.origin;
                    self.outbox.push(Envelope { group, from, to, origin, message });
                }
                Mail::Identify(origin) => self.route.origin = origin,
                Mail::Move(address) => {
                    self.route.address = address;
                    (self.link, self.closed) = (None, None);
                    self.backoff.reset();
                    self.retry_at = Time(0);
                }
                // What came before it is still sent: answers to other nodes' clients are among it.
                Mail::Stop => context.stop(),
            }
        }
        if !self.outbox.is_empty() {
            self.send(context).await;
        }
        if context.is_stopping() {
            return;
        }
        if let Some(error) = self.closed.take().filter(|_| self.link.is_some()) {
            self.lost(&error, context).await;
        } else if self.link.is_none() && self.retry_at > Time(0) && context.now() >= self.retry_at {
            self.connect(context).await;
        }
    }

    fn poll_event(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        match &mut self.link {
            Some(link) => link.poll_closed(task).map(|error| self.closed = Some(error)),
            None => self.pause.poll(task),
        }
    }
}
