//! The wakeup descriptor of the signal machinery, owned by a loop while it runs on the main thread.
//!
//! Called when a loop with its own poller begins and ceases to run, and by `add_signal_handler`'s undoing; calls the native half of
//! the signal module.
//!
//! The kernel may deliver a signal to any thread, and at any moment: just before the loop waits too. CPython's handler then writes to the
//! wakeup descriptor, the loop's wait ends, and the handler that is written in Python runs, Ctrl-C's among them. Without it the
//! loop would sleep until something else happens.
//!
//! States: not owned -> owned (nobody had one, or it was the loop's own by a signal handler) -> given back: -1, unless the loop has signal
//! handlers, which keep it, or somebody has put another in its place, which stays.
//!
//! Differs from CPython, which sets it for signal handlers only.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use slots::Ref;

use super::{UnixSelectorEventLoop, drop_idle_pipe, handlers, pipe};
use crate::base_events;
use crate::library;

/// Sets the descriptor; answers the one from before. None if this is not the main thread of the main interpreter.
fn set(py: Python<'_>, fd: i32) -> PyResult<Option<i32>> {
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, "warn_on_full_buffer"), false)?;
    let set = library(py, "_signal")?.getattr(intern!(py, "set_wakeup_fd"))?;
    match set.call((fd,), Some(&keywords)) {
        Err(error) if error.is_instance_of::<PyValueError>(py) => Ok(None),
        other => other?.extract().map(Some),
    }
}

/// Whether this may be the main thread: it is while nobody has loaded `threading`.
fn may_be_main_thread(py: Python<'_>) -> PyResult<bool> {
    let modules = library(py, "sys")?.getattr(intern!(py, "modules"))?;
    let threading = modules.call_method1(intern!(py, "get"), ("threading",))?;
    if threading.is_none() {
        return Ok(true);
    }
    let main = threading.call_method0(intern!(py, "main_thread"))?.getattr(intern!(py, "ident"))?;
    main.eq(slots::thread_ident(py))
}

/// Takes the descriptor, if nobody has it.
fn take(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    let py = this.py();
    if this.owns_wakeup.get() || !this.has_own_poller() || !may_be_main_thread(py)? {
        return Ok(());
    }
    let own = pipe(this)?.wakeup_fd();
    match set(py, own)? {
        Some(old) if old == -1 || old == own => this.owns_wakeup.set(true),
        Some(old) => {
            set(py, old)?;
            drop_idle_pipe(this)?;
        }
        None => drop_idle_pipe(this)?,
    }
    Ok(())
}

/// Takes it again, after somebody gave it back while the loop runs.
pub(super) fn keep(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    match this.owns_wakeup.get() {
        true => set(this.py(), pipe(this)?.wakeup_fd()).map(drop),
        false => Ok(()),
    }
}

fn give_back(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    let py = this.py();
    if !this.owns_wakeup.replace(false) || !handlers(this)?.is_empty() {
        return Ok(());
    }
    let own = pipe(this)?.wakeup_fd();
    match set(py, -1)? {
        Some(other) if other != own && other != -1 => set(py, other).map(drop),
        _ => Ok(()),
    }
}

/// What `_run_forever_setup` does.
pub(super) fn begin(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    base_events::setup(this.base().base())?;
    this.signal_seen.set(true);
    match take(this) {
        Err(error) => base_events::cleanup(this.base().base()).and(Err(error)),
        other => other,
    }
}

/// What `_run_forever_cleanup` does.
pub(super) fn end(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    let given = give_back(this);
    base_events::cleanup(this.base().base()).and(given)
}
