//! Scheduling callbacks: `call_soon`, `call_later`, `call_at`, `call_soon_threadsafe`.
//!
//! Called by users and rooms; calls `events` for handles and queues.
//!
//! Each checks that the loop is open; in debug mode also that the caller is on the loop's thread and that the callback is
//! callable and no coroutine function. A Python override of `time` or `call_at` is honoured by `call_later`.
//!
//! `call_soon_threadsafe` from the loop's own thread, or while the loop does not run, is `call_soon`. From another thread the
//! handle goes to the inbox, which wakes the loop if it sleeps. Order is kept: whoever schedules on the loop's thread
//! takes the inbox in first.

use std::ffi::CStr;

use engine::clock::{Clock, Monotonic};
use engine::inbox::Wake;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};
use slots::intern;
use slots::{Args, Own, Ref, Signature, Spec, arg, kw_opt};

use super::BaseEventLoop;
use crate::events::{Entry, Handle, Hook, LoopCore, ThreadSafeHandle, TimerHandle};
use crate::face;
use crate::futures::given;

/// The loop's time: its own clock, unless `time` is overridden.
pub(super) fn now(this: &Ref<'_, LoopCore>) -> PyResult<f64> {
    if LoopCore::overrides(this, Hook::Time) {
        return this.any().call_method0(intern!(this.py(), "time"))?.extract();
    }
    Ok(Monotonic.now())
}

/// Debug mode's checks before a callback is scheduled.
#[cold]
fn check_debug(this: &Ref<'_, BaseEventLoop>, callback: &Bound<'_, PyAny>, method: &str, thread: bool) -> PyResult<()> {
    let py = this.py();
    if thread {
        this.any().call_method0(intern!(py, "_check_thread"))?;
    }
    this.any().call_method1(intern!(py, "_check_callback"), (callback, method)).map(drop)
}

fn check_callback(callback: &Bound<'_, PyAny>, method: &str) -> PyResult<()> {
    let py = callback.py();
    let coroutines = face(py, "coroutines")?;
    let is_function = if slots::VERSION >= (3, 14) { "_iscoroutinefunction" } else { "iscoroutinefunction" };
    if coroutines.call_method1(intern!(py, "iscoroutine"), (callback,))?.is_truthy()?
        || coroutines.call_method1(slots::Text(is_function), (callback,))?.is_truthy()?
    {
        return Err(PyTypeError::new_err(format!("coroutines cannot be used with {method}()")));
    }
    if !callback.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "a callable object was expected by {method}(), got {}",
            callback.repr()?
        )));
    }
    Ok(())
}

fn check_thread(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
    let id = this.thread_id.get();
    if id != 0 && id != slots::thread_ident(this.py()) {
        return Err(PyRuntimeError::new_err(
            "Non-thread-safe operation invoked on an event loop other than the current one",
        ));
    }
    Ok(())
}

#[inline]
fn context<'py>(py: Python<'py>, given_context: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    match given(&given_context) {
        Some(context) => Ok(context.clone()),
        None => slots::copy_current(py),
    }
}

/// A new handle at the end of the queue.
#[inline]
fn call_soon_unchecked<'py>(
    this: &Ref<'py, BaseEventLoop>,
    callback: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
    given_context: Option<&Bound<'py, PyAny>>,
) -> PyResult<Ref<'py, Handle>> {
    let py = this.py();
    let handle = Handle::create(py, callback.clone(), args, this.any().clone(), context(py, given_context)?)?;
    if this.debug.get() {
        Handle::note_source(&handle)?;
    }
    LoopCore::push(this.base(), Entry::handle(handle.clone()))?;
    Ok(handle)
}

fn call_soon(this: &Ref<'_, BaseEventLoop>, args: &Args<'_, '_>) -> PyResult<Own> {
    const SIGNATURE: Signature<2> = Signature::method("BaseEventLoop.call_soon", [arg("callback"), kw_opt("context")]);
    let ([callback, context], rest) = args.parse_rest(&SIGNATURE)?;
    let Some(callback) = callback else { return Err(PyTypeError::new_err("callback is missing")) };
    this.check_closed()?;
    if this.debug.get() {
        check_debug(this, callback, "call_soon", true)?;
    }
    Ok(call_soon_unchecked(this, callback, rest, context)?.into_any().into())
}

