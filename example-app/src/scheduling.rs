//! How the node's threads share the processors with each other.
//!
//! A node works in batches: the more has gathered when a thread turns to its work, the less each write costs.
//! By default Linux often lets a thread that is woken take the processor at once from the one that wakes it,
//! so a first message finds its reader before the second is written. Under its batch policy a woken thread
//! waits until a processor is free or its turn has come, a few milliseconds at the most; where a processor is
//! idle anyway, nothing changes (`man 7 sched`, `SCHED_BATCH`). Other systems have no such policy.

use thread_priority::{
    Error, NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id, thread_schedule_policy,
};

/// Of 0 to 99, what the crate turns into a niceness of 0: it sets one along with the policy.
const NICENESS_ZERO: u8 = 47;

/// Puts the calling thread, and all that it starts from now on, under the batch policy. A process that was
/// started with a policy or a niceness other than the default's keeps both: whoever runs it has decided.
pub(crate) fn prefer_batches() {
    let usual = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    if thread_schedule_policy() != Ok(usual) || niceness() != Some(0) {
        return tracing::debug!("the scheduling policy stays what this process was started with");
    }
    if let Err(error) = take_batch_policy() {
        tracing::debug!(?error, "the system refuses the batch policy; it only costs speed");
    }
}

fn take_batch_policy() -> Result<(), Error> {
    let niceness = NICENESS_ZERO.try_into().map_err(|_| Error::Priority("not from 0 to 99"))?;
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(niceness), policy)
}

/// The calling thread's niceness: field 19 of `man 5 proc_pid_stat`, of which the second is a name.
fn niceness() -> Option<i8> {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse().ok()
}
