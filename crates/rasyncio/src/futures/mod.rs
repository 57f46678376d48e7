//! futures: `Future`, a result that is not there yet (asyncio.futures, PEP 3156).
//!
//! Called by `tasks`, which derives from it and waits on it, and by every room that waits; calls `events` to schedule what
//! waits for it.
//!
//! States: Pending -> Cancelled, or Pending -> Finished (a result, or an exception). No way back.
//!
//! Who waits is a [`Waiter`]: a Python callback with its context, or a native object with the `Kind` that runs it (a task
//! that awaits this future, an outer future that gathers it). On completion every waiter goes to the end of the loop's
//! queue, in the order in which they came; the native ones without a Handle.
//!
//! Invariants: waiters are out of their cell before any of them is scheduled. `log_traceback` is set with an exception
//! and cleared when somebody asks for it; the finalizer reports what nobody asked for.
//!
//! Differs from CPython's `_asyncio.Future` in no behaviour; `_callbacks` shows native waiters as callables made on demand.
//!
//! - `class`: the Python class.
//! - `iter`: `await future`.
//! - `wait`: await one future after another, for rooms.
//! - `chain`: futures of asyncio and of concurrent.futures.

pub mod chain;
mod class;
mod iter;
mod wait;

use std::cell::{Cell, RefCell};

use pyo3::exceptions::PyBaseException;
use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyType};
use slots::intern;
use slots::{Link, Own, Ref, Slot, Visit, Visitor, class};

use crate::events::core::{call_soon, call_soon_by_name};
use crate::events::{Kind, LoopCore, NativeCallback, get_event_loop};
use crate::exceptions;

pub use self::chain::{settle_soon, wrap_job};
pub(crate) use self::class::{class_to_see, given, given_context};
pub use self::iter::FutureIter;
pub use self::wait::{Next, Then, Wait};

/// Where a future stands.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum State {
    #[default]
    Pending,
    Cancelled,
    Finished,
}

impl State {
    /// The name that `_state` shows.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Cancelled => "CANCELLED",
            State::Finished => "FINISHED",
        }
    }
}

/// Somebody who waits for a future.
pub enum Waiter {
    /// A Python callable and the context to call it in.
    Call {
        /// Called with the future.
        callback: Own,
        /// A `contextvars.Context`.
        context: Own,
    },
    /// A native object, run by its kind with the future as argument.
    Native {
        /// What waits.
        object: Own,
        /// How it is run.
        kind: &'static Kind,
    },
}

impl Visit for Waiter {
    fn visit(&self, visitor: &Visitor) {
        match self {
            Waiter::Call { callback, context } => {
                callback.visit(visitor);
                context.visit(visitor);
            }
            Waiter::Native { object, .. } => object.visit(visitor),
        }
    }
    fn clear(&self) {}
}

/// Waiters in the order in which they came; most futures have one.
#[derive(Default)]
pub struct Waiters {
    first: Option<Waiter>,
    rest: Vec<Waiter>,
}

impl Waiters {
    fn push(&mut self, waiter: Waiter) {
        if self.first.is_none() && self.rest.is_empty() {
            self.first = Some(waiter);
        } else {
            self.rest.push(waiter);
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.first.iter().chain(self.rest.iter())
    }
}

impl Visit for Waiters {
    fn visit(&self, visitor: &Visitor) {
        self.iter().for_each(|waiter| waiter.visit(visitor));
    }
    fn clear(&self) {}
}

class! {
    /// A result that is not there yet.
    pub struct Future {
        core: Link<LoopCore>,
        foreign_loop: Slot,
        result: Slot,
        exception: Slot,
        exception_traceback: Slot,
        cancel_message: Slot,
        /// The CancelledError that a task ended with, to be raised again as it is, once.
        pub(crate) cancelled_error: Slot,
        source_traceback: Slot,
        /// The future or task that was noted as waiting for this one, or a set of several; see `tasks::awaited_by`.
        pub(crate) awaited_by: Slot,
        waiters: RefCell<Waiters>,
        state: Cell<State>,
        /// `_asyncio_future_blocking`: the future was yielded by `await` and not yet seen by a task.
        pub(crate) blocking: Cell<bool>,
        pub(crate) log_traceback: Cell<bool>,
    }
}

impl Future {
    /// A new pending future of exactly this class, as `loop.create_future()` makes it.
    #[inline]
    pub fn create<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Ref<'py, Future>> {
        let future = Ref::create(event_loop.py(), Future::default())?;
        Future::set_loop(&future, event_loop)?;
        Ok(future)
    }

