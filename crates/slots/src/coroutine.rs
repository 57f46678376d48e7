//! [`Coroutine`]: a Python coroutine written as a Rust `async` block.
//!
//! Called by rooms for waits that read best as straight code (`coroutine(py, name, kept, |co| async move { ... })`); calls
//! `send` for whatever the block awaits by [`Co::wait`].
//!
//! The block is polled by Python's protocol, not by a waker: each `send` or `throw` polls once, `Co::wait` hands the value
//! or the exception on to the iterator it waits for, and what that yields is what the coroutine yields.
//!
//! States: Created -> Suspended <-> Running -> Done. A resumption of a running coroutine is a ValueError, of a finished
//! one a RuntimeError, as for Python's own.
//!
//! The collector cannot look into the block. Therefore a block holds no Python object across an await: what it needs is
//! kept by the coroutine, in view of the collector, and the block has [`Kept`] handles to it. A block that breaks the
//! rule leaks where a cycle leads through it; it cannot crash.
//!
//! A coroutine that was never started warns as Python's do ("coroutine 'X' was never awaited"); one that is dropped while
//! it waits is closed first, so that the block can undo what it began.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError, PyRuntimeWarning, PyStopIteration, PyValueError};
use pyo3::prelude::*;

use crate::class;
use crate::class::{Class, Ref};
use crate::own::{Own, Plain, Slot, Visit};
use crate::send::{self, Input, Sent};
use crate::spec::Spec;

type Block = Pin<Box<dyn Future<Output = PyResult<Own>>>>;

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    Created,
    Suspended,
    Running,
    #[default]
    Done,
}

/// What the block and its coroutine share.
#[derive(Default)]
struct Frame {
    input: RefCell<Option<Pending>>,
    yielded: Slot,
    awaiting: Slot,
    kept: RefCell<Vec<Slot>>,
}

enum Pending {
    Value(Own),
    Error(PyErr),
}

/// The block's side: how it waits, and where its objects are.
pub struct Co(Rc<Frame>);

/// A handle to an object that the coroutine keeps for its block.
#[derive(Clone, Copy)]
pub struct Kept(usize);

impl Co {
    /// The token of the thread that polls the block.
    pub fn py(&self) -> Python<'_> {
        // SAFETY: a `Co` lives in a block, which is polled and dropped under the GIL only, and is not `Send`.
        unsafe { Python::assume_attached() }
    }

    /// Keeps `object` until the coroutine ends.
    pub fn keep(&self, object: Bound<'_, PyAny>) -> Kept {
        let mut kept = self.0.kept.borrow_mut();
        kept.push(Slot::of(object));
        Kept(kept.len() - 1)
    }

    /// Keeps an error that is raised again after another wait: its traceback's frames may lead back to the coroutine.
    pub fn keep_error(&self, error: PyErr) -> Kept {
        self.keep(error.into_value(self.py()).into_bound(self.py()).into_any())
    }

    /// The error that `kept` keeps.
    pub fn error(&self, kept: Kept) -> PyErr {
        PyErr::from_value(self.get(kept))
    }

    /// Puts another object in the place of `kept`.
    pub fn change(&self, kept: Kept, object: Bound<'_, PyAny>) {
        let py = object.py();
        let old = self.0.kept.borrow()[kept.0].replace(py, Some(object.clone()));
        drop(old);
    }

    /// The object behind `kept`.
    pub fn get(&self, kept: Kept) -> Bound<'_, PyAny> {
        self.0.kept.borrow()[kept.0].get_or_none(self.py())
    }

    /// The object behind `kept`, as a native `T`. Panics if it is none: the caller put it there.
    pub fn get_as<T: class::Native>(&self, kept: Kept) -> Ref<'_, T> {
        match Ref::<T>::cast(&self.get(kept)) {
            Some(object) => object.clone(),
            None => panic!("kept object is not of the class asked for"),
        }
    }

    /// Awaits any awaitable object, as Python's `await` does. A kept one, since a reference to it among the temporaries of
    /// the `.await` would live as long as the wait, out of the collector's sight.
    pub fn wait(&self, awaitable: Kept) -> Wait {
        let failed = match send::awaitable_iterator(&self.get(awaitable)) {
            Ok(iterator) => {
                self.0.awaiting.set(iterator);
                None
            }
            Err(error) => Some(error),
        };
        Wait { frame: self.0.clone(), failed, started: false }
    }

    /// Yields `value` to whoever drives the coroutine, as a bare `yield` does; None lets the loop run once.
    pub fn give(&self, value: Bound<'_, PyAny>) -> Give {
        self.0.yielded.set(value);
        Give { frame: self.0.clone(), given: false }
    }
}

