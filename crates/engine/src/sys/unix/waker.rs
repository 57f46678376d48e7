//! The waker on Linux: an eventfd, which the loop's poller watches.
//!
//! Whoever gets `Wake::Needed` from the inbox calls [`Waker::wake`]; so does a signal handler. The loop, when the
//! poller reports [`crate::sys::WAKER_TOKEN`], calls [`Waker::drain`].
//!
//! `wake` is one system call on a descriptor that lives as long as `self`: no lock, no allocation, errno untouched
//! (rustix makes the call itself), so it is safe in a signal handler. A counter that is full (2^64 - 2 wakes, never
//! drained) refuses more; the poller then reports it anyway, so that is success.

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::{Errno, read, retry_on_intr, write};
use std::io;

use crate::sys::Descriptor;

/// Ends a poller's wait from another thread or a signal handler.
#[derive(Debug)]
pub struct Waker {
    counter: OwnedFd,
}

impl Waker {
    /// A new waker, to be registered with the poller for reading.
    pub fn new() -> io::Result<Self> {
        Ok(Self { counter: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// What to register.
    pub fn fd(&self) -> Descriptor {
        self.counter.as_raw_fd()
    }

    /// End the current wait, or the next one if there is none.
    pub fn wake(&self) -> io::Result<()> {
        match retry_on_intr(|| write(&self.counter, &1u64.to_ne_bytes())) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Forget all wakes so far; says whether there was one.
    pub fn drain(&self) -> io::Result<bool> {
        match retry_on_intr(|| read(&self.counter, &mut [0u8; 8])) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Events, Interest, Poller, Registrar, Trigger, WAKER_TOKEN};
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn wakes_merge_and_drain_makes_quiet() {
        let waker = Waker::new().unwrap();
        assert!(!waker.drain().unwrap());
        waker.wake().unwrap();
        waker.wake().unwrap();
        assert!(waker.drain().unwrap());
        assert!(!waker.drain().unwrap());
    }

    #[test]
    fn a_full_counter_is_still_a_wake() {
        let waker = Waker::new().unwrap();
        write(&waker.counter, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        waker.wake().unwrap();
        assert!(waker.drain().unwrap());
    }

    #[test]
    fn ends_a_wait_without_end_from_another_thread() {
        let poller = Poller::new().unwrap();
        let waker = Arc::new(Waker::new().unwrap());
        poller.add(waker.fd(), WAKER_TOKEN, Interest::Read, Trigger::Level).unwrap();
        let mut events = Events::new();
        for _ in 0..100 {
            let far = Arc::clone(&waker);
            let thread = thread::spawn(move || far.wake().unwrap());
            assert_eq!(poller.wait(None, &mut events).unwrap(), 1);
            assert_eq!(events.get(0).unwrap().token, WAKER_TOKEN);
            assert!(waker.drain().unwrap());
            thread.join().unwrap();
        }
        assert_eq!(poller.wait(Some(Duration::ZERO), &mut events).unwrap(), 0);
    }
}
