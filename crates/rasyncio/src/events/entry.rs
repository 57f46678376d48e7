//! What a turn runs: [`Entry`], a `Handle` or a native object with a [`Kind`] that says how it is run.
//!
//! Made by every room that schedules; queued by `core`, run by the turn in `base_events`. Calls the entry's `run` in its
//! context, and `handle` for reports and for reprs.
//!
//! A task's own step, its wake-up by a future, and a transport's events are entries without a Handle: no object is made for
//! them. Where Python wants to see one (`_ready`, an overridden `call_soon`, the report of an error), the entry becomes a
//! Handle whose callback is a [`NativeCallback`]: same object, same argument, and the same context if it has one, so that it
//! makes no difference which of the two is run.
//!
//! An error of an entry is reported as a Handle's would be; SystemExit and KeyboardInterrupt leave the loop.
//!
//! Invariant: an entry is dropped only while no queue is borrowed, since its drop runs any code.
//!
//! asyncio knows Handles only. That a native entry has none shows nowhere, for the reason above.

use std::cell::Cell;

use pyo3::prelude::*;
use slots::intern;
use slots::{Class, Own, Ref, Slot, Spec, Visit, Visitor, class};

use super::core::LoopCore;
use super::handle::{Handle, TimerHandle};
use super::thread_safe::ThreadSafeHandle;

/// How a native entry is run and what it looks like to Python.
pub struct Kind {
    /// Runs it, its context entered. SystemExit and KeyboardInterrupt leave the loop; other errors are reported.
    pub run: fn(&Bound<'_, PyAny>, Option<&Bound<'_, PyAny>>) -> PyResult<()>,
    /// The loop that it belongs to, whose exception handler hears of its errors.
    pub event_loop: fn(&Bound<'_, PyAny>) -> Option<Own>,
    /// The context that it runs in.
    pub context: fn(&Bound<'_, PyAny>) -> Option<Own>,
    /// What its callable is called: the class's name in a repr, and `__qualname__` if it has one.
    pub name: &'static str,
    /// See `name`.
    pub qualname: Option<&'static str>,
}

/// Something that a turn runs.
pub struct Entry {
    /// The Handle, the task, ...
    pub object: Own,
    /// What `Kind::run` gets beside the object.
    pub argument: Option<Own>,
    /// None for a Handle.
    pub kind: Option<&'static Kind>,
}

impl Entry {
    /// An entry for a Handle.
    #[inline]
    pub fn handle(handle: Ref<'_, Handle>) -> Entry {
        Entry { object: handle.into_any().into(), argument: None, kind: None }
    }

    /// Runs the entry.
    #[inline]
    pub fn run(&self, py: Python<'_>) -> PyResult<()> {
        let object = self.object.bind(py);
        match self.kind {
            Some(kind) => {
                let argument = self.argument.as_ref().map(|a| a.bind(py));
                let result = match (kind.context)(object) {
                    Some(context) => {
                        slots::enter_context(context.bind(py), || (kind.run)(object, argument)).and_then(|r| r)
                    }
                    None => (kind.run)(object, argument),
                };
                match result {
                    Ok(()) => Ok(()),
                    Err(error) => self.failed(py, error),
                }
            }
            None => match Ref::<Handle>::cast_exact(object) {
                Some(handle) => Handle::run(handle),
                None => match Ref::<TimerHandle>::cast_exact(object) {
                    Some(handle) => Handle::run(handle.base()),
                    None => match Ref::<ThreadSafeHandle>::cast_exact(object) {
                        Some(handle) => ThreadSafeHandle::run(handle),
                        None => object.call_method0(intern!(py, "_run")).map(drop),
                    },
                },
            },
        }
    }

    /// Reports an error as a Handle would have.
    #[cold]
    fn failed(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        let (object, Some(kind)) = (self.object.bind(py), self.kind) else { return Err(error) };
        let Some(event_loop) = (kind.event_loop)(object) else { return Err(error) };
        let callback = NativeCallback::make(py, object.clone(), kind)?;
        let event_loop = event_loop.into_bound(py);
        let args = self.argument.as_ref().map_or(&[] as &[_], |argument| std::slice::from_ref(argument.bind(py)));
        let handle = Handle::create(py, callback, args, event_loop, slots::copy_current(py)?)?;
        Handle::failed(&handle, error)
    }

    /// Whether it is a Handle that was cancelled.
    pub fn is_cancelled(&self, py: Python<'_>) -> PyResult<bool> {
        if self.kind.is_some() {
            return Ok(false);
        }
        let object = self.object.bind(py);
        match Ref::<Handle>::cast(object) {
            Some(handle) => Ok(handle.cancelled.get()),
            None => object.getattr(intern!(py, "_cancelled"))?.is_truthy(),
        }
    }

    /// The Handle that stands for the entry.
    pub fn into_handle<'py>(self, py: Python<'py>, core: &Ref<'py, LoopCore>) -> PyResult<Bound<'py, PyAny>> {
        let object = self.object.into_bound(py);
        let Some(kind) = self.kind else {
            if let Some(handle) = Ref::<Handle>::cast(&object) {
                handle.show();
            }
            return Ok(object);
        };
        let context = (kind.context)(&object).map(|c| c.into_bound(py));
        let callback = NativeCallback::make(py, object, kind)?;
        let context = match context {
            Some(context) => context,
            None => slots::copy_current(py)?,
        };
        let event_loop = core.any().clone();
        Ok(match self.argument {
            Some(argument) => {
                Handle::create(py, callback, std::slice::from_ref(argument.bind(py)), event_loop, context)?
            }
            None => Handle::create(py, callback, &[], event_loop, context)?,
        }
        .into_any())
    }
}

impl Visit for Entry {
    fn visit(&self, visitor: &Visitor) {
        self.object.visit(visitor);
        self.argument.visit(visitor);
    }
    fn clear(&self) {}
}

class! {
    /// A callable that runs a native object, made where Python wants to see one.
    pub struct NativeCallback { object: Slot, kind: Cell<Option<&'static Kind>> }
}

impl NativeCallback {
    /// The callable for `object`.
    pub fn make<'py>(py: Python<'py>, object: Bound<'py, PyAny>, kind: &'static Kind) -> PyResult<Bound<'py, PyAny>> {
        Ok(Ref::create(py, NativeCallback { object: Slot::of(object), kind: Cell::new(Some(kind)) })?.into_any())
    }

    /// The native object behind a callable, if it is one of these.
    pub fn behind<'py>(callable: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        Ref::<NativeCallback>::cast_exact(callable)?.object.get(callable.py())
    }
}

