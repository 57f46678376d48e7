//! tasks: `Task` and everything that runs coroutines together (asyncio.tasks, PEPs 3156 and 492).
//!
//! Called by users, `taskgroups`, `timeouts`, `runners`; calls `futures` to wait and `events` to be scheduled.
//!
//! - `task`: the Task, its cancellation, its Python class.
//! - `step`: one step of the coroutine: the hot path of the whole library.
//! - `sleep`, `create` (create_task, ensure_future, shield, run_coroutine_threadsafe), `gather`, `wait` (wait, wait_for,
//!   as_completed), `awaited_by` (the edges of call graphs).
//! - `registry`: which tasks exist and which one runs (`all_tasks`, `current_task`, `_enter_task`, ...).

pub mod awaited_by;
mod class;
mod create;
mod gather;
mod registry;
mod sleep;
mod step;
mod wait;
mod wait_for;

use std::cell::Cell;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Own, Ref, Registration, Slot, class};

use crate::events::LoopCore;
use crate::futures::Future;

pub use self::create::{Shielded, ensure_future, set_task_name};
pub use self::gather::GatheringFuture;
pub use self::registry::{all_tasks, current_task, enter_task, forget_current, leave_task, swap_current_task};
pub use self::sleep::quick_sleep;
pub use self::step::{STEP, WAKEUP};
pub use self::wait::{AsCompleted, Countdown};
pub use self::wait_for::quick_wait_for;

class! {
    /// A coroutine on its way.
    pub struct Task: Future {
        registration: Registration,
        coroutine: Slot,
        context: Slot,
        /// What the task waits for.
        pub(crate) waits_for: Slot,
        name: Slot,
        /// The number behind a name that nobody has asked for yet.
        number: Cell<u64>,
        cancel_requests: Cell<i32>,
        pub(crate) must_cancel: Cell<bool>,
        pub(crate) log_destroy_pending: Cell<bool>,
    }
}

/// How a task is made.
#[derive(Default)]
pub struct Options<'a, 'py> {
    /// The name; a number is given without one.
    pub name: Option<&'a Bound<'py, PyAny>>,
    /// The context; a copy of the current one without it.
    pub context: Option<&'a Bound<'py, PyAny>>,
    /// Whether the first step is made at once (3.12+).
    pub eager: bool,
}

