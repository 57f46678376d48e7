//! `ThreadedChildWatcher` (`_ThreadedChildWatcher` from 3.14): a thread for each process waits for its end.
//!
//! Called by `_make_subprocess_transport` where the system gives no descriptors of processes, and by users, on a running loop's
//! thread; calls `os.waitid` in the thread, then `os.waitpid` and the callback by the loop.
//!
//! A watched process: its thread waits, without reaping -> the loop is told, and reaps and calls back in one step. So whoever signals
//! the process from the loop's thread meets it, or its corpse, and never a stranger of the same number.
//!
//! Where the loop was closed before, the thread reaps, so that no zombie is left, and says so.
//!
//! Differs from CPython up to 3.13, where the thread reaps.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::{PyChildProcessError, PyRuntimeError};
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, arg, class};

#[cfg(not(Py_3_14))]
use super::AbstractChildWatcher;
use super::{UNKNOWN, Waited, call_back, check_pid, handler_args, log_exit, log_warning, os, wait_for};
use crate::events::get_running_loop;
use crate::face;

#[cfg(not(Py_3_14))]
class! {
    /// Watches by threads.
    pub struct ThreadedChildWatcher: AbstractChildWatcher {
        /// Process -> thread.
        threads: Slot,
        count: Cell<u64>,
    }
}

#[cfg(Py_3_14)]
class! {
    /// Watches by threads.
    pub struct ThreadedChildWatcher {
        threads: Slot,
        count: Cell<u64>,
    }
}

fn threads<'py>(this: &Ref<'py, ThreadedChildWatcher>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if !this.threads.is_set() {
        this.threads.set(slots::dict(py)?.into_any());
    }
    Ok(this.threads.get_or_none(py))
}

fn add_handler<'py>(this: &Ref<'py, ThreadedChildWatcher>, args: &Args<'_, 'py>) -> PyResult<()> {
    const ADD: Signature<2> =
        Signature::method("ThreadedChildWatcher.add_child_handler", [arg("pid"), arg("callback")]);
    let py = this.py();
    let (pid, callback, args) = handler_args(&ADD, args)?;
    let event_loop = get_running_loop(py)?;
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "target"), this.any().getattr(intern!(py, "_do_waitpid"))?)?;
    keywords.set_item(intern!(py, "name"), format!("asyncio-waitpid-{}", this.count.replace(this.count.get() + 1)))?;
    keywords.set_item(intern!(py, "args"), (event_loop, pid, callback, args))?;
    keywords.set_item(intern!(py, "daemon"), true)?;
    let threading = face(py, "unix_events")?.getattr(intern!(py, "threading"))?;
    let thread = threading.getattr(intern!(py, "Thread"))?.call((), Some(&keywords))?;
    threads(this)?.set_item(pid, &thread)?;
    thread.call_method0(intern!(py, "start")).map(drop)
}

/// What the thread does.
fn wait<'py>(this: &Ref<'py, ThreadedChildWatcher>, args: &Args<'_, 'py>) -> PyResult<()> {
    const WAIT: Signature<4> = Signature::method(
        "ThreadedChildWatcher._do_waitpid",
        [arg("loop"), arg("expected_pid"), arg("callback"), arg("args")],
    );
    let py = this.py();
    let [Some(event_loop), Some(pid), Some(callback), Some(args)] = args.parse(&WAIT)? else { return Ok(()) };
    check_pid(pid)?;
    let os = os(py)?;
    let flags = os.getattr(intern!(py, "WEXITED"))?.bitor(os.getattr(intern!(py, "WNOWAIT"))?)?;
    match os.call_method1(intern!(py, "waitid"), (os.getattr(intern!(py, "P_PID"))?, pid, flags)) {
        Err(error) if !error.is_instance_of::<PyChildProcessError>(py) => return Err(error),
        _ => {}
    }
    if !tell(this, [event_loop, pid, callback, args])? {
        let (pid, _) = reap(event_loop, pid)?;
        log_warning(py, "Loop %r that handles pid %r is closed", &[event_loop, &pid])?;
    }
    threads(this)?.call_method1(intern!(py, "pop"), (pid,)).map(drop)
}

