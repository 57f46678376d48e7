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
use slots::{Own, Ref};

use crate::mixins::LoopBound;

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
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

fn set_loop<T>(_: &Ref<'_, T>, bound: &LoopBound, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match value {
        Some(value) => bound.0.set(value.clone()),
        None => bound.0.unset(),
    }
    Ok(())
}