impl Task {
    /// A new task of exactly this class, its first step scheduled.
    pub fn create<'py>(
        coroutine: &Bound<'py, PyAny>,
        event_loop: &Bound<'py, PyAny>,
        options: Options<'_, 'py>,
    ) -> PyResult<Ref<'py, Task>> {
        let task = Ref::create(event_loop.py(), Task::default())?;
        Future::set_loop(task.base(), event_loop)?;
        Task::begin(&task, coroutine, event_loop, options)?;
        Ok(task)
    }

    /// What `Task.__init__` does after the future's part.
    fn begin<'py>(
        this: &Ref<'py, Task>,
        coroutine: &Bound<'py, PyAny>,
        event_loop: &Bound<'py, PyAny>,
        options: Options<'_, 'py>,
    ) -> PyResult<()> {
        let py = this.py();
        if !crate::coroutines::is_coroutine(coroutine)? {
            // Nothing is pending, so the finalizer has nothing to say.
            this.log_destroy_pending.set(false);
            return Err(PyTypeError::new_err(format!("a coroutine was expected, got {}", coroutine.repr()?)));
        }
        this.context.set(match options.context {
            Some(context) if slots::VERSION >= (3, 15) && !slots::is_context(context) => {
                this.log_destroy_pending.set(false);
                let text = format!("a contextvars.Context was expected, got {}", context.get_type().name()?);
                return Err(PyTypeError::new_err(text));
            }
            Some(context) => context.clone(),
            None => slots::copy_current(py)?,
        });
        this.log_destroy_pending.set(true);
        match options.name.filter(|n| !n.is_none()) {
            Some(name) if name.is_exact_instance_of::<pyo3::types::PyString>() => this.name.set(name.clone()),
            Some(name) => this.name.set(name.str()?.into_any()),
            None => {
                let state = crate::state(py)?;
                let number = state.task_number.get() + 1;
                state.task_number.set(number);
                this.number.set(number);
            }
        }
        this.coroutine.set(coroutine.clone());
        if options.eager && crate::events::running_loop(py).is_some_and(|running| running.is(event_loop)) {
            return step::eager(this, event_loop);
        }
        match this.core(py) {
            Some(core) => {
                core.tasks.enter(this, |task| &task.registration);
                registry::tell_stdlib_registered(this)?;
                LoopCore::schedule(&core, this.any().clone(), None, &STEP)
            }
            None => {
                registry::register_foreign(this)?;
                crate::events::core::call_soon_by_name(event_loop, this.any().clone(), None, &STEP)
            }
        }
    }

    /// The coroutine, unless the task finished eagerly.
    pub fn coroutine<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.coroutine.get(py)
    }

    /// The context in which the coroutine runs.
    pub fn context<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.context.get(py)
    }

    /// The name, made of the number if there is none yet.
    pub fn name<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self.name.get(py) {
            Some(name) => name,
            None => {
                let name = pyo3::types::PyString::new(py, &format!("Task-{}", self.number.get())).into_any();
                self.name.set(name.clone());
                name
            }
        }
    }

    /// Asks the task to stop: cancels what it waits for, or throws CancelledError in at its next step.
    pub fn cancel<'py>(this: &Ref<'py, Task>, message: Option<&Bound<'py, PyAny>>) -> PyResult<bool> {
        let py = this.py();
        this.check_initialized()?;
        this.log_traceback.set(false);
        if this.is_done() {
            return Ok(false);
        }
        this.cancel_requests.set(this.cancel_requests.get() + 1);
        if let Some(waits_for) = this.waits_for.get(py) {
            if cancel_any(&waits_for, message)? {
                // The wake-up brings the CancelledError.
                return Ok(true);
            }
        }
        this.must_cancel.set(true);
        this.set_cancel_message(message);
        Ok(true)
    }

    /// How often the task was asked to stop, less `uncancel()`s.
    pub fn cancelling(&self) -> i32 {
        self.cancel_requests.get()
    }

    /// Takes one request to stop back; answers how many are left.
    pub fn uncancel(this: &Ref<'_, Task>) -> i32 {
        let requests = this.cancel_requests.get();
        if requests > 0 {
            this.cancel_requests.set(requests - 1);
            if requests == 1 && slots::VERSION >= (3, 13) {
                this.must_cancel.set(false);
            }
        }
        this.cancel_requests.get()
    }

    /// Drops a cancellation that has not been thrown yet, where none is requested any more: a part of `uncancel` since 3.13,
    /// and what the older ones lack where something newer needs it.
    pub fn drop_unrequested(this: &Ref<'_, Task>) {
        if this.cancel_requests.get() == 0 {
            this.must_cancel.set(false);
        }
    }
}

/// Cancels any future: native ones directly, others by their method.
pub fn cancel_any<'py>(future: &Bound<'py, PyAny>, message: Option<&Bound<'py, PyAny>>) -> PyResult<bool> {
    let py = future.py();
    if let Some(task) = Ref::<Task>::cast_exact(future) {
        return step::guarded(py, || Task::cancel(task, message));
    }
    if let Some(future) = Ref::<Future>::cast_exact(future) {
        return Future::cancel(future, message);
    }
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "msg"), message)?;
    future.getattr(intern!(py, "cancel"))?.call((), Some(&keywords))?.is_truthy()
}

/// A native waiter's object as a task.
pub(crate) fn as_task<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<&'a Ref<'py, Task>> {
    Ref::<Task>::cast(object).ok_or_else(|| PyTypeError::new_err("a task was expected"))
}

pub(crate) fn context_of(object: &Bound<'_, PyAny>) -> Option<Own> {
    Ref::<Task>::cast(object)?.context.get(object.py()).map(Own::new)
}

pub(crate) fn loop_of(object: &Bound<'_, PyAny>) -> Option<Own> {
    Ref::<Task>::cast(object)?.event_loop(object.py()).map(Own::new)
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<Task>(module)?;
    awaited_by::add_functions(module)?;
    create::add(module)?;
    gather::add(module)?;
    registry::add(module)?;
    sleep::add(module)?;
    wait::add(module)
}
