//! [`ThreadSlot`]: one object per thread and slot, found in a few instructions.
//!
//! Called by `events` for the running loop. This is the only thread-local state of the project but for a number (in `kind`):
//! the alternative, the thread's state dict, costs 20 ns a look, and `get_running_loop()` is on every path.
//!
//! What is still in a slot when its thread ends is given up, not dropped: a thread's destructors run without the GIL.

use std::mem::ManuallyDrop;

use pyo3::prelude::*;

use crate::own::Slot;

const COUNT: usize = 4;

thread_local! {
    static SLOTS: ManuallyDrop<[Slot; COUNT]> = const { ManuallyDrop::new([const { Slot::empty() }; COUNT]) };
}

/// A place for one object on each thread.
#[derive(Clone, Copy)]
pub struct ThreadSlot(usize);

impl ThreadSlot {
    /// The place with this number.
    pub const fn new(number: usize) -> ThreadSlot {
        assert!(number < COUNT);
        ThreadSlot(number)
    }

    /// This thread's object.
    #[inline]
    pub fn get(self, py: Python<'_>) -> Option<Bound<'_, PyAny>> {
        SLOTS.with(|slots| slots[self.0].get(py))
    }

    /// Whether this thread's object is `object`.
    #[inline]
    pub fn is(self, object: &Bound<'_, PyAny>) -> bool {
        SLOTS.with(|slots| slots[self.0].is(object))
    }

    /// Sets this thread's object.
    #[inline]
    pub fn set(self, py: Python<'_>, object: Option<Bound<'_, PyAny>>) {
        drop(SLOTS.with(|slots| match object {
            Some(object) => slots[self.0].replace(py, Some(object.unbind().into_bound(py))),
            None => slots[self.0].take(py),
        }));
    }
}

/// The identity of the calling thread, as `threading.get_ident()` answers it; never 0.
#[inline]
pub fn thread_ident(_py: Python<'_>) -> u64 {
    // SAFETY: always safe to call.
    unsafe { pyo3::ffi::PyThread_get_thread_ident() as u64 }
}
