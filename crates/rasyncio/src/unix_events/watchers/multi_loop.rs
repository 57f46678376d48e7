//! `MultiLoopChildWatcher`: a handler of SIGCHLD that serves the loops of all threads (up to Python 3.13).
//!
//! Called by users, by `set_child_watcher` and by CPython, as a signal handler; calls `os.waitpid`, and the callbacks by
//! `call_soon_threadsafe` of the loop that was running when the process was made known.
//!
//! States: closed -> active, at the first `attach_loop` (SIGCHLD is handled here) -> closed (the handler from before is back, unless
//! somebody has set another meanwhile).

use std::ffi::CStr;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, arg, class};

use super::{
    AbstractChildWatcher, UNKNOWN, Waited, check_pid, deprecated, handler_args, log_exit, log_warning, wait_for,
};
use crate::events::get_running_loop;
use crate::face;
use crate::log::logger;

class! {
    /// Watches by SIGCHLD, for all loops.
    pub struct MultiLoopChildWatcher: AbstractChildWatcher {
        /// Process -> (loop, callback, args).
        callbacks: Slot,
        /// The handler from before.
        saved: Slot,
    }
}

fn callbacks<'py>(this: &Ref<'py, MultiLoopChildWatcher>) -> PyResult<Bound<'py, PyDict>> {
    if !this.callbacks.is_set() {
        this.callbacks.set(slots::dict(this.py())?.into_any());
    }
    Ok(this.callbacks.get_or_none(this.py()).cast_into()?)
}

fn signal_module(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    face(py, "unix_events")?.getattr(intern!(py, "signal"))
}

fn attach(this: &Ref<'_, MultiLoopChildWatcher>) -> PyResult<()> {
    let py = this.py();
    if this.saved.is_set() {
        return Ok(());
    }
    let signal = signal_module(py)?;
    let number = signal.getattr(intern!(py, "SIGCHLD"))?;
    let own = this.any().getattr(intern!(py, "_sig_chld"))?;
    let saved = signal.call_method1(intern!(py, "signal"), (&number, own))?;
    if saved.is_none() {
        let text = "Previous SIGCHLD handler was set by non-Python code, restore to default handler on watcher close.";
        log_warning(py, text, &[])?;
        this.saved.set(signal.getattr(intern!(py, "SIG_DFL"))?);
    } else {
        this.saved.set(saved);
    }
    signal.call_method1(intern!(py, "siginterrupt"), (number, false)).map(drop)
}

fn close(this: &Ref<'_, MultiLoopChildWatcher>) -> PyResult<()> {
    let py = this.py();
    callbacks(this)?.clear();
    let Some(saved) = this.saved.take(py) else { return Ok(()) };
    let signal = signal_module(py)?;
    let number = signal.getattr(intern!(py, "SIGCHLD"))?;
    let handler = signal.call_method1(intern!(py, "getsignal"), (&number,))?;
    if !handler.eq(this.any().getattr(intern!(py, "_sig_chld"))?)? {
        return log_warning(py, "SIGCHLD handler was changed by outside code", &[]);
    }
    signal.call_method1(intern!(py, "signal"), (number, saved)).map(drop)
}

fn ask<'py>(this: &Ref<'py, MultiLoopChildWatcher>, expected: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    check_pid(expected)?;
    let (pid, code, known) = match wait_for(expected, false)? {
        Waited::Running => return Ok(()),
        Waited::Ended { pid, code } => (pid, code, true),
        Waited::Unknown => {
            log_warning(py, "Unknown child process pid %d, will report returncode 255", &[expected])?;
            (expected.clone(), UNKNOWN.into_pyobject(py)?.into_any(), false)
        }
    };
    let entries = callbacks(this)?;
    let Some(entry) = entries.get_item(&pid)? else {
        return log_warning(py, "Child watcher got an unexpected pid: %r", &[&pid]);
    };
    entries.del_item(&pid)?;
    let event_loop = entry.get_item(0)?;
    if event_loop.call_method0(intern!(py, "is_closed"))?.is_truthy()? {
        return log_warning(py, "Loop %r that handles pid %r is closed", &[&event_loop, &pid]);
    }
    if known {
        log_exit(&event_loop, expected, &code)?;
    }
    let mut all = vec![entry.get_item(1)?, pid, code];
    all.extend(slots::items(&entry.get_item(2)?)?);
    event_loop.getattr(intern!(py, "call_soon_threadsafe"))?.call1(slots::tuple(py, all)?).map(drop)
}

