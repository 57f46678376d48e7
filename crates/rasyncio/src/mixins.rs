//! mixins: what the synchronisation primitives share: the loop they are bound to, and a queue of waiters.
//!
//! Called by `locks` and `queues`; calls `events` for the running loop.
//!
//! [`LoopBound`]: a primitive belongs to the loop on which it first has to wait, and refuses others. [`LoopBoundMixin`] is the
//! class that all primitives derive from, and that people derive theirs from: `_loop` and `_get_loop()`.
//!
//! [`Waiters`]: futures in the order in which they came. Native until somebody looks at `_waiters`; then a real deque, which
//! is used from then on, so that what Python does to it counts (as for `_ready`, see `events::core`).

use std::cell::RefCell;
use std::collections::VecDeque;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Class, Own, Ref, Slot, Spec, Visit, Visitor, class};

use crate::base_events::create_future;
use crate::events::running_loop;
use crate::futures::{Future, State};
use crate::library;

/// The loop that a primitive is bound to.
#[derive(Default)]
pub struct LoopBound(pub Slot);

impl LoopBound {
    /// The running loop, to which `owner` is bound from now on; RuntimeError if it is bound to another.
    pub fn get_loop<'py>(&self, owner: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = owner.py();
        let running = running_loop(py).unwrap_or_else(|| py.None().into_bound(py));
        if self.0.get_or_none(py).is_none() {
            self.0.set(running.clone());
        }
        if self.0.is(&running) {
            return Ok(running);
        }
        Err(PyRuntimeError::new_err(format!("{} is bound to a different event loop", owner.repr()?)))
    }

    /// A new future on that loop.
    pub fn create_future<'py>(&self, owner: &Bound<'py, PyAny>) -> PyResult<Ref<'py, Future>> {
        let event_loop = self.get_loop(owner)?;
        match Ref::<Future>::cast(&create_future(&event_loop)?) {
            Some(future) => Ok(future.clone()),
            None => Future::create(&event_loop),
        }
    }
}

impl Visit for LoopBound {
    fn visit(&self, visitor: &Visitor) {
        self.0.visit(visitor);
    }
    fn clear(&self) {
        self.0.clear();
    }
}

class! {
    /// What belongs to one loop.
    pub struct LoopBoundMixin { pub(crate) event_loop: LoopBound }
}

impl Class for LoopBoundMixin {
    const NAME: &'static std::ffi::CStr = c"rasyncio.mixins._LoopBoundMixin";
    const DOC: &'static std::ffi::CStr =
        c"_LoopBoundMixin()\n--\n\nWhat belongs to the loop on which it first has to wait.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.method0(
            c"_get_loop",
            c"_get_loop($self, /)\n--\n\nThe running loop, to which it is bound from now on; RuntimeError if it is bound to another.",
            |this| this.event_loop.get_loop(this.any()).map(Own::new),
        )
        .get_set(
            c"_loop",
            c"The loop that it is bound to, or None.",
            |this| Ok(Own::new(this.event_loop.0.get_or_none(this.py()))),
            |this, value| {
                match value {
                    Some(value) => this.event_loop.0.set(value.clone()),
                    None => this.event_loop.0.unset(),
                }
                Ok(())
            },
        );
    }
}

/// Puts the class in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<LoopBoundMixin>(module)
}

/// Futures in the order in which they came.
#[derive(Default)]
pub struct Waiters {
    native: RefCell<VecDeque<Own>>,
    exposed: Slot,
}

impl Visit for Waiters {
    fn visit(&self, visitor: &Visitor) {
        self.native.visit(visitor);
        self.exposed.visit(visitor);
    }
    fn clear(&self) {
        self.native.clear();
        self.exposed.clear();
    }
}

/// Whether a future was cancelled, by the quick way for ours.
pub fn is_cancelled(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    match Ref::<Future>::cast_exact(future) {
        Some(future) => Ok(future.state() == State::Cancelled),
        None => future.call_method0(intern!(future.py(), "cancelled"))?.is_truthy(),
    }
}

/// Whether a future is done, by the quick way for ours.
pub fn is_done(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    match Ref::<Future>::cast_exact(future) {
        Some(future) => Ok(future.is_done()),
        None => future.call_method0(intern!(future.py(), "done"))?.is_truthy(),
    }
}

