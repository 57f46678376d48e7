//! What wakes a loop from its wait: an eventfd, or a real pair of sockets once Python code has asked for `_csock` or `_ssock`.
//!
//! Called when a loop is made and closed, by the methods `_make_self_pipe`, `_close_self_pipe`, `_read_from_self`, `_write_to_self`, and by
//! attribute access; calls `engine::sys::Waker`, or the sockets by their Python methods, as asyncio does.
//!
//! States: none (before `__init__`, and for a class that overrides `_make_self_pipe`) -> native (eventfd) -> real (a pair, watched by
//! `_read_from_self`, written by every `_write_to_self`) -> closed (both attributes None, for good). The pair is made at the first look
//! at either attribute, and with every selectors object, whose map Python code can read. Assigning an attribute also leads to real.
//!
//! Invariants: exactly one descriptor wakes the loop, and `_internal_fds` counts it. A wake in flight passes to the pair.
//!
//! Differs from CPython: a forked child that runs the loop on its own poller gets a pair of its own; asyncio's child shares the parent's.

use std::rc::Rc;

use engine::sys::{Interest, Poller, Registrar, Trigger, Waker};
use pyo3::exceptions::{PyAttributeError, PyBlockingIOError, PyInterruptedError, PyOSError};
use pyo3::prelude::*;
use pyo3::types::PyBool;
use slots::intern;
use slots::{Own, Ref, Spec};

use super::{BaseSelectorEventLoop, WAKER_TOKEN, core};
use crate::events::core::is_method_descriptor;
use crate::events::{Hook, LoopCore};
use crate::log::logger;
use crate::{exceptions, face};

