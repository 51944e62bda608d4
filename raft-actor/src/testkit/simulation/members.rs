//! The operator's work on the members: joining, leaving, and the replacement of what is lost.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    acts::Taken,
    coverage,
    faults::Fault,
    workload::Workload,
    world::{PATIENCE, SimulatedNode, World},
};
use crate::{
    membership::ChangeError,
    runtime::timeout,
    status::Status,
    testkit::network::Network,
    types::{LogId, Role},
};

/// The members are between these, as long as nothing is lost.
const VOTERS_MIN: usize = 3;

/// How long one try of an operator takes.
const TRY: Duration = Duration::from_secs(10);

/// How long a change that was given up may still be on its way: longer than a node's `request_timeout` by a
/// slow clock, and any pause.
const UNSURE: Duration = Duration::from_secs(30);

/// Nobody else changes members on purpose while this lives.
pub(super) struct Changing<W: Workload>(Arc<World<W>>);

impl<W: Workload> Drop for Changing<W> {
    fn drop(&mut self) {
        self.0.is_changing.store(false, Ordering::Relaxed);
    }
}

impl<W: Workload> World<W> {
    pub(super) fn change_members(self: &Arc<Self>) -> Option<Changing<W>> {
        let was_changing = self.is_changing.swap(true, Ordering::Relaxed);
        (!was_changing).then(|| Changing(self.clone()))
    }

    /// What a leader says that leads indeed, with members that are committed; none, too, where a change that
    /// an operator has given up may still be made.
    async fn settled_leader(&self) -> Option<Status> {
        if self.hall.now().0 < self.unsure_until.load(Ordering::Relaxed) {
            return None;
        }
        let before = self.leader().await?;
        let place = *self.ids().get(&before.id)?;
        let node = self.with(place, |slot| slot.node.clone())?;
        timeout(&*self.hall, TRY, node.read(|_| ())).await?.ok()?;
        let leader = timeout(&*self.hall, TRY, node.status()).await?;
        let is_settled = leader.role == Role::Leader
            && !leader.membership.is_joint()
            && leader.membership_log_id.index <= leader.commit_index;
        is_settled.then_some(leader)
    }

    /// Whether a disk can be lost and all that was committed is still on a quorum of the others.
    pub(super) async fn can_lose_one(&self) -> bool {
        let leader = self.settled_leader().await;
        leader.is_some_and(|leader| leader.membership.voters().len() >= VOTERS_MIN)
    }

    /// Tries through one node after the other until it is done.
    async fn surely<F>(self: &Arc<Self>, what: &str, attempt: impl Fn(SimulatedNode<W>) -> F)
    where
        F: Future<Output = Result<LogId, ChangeError>>,
    {
        let mut last = None;
        for number in 0..1000 {
            if let Some(node) = self.any_running(number) {
                match timeout(&*self.hall, TRY, attempt(node)).await {
                    // An earlier try was made after all, and only its answer was lost.
                    Some(Ok(_) | Err(ChangeError::Invalid(_))) => return,
                    told => last = Some(told),
                }
            }
            self.sleep(Duration::from_millis(200)).await;
        }
        let what = format!("{what} does not succeed, but: {last:?}{}", self.states().await);
        self.watch.fail(super::CONVERGES, what);
    }

    /// What all nodes say of themselves.
    async fn states(&self) -> String {
        let mut states = String::new();
        for (id, place) in self.ids() {
            let node = self.with(place, |slot| slot.node.clone());
            let status = match node {
                Some(node) => timeout(&*self.hall, TRY, node.status()).await,
                None => None,
            };
            states += &match status {
                None => format!("\n  node {id} does not run"),
                Some(status) => format!(
                    "\n  node {id}: {} of term {}, leader {:?}, log {} to {}, commit {}, voters {:?}, \
                     outgoing {:?}, learners {:?}",
                    status.role,
                    status.term,
                    status.leader,
                    status.first_index,
                    status.last_log_id,
                    status.commit_index,
                    status.membership.voters(),
                    status.membership.outgoing(),
                    status.membership.learners(),
                ),
            };
        }
        states
    }

    pub(super) async fn act_on_members(self: &Arc<Self>, fault: Fault) -> Option<()> {
        let changing = self.change_members()?;
        match fault {
            Fault::LostDisk { who, same_id } => {
                if !self.can_lose_one().await {
                    return None;
                }
                let taken = self.take(who)?;
                self.crash(taken.place, 0);
                self.replace(&taken, same_id, false).await;
            }
            Fault::Join => self.join().await?,
            Fault::Leave { who } => self.leave(who).await?,
            Fault::Priority { who, priority } => {
                let id = self.somebody(who)?;
                let node = self.any_running(who / 7)?;
                self.briefly(node.set_priority(id, priority)).await?;
                self.watch.note(coverage::PRIORITIES);
            }
            Fault::Demote { who, lasts } => {
                let leader = self.settled_leader().await?;
                let id = self.somebody(who)?;
                if leader.membership.voters().len() <= VOTERS_MIN || !leader.membership.is_voter(id) {
                    return None;
                }
                let change = crate::membership::MembershipChange::new().demote(id);
                let node = self.any_running(who)?;
                self.briefly(node.change_membership(change)).await?;
                self.sleep(lasts).await;
                let node = self.any_running(who / 7)?;
                self.briefly(node.promote_when_ready(id)).await?;
            }
            _ => {}
        }
        drop(changing);
        Some(())
    }