/// The future of [`Co::wait`].
pub struct Wait {
    frame: Rc<Frame>,
    failed: Option<PyErr>,
    started: bool,
}

impl Future for Wait {
    type Output = PyResult<Own>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<PyResult<Own>> {
        // SAFETY: blocks are polled under the GIL only (see `Co::py`).
        let py = unsafe { Python::assume_attached() };
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let Some(iterator) = self.frame.awaiting.get(py) else {
            return Poll::Ready(Err(PyRuntimeError::new_err("a native coroutine was resumed out of order")));
        };
        let pending = if self.started { self.frame.input.borrow_mut().take() } else { None };
        self.started = true;
        let input = match pending {
            None => Input::Send(py.None().into_bound(py)),
            Some(Pending::Value(value)) => Input::Send(value.into_bound(py)),
            Some(Pending::Error(error)) => Input::Throw(error),
        };
        match send::pass_on(&iterator, input) {
            Ok(Sent::Yield(value)) => {
                self.frame.yielded.set(value);
                Poll::Pending
            }
            Ok(Sent::Return(value)) => {
                self.frame.awaiting.unset();
                Poll::Ready(Ok(value.into()))
            }
            Err(error) => {
                self.frame.awaiting.unset();
                Poll::Ready(Err(error))
            }
        }
    }
}

/// The future of [`Co::give`].
pub struct Give {
    frame: Rc<Frame>,
    given: bool,
}

impl Future for Give {
    type Output = PyResult<Own>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<PyResult<Own>> {
        if !self.given {
            self.given = true;
            return Poll::Pending;
        }
        // SAFETY: blocks are polled under the GIL only (see `Co::py`).
        let py = unsafe { Python::assume_attached() };
        let pending = self.frame.input.borrow_mut().take();
        Poll::Ready(match pending {
            Some(Pending::Value(value)) => Ok(value),
            Some(Pending::Error(error)) => Err(error),
            None => Ok(py.None().into_bound(py).into()),
        })
    }
}

crate::class! {
    /// A coroutine whose body is a Rust `async` block.
    pub struct Coroutine {
        name: Slot,
        qualname: Slot,
        frame: Shared,
        block: Plain<RefCell<Option<Block>>>,
        state: Cell<State>,
    }
}

/// The frame as the collector sees it: the block's handles to it are Rust's, so the coroutine alone answers for it.
#[derive(Default)]
struct Shared(Option<Rc<Frame>>);

impl Visit for Shared {
    fn visit(&self, visitor: &crate::Visitor) {
        if let Some(frame) = &self.0 {
            frame.yielded.visit(visitor);
            frame.awaiting.visit(visitor);
            frame.kept.visit(visitor);
        }
    }
    /// The finalizer, which the collector calls first, has closed the block and let everything go.
    fn clear(&self) {}
}

/// Makes a coroutine. `kept` are objects that the block needs, in order; `block` gets their handles through `Kept` numbers
/// as [`Co::keep`] would give them: the first is `handles[0]`.
pub fn coroutine<'py, const N: usize, F, B>(
    py: Python<'py>,
    qualname: &str,
    kept: [Bound<'py, PyAny>; N],
    block: F,
) -> PyResult<Bound<'py, PyAny>>
where
    F: FnOnce(Co, [Kept; N]) -> B,
    B: Future<Output = PyResult<Own>> + 'static,
{
    let frame = Rc::new(Frame::default());
    let co = Co(frame.clone());
    let handles = kept.map(|object| co.keep(object));
    let qualname_object = crate::interned(py, qualname)?;
    let name = qualname.rsplit('.').next().unwrap_or(qualname);
    let made = Coroutine {
        name: Slot::of(crate::interned(py, name)?.into_any()),
        qualname: Slot::of(qualname_object.into_any()),
        frame: Shared(Some(frame)),
        block: Plain(RefCell::new(Some(Box::pin(block(co, handles))))),
        state: Cell::new(State::Created),
    };
    Ok(Ref::create(py, made)?.into_any())
}

