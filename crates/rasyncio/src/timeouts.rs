//! timeouts: `timeout()` and `timeout_at()`, a deadline around a block of code (asyncio.timeouts).
//!
//! Called by users and by `wait_for`; calls the loop's timers, and cancels the task that entered.
//!
//! States: Created -> Entered -> Expiring -> Expired, or Entered -> Exited. At the deadline the task is cancelled and the
//! timeout is expiring; on the way out the cancellation that was its own becomes TimeoutError, one that came from elsewhere
//! stays a CancelledError. The count of `cancelling()` at the entry tells them apart.
//!
//! The timer is made natively where the loop allows it; its callback is the timeout itself.

use std::cell::Cell;
use std::ffi::CStr;

use engine::clock::{Clock, Monotonic};
use pyo3::exceptions::{PyAssertionError, PyBaseExceptionGroup, PyRuntimeError, PyTimeoutError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, add_function, arg, class};

use crate::base_events::{call_at_native, plain_seconds};
use crate::coroutines::{Shell, plain, stand_in};
use crate::events::{Handle, Hook, Kind, LoopCore, NativeCallback, TimerHandle, get_running_loop};
use crate::exceptions;
use crate::futures::Next;
use crate::library;
use crate::tasks::{Task, current_task};

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Created,
    Entered,
    Expiring,
    Expired,
    Exited,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Entered => "active",
            State::Expiring => "expiring",
            State::Expired => "expired",
            State::Exited => "finished",
        }
    }
}

class! {
    /// A deadline around a block of code.
    pub struct Timeout {
        when: Slot,
        task: Slot,
        timer: Slot,
        cancelling: Cell<i64>,
        state: Cell<State>,
    }
}

/// The deadline has come.
static DEADLINE: Kind = Kind {
    run: |object, _| Ref::<Timeout>::cast(object).map_or(Ok(()), expire),
    event_loop: |_| None,
    context: |_| None,
    name: "TimeoutDeadline",
    qualname: Some("Timeout._on_timeout"),
};

fn expire(this: &Ref<'_, Timeout>) -> PyResult<()> {
    let py = this.py();
    if this.state.get() != State::Entered {
        return Err(PyAssertionError::new_err(()));
    }
    if let Some(task) = this.task.get(py) {
        match Ref::<Task>::cast_exact(&task) {
            Some(task) => drop(Task::cancel(task, None)?),
            None => drop(task.call_method0(intern!(py, "cancel"))?),
        }
    }
    this.state.set(State::Expiring);
    this.timer.unset();
    Ok(())
}

fn cancel_timer(this: &Ref<'_, Timeout>) -> PyResult<()> {
    let Some(timer) = this.timer.take(this.py()) else { return Ok(()) };
    if let Some(timer) = Ref::<TimerHandle>::cast_exact(&timer) {
        return TimerHandle::cancel(timer);
    }
    match Ref::<Handle>::cast_exact(&timer) {
        Some(handle) => Handle::cancel(handle),
        None => timer.call_method0(intern!(this.py(), "cancel")).map(drop),
    }
}

/// The loop, if its clock and its timers may be used without asking it.
fn straight<'a, 'py>(event_loop: &'a Bound<'py, PyAny>) -> Option<&'a Ref<'py, LoopCore>> {
    LoopCore::of(event_loop).filter(|core| {
        !core.debug.get()
            && !LoopCore::overrides(core, Hook::Time)
            && !LoopCore::overrides(core, Hook::CallAt)
            && !LoopCore::overrides(core, Hook::CallSoon)
    })
}

fn schedule<'py>(this: &Ref<'py, Timeout>, when: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
    let py = this.py();
    cancel_timer(this)?;
    let Some(when) = when.filter(|w| !w.is_none()) else {
        this.when.unset();
        return Ok(());
    };
    this.when.set(when.clone());
    let event_loop = get_running_loop(py)?;
    let callback = NativeCallback::make(py, this.any().clone(), &DEADLINE)?;
    if let (Some(core), Some(seconds)) = (straight(&event_loop), plain_seconds(when)) {
        if seconds > Monotonic.now() {
            let timer = call_at_native(core, seconds, callback, &[], slots::copy_current(py)?)?;
            this.timer.set(timer.into_any());
            return Ok(());
        }
    }
    let timer = if when.le(event_loop.call_method0(intern!(py, "time"))?)? {
        event_loop.call_method1(intern!(py, "call_soon"), (callback,))?
    } else {
        event_loop.call_method1(intern!(py, "call_at"), (when, callback))?
    };
    this.timer.set(timer);
    Ok(())
}

fn reschedule<'py>(this: &Ref<'py, Timeout>, when: &Bound<'py, PyAny>) -> PyResult<()> {
    match this.state.get() {
        State::Entered => schedule(this, Some(when)),
        State::Created => Err(PyRuntimeError::new_err("Timeout has not been entered")),
        state => Err(PyRuntimeError::new_err(format!("Cannot change state of {} Timeout", state.name()))),
    }
}