fn call_soon_threadsafe(this: &Ref<'_, BaseEventLoop>, args: &Args<'_, '_>) -> PyResult<Own> {
    const SIGNATURE: Signature<2> =
        Signature::method("BaseEventLoop.call_soon_threadsafe", [arg("callback"), kw_opt("context")]);
    let ([callback, given_context], rest) = args.parse_rest(&SIGNATURE)?;
    let Some(callback) = callback else { return Err(PyTypeError::new_err("callback is missing")) };
    this.check_closed()?;
    let py = this.py();
    if this.debug.get() {
        check_debug(this, callback, "call_soon_threadsafe", false)?;
    }
    let handle = thread_safe_handle(this, callback, rest, given_context)?;
    let overridden = LoopCore::overrides(this.base(), Hook::WriteToSelf);
    let running = this.thread_id.get();
    if overridden || this.ready_deque.is_set() || running == 0 || running == slots::thread_ident(py) {
        let entry = Entry { object: handle.any().clone().into(), argument: None, kind: None };
        LoopCore::push(this.base(), entry)?;
        if overridden || (running != 0 && running != slots::thread_ident(py)) {
            this.any().call_method0(intern!(py, "_write_to_self"))?;
        }
        return Ok(handle.into_any().into());
    }
    match this.send(&handle) {
        Ok(Wake::Needed) => {
            this.any().call_method0(intern!(py, "_write_to_self"))?;
        }
        Ok(Wake::NotNeeded) => {}
        Err(_) => return Err(PyRuntimeError::new_err("Event loop is closed")),
    }
    Ok(handle.into_any().into())
}

/// A new handle that any thread may cancel: of a class of its own from 3.14 on.
fn thread_safe_handle<'py>(
    this: &Ref<'py, BaseEventLoop>,
    callback: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
    given_context: Option<&Bound<'py, PyAny>>,
) -> PyResult<Ref<'py, Handle>> {
    let py = this.py();
    let (callback, event_loop, context) = (callback.clone(), this.any().clone(), context(py, given_context)?);
    if slots::VERSION >= (3, 14) {
        let handle = ThreadSafeHandle::create(py, callback, args, event_loop, context)?;
        if this.debug.get() {
            Handle::note_source(handle.base())?;
        }
        return Ok(handle.base().clone());
    }
    let handle = Handle::create(py, callback, args, event_loop, context)?;
    if this.debug.get() {
        Handle::note_source(&handle)?;
    }
    Ok(handle)
}

/// A native timer: `call_at` without a Python call, for rooms; only for loops that do not override it.
pub fn call_at_native<'py>(
    this: &Ref<'py, LoopCore>,
    when: f64,
    callback: Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
    context: Bound<'py, PyAny>,
) -> PyResult<Ref<'py, TimerHandle>> {
    this.check_closed()?;
    let timer = TimerHandle::create(this.py(), when, callback, args, this.any().clone(), context)?;
    LoopCore::push_timer(this, timer.clone())?;
    Ok(timer)
}

#[inline]
fn add_timer<'py>(
    this: &Ref<'py, BaseEventLoop>,
    when: f64,
    callback: &Bound<'py, PyAny>,
    args: &[Bound<'py, PyAny>],
    given_context: Option<&Bound<'py, PyAny>>,
    method: &str,
) -> PyResult<Ref<'py, TimerHandle>> {
    this.check_closed()?;
    if this.debug.get() {
        check_debug(this, callback, method, true)?;
    }
    let py = this.py();
    let timer = TimerHandle::create(py, when, callback.clone(), args, this.any().clone(), context(py, given_context)?)?;
    if this.debug.get() {
        Handle::note_source(timer.base())?;
    }
    Ok(timer)
}

fn call_at(this: &Ref<'_, BaseEventLoop>, args: &Args<'_, '_>) -> PyResult<Own> {
    const SIGNATURE: Signature<3> =
        Signature::method("BaseEventLoop.call_at", [arg("when"), arg("callback"), kw_opt("context")]);
    let ([Some(when), Some(callback), context], rest) = args.parse_rest(&SIGNATURE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    if when.is_none() {
        return Err(PyTypeError::new_err("when cannot be None"));
    }
    this.check_closed()?;
    let seconds = when.extract::<f64>().unwrap_or(f64::NEG_INFINITY);
    let timer = add_timer(this, seconds, callback, rest, context, "call_at")?;
    timer.keep_when(when);
    LoopCore::push_timer(this.base(), timer.clone())?;
    Ok(timer.into_any().into())
}

/// The seconds that a plain number means; no other number's methods are asked.
#[inline]
pub fn plain_seconds(number: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(float) = number.cast_exact::<PyFloat>() {
        return Some(float.value());
    }
    let int = number.cast_exact::<PyInt>().ok()?;
    // Most are small; a huge one is rounded as Python does it, or is too large for a float, which Python reports.
    match int.extract::<i32>() {
        Ok(small) => Some(f64::from(small)),
        Err(_) => int.extract::<f64>().ok(),
    }
}

fn call_later(this: &Ref<'_, BaseEventLoop>, args: &Args<'_, '_>) -> PyResult<Own> {
    const SIGNATURE: Signature<3> =
        Signature::method("BaseEventLoop.call_later", [arg("delay"), arg("callback"), kw_opt("context")]);
    let ([Some(delay), Some(callback), given_context], rest) = args.parse_rest(&SIGNATURE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    if delay.is_none() {
        return Err(PyTypeError::new_err("delay must not be None"));
    }
    let core = this.base();
    let py = this.py();
    let straight = || !LoopCore::overrides(core, Hook::Time) && !LoopCore::overrides(core, Hook::CallAt);
    if let Some(seconds) = plain_seconds(delay).filter(|_| straight()) {
        let when = Monotonic.now() + seconds;
        let timer = add_timer(this, when, callback, rest, given_context, "call_at")?;
        LoopCore::push_timer(core, timer.clone())?;
        return Ok(timer.into_any().into());
    }
    let when = this.any().call_method0(intern!(py, "time"))?.add(delay)?;
    let mut all = vec![when, callback.clone()];
    all.extend(rest.iter().cloned());
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "context"), given_context)?;
    let call_at = this.any().getattr(intern!(py, "call_at"))?;
    call_at.call(slots::tuple(py, all)?, Some(&keywords)).map(Own::new)
}

