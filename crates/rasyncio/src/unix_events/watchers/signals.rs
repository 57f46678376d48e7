//! `BaseChildWatcher`, `SafeChildWatcher` and `FastChildWatcher`: driven by a loop's handler of SIGCHLD (up to Python 3.13).
//!
//! Called by users, by `set_child_watcher` and by the loop they are attached to; call `os.waitpid` and the callbacks.
//!
//! States: detached -> attached (SIGCHLD is handled by the loop) -> detached.
//!
//! - Safe asks for each known process at every SIGCHLD, and touches no other.
//! - Fast reaps whatever has ended. What ends while processes are being started (inside the `with` block) may be one of them whose
//!   handler comes in a moment: it is kept until the block ends.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyException, PyNotImplementedError, PyRuntimeWarning};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, arg, class};

use super::{
    AbstractChildWatcher, UNKNOWN, Waited, call_back, check_pid, deprecated, handler_args, log_exit, log_warning,
    wait_for,
};
use crate::face;
use crate::log::logger;

class! {
    /// What the watchers by SIGCHLD share.
    pub struct BaseChildWatcher: AbstractChildWatcher {
        event_loop: Slot,
        /// Process -> (callback, args).
        callbacks: Slot,
    }
}

class! {
    /// Asks for each known process.
    pub struct SafeChildWatcher: BaseChildWatcher {}
}

class! {
    /// Reaps whatever has ended.
    pub struct FastChildWatcher: BaseChildWatcher {
        /// Process -> exit code, of those that nobody knows yet.
        zombies: Slot,
        /// How many `with` blocks are open.
        starting: Cell<u32>,
    }
}

fn dict<'py>(py: Python<'py>, slot: &Slot) -> PyResult<Bound<'py, PyDict>> {
    if !slot.is_set() {
        slot.set(slots::dict(py)?.into_any());
    }
    Ok(slot.get_or_none(py).cast_into()?)
}

fn callbacks<'py>(this: &Ref<'py, BaseChildWatcher>) -> PyResult<Bound<'py, PyDict>> {
    dict(this.py(), &this.callbacks)
}

fn child_signal(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    face(py, "unix_events")?.getattr(intern!(py, "signal"))?.getattr(intern!(py, "SIGCHLD"))
}

fn event_loop<'py>(this: &Ref<'py, BaseChildWatcher>) -> Option<Bound<'py, PyAny>> {
    this.event_loop.get(this.py()).filter(|own| !own.is_none())
}

fn in_debug(this: &Ref<'_, BaseChildWatcher>) -> PyResult<bool> {
    event_loop(this).map_or(Ok(false), |own| own.call_method0(intern!(this.py(), "get_debug"))?.is_truthy())
}

fn attach<'py>(this: &Ref<'py, BaseChildWatcher>, new: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let class = face(py, "events")?.getattr(intern!(py, "AbstractEventLoop"))?;
    if !new.is_none() && !new.is_instance(&class)? {
        return Err(PyAssertionError::new_err(()));
    }
    let old = event_loop(this);
    if old.is_some() && new.is_none() && !callbacks(this)?.is_empty() {
        let text = c"A loop is being detached from a child watcher with pending handlers";
        PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), text, 1)?;
    }
    if let Some(old) = old {
        old.call_method1(intern!(py, "remove_signal_handler"), (child_signal(py)?,))?;
    }
    this.event_loop.set(new.clone());
    if new.is_none() {
        return Ok(());
    }
    let own = this.any().getattr(intern!(py, "_sig_chld"))?;
    new.call_method1(intern!(py, "add_signal_handler"), (child_signal(py)?, own))?;
    // A child may have ended while nobody listened.
    this.any().call_method0(intern!(py, "_do_waitpid_all")).map(drop)
}

fn on_signal(this: &Ref<'_, BaseChildWatcher>) -> PyResult<()> {
    let py = this.py();
    match this.any().call_method0(intern!(py, "_do_waitpid_all")) {
        Err(error) if error.is_instance_of::<PyException>(py) => slots::excepting(py, error, |error| {
            let details = slots::dict(py)?;
            details.set_item(intern!(py, "message"), "Unknown exception in SIGCHLD handler")?;
            details.set_item(intern!(py, "exception"), error)?;
            let event_loop = this.event_loop.get_or_none(py);
            event_loop.call_method1(intern!(py, "call_exception_handler"), (details,)).map(drop)
        }),
        other => other.map(drop),
    }
}

fn is_active(this: &Ref<'_, BaseChildWatcher>) -> PyResult<bool> {
    event_loop(this).map_or(Ok(false), |own| own.call_method0(intern!(this.py(), "is_running"))?.is_truthy())
}

fn remove(this: &Ref<'_, BaseChildWatcher>, pid: &Bound<'_, PyAny>) -> PyResult<bool> {
    let known = callbacks(this)?;
    let is_known = known.contains(pid)?;
    if is_known {
        known.del_item(pid)?;
    }
    Ok(is_known)
}

