//! One step of a task: resume the coroutine, look at what it yields, wait for that.
//!
//! Called by the loop through the two kinds of entry, [`STEP`] and [`WAKEUP`]; calls the coroutine, and `futures` to wait.
//!
//! A step: CancelledError is thrown in if the task must cancel; else the coroutine is sent None, or the exception of what
//! it waited for is thrown in. Then:
//! - it returned: the task finishes with the result (or is cancelled, if a cancellation came during the step);
//! - it raised: CancelledError cancels the task, SystemExit and KeyboardInterrupt finish it and leave the loop, any other
//!   exception finishes it;
//! - it yielded a future that says it is being awaited: the task becomes a waiter of it;
//! - it yielded None (a bare yield): the task goes to the end of the queue;
//! - anything else is a mistake that is thrown in at the next step, with CPython's text.
//!
//! Invariant: while the coroutine runs, the task is the loop's current task, and `waits_for` is empty.

use pyo3::exceptions::{PyBaseException, PyKeyboardInterrupt, PyRuntimeError, PySystemExit};
use pyo3::prelude::*;
use slots::intern;
use slots::{Ref, Sent};

use super::{Task, as_task, cancel_any, context_of, loop_of, registry};
use crate::events::core::call_soon_by_name;
use crate::events::{Kind, LoopCore, NativeCallback};
use crate::exceptions;
use crate::futures::{self, Future};

/// A task's own step; the argument is an exception to throw in.
pub static STEP: Kind = Kind {
    run: |object, argument| {
        let task = as_task(object)?;
        step(task, argument.map(|error| PyErr::from_value(error.clone())))
    },
    event_loop: loop_of,
    context: context_of,
    name: "TaskStepMethWrapper",
    qualname: None,
};

/// A task's wake-up by the future that it waited for, which is the argument.
pub static WAKEUP: Kind = Kind {
    run: |object, argument| {
        let task = as_task(object)?;
        match argument {
            Some(future) => wakeup(task, future),
            None => step(task, None),
        }
    },
    event_loop: loop_of,
    context: context_of,
    name: "TaskWakeupMethWrapper",
    qualname: Some("Task.task_wakeup"),
};

/// Runs `f` unless the recursion limit is reached; a chain of tasks cancels through itself.
pub(super) fn guarded<R>(py: Python<'_>, f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    slots::recursion(py, c" while cancelling a task", f)
}

fn wakeup<'py>(task: &Ref<'py, Task>, future: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = task.py();
    let native = match Ref::<Task>::cast_exact(future) {
        Some(task) => Some(task.base()),
        None => Ref::<Future>::cast_exact(future),
    };
    let outcome = match native {
        Some(future) => match future.exception_of(py) {
            None if future.state() == futures::State::Finished => return step(task, None),
            _ => Future::outcome(future),
        },
        None => future.call_method0(intern!(py, "result")),
    };
    match outcome {
        Ok(_) => step(task, None),
        Err(error) => step(task, Some(error)),
    }
}

/// Resumes the coroutine once, the task's context being entered.
pub(super) fn step(task: &Ref<'_, Task>, error: Option<PyErr>) -> PyResult<()> {
    let py = task.py();
    if task.is_done() {
        let error = match error {
            Some(error) => error.value(py).repr()?.to_string(),
            None => "None".to_owned(),
        };
        let text = format!("__step(): already done: {} {error}", task.any().repr()?);
        return Err(exceptions::invalid_state(py, text));
    }
    let Some(core) = task.core(py) else { return foreign_step(task, error) };
    registry::enter_native(&core, task)?;
    let result = resume(task, error);
    result.and(registry::leave_native(&core, task))
}

#[cold]
fn foreign_step(task: &Ref<'_, Task>, error: Option<PyErr>) -> PyResult<()> {
    let py = task.py();
    let Some(event_loop) = task.event_loop(py) else { return Ok(()) };
    registry::enter_task(&event_loop, task.any())?;
    let result = resume(task, error);
    result.and(registry::leave_task(&event_loop, task.any()))
}

fn resume<'py>(task: &Ref<'py, Task>, mut error: Option<PyErr>) -> PyResult<()> {
    let py = task.py();
    if task.must_cancel.get() {
        if !error.as_ref().is_some_and(|e| exceptions::is_cancelled(py, e)) {
            error = Some(PyErr::from_value(Future::make_cancelled_error(task.base())?));
        }
        task.must_cancel.set(false);
    }
    task.waits_for.unset();
    let Some(coroutine) = task.coroutine(py) else {
        return Err(PyRuntimeError::new_err("uninitialized Task object"));
    };
    let sent = match error {
        None => slots::send(&coroutine, &py.None().into_bound(py)),
        Some(error) => slots::throw_into(&coroutine, error),
    };
    drop(coroutine);
    match sent {
        Ok(Sent::Yield(value)) => wait_for(task, value),
        Ok(Sent::Return(value)) => {
            if task.must_cancel.get() {
                task.must_cancel.set(false);
                let message = task.cancel_message(py);
                Future::cancel(task.base(), message.as_ref())?;
            } else {
                Future::set_result(task.base(), value)?;
            }
            task.registration.leave();
            Ok(())
        }
        Err(error) => {
            task.registration.leave();
            raised(task, error)
        }
    }
}

fn raised(task: &Ref<'_, Task>, error: PyErr) -> PyResult<()> {
    let py = task.py();
    if exceptions::is_cancelled(py, &error) {
        task.cancelled_error.set(error.into_value(py).into_bound(py).into_any());
        return Future::cancel(task.base(), None).map(drop);
    }
    let instance = error.into_value(py).into_bound(py).into_any();
    Future::set_exception(task.base(), &instance)?;
    if instance.is_instance_of::<PyKeyboardInterrupt>() || instance.is_instance_of::<PySystemExit>() {
        return Err(PyErr::from_value(instance));
    }
    Ok(())
}

