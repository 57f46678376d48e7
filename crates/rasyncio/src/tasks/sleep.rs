//! `sleep()`: the native half of the most awaited function there is.
//!
//! Called by the shell on the face; calls `futures` and the loop's timers.
//!
//! A delay of zero or less is one bare yield ([`Pause`]): no future, no timer, the task goes to the end of the queue. Any other
//! delay is a future completed by a timer, and the timer is cancelled if the sleeper is.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFloat, PyInt, PyModule};
use slots::intern;
use slots::{Class, Input, Own, Ref, Sent, Signature, Slot, Spec, add_function, arg, class, opt};
use std::cell::Cell;

use crate::base_events::{call_at_native, create_future};
use crate::events::{Hook, LoopCore, TimerHandle, get_running_loop};
use crate::futures::{Future, Next, Wait};
use crate::library;

class! {
    /// One bare yield, then a result.
    pub struct Pause {
        result: Slot,
        yielded: Cell<bool>,
        over: Cell<bool>,
        /// Whether it was awaited, where it stands for the coroutine of `sleep(0)`; None where it stands in one.
        awaited: Cell<Option<bool>>,
    }
}

fn resume<'py>(this: &Ref<'py, Pause>, input: Input<'py>) -> PyResult<Sent<'py>> {
    let py = this.py();
    if this.awaited.get() == Some(false) {
        this.awaited.set(Some(true));
    }
    if let Input::Throw(error) = input {
        let stands_in = this.awaited.get().is_some();
        if !this.over.replace(true) || !stands_in || error.is_instance_of::<pyo3::exceptions::PyGeneratorExit>(py) {
            return Err(error);
        }
    }
    if this.over.get() {
        return Err(pyo3::exceptions::PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
    }
    if !this.yielded.replace(true) {
        return Ok(Sent::Yield(py.None().into_bound(py)));
    }
    this.over.set(true);
    Ok(Sent::Return(this.result.take(py).unwrap_or_else(|| py.None().into_bound(py))))
}

impl Class for Pause {
    const NAME: &'static std::ffi::CStr = c"rasyncio.tasks._Pause";
    const FREE_LIST: usize = 64;
    const CALLABLE: bool = false;
    const SUBCLASSABLE: bool = false;
    const FINALIZER: bool = true;

    fn is_awaited(&self) -> bool {
        self.awaited.get().is_some() && self.yielded.get() && !self.over.get()
    }

    fn wants_finalizer(&self) -> bool {
        self.awaited.get() == Some(false)
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let py = this.py();
        this.awaited.set(Some(true));
        PyErr::warn(py, &py.get_type::<pyo3::exceptions::PyRuntimeWarning>(), c"coroutine 'sleep' was never awaited", 1)
    }

    fn define(spec: &mut Spec<Self>) {
        spec.machine(resume)
            .get(c"__class__", c"", |this| {
                Ok(Own::new(match this.awaited.get() {
                    // To everybody who asks, what `sleep(0)` answers is a coroutine.
                    Some(_) => {
                        this.py().import(intern!(this.py(), "types"))?.getattr(intern!(this.py(), "CoroutineType"))?
                    }
                    None => crate::class_object::<Pause>(this.py())?,
                }))
            })
            .repr(|this| Ok(format!("<coroutine object sleep at {:p}>", this.any().as_ptr())))
            .get(c"__name__", c"", |_| Ok("sleep"))
            .get(c"__qualname__", c"", |_| Ok("sleep"))
            .get(c"cr_running", c"", |_| Ok(false))
            .get(c"cr_suspended", c"", |this| Ok(this.yielded.get() && !this.over.get()))
            .get(c"cr_await", c"", |_| Ok(()))
            .get(c"cr_frame", c"", |_| Ok(()))
            .get(c"cr_code", c"", |this| match this.awaited.get() {
                Some(_) => {
                    let sleep = crate::face(this.py(), "tasks")?.getattr(intern!(this.py(), "sleep"))?;
                    sleep.getattr(intern!(this.py(), "__code__")).map(|code| Some(Own::new(code)))
                }
                None => Ok(None),
            })
            .get(c"cr_origin", c"", |_| Ok(()));
    }
}

/// The callable that completes the future of a sleep: `futures._set_result_unless_cancelled`, the native one.
fn completer(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static COMPLETER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    COMPLETER
        .get_or_try_init(py, || {
            let native = crate::face(py, "_rasyncio")?;
            native.getattr(intern!(py, "_set_result_unless_cancelled")).map(Bound::unbind)
        })
        .map(|c| c.bind(py).clone())
}

fn woken<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = wait.py();
    if let Some(timer) = wait.owner.take(py) {
        match Ref::<TimerHandle>::cast_exact(&timer) {
            Some(timer) => TimerHandle::cancel(timer)?,
            None => drop(timer.call_method0(intern!(py, "cancel"))?),
        }
    }
    outcome.map(Next::Return)
}