    /// A new pending future on a loop of ours.
    #[inline]
    pub fn on<'py>(core: &Ref<'py, LoopCore>) -> PyResult<Ref<'py, Future>> {
        let future = Ref::create(core.py(), Future { core: Link::of(core.clone()), ..Future::default() })?;
        if core.debug.get() {
            Future::note_source(&future)?;
        }
        Ok(future)
    }

    /// Gives the future its loop and, in debug mode, its source traceback.
    pub fn set_loop(this: &Ref<'_, Future>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        let debug = match LoopCore::of(event_loop) {
            Some(core) => {
                this.foreign_loop.unset();
                this.core.set(core.clone());
                if LoopCore::overrides(core, crate::events::Hook::GetDebug) {
                    event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy()?
                } else {
                    core.debug.get()
                }
            }
            None => {
                this.core.unset();
                this.foreign_loop.set(event_loop.clone());
                event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy()?
            }
        };
        if debug {
            Future::note_source(this)?;
        }
        Ok(())
    }

    #[cold]
    fn note_source(this: &Ref<'_, Future>) -> PyResult<()> {
        let py = this.py();
        let stack = crate::face(py, "format_helpers")?.call_method0(intern!(py, "extract_stack"))?;
        this.source_traceback.set(stack);
        Ok(())
    }

    /// The loop, if the future was initialised and not yet collected.
    #[inline]
    pub fn event_loop<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.core.any().get(py).or_else(|| self.foreign_loop.get(py))
    }

    /// The loop, if it is one of ours.
    #[inline]
    pub fn core<'py>(&self, py: Python<'py>) -> Option<Ref<'py, LoopCore>> {
        self.core.get(py)
    }

    /// Whether the future is on this very loop.
    #[inline]
    pub fn is_on(&self, event_loop: &Bound<'_, PyAny>) -> bool {
        self.core.any().is(event_loop) || self.foreign_loop.is(event_loop)
    }

    /// `RuntimeError: Future object is not initialized.`, unless it is.
    #[inline]
    pub fn check_initialized(&self) -> PyResult<()> {
        if self.core.is_set() || self.foreign_loop.is_set() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("Future object is not initialized."))
    }

    /// Where the future stands.
    #[inline]
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// Whether it is cancelled or finished.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state.get() != State::Pending
    }

    /// The exception, if it finished with one.
    pub fn exception_of<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.exception.get(py)
    }

    /// The message of the cancellation.
    pub fn cancel_message<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.cancel_message.get(py).filter(|m| !m.is_none())
    }

    /// Sets the message of a cancellation to come.
    pub fn set_cancel_message(&self, message: Option<&Bound<'_, PyAny>>) {
        match message {
            Some(message) => self.cancel_message.set(message.clone()),
            None => self.cancel_message.unset(),
        }
    }

    /// Finishes the future with a result.
    #[inline]
    pub fn set_result(this: &Ref<'_, Future>, result: Bound<'_, PyAny>) -> PyResult<()> {
        this.check_initialized()?;
        if this.state.get() != State::Pending {
            return Err(exceptions::invalid_state(this.py(), "invalid state"));
        }
        this.result.set(result);
        this.state.set(State::Finished);
        Future::schedule_waiters(this)
    }

    /// Finishes the future with an exception: an instance, or a class to make one of.
    pub fn set_exception(this: &Ref<'_, Future>, exception: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        this.check_initialized()?;
        if this.state.get() != State::Pending {
            return Err(exceptions::invalid_state(py, "invalid state"));
        }
        let is_class = exception.cast::<PyType>().is_ok_and(|c| c.is_subclass_of::<PyBaseException>().unwrap_or(false));
        let mut instance = if is_class { exception.call0()? } else { exception.clone() };
        if this.state.get() != State::Pending {
            return Err(exceptions::invalid_state(py, "invalid state"));
        }
        if !instance.is_instance_of::<PyBaseException>() {
            return Err(PyTypeError::new_err("invalid exception object"));
        }
        if instance.is_instance_of::<PyStopIteration>() {
            const TEXT: &str = "StopIteration interacts badly with generators and cannot be raised into a Future";
            if slots::VERSION < (3, 12) {
                return Err(PyTypeError::new_err(TEXT));
            }
            let raised = PyRuntimeError::new_err(TEXT).into_value(py).into_bound(py).into_any();
            raised.setattr(intern!(py, "__cause__"), &instance)?;
            raised.setattr(intern!(py, "__context__"), &instance)?;
            instance = raised;
        }
        let trace = instance.getattr(intern!(py, "__traceback__"))?;
        // A derived class may have run anything by now.
        if this.state.get() != State::Pending {
            return Err(exceptions::invalid_state(py, "invalid state"));
        }
        this.exception_traceback.set(trace);
        this.exception.set(instance);
        this.state.set(State::Finished);
        Future::schedule_waiters(this)?;
        this.log_traceback.set(true);
        Ok(())
    }

    /// Cancels the future. Answers whether it was still pending. Not for tasks, which cancel what they wait for.
    pub fn cancel(this: &Ref<'_, Future>, message: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        this.check_initialized()?;
        this.log_traceback.set(false);
        if this.state.get() != State::Pending {
            return Ok(false);
        }
        this.set_cancel_message(message);
        this.state.set(State::Cancelled);
        Future::schedule_waiters(this)?;
        Ok(true)
    }

    /// What `result()` answers or raises.
    pub fn outcome<'py>(this: &Ref<'py, Future>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        match this.state.get() {
            State::Finished => match this.exception.get(py) {
                None => Ok(this.result.get_or_none(py)),
                Some(exception) => {
                    this.log_traceback.set(false);
                    let trace = this.exception_traceback.take(py).and_then(|trace| trace.cast_into().ok());
                    let error = slots::raise(&exception);
                    error.set_traceback(py, trace);
                    Err(error)
                }
            },
            State::Cancelled => Err(slots::raise(&Future::make_cancelled_error(this)?)),
            State::Pending => Err(exceptions::invalid_state(py, "Result is not set.")),
        }
    }

    /// What `exception()` answers or raises.
    pub fn exception<'py>(this: &Ref<'py, Future>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = this.py();
        match this.state.get() {
            State::Finished => {
                let exception = this.exception.get(py);
                if exception.is_some() {
                    this.log_traceback.set(false);
                }
                Ok(exception)
            }
            State::Cancelled => Err(slots::raise(&Future::make_cancelled_error(this)?)),
            State::Pending => Err(exceptions::invalid_state(py, "Exception is not set.")),
        }
    }

    /// The CancelledError to raise: the one that the task ended with the first time, then new ones.
    pub fn make_cancelled_error<'py>(this: &Ref<'py, Future>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        match this.cancelled_error.take(py) {
            Some(error) => Ok(error),
            None => exceptions::cancelled(py, this.cancel_message(py)),
        }
    }

    /// Schedules a Python callback for the completion, or at once if the future is done.
    pub fn add_done_callback<'py>(
        this: &Ref<'py, Future>,
        callback: Bound<'py, PyAny>,
        context: Bound<'py, PyAny>,
    ) -> PyResult<()> {
        this.check_initialized()?;
        if this.is_done() {
            return match this.event_loop(this.py()) {
                Some(event_loop) => call_soon(&event_loop, callback, this.any(), context),
                None => Ok(()),
            };
        }
        this.waiters.borrow_mut().push(Waiter::Call { callback: callback.into(), context: context.into() });
        Ok(())
    }

    /// Schedules a native object for the completion, or at once if the future is done.
    #[inline]
    pub fn add_waiter<'py>(this: &Ref<'py, Future>, object: Bound<'py, PyAny>, kind: &'static Kind) -> PyResult<()> {
        if this.is_done() {
            return Future::schedule_native(this, object, kind);
        }
        this.waiters.borrow_mut().push(Waiter::Native { object: object.into(), kind });
        Ok(())
    }

    /// Removes a native waiter. Answers whether it was there.
    pub fn remove_waiter(this: &Ref<'_, Future>, object: &Bound<'_, PyAny>, kind: &'static Kind) -> bool {
        let same =
            |w: &Waiter| matches!(w, Waiter::Native { object: o, kind: k } if o.is(object) && std::ptr::eq(*k, kind));
        let removed = {
            let mut waiters = this.waiters.borrow_mut();
            if waiters.first.as_ref().is_some_and(same) {
                waiters.first.take()
            } else {
                waiters.rest.iter().position(same).map(|at| waiters.rest.remove(at))
            }
        };
        removed.is_some()
    }

    fn schedule_native<'py>(this: &Ref<'py, Future>, object: Bound<'py, PyAny>, kind: &'static Kind) -> PyResult<()> {
        let py = this.py();
        match this.core.get(py) {
            Some(core) => LoopCore::schedule(&core, object, Some(this.any().clone()), kind),
            None => match this.foreign_loop.get(py) {
                Some(event_loop) => call_soon_by_name(&event_loop, object, Some(this.any().clone()), kind),
                None => Ok(()),
            },
        }
    }

    #[inline]
    fn schedule_waiters(this: &Ref<'_, Future>) -> PyResult<()> {
        let waiters = std::mem::take(&mut *this.waiters.borrow_mut());
        if let Some(first) = waiters.first {
            Future::schedule_waiter(this, first)?;
        }
        for waiter in waiters.rest {
            Future::schedule_waiter(this, waiter)?;
        }
        Ok(())
    }

    #[inline]
    fn schedule_waiter(this: &Ref<'_, Future>, waiter: Waiter) -> PyResult<()> {
        let py = this.py();
        match waiter {
            Waiter::Native { object, kind } => Future::schedule_native(this, object.into_bound(py), kind),
            Waiter::Call { callback, context } => match this.event_loop(py) {
                Some(event_loop) => call_soon(&event_loop, callback.into_bound(py), this.any(), context.into_bound(py)),
                None => Ok(()),
            },
        }
    }

    /// `_callbacks`: None, or a list of (callback, context).
    pub fn callbacks<'py>(this: &Ref<'py, Future>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = this.py();
        let pair = |waiter: &Waiter| match waiter {
            Waiter::Call { callback, context } => (callback.bind(py).clone(), Some(context.bind(py).clone()), None),
            Waiter::Native { object, kind } => (object.bind(py).clone(), None, Some(*kind)),
        };
        let pairs: Vec<_> = this.waiters.borrow().iter().map(pair).collect();
        if pairs.is_empty() {
            return Ok(None);
        }
        let list = slots::list(py)?;
        for (callback, context, kind) in pairs {
            let pair = match kind {
                None => slots::tuple(py, [callback, context.unwrap_or_else(|| py.None().into_bound(py))])?,
                Some(kind) => {
                    let context = (kind.context)(&callback).map(|c| c.into_bound(py));
                    let callable = NativeCallback::make(py, callback, kind)?;
                    slots::tuple(py, [callable, context.unwrap_or_else(|| py.None().into_bound(py))])?
                }
            };
            list.append(pair)?;
        }
        Ok(Some(list.into_any()))
    }

    /// The native objects and the Python callables that wait, for call graphs.
    pub fn waiting<'py>(this: &Ref<'py, Future>) -> Vec<Bound<'py, PyAny>> {
        let py = this.py();
        let callable = |waiter: &Waiter| match waiter {
            Waiter::Call { callback, .. } => callback.bind(py).clone(),
            Waiter::Native { object, .. } => object.bind(py).clone(),
        };
        let waiting: Vec<_> = this.waiters.borrow().iter().map(callable).collect();
        waiting.into_iter().map(|callable| NativeCallback::behind(&callable).unwrap_or(callable)).collect()
    }

    /// Removes every waiter equal to `callback`; answers how many there were.
    pub fn remove_done_callback(this: &Ref<'_, Future>, callback: &Bound<'_, PyAny>) -> PyResult<usize> {
        this.check_initialized()?;
        let py = this.py();
        // Comparing runs Python code, so the waiters are out of the cell while it does.
        let waiters = std::mem::take(&mut *this.waiters.borrow_mut());
        let (mut kept, mut removed, mut failed) = (Waiters::default(), Vec::new(), None);
        for waiter in waiters.first.into_iter().chain(waiters.rest) {
            let equal = match &waiter {
                Waiter::Call { callback: own, .. } if failed.is_none() => {
                    own.bind(py).eq(callback).unwrap_or_else(|error| {
                        failed = Some(error);
                        false
                    })
                }
                Waiter::Call { .. } => false,
                Waiter::Native { object, kind } => NativeCallback::make(py, object.bind(py).clone(), kind)
                    .and_then(|callable| callable.eq(callback))
                    .unwrap_or(false),
            };
            if equal { removed.push(waiter) } else { kept.push(waiter) }
        }
        let late = std::mem::take(&mut *this.waiters.borrow_mut());
        late.first.into_iter().chain(late.rest).for_each(|waiter| kept.push(waiter));
        drop(this.waiters.replace(kept));
        // A comparison may have finished the future: then these, which were out of its sight, are still to be called.
        if this.is_done() {
            Future::schedule_waiters(this)?;
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(removed.len()),
        }
    }
}

/// The loop of any future, native or not.
pub fn loop_of<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = future.py();
    if let Some(native) = Ref::<Future>::cast_exact(future) {
        native.check_initialized()?;
        return Ok(native.event_loop(py).unwrap_or_else(|| py.None().into_bound(py)));
    }
    match future.getattr_opt(intern!(py, "get_loop"))? {
        Some(get_loop) => get_loop.call0(),
        None => future.getattr(intern!(py, "_loop")),
    }
}

/// The loop given, or that of the caller.
pub fn given_loop<'py>(py: Python<'py>, event_loop: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    match event_loop.filter(|l| !l.is_none()) {
        Some(event_loop) => Ok(event_loop.clone()),
        None => get_event_loop(py),
    }
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<Future>(module)?;
    slots::add_class::<FutureIter>(module)?;
    slots::add_class::<Wait>(module)?;
    chain::add(module)
}
