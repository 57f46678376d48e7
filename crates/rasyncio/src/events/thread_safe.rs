//! `_ThreadSafeHandle`: what `call_soon_threadsafe` answers from Python 3.14 on.
//!
//! Made by `base_events::schedule`; run by a turn, or by Python's `_run`; cancelled and asked by any thread.
//!
//! Its callback runs under a lock of the handle's: `cancel()` and `cancelled()` in another thread wait until the callback is
//! over, in the same thread they do not. So whoever cancels knows afterwards that the callback does not run any more, and will
//! not run.
//!
//! The lock is a thread's number, read and written with the GIL held. Only who has to wait makes something to wait on, so that
//! a handle that nobody asks about from elsewhere costs nothing more than any other.
//!
//! States: idle -> running in a thread (as often as it calls itself) -> idle.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::prelude::*;
use slots::intern;
use slots::{Class, Ref, Signature, Slot, Spec, arg, class, opt};

use super::handle::Handle;
use crate::library;

class! {
    /// A scheduled callback that any thread may cancel.
    pub struct ThreadSafeHandle: Handle {
        /// `threading.get_ident()` of the thread in which the callback runs; 0 while it does not.
        runner: Cell<u64>,
        /// How often the callback is running in that thread.
        depth: Cell<usize>,
        /// A threading.Event, set when the callback is over.
        over: Slot,
    }
}

impl ThreadSafeHandle {
    /// A new handle; the caller looks after debug mode.
    pub fn create<'py>(
        py: Python<'py>,
        callback: Bound<'py, PyAny>,
        args: &[Bound<'py, PyAny>],
        event_loop: Bound<'py, PyAny>,
        context: Bound<'py, PyAny>,
    ) -> PyResult<Ref<'py, ThreadSafeHandle>> {
        let base = Handle::fresh(callback, args, event_loop, context)?;
        Ref::create(py, ThreadSafeHandle { base, ..ThreadSafeHandle::default() })
    }

    /// Waits until the callback does not run in another thread.
    fn wait(this: &Ref<'_, ThreadSafeHandle>) -> PyResult<()> {
        let py = this.py();
        while this.runner.get() != 0 && this.runner.get() != slots::thread_ident(py) {
            let over = match this.over.get(py) {
                Some(over) => over,
                None => {
                    let over = library(py, "threading")?.call_method0(intern!(py, "Event"))?;
                    // Making it may have run another thread, which ended the callback or made an event as well.
                    match this.over.get(py) {
                        Some(first) => first,
                        None if this.runner.get() == 0 => return Ok(()),
                        None => {
                            this.over.set(over.clone());
                            over
                        }
                    }
                }
            };
            over.call_method0(intern!(py, "wait"))?;
        }
        Ok(())
    }

    /// Runs the callback, unless it was cancelled. An error is SystemExit or KeyboardInterrupt.
    pub fn run(this: &Ref<'_, ThreadSafeHandle>) -> PyResult<()> {
        let py = this.py();
        ThreadSafeHandle::wait(this)?;
        this.runner.set(slots::thread_ident(py));
        this.depth.set(this.depth.get() + 1);
        let result = Handle::run(this.base());
        this.depth.set(this.depth.get() - 1);
        if this.depth.get() == 0 {
            this.runner.set(0);
            if let Some(over) = this.over.take(py) {
                over.call_method0(intern!(py, "set"))?;
            }
        }
        result
    }
}

impl Class for ThreadSafeHandle {
    const NAME: &'static CStr = c"rasyncio.events._ThreadSafeHandle";
    const DOC: &'static CStr = c"_ThreadSafeHandle(callback, args, loop, context=None)\n--\n\n\
        A callback that a loop is to run; what call_soon_threadsafe() answers.\n\n\
        It may be cancelled from any thread, which waits for a callback that is running.";
    const FREE_LIST: usize = 256;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<4> = Signature::method(
            "_ThreadSafeHandle.__init__",
            [arg("callback"), arg("args"), arg("loop"), opt("context")],
        );
        spec.init(|this, args| Handle::init(this.base(), args.parse(&INIT)?))
            .method0(
                c"cancel",
                c"cancel($self, /)\n--\n\nKeep the callback from running; if it runs in another thread, wait for its end.",
                |this| {
                    ThreadSafeHandle::wait(this)?;
                    Handle::cancel(this.base())
                },
            )
            .method0(
                c"cancelled",
                c"cancelled($self, /)\n--\n\nWhether the handle was cancelled; if it runs in another thread, wait for its end.",
                |this| {
                    ThreadSafeHandle::wait(this)?;
                    Ok(this.cancelled.get())
                },
            )
            .method0(c"_run", c"_run($self, /)\n--\n\nRun the callback; the loop calls this.", ThreadSafeHandle::run);
    }
}