fn cancelling(task: &Bound<'_, PyAny>) -> PyResult<i64> {
    match Ref::<Task>::cast_exact(task) {
        Some(task) => Ok(task.cancelling().into()),
        None => task.call_method0(intern!(task.py(), "cancelling"))?.extract(),
    }
}

fn uncancel(task: &Bound<'_, PyAny>) -> PyResult<i64> {
    match Ref::<Task>::cast_exact(task) {
        Some(task) => Ok(Task::uncancel(task).into()),
        None => task.call_method0(intern!(task.py(), "uncancel"))?.extract(),
    }
}

/// The way into the block: the clock starts, for the current task.
pub fn enter(this: &Ref<'_, Timeout>) -> PyResult<Own> {
    let py = this.py();
    if this.state.get() != State::Created {
        return Err(PyRuntimeError::new_err("Timeout has already been entered"));
    }
    let Some(task) = current_task(py, None)? else {
        return Err(PyRuntimeError::new_err("Timeout should be used inside a task"));
    };
    this.cancelling.set(cancelling(&task)?);
    this.task.set(task);
    this.state.set(State::Entered);
    let when = this.when.get(py);
    schedule(this, when.as_ref())?;
    Ok(this.any().clone().into())
}

/// Puts a TimeoutError before the CancelledError in the contexts of an exception that replaced it.
fn insert_timeout_error(exception: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = exception.py();
    let mut current = exception.clone();
    loop {
        let context = current.getattr(intern!(py, "__context__"))?;
        if context.is_none() {
            return Ok(());
        }
        if context.is_instance(exceptions::cancelled_error(py)?)? {
            let timeout = py.get_type::<PyTimeoutError>().call0()?;
            timeout.setattr(intern!(py, "__cause__"), &context)?;
            timeout.setattr(intern!(py, "__context__"), &context)?;
            return current.setattr(intern!(py, "__context__"), timeout);
        }
        current = context;
    }
}

/// The way out of the block, with the exception that left it and its class, or two Nones.
pub fn exit<'py>(this: &Ref<'py, Timeout>, class: &Bound<'py, PyAny>, exception: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    match this.state.get() {
        State::Entered => {
            cancel_timer(this)?;
            this.state.set(State::Exited);
            return Ok(());
        }
        State::Expiring => {}
        _ => return Err(PyAssertionError::new_err(())),
    }
    cancel_timer(this)?;
    this.state.set(State::Expired);
    let Some(task) = this.task.get(py) else { return Ok(()) };
    if uncancel(&task)? > this.cancelling.get() || class.is_none() {
        return Ok(());
    }
    // No cancellation but our own is left to be dealt with.
    let cancelled = exceptions::cancelled_error(py)?;
    let newer = slots::VERSION >= (3, 13);
    let is_cancelled =
        if newer { class.cast::<pyo3::types::PyType>()?.is_subclass(cancelled)? } else { class.is(cancelled) };
    if is_cancelled {
        let timeout = PyTimeoutError::new_err(());
        timeout.set_cause(py, Some(PyErr::from_value(exception.clone())));
        return Err(timeout);
    }
    if newer && !exception.is_none() {
        insert_timeout_error(exception)?;
        if exception.is_instance_of::<PyBaseExceptionGroup>() {
            for inner in exception.getattr(intern!(py, "exceptions"))?.try_iter()? {
                insert_timeout_error(&inner?)?;
            }
        }
    }
    Ok(())
}

static ENTER: Shell = Shell {
    room: "timeouts",
    name: "Timeout.__aenter__",
    begin: |wait| {
        let owner = wait.owner.get_or_none(wait.py());
        if let Some(this) = Ref::<Timeout>::cast(&owner) {
            enter(this)?;
        }
        Ok(Next::Return(owner))
    },
    then: |_, outcome| outcome.map(Next::Return),
};

static EXIT: Shell = Shell {
    room: "timeouts",
    name: "Timeout.__aexit__",
    begin: |wait| {
        let none = wait.py().None().into_bound(wait.py());
        let owner = wait.owner.get_or_none(wait.py());
        if let Some(this) = Ref::<Timeout>::cast(&owner) {
            exit(this, &none, &none)?;
        }
        Ok(Next::Return(none))
    },
    then: |_, outcome| outcome.map(Next::Return),
};

/// The way in of `async with`.
pub fn quick_enter<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    match plain(args) {
        Some([this]) if Ref::<Timeout>::cast_exact(this).is_some() => stand_in(&ENTER, this, None),
        _ => Ok(None),
    }
}

/// The way out without an exception.
pub fn quick_exit<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    match plain(args) {
        Some([this, class, _, _]) if class.is_none() && Ref::<Timeout>::cast_exact(this).is_some() => {
            stand_in(&EXIT, this, None)
        }
        _ => Ok(None),
    }
}