pub(super) fn define(spec: &mut Spec<BaseEventLoop>) {
    const CALL_SOON: Signature<3> =
        Signature::method("BaseEventLoop._call_soon", [arg("callback"), arg("args"), arg("context")]);
    const CHECK: Signature<2> = Signature::method("BaseEventLoop._check_callback", [arg("callback"), arg("method")]);
    const SOON: &CStr = c"call_soon($self, /, callback, *args, context=None)\n--\n\n\
        Have callback(*args) called at the loop's next turn, in context (by default a copy of the current one).\n\
        Answers a Handle to cancel it. Not thread-safe.";
    const LATER: &CStr = c"call_later($self, /, delay, callback, *args, context=None)\n--\n\n\
        Have callback(*args) called in delay seconds. Answers a TimerHandle. Not thread-safe.";
    const AT: &CStr = c"call_at($self, /, when, callback, *args, context=None)\n--\n\n\
        Have callback(*args) called when loop.time() shows when. Answers a TimerHandle. Not thread-safe.";
    const THREADSAFE: &CStr = c"call_soon_threadsafe($self, /, callback, *args, context=None)\n--\n\n\
        As call_soon(), from any thread or signal handler; wakes the loop. RuntimeError if it is closed.";
    spec.method(c"call_soon", SOON, call_soon)
        .method(c"call_later", LATER, call_later)
        .method(c"call_at", AT, call_at)
        .method(c"call_soon_threadsafe", THREADSAFE, call_soon_threadsafe)
        .method(
            c"_call_soon",
            c"_call_soon($self, /, callback, args, context)\n--\n\nPut a new handle in the queue.",
            |this, args| match args.parse(&CALL_SOON)? {
                [Some(callback), Some(args), Some(context)] => {
                    let args = slots::items(args)?;
                    Ok(call_soon_unchecked(this, callback, &args, Some(context))?.into_any().into()) as PyResult<Own>
                }
                _ => Err(PyTypeError::new_err("_call_soon() takes a callback, its arguments and a context")),
            },
        )
        .method(
            c"_check_callback",
            c"_check_callback($self, /, callback, method)\n--\n\nDebug mode's check of a callback.",
            |_, args| match args.parse(&CHECK)? {
                [Some(callback), Some(method)] => check_callback(callback, &method.extract::<String>()?),
                _ => Err(PyTypeError::new_err("_check_callback() takes a callback and a method's name")),
            },
        )
        .method0(
            c"_check_thread",
            c"_check_thread($self, /)\n--\n\nDebug mode's check of the caller's thread.",
            check_thread,
        )
        .method0(c"time", c"time($self, /)\n--\n\nThe loop's clock, in seconds: time.monotonic().", |_| {
            Ok(Monotonic.now())
        })
        .method1_named(
            c"_add_callback",
            c"_add_callback($self, /, handle)\n--\n\nPut a handle in the queue, unless it is cancelled.",
            || ("BaseEventLoop._add_callback", "handle"),
            |this, handle| {
                let entry = Entry { object: handle.clone().into(), argument: None, kind: None };
                if entry.is_cancelled(this.py())? { Ok(()) } else { LoopCore::push(this.base(), entry) }
            },
        )
        .method1_named(
            c"_add_callback_signalsafe",
            c"_add_callback_signalsafe($self, /, handle)\n--\n\n_add_callback() for signal handlers: wakes the loop.",
            || ("BaseEventLoop._add_callback_signalsafe", "handle"),
            |this, handle| {
                let py = this.py();
                this.any().call_method1(intern!(py, "_add_callback"), (handle,))?;
                this.any().call_method0(intern!(py, "_write_to_self")).map(drop)
            },
        )
        .method1_named(
            c"_timer_handle_cancelled",
            c"_timer_handle_cancelled($self, /, handle)\n--\n\nCount a cancelled timer.",
            || ("BaseEventLoop._timer_handle_cancelled", "handle"),
            |this, handle| {
                match Ref::<TimerHandle>::cast(handle) {
                    Some(timer) => this.note_timer_cancelled(timer),
                    None if handle.getattr(intern!(this.py(), "_scheduled"))?.is_truthy()? => {
                        this.count_cancelled_timer()
                    }
                    None => {}
                }
                Ok(())
            },
        )
        .method0(
            c"_write_to_self",
            c"_write_to_self($self, /)\n--\n\nWake the loop from its wait; from any thread.",
            |_| Err::<(), _>(BaseEventLoop::not_implemented("_write_to_self")),
        );
}
