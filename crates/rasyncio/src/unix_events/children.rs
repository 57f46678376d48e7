//! Child processes of a loop: started under a transport, their exit noticed by the loop's own poller (asyncio's
//! `_make_subprocess_transport`).
//!
//! Called by `subprocess_exec` and `subprocess_shell`, by the poller, and when the loop is closed; calls the face's
//! `_UnixSubprocessTransport`, the transport's `_process_exited`, or the watcher that the user has chosen.
//!
//! Who notices the exit: a watcher, if somebody has set one or looked at the policy's (from 3.14 on the loop's `_watcher`). Otherwise
//! the loop itself, by a descriptor of the process in its poller: without thread and signal, on any thread, whatever SIGCHLD is. Where
//! the system gives no such descriptor a thread waits, as `ThreadedChildWatcher` does.
//!
//! States of a watched child: running, known to the loop -> ended, reaped and told in one step. Closing the loop lets all go: who has
//! ended, or was killed and ends in a moment, is reaped.
//!
//! A start that is cancelled or fails kills the process and waits for its end.
//!
//! Hooks: where `os.waitpid` is somebody else's, it is called.
//!
//! Differs from CPython: the loop reaps by the descriptor, so that it never takes another child for its own; an exit code that Popen
//! knows already is reported, and not 255. One that was reaped by somebody else before there was a descriptor is started and has ended
//! with 255; asyncio raises ProcessLookupError. On 3.11 the default is the descriptor, not the thread.

use std::ffi::CStr;

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PySystemExit, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use slots::intern;
use slots::{Args, Class, Co, Kept, Own, Ref, Signature, Spec, arg, class, opt};

use super::UnixSelectorEventLoop;
use super::watchers::{UNKNOWN, Waited, log_warning, os, wait_for};
use crate::base_events::create_future;
use crate::base_subprocess::Child;
use crate::events::Kind;
use crate::log::logger;
use crate::selector_events::{core, watch};
use crate::{face, library};

/// A watched process has ended.
static ENDED: Kind = Kind {
    run: |object, _| match Ref::<Child>::cast(object) {
        Some(child) => has_ended(child),
        None => Ok(()),
    },
    event_loop: |object| Ref::<Child>::cast(object)?.core.any().get(object.py()).map(Own::new),
    context: |object| Ref::<Child>::cast(object)?.context.get(object.py()).map(Own::new),
    name: "ChildExit",
    qualname: Some("PidfdChildWatcher._do_wait"),
};

fn has_ended(child: &Ref<'_, Child>) -> PyResult<()> {
    let py = child.py();
    let (Some(fd), Some(core)) = (child.fd(), child.core.get(py)) else { return Ok(()) };
    watch::remove_reader(&core, fd)?;
    watch::release(&core, fd)?;
    let known = Ref::<UnixSelectorEventLoop>::cast(core.any()).and_then(|this| this.children.borrow_mut().remove(&fd));
    drop(known);
    let Some(transport) = child.transport.take(py) else { return Ok(()) };
    let pid = transport.call_method0(intern!(py, "get_pid"))?;
    let code = if os(py)?.getattr(intern!(py, "waitpid"))?.is_instance_of::<PyCFunction>() {
        Child::reap(child).map(|code| code.into_pyobject(py)).transpose()?.map(Bound::into_any)
    } else {
        // Somebody has put his own in its place.
        child.set_reaped();
        match wait_for(&pid, true)? {
            Waited::Ended { code, .. } => Some(code),
            Waited::Running | Waited::Unknown => None,
        }
    };
    if let (true, Some(code)) = (slots::VERSION < (3, 12) && core.debug.get(), &code) {
        let logger = logger(py, "unix_events")?;
        logger.log("debug", ("process %s exited with returncode %s", &pid, code))?;
    }
    let code = match code {
        Some(code) => code,
        None => code_elsewhere(&transport, &pid)?,
    };
    core.any().call_method1(intern!(py, "_child_watcher_callback"), (pid, code, transport)).map(drop)
}

/// The exit code of a process that somebody else has reaped.
fn code_elsewhere<'py>(transport: &Bound<'py, PyAny>, pid: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = transport.py();
    let process = transport.getattr(intern!(py, "_proc"))?;
    if let Some(code) = process.getattr_opt(intern!(py, "returncode"))?.filter(|code| !code.is_none()) {
        return Ok(code);
    }
    log_warning(py, "child process pid %d exit status already read:  will report returncode 255", &[pid])?;
    Ok(UNKNOWN.into_pyobject(py)?.into_any())
}

