//! [`Wait`]: wait for one future, then do something: the slow half of most coroutine functions of asyncio.
//!
//! Called by rooms whose shells must wait (`locks`, `queues`, ...); calls the room's [`Then`] with what came of it.
//!
//! `Lock.acquire()` waits for a future and then takes itself off the queue; `Queue.get()` waits and then looks again. Both are a
//! `Wait` whose `then` answers [`Next::Return`], or [`Next::Await`] to wait for another future. It is an awaitable in the
//! manner of a coroutine (`send`, `throw`, `close`), with all its references in view of the collector, and no block on
//! the heap beside it.
//!
//! States: fresh -> waiting (the future was yielded) -> over. A throw while fresh or waiting goes to `then` as an error,
//! GeneratorExit too, so that a dropped wait undoes what it began; the finalizer of one that was never over does the same.

use std::cell::Cell;

use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError};
use pyo3::prelude::*;
use slots::{Class, Input, Link, Own, Ref, Sent, Slot, Spec, class};

use super::Future;

/// What is to be done when the future is done, or an exception was thrown in.
pub type Then = for<'py> fn(&Ref<'py, Wait>, PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>>;

/// How a wait goes on.
pub enum Next<'py> {
    /// It is over.
    Return(Bound<'py, PyAny>),
    /// It waits for another future.
    Await(Ref<'py, Future>),
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Stage {
    Fresh,
    Waiting,
    #[default]
    Over,
}

class! {
    /// A wait for one future after another.
    pub struct Wait {
        future: Link<Future>,
        /// Whose wait it is: the lock, the queue, ...
        pub owner: Slot,
        /// What else `then` needs.
        pub extra: Slot,
        then: Cell<Option<Then>>,
        stage: Cell<Stage>,
    }
}

impl Wait {
    /// A wait for `future`; `then` decides what comes after.
    #[inline]
    pub fn create<'py>(
        future: &Ref<'py, Future>,
        owner: Bound<'py, PyAny>,
        extra: Option<Bound<'py, PyAny>>,
        then: Then,
    ) -> PyResult<Own> {
        let wait = Wait {
            future: Link::of(future.clone()),
            owner: Slot::of(owner),
            extra: extra.map(Slot::of).unwrap_or_default(),
            then: Cell::new(Some(then)),
            stage: Cell::new(Stage::Fresh),
        };
        Ok(Ref::create(future.py(), wait)?.into_any().into())
    }

    /// The future that is waited for, or was last.
    pub fn future<'py>(&self, py: Python<'py>) -> Option<Ref<'py, Future>> {
        self.future.get(py)
    }

    fn finish<'py>(this: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Sent<'py>> {
        let Some(then) = this.then.get() else {
            return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
        };
        this.stage.set(Stage::Over);
        let mut next = then(this, outcome)?;
        loop {
            match next {
                Next::Return(value) => {
                    this.then.set(None);
                    return Ok(Sent::Return(value));
                }
                Next::Await(future) if future.is_done() => next = then(this, Future::outcome(&future))?,
                Next::Await(future) => {
                    future.blocking.set(true);
                    this.future.set(future.clone());
                    this.stage.set(Stage::Waiting);
                    return Ok(Sent::Yield(future.into_any()));
                }
            }
        }
    }
}

fn resume<'py>(this: &Ref<'py, Wait>, input: Input<'py>) -> PyResult<Sent<'py>> {
    let py = this.py();
    if this.stage.get() == Stage::Over {
        return Err(match input {
            Input::Throw(error) => error,
            Input::Send(_) => PyRuntimeError::new_err("cannot reuse already awaited coroutine"),
        });
    }
    let Some(future) = this.future.get(py) else {
        return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
    };
    match input {
        Input::Throw(error) => Wait::finish(this, Err(error)),
        Input::Send(_) if future.is_done() => Wait::finish(this, Future::outcome(&future)),
        Input::Send(_) if this.stage.get() == Stage::Fresh => {
            future.blocking.set(true);
            this.stage.set(Stage::Waiting);
            Ok(Sent::Yield(future.into_any()))
        }
        Input::Send(_) => Wait::finish(this, Err(PyRuntimeError::new_err("await wasn't used with future"))),
    }
}

impl Class for Wait {
    const NAME: &'static std::ffi::CStr = c"rasyncio.futures._Wait";
    const FREE_LIST: usize = 256;
    const CALLABLE: bool = false;
    const SUBCLASSABLE: bool = false;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.stage.get() != Stage::Over
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let py = this.py();
        match Wait::finish(this, Err(PyGeneratorExit::new_err(()))) {
            Err(error) if !error.is_instance_of::<PyGeneratorExit>(py) => Err(error),
            _ => Ok(()),
        }
    }

    fn define(spec: &mut Spec<Self>) {
        spec.machine(resume).get(c"cr_await", c"What is awaited, or None.", |this| {
            Ok(this.future.get(this.py()).map(|f| Own::new(f.into_any())))
        });
    }
}
