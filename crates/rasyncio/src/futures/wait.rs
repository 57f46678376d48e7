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
//! One that stands in for a coroutine (see `coroutines::shells`) is called before it is anything: the shell's `begin` runs
//! when it is first resumed, a throw before that ends it, and dropped then it warns. Instead of a future it may wait for
//! any awaitable's iterator (delegating), which is resumed in its place; running is what it is meanwhile. Once over it
//! refers to nothing.

use std::cell::Cell;

use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use slots::{Class, Input, Link, Own, Ref, Sent, Slot, Spec, class};

use super::Future;
use crate::coroutines::{Progress, Shell, pose};

/// What is to be done when the future is done, or an exception was thrown in.
pub type Then = for<'py> fn(&Ref<'py, Wait>, PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>>;

/// How a wait goes on.
pub enum Next<'py> {
    /// It is over.
    Return(Bound<'py, PyAny>),
    /// It waits for another future.
    Await(Ref<'py, Future>),
    /// It goes on as this iterator of an awaitable does; what that comes to is told to `then`.
    Delegate(Bound<'py, PyAny>),
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Stage {
    Called,
    Fresh,
    Waiting,
    Delegating,
    Running,
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
        /// The coroutine function of which it is a call.
        shell: Cell<Option<&'static Shell>>,
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
            shell: Cell::new(None),
        };
        Ok(Ref::create(future.py(), wait)?.into_any().into())
    }

    /// A call of `shell`: nothing is done before it is awaited.
    #[inline]
    pub fn called<'py>(
        shell: &'static Shell,
        owner: &Bound<'py, PyAny>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Own> {
        let wait = Wait {
            future: Link::default(),
            owner: Slot::of(owner.clone()),
            extra: extra.map(|extra| Slot::of(extra.clone())).unwrap_or_default(),
            then: Cell::new(Some(shell.then)),
            stage: Cell::new(Stage::Called),
            shell: Cell::new(Some(shell)),
        };
        Ok(Ref::create(owner.py(), wait)?.into_any().into())
    }

    /// Whether it has come to its end.
    pub fn is_over(&self) -> bool {
        self.stage.get() == Stage::Over
    }

    /// The future that is waited for, or was last.
    pub fn future<'py>(&self, py: Python<'py>) -> Option<Ref<'py, Future>> {
        self.future.get(py)
    }

    /// Drops all references, as a coroutine's frame does at its end. The coroutine itself may live on, in a frame of an
    /// error's traceback; a future, timeout or task that it still referred to could close a cycle with that error.
    #[inline]
    fn forget(&self) {
        self.future.unset();
        self.owner.unset();
        self.extra.unset();
    }

    #[cold]
    fn failed<T>(&self, error: PyErr) -> PyResult<T> {
        self.forget();
        Err(error)
    }

    fn finish<'py>(this: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Sent<'py>> {
        let Some(then) = this.then.get() else { return Err(reused()) };
        this.stage.set(Stage::Over);
        match then(this, outcome) {
            Ok(next) => Wait::go_on(this, then, next),
            Err(error) => this.failed(error),
        }
    }

    #[inline]
    fn go_on<'py>(this: &Ref<'py, Wait>, then: Then, mut next: Next<'py>) -> PyResult<Sent<'py>> {
        loop {
            match next {
                Next::Return(value) => {
                    this.then.set(None);
                    this.forget();
                    return Ok(Sent::Return(value));
                }
                Next::Await(future) if future.is_done() => {
                    this.future.set(future.clone());
                    next = match then(this, Future::outcome(&future)) {
                        Ok(next) => next,
                        Err(error) => return this.failed(error),
                    };
                }
                Next::Await(future) => {
                    future.blocking.set(true);
                    this.future.set(future.clone());
                    this.stage.set(Stage::Waiting);
                    return Ok(Sent::Yield(future.into_any()));
                }
                Next::Delegate(iterator) => {
                    this.extra.set(iterator.clone());
                    return Wait::delegate(this, &iterator, Input::Send(this.py().None().into_bound(this.py())));
                }
            }
        }
    }

    /// Resumes the iterator in this one's place.
    fn delegate<'py>(this: &Ref<'py, Wait>, iterator: &Bound<'py, PyAny>, input: Input<'py>) -> PyResult<Sent<'py>> {
        this.stage.set(Stage::Running);
        match slots::pass_on(iterator, input) {
            Ok(Sent::Yield(value)) => {
                this.stage.set(Stage::Delegating);
                Ok(Sent::Yield(value))
            }
            Ok(Sent::Return(value)) => Wait::finish(this, Ok(value)),
            Err(error) => Wait::finish(this, Err(error)),
        }
    }
}