/// Has the loop reap; false if it is closed.
fn tell<'py>(
    this: &Ref<'py, ThreadedChildWatcher>,
    [event_loop, pid, callback, args]: [&Bound<'py, PyAny>; 4],
) -> PyResult<bool> {
    let py = this.py();
    let is_closed = || event_loop.call_method0(intern!(py, "is_closed"))?.is_truthy();
    if is_closed()? {
        return Ok(false);
    }
    let own = this.any().getattr(intern!(py, "_reap_and_notify"))?;
    match event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (own, event_loop, pid, callback, args)) {
        // Closed just now.
        Err(error) if error.is_instance_of::<PyRuntimeError>(py) && is_closed()? => Ok(false),
        other => other.map(|_| true),
    }
}

fn reap<'py>(
    event_loop: &Bound<'py, PyAny>,
    pid: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = pid.py();
    match wait_for(pid, true)? {
        Waited::Ended { pid, code } => {
            log_exit(event_loop, &pid, &code)?;
            Ok((pid, code))
        }
        Waited::Running | Waited::Unknown => {
            log_warning(py, "Unknown child process pid %d, will report returncode 255", &[pid])?;
            Ok((pid.clone(), UNKNOWN.into_pyobject(py)?.into_any()))
        }
    }
}

fn reap_and_notify<'py>(_: &Ref<'py, ThreadedChildWatcher>, args: &Args<'_, 'py>) -> PyResult<()> {
    const REAP: Signature<4> = Signature::method(
        "ThreadedChildWatcher._reap_and_notify",
        [arg("loop"), arg("expected_pid"), arg("callback"), arg("args")],
    );
    let [Some(event_loop), Some(pid), Some(callback), Some(args)] = args.parse(&REAP)? else { return Ok(()) };
    let (pid, code) = reap(event_loop, pid)?;
    call_back(callback, &pid, &code, args)
}

impl Class for ThreadedChildWatcher {
    const NAME: &'static CStr = if cfg!(Py_3_14) {
        c"rasyncio.unix_events._ThreadedChildWatcher"
    } else {
        c"rasyncio.unix_events.ThreadedChildWatcher"
    };
    const DOC: &'static CStr = if cfg!(Py_3_14) {
        c"_ThreadedChildWatcher()\n--\n\nWatches child processes by threads, one for each."
    } else {
        c"ThreadedChildWatcher()\n--\n\nWatches child processes by threads, one for each."
    };
    const DICT: bool = true;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.threads.is_set()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let py = this.py();
        for thread in threads(this)?.call_method0(intern!(py, "values"))?.try_iter()? {
            if thread?.call_method0(intern!(py, "is_alive"))?.is_truthy()? {
                let text = format!("{} has registered but not finished child processes", this.any().get_type().repr()?);
                return slots::resource_warning(this.any(), &text);
            }
        }
        Ok(())
    }

    fn define(spec: &mut Spec<Self>) {
        spec.method(
            c"add_child_handler",
            c"add_child_handler($self, pid, callback, *args)\n--\n\n\
            Have the running loop call callback(pid, returncode, *args) when the process has ended.",
            add_handler,
        )
        .method(
            c"_do_waitpid",
            c"_do_waitpid($self, loop, expected_pid, callback, args)\n--\n\nWhat a process's thread does.",
            wait,
        )
        .method(
            c"_reap_and_notify",
            c"_reap_and_notify($self, loop, expected_pid, callback, args)\n--\n\nWhat the loop does then.",
            reap_and_notify,
        )
        .get(c"_threads", c"Process -> thread.", |this| threads(this).map(Own::new));
        if cfg!(Py_3_14) {
            return;
        }
        spec.method1_named(
            c"remove_child_handler",
            c"remove_child_handler($self, /, pid)\n--\n\nNothing: True.",
            || ("ThreadedChildWatcher.remove_child_handler", "pid"),
            |_, _| Ok(true),
        )
        .method1_named(
            c"attach_loop",
            c"attach_loop($self, /, loop)\n--\n\nNothing: any loop will do.",
            || ("ThreadedChildWatcher.attach_loop", "loop"),
            |_, _| Ok(()),
        )
        .method0(c"close", c"close($self, /)\n--\n\nNothing.", |_| Ok(()))
        .method0(c"is_active", c"is_active($self, /)\n--\n\nTrue.", |_| Ok(true))
        .method0(c"__enter__", c"__enter__($self, /)\n--\n\nThe watcher.", |this| Ok(Own::new(this.any().clone())))
        .method(c"__exit__", c"__exit__($self, /, exc_type, exc_val, exc_tb)\n--\n\nNothing.", |_, _| Ok(()));
    }
}