    /// A try that does not take for ever.
    async fn briefly<T>(&self, attempt: impl Future<Output = Result<T, ChangeError>>) -> Option<T> {
        let outcome = timeout(&*self.hall, TRY, attempt).await;
        if matches!(outcome, None | Some(Err(ChangeError::Unknown))) {
            self.unsure_until.store(self.hall.now().after(UNSURE).0, Ordering::Relaxed);
        }
        outcome?.ok()
    }

    async fn join(self: &Arc<Self>) -> Option<()> {
        let place = {
            let mut slots = self.slots();
            let place = slots.iter().position(|slot| slot.id.is_none() && !slot.is_taken)?;
            slots[place].is_taken = true;
            slots[place].id = Some(self.new_id());
            place
        };
        let taken = Taken { world: self.clone(), place };
        let id = self.with(place, |slot| slot.id)?;
        self.boot_surely(place).await;
        drop(taken);
        let node = self.any_running(id.0)?;
        self.briefly(node.add_voter(id, Network::address(id))).await.map(|_| ())
    }

    async fn leave(self: &Arc<Self>, who: u64) -> Option<()> {
        let leader = self.settled_leader().await?;
        let id = self.somebody(who)?;
        let is_voter = leader.membership.is_voter(id);
        if is_voter && leader.membership.voters().len() <= VOTERS_MIN {
            return None;
        }
        let node = self.any_running(who)?;
        self.briefly(node.remove(id)).await?;
        // Its process is ended, and its disk given to others, once nobody can count on it any more.
        self.sleep(Duration::from_secs(1)).await;
        let place = *self.ids().get(&id)?;
        let is_free = self.with(place, |slot| !std::mem::replace(&mut slot.is_taken, true));
        if !is_free {
            return None;
        }
        let taken = Taken { world: self.clone(), place };
        self.shut_down(place).await;
        let disk = self.new_disk();
        self.with(taken.place, |slot| (slot.id, slot.disk) = (None, disk));
        Some(())
    }

    /// The disk is lost, and the operator knows it: its node is removed, and one is added that is new. Where
    /// the old one still runs, it is ended once it is removed.
    pub(super) async fn replace(self: &Arc<Self>, taken: &Taken<W>, same_id: bool, is_running: bool) {
        let place = taken.place;
        let Some(old) = self.with(place, |slot| slot.id) else { return };
        self.surely("a removal", |node| async move { node.remove(old).await }).await;
        if is_running {
            self.crash(place, 0);
        }
        let new = if same_id { old } else { self.new_id() };
        if same_id {
            self.watch.forget(old);
        }
        let disk = self.new_disk();
        self.with(place, |slot| {
            (slot.id, slot.disk, slot.may_refuse) = (Some(new), disk, false);
        });
        self.boot_surely(place).await;
        self.surely("an addition", |node| async move { node.add_voter(new, Network::address(new)).await })
            .await;
    }

    /// Whether a node that was repaired gets back what it has lost, and votes again.
    pub(super) async fn is_unfenced(&self, place: usize) -> bool {
        let lifted = async {
            loop {
                let node = self.with(place, |slot| slot.node.clone());
                let Some(node) = node else { return false };
                match timeout(&*self.hall, TRY, node.status()).await {
                    Some(status) if status.failure.is_some() => return false,
                    Some(status) if status.fence.is_none() => return true,
                    _ => self.sleep(Duration::from_millis(200)).await,
                }
            }
        };
        timeout(&*self.hall, PATIENCE, lifted).await.unwrap_or(false)
    }

    /// Everything is mended: who belongs to the cluster runs, and knows all. Within a bound.
    pub(super) async fn converge(self: &Arc<Self>) {
        let converged = async {
            loop {
                if self.is_converged().await {
                    return;
                }
                self.sleep(Duration::from_millis(500)).await;
            }
        };
        if timeout(&*self.hall, PATIENCE, converged).await.is_none() {
            let what = format!("not in {PATIENCE:?} without faults: {}", self.states().await);
            self.watch.fail(super::CONVERGES, what);
        }
    }

    async fn is_converged(&self) -> bool {
        let Some(leader) = self.settled_leader().await else { return false };
        let ids = self.ids();
        for member in leader.membership.nodes() {
            let node = ids.get(&member).and_then(|place| self.with(*place, |slot| slot.node.clone()));
            let Some(node) = node else { return false };
            let Some(status) = timeout(&*self.hall, TRY, node.status()).await else { return false };
            if status.leader != Some(leader.id) || status.applied_index < leader.commit_index {
                return false;
            }
            // It serves: a linearizable read through this very node.
            if !matches!(timeout(&*self.hall, TRY, node.read(|_| ())).await, Some(Ok(()))) {
                return false;
            }
        }
        true
    }
}
