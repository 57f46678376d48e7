//! `Semaphore` and `BoundedSemaphore`: at most so many tasks at once.
//!
//! Called by the shell `acquire` and by `release`. A release with waiters hands its turn to the first: the value is counted
//! down in the waiter's name at once, so nobody can pass it. A waiter that is cancelled after that gives the turn back.
//!
//! The value is a whole number, or a float as asyncio takes it too: `Semaphore(math.inf)` lets everybody in.

use std::cell::Cell;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyFloat;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Spec, class, opt};

use super::ContextManagerMixin;
use crate::exceptions;
use crate::futures::{Next, State, Wait};
use crate::mixins::{Waiters, repr_with, yes};

/// How many more are let in.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Turns {
    Whole(i64),
    Float(f64),
}

impl Default for Turns {
    fn default() -> Self {
        Turns::Whole(0)
    }
}

impl Turns {
    fn of(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        match value.cast::<PyFloat>() {
            Ok(float) => Ok(Turns::Float(float.value())),
            Err(_) => value.extract().map(Turns::Whole),
        }
    }

    fn to_python<'py>(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Turns::Whole(count) => count.into_bound_py_any(py),
            Turns::Float(count) => count.into_bound_py_any(py),
        }
    }

    fn more(self, change: i64) -> Self {
        match self {
            Turns::Whole(count) => Turns::Whole(count + change),
            Turns::Float(count) => Turns::Float(count + change as f64),
        }
    }

    fn is_zero(self) -> bool {
        match self {
            Turns::Whole(count) => count == 0,
            Turns::Float(count) => count == 0.0,
        }
    }

    fn is_positive(self) -> bool {
        match self {
            Turns::Whole(count) => count > 0,
            Turns::Float(count) => count > 0.0,
        }
    }
}

class! {
    /// At most so many tasks at once.
    pub struct Semaphore: ContextManagerMixin { value: Cell<Turns>, waiters: Waiters }
}

class! {
    /// A semaphore that refuses to be released more often than it was acquired.
    pub struct BoundedSemaphore: Semaphore { bound: Cell<Turns> }
}

fn is_locked(this: &Ref<'_, Semaphore>) -> PyResult<bool> {
    Ok(this.value.get().is_zero() || this.waiters.anybody(this.py())?)
}

fn try_acquire(this: &Ref<'_, Semaphore>) -> PyResult<bool> {
    if is_locked(this)? {
        return Ok(false);
    }
    this.value.set(this.value.get().more(-1));
    Ok(true)
}

fn wake_next(this: &Ref<'_, Semaphore>) -> PyResult<bool> {
    let py = this.py();
    this.waiters.wake_next(py, || {
        this.value.set(this.value.get().more(-1));
        yes(py)
    })
}

fn acquired<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = wait.py();
    let owner = wait.owner.get_or_none(py);
    let (Some(this), Some(future)) = (Ref::<Semaphore>::cast(&owner), wait.future(py)) else {
        return outcome.map(Next::Return);
    };
    this.waiters.remove(future.any())?;
    if let Err(error) = &outcome {
        if exceptions::is_cancelled(py, error) && future.state() == State::Finished {
            this.value.set(this.value.get().more(1));
        }
    }
    while this.value.get().is_positive() && wake_next(this)? {}
    outcome?;
    Ok(Next::Return(yes(py)))
}

const INIT: Signature<1> = Signature::method("Semaphore.__init__", [opt("value")]);
const BOUNDED_INIT: Signature<1> = Signature::method("BoundedSemaphore.__init__", [opt("value")]);

/// A wait for a turn.
fn wait_turn(this: &Ref<'_, Semaphore>) -> PyResult<Own> {
    let future = this.event_loop.create_future(this.any())?;
    this.waiters.push(future.any())?;
    Wait::create(&future, this.any().clone(), None, acquired)
}

fn init(this: &Ref<'_, Semaphore>, args: &Args<'_, '_>, signature: &Signature<1>) -> PyResult<Turns> {
    let [value] = args.parse(signature)?;
    let value = match value {
        Some(value) if value.lt(0)? => return Err(PyValueError::new_err("Semaphore initial value must be >= 0")),
        Some(value) => Turns::of(value)?,
        None => Turns::Whole(1),
    };
    this.value.set(value);
    Ok(value)
}