fn reused() -> PyErr {
    PyRuntimeError::new_err("cannot reuse already awaited coroutine")
}

fn resume<'py>(this: &Ref<'py, Wait>, input: Input<'py>) -> PyResult<Sent<'py>> {
    let py = this.py();
    match (this.stage.get(), input) {
        (Stage::Called, Input::Send(value)) => {
            let (Some(shell), Some(then)) = (this.shell.get(), this.then.get()) else { return Err(reused()) };
            if !value.is_none() {
                return Err(PyTypeError::new_err("can't send non-None value to a just-started coroutine"));
            }
            this.stage.set(Stage::Over);
            match (shell.begin)(this) {
                Ok(next) => Wait::go_on(this, then, next),
                Err(error) => this.failed(error),
            }
        }
        (Stage::Called, Input::Throw(error)) => {
            this.stage.set(Stage::Over);
            this.failed(error)
        }
        (Stage::Running, _) => Err(PyValueError::new_err("coroutine already executing")),
        (Stage::Delegating, input) => {
            let iterator = this.extra.get_or_none(py);
            Wait::delegate(this, &iterator, input)
        }
        // As a coroutine that is over; close() alone is always silent.
        (Stage::Over, Input::Throw(error))
            if this.shell.get().is_none() || error.is_instance_of::<PyGeneratorExit>(py) =>
        {
            Err(error)
        }
        (Stage::Over, Input::Throw(_)) => Err(reused()),
        (Stage::Over, Input::Send(_)) => Err(reused()),
        (Stage::Fresh | Stage::Waiting, Input::Throw(error)) => Wait::finish(this, Err(error)),
        (stage, Input::Send(_)) => {
            let Some(future) = this.future.get(py) else { return Err(reused()) };
            if future.is_done() {
                return Wait::finish(this, Future::outcome(&future));
            }
            if stage == Stage::Fresh {
                future.blocking.set(true);
                this.stage.set(Stage::Waiting);
                return Ok(Sent::Yield(future.into_any()));
            }
            Wait::finish(this, Err(PyRuntimeError::new_err("await wasn't used with future")))
        }
    }
}

impl Class for Wait {
    const NAME: &'static std::ffi::CStr = c"rasyncio.futures._Wait";
    const FREE_LIST: usize = 1024;
    const RETURNS: bool = true;
    const CALLABLE: bool = false;
    const SUBCLASSABLE: bool = false;
    const FINALIZER: bool = true;

    fn is_awaited(&self) -> bool {
        self.shell.get().is_some() && matches!(self.stage.get(), Stage::Waiting | Stage::Delegating | Stage::Running)
    }

    fn wants_finalizer(&self) -> bool {
        self.stage.get() != Stage::Over
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let outcome = match (this.stage.get(), this.shell.get()) {
            (Stage::Called, Some(shell)) => {
                this.stage.set(Stage::Over);
                return shell.warn_never_awaited(py);
            }
            _ => resume(this, Input::Throw(slots::generator_exit(py))),
        };
        match outcome {
            Err(error) if !error.is_instance_of::<PyGeneratorExit>(py) => Err(error),
            _ => Ok(()),
        }
    }

    fn define(spec: &mut Spec<Self>) {
        spec.machine(resume)
            .get(c"cr_await", c"What is awaited, or None.", |this| {
                let py = this.py();
                Ok(match this.stage.get() {
                    Stage::Delegating | Stage::Running => this.extra.get(py).map(Own::new),
                    _ => this.future.get(py).map(|f| Own::new(f.into_any())),
                })
            })
            .repr(|this| {
                Ok(match this.shell.get() {
                    Some(shell) => format!("<coroutine object {} at {:p}>", shell.name, this.any().as_ptr()),
                    None => format!("<{} object at {:p}>", this.any().get_type().qualname()?, this.any().as_ptr()),
                })
            });
        pose(spec, |this: &Wait| {
            let progress = match this.stage.get() {
                Stage::Called => Progress::Created,
                Stage::Running => Progress::Running,
                Stage::Over => Progress::Closed,
                _ => Progress::Suspended,
            };
            this.shell.get().map(|shell| (shell, progress))
        });
    }
}
