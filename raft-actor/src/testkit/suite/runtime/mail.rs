//! Checks of mailboxes: order, batches, limits, wake-ups.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use tokio::sync::oneshot;

use super::{GROUP, PATIENCE, ROOMY, read, reader, until};
use crate::{
    runtime::{
        BoxFuture, Place, SharedRuntime,
        actor::{Exit, yield_once},
        mailbox::{Addr, BATCH_MAX, SendError},
        timeout,
    },
    types::GroupId,
};

/// Four tasks send ten thousand messages each; each task's arrive in the order sent, none is lost, none comes
/// twice.
pub fn messages_of_a_sender_arrive_in_order_and_each_once(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    const SENDERS: u64 = 4;
    const EACH: u64 = 10_000;
    Box::pin(async move {
        let address = Addr::new(ROOMY);
        let (done, mut result) = oneshot::channel();
        let mut done = Some(done);
        let mut next = [0; SENDERS as usize];
        reader(&runtime, GROUP, &address, move |batch: &mut Vec<(u64, u64)>, context| {
            for (sender, number) in batch.drain(..) {
                let expected = &mut next[sender as usize];
                assert_eq!(
                    number, *expected,
                    "sender {sender} is out of order, or lost or doubled a message"
                );
                *expected += 1;
            }
            if next == [EACH; SENDERS as usize]
                && let Some(done) = done.take()
            {
                let _ = done.send(());
                context.stop();
            }
        });
        for sender in 0..SENDERS {
            let address = address.clone();
            let place = if sender % 2 == 0 { GROUP } else { Place::Any };
            let task = async move {
                for number in 0..EACH {
                    address.try_send((sender, number)).expect("a roomy mailbox");
                    if number % 61 == sender {
                        yield_once().await;
                    }
                }
            };
            runtime.spawn("sender", place, Box::pin(task));
        }
        let result = timeout(&*runtime, PATIENCE, &mut result).await;
        assert_eq!(result, Some(Ok(())), "messages were lost, doubled or out of order");
    })
}

/// What was sent in one turn of the reader itself is one batch, cut only at [`BATCH_MAX`].
pub fn what_an_actor_sends_itself_arrives_as_one_batch(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let address = Addr::new(ROOMY);
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = sizes.clone();
        let exit = reader(&runtime, GROUP, &address, move |batch: &mut Vec<u64>, context| {
            let mut sizes = seen.lock().unwrap_or_else(PoisonError::into_inner);
            sizes.push(batch.len());
            let count = match sizes.len() {
                1 => 1000,
                2 => BATCH_MAX as u64 + 904,
                3 => 0,
                _ => return context.stop(),
            };
            (0..count).for_each(|number| context.me().send(number));
        });
        address.send(0);
        until(&runtime, "four batches", || read(&exit).is_some()).await;
        assert_eq!(read(&exit), Some(Exit::Stopped));
        let sizes = sizes.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*sizes, [1, 1000, BATCH_MAX, 904]);
    })
}

/// Three thousand messages that another task sends without a pause come in fewer batches than half as many.
pub fn what_is_sent_in_one_turn_arrives_in_few_batches(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    const COUNT: u64 = 3000;
    Box::pin(async move {
        let address = Addr::new(ROOMY);
        let (batches, messages) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = (batches.clone(), messages.clone());
        reader(&runtime, GROUP, &address, move |batch: &mut Vec<u64>, _| {
            counters.0.fetch_add(1, Ordering::SeqCst);
            counters.1.fetch_add(batch.len() as u64, Ordering::SeqCst);
        });
        let sender = address.clone();
        let task = async move { (0..COUNT).for_each(|number| sender.send(number)) };
        runtime.spawn("sender", GROUP, Box::pin(task));
        until(&runtime, "all messages", || messages.load(Ordering::SeqCst) == COUNT).await;
        let batches = batches.load(Ordering::SeqCst);
        assert!(batches < COUNT / 2, "{COUNT} messages sent at once arrived in {batches} batches");
    })
}

/// A full mailbox hands the message back at once; what was asked for is taken all the same; nothing is lost.
pub fn a_full_mailbox_refuses_at_once(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let address = Addr::new(2);
        assert_eq!(address.try_send(1), Ok(()));
        assert_eq!(address.try_send(2), Ok(()));
        assert_eq!(address.try_send(3), Err(SendError::Full(3)));
        address.send(4);
        assert_eq!(address.try_send(5), Err(SendError::Full(5)));
        assert_eq!(address.len(), 3);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let there = seen.clone();
        reader(&runtime, GROUP, &address, move |batch: &mut Vec<u64>, _| {
            there.lock().unwrap_or_else(PoisonError::into_inner).append(batch);
        });
        let count = || seen.lock().unwrap_or_else(PoisonError::into_inner).len();
        until(&runtime, "what waited", || count() == 3).await;
        assert_eq!(address.try_send(6), Ok(()), "an emptied mailbox takes mail again");
        until(&runtime, "what came later", || count() == 4).await;
        assert_eq!(*seen.lock().unwrap_or_else(PoisonError::into_inner), [1, 2, 4, 6]);
    })
}

/// Actors of two groups count to a thousand in turns.
pub fn two_groups_talk_to_each_other(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let addresses = [Addr::new(4), Addr::new(4)];
        let reached = Arc::new(AtomicU64::new(0));
        for side in 0..2 {
            let (other, reached) = (addresses[1 - side].clone(), reached.clone());
            let place = Place::Group(GroupId(side as u32));
            reader(&runtime, place, &addresses[side], move |batch: &mut Vec<u64>, _| {
                for number in batch.drain(..) {
                    reached.fetch_max(number, Ordering::SeqCst);
                    if number < 1000 {
                        other.try_send(number + 1).expect("one message is under way at a time");
                    }
                }
            });
        }
        addresses[0].send(1);
        until(&runtime, "a count of 1000", || reached.load(Ordering::SeqCst) == 1000).await;
    })
}

/// A thread and an actor, each asleep whenever the other works, wake each other two thousand times.
pub fn wake_ups_from_other_threads_are_not_lost(runtime: SharedRuntime) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let address = Addr::new(4);
        reader(&runtime, GROUP, &address, |batch: &mut Vec<(u64, mpsc::Sender<u64>)>, _| {
            batch.drain(..).for_each(|(number, reply)| _ = reply.send(number));
        });
        let (done, result) = oneshot::channel();
        let caller = thread::spawn(move || {
            let (reply, answer) = mpsc::channel();
            let back = (0..2000).all(|number| {
                address.send((number, reply.clone()));
                answer.recv_timeout(PATIENCE) == Ok(number)
            });
            let _ = done.send(back);
        });
        assert_eq!(timeout(&*runtime, PATIENCE * 2, result).await, Some(Ok(true)), "a wake-up was lost");
        caller.join().expect("the caller does not panic");
    })
}
