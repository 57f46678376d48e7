//! `Event`: a flag that tasks wait for.
//!
//! Called by the shell `wait` and by `set`. `set` wakes everybody who waits; a waiter that finds the flag cleared again has
//! been woken all the same.

use std::cell::Cell;

use pyo3::prelude::*;
use slots::{Class, Own, Ref, Signature, Spec, class};

use crate::futures::{Next, Wait};
use crate::mixins::{LoopBoundMixin, Waiters, is_done, repr_with, set_result, yes};

class! {
    /// A flag that tasks wait for.
    pub struct Event: LoopBoundMixin { value: Cell<bool>, waiters: Waiters }
}

fn woken<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = wait.py();
    let owner = wait.owner.get_or_none(py);
    if let (Some(this), Some(future)) = (Ref::<Event>::cast(&owner), wait.future(py)) {
        this.waiters.remove(future.any())?;
    }
    outcome?;
    Ok(Next::Return(yes(py)))
}

fn set(this: &Ref<'_, Event>) -> PyResult<()> {
    if this.value.replace(true) {
        return Ok(());
    }
    let py = this.py();
    for waiter in this.waiters.all(py)? {
        if !is_done(&waiter)? {
            set_result(&waiter, yes(py))?;
        }
    }
    Ok(())
}

impl Class for Event {
    const NAME: &'static std::ffi::CStr = c"rasyncio.locks.Event";
    const DOC: &'static std::ffi::CStr =
        c"Event()\n--\n\nA flag that the tasks of a loop wait for. Unset at first. Not thread-safe.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<0> = Signature::method("Event.__init__", []);
        spec.init(|_, args| args.parse(&INIT).map(drop))
            .repr(|this| {
                let state = if this.value.get() { "set" } else { "unset" };
                repr_with(this.any(), state.to_owned(), this.waiters.len(this.py())?)
            })
            .method0(c"is_set", c"is_set($self, /)\n--\n\nWhether the flag is set.", |this| Ok(this.value.get()))
            .method0(c"set", c"set($self, /)\n--\n\nSet the flag and wake every task that waits.", set)
            .method0(c"clear", c"clear($self, /)\n--\n\nUnset the flag.", |this| {
                this.value.set(false);
                Ok(())
            })
            .method0(c"_wait", c"_wait($self, /)\n--\n\nThe wait for the flag.", |this| {
                let future = this.event_loop.create_future(this.any())?;
                this.waiters.push(future.any())?;
                Wait::create(&future, this.any().clone(), None, woken)
            })
            .get_set(
                c"_value",
                c"",
                |this| Ok(this.value.get()),
                |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.value.set(v))),
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