fn on_signal(this: &Ref<'_, MultiLoopChildWatcher>) -> PyResult<()> {
    let py = this.py();
    match this.any().call_method0(intern!(py, "_do_waitpid_all")) {
        Err(error) if error.is_instance_of::<PyException>(py) => {
            let error = error.into_value(py).into_bound(py).into_any();
            let logger = logger(py, "unix_events")?;
            logger.log_error("warning", ("Unknown exception in SIGCHLD handler",), Some(&error))
        }
        other => other.map(drop),
    }
}

fn add_handler<'py>(this: &Ref<'py, MultiLoopChildWatcher>, args: &Args<'_, 'py>) -> PyResult<()> {
    const ADD: Signature<2> =
        Signature::method("MultiLoopChildWatcher.add_child_handler", [arg("pid"), arg("callback")]);
    let (pid, callback, args) = handler_args(&ADD, args)?;
    callbacks(this)?.set_item(pid, (get_running_loop(this.py())?, callback, args))?;
    // It may have ended already.
    this.any().call_method1(intern!(this.py(), "_do_waitpid"), (pid,)).map(drop)
}

impl Class for MultiLoopChildWatcher {
    const NAME: &'static CStr = c"rasyncio.unix_events.MultiLoopChildWatcher";
    const DOC: &'static CStr =
        c"MultiLoopChildWatcher()\n--\n\nWatches child processes by SIGCHLD, for the loops of all threads. Deprecated.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.init(|this, _| deprecated(this.py(), "MultiLoopChildWatcher"))
            .get(c"_callbacks", c"Process -> (loop, callback, args).", |this| Ok(Own::new(callbacks(this)?.into_any())))
            .get_set(
                c"_saved_sighandler",
                c"The handler from before, or None.",
                |this| Ok(this.saved.get(this.py()).map(Own::new)),
                |this, value| {
                    match value.filter(|value| !value.is_none()) {
                        Some(value) => this.saved.set(value.clone()),
                        None => this.saved.unset(),
                    }
                    Ok(())
                },
            )
            .method0(c"is_active", c"is_active($self, /)\n--\n\nWhether SIGCHLD is handled here.", |this| {
                Ok(this.saved.is_set())
            })
            .method0(c"close", c"close($self, /)\n--\n\nForget all processes; restore SIGCHLD's handler.", close)
            .method1_named(
                c"attach_loop",
                c"attach_loop($self, /, loop)\n--\n\nHandle SIGCHLD; main thread only.",
                || ("MultiLoopChildWatcher.attach_loop", "loop"),
                |this, _| attach(this),
            )
            .method0(c"__enter__", c"__enter__($self, /)\n--\n\nThe watcher.", |this| Ok(Own::new(this.any().clone())))
            .method(c"__exit__", c"__exit__($self, /, exc_type, exc_val, exc_tb)\n--\n\nNothing.", |_, _| Ok(()))
            .method(
                c"add_child_handler",
                c"add_child_handler($self, pid, callback, *args)\n--\n\n\
                Have the running loop call callback(pid, returncode, *args) when the process has ended.",
                add_handler,
            )
            .method1_named(
                c"remove_child_handler",
                c"remove_child_handler($self, /, pid)\n--\n\nForget a process; answer whether it was known.",
                || ("MultiLoopChildWatcher.remove_child_handler", "pid"),
                |this, pid| {
                    let known = callbacks(this)?;
                    let is_known = known.contains(pid)?;
                    if is_known {
                        known.del_item(pid)?;
                    }
                    Ok(is_known)
                },
            )
            .method0(c"_do_waitpid_all", c"_do_waitpid_all($self, /)\n--\n\nAsk for each process.", |this| {
                for pid in callbacks(this)?.keys() {
                    this.any().call_method1(intern!(this.py(), "_do_waitpid"), (pid,))?;
                }
                Ok(())
            })
            .method1_named(
                c"_do_waitpid",
                c"_do_waitpid($self, /, expected_pid)\n--\n\nAsk for one process.",
                || ("MultiLoopChildWatcher._do_waitpid", "expected_pid"),
                ask,
            )
            .method(c"_sig_chld", c"_sig_chld($self, signum, frame)\n--\n\nThe handler of SIGCHLD.", |this, _| {
                on_signal(this)
            });
    }
}
