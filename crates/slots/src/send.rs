//! Awaiting from both sides: [`send`] resumes any iterator that a coroutine may wait for, and `Spec::machine` makes a
//! native class resumable by every way that CPython has.
//!
//! Called by `tasks` (a step), by `coroutine` (`py_await`) and by rooms whose waits are state machines of their own.
//!
//! CPython resumes an awaitable by three roads: the C slot `am_send` (`PyIter_Send`, and `await` itself from 3.15), the
//! iterator slot `tp_iternext` (`await` on 3.11-3.14), and the methods `send`, `throw` and `close`. All of them end in one
//! function here, which takes an [`Input`] and answers a [`Sent`].
//!
//! A native machine that resumes another machine does it by [`pass_on`], which raises RecursionError like any deep chain of
//! awaits.

use std::ptr;

use crate::intern;
use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::args::Args;
use crate::class::{Native, Ref};
use crate::depth;
use crate::door;
use crate::own::Own;
use crate::spec::{Spec, conjured};

/// What a resumption brings.
pub enum Input<'py> {
    /// A value; None at the first resumption.
    Send(Bound<'py, PyAny>),
    /// An exception to be raised where the machine waits.
    Throw(PyErr),
}

/// What a resumption answers.
pub enum Sent<'py> {
    /// The machine waits: the value goes to whoever drives it.
    Yield(Bound<'py, PyAny>),
    /// The machine is done.
    Return(Bound<'py, PyAny>),
}

/// Resumes `iterator` with `value`, as `await` would.
#[inline]
pub fn send<'py>(iterator: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> PyResult<Sent<'py>> {
    let py = iterator.py();
    let mut result = ptr::null_mut();
    // SAFETY: both objects are alive; the answer says what `result` is: a new reference, or nothing with an exception.
    unsafe {
        match ffi::PyIter_Send(iterator.as_ptr(), value.as_ptr(), &mut result) {
            ffi::PySendResult::PYGEN_RETURN => Ok(Sent::Return(Bound::from_owned_ptr(py, result))),
            ffi::PySendResult::PYGEN_NEXT => Ok(Sent::Yield(Bound::from_owned_ptr(py, result))),
            _ => Err(PyErr::fetch(py)),
        }
    }
}

/// Raises `error` inside `iterator` by its `throw` method, as `await` would; one without `throw` lets it pass.
fn throw<'py>(iterator: &Bound<'py, PyAny>, error: PyErr) -> PyResult<Sent<'py>> {
    let py = iterator.py();
    if error.is_instance_of::<PyGeneratorExit>(py) {
        // The rule of PEP 380: GeneratorExit closes what is waited for and goes on.
        if let Some(close) = iterator.getattr_opt(intern!(py, "close"))? {
            close.call0()?;
        }
        return Err(error);
    }
    match iterator.getattr_opt(intern!(py, "throw"))? {
        Some(method) => called(method.call1((error.into_value(py),)), py),
        None => Err(error),
    }
}

/// Raises `error` inside a coroutine by its `throw` method, GeneratorExit too: what the owner of a coroutine does.
pub fn throw_into<'py>(coroutine: &Bound<'py, PyAny>, error: PyErr) -> PyResult<Sent<'py>> {
    let py = coroutine.py();
    called(coroutine.call_method1(intern!(py, "throw"), (error.into_value(py),)), py)
}

/// `error` with its exception made. PyO3 makes the exception of a `new_err` when somebody first looks at it, for which it lets go of
/// the GIL and attaches again: others run in between, and while the interpreter shuts down attaching panics. An error made here
/// that Rust looks at, rather than raises, goes through this first.
///
/// Making it takes memory; where there is none, the error is a MemoryError.
pub fn settled(py: Python<'_>, error: PyErr) -> PyErr {
    match door::caught(py, || {
        error.restore(py);
        Ok(())
    }) {
        Ok(()) => PyErr::fetch(py),
        Err(error) => error,
    }
}

/// A GeneratorExit to throw in; finalizers do that mostly while the interpreter shuts down.
pub fn generator_exit(py: Python<'_>) -> PyErr {
    settled(py, PyGeneratorExit::new_err(()))
}

/// What a call of `send` or `throw` came to: StopIteration is a return.
fn called<'py>(result: PyResult<Bound<'py, PyAny>>, py: Python<'py>) -> PyResult<Sent<'py>> {
    match result {
        Ok(value) => Ok(Sent::Yield(value)),
        Err(stop) if stop.is_instance_of::<PyStopIteration>(py) => {
            Ok(Sent::Return(stop.value(py).getattr(intern!(py, "value"))?))
        }
        Err(error) => Err(error),
    }
}