/// What `_child_watcher_callback` does: tells the transport, as late as the running Python's asyncio does.
pub(super) fn tell<'py>(this: &Ref<'py, UnixSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<()> {
    const TELL: Signature<3> = Signature::method(
        "_UnixSelectorEventLoop._child_watcher_callback",
        [arg("pid"), arg("returncode"), arg("transp")],
    );
    let py = this.py();
    let [_, Some(code), Some(transport)] = args.parse(&TELL)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    if let Some(child) = transport.getattr_opt(intern!(py, "_child"))? {
        if let Some(child) = Ref::<Child>::cast(&child) {
            child.set_reaped();
        }
    }
    // Popen would find no child, and take that for an exit code of 0.
    let process = transport.getattr(intern!(py, "_proc"))?;
    if !process.is_none() && process.getattr(intern!(py, "returncode"))?.is_none() {
        process.setattr(intern!(py, "returncode"), code)?;
    }
    let exited = transport.getattr(intern!(py, "_process_exited"))?;
    if slots::VERSION >= (3, 14) {
        return exited.call1((code,)).map(drop);
    }
    let threadsafe = this.any().getattr(intern!(py, "call_soon_threadsafe"))?;
    if slots::VERSION >= (3, 12) {
        return threadsafe.call1((exited, code)).map(drop);
    }
    threadsafe.call1((this.any().getattr(intern!(py, "call_soon"))?, exited, code)).map(drop)
}

/// Whether the system lets this loop have descriptors of processes; asked once.
fn has_descriptors(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<bool> {
    let py = this.py();
    if let Some(known) = this.has_descriptors.get() {
        return Ok(known);
    }
    let has = face(py, "unix_events")?.call_method0(intern!(py, "can_use_pidfd"))?.is_truthy()?;
    this.has_descriptors.set(Some(has));
    Ok(has)
}

/// The loop's `_watcher`, made now if there is none (3.14).
pub(super) fn own_watcher<'py>(this: &Ref<'py, UnixSelectorEventLoop>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(watcher) = this.watcher.get(py) {
        return Ok(watcher);
    }
    let name = match has_descriptors(this)? {
        true if cfg!(Py_3_14) => "_PidfdChildWatcher",
        true => "PidfdChildWatcher",
        false => THREADED,
    };
    let watcher = face(py, "unix_events")?.getattr(slots::Text(name))?.call0()?;
    this.watcher.set(watcher.clone());
    Ok(watcher)
}

const THREADED: &str = if cfg!(Py_3_14) { "_ThreadedChildWatcher" } else { "ThreadedChildWatcher" };

/// The watcher that somebody has chosen; None if the loop is to notice exits itself.
#[cfg(Py_3_14)]
fn chosen_watcher<'py>(this: &Ref<'py, UnixSelectorEventLoop>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if this.watcher.is_set() || !has_descriptors(this)? { own_watcher(this).map(Some) } else { Ok(None) }
}

/// The watcher that somebody has chosen; None if the loop is to notice exits itself.
#[cfg(not(Py_3_14))]
fn chosen_watcher<'py>(this: &Ref<'py, UnixSelectorEventLoop>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = this.py();
    let policy = crate::events::policy::policy(py)?;
    if super::policy::needs_no_watcher(&policy)? {
        return if has_descriptors(this)? { Ok(None) } else { fallback(this).map(Some) };
    }
    let warnings = face(py, "unix_events")?.getattr(intern!(py, "warnings"))?;
    let quiet = warnings.call_method0(intern!(py, "catch_warnings"))?;
    quiet.call_method0(intern!(py, "__enter__"))?;
    let deprecation = py.get_type::<pyo3::exceptions::PyDeprecationWarning>();
    let watcher = warnings
        .call_method1(intern!(py, "simplefilter"), ("ignore", deprecation))
        .and_then(|_| face(py, "events")?.call_method0(intern!(py, "get_child_watcher")));
    quiet.call_method1(intern!(py, "__exit__"), (py.None(), py.None(), py.None()))?;
    watcher.map(Some)
}

/// What is begun in a `with` block of the watcher, up to 3.13. Answers who is asked to watch: up to 3.11 what the block gives.
fn enter<'py>(watcher: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = watcher.py();
    if cfg!(Py_3_14) {
        return Ok(watcher.clone());
    }
    let entered = watcher.call_method0(intern!(py, "__enter__"))?;
    let asked = if slots::VERSION < (3, 12) { entered } else { watcher.clone() };
    if asked.call_method0(intern!(py, "is_active"))?.is_truthy()? {
        return Ok(asked);
    }
    let error =
        PyRuntimeError::new_err("asyncio.get_child_watcher() is not activated, subprocess support is not installed.");
    leave(watcher, Some(&error))?;
    Err(error)
}

