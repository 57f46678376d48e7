//! What other threads hand over to the loop, and the agreement by which they wake it.
//!
//! `call_soon_threadsafe` and executor jobs [`Inbox::push`] from any thread; the loop's thread takes everything out
//! each turn ([`Inbox::drain_into`]). The inbox decides *whether* a wake is needed and the caller performs it
//! (`sys::Waker::wake`), so that the agreement can be tested without a kernel.
//!
//! States of the loop as the inbox sees it, all moves made under the lock of the queue:
//!
//! ```text
//!   running  --prepare_to_block, nothing queued-->  blocked      (answer: MayBlock)
//!   running  --prepare_to_block, something queued-> running      (answer: HasWork)
//!   blocked  --push-->  running                                  (answer: Needed; this thread must wake the loop)
//!   running  --push-->  running                                  (answer: NotNeeded)
//!   blocked  --unblocked-->  running                             (an event, a timer or a signal ended the wait)
//!   any      --close-->  closed                                  (push gives the entry back from then on)
//! ```
//!
//! Invariants:
//! - no lost wake-up: "is anything queued?" and "I am about to block" are one step under the lock, so a push comes
//!   either before it (HasWork) or after it (Needed). If the wake itself comes before the wait, the waker keeps it;
//! - a wake is asked for only while the loop is blocked or about to be, and at most once for each time it blocks;
//! - entries come out in the order in which the pushes took the lock;
//! - no entry is dropped under the lock, nor by the inbox at all before the inbox itself is dropped.
//!
//! A mutex and not a lock-free queue: nothing but moves of a few words happens under it, so it is a compare-and-swap
//! when uncontended, and it makes the argument above five lines long. A thread that waits for it may hold the GIL,
//! which is sound because nobody takes the GIL under it.
//!
//! In CPython an entry from another thread is in the ready queue the moment it is pushed. To keep the order that
//! follows from it (a thread pushes A and tells the loop's thread, which calls `call_soon(B)`: A runs first), whoever
//! pushes on the ready ring drains the inbox first when [`Inbox::is_empty`], which is one load, says no.
//!
//! Differs from CPython, which writes to its self-pipe on every `call_soon_threadsafe`, blocked or not.

use std::sync::PoisonError;

#[cfg(loom)]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};
#[cfg(not(loom))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

/// A queue from many threads to the loop's one. See the module's header.
#[derive(Debug)]
pub struct Inbox<T> {
    shared: Mutex<Shared<T>>,
    /// Whether something is queued: written under the lock, read without it by a loop that is not about to block.
    occupied: AtomicBool,
}

#[derive(Debug)]
struct Shared<T> {
    entries: Vec<T>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Blocked,
    Closed,
}

/// What a push asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a loop that is not woken when it is Needed sleeps on"]
pub enum Wake {
    /// The loop is blocked and nobody else will wake it.
    Needed,
    /// The loop is running, or somebody else was told to wake it.
    NotNeeded,
}

/// What a loop that is about to wait is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a loop that blocks with HasWork may sleep for ever"]
pub enum Block {
    /// Wait, then call [`Inbox::unblocked`].
    MayBlock,
    /// Do not wait: drain.
    HasWork,
}

impl<T: Send> Inbox<T> {
    /// An empty inbox of a running loop.
    pub fn new() -> Self {
        Self {
            shared: Mutex::new(Shared { entries: Vec::new(), state: State::Running }),
            occupied: AtomicBool::new(false),
        }
    }

    /// Hand over an entry, from any thread. Once closed, the inbox gives it back.
    #[inline]
    pub fn push(&self, entry: T) -> Result<Wake, T> {
        let mut shared = self.lock();
        let wake = match shared.state {
            State::Closed => return Err(entry),
            State::Running => Wake::NotNeeded,
            State::Blocked => Wake::Needed,
        };
        shared.state = State::Running;
        shared.entries.push(entry);
        self.occupied.store(true, Ordering::Release);
        Ok(wake)
    }

    /// Whether nothing is queued, as far as can be told without the lock: a push that happens at this moment may be
    /// missed. Good enough for a loop that comes back; one that is about to wait must ask
    /// [`Inbox::prepare_to_block`].
    #[inline]
    pub fn is_empty(&self) -> bool {
        !self.occupied.load(Ordering::Acquire)
    }

    /// Announce that the loop is about to wait. Loop's thread only.
    ///
    /// A closed inbox always answers MayBlock: nothing can arrive.
    pub fn prepare_to_block(&self) -> Block {
        let mut shared = self.lock();
        if !shared.entries.is_empty() {
            return Block::HasWork;
        }
        if shared.state == State::Running {
            shared.state = State::Blocked;
        }
        Block::MayBlock
    }

    /// Announce that the loop no longer waits, for whatever reason. Loop's thread only.
    pub fn unblocked(&self) {
        let mut shared = self.lock();
        if shared.state == State::Blocked {
            shared.state = State::Running;
        }
    }

