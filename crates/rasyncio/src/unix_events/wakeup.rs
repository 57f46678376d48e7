//! The wakeup descriptor of the signal machinery, owned by a loop while it runs on the main thread.
//!
//! Called when a loop with its own poller begins and ceases to run, and by `add_signal_handler`'s undoing; calls the native half of
//! the signal module.
//!
//! The kernel may deliver a signal to any thread, and at any moment: just before the loop waits too. CPython's handler then writes to the
//! wakeup descriptor, the loop's wait ends, and the handler that is written in Python runs, Ctrl-C's among them. Without it the
//! loop would sleep until something else happens.
//!
//! States: not owned -> owned (the descriptor was -1, or this loop's already) -> given back: -1, unless the loop has signal
//! handlers, which keep it, or the program has put another in its place, which stays.
//!
//! Which descriptor: while the loop has handlers, the one that asyncio would use (`wakeup_number`). Without any, one of its own, the idle
//! pipe, whose bytes are dropped: asyncio would not have heard of those signals, so a handler that is added later must not either.
//! Bytes of either kind stay apart that way, whenever handlers come and go.
//!
//! Differs from CPython, which sets it for signal handlers only.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use slots::intern;
use slots::{Own, Ref};

use super::{UnixSelectorEventLoop, drop_pipe, handlers, wakeup_number, watched_pipe};
use crate::events::Kind;
use crate::selector_events::BaseSelectorEventLoop;
use crate::{base_events, exceptions, library};

/// Signals have come that no handler of the loop is for.
static IDLE: Kind = Kind {
    run: |object, _| match Ref::<UnixSelectorEventLoop>::cast(object) {
        Some(this) => drain_idle(this),
        None => Ok(()),
    },
    event_loop: |object| Some(Own::new(object.clone())),
    context: |_| None,
    name: "SignalReader",
    qualname: Some("_UnixSelectorEventLoop._read_from_self"),
};

fn drain_idle(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    let pipe = this.idle_pipe.borrow().clone();
    let mut signals = Vec::new();
    match pipe {
        Some(pipe) => pipe.drain_into(&mut signals).map_err(|error| exceptions::os_error(this.py(), error)),
        None => Ok(()),
    }
}

/// Sets the descriptor; answers the one from before. None if this is not the main thread of the main interpreter.
///
/// Giving the descriptor back takes no memory: a descriptor that stays set when it is closed is an error in a later loop.
fn set(py: Python<'_>, fd: i32) -> PyResult<Option<i32>> {
    let set = library(py, "_signal")?.getattr(intern!(py, "set_wakeup_fd"))?;
    let before = if fd == -1 {
        set.call1((fd,))
    } else {
        let keywords = slots::dict(py)?;
        keywords.set_item(intern!(py, "warn_on_full_buffer"), false)?;
        set.call((fd,), Some(&keywords))
    };
    match before {
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

/// The idle pipe's descriptor.
fn idle_number(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<i32> {
    Ok(watched_pipe(this, &this.idle_pipe, &IDLE)?.wakeup_fd())
}

fn is_idle_number(this: &Ref<'_, UnixSelectorEventLoop>, fd: i32) -> bool {
    this.idle_pipe.borrow().as_ref().is_some_and(|pipe| pipe.wakeup_fd() == fd)
}

/// Takes the descriptor, if it is not in use.
fn take(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    let py = this.py();
    if this.owns_wakeup.get() || !this.has_own_poller() || !may_be_main_thread(py)? {
        return Ok(());
    }
    let idle = handlers(this)?.is_empty();
    let own = if idle { idle_number(this)? } else { wakeup_number(this)?.extract()? };
    match set(py, own)? {
        Some(old) if old == -1 || old == own || is_idle_number(this, old) => this.owns_wakeup.set(true),
        Some(old) => {
            set(py, old)?;
            drop_pipe(this, &this.idle_pipe)?;
        }
        None => drop_pipe(this, &this.idle_pipe)?,
    }
    Ok(())
}

/// Takes it again, after the last handler was removed while the loop runs.
pub(super) fn keep(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    match this.owns_wakeup.get() {
        true => set(this.py(), idle_number(this)?).map(drop),
        false => Ok(()),
    }
}

pub(super) fn give_back(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    let py = this.py();
    if !this.owns_wakeup.get() {
        return Ok(());
    }
    if this.handlers.is_set() && !handlers(this)?.is_empty() {
        this.owns_wakeup.set(false);
        return Ok(());
    }
    // Until this has succeeded the loop owns it, and gives it back when it runs again or is closed.
    let before = set(py, -1)?;
    this.owns_wakeup.set(false);
    match before {
        Some(other) if other != -1 && !is_idle_number(this, other) => set(py, other).map(drop),
        _ => Ok(()),
    }
}

/// The loop has got a real pair, or a selectors object: signals that its handlers are for come by the pair from now on, as with asyncio.
/// Beside a selectors object, whose map Python code can read, there is no idle pipe.
pub(super) fn pair_made(base: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<()> {
    let py = base.py();
    let Some(this) = Ref::<UnixSelectorEventLoop>::cast(base.any()) else { return Ok(()) };
    let Some(socket) = this.real_csock(py).filter(|socket| !socket.is_none()) else { return Ok(()) };
    let number = socket.call_method0(intern!(py, "fileno"))?.extract()?;
    let pipe = this.pipe.borrow().clone();
    if let Some(pipe) = pipe {
        // Another thread cannot set it: the pipe stays then.
        let Some(old) = set(py, number)? else { return Ok(()) };
        if old != pipe.wakeup_fd() {
            set(py, old)?;
        }
        drop_pipe(this, &this.pipe)?;
        let mut signals = Vec::new();
        pipe.drain_into(&mut signals).map_err(|error| exceptions::os_error(py, error))?;
        if !signals.is_empty() {
            socket.call_method1(intern!(py, "send"), (slots::bytes(py, &signals)?,))?;
        }
    } else if this.owns_wakeup.get() && !handlers(this)?.is_empty() {
        set(py, number)?;
    }
    if !base.has_selector() || this.idle_pipe.borrow().is_none() {
        return Ok(());
    }
    if this.owns_wakeup.get() && handlers(this)?.is_empty() {
        match set(py, -1)? {
            None => return Ok(()),
            Some(other) if other != -1 && !is_idle_number(this, other) => drop(set(py, other)?),
            Some(_) => {}
        }
    }
    this.owns_wakeup.set(false);
    drop_pipe(this, &this.idle_pipe)
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