/// The iterator behind an awaitable, by the rules of `await` (PEP 492).
pub fn awaitable_iterator<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    // SAFETY: type checks and slot look-ups on a live object; `am_await` is called as CPython calls it.
    unsafe {
        let raw = object.as_ptr();
        if ffi::PyCoro_CheckExact(raw) != 0 {
            if !object.getattr(intern!(py, "cr_await"))?.is_none() {
                return Err(PyRuntimeError::new_err("coroutine is being awaited already"));
            }
            return Ok(object.clone());
        }
        if ffi::PyGen_CheckExact(raw) != 0 {
            const ITERABLE_COROUTINE: u64 = 0x100;
            let flags: u64 = object.getattr(intern!(py, "gi_code"))?.getattr(intern!(py, "co_flags"))?.extract()?;
            if flags & ITERABLE_COROUTINE != 0 {
                return Ok(object.clone());
            }
        }
        let kind = ffi::Py_TYPE(raw);
        let slots = (*kind).tp_as_async;
        let getter = if slots.is_null() { None } else { (*slots).am_await };
        let Some(getter) = getter else {
            let name = object.get_type().name()?;
            let text = if cfg!(Py_3_14) {
                format!("'{name}' object can't be awaited")
            } else {
                format!("object {name} can't be used in 'await' expression")
            };
            return Err(PyTypeError::new_err(text));
        };
        let iterator = Bound::from_owned_ptr_or_err(py, getter(raw))?;
        if ffi::PyIter_Check(iterator.as_ptr()) == 0 {
            let name = iterator.get_type().name()?;
            return Err(PyTypeError::new_err(format!("__await__() returned non-iterator of type '{name}'")));
        }
        if ffi::PyCoro_CheckExact(iterator.as_ptr()) != 0 {
            return Err(PyTypeError::new_err("__await__() returned a coroutine"));
        }
        Ok(iterator)
    }
}

/// The exception that `throw(type[, value[, traceback]])` means.
pub fn thrown<'py>(args: &Args<'_, 'py>) -> PyResult<PyErr> {
    let py = args.py();
    let given = args.positional();
    let (Some(kind), true) = (given.first(), given.len() <= 3 && !args.has_keywords()) else {
        return Err(PyTypeError::new_err(format!("throw expected at least 1 argument, got {}", given.len())));
    };
    if given.len() > 1 && py.version_info() >= (3, 12) {
        let text = c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.";
        PyErr::warn(py, &py.get_type::<pyo3::exceptions::PyDeprecationWarning>(), text, 1)?;
    }
    let value = given.get(1).filter(|v| !v.is_none());
    let error = if let Ok(class) = kind.cast::<PyType>() {
        if !class.is_subclass_of::<pyo3::exceptions::PyBaseException>()? {
            return Err(not_an_exception(kind));
        }
        match value {
            None => PyErr::from_value(class.call0()?),
            Some(value) if value.is_instance(class)? => PyErr::from_value(value.clone()),
            Some(value) => match value.cast::<PyTuple>() {
                Ok(tuple) => PyErr::from_value(class.call1(tuple.to_owned())?),
                Err(_) => PyErr::from_value(class.call1((value,))?),
            },
        }
    } else if kind.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        if value.is_some() {
            return Err(PyTypeError::new_err("instance exception may not have a separate value"));
        }
        PyErr::from_value(kind.clone())
    } else {
        return Err(not_an_exception(kind));
    };
    if let Some(trace) = given.get(2).filter(|t| !t.is_none()) {
        let trace = trace
            .cast::<pyo3::types::PyTraceback>()
            .map_err(|_| PyTypeError::new_err("throw() third argument must be a traceback object"))?;
        error.set_traceback(py, Some(trace.to_owned()));
    }
    Ok(error)
}

fn not_an_exception(kind: &Bound<'_, PyAny>) -> PyErr {
    let name = kind.get_type().name().map(|n| n.to_string()).unwrap_or_default();
    PyTypeError::new_err(format!("exceptions must be classes or instances deriving from BaseException, not {name}"))
}

/// Resumes what a native machine waits for, in the machine's place.
///
/// That takes C stack and no frame of Python's, so it counts against the recursion limit, and against the stack.
#[inline]
pub fn pass_on<'py>(iterator: &Bound<'py, PyAny>, input: Input<'py>) -> PyResult<Sent<'py>> {
    depth::deeper(iterator.py(), || match input {
        Input::Send(value) => send(iterator, &value),
        Input::Throw(error) => throw(iterator, error),
    })
}

unsafe extern "C" {
    fn _PyGen_SetStopIterationValue(value: *mut ffi::PyObject) -> std::ffi::c_int;
}

