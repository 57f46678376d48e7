//! Which descriptors a forked child has inherited: a poller or a signal pipe of the parent is shared with it, and whoever changed or
//! read it in the child would change or rob the parent's.
//!
//! `forked()` is called in the child right after a fork; what was born before answers `is_inherited` from then on. A count and not
//! a process number, because a system call at each turn to learn the number would cost more than the turn.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many forks lie between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// This process is a child that was forked just now.
pub fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// In which process something was born.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth(u32);

impl Birth {
    /// In this one.
    pub(super) fn now() -> Birth {
        Birth(FORKS.load(Ordering::Relaxed))
    }

    /// Whether it was in a parent of this one.
    #[inline]
    pub(super) fn is_inherited(self) -> bool {
        self.0 != FORKS.load(Ordering::Relaxed)
    }
}