fn resume<'py>(this: &Ref<'py, Coroutine>, input: Input<'py>) -> PyResult<Sent<'py>> {
    let py = this.py();
    match (this.state.get(), &input) {
        (State::Running, _) => return Err(PyValueError::new_err("coroutine already executing")),
        (State::Done, Input::Throw(error)) if error.is_instance_of::<PyGeneratorExit>(py) => {
            let Input::Throw(error) = input else { unreachable!("matched above") };
            return Err(error);
        }
        (State::Done, _) => return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine")),
        (State::Created, Input::Throw(_)) => {
            let Input::Throw(error) = input else { unreachable!("matched above") };
            finish(this);
            return Err(error);
        }
        (State::Created, Input::Send(value)) if !value.is_none() => {
            return Err(pyo3::exceptions::PyTypeError::new_err(
                "can't send non-None value to a just-started coroutine",
            ));
        }
        _ => {}
    }
    let Some(frame) = this.frame.0.as_ref() else {
        return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
    };
    let first = this.state.replace(State::Running) == State::Created;
    let pending = match input {
        Input::Send(value) => Pending::Value(value.into()),
        Input::Throw(error) => Pending::Error(error),
    };
    let old = if first { None } else { frame.input.borrow_mut().replace(pending) };
    drop(old);
    let unwound = Unwound(this);
    // The block is out of its cell while it runs, so that nothing is borrowed during Python calls.
    let block = this.block.borrow_mut().take();
    let Some(mut block) = block else {
        return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
    };
    let polled = block.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    std::mem::forget(unwound);
    match polled {
        Poll::Pending => {
            *this.block.borrow_mut() = Some(block);
            this.state.set(State::Suspended);
            Ok(Sent::Yield(frame.yielded.take(py).unwrap_or_else(|| py.None().into_bound(py))))
        }
        Poll::Ready(result) => {
            drop(block);
            finish(this);
            match result.map_err(|error| send::settled(py, error)) {
                Ok(value) => Ok(Sent::Return(value.into_bound(py))),
                Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
                    let raised = PyRuntimeError::new_err("coroutine raised StopIteration");
                    raised.set_cause(py, Some(error));
                    Err(raised)
                }
                Err(error) => Err(error),
            }
        }
    }
}

/// Ends a coroutine whose block panics, as an exception that leaves the block ends it. The block is dropped first.
struct Unwound<'a, 'py>(&'a Ref<'py, Coroutine>);

impl Drop for Unwound<'_, '_> {
    fn drop(&mut self) {
        finish(self.0);
    }
}

fn finish(this: &Ref<'_, Coroutine>) {
    this.state.set(State::Done);
    let block = this.block.borrow_mut().take();
    drop(block);
    if let Some(frame) = this.frame.0.as_ref() {
        frame.awaiting.unset();
        frame.yielded.unset();
        let kept = std::mem::take(&mut *frame.kept.borrow_mut());
        drop(kept);
    }
}

impl Class for Coroutine {
    const NAME: &'static std::ffi::CStr = c"rasyncio.coroutines.NativeCoroutine";
    const DOC: &'static std::ffi::CStr = c"A coroutine written in Rust; behaves as one made by `async def` (PEP 492).";
    const FREE_LIST: usize = 64;
    const SUBCLASSABLE: bool = false;
    const CALLABLE: bool = false;
    const FINALIZER: bool = true;

    fn is_awaited(&self) -> bool {
        matches!(self.state.get(), State::Suspended | State::Running)
    }

    fn wants_finalizer(&self) -> bool {
        matches!(self.state.get(), State::Created | State::Suspended)
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let py = this.py();
        match this.state.get() {
            State::Created => {
                finish(this);
                let name = this.qualname.get_or_none(py);
                let text = std::ffi::CString::new(format!("coroutine '{name}' was never awaited"))?;
                PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 1)
            }
            State::Suspended => match resume(this, Input::Throw(send::generator_exit(py))) {
                Ok(Sent::Return(_)) => Ok(()),
                Ok(Sent::Yield(_)) => Err(PyRuntimeError::new_err("coroutine ignored GeneratorExit")),
                Err(e) if e.is_instance_of::<PyGeneratorExit>(py) => Ok(()),
                Err(e) => Err(e),
            },
            _ => Ok(()),
        }
    }

    fn define(spec: &mut Spec<Self>) {
        spec.machine(resume)
            .get(c"__name__", c"", |this| Ok(this.name.get(this.py()).map(Own::new)))
            .get(c"__qualname__", c"", |this| Ok(this.qualname.get(this.py()).map(Own::new)))
            .get(c"cr_await", c"What the coroutine awaits, or None.", |this| {
                Ok(this.frame.0.as_ref().and_then(|f| f.awaiting.get(this.py())).map(Own::new))
            })
            .get(c"cr_running", c"", |this| Ok(this.state.get() == State::Running))
            .get(c"cr_suspended", c"", |this| Ok(this.state.get() == State::Suspended))
            .get(c"cr_frame", c"Always None: there is no Python frame.", |_| Ok(()))
            .get(c"cr_code", c"Always None: there is no Python code.", |_| Ok(()))
            .get(c"cr_origin", c"", |_| Ok(()))
            .repr(|this| {
                let name = this.qualname.get_or_none(this.py());
                Ok(format!("<coroutine object {name} at {:p}>", this.any().as_ptr()))
            });
    }
}
