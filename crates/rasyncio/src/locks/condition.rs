//! `Condition`: a lock, and waiting for news about what it guards.
//!
//! Called by the shells `wait` and `wait_for`, and by `notify`; calls the lock, which may be anybody's, by its methods, which
//! the instance has as its own attributes (`acquire`, `release`, `locked`).
//!
//! A wait frees the lock, waits to be notified, and takes the lock again whatever happens: cancellations that come while it
//! does so are raised when it has the lock. A waiter that raises after it was notified notifies another.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use slots::intern;
use slots::{Class, Own, Ref, Signature, Slot, Spec, class, opt};

use super::{ContextManagerMixin, Lock, own};
use crate::exceptions;
use crate::futures::given;
use crate::mixins::{Waiters, is_done, repr_with, set_result, yes};

class! {
    /// A lock, and waiting for news about what it guards.
    pub struct Condition: ContextManagerMixin { lock: Slot, waiters: Waiters }
}

fn is_locked(this: &Ref<'_, Condition>) -> PyResult<bool> {
    this.any().call_method0(intern!(this.py(), "locked"))?.is_truthy()
}

/// Wakes at most `count` waiters.
fn notify(this: &Ref<'_, Condition>, mut enough: impl FnMut(usize) -> PyResult<bool>) -> PyResult<()> {
    let py = this.py();
    let mut woken = 0;
    for waiter in this.waiters.all(py)? {
        if enough(woken)? {
            break;
        }
        if !is_done(&waiter)? {
            woken += 1;
            set_result(&waiter, pyo3::types::PyBool::new(py, false).to_owned().into_any())?;
        }
    }
    Ok(())
}

/// Wakes the one that waits longest.
fn notify_one(this: &Ref<'_, Condition>) -> PyResult<()> {
    notify(this, |woken| Ok(woken >= 1))
}

/// Wakes as many as a number of any kind says.
fn notify_some<'py>(this: &Ref<'py, Condition>, count: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
    match count {
        Some(count) => notify(this, |woken| count.le(woken)),
        None => notify_one(this),
    }
}

fn check_locked(this: &Ref<'_, Condition>) -> PyResult<()> {
    if is_locked(this)? { Ok(()) } else { Err(PyRuntimeError::new_err("cannot notify on un-acquired lock")) }
}

/// The wait, its future in the queue and the lock released already.
fn wait<'py>(this: &Ref<'py, Condition>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if !is_locked(this)? {
        return Err(PyRuntimeError::new_err("cannot wait on un-acquired lock"));
    }
    let future = this.event_loop.create_future(this.any())?;
    this.any().call_method0(intern!(py, "release"))?;
    this.waiters.push(future.any())?;
    let kept = [this.any().clone(), future.into_any()];
    slots::coroutine(py, "Condition.wait", kept, |co, [this, future]| async move {
        let mut waited = co.wait(future).await.map(drop).map_err(|error| co.keep_error(error));
        co.get_as::<Condition>(this).waiters.remove(&co.get(future))?;
        loop {
            let acquire = co.get(this).call_method0(intern!(co.py(), "acquire"))?;
            let acquire = co.keep(acquire);
            match co.wait(acquire).await {
                Ok(_) => break,
                Err(error) if exceptions::is_cancelled(co.py(), &error) => {
                    waited = Err(co.keep_error(error));
                }
                Err(error) => {
                    notify_one(&co.get_as::<Condition>(this))?;
                    return Err(error);
                }
            }
        }
        match waited {
            Ok(_) => Ok(yes(co.py()).into()),
            Err(error) => {
                notify_one(&co.get_as::<Condition>(this))?;
                Err(co.error(error))
            }
        }
    })
}

impl Class for Condition {
    const NAME: &'static std::ffi::CStr = c"rasyncio.locks.Condition";
    const DOC: &'static std::ffi::CStr = c"Condition(lock=None)\n--\n\n\
        A lock (a new one, or the one given) and waiting for news about what it guards. Not thread-safe.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<1> = Signature::method("Condition.__init__", [opt("lock")]);
        const NOTIFY: Signature<1> = Signature::method("Condition.notify", [opt("n")]);
        spec.init(|this, args| {
            let py = this.py();
            let [lock] = args.parse(&INIT)?;
            let lock = match given(&lock) {
                Some(lock) => lock.clone(),
                None => crate::face(py, "locks")?.getattr(intern!(py, "Lock"))?.call0()?,
            };
            for method in ["locked", "acquire", "release"] {
                this.any().setattr(slots::Text(method), lock.getattr(slots::Text(method))?)?;
            }
            this.lock.set(lock);
            Ok(())
        })
        .repr(|this| {
            let state = if is_locked(this)? { "locked" } else { "unlocked" };
            repr_with(this.any(), state.to_owned(), this.waiters.len(this.py())?)
        })
        .method(
            c"notify",
            c"notify($self, /, n=1)\n--\n\nWake at most n of the tasks that wait. RuntimeError if the lock is not taken.",
            |this, args| {
                let [count] = args.parse(&NOTIFY)?;
                check_locked(this)?;
                notify_some(this, count)
            },
        )
        .method0(
            c"notify_all",
            c"notify_all($self, /)\n--\n\nWake all tasks that wait. RuntimeError if the lock is not taken.",
            |this| {
                check_locked(this)?;
                notify(this, |_| Ok(false))
            },
        )
        .method1_named(c"_notify", c"_notify($self, /, n)\n--\n\nnotify() without the check.", || ("Condition._notify", "n"), |this, count| {
            notify_some(this, Some(count))
        })
        .method0(c"_wait", c"_wait($self, /)\n--\n\nThe body of wait().", |this| wait(this).map(Own::new))
        .method0(c"_enter_wait", c"_enter_wait($self, /)\n--\n\nThe wait of `async with`: acquire(), or what is behind it.", |this| this.any().call_method0(intern!(this.py(), "acquire")).map(Own::new))
            .method0(c"_enter_now", c"_enter_now($self, /)\n--\n\nTake the lock for `async with`, if that needs no waiting.", |this| {
            let py = this.py();
            match this.lock.get(py).as_ref().and_then(|lock| Ref::<Lock>::cast_exact(lock)) {
                Some(lock) if this.is_exact() => Lock::try_acquire(lock),
                _ => Ok(false),
            }
        })
        .get(c"_lock", c"", |this| Ok(own(this.lock.get(this.py()))))
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