impl Class for Semaphore {
    const NAME: &'static std::ffi::CStr = c"rasyncio.locks.Semaphore";
    const DOC: &'static std::ffi::CStr = c"Semaphore(value=1)\n--\n\n\
        Lets at most value tasks of a loop in at once; use it with `async with`. Fair. Not thread-safe.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.init(|this, args| init(this, args, &INIT).map(drop))
            .repr(|this| {
                let py = this.py();
                let locked = this.any().call_method0(intern!(py, "locked"))?.is_truthy()?;
                let state = match locked {
                    true => "locked".to_owned(),
                    false => format!("unlocked, value:{}", this.value.get().to_python(py)?),
                };
                repr_with(this.any(), state, this.waiters.len(py)?)
            })
            .method0(c"locked", c"locked($self, /)\n--\n\nWhether acquire() would have to wait.", is_locked)
            .method0(c"release", c"release($self, /)\n--\n\nLet one more task in; the one that waits longest gets the turn.", |this| {
                this.value.set(this.value.get().more(1));
                wake_next(this).map(drop)
            })
            .method0(c"_acquire_now", c"_acquire_now($self, /)\n--\n\nAcquire if that needs no waiting.", try_acquire)
            .method0(c"_acquire_wait", c"_acquire_wait($self, /)\n--\n\nThe wait for a turn.", |this| {
                let future = this.event_loop.create_future(this.any())?;
                this.waiters.push(future.any())?;
                Wait::create(&future, this.any().clone(), None, acquired)
            })
            .method0(c"_enter_wait", c"_enter_wait($self, /)\n--\n\nThe wait of `async with`: acquire(), or what is behind it.", |this| {
                if this.is_exact() || Ref::<BoundedSemaphore>::cast_exact(this.any()).is_some() {
                    return wait_turn(this);
                }
                this.any().call_method0(intern!(this.py(), "acquire")).map(Own::new)
            })
            .method0(
                c"_enter_now",
                c"_enter_now($self, /)\n--\n\nAcquire for `async with`, if nobody overrides acquire() and it needs no waiting.",
                |this| {
                    let plain = this.is_exact() || Ref::<BoundedSemaphore>::cast_exact(this.any()).is_some();
                    Ok(plain && try_acquire(this)?)
                },
            )
            .method0(c"_wake_up_next", c"_wake_up_next($self, /)\n--\n\nHand a turn to the first waiter; answer whether there was one.", wake_next)
            .get_set(
                c"_value",
                c"",
                |this| this.value.get().to_python(this.py()).map(Own::new),
                |this, value| value.map_or(Ok(()), |v| Turns::of(v).map(|v| this.value.set(v))),
            )
            .get_set(
                c"_waiters",
                c"",
                |this| Ok(Own::new(this.waiters.expose(this.py())?)),
                |this, value| {
                    this.waiters.replace(value);
                    Ok(())
                },
            );
    }
}

impl Class for BoundedSemaphore {
    const NAME: &'static std::ffi::CStr = c"rasyncio.locks.BoundedSemaphore";
    const DOC: &'static std::ffi::CStr = c"BoundedSemaphore(value=1)\n--\n\n\
        A Semaphore whose release() raises ValueError when it was not acquired as often. Not thread-safe.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.init(|this, args| {
            this.bound.set(init(this.base(), args, &BOUNDED_INIT)?);
            Ok(())
        })
        .method0(
            c"release",
            c"release($self, /)\n--\n\nLet one more task in. ValueError if that would be more than at first.",
            |this| {
                if this.value.get() >= this.bound.get() {
                    return Err(PyValueError::new_err("BoundedSemaphore released too many times"));
                }
                this.value.set(this.value.get().more(1));
                wake_next(this.base()).map(drop)
            },
        )
        .get(c"_bound_value", c"", |this| this.bound.get().to_python(this.py()).map(Own::new));
    }
}