fn sleep<'py>(py: Python<'py>, delay: &Bound<'py, PyAny>, result: Option<&Bound<'py, PyAny>>) -> PyResult<Own> {
    let plain = delay.is_exact_instance_of::<PyInt>() || delay.is_exact_instance_of::<PyFloat>();
    let seconds = if plain { delay.extract::<f64>().ok() } else { None };
    let now = match seconds {
        Some(seconds) => seconds <= 0.0,
        None => delay.le(0)?,
    };
    if now {
        let result = result.map(|r| Slot::of(r.clone())).unwrap_or_default();
        return Ok(Ref::create(py, Pause { result, ..Pause::default() })?.into_any().into());
    }
    if slots::VERSION >= (3, 13) {
        let nan = match seconds {
            Some(seconds) => seconds.is_nan(),
            None => library(py, "math")?.call_method1(intern!(py, "isnan"), (delay,))?.is_truthy()?,
        };
        if nan {
            return Err(PyValueError::new_err("Invalid delay: NaN (not a number)"));
        }
    }
    let event_loop = get_running_loop(py)?;
    let future = create_future(&event_loop)?;
    let result = result.map_or_else(|| py.None().into_bound(py), Clone::clone);
    let arguments = [future.clone(), result];
    let straight = LoopCore::of(&event_loop).filter(|core| {
        !core.debug.get()
            && ![Hook::Time, Hook::CallAt, Hook::CallLater].iter().any(|hook| LoopCore::overrides(core, *hook))
    });
    let timer = match (straight, seconds) {
        (Some(core), Some(seconds)) => {
            let when = engine::clock::Clock::now(&engine::clock::Monotonic) + seconds;
            call_at_native(core, when, completer(py)?, &arguments, slots::copy_current(py)?)?.into_any()
        }
        _ => {
            let [future, result] = arguments;
            event_loop.call_method1(intern!(py, "call_later"), (delay, completer(py)?, future, result))?
        }
    };
    match Ref::<Future>::cast(&future) {
        Some(native) => Wait::create(native, timer, None, woken),
        None => foreign_sleep(py, future, timer),
    }
}

/// A sleep on a loop whose futures are not ours.
fn foreign_sleep<'py>(py: Python<'py>, future: Bound<'py, PyAny>, timer: Bound<'py, PyAny>) -> PyResult<Own> {
    slots::coroutine(py, "sleep", [future, timer], |co, [future, timer]| async move {
        let result = co.wait(future).await;
        co.get(timer).call_method0(intern!(co.py(), "cancel"))?;
        result
    })
    .map(Own::new)
}

/// `sleep(0)` and `sleep(0.0)`: one bare yield, and no coroutine around it.
pub fn quick_sleep<'py>(py: Python<'py>, args: &slots::Args<'_, 'py>) -> PyResult<Option<Own>> {
    let [delay] = args.positional() else { return Ok(None) };
    let zero = match delay.cast_exact::<PyInt>() {
        Ok(delay) => delay.extract::<i64>().is_ok_and(|delay| delay <= 0),
        Err(_) => delay.cast_exact::<PyFloat>().is_ok_and(|delay| delay.value() <= 0.0),
    };
    if !zero || args.has_keywords() {
        return Ok(None);
    }
    Ok(Some(Ref::create(py, Pause { awaited: Cell::new(Some(false)), ..Pause::default() })?.into_any().into()))
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<Pause>(module)?;
    add_function(module, c"_sleep", c"_sleep(delay, result=None)\n--\n\nThe awaitable behind sleep().", |py, args| {
        const SIGNATURE: Signature<2> = Signature::function("sleep", [arg("delay"), opt("result")]);
        match args.parse(&SIGNATURE)? {
            [Some(delay), result] => sleep(py, delay, result),
            _ => Err(PyTypeError::new_err("delay is missing")),
        }
    })
}