fn leave(watcher: &Bound<'_, PyAny>, error: Option<&PyErr>) -> PyResult<()> {
    let py = watcher.py();
    if cfg!(Py_3_14) {
        return Ok(());
    }
    let details = match error {
        Some(error) => (error.get_type(py).into_any(), error.value(py).clone().into_any(), error.traceback(py)),
        None => (py.None().into_bound(py), py.None().into_bound(py), None),
    };
    watcher.call_method1(intern!(py, "__exit__"), details).map(drop)
}

/// The body of `_make_subprocess_transport`.
pub(super) fn make<'py>(this: &Ref<'py, UnixSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const MAKE: Signature<8> = Signature::method(
        "_UnixSelectorEventLoop._make_subprocess_transport",
        [
            arg("protocol"),
            arg("args"),
            arg("shell"),
            arg("stdin"),
            arg("stdout"),
            arg("stderr"),
            arg("bufsize"),
            opt("extra"),
        ],
    );
    let py = this.py();
    let (parsed, keywords) = args.parse_extra(&MAKE)?;
    let mut positional = vec![this.any().clone()];
    positional.extend(parsed[..7].iter().flatten().map(|&value| value.clone()));
    keywords.set_item(intern!(py, "extra"), parsed[7])?;
    let kept = [this.any().clone(), slots::tuple(py, positional)?.into_any(), keywords.into_any()];
    let name = "_UnixSelectorEventLoop._make_subprocess_transport";
    slots::coroutine(py, name, kept, |co, [event_loop, positional, keywords]| async move {
        let this = || co.get_as::<UnixSelectorEventLoop>(event_loop);
        let watcher = match chosen_watcher(&this())? {
            Some(watcher) => {
                let asked = enter(&watcher)?;
                Some([co.keep(watcher), co.keep(asked)])
            }
            None => None,
        };
        let asked = watcher.map(|[_, asked]| asked);
        let made = start(&co, [event_loop, positional, keywords], asked).await;
        if let Some([watcher, _]) = watcher {
            leave(&co.get(watcher), made.as_ref().err())?;
        }
        made
    })
}

async fn start(co: &Co, [event_loop, positional, keywords]: [Kept; 3], watcher: Option<Kept>) -> PyResult<Own> {
    let [transport, waiter] = begin(co, [event_loop, positional, keywords], watcher)?;
    let Err(error) = co.wait(waiter).await else { return Ok(Own::new(co.get(transport))) };
    if error.is_instance_of::<PySystemExit>(co.py()) || error.is_instance_of::<PyKeyboardInterrupt>(co.py()) {
        return Err(error);
    }
    let error = co.keep_error(error);
    let waiting = end(co, transport)?;
    co.wait(waiting).await?;
    Err(co.error(error))
}

/// Starts the process, and has its exit noticed.
fn begin(co: &Co, [event_loop, positional, keywords]: [Kept; 3], watcher: Option<Kept>) -> PyResult<[Kept; 2]> {
    let py = co.py();
    let this = co.get_as::<UnixSelectorEventLoop>(event_loop);
    let waiter = create_future(this.any())?;
    let keywords = co.get(keywords).cast_into::<PyDict>()?;
    keywords.set_item(intern!(py, "waiter"), &waiter)?;
    let class = face(py, "unix_events")?.getattr(intern!(py, "_UnixSubprocessTransport"))?;
    let transport = class.call(co.get(positional).cast_into::<PyTuple>()?, Some(&keywords))?;
    let pid = transport.call_method0(intern!(py, "get_pid"))?;
    let watcher = match watcher {
        Some(watcher) => Some(co.get(watcher)),
        None => (!notice(&this, &transport, pid.extract()?)?).then(|| fallback(&this)).transpose()?,
    };
    if let Some(watcher) = watcher {
        let child = match Child::open(py, pid.extract()?)? {
            Some(child) => child,
            None => Child::bare(py)?,
        };
        transport.setattr(intern!(py, "_child"), child.any())?;
        let told = this.any().getattr(intern!(py, "_child_watcher_callback"))?;
        watcher.call_method1(intern!(py, "add_child_handler"), (pid, told, &transport))?;
    }
    Ok([co.keep(transport), co.keep(waiter)])
}

