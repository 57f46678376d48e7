//! The inbox under every interleaving that loom can find.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p rasyncio-engine --test loom --release`; without the flag this file
//! is empty. Each test is a small loop thread and one or two threads that push to it. The kernel is a [`Doorbell`]: a
//! wait on it ends only after a ring, so a lost wake-up is a deadlock, which loom reports as such.
#![cfg(loom)]

use engine::inbox::{Block, Inbox, Wake};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// An eventfd: a ring ends one wait, now or later, and rings merge.
struct Doorbell {
    rung: Mutex<bool>,
    changed: Condvar,
    rings: AtomicUsize,
}

impl Doorbell {
    fn new() -> Self {
        Self { rung: Mutex::new(false), changed: Condvar::new(), rings: AtomicUsize::new(0) }
    }

    fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

struct House {
    inbox: Inbox<u32>,
    doorbell: Doorbell,
}

impl House {
    fn new() -> Arc<Self> {
        Arc::new(Self { inbox: Inbox::new(), doorbell: Doorbell::new() })
    }

    fn deliver(&self, entry: u32) -> Result<(), u32> {
        if self.inbox.push(entry)? == Wake::Needed {
            self.doorbell.ring();
        }
        Ok(())
    }

    /// A loop that does nothing but wait for `count` entries; returns them and how often it blocked.
    fn receive(&self, count: usize) -> (Vec<u32>, usize) {
        let mut entries = Vec::new();
        let mut blocks = 0;
        loop {
            self.inbox.drain_into(&mut entries);
            if entries.len() >= count {
                return (entries, blocks);
            }
            if self.inbox.prepare_to_block() == Block::MayBlock {
                blocks += 1;
                self.doorbell.wait();
                self.inbox.unblocked();
            }
        }
    }
}

#[test]
fn no_wake_up_is_lost_with_two_senders() {
    loom::model(|| {
        let house = House::new();
        let senders: Vec<_> = [1, 2]
            .into_iter()
            .map(|entry| {
                let house = Arc::clone(&house);
                thread::spawn(move || house.deliver(entry).unwrap())
            })
            .collect();
        let (mut entries, blocks) = house.receive(2);
        for sender in senders {
            sender.join().unwrap();
        }
        entries.sort_unstable();
        assert_eq!(entries, [1, 2]);
        let rings = house.doorbell.rings.load(Ordering::Relaxed);
        assert!(rings <= blocks, "{rings} rings for {blocks} blocks");
    });
}

#[test]
fn the_entries_of_one_sender_keep_their_order() {
    loom::model(|| {
        let house = House::new();
        let sender = {
            let house = Arc::clone(&house);
            thread::spawn(move || (1..=3).for_each(|entry| house.deliver(entry).unwrap()))
        };
        let (entries, blocks) = house.receive(3);
        sender.join().unwrap();
        assert_eq!(entries, [1, 2, 3]);
        assert!(house.doorbell.rings.load(Ordering::Relaxed) <= blocks);
    });
}

/// The loop's wait may end by a timer instead: then the sender may or may not have been told to ring, and the entry
/// is found all the same, if not by this drain, then by the next.
#[test]
fn a_wait_that_a_timer_ended_loses_nothing() {
    loom::model(|| {
        let house = House::new();
        let sender = {
            let house = Arc::clone(&house);
            thread::spawn(move || house.deliver(1).unwrap())
        };
        if house.inbox.prepare_to_block() == Block::MayBlock {
            house.inbox.unblocked();
        }
        // A ring may be pending from that wait. It ends the first wait in here early, which is harmless.
        let (entries, _) = house.receive(1);
        sender.join().unwrap();
        assert_eq!(entries, [1]);
    });
}

#[test]
fn an_entry_pushed_while_the_inbox_closes_is_returned_to_somebody() {
    loom::model(|| {
        let house = House::new();
        let sender = {
            let house = Arc::clone(&house);
            thread::spawn(move || house.deliver(1))
        };
        let mut entries = Vec::new();
        house.inbox.drain_into(&mut entries);
        entries.extend(house.inbox.close());
        match sender.join().unwrap() {
            Ok(()) => assert_eq!(entries, [1]),
            Err(entry) => {
                assert_eq!(entry, 1);
                assert!(entries.is_empty());
            }
        }
        assert!(house.inbox.is_empty());
        assert_eq!(house.deliver(2), Err(2));
    });
}

/// What a busy loop does: it never blocks and reads the flag without the lock. It must see the entry in the end.
#[test]
fn a_loop_that_never_blocks_sees_the_entry() {
    loom::model(|| {
        let house = House::new();
        let sender = {
            let house = Arc::clone(&house);
            thread::spawn(move || house.inbox.push(1))
        };
        let mut entries = Vec::new();
        house.inbox.drain_into(&mut entries);
        assert_eq!(sender.join().unwrap(), Ok(Wake::NotNeeded));
        assert_eq!(house.inbox.is_empty(), !entries.is_empty());
        house.inbox.drain_into(&mut entries);
        assert_eq!(entries, [1]);
    });
}
