//! `PidfdChildWatcher` (`_PidfdChildWatcher` from 3.14): the exit of a process as an event in the running loop's poller.
//!
//! Called by `_make_subprocess_transport` and by users, on a running loop's thread; calls `os.pidfd_open`, the loop's
//! `_add_reader` and, when the process has ended, `os.waitpid` and the callback.
//!
//! A watched process: its descriptor is in the poller -> it has ended, the descriptor is closed, the callback is called.
//!
//! On 3.11 the watcher works by the loop that it was attached to, and knows its processes; later it works by whichever loop runs, and
//! forgets them.

use std::ffi::CStr;

use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, arg, class};

#[cfg(not(Py_3_14))]
use super::AbstractChildWatcher;
use super::{UNKNOWN, Waited, call_back, handler_args, log_warning, os, wait_for};
use crate::events::get_running_loop;

#[cfg(not(Py_3_14))]
class! {
    /// Watches by descriptors of processes.
    pub struct PidfdChildWatcher: AbstractChildWatcher {
        event_loop: Slot,
        /// Process -> (descriptor, callback, args); 3.11 only.
        callbacks: Slot,
    }
}

#[cfg(Py_3_14)]
class! {
    /// Watches by descriptors of processes.
    pub struct PidfdChildWatcher {
        event_loop: Slot,
        callbacks: Slot,
    }
}

/// Whether the watcher belongs to one loop, as on 3.11.
const ATTACHED: bool = cfg!(not(Py_3_12));

fn loop_of<'py>(this: &Ref<'py, PidfdChildWatcher>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if ATTACHED { Ok(this.event_loop.get_or_none(py)) } else { get_running_loop(py) }
}

fn callbacks<'py>(this: &Ref<'py, PidfdChildWatcher>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if !this.callbacks.is_set() {
        this.callbacks.set(slots::dict(py)?.into_any());
    }
    Ok(this.callbacks.get_or_none(py))
}

fn add_handler<'py>(this: &Ref<'py, PidfdChildWatcher>, args: &Args<'_, 'py>) -> PyResult<()> {
    const ADD: Signature<2> = Signature::method("PidfdChildWatcher.add_child_handler", [arg("pid"), arg("callback")]);
    let py = this.py();
    let (pid, callback, args) = handler_args(&ADD, args)?;
    let event_loop = loop_of(this)?;
    let own = this.any().getattr(intern!(py, "_do_wait"))?;
    let open = || os(py)?.call_method1(intern!(py, "pidfd_open"), (pid,));
    if !ATTACHED {
        let fd = open()?;
        return event_loop
            .call_method1(intern!(py, "_add_reader"), (&fd, own, pid, &fd, callback, args))
            .or_else(|error| os(py)?.call_method1(intern!(py, "close"), (fd,)).and(Err(error)))
            .map(drop);
    }
    let known = callbacks(this)?;
    let fd = match known.call_method1(intern!(py, "get"), (pid,))? {
        entry if entry.is_none() => {
            let fd = open()?;
            event_loop.call_method1(intern!(py, "_add_reader"), (&fd, own, pid))?;
            fd
        }
        entry => entry.get_item(0)?,
    };
    known.set_item(pid, (fd, callback, args))
}

fn has_ended<'py>(this: &Ref<'py, PidfdChildWatcher>, args: &Args<'_, 'py>) -> PyResult<()> {
    let py = this.py();
    let [pid, fd, callback, args] = if ATTACHED {
        const ENDED: Signature<1> = Signature::method("PidfdChildWatcher._do_wait", [arg("pid")]);
        let [Some(pid)] = args.parse(&ENDED)? else { return Ok(()) };
        let entry = callbacks(this)?.call_method1(intern!(py, "pop"), (pid,))?;
        [pid.clone(), entry.get_item(0)?, entry.get_item(1)?, entry.get_item(2)?]
    } else {
        const ENDED: Signature<4> =
            Signature::method("PidfdChildWatcher._do_wait", [arg("pid"), arg("pidfd"), arg("callback"), arg("args")]);
        let [Some(pid), Some(fd), Some(callback), Some(args)] = args.parse(&ENDED)? else { return Ok(()) };
        [pid.clone(), fd.clone(), callback.clone(), args.clone()]
    };
    loop_of(this)?.call_method1(intern!(py, "_remove_reader"), (&fd,))?;
    let waited = wait_for(&pid, true);
    os(py)?.call_method1(intern!(py, "close"), (fd,))?;
    let code = match waited? {
        Waited::Ended { code, .. } => code,
        Waited::Running | Waited::Unknown => {
            let text = "child process pid %d exit status already read:  will report returncode 255";
            log_warning(py, text, &[&pid])?;
            UNKNOWN.into_pyobject(py)?.into_any()
        }
    };
    call_back(&callback, &pid, &code, &args)
}