/// Finishes a future, by the quick way for ours.
pub fn set_result<'py>(future: &Bound<'py, PyAny>, result: Bound<'py, PyAny>) -> PyResult<()> {
    match Ref::<Future>::cast_exact(future) {
        Some(future) => Future::set_result(future, result),
        None => future.call_method1(intern!(future.py(), "set_result"), (result,)).map(drop),
    }
}

impl Waiters {
    /// How many wait.
    pub fn len(&self, py: Python<'_>) -> PyResult<usize> {
        match self.exposed.get(py) {
            Some(deque) if deque.is_none() => Ok(0),
            Some(deque) => deque.len(),
            None => Ok(self.native.borrow().len()),
        }
    }

    /// Puts a future at the end.
    pub fn push(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = future.py();
        match self.exposed.get(py) {
            Some(deque) if deque.is_none() => {
                self.exposed.unset();
                self.push(future)
            }
            Some(deque) => deque.call_method1(intern!(py, "append"), (future,)).map(drop),
            None => {
                self.native.borrow_mut().push_back(future.clone().into());
                Ok(())
            }
        }
    }

    /// Takes a future out, wherever it stands.
    pub fn remove(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = future.py();
        if let Some(deque) = self.exposed.get(py).filter(|d| !d.is_none()) {
            return deque.call_method1(intern!(py, "remove"), (future,)).map(drop);
        }
        let removed = {
            let mut waiters = self.native.borrow_mut();
            waiters.iter().position(|w| w.is(future)).and_then(|at| waiters.remove(at))
        };
        drop(removed);
        Ok(())
    }

    /// The first in the queue.
    pub fn first<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.exposed.get(py) {
            Some(deque) if deque.is_none() || deque.len()? == 0 => Ok(None),
            Some(deque) => deque.get_item(0).map(Some),
            None => Ok(self.native.borrow().front().map(|w| w.bind(py).clone())),
        }
    }

    /// Takes the first out.
    pub fn pop<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.exposed.get(py) {
            Some(deque) if deque.is_none() || deque.len()? == 0 => Ok(None),
            Some(deque) => deque.call_method0(intern!(py, "popleft")).map(Some),
            None => Ok(self.native.borrow_mut().pop_front().map(|w| w.into_bound(py))),
        }
    }

    /// All of them.
    pub fn all<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        match self.exposed.get(py) {
            Some(deque) if deque.is_none() => Ok(Vec::new()),
            Some(deque) => slots::items(&deque),
            None => Ok(self.native.borrow().iter().map(|w| w.bind(py).clone()).collect()),
        }
    }

    /// Whether somebody waits who was not cancelled.
    pub fn anybody(&self, py: Python<'_>) -> PyResult<bool> {
        if !self.exposed.is_set() && self.native.borrow().is_empty() {
            return Ok(false);
        }
        for waiter in self.all(py)? {
            if !is_cancelled(&waiter)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Wakes the first that is not done; answers whether there was one.
    pub fn wake_next<'py>(&self, py: Python<'py>, result: impl FnOnce() -> Bound<'py, PyAny>) -> PyResult<bool> {
        for waiter in self.all(py)? {
            if !is_done(&waiter)? {
                set_result(&waiter, result())?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The queue as a deque, which it is from now on.
    pub fn expose<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(deque) = self.exposed.get(py) {
            return Ok(deque);
        }
        let waiters = slots::list_of(py, self.all(py)?)?;
        let deque = library(py, "collections")?.getattr(intern!(py, "deque"))?.call1((waiters,))?;
        let native = std::mem::take(&mut *self.native.borrow_mut());
        drop(native);
        self.exposed.set(deque.clone());
        Ok(deque)
    }

    /// Puts another deque (or None) in the queue's place.
    pub fn replace(&self, value: Option<&Bound<'_, PyAny>>) {
        let native = std::mem::take(&mut *self.native.borrow_mut());
        drop(native);
        match value {
            Some(value) => self.exposed.set(value.clone()),
            None => self.exposed.unset(),
        }
    }
}

/// `<module.Class object at 0x... [extra]>`.
pub fn repr_with(owner: &Bound<'_, PyAny>, mut extra: String, waiters: usize) -> PyResult<String> {
    if waiters > 0 {
        extra.push_str(&format!(", waiters:{waiters}"));
    }
    let kind = owner.get_type();
    Ok(format!("<{}.{} object at {:p} [{extra}]>", kind.module()?, kind.qualname()?, owner.as_ptr()))
}

/// Python's True.
pub fn yes(py: Python<'_>) -> Bound<'_, PyAny> {
    pyo3::types::PyBool::new(py, true).to_owned().into_any()
}