impl Class for BaseChildWatcher {
    const NAME: &'static CStr = c"rasyncio.unix_events.BaseChildWatcher";
    const DOC: &'static CStr =
        c"BaseChildWatcher()\n--\n\nWhat the watchers share that a loop's handler of SIGCHLD drives.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.get(c"_loop", c"The loop, or None.", |this| Ok(Own::new(this.event_loop.get_or_none(this.py()))))
            .get(c"_callbacks", c"Process -> (callback, args).", |this| Ok(Own::new(callbacks(this)?.into_any())))
            .method0(c"close", c"close($self, /)\n--\n\nDetach from the loop.", |this| {
                this.any().call_method1(intern!(this.py(), "attach_loop"), (this.py().None(),)).map(drop)
            })
            .method0(c"is_active", c"is_active($self, /)\n--\n\nWhether the attached loop runs.", is_active)
            .method1_named(
                c"attach_loop",
                c"attach_loop($self, /, loop)\n--\n\nHave this loop handle SIGCHLD.",
                || ("BaseChildWatcher.attach_loop", "loop"),
                attach,
            )
            .method0(c"_sig_chld", c"_sig_chld($self, /)\n--\n\nWhat the loop calls at SIGCHLD.", on_signal)
            .method1_named(
                c"_do_waitpid",
                c"_do_waitpid($self, /, expected_pid)\n--\n\nFor derived classes.",
                || ("BaseChildWatcher._do_waitpid", "expected_pid"),
                |_, _| Err::<(), _>(PyNotImplementedError::new_err(())),
            )
            .method0(c"_do_waitpid_all", c"_do_waitpid_all($self, /)\n--\n\nFor derived classes.", |_| {
                Err::<(), _>(PyNotImplementedError::new_err(()))
            });
    }
}

fn ask_all(this: &Ref<'_, SafeChildWatcher>) -> PyResult<()> {
    for pid in callbacks(this.base())?.keys() {
        this.any().call_method1(intern!(this.py(), "_do_waitpid"), (pid,))?;
    }
    Ok(())
}

fn ask<'py>(this: &Ref<'py, SafeChildWatcher>, expected: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    check_pid(expected)?;
    let (pid, code) = match wait_for(expected, false)? {
        Waited::Running => return Ok(()),
        Waited::Unknown => {
            log_warning(py, "Unknown child process pid %d, will report returncode 255", &[expected])?;
            (expected.clone(), UNKNOWN.into_pyobject(py)?.into_any())
        }
        Waited::Ended { pid, code } => {
            if let Some(event_loop) = event_loop(this.base()) {
                log_exit(&event_loop, expected, &code)?;
            }
            (pid, code)
        }
    };
    match take(&callbacks(this.base())?, &pid)? {
        Some(entry) => call_back(&entry.get_item(0)?, &pid, &code, &entry.get_item(1)?),
        None if in_debug(this.base())? => log_warning(py, "Child watcher got an unexpected pid: %r", &[&pid]),
        None => Ok(()),
    }
}

fn take<'py>(dict: &Bound<'py, PyDict>, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let value = dict.get_item(key)?;
    if value.is_some() {
        dict.del_item(key)?;
    }
    Ok(value)
}

impl Class for SafeChildWatcher {
    const NAME: &'static CStr = c"rasyncio.unix_events.SafeChildWatcher";
    const DOC: &'static CStr = c"SafeChildWatcher()\n--\n\nAsks for each of its processes at every SIGCHLD; disturbs nobody else's. Deprecated.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        const ADD: Signature<2> =
            Signature::method("SafeChildWatcher.add_child_handler", [arg("pid"), arg("callback")]);
        spec.init(|this, _| deprecated(this.py(), "SafeChildWatcher"))
            .method0(c"close", c"close($self, /)\n--\n\nForget all processes and detach from the loop.", |this| {
                let py = this.py();
                callbacks(this.base())?.clear();
                this.any().call_method1(intern!(py, "attach_loop"), (py.None(),)).map(drop)
            })
            .method(
                c"add_child_handler",
                c"add_child_handler($self, pid, callback, *args)\n--\n\n\
                Have callback(pid, returncode, *args) called when the process has ended.",
                |this, args| {
                    let (pid, callback, args) = handler_args(&ADD, args)?;
                    callbacks(this.base())?.set_item(pid, (callback, args))?;
                    // It may have ended already.
                    this.any().call_method1(intern!(this.py(), "_do_waitpid"), (pid,)).map(drop)
                },
            )
            .method1_named(
                c"remove_child_handler",
                c"remove_child_handler($self, /, pid)\n--\n\nForget a process; answer whether it was known.",
                || ("SafeChildWatcher.remove_child_handler", "pid"),
                |this, pid| remove(this.base(), pid),
            )
            .method0(c"__enter__", c"__enter__($self, /)\n--\n\nThe watcher.", |this| Ok(Own::new(this.any().clone())))
            .method(c"__exit__", c"__exit__($self, /, a, b, c)\n--\n\nNothing.", |_, _| Ok(()))
            .method0(c"_do_waitpid_all", c"_do_waitpid_all($self, /)\n--\n\nAsk for each process.", ask_all)
            .method1_named(
                c"_do_waitpid",
                c"_do_waitpid($self, /, expected_pid)\n--\n\nAsk for one process.",
                || ("SafeChildWatcher._do_waitpid", "expected_pid"),
                ask,
            );
    }
}