/// Makes the task wait for what its coroutine yielded.
fn wait_for<'py>(task: &Ref<'py, Task>, yielded: Bound<'py, PyAny>) -> PyResult<()> {
    let py = task.py();
    let native = match Ref::<Future>::cast_exact(&yielded) {
        Some(future) => Some(future),
        None => Ref::<Task>::cast_exact(&yielded).map(|other| other.base()),
    };
    if let Some(future) = native {
        if !same_loop(task, future) {
            return fail_next(task, other_loop(task, &yielded)?);
        }
        if !future.blocking.replace(false) {
            return fail_next(task, bare_yield(task, &yielded)?);
        }
        if future.any().is(task.any()) {
            return fail_next(task, format!("Task cannot await on itself: {}", task.any().repr()?));
        }
        Future::add_waiter(future, task.any().clone(), &WAKEUP)?;
        task.waits_for.set(yielded);
        return cancel_late(task);
    }
    if yielded.is_none() {
        return again(task, None);
    }
    let blocking = yielded.getattr_opt(intern!(py, "_asyncio_future_blocking"))?;
    match blocking.filter(|b| !b.is_none()) {
        Some(blocking) => {
            let own = task.event_loop(py).unwrap_or_else(|| py.None().into_bound(py));
            if !futures::loop_of(&yielded)?.is(&own) {
                return fail_next(task, other_loop(task, &yielded)?);
            }
            if !blocking.is_truthy()? {
                return fail_next(task, bare_yield(task, &yielded)?);
            }
            if yielded.is(task.any()) {
                return fail_next(task, format!("Task cannot await on itself: {}", task.any().repr()?));
            }
            yielded.setattr(intern!(py, "_asyncio_future_blocking"), false)?;
            let wake = NativeCallback::make(py, task.any().clone(), &WAKEUP)?;
            let keywords = slots::dict(py)?;
            keywords.set_item(intern!(py, "context"), task.context(py))?;
            yielded.getattr(intern!(py, "add_done_callback"))?.call((wake,), Some(&keywords))?;
            task.waits_for.set(yielded);
            cancel_late(task)
        }
        None => {
            let text = if slots::is_generator(&yielded) {
                format!(
                    "yield was used instead of yield from for generator in task {} with {}",
                    task.any().repr()?,
                    yielded.repr()?
                )
            } else {
                format!("Task got bad yield: {}", yielded.repr()?)
            };
            fail_next(task, text)
        }
    }
}

#[inline]
fn same_loop(task: &Ref<'_, Task>, future: &Ref<'_, Future>) -> bool {
    match task.event_loop(task.py()) {
        Some(event_loop) => future.is_on(&event_loop),
        None => false,
    }
}

/// A cancellation that came while the coroutine ran goes to what it now waits for.
#[inline]
fn cancel_late(task: &Ref<'_, Task>) -> PyResult<()> {
    if task.must_cancel.get() {
        let py = task.py();
        if let Some(waits_for) = task.waits_for.get(py) {
            let message = task.cancel_message(py);
            if cancel_any(&waits_for, message.as_ref())? {
                task.must_cancel.set(false);
            }
        }
    }
    Ok(())
}

fn other_loop(task: &Ref<'_, Task>, yielded: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(format!("Task {} got Future {} attached to a different loop", task.any().repr()?, yielded.repr()?))
}

fn bare_yield(task: &Ref<'_, Task>, yielded: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(format!("yield was used instead of yield from in task {} with {}", task.any().repr()?, yielded.repr()?))
}

#[cold]
fn fail_next(task: &Ref<'_, Task>, text: String) -> PyResult<()> {
    let py = task.py();
    let error = PyRuntimeError::new_err(text).into_value(py).into_bound(py).into_any();
    debug_assert!(error.is_instance_of::<PyBaseException>());
    again(task, Some(error))
}

/// Schedules the next step.
#[inline]
fn again<'py>(task: &Ref<'py, Task>, error: Option<Bound<'py, PyAny>>) -> PyResult<()> {
    let py = task.py();
    match task.core(py) {
        Some(core) => LoopCore::schedule(&core, task.any().clone(), error, &STEP),
        None => match task.event_loop(py) {
            Some(event_loop) => call_soon_by_name(&event_loop, task.any().clone(), error, &STEP),
            None => Ok(()),
        },
    }
}

/// Makes the first step at once (`eager_start`): the task is current during it, and afterwards whoever was before.
pub(super) fn eager<'py>(task: &Ref<'py, Task>, event_loop: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = task.py();
    if let Some(core) = task.core(py) {
        core.tasks.enter(task, |task| &task.registration);
    } else {
        registry::register_foreign(task)?;
    }
    let before = registry::swap_current_task(event_loop, Some(task.any()))?;
    let context = task.context(py).unwrap_or_else(|| py.None().into_bound(py));
    // A first step inside a first step, and so on, nests on the stack. At its end the coroutine gets the error, as in CPython, whose
    // evaluation of the coroutine finds it.
    let too_deep = slots::recursion(py, c"", || Ok(())).err();
    let result = slots::enter_context(&context, || resume(task, too_deep)).and_then(|r| r);
    registry::swap_current_task(event_loop, before.as_ref())?;
    if task.is_done() {
        task.coroutine.unset();
        task.registration.leave();
    } else if task.core(py).is_some() {
        registry::tell_stdlib_registered(task)?;
    }
    result
}