fn attach<'py>(this: &Ref<'py, PidfdChildWatcher>, event_loop: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    if !ATTACHED {
        return Ok(());
    }
    let known = callbacks(this)?;
    let own = this.event_loop.get(py).filter(|own| !own.is_none());
    if own.is_some() && event_loop.is_none() && known.is_truthy()? {
        let text = c"A loop is being detached from a child watcher with pending handlers";
        PyErr::warn(py, &py.get_type::<pyo3::exceptions::PyRuntimeWarning>(), text, 1)?;
    }
    for entry in known.call_method0(intern!(py, "values"))?.try_iter()? {
        let fd = entry?.get_item(0)?;
        if let Some(own) = &own {
            own.call_method1(intern!(py, "_remove_reader"), (&fd,))?;
        }
        os(py)?.call_method1(intern!(py, "close"), (fd,))?;
    }
    known.call_method0(intern!(py, "clear"))?;
    this.event_loop.set(event_loop.clone());
    Ok(())
}

fn remove(this: &Ref<'_, PidfdChildWatcher>, pid: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = this.py();
    if !ATTACHED {
        return Ok(true);
    }
    let entry = callbacks(this)?.call_method1(intern!(py, "pop"), (pid, py.None()))?;
    if entry.is_none() {
        return Ok(false);
    }
    let fd = entry.get_item(0)?;
    loop_of(this)?.call_method1(intern!(py, "_remove_reader"), (&fd,))?;
    os(py)?.call_method1(intern!(py, "close"), (fd,)).map(|_| true)
}

fn is_active(this: &Ref<'_, PidfdChildWatcher>) -> PyResult<bool> {
    let py = this.py();
    match this.event_loop.get(py).filter(|own| !own.is_none()) {
        _ if !ATTACHED => Ok(true),
        Some(own) => own.call_method0(intern!(py, "is_running"))?.is_truthy(),
        None => Ok(false),
    }
}

impl Class for PidfdChildWatcher {
    const NAME: &'static CStr = if cfg!(Py_3_14) {
        c"rasyncio.unix_events._PidfdChildWatcher"
    } else {
        c"rasyncio.unix_events.PidfdChildWatcher"
    };
    const DOC: &'static CStr = if cfg!(Py_3_14) {
        c"_PidfdChildWatcher()\n--\n\nWatches child processes by descriptors of them, in the running loop's poller."
    } else {
        c"PidfdChildWatcher()\n--\n\nWatches child processes by descriptors of them, in the running loop's poller."
    };
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.method(
            c"add_child_handler",
            c"add_child_handler($self, pid, callback, *args)\n--\n\n\
            Have the running loop call callback(pid, returncode, *args) when the process has ended.",
            add_handler,
        )
        .method(
            c"_do_wait",
            c"_do_wait($self, pid, pidfd, callback, args)\n--\n\nWhat the loop calls when a process has ended.",
            has_ended,
        );
        if cfg!(Py_3_14) {
            return;
        }
        spec.method1_named(
            c"remove_child_handler",
            c"remove_child_handler($self, /, pid)\n--\n\nNothing but on 3.11, where it forgets a process.",
            || ("PidfdChildWatcher.remove_child_handler", "pid"),
            remove,
        )
        .method1_named(
            c"attach_loop",
            c"attach_loop($self, /, loop)\n--\n\nNothing but on 3.11, where the loop is noted.",
            || ("PidfdChildWatcher.attach_loop", "loop"),
            attach,
        )
        .method0(c"close", c"close($self, /)\n--\n\nForget the loop, on 3.11.", |this| match ATTACHED {
            true => this.any().call_method1(intern!(this.py(), "attach_loop"), (this.py().None(),)).map(drop),
            false => Ok(()),
        })
        .method0(c"is_active", c"is_active($self, /)\n--\n\nTrue; on 3.11, whether the noted loop runs.", is_active)
        .method0(c"__enter__", c"__enter__($self, /)\n--\n\nThe watcher.", |this| Ok(Own::new(this.any().clone())))
        .method(
            c"__exit__",
            c"__exit__($self, /, exc_type, exc_value, exc_traceback)\n--\n\nNothing.",
            |_, _| Ok(()),
        );
        if ATTACHED {
            spec.get(c"_loop", c"The loop that was attached.", |this| {
                Ok(Own::new(this.event_loop.get_or_none(this.py())))
            })
            .get(c"_callbacks", c"Process -> (descriptor, callback, args).", |this| callbacks(this).map(Own::new));
        }
    }
}
