//! events: handles, the scheduling core of a loop, and which loop runs on this thread (asyncio.events, PEP 3156).
//!
//! Called by every room; calls `format_helpers` for reprs.
//!
//! - `core`: `LoopCore`: the queues, and the hooks that say whether somebody overrides something.
//! - `entry`: what a turn runs.
//! - `handle`: `Handle`, `TimerHandle`.
//! - `thread_safe`: `_ThreadSafeHandle`, which any thread may cancel.
//! - `policy`: which loop a thread gets that has none running.
//! - `running`: the running loop of the thread, also told to the stdlib's asyncio when that is loaded.
//!
//! Invariant: the running loop is a property of the thread. After a fork the child has none.

pub mod core;
mod entry;
pub mod handle;
pub mod policy;
pub mod running;
mod thread_safe;

use pyo3::prelude::*;
use pyo3::types::PyModule;

pub use self::core::{Hook, LoopCore};
pub use self::entry::{Entry, Kind, NativeCallback};
pub use self::handle::{Handle, TimerHandle};
pub use self::running::{get_event_loop, get_running_loop, running_loop};
pub use self::thread_safe::ThreadSafeHandle;

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<LoopCore>(module)?;
    slots::add_class::<NativeCallback>(module)?;
    slots::add_class::<Handle>(module)?;
    slots::add_class::<TimerHandle>(module)?;
    slots::add_class::<ThreadSafeHandle>(module)?;
    policy::add(module)?;
    running::add(module)
}