/// The watcher by thread, where the poller cannot do it.
fn fallback<'py>(this: &Ref<'py, UnixSelectorEventLoop>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if !this.fallback.is_set() {
        this.fallback.set(face(py, "unix_events")?.getattr(slots::Text(THREADED))?.call0()?);
    }
    Ok(this.fallback.get_or_none(py))
}

/// Has the loop notice the exit; false if it cannot.
fn notice<'py>(this: &Ref<'py, UnixSelectorEventLoop>, transport: &Bound<'py, PyAny>, pid: i32) -> PyResult<bool> {
    let py = this.py();
    let Some(child) = Child::open(py, pid)? else { return Ok(false) };
    let Some(fd) = child.fd() else { return Ok(false) };
    let core = core(this.base());
    child.core.set(core.clone());
    child.transport.set(transport.clone());
    // Up to 3.11 it is a thread that asyncio has tell the loop, and a thread's context is empty.
    child.context.set(match slots::VERSION < (3, 12) {
        true => library(py, "contextvars")?.getattr(intern!(py, "Context"))?.call0()?,
        false => slots::copy_current(py)?,
    });
    if watch::add_resident_reader(core, fd, child.any().clone(), &ENDED).is_err() {
        return Ok(false);
    }
    child.set_watched();
    transport.setattr(intern!(py, "_child"), child.any())?;
    let known = this.children.borrow_mut().insert(fd, Own::new(child.into_any()));
    drop(known);
    Ok(true)
}

/// Closes the transport of a start that failed; what is to be awaited for the process's end.
fn end(co: &Co, transport: Kept) -> PyResult<Kept> {
    let py = co.py();
    let transport = co.get(transport);
    transport.call_method0(intern!(py, "close"))?;
    let waiting = transport.call_method0(intern!(py, "_wait"))?;
    if slots::VERSION < (3, 14) {
        return Ok(co.keep(waiting));
    }
    // A second cancellation must not leave a zombie.
    Ok(co.keep(face(py, "tasks")?.call_method1(intern!(py, "shield"), (waiting,))?))
}

/// The loop was closed: lets all children go, and reaps whom it can.
pub(super) fn leave_all(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    let py = this.py();
    let children = std::mem::take(&mut *this.children.borrow_mut());
    for child in children.into_values() {
        let Some(child) = Ref::<Child>::cast(child.bind(py)).cloned() else { continue };
        let Some(transport) = child.transport.take(py) else { continue };
        let is_killed = transport.call_method0(intern!(py, "is_closing"))?.is_truthy()?;
        let process = transport.getattr(intern!(py, "_proc"))?;
        if let Some(code) = child.leave(is_killed) {
            if !process.is_none() && process.getattr(intern!(py, "returncode"))?.is_none() {
                process.setattr(intern!(py, "returncode"), code)?;
            }
        }
    }
    Ok(())
}

class! {
    /// The native half of `_UnixSubprocessTransport`.
    pub struct UnixSubprocessTransport {}
}

/// The Popen object, as `_proc`.
fn open_process<'py>(this: &Ref<'py, UnixSubprocessTransport>, args: &Args<'_, 'py>) -> PyResult<()> {
    const START: Signature<6> = Signature::method(
        "_UnixSubprocessTransport._start",
        [arg("args"), arg("shell"), arg("stdin"), arg("stdout"), arg("stderr"), arg("bufsize")],
    );
    const NAMES: [&str; 5] = ["shell", "stdin", "stdout", "stderr", "bufsize"];
    let py = this.py();
    let ([program, values @ ..], keywords) = args.parse_extra(&START)?;
    for (name, value) in NAMES.into_iter().zip(values) {
        keywords.set_item(name, value)?;
    }
    keywords.set_item(intern!(py, "universal_newlines"), false)?;
    let popen = face(py, "unix_events")?.getattr(intern!(py, "subprocess"))?.getattr(intern!(py, "Popen"))?;
    this.any().setattr(intern!(py, "_proc"), popen.call((program,), Some(&keywords))?)
}

impl Class for UnixSubprocessTransport {
    const NAME: &'static CStr = c"rasyncio.unix_events._NativeSubprocessTransport";
    const DOC: &'static CStr = c"_NativeSubprocessTransport(loop, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=None, extra=None, **kwargs)\n--\n\n\
        The native half of the transport of child processes.";
    const BARE: bool = true;
    const CALLABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.method(
            c"_start",
            c"_start($self, /, args, shell, stdin, stdout, stderr, bufsize, **kwargs)\n--\n\nMake the Popen object.",
            open_process,
        );
    }
}