/// Fills all the resumption slots and methods of a class with `F`.
pub(crate) fn install<T: Native, F>(spec: &mut Spec<T>) -> &mut Spec<T>
where
    F: for<'py> Fn(&Ref<'py, T>, Input<'py>) -> PyResult<Sent<'py>> + Copy,
{
    #[inline]
    fn resume<'py, T: Native, F>(this: &Ref<'py, T>, input: Input<'py>) -> PyResult<Sent<'py>>
    where
        F: for<'p> Fn(&Ref<'p, T>, Input<'p>) -> PyResult<Sent<'p>> + Copy,
    {
        conjured::<F>()(this, input)
    }

    unsafe extern "C" fn am_send<T: Native, F>(
        this: *mut ffi::PyObject,
        value: *mut ffi::PyObject,
        result: *mut *mut ffi::PyObject,
    ) -> ffi::PySendResult
    where
        F: for<'py> Fn(&Ref<'py, T>, Input<'py>) -> PyResult<Sent<'py>> + Copy,
    {
        // SAFETY: a `sendfunc`: `this` an instance, `value` alive, `result` a place for one reference.
        unsafe {
            *result = ptr::null_mut();
            door::enter(ffi::PySendResult::PYGEN_ERROR, |py| {
                let value = Bound::from_borrowed_ptr(py, value);
                match resume::<T, F>(Ref::from_ptr_ref(&this), Input::Send(value))? {
                    Sent::Yield(value) => {
                        *result = value.into_ptr();
                        Ok(ffi::PySendResult::PYGEN_NEXT)
                    }
                    Sent::Return(value) => {
                        *result = value.into_ptr();
                        Ok(ffi::PySendResult::PYGEN_RETURN)
                    }
                }
            })
        }
    }

    unsafe extern "C" fn iternext<T: Native, F>(this: *mut ffi::PyObject) -> *mut ffi::PyObject
    where
        F: for<'py> Fn(&Ref<'py, T>, Input<'py>) -> PyResult<Sent<'py>> + Copy,
    {
        // SAFETY: an `iternextfunc`: null without an exception ends the iteration with None.
        unsafe {
            door::enter(ptr::null_mut(), |py| {
                let none = py.None().into_bound(py);
                match resume::<T, F>(Ref::from_ptr_ref(&this), Input::Send(none))? {
                    Sent::Yield(value) => Ok(value.into_ptr()),
                    Sent::Return(value) => {
                        // Its one reference is the awaiter's: it dies at once, and settles the spare.
                        #[cfg(Py_3_12)]
                        if T::RETURNS && !value.is_none() && ffi::Py_REFCNT(this) == 1 {
                            crate::stop::stop_with(value)?;
                            return Ok(ptr::null_mut());
                        }
                        if !value.is_none() {
                            _PyGen_SetStopIterationValue(value.as_ptr());
                        }
                        Ok(ptr::null_mut())
                    }
                }
            })
        }
    }

    fn outcome(sent: PyResult<Sent<'_>>) -> PyResult<Own> {
        match sent? {
            Sent::Yield(value) => Ok(value.into()),
            // An exception instance or a tuple as the argument itself would be unpacked by a lazily made error.
            Sent::Return(value) => {
                let stop = value.py().get_type::<PyStopIteration>();
                let stop = if value.is_none() { stop.call0()? } else { stop.call1((value,))? };
                Err(PyErr::from_value(stop))
            }
        }
    }

    fn close<T: Native, F>(this: &Ref<'_, T>) -> PyResult<()>
    where
        F: for<'py> Fn(&Ref<'py, T>, Input<'py>) -> PyResult<Sent<'py>> + Copy,
    {
        let py = this.py();
        match resume::<T, F>(this, Input::Throw(generator_exit(py))) {
            Ok(Sent::Return(_)) => Ok(()),
            Ok(Sent::Yield(_)) => {
                let name = this.any().get_type().name()?;
                Err(PyRuntimeError::new_err(format!("{} ignored GeneratorExit", name.to_str()?.to_lowercase())))
            }
            Err(e) if e.is_instance_of::<PyGeneratorExit>(py) || e.is_instance_of::<PyStopIteration>(py) => Ok(()),
            Err(e) => Err(e),
        }
    }

    spec.is_own_iterator();
    spec.send_slots(am_send::<T, F>, iternext::<T, F>);
    spec.method1(
        c"send",
        c"send($self, value, /)\n--\n\nResume with a value; answer what is yielded, or raise StopIteration.",
        |this, value| outcome(resume::<T, F>(this, Input::Send(value.clone()))),
    );
    spec.method(
        c"throw",
        c"throw(type[,value[,traceback]])\n\nResume by raising an exception inside.",
        |this, args| outcome(resume::<T, F>(this, Input::Throw(thrown(args)?))),
    );
    spec.method0(c"close", c"close($self, /)\n--\n\nRaise GeneratorExit inside and expect the end.", close::<T, F>)
}