impl Class for NativeCallback {
    const NAME: &'static std::ffi::CStr = c"rasyncio.events._NativeCallback";
    const FREE_LIST: usize = 64;
    const CALLABLE: bool = false;
    const SUBCLASSABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.call(|this, args| {
            let (Some(object), Some(kind)) = (this.object.get(this.py()), this.kind.get()) else { return Ok(()) };
            (kind.run)(&object, args.positional().first())
        })
        .get(c"__self__", c"The object that is run.", |this| Ok(this.object.get(this.py()).map(Own::new)))
        .get(c"__qualname__", c"", |this| match this.kind.get().and_then(|k| k.qualname) {
            Some(name) => Ok(name),
            None => Err(pyo3::exceptions::PyAttributeError::new_err("__qualname__")),
        })
        .compare(|this, other, op| {
            let Some(other) = Ref::<NativeCallback>::cast(other) else { return Ok(None) };
            let object = this.object.get_or_none(this.py());
            let same_kind = match (this.kind.get(), other.kind.get()) {
                (Some(a), Some(b)) => std::ptr::eq(a, b),
                _ => false,
            };
            Ok(match op {
                pyo3::basic::CompareOp::Eq => Some(same_kind && other.object.is(&object)),
                pyo3::basic::CompareOp::Ne => Some(!(same_kind && other.object.is(&object))),
                _ => None,
            })
        })
        .hash(|this| Ok(this.object.get_or_none(this.py()).as_ptr() as isize >> 4))
        .repr(|this| {
            let name = this.kind.get().map_or("NativeCallback", |k| k.name);
            Ok(format!("<{name} object at {:p}>", this.any().as_ptr()))
        });
    }
}