/// A timeout for `delay` seconds from now, or for ever.
pub fn timeout<'py>(py: Python<'py>, delay: &Bound<'py, PyAny>) -> PyResult<Ref<'py, Timeout>> {
    let event_loop = get_running_loop(py)?;
    let when = if delay.is_none() {
        Slot::default()
    } else {
        match (straight(&event_loop), plain_seconds(delay)) {
            (Some(_), Some(seconds)) => Slot::of(slots::float(py, Monotonic.now() + seconds)?),
            _ => Slot::of(event_loop.call_method0(intern!(py, "time"))?.add(delay)?),
        }
    };
    Ref::create(py, Timeout { when, ..Timeout::default() })
}

impl Class for Timeout {
    const NAME: &'static CStr = c"rasyncio.timeouts.Timeout";
    const DOC: &'static CStr = c"Timeout(when)\n--\n\n\
        An asynchronous context manager that cancels its block at a deadline and raises TimeoutError then.\n\n\
        when is a time of the loop's clock in seconds, or None for no deadline. Made by timeout() and timeout_at().";
    const DICT: bool = true;
    const FREE_LIST: usize = 32;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<1> = Signature::method("Timeout.__init__", [arg("when")]);
        const RESCHEDULE: Signature<1> = Signature::method("Timeout.reschedule", [arg("when")]);
        spec.init(|this, args| {
            if let [Some(when)] = args.parse(&INIT)? {
                this.state.set(State::Created);
                if when.is_none() {
                    this.when.unset();
                } else {
                    this.when.set(when.clone());
                }
            }
            Ok(())
        })
        .method0(c"when", c"when($self, /)\n--\n\nThe deadline, in seconds of the loop's clock, or None.", |this| {
            Ok(this.when.get(this.py()).map(Own::new))
        })
        .method(
            c"reschedule",
            c"reschedule($self, /, when)\n--\n\nMove the deadline; None takes it away. RuntimeError unless the block is being run.",
            |this, args| {
                let [when] = args.parse(&RESCHEDULE)?;
                when.map_or(Ok(()), |when| reschedule(this, when))
            },
        )
        .method0(c"expired", c"expired($self, /)\n--\n\nWhether the deadline came while the block was run.", |this| {
            Ok(matches!(this.state.get(), State::Expiring | State::Expired))
        })
        .method0(c"_enter", c"_enter($self, /)\n--\n\nThe body of __aenter__.", enter)
        .method(c"_exit", c"_exit($self, exc_type, exc_val, exc_tb, /)\n--\n\nThe body of __aexit__.", |this, args| {
            match args.positional() {
                [class, exception, ..] => exit(this, class, exception),
                _ => Err(PyTypeError::new_err("an exception's class, value and traceback are expected")),
            }
        })
        .method0(c"_on_timeout", c"_on_timeout($self, /)\n--\n\nThe deadline has come.", expire)
        .repr(|this| {
            let py = this.py();
            let state = this.state.get();
            if state != State::Entered {
                return Ok(format!("<Timeout [{}]>", state.name()));
            }
            let when = match this.when.get(py) {
                Some(when) => {
                    let rounded = library(py, "builtins")?.call_method1(intern!(py, "round"), (when, 3))?;
                    rounded.str()?.to_string()
                }
                None => "None".to_owned(),
            };
            Ok(format!("<Timeout [active] when={when}>"))
        });
    }
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<Timeout>(module)?;
    // What `typing.final` leaves.
    crate::class_object::<Timeout>(module.py())?.setattr(slots::Text("__final__"), true)?;
    let doc = c"timeout(delay)\n--\n\nAn asynchronous context manager that cancels its block after delay seconds (None for never)\n\
        and raises TimeoutError then.";
    const TIMEOUT: Signature<1> = Signature::function("timeout", [arg("delay")]);
    for (name, doc) in [(c"timeout", doc), (c"_timeout", doc)] {
        add_function(module, name, doc, |py, args| match args.parse(&TIMEOUT)? {
            [Some(delay)] => timeout(py, delay).map(|timeout| Own::new(timeout.into_any())),
            _ => Err(PyTypeError::new_err("delay is missing")),
        })?;
    }
    let doc = c"timeout_at(when)\n--\n\nAn asynchronous context manager that cancels its block when loop.time() shows when (None for never)\n\
        and raises TimeoutError then.";
    add_function(module, c"timeout_at", doc, |py, args| {
        const SIGNATURE: Signature<1> = Signature::function("timeout_at", [arg("when")]);
        match args.parse(&SIGNATURE)? {
            [Some(when)] => {
                let when = if when.is_none() { Slot::default() } else { Slot::of(when.clone()) };
                Ok(Own::new(Ref::create(py, Timeout { when, ..Timeout::default() })?.into_any()))
            }
            _ => Err(PyTypeError::new_err("when is missing")),
        }
    })
}
