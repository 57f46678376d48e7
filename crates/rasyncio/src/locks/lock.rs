//! `Lock`: mutual exclusion between tasks.
//!
//! Called by the shell `acquire` and by `release`; `Condition` uses one.
//!
//! States: unlocked -> locked (by `acquire`) -> unlocked (by `release`, which wakes the first waiter). A woken waiter takes
//! the lock when its task runs; until then `locked` is false, but nobody new passes the queue.

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Spec, class};

use super::ContextManagerMixin;
use crate::coroutines::{Shell, plain, stand_in};
use crate::exceptions;
use crate::futures::{Future, Next, Wait};
use crate::mixins::{Waiters, is_done, repr_with, set_result, yes};

class! {
    /// Mutual exclusion between tasks.
    pub struct Lock: ContextManagerMixin { locked: Cell<bool>, waiters: Waiters }
}

impl Lock {
    /// Takes the lock if it is free and nobody waits.
    pub fn try_acquire(this: &Ref<'_, Lock>) -> PyResult<bool> {
        if this.locked.get() || this.waiters.anybody(this.py())? {
            return Ok(false);
        }
        this.locked.set(true);
        Ok(true)
    }

    fn next_waiter<'py>(this: &Ref<'py, Lock>) -> PyResult<Ref<'py, Future>> {
        let future = this.event_loop.create_future(this.any())?;
        this.waiters.push(future.any())?;
        Ok(future)
    }

    /// A wait for the lock.
    pub fn wait(this: &Ref<'_, Lock>) -> PyResult<Own> {
        Wait::create(&Lock::next_waiter(this)?, this.any().clone(), None, acquired)
    }

    /// Whether it is locked.
    pub fn is_locked(&self) -> bool {
        self.locked.get()
    }

    /// Frees the lock and wakes the first waiter.
    pub fn release(this: &Ref<'_, Lock>) -> PyResult<()> {
        if !this.locked.replace(false) {
            return Err(PyRuntimeError::new_err("Lock is not acquired."));
        }
        wake_first(this)
    }
}

fn wake_first(this: &Ref<'_, Lock>) -> PyResult<()> {
    let py = this.py();
    match this.waiters.first(py)? {
        Some(waiter) if !is_done(&waiter)? => set_result(&waiter, yes(py)),
        _ => Ok(()),
    }
}

fn acquired<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = wait.py();
    let owner = wait.owner.get_or_none(py);
    let (Some(this), Some(future)) = (Ref::<Lock>::cast(&owner), wait.future(py)) else {
        return outcome.map(Next::Return);
    };
    this.waiters.remove(future.any())?;
    if let Err(error) = outcome {
        if exceptions::is_cancelled(py, &error) && !this.locked.get() {
            wake_first(this)?;
        }
        return Err(error);
    }
    this.locked.set(true);
    Ok(Next::Return(yes(py)))
}

fn begin<'py>(wait: &Ref<'py, Wait>, answer: fn(Python<'py>) -> Bound<'py, PyAny>) -> PyResult<Next<'py>> {
    let owner = wait.owner.get_or_none(wait.py());
    match Ref::<Lock>::cast(&owner) {
        Some(this) if !Lock::try_acquire(this)? => Lock::next_waiter(this).map(Next::Await),
        _ => Ok(Next::Return(answer(wait.py()))),
    }
}

static ACQUIRE: Shell = Shell { room: "locks", name: "Lock.acquire", begin: |wait| begin(wait, yes), then: acquired };

static ENTER: Shell = Shell {
    room: "locks",
    name: "Lock.__aenter__",
    begin: |wait| begin(wait, |py| py.None().into_bound(py)),
    then: |wait, outcome| acquired(wait, outcome).map(|_| Next::Return(wait.py().None().into_bound(wait.py()))),
};

static EXIT: Shell = Shell {
    room: "locks",
    name: "Lock.__aexit__",
    begin: |wait| {
        let owner = wait.owner.get_or_none(wait.py());
        if let Some(this) = Ref::<Lock>::cast(&owner) {
            Lock::release(this)?;
        }
        Ok(Next::Return(wait.py().None().into_bound(wait.py())))
    },
    then: |_, outcome| outcome.map(Next::Return),
};

/// `acquire()` on exactly a Lock.
pub fn quick_acquire<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    match plain(args) {
        Some([this]) if Ref::<Lock>::cast_exact(this).is_some() => stand_in(&ACQUIRE, this, None),
        _ => Ok(None),
    }
}

/// The way in of `async with` on exactly a Lock.
pub fn quick_enter<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    match plain(args) {
        Some([this]) if Ref::<Lock>::cast_exact(this).is_some() => stand_in(&ENTER, this, None),
        _ => Ok(None),
    }
}

/// The way out of it.
pub fn quick_exit<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    match plain(args) {
        Some([this, _, _, _]) if Ref::<Lock>::cast_exact(this).is_some() => stand_in(&EXIT, this, None),
        _ => Ok(None),
    }
}

impl Class for Lock {
    const NAME: &'static std::ffi::CStr = c"rasyncio.locks.Lock";
    const DOC: &'static std::ffi::CStr = c"Lock()\n--\n\n\
        Mutual exclusion between the tasks of a loop; use it with `async with`. Fair. Not thread-safe.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<0> = Signature::method("Lock.__init__", []);
        spec.init(|_, args| args.parse(&INIT).map(drop))
            .repr(|this| {
                let state = if this.locked.get() { "locked" } else { "unlocked" };
                repr_with(this.any(), state.to_owned(), this.waiters.len(this.py())?)
            })
            .method0(c"locked", c"locked($self, /)\n--\n\nWhether the lock is taken.", |this| Ok(this.locked.get()))
            .method0(
                c"release",
                c"release($self, /)\n--\n\nFree the lock; the task that waits longest gets it. RuntimeError if it is not taken.",
                Lock::release,
            )
            .method0(c"_acquire_now", c"_acquire_now($self, /)\n--\n\nTake the lock if that needs no waiting.", Lock::try_acquire)
            .method0(c"_acquire_wait", c"_acquire_wait($self, /)\n--\n\nThe wait for the lock.", Lock::wait)
            .method0(c"_enter_wait", c"_enter_wait($self, /)\n--\n\nThe wait of `async with`: acquire(), or what is behind it.", |this| {
                if this.is_exact() {
                    return Lock::wait(this);
                }
                this.any().call_method0(intern!(this.py(), "acquire")).map(Own::new)
            })
            .method0(
                c"_enter_now",
                c"_enter_now($self, /)\n--\n\nTake the lock for `async with`, if nobody overrides acquire() and it needs no waiting.",
                |this| Ok(this.is_exact() && Lock::try_acquire(this)?),
            )
            .method0(c"_wake_up_first", c"_wake_up_first($self, /)\n--\n\nWake the first waiter.", wake_first)
            .get_set(
                c"_locked",
                c"",
                |this| Ok(this.locked.get()),
                |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.locked.set(v))),
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
