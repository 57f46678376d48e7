//! Work in other threads, and shutting down what a loop started: executors and async generators.
//!
//! Called by users, `threads`, `runners`; calls concurrent.futures and `futures.wrap_future`.
//!
//! The loop counts the jobs that it awaits, so that a busy turn lends the GIL to them (see `engine::turn`). The count goes
//! down in the worker thread, where the job ends.
//!
//! Async generators that are being iterated are known by the hooks of `sys.set_asyncgen_hooks` (PEP 525), in a WeakSet;
//! one that is dropped is closed by the loop, and `shutdown_asyncgens()` closes all that are left.

use std::ffi::CStr;

use pyo3::exceptions::{PyResourceWarning, PyRuntimeError, PyRuntimeWarning, PyTimeoutError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PySet;
use slots::intern;
use slots::{Args, Own, Ref, Signature, Spec, arg};

use super::{BaseEventLoop, create_future, put};
use crate::futures::wrap_job;
use crate::{face, library, library_for_report};

fn run_in_executor(this: &Ref<'_, BaseEventLoop>, args: &Args<'_, '_>) -> PyResult<Own> {
    const SIGNATURE: Signature<2> = Signature::method("BaseEventLoop.run_in_executor", [arg("executor"), arg("func")]);
    let ([Some(executor), Some(function)], rest) = args.parse_rest(&SIGNATURE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    let py = this.py();
    this.check_closed()?;
    if this.debug.get() {
        this.any().call_method1(intern!(py, "_check_callback"), (function, "run_in_executor"))?;
    }
    let executor = if executor.is_none() {
        this.any().call_method0(intern!(py, "_check_default_executor"))?;
        match this.default_executor.get(py) {
            Some(executor) => executor,
            None => {
                let keywords = slots::dict(py)?;
                keywords.set_item(intern!(py, "thread_name_prefix"), "asyncio")?;
                let futures =
                    face(py, "base_events")?.getattr(intern!(py, "concurrent"))?.getattr(intern!(py, "futures"))?;
                let executor = futures.getattr(intern!(py, "ThreadPoolExecutor"))?.call((), Some(&keywords))?;
                this.default_executor.set(executor.clone());
                executor
            }
        }
    } else {
        executor.clone()
    };
    let mut all = vec![function.clone()];
    all.extend(rest.iter().cloned());
    let job = executor.call_method1(intern!(py, "submit"), slots::tuple(py, all)?)?;
    wrap_job(this.base(), &job).map(Own::new)
}

pub(super) fn asyncgens<'py>(this: &Ref<'py, BaseEventLoop>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(set) = this.asyncgens.get(py) {
        return Ok(set);
    }
    let set = match library_for_report(py, "weakref")? {
        Some(weakref) => weakref.getattr(intern!(py, "WeakSet"))?.call0()?,
        // The interpreter ends, and the generators with it.
        None => PySet::empty(py)?.into_any(),
    };
    this.asyncgens.set(set.clone());
    Ok(set)
}

fn first_iteration(this: &Ref<'_, BaseEventLoop>, generator: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    if this.asyncgens_shut_down.get() {
        let text =
            format!("asynchronous generator {} was scheduled after loop.shutdown_asyncgens() call", generator.repr()?);
        let keywords = slots::dict(py)?;
        keywords.set_item(intern!(py, "source"), this.any())?;
        let warn = library(py, "warnings")?.getattr(intern!(py, "warn"))?;
        warn.call((text, py.get_type::<PyResourceWarning>()), Some(&keywords))?;
    }
    asyncgens(this)?.call_method1(intern!(py, "add"), (generator,)).map(drop)
}

fn finalize_generator(this: &Ref<'_, BaseEventLoop>, generator: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    asyncgens(this)?.call_method1(intern!(py, "discard"), (generator,))?;
    if !this.closed.get() {
        let create = this.any().getattr(intern!(py, "create_task"))?;
        let close = generator.call_method0(intern!(py, "aclose"))?;
        this.any().call_method1(intern!(py, "call_soon_threadsafe"), (create, close))?;
    }
    Ok(())
}