fn add_to_fast<'py>(this: &Ref<'py, FastChildWatcher>, args: &Args<'_, 'py>) -> PyResult<()> {
    const ADD: Signature<2> = Signature::method("FastChildWatcher.add_child_handler", [arg("pid"), arg("callback")]);
    let (pid, callback, args) = handler_args(&ADD, args)?;
    if this.starting.get() == 0 {
        return Err(PyAssertionError::new_err("Must use the context manager"));
    }
    match take(&dict(this.py(), &this.zombies)?, pid)? {
        Some(code) => call_back(callback, pid, &code, args.as_any()),
        None => callbacks(this.base())?.set_item(pid, (callback, args)),
    }
}

fn end_of_starting(this: &Ref<'_, FastChildWatcher>) -> PyResult<()> {
    let py = this.py();
    let zombies = dict(py, &this.zombies)?;
    this.starting.set(this.starting.get().saturating_sub(1));
    if this.starting.get() > 0 || zombies.is_empty() {
        return Ok(());
    }
    let victims = zombies.str()?.into_any();
    zombies.clear();
    log_warning(py, "Caught subprocesses termination from unknown pids: %s", &[&victims])
}

fn reap_all(this: &Ref<'_, FastChildWatcher>) -> PyResult<()> {
    let py = this.py();
    let any = (-1i32).into_pyobject(py)?.into_any();
    // One signal may stand for many exits.
    while let Waited::Ended { pid, code } = wait_for(&any, false)? {
        if let Some(entry) = take(&callbacks(this.base())?, &pid)? {
            if let Some(event_loop) = event_loop(this.base()) {
                log_exit(&event_loop, &pid, &code)?;
            }
            call_back(&entry.get_item(0)?, &pid, &code, &entry.get_item(1)?)?;
        } else if this.starting.get() > 0 {
            dict(py, &this.zombies)?.set_item(&pid, &code)?;
            if in_debug(this.base())? {
                let logger = logger(py, "unix_events")?;
                let text = "unknown process %s exited with returncode %s";
                logger.log("debug", (text, pid, code))?;
            }
        } else {
            log_warning(py, "Caught subprocess termination from unknown pid: %d -> %d", &[&pid, &code])?;
        }
    }
    Ok(())
}

impl Class for FastChildWatcher {
    const NAME: &'static CStr = c"rasyncio.unix_events.FastChildWatcher";
    const DOC: &'static CStr =
        c"FastChildWatcher()\n--\n\nReaps every process that has ended, also those of others. Deprecated.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.init(|this, _| deprecated(this.py(), "FastChildWatcher"))
            .get(c"_zombies", c"Process -> exit code, of those that nobody knows yet.", |this| {
                Ok(Own::new(dict(this.py(), &this.zombies)?.into_any()))
            })
            .get(c"_forks", c"How many `with` blocks are open.", |this| Ok(this.starting.get()))
            .method0(c"close", c"close($self, /)\n--\n\nForget all processes and detach from the loop.", |this| {
                let py = this.py();
                callbacks(this.base())?.clear();
                dict(py, &this.zombies)?.clear();
                this.any().call_method1(intern!(py, "attach_loop"), (py.None(),)).map(drop)
            })
            .method0(
                c"__enter__",
                c"__enter__($self, /)\n--\n\nBegin to start processes; answers the watcher.",
                |this| {
                    this.starting.set(this.starting.get() + 1);
                    Ok(Own::new(this.any().clone()))
                },
            )
            .method(
                c"__exit__",
                c"__exit__($self, /, a, b, c)\n--\n\nAll started processes have their handlers.",
                |this, _| end_of_starting(this),
            )
            .method(
                c"add_child_handler",
                c"add_child_handler($self, pid, callback, *args)\n--\n\n\
                Have callback(pid, returncode, *args) called when the process has ended.",
                add_to_fast,
            )
            .method1_named(
                c"remove_child_handler",
                c"remove_child_handler($self, /, pid)\n--\n\nForget a process; answer whether it was known.",
                || ("FastChildWatcher.remove_child_handler", "pid"),
                |this, pid| remove(this.base(), pid),
            )
            .method0(c"_do_waitpid_all", c"_do_waitpid_all($self, /)\n--\n\nReap whatever has ended.", reap_all);
    }
}

/// Puts the classes in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<BaseChildWatcher>(module)?;
    slots::add_class::<SafeChildWatcher>(module)?;
    slots::add_class::<FastChildWatcher>(module)
}
