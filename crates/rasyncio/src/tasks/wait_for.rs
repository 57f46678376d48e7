//! `wait_for()`: an awaitable and a deadline, where that needs no coroutine.
//!
//! Called in the place of the shell (see `coroutines::shells`), which says the same in Python: `async with timeout(t): return
//! await fut`. Calls `timeouts` for the deadline and resumes the awaitable.
//!
//! States are those of `futures::Wait`: called, then delegating to the awaitable inside the timeout's block. Whatever the
//! awaitable comes to leaves the block: our own cancellation becomes TimeoutError there.
//!
//! A timeout that is None, or not above zero, and every Python before 3.12 are the shell's.

use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Own, Ref};

use crate::base_events::plain_seconds;
use crate::coroutines::{Shell, plain, stand_in};
use crate::futures::{Next, Wait};
use crate::timeouts::{self, Timeout};

/// Leaves the timeout's block with what the awaitable came to.
fn leave<'py>(limit: &Ref<'py, Timeout>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = limit.py();
    let none = py.None().into_bound(py);
    let error = match outcome {
        Ok(value) => return timeouts::exit(limit, &none, &none).map(|()| Next::Return(value)),
        Err(error) => error,
    };
    let exception = error.value(py).clone();
    match timeouts::exit(limit, exception.get_type().as_any(), exception.as_any()) {
        Ok(()) => Err(error),
        Err(other) => {
            if other.value(py).getattr(intern!(py, "__context__"))?.is_none() {
                return Err(slots::raised_from(py, error, other));
            }
            Err(other)
        }
    }
}

static WAIT_FOR: Shell = Shell {
    room: "tasks",
    name: "wait_for",
    begin: |wait| {
        let py = wait.py();
        let awaitable = wait.owner.get_or_none(py);
        let limit = timeouts::timeout(py, &wait.extra.get_or_none(py))?;
        timeouts::enter(&limit)?;
        wait.owner.set(limit.any().clone());
        match slots::awaitable_iterator(&awaitable) {
            Ok(iterator) => Ok(Next::Delegate(iterator)),
            Err(error) => leave(&limit, Err(error)),
        }
    },
    then: |wait: &Ref<'_, Wait>, outcome| {
        let limit = wait.owner.get_or_none(wait.py());
        match Ref::<Timeout>::cast(&limit) {
            Some(limit) => leave(limit, outcome),
            None => outcome.map(Next::Return),
        }
    },
};

/// `wait_for(fut, timeout)` with a plain number above zero.
pub fn quick_wait_for<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    let Some([awaitable, timeout]) = plain(args) else { return Ok(None) };
    if !plain_seconds(timeout).is_some_and(|seconds| seconds > 0.0) {
        return Ok(None);
    }
    stand_in(&WAIT_FOR, awaitable, Some(timeout))
}