/// The body of `shutdown_asyncgens()`.
fn shutdown_asyncgens<'py>(this: &Ref<'py, BaseEventLoop>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    slots::coroutine(py, "BaseEventLoop.shutdown_asyncgens", [this.any().clone()], |co, [event_loop]| async move {
        let none = || Own::new(co.py().None().into_bound(co.py()));
        let (generators, all) = {
            let py = co.py();
            let event_loop = co.get_as::<BaseEventLoop>(event_loop);
            event_loop.asyncgens_shut_down.set(true);
            let Some(set) = event_loop.asyncgens.get(py) else { return Ok(none()) };
            if set.len()? == 0 {
                return Ok(none());
            }
            let generators = slots::tuple(py, slots::items(&set)?)?;
            set.call_method0(intern!(py, "clear"))?;
            let closes =
                generators.iter().map(|g| g.call_method0(intern!(py, "aclose"))).collect::<PyResult<Vec<_>>>()?;
            let keywords = slots::dict(py)?;
            keywords.set_item(intern!(py, "return_exceptions"), true)?;
            let gather = face(py, "tasks")?.getattr(intern!(py, "gather"))?;
            (co.keep(generators.into_any()), co.keep(gather.call(slots::tuple(py, closes)?, Some(&keywords))?))
        };
        let results = co.wait(all).await?;
        let py = co.py();
        for (result, generator) in results.bind(py).try_iter()?.zip(co.get(generators).try_iter()?) {
            let (result, generator) = (result?, generator?);
            if result.is_instance_of::<pyo3::exceptions::PyException>() {
                let details = slots::dict(py)?;
                let text = format!("an error occurred during closing of asynchronous generator {}", generator.repr()?);
                details.set_item(intern!(py, "message"), text)?;
                details.set_item(intern!(py, "exception"), result)?;
                details.set_item(intern!(py, "asyncgen"), generator)?;
                co.get(event_loop).call_method1(intern!(py, "call_exception_handler"), (details,))?;
            }
        }
        Ok(none())
    })
}

/// The body of `shutdown_default_executor()`: a thread joins the workers while the loop goes on.
fn shutdown_executor<'py>(this: &Ref<'py, BaseEventLoop>, timeout: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let kept = [this.any().clone(), timeout];
    slots::coroutine(py, "BaseEventLoop.shutdown_default_executor", kept, |co, [event_loop, timeout]| async move {
        let none = || Own::new(co.py().None().into_bound(co.py()));
        let (thread, waiting) = {
            let py = co.py();
            let event_loop = co.get_as::<BaseEventLoop>(event_loop);
            event_loop.executor_shut_down.set(true);
            if !event_loop.default_executor.is_set() {
                return Ok(none());
            }
            let future = create_future(event_loop.any())?;
            let keywords = slots::dict(py)?;
            keywords.set_item(intern!(py, "target"), event_loop.any().getattr(intern!(py, "_do_shutdown"))?)?;
            keywords.set_item(intern!(py, "args"), (&future,))?;
            let threading = face(py, "base_events")?.getattr(intern!(py, "threading"))?;
            let thread = threading.getattr(intern!(py, "Thread"))?.call((), Some(&keywords))?;
            thread.call_method0(intern!(py, "start"))?;
            let limit = co.get(timeout);
            let waiting = if limit.is_none() {
                future
            } else {
                face(py, "tasks")?.call_method1(intern!(py, "wait_for"), (future, limit))?
            };
            (co.keep(thread), co.keep(waiting))
        };
        let result = co.wait(waiting).await;
        let py = co.py();
        match result {
            Ok(_) => co.get(thread).call_method0(intern!(py, "join"))?,
            Err(error) if error.is_instance_of::<PyTimeoutError>(py) => {
                let text = format!(
                    "The executor did not finishing joining its threads within {} seconds.",
                    co.get(timeout).str()?
                );
                let text = std::ffi::CString::new(text)?;
                PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 2)?;
                let executor = co.get_as::<BaseEventLoop>(event_loop).default_executor.get(py);
                if let Some(executor) = executor {
                    let keywords = slots::dict(py)?;
                    keywords.set_item(intern!(py, "wait"), false)?;
                    executor.getattr(intern!(py, "shutdown"))?.call((), Some(&keywords))?;
                }
                return Ok(none());
            }
            Err(error) => {
                co.get(thread).call_method0(intern!(py, "join"))?;
                return Err(error);
            }
        };
        Ok(none())
    })
}

