//! Carrying out what was planned.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    coverage,
    disk::Trouble,
    faults::{Fault, Planned, Who},
    told::crashed_together,
    workload::Workload,
    world::{PATIENCE, SimulatedNode, World},
};
use crate::{
    runtime::{Runtime, timeout},
    types::NodeId,
};

/// Nobody else is at work on a machine while this lives.
pub(super) struct Taken<W: Workload> {
    pub(super) world: Arc<World<W>>,
    pub(super) place: usize,
}

impl<W: Workload> Drop for Taken<W> {
    fn drop(&mut self) {
        self.world.with(self.place, |slot| slot.is_taken = false);
    }
}

impl<W: Workload> World<W> {
    /// Takes the machine of a node that runs.
    pub(super) fn take(self: &Arc<Self>, who: Who) -> Option<Taken<W>> {
        let mut slots = self.slots();
        let free: Vec<usize> = (0..slots.len())
            .filter(|place| slots[*place].node.is_some() && !slots[*place].is_taken)
            .collect();
        let place = *free.get((who % free.len().max(1) as u64) as usize)?;
        slots[place].is_taken = true;
        self.watch.means(who, slots[place].id);
        Some(Taken { world: self.clone(), place })
    }

    /// The id of a node that runs.
    pub(super) fn somebody(&self, who: Who) -> Option<NodeId> {
        self.meant(who).map(|node| node.id())
    }

    /// A node that runs, as part of a fault.
    pub(super) fn meant(&self, who: Who) -> Option<SimulatedNode<W>> {
        let node = self.any_running(who)?;
        self.watch.means(who, Some(node.id()));
        Some(node)
    }