impl BaseSelectorEventLoop {
    /// What `_make_self_pipe` does.
    fn make_self_pipe(this: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<()> {
        let poller = this.poller.borrow().clone();
        match poller {
            Some(poller) => BaseSelectorEventLoop::make_waker(this, &poller)?,
            None => make_pair(this)?,
        }
        this.internal_fds.set(this.internal_fds.get() + 1);
        Ok(())
    }

    /// The eventfd and its place in the poller.
    fn make_waker(this: &Ref<'_, BaseSelectorEventLoop>, poller: &Poller) -> PyResult<()> {
        let failed = |error| exceptions::os_error(this.py(), error);
        let waker = Rc::new(Waker::new().map_err(failed)?);
        *this.waker.borrow_mut() = Some(waker.clone());
        poller.add(waker.fd(), WAKER_TOKEN, Interest::Read, Trigger::Level).map_err(failed)
    }

    /// In a forked child whose poller is new: the parent goes on to use what wakes its loop.
    pub(super) fn renew_self_pipe(this: &Ref<'_, BaseSelectorEventLoop>, poller: &Poller) -> PyResult<()> {
        if !this.has_pair.get() {
            return BaseSelectorEventLoop::make_waker(this, poller);
        }
        close_pair(this)?;
        make_pair(this)?;
        BaseSelectorEventLoop::tell_pair_made(this)
    }

    /// Replaces the eventfd by a pair of sockets; nothing to do where there is one, or none any more.
    #[cold]
    pub(super) fn expose_self_pipe(this: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<()> {
        if this.has_pair.get() || this.waker.borrow().is_none() {
            return Ok(());
        }
        make_pair(this)?;
        let waker = this.waker.borrow_mut().take();
        if waker.is_some_and(|waker| waker.drain().unwrap_or(false)) {
            write_to_pair(this)?;
        }
        BaseSelectorEventLoop::tell_pair_made(this)
    }

    /// Lets the derived class know of the pair or the selectors object.
    pub(super) fn tell_pair_made(this: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<()> {
        match this.pair_made.get() {
            Some(pair_made) => pair_made(this),
            None => Ok(()),
        }
    }

    /// A pair from the start, where a derived class has its own way to read from it.
    pub(super) fn expose_overridden(this: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<()> {
        let py = this.py();
        let kind = this.any().get_type();
        for name in [intern!(py, "_read_from_self"), intern!(py, "_process_self_data")] {
            if !is_method_descriptor(&kind.getattr(name)?) {
                return BaseSelectorEventLoop::expose_self_pipe(this);
            }
        }
        Ok(())
    }

    /// What `_close_self_pipe` does.
    fn close_self_pipe(this: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<()> {
        let waker = this.waker.borrow_mut().take();
        match (&waker, this.has_pair.get()) {
            (Some(_), _) => {
                this.ssock.set(this.py().None().into_bound(this.py()));
                this.csock.set(this.py().None().into_bound(this.py()));
            }
            (None, true) => close_pair(this)?,
            (None, false) => return Ok(()),
        }
        drop(waker);
        this.internal_fds.set(this.internal_fds.get() - 1);
        Ok(())
    }
}

fn make_pair(this: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<()> {
    let py = this.py();
    let sockets = face(py, "selector_events")?.getattr(intern!(py, "socket"))?;
    let pair = sockets.call_method0(intern!(py, "socketpair"))?;
    let (reader, writer) = (pair.get_item(0)?, pair.get_item(1)?);
    for socket in [&reader, &writer] {
        socket.call_method1(intern!(py, "setblocking"), (false,))?;
    }
    let number = reader.call_method0(intern!(py, "fileno"))?;
    this.ssock.set(reader.clone());
    this.csock.set(writer.clone());
    mark(this);
    let read = this.any().getattr(intern!(py, "_read_from_self"))?;
    let added = this.any().call_method1(intern!(py, "_add_reader"), (number, read));
    if added.is_err() && this.waker.borrow().is_some() {
        // The eventfd goes on waking the loop.
        this.has_pair.set(false);
        this.ssock.unset();
        this.csock.unset();
        reader.call_method0(intern!(py, "close"))?;
        writer.call_method0(intern!(py, "close"))?;
    }
    added.map(drop)
}

/// From now on the loop is woken by `_write_to_self`.
fn mark(this: &Ref<'_, BaseSelectorEventLoop>) {
    this.has_pair.set(true);
    LoopCore::ask_by_name(core(this), Hook::WriteToSelf);
}

fn close_pair(this: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<()> {
    let py = this.py();
    let number = this.ssock.get_or_none(py).call_method0(intern!(py, "fileno"))?;
    this.any().call_method1(intern!(py, "_remove_reader"), (number,))?;
    for place in [&this.ssock, &this.csock] {
        place.get_or_none(py).call_method0(intern!(py, "close"))?;
        place.set(py.None().into_bound(py));
    }
    Ok(())
}

/// What `_write_to_self` does with a pair: an error of the system is logged in debug mode, since the loop may be closing.
#[cold]
fn write_to_pair(this: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<()> {
    let py = this.py();
    let writer = this.csock.get_or_none(py);
    if writer.is_none() {
        return Ok(());
    }
    match writer.call_method1(intern!(py, "send"), (slots::bytes(py, b"\0")?,)) {
        Err(error) if error.is_instance_of::<PyOSError>(py) => {
            if !this.debug.get() {
                return Ok(());
            }
            let logger = logger(py, "selector_events")?;
            let text = ("Fail to write a null byte into the self-pipe socket",);
            let told = PyBool::new(py, true).to_owned().into_any();
            slots::handling(error.value(py).as_any(), || logger.log_error("debug", text, Some(&told)))
        }
        other => other.map(drop),
    }
}

/// What `_read_from_self` does with a pair: all bytes that are there go to `_process_self_data`.
fn read_from_pair(this: &Ref<'_, BaseSelectorEventLoop>) -> PyResult<()> {
    let py = this.py();
    loop {
        let taken = this.ssock.get_or_none(py).call_method1(intern!(py, "recv"), (4096,)).and_then(|data| {
            let some = data.is_truthy()?;
            if some {
                this.any().call_method1(intern!(py, "_process_self_data"), (data,))?;
            }
            Ok(some)
        });
        match taken {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if error.is_instance_of::<PyInterruptedError>(py) => {}
            Err(error) if error.is_instance_of::<PyBlockingIOError>(py) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn look<'py>(this: &Ref<'py, BaseSelectorEventLoop>, reads: bool) -> PyResult<Own> {
    BaseSelectorEventLoop::expose_self_pipe(this)?;
    let (place, name) = if reads { (&this.ssock, "_ssock") } else { (&this.csock, "_csock") };
    match place.get(this.py()) {
        Some(socket) => Ok(Own::new(socket)),
        None => {
            let text = format!("'{}' object has no attribute '{name}'", this.any().get_type().name()?);
            Err(PyAttributeError::new_err(text))
        }
    }
}

fn assign(this: &Ref<'_, BaseSelectorEventLoop>, reads: bool, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    BaseSelectorEventLoop::expose_self_pipe(this)?;
    let place = if reads { &this.ssock } else { &this.csock };
    match value {
        Some(value) => {
            mark(this);
            place.set(value.clone());
        }
        None => place.unset(),
    }
    Ok(())
}

pub(super) fn define(spec: &mut Spec<BaseSelectorEventLoop>) {
    spec.method0(
        c"_make_self_pipe",
        c"_make_self_pipe($self, /)\n--\n\nMake what wakes the loop.",
        BaseSelectorEventLoop::make_self_pipe,
    )
    .method0(
        c"_close_self_pipe",
        c"_close_self_pipe($self, /)\n--\n\nClose what wakes the loop.",
        BaseSelectorEventLoop::close_self_pipe,
    )
    .method0(c"_read_from_self", c"_read_from_self($self, /)\n--\n\nTake notice of a wake.", |this| {
        let waker = this.waker.borrow().clone();
        match waker {
            Some(waker) => waker.drain().map(drop).map_err(|error| exceptions::os_error(this.py(), error)),
            None => read_from_pair(this),
        }
    })
    .method1_named(
        c"_process_self_data",
        c"_process_self_data($self, /, data)\n--\n\nWhat is done with bytes that have woken the loop: nothing.",
        || ("BaseSelectorEventLoop._process_self_data", "data"),
        |_, _| Ok(()),
    )
    .method0(
        c"_write_to_self",
        c"_write_to_self($self, /)\n--\n\nWake the loop from its wait; from any thread.",
        |this| {
            let waker = this.waker.borrow().clone();
            match waker {
                // An eventfd that cannot be written to is one whose loop is about to poll anyway.
                Some(waker) => {
                    let _ = waker.wake();
                    Ok(())
                }
                None => write_to_pair(this),
            }
        },
    )
    .get_set(
        c"_ssock",
        c"The end of the pair that the loop reads from.",
        |this| look(this, true),
        |this, value| assign(this, true, value),
    )
    .get_set(
        c"_csock",
        c"The end of the pair that wakes the loop.",
        |this| look(this, false),
        |this, value| assign(this, false, value),
    );
}