/// What the joining thread does.
fn do_shutdown(this: &Ref<'_, BaseEventLoop>, future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "wait"), true)?;
    let joined = match this.default_executor.get(py) {
        Some(executor) => executor.getattr(intern!(py, "shutdown"))?.call((), Some(&keywords)).map(drop),
        None => Ok(()),
    };
    if this.closed.get() {
        return Ok(());
    }
    let soon = this.any().getattr(intern!(py, "call_soon_threadsafe"))?;
    match joined {
        Ok(()) => {
            let set = face(py, "futures")?.getattr(intern!(py, "_set_result_unless_cancelled"))?;
            soon.call1((set, future, py.None())).map(drop)
        }
        Err(error) => {
            if future.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
                return Ok(());
            }
            soon.call1((future.getattr(intern!(py, "set_exception"))?, error.into_value(py))).map(drop)
        }
    }
}

pub(super) fn define(spec: &mut Spec<BaseEventLoop>) {
    const RUN: &CStr = c"run_in_executor($self, /, executor, func, *args)\n--\n\n\
        Have func(*args) called by a concurrent.futures executor (None for the loop's own thread pool).\n\
        Answers a future of its result.";
    spec.method(c"run_in_executor", RUN, run_in_executor)
        .method1_named(
            c"set_default_executor",
            c"set_default_executor($self, /, executor)\n--\n\nThe ThreadPoolExecutor that run_in_executor(None, ...) uses.", || ("BaseEventLoop.set_default_executor", "executor"),
            |this, executor| {
                let py = this.py();
                let futures = face(py, "base_events")?.getattr(intern!(py, "concurrent"))?.getattr(intern!(py, "futures"))?;
                if !executor.is_instance(&futures.getattr(intern!(py, "ThreadPoolExecutor"))?)? {
                    return Err(PyTypeError::new_err("executor must be ThreadPoolExecutor instance"));
                }
                put(&this.default_executor, Some(executor))
            },
        )
        .method0(c"_check_default_executor", c"_check_default_executor($self, /)\n--\n\nRuntimeError after shutdown_default_executor().", |this| {
            if this.executor_shut_down.get() {
                return Err(PyRuntimeError::new_err("Executor shutdown has been called"));
            }
            Ok(())
        })
        .method1_named(c"_asyncgen_firstiter_hook", c"_asyncgen_firstiter_hook($self, /, agen)\n--\n\nSee PEP 525.", || ("BaseEventLoop._asyncgen_firstiter_hook", "agen"), first_iteration)
        .method1_named(c"_asyncgen_finalizer_hook", c"_asyncgen_finalizer_hook($self, /, agen)\n--\n\nSee PEP 525.", || ("BaseEventLoop._asyncgen_finalizer_hook", "agen"), finalize_generator)
        .method0(c"_shutdown_asyncgens", c"_shutdown_asyncgens($self, /)\n--\n\nThe body of shutdown_asyncgens().", |this| {
            shutdown_asyncgens(this).map(Own::new)
        })
        .method1(c"_shutdown_default_executor", c"_shutdown_default_executor($self, timeout, /)\n--\n\nThe body of shutdown_default_executor().", |this, timeout| {
            shutdown_executor(this, timeout.clone()).map(Own::new)
        })
        .method1_named(c"_do_shutdown", c"_do_shutdown($self, /, future)\n--\n\nJoin the default executor's threads, in a thread.", || ("BaseEventLoop._do_shutdown", "future"), do_shutdown);
}