    /// Carries out a fault, and ends it. What cannot be done now is skipped.
    pub(super) async fn carry_out(self: Arc<Self>, planned: Planned) {
        let name = match self.act(planned.fault).await {
            Some(()) => planned.kind.name(),
            None => coverage::SKIPPED,
        };
        self.watch.note(name);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    async fn act(self: &Arc<Self>, fault: Fault) -> Option<()> {
        match fault {
            Fault::Crash { who, torn, down, again_after } => {
                self.crash_one(who, torn, down, again_after).await
            }
            Fault::CrashMany { count, torn, down } => self.crash_many(count, torn, down).await,
            Fault::Restart { who, down } => {
                let taken = self.take(who)?;
                self.shut_down(taken.place).await;
                self.sleep(down).await;
                self.boot_surely(taken.place).await;
                Some(())
            }
            Fault::Pause { who, lasts } => {
                let taken = self.take(who)?;
                let machine = self.with(taken.place, |slot| slot.machine.clone());
                machine.pause();
                self.sleep(lasts).await;
                machine.resume();
                Some(())
            }
            Fault::Clock { who, rate_percent, jump, lasts } => {
                let taken = self.take(who)?;
                let machine = self.with(taken.place, |slot| slot.machine.clone());
                let (rate_percent, jump) = self.bounded(rate_percent, jump);
                machine.set_clock(rate_percent, jump);
                self.sleep(lasts).await;
                machine.set_clock(100, Duration::ZERO);
                Some(())
            }
            Fault::SlowDisk { .. }
            | Fault::HangingDisk { .. }
            | Fault::SlowMachine { .. }
            | Fault::BrokenDisk { .. } => self.act_on_disk(fault).await,
            Fault::BitFlip { who, chance } => self.flip_bits(who, chance).await,
            Fault::Partition { .. } | Fault::Cut { .. } | Fault::Weather { .. } | Fault::SlowLink { .. } => {
                self.act_on_network(fault).await
            }
            Fault::Transfer { who, to } => {
                let node = self.meant(who)?;
                let to = to.and_then(|to| self.somebody(to));
                if timeout(&*self.hall, PATIENCE, node.transfer_leadership(to)).await.is_none() {
                    self.watch.fail(super::ANSWERS, format!("a transfer on node {} hangs", node.id()));
                }
                Some(())
            }
            Fault::Campaign { who } => {
                self.meant(who)?.campaign();
                Some(())
            }
            Fault::Snapshot { who } => {
                let node = self.meant(who)?;
                if timeout(&*self.hall, PATIENCE, node.snapshot()).await.is_none() {
                    self.watch.fail(super::ANSWERS, format!("a snapshot on node {} hangs", node.id()));
                }
                Some(())
            }
            Fault::LostDisk { .. }
            | Fault::Join
            | Fault::Leave { .. }
            | Fault::Demote { .. }
            | Fault::Priority { .. } => self.act_on_members(fault).await,
        }
    }

    /// Clocks keep to the bound that leases trust, where there are leases.
    fn bounded(&self, rate_percent: u64, jump: Duration) -> (u64, Duration) {
        if !self.config.lease_reads {
            return (rate_percent, jump);
        }
        let drift = self.config.clock_drift_percent_max / 2;
        (rate_percent.clamp(100 - drift, 100 + drift), Duration::ZERO)
    }

    async fn crash_one(
        self: &Arc<Self>,
        who: Who,
        torn: u64,
        down: Duration,
        again_after: Option<Duration>,
    ) -> Option<()> {
        let taken = self.take(who)?;
        self.crash(taken.place, torn);
        self.sleep(down).await;
        if let Some(after) = again_after {
            // Power fails again while it starts, or soon after.
            let _ = timeout(&*self.hall, after, self.boot(taken.place)).await;
            self.crash(taken.place, torn.rotate_left(17));
        }
        self.boot_surely(taken.place).await;
        Some(())
    }

    async fn crash_many(self: &Arc<Self>, count: u64, torn: u64, down: Duration) -> Option<()> {
        let most = self.slots().len() as u64;
        let taken: Vec<Taken<W>> =
            crashed_together(count.min(most), torn).filter_map(|who| self.take(who)).collect();
        for (taken, torn) in taken.iter().zip(torn..) {
            self.crash(taken.place, torn);
        }
        self.sleep(down).await;
        for taken in &taken {
            self.boot_surely(taken.place).await;
        }
        (!taken.is_empty()).then_some(())
    }

    async fn act_on_disk(self: &Arc<Self>, fault: Fault) -> Option<()> {
        match fault {
            Fault::SlowDisk { who, by, lasts } => {
                let taken = self.take(who)?;
                let pace = self.with(taken.place, |slot| slot.pace.clone());
                drop(taken);
                pace.slow(by);
                self.sleep(lasts).await;
                pace.slow(Duration::ZERO);
            }
            Fault::HangingDisk { who, lasts } => {
                let taken = self.take(who)?;
                let (pace, machine) =
                    self.with(taken.place, |slot| (slot.pace.clone(), slot.machine.clone()));
                pace.hang(machine.now().after(lasts));
                self.sleep(lasts).await;
            }
            Fault::SlowMachine { who, by, lasts } => {
                let taken = self.take(who)?;
                let pace = self.with(taken.place, |slot| slot.pace.clone());
                drop(taken);
                pace.slow_machine(by);
                self.sleep(lasts).await;
                pace.slow_machine(Duration::ZERO);
            }
            Fault::BrokenDisk { who, trouble, chance, lasts } => {
                let taken = self.take(who)?;
                let (disk, node) = self.with(taken.place, |slot| {
                    slot.may_refuse = true;
                    (slot.disk.clone(), slot.node.clone())
                });
                let is_known = disk.disturb(trouble, chance);
                if let Some(node) = node
                    && timeout(&*self.hall, lasts, node.stopped()).await.flatten().is_some()
                {
                    self.watch.note(coverage::REFUSED_DISKS);
                    if trouble == Trouble::Full {
                        self.watch.note(coverage::FULL_DISKS);
                    }
                }
                disk.mend();
                // The process is started again, whether it has stopped or not.
                self.crash(taken.place, chance);
                self.with(taken.place, |slot| slot.may_refuse = false);
                self.boot_surely(taken.place).await;
                return is_known.then_some(());
            }
            _ => {}
        }
        Some(())
    }

    async fn act_on_network(self: &Arc<Self>, fault: Fault) -> Option<()> {
        let ids: Vec<NodeId> = self.ids().into_keys().collect();
        match fault {
            Fault::Partition { sides, lasts } => {
                let is_left = |id: NodeId| sides >> (id.0 % 64) & 1 == 1;
                let pairs = ids.iter().flat_map(|one| ids.iter().map(|other| (*one, *other)));
                let cut: Vec<_> = pairs.filter(|(one, other)| is_left(*one) != is_left(*other)).collect();
                self.cut_for(&cut, lasts).await?;
            }
            Fault::Cut { one, other, both, everyone, lasts } => {
                let (one, other) = (self.somebody(one)?, self.somebody(other)?);
                let others = if everyone { ids } else { vec![other] };
                let mut cut: Vec<_> = others.iter().map(|other| (one, *other)).collect();
                if both {
                    cut.extend(others.iter().map(|other| (*other, one)));
                }
                cut.retain(|(one, other)| one != other);
                self.cut_for(&cut, lasts).await?;
            }
            Fault::Weather { loss, duplicate, reorder, delay, lasts } => {
                self.network.loss(loss as f64 / 100.0);
                self.network.duplicate(duplicate as f64 / 100.0);
                self.network.reorder(reorder as f64 / 100.0);
                self.network.delay(Duration::ZERO..=delay);
                self.sleep(lasts).await;
                self.calm();
            }
            Fault::SlowLink { one, other, by, lasts } => {
                let (one, other) = (self.somebody(one)?, self.somebody(other)?);
                self.network.slow(one, other, by);
                self.sleep(lasts).await;
                self.network.slow(one, other, Duration::ZERO);
            }
            _ => {}
        }
        Some(())
    }

    async fn cut_for(&self, cut: &[(NodeId, NodeId)], lasts: Duration) -> Option<()> {
        if cut.is_empty() {
            return None;
        }
        cut.iter().for_each(|(from, to)| self.network.cut(*from, *to));
        self.sleep(lasts).await;
        cut.iter().for_each(|(from, to)| self.network.mend(*from, *to));
        Some(())
    }

    /// A node is shut down, its disk rots, and it is started again. One that refuses is repaired from its
    /// peers, or replaced.
    async fn flip_bits(self: &Arc<Self>, who: Who, chance: u64) -> Option<()> {
        // As a lost disk, it may be the only one.
        let changing = self.change_members()?;
        if !self.can_lose_one().await {
            return None;
        }
        let taken = self.take(who)?;
        // It rests first: nobody can prove that the last write of all was ever whole.
        let id = self.with(taken.place, |slot| slot.id)?;
        let others: Vec<NodeId> = self.ids().into_keys().filter(|other| *other != id).collect();
        let links: Vec<_> = others.iter().flat_map(|other| [(id, *other), (*other, id)]).collect();
        self.cut_for(&links, Duration::from_secs(5)).await;
        self.shut_down(taken.place).await;
        let disk = self.with(taken.place, |slot| slot.disk.clone());
        if !disk.disturb(Trouble::BitFlips, chance) {
            self.boot_surely(taken.place).await;
            return None;
        }
        self.with(taken.place, |slot| slot.may_refuse = true);
        let mut is_there = self.boot_surely(taken.place).await;
        if !is_there && chance.is_multiple_of(2) && disk.repair() {
            is_there = self.boot_surely(taken.place).await;
            // It is one of the cluster again before another disk may be lost.
            if is_there && self.is_unfenced(taken.place).await {
                self.with(taken.place, |slot| slot.may_refuse = false);
                return Some(());
            }
        }
        // Damage may lie in what is read later, as in a snapshot: of a disk that was not read whole to be
        // repaired, nothing is left in the end.
        self.replace(&taken, false, is_there).await;
        drop(changing);
        Some(())
    }
}
