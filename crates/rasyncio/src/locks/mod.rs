//! locks: `Lock`, `Event`, `Condition`, `Semaphore`, `BoundedSemaphore`, `Barrier` (asyncio.locks).
//!
//! Called by the shells on the face, which ask `_..._now` first and await `_..._wait` only if they must; calls `mixins` for the
//! queue of waiters and `futures::Wait` to wait.
//!
//! - `lock`: Lock.
//! - `event`: Event.
//! - `semaphore`: Semaphore, BoundedSemaphore.
//! - `condition`: Condition.
//! - `barrier`: Barrier.
//!
//! asyncio's `_ContextManagerMixin` does not derive from `_LoopBoundMixin`, though all that derive from the one derive from the
//! other; here it does, since a native class has one base.
//!
//! All are fair: who waits longest goes first, and nobody passes a waiter that is not cancelled. A waiter that is cancelled
//! after it was woken hands its turn on.

mod barrier;
mod condition;
mod event;
mod lock;
mod semaphore;

pub use self::condition::Condition;
pub use self::lock::{Lock, quick_acquire, quick_enter, quick_exit};

use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::{Class, Own, Spec, class};

use crate::mixins::LoopBoundMixin;

class! {
    /// What `async with` takes and gives back by `acquire()` and `release()`.
    pub struct ContextManagerMixin: LoopBoundMixin {}
}

impl Class for ContextManagerMixin {
    const NAME: &'static std::ffi::CStr = c"rasyncio.locks._ContextManagerMixin";
    const DOC: &'static std::ffi::CStr = c"_ContextManagerMixin()\n--\n\n\
        `async with` by acquire() and release(), for classes that have these.";
    const DICT: bool = true;

    fn define(_: &mut Spec<Self>) {}
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<ContextManagerMixin>(module)?;
    slots::add_class::<lock::Lock>(module)?;
    slots::add_class::<event::Event>(module)?;
    slots::add_class::<condition::Condition>(module)?;
    slots::add_class::<semaphore::Semaphore>(module)?;
    slots::add_class::<semaphore::BoundedSemaphore>(module)?;
    slots::add_class::<barrier::Barrier>(module)
}

fn own(value: Option<Bound<'_, PyAny>>) -> Option<Own> {
    value.map(Own::new)
}