    /// Move all entries to the end of `entries`, in their order. Loop's thread only.
    ///
    /// An empty `entries` is swapped with the queue, so a caller that keeps it pays for no allocation.
    pub fn drain_into(&self, entries: &mut Vec<T>) {
        if self.is_empty() {
            return;
        }
        let mut shared = self.lock();
        if entries.is_empty() {
            std::mem::swap(entries, &mut shared.entries);
        } else {
            entries.append(&mut shared.entries);
        }
        self.occupied.store(false, Ordering::Release);
    }

    /// Call `visit` for every queued entry, under the lock: it must only look. For the garbage collector's traversal.
    pub fn visit(&self, mut visit: impl FnMut(&T)) {
        self.lock().entries.iter().for_each(&mut visit);
    }

    /// Take no more entries, and return those that are still queued.
    #[must_use = "dropping the entries may run any code: do it when no borrow is open"]
    pub fn close(&self) -> Vec<T> {
        let mut shared = self.lock();
        shared.state = State::Closed;
        self.occupied.store(false, Ordering::Release);
        std::mem::take(&mut shared.entries)
    }

    /// Whether [`Inbox::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.lock().state == State::Closed
    }

    fn lock(&self) -> MutexGuard<'_, Shared<T>> {
        // Nothing under the lock can leave the queue half-changed, so a panic elsewhere in a thread that had it is no
        // reason to stop.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send> Default for Inbox<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::{Events, Interest, Poller, Registrar, Trigger, WAKER_TOKEN, Waker};
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn a_wake_is_needed_once_for_each_block() {
        let inbox = Inbox::new();
        assert_eq!(inbox.push(1), Ok(Wake::NotNeeded));
        assert_eq!(inbox.prepare_to_block(), Block::HasWork);
        assert_eq!(inbox.push(2), Ok(Wake::NotNeeded), "HasWork does not block");
        let mut entries = Vec::new();
        inbox.drain_into(&mut entries);
        assert_eq!(entries, [1, 2]);
        assert_eq!(inbox.prepare_to_block(), Block::MayBlock);
        assert_eq!(inbox.push(3), Ok(Wake::Needed));
        assert_eq!(inbox.push(4), Ok(Wake::NotNeeded));
        inbox.unblocked();
        assert_eq!(inbox.push(5), Ok(Wake::NotNeeded));
        inbox.drain_into(&mut entries);
        assert_eq!(entries, [1, 2, 3, 4, 5]);
        assert!(inbox.is_empty());
    }

    #[test]
    fn a_wait_that_ended_by_itself_needs_no_wake() {
        let inbox = Inbox::new();
        assert_eq!(inbox.prepare_to_block(), Block::MayBlock);
        inbox.unblocked();
        assert_eq!(inbox.push(1), Ok(Wake::NotNeeded));
        assert!(!inbox.is_empty());
    }

    #[test]
    fn a_closed_inbox_gives_everything_back() {
        let inbox = Inbox::new();
        assert_eq!(inbox.push("early"), Ok(Wake::NotNeeded));
        assert_eq!(inbox.close(), ["early"]);
        assert_eq!(inbox.push("late"), Err("late"));
        assert!(inbox.is_closed() && inbox.is_empty());
        assert_eq!(inbox.prepare_to_block(), Block::MayBlock);
        inbox.unblocked();
        assert!(inbox.is_closed());
        assert!(inbox.close().is_empty());
    }

    #[test]
    fn visits_what_is_queued() {
        let inbox = Inbox::new();
        for entry in 1..4 {
            let _ = inbox.push(entry);
        }
        let mut sum = 0;
        inbox.visit(|entry| sum += entry);
        assert_eq!(sum, 6);
    }

    /// With a real poller and waker: were a wake lost, this would hang; were one sent too many, the count would tell.
    #[test]
    fn real_threads_lose_nothing() {
        const THREADS: u64 = 4;
        const EACH: u64 = 5_000;
        let shared = Arc::new((Inbox::new(), Waker::new().unwrap()));
        let (inbox, waker) = (&shared.0, &shared.1);
        let poller = Poller::new().unwrap();
        poller.add(waker.fd(), WAKER_TOKEN, Interest::Read, Trigger::Level).unwrap();
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut wakes = 0u64;
                    for count in 0..EACH {
                        if shared.0.push((thread, count)) == Ok(Wake::Needed) {
                            shared.1.wake().unwrap();
                            wakes += 1;
                        }
                    }
                    wakes
                })
            })
            .collect();
        let mut next = [0; THREADS as usize];
        let mut blocks = 0;
        let mut entries = Vec::new();
        let mut events = Events::new();
        while next.iter().sum::<u64>() < THREADS * EACH {
            if inbox.prepare_to_block() == Block::MayBlock {
                blocks += 1;
                poller.wait(None, &mut events).unwrap();
                inbox.unblocked();
                assert!(waker.drain().unwrap());
            }
            inbox.drain_into(&mut entries);
            for (thread, count) in entries.drain(..) {
                assert_eq!(count, next[thread as usize], "order of one thread");
                next[thread as usize] += 1;
            }
        }
        let wakes: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(wakes <= blocks, "{wakes} wakes for {blocks} blocks");
    }
}
