//! What Python itself calls: `__init__`, `__repr__`, `__await__`, `__next__`, comparison, and the other slots of a type.
//!
//! Called by `Class::define` of every room, through [`Spec`]; calls what it was given, through [`crate::door`].
//!
//! Each slot has a trampoline of the slot's own C type, generic over the type of what it calls. A call that comes as tuple and
//! dict (`__init__`, `__call__`) is turned into the vector that a `Signature` parses.
//!
//! `__init__` also gives the quick path of a call, for the class itself and not for what is derived from it: an object is made
//! and initialised without tuple and dict. Whether it is used is decided in `class`.
//!
//! Invariant: a slot is set once for each class; CPython would take the last.

use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{Borrowed, ffi};

use super::{Answer, Spec, conjure, vector_args};
use crate::args::Args;
use crate::class::{Native, Ref, raw_new};
use crate::depth::recursion;
use crate::door;
use crate::own::borrowed;
use crate::send::{Input, Sent};

impl<T: Native> Spec<T> {
    /// `__init__`. For an immutable class also the quick path of a call.
    pub fn init<F>(&mut self, _f: F) -> &mut Self
    where
        F: for<'a, 'py> Fn(&Ref<'py, T>, &Args<'a, 'py>) -> PyResult<()> + Copy,
    {
        unsafe extern "C" fn init<T: Native, F>(
            this: *mut ffi::PyObject,
            args: *mut ffi::PyObject,
            kwargs: *mut ffi::PyObject,
        ) -> c_int
        where
            F: for<'a, 'py> Fn(&Ref<'py, T>, &Args<'a, 'py>) -> PyResult<()> + Copy,
        {
            // SAFETY: an `initproc`: an instance, a tuple, and a dict or null, all alive for the call.
            unsafe {
                door::enter(-1, |py| {
                    with_tuple_args(py, args, kwargs, |args| conjure::<F>()(Ref::from_ptr_ref(&this), args))?;
                    Ok(0)
                })
            }
        }
        unsafe extern "C" fn vectorcall<T: Native, F>(
            kind: *mut ffi::PyObject,
            args: *const *mut ffi::PyObject,
            count: usize,
            names: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject
        where
            F: for<'a, 'py> Fn(&Ref<'py, T>, &Args<'a, 'py>) -> PyResult<()> + Copy,
        {
            // SAFETY: installed on exactly T's type; the arguments follow the vectorcall convention.
            unsafe {
                door::enter(ptr::null_mut(), |py| {
                    let count = ffi::PyVectorcall_NARGS(count) as usize;
                    let this = if T::FREE_LIST > 0 {
                        Ref::<T>::create(py, T::default())?.into_any()
                    } else {
                        raw_new::<T>(py, kind.cast())?
                    };
                    let pointer = this.as_ptr();
                    conjure::<F>()(Ref::from_ptr_ref(&pointer), &vector_args(py, args, count, &names))?;
                    Ok(this.into_ptr())
                })
            }
        }
        self.vectorcall = Some(vectorcall::<T, F>);
        self.slot(ffi::Py_tp_init, init::<T, F> as *mut c_void)
    }

    /// `__repr__`.
    pub fn repr<F, R>(&mut self, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
        R: Answer,
    {
        self.slot(ffi::Py_tp_repr, text::<T, F, R> as *mut c_void)
    }

    /// `__str__`.
    pub fn str<F, R>(&mut self, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
        R: Answer,
    {
        self.slot(ffi::Py_tp_str, text::<T, F, R> as *mut c_void)
    }

    /// `__iter__`.
    pub fn iter<F, R>(&mut self, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
        R: Answer,
    {
        self.slot(ffi::Py_tp_iter, unary::<T, F, R> as *mut c_void)
    }

    /// `__await__`.
    pub fn awaits<F, R>(&mut self, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
        R: Answer,
    {
        self.slot(ffi::Py_am_await, unary::<T, F, R> as *mut c_void)
    }

    /// `__aiter__`.
    pub fn async_iter<F, R>(&mut self, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
        R: Answer,
    {
        self.slot(ffi::Py_am_aiter, unary::<T, F, R> as *mut c_void)
    }

    /// `__anext__`.
    pub fn async_next<F, R>(&mut self, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
        R: Answer,
    {
        self.slot(ffi::Py_am_anext, unary::<T, F, R> as *mut c_void)
    }

    /// `__next__`; StopIteration ends the iteration.
    pub fn next<F, R>(&mut self, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
        R: Answer,
    {
        self.slot(ffi::Py_tp_iternext, unary::<T, F, R> as *mut c_void)
    }

    /// `__hash__`.
    pub fn hash<F>(&mut self, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<isize> + Copy,
    {
        unsafe extern "C" fn call<T: Native, F>(this: *mut ffi::PyObject) -> ffi::Py_hash_t
        where
            F: Fn(&Ref<'_, T>) -> PyResult<isize> + Copy,
        {
            // SAFETY: as in `unary`. -1 means failure to CPython, so a hash of -1 is given as -2, as CPython does.
            unsafe {
                door::enter(-1, |py| {
                    let hash = recursion(py, c"", || conjure::<F>()(Ref::from_ptr_ref(&this)))?;
                    Ok(if hash == -1 { -2 } else { hash })
                })
            }
        }
        self.slot(ffi::Py_tp_hash, call::<T, F> as *mut c_void)
    }

    /// `__len__`.
    pub fn len<F>(&mut self, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<usize> + Copy,
    {
        unsafe extern "C" fn call<T: Native, F>(this: *mut ffi::PyObject) -> ffi::Py_ssize_t
        where
            F: Fn(&Ref<'_, T>) -> PyResult<usize> + Copy,
        {
            // SAFETY: as in `unary`.
            unsafe { door::enter(-1, |_| Ok(conjure::<F>()(Ref::from_ptr_ref(&this))? as ffi::Py_ssize_t)) }
        }
        self.slot(ffi::Py_sq_length, call::<T, F> as *mut c_void)
    }

    /// `__call__`.
    pub fn call<F, R>(&mut self, _f: F) -> &mut Self
    where
        F: for<'a, 'py> Fn(&Ref<'py, T>, &Args<'a, 'py>) -> PyResult<R> + Copy,
        R: Answer,
    {
        unsafe extern "C" fn call<T: Native, F, R>(
            this: *mut ffi::PyObject,
            args: *mut ffi::PyObject,
            kwargs: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject
        where
            F: for<'a, 'py> Fn(&Ref<'py, T>, &Args<'a, 'py>) -> PyResult<R> + Copy,
            R: Answer,
        {
            // SAFETY: a `ternaryfunc`: an instance, a tuple, and a dict or null, all alive for the call.
            unsafe {
                door::enter(ptr::null_mut(), |py| {
                    with_tuple_args(py, args, kwargs, |args| conjure::<F>()(Ref::from_ptr_ref(&this), args))?.answer(py)
                })
            }
        }
        self.slot(ffi::Py_tp_call, call::<T, F, R> as *mut c_void)
    }

    /// Rich comparison; `f` gets the operation and answers None for NotImplemented.
    pub fn compare<F>(&mut self, _f: F) -> &mut Self
    where
        F: for<'py> Fn(&Ref<'py, T>, &Bound<'py, PyAny>, pyo3::basic::CompareOp) -> PyResult<Option<bool>> + Copy,
    {
        unsafe extern "C" fn call<T: Native, F>(
            this: *mut ffi::PyObject,
            other: *mut ffi::PyObject,
            op: c_int,
        ) -> *mut ffi::PyObject
        where
            F: for<'py> Fn(&Ref<'py, T>, &Bound<'py, PyAny>, pyo3::basic::CompareOp) -> PyResult<Option<bool>> + Copy,
        {
            // SAFETY: a `richcmpfunc`: both alive, the first an instance of the class.
            unsafe {
                door::enter(ptr::null_mut(), |py| {
                    let Some(op) = pyo3::basic::CompareOp::from_raw(op) else {
                        return Ok(py.NotImplemented().into_ptr());
                    };
                    let other = Borrowed::from_ptr(py, other);
                    let compared =
                        recursion(py, c" in comparison", || conjure::<F>()(Ref::from_ptr_ref(&this), &other, op))?;
                    match compared {
                        Some(answer) => answer.answer(py),
                        None => Ok(py.NotImplemented().into_ptr()),
                    }
                })
            }
        }
        self.slot(ffi::Py_tp_richcompare, call::<T, F> as *mut c_void)
    }

    /// A hook on setting and deleting attributes. It answers whether the ordinary way is to be taken (the usual case:
    /// the hook only takes notice).
    pub fn on_set_attribute<F>(&mut self, _f: F) -> &mut Self
    where
        F: for<'py> Fn(&Ref<'py, T>, &Bound<'py, PyAny>, Option<&Bound<'py, PyAny>>) -> PyResult<bool> + Copy,
    {
        unsafe extern "C" fn call<T: Native, F>(
            this: *mut ffi::PyObject,
            name: *mut ffi::PyObject,
            value: *mut ffi::PyObject,
        ) -> c_int
        where
            F: for<'py> Fn(&Ref<'py, T>, &Bound<'py, PyAny>, Option<&Bound<'py, PyAny>>) -> PyResult<bool> + Copy,
        {
            // SAFETY: a `setattrofunc`: `this` an instance of the class, `value` null for a deletion.
            unsafe {
                door::enter(-1, |py| {
                    let given = Borrowed::from_ptr_or_opt(py, value);
                    let name_object = Borrowed::from_ptr(py, name);
                    if !conjure::<F>()(Ref::from_ptr_ref(&this), &name_object, given.as_deref())? {
                        return Ok(0);
                    }
                    match ffi::PyObject_GenericSetAttr(this, name, value) {
                        0 => Ok(0),
                        _ => Err(PyErr::fetch(py)),
                    }
                })
            }
        }
        self.slot(ffi::Py_tp_setattro, call::<T, F> as *mut c_void)
    }

    /// Makes instances awaitable iterators in the manner of a generator: `__await__` and `__iter__` answer the object
    /// itself; `send`, `throw`, `close`, iteration and the C-level send all go to `f`.
    pub fn machine<F>(&mut self, _f: F) -> &mut Self
    where
        F: for<'py> Fn(&Ref<'py, T>, Input<'py>) -> PyResult<Sent<'py>> + Copy,
    {
        crate::send::install::<T, F>(self)
    }

    /// `__await__` and `__iter__` that answer the object itself, without a door: nothing can fail.
    pub(crate) fn is_own_iterator(&mut self) {
        unsafe extern "C" fn own(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
            // SAFETY: CPython calls a slot under the GIL with a live object.
            unsafe { ffi::Py_NewRef(this) }
        }
        unsafe extern "C" fn awaited<T: Native>(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
            // SAFETY: CPython calls a slot under the GIL with a live instance of the class that has it.
            unsafe {
                if Ref::<T>::from_ptr_ref(&this).is_awaited() {
                    const TEXT: &std::ffi::CStr = c"coroutine is being awaited already";
                    ffi::PyErr_SetString(ffi::PyExc_RuntimeError, TEXT.as_ptr());
                    return ptr::null_mut();
                }
                ffi::Py_NewRef(this)
            }
        }
        self.slot(ffi::Py_tp_iter, own as *mut c_void);
        self.slot(ffi::Py_am_await, awaited::<T> as *mut c_void);
    }

    pub(crate) fn send_slots(&mut self, send: ffi::sendfunc, next: ffi::iternextfunc) {
        self.slot(ffi::Py_am_send, send as *mut c_void);
        self.slot(ffi::Py_tp_iternext, next as *mut c_void);
    }
}

unsafe extern "C" fn unary<T: Native, F, R>(this: *mut ffi::PyObject) -> *mut ffi::PyObject
where
    F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
    R: Answer,
{
    // SAFETY: CPython calls a slot under the GIL, with an instance of the class that has it.
    unsafe { door::enter(ptr::null_mut(), |py| conjure::<F>()(Ref::from_ptr_ref(&this))?.answer(py)) }
}

/// As `unary`, for what may write the object itself again.
unsafe extern "C" fn text<T: Native, F, R>(this: *mut ffi::PyObject) -> *mut ffi::PyObject
where
    F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
    R: Answer,
{
    // SAFETY: as in `unary`.
    unsafe {
        door::enter(ptr::null_mut(), |py| {
            recursion(py, c" while getting the repr of an object", || conjure::<F>()(Ref::from_ptr_ref(&this)))?
                .answer(py)
        })
    }
}

/// Runs `f` with the arguments of a call that came as tuple and dict.
///
/// # Safety
/// `tuple` is a tuple and `dict` a dict or null, both alive for the call.
unsafe fn with_tuple_args<'py, R>(
    py: Python<'py>,
    tuple: *mut ffi::PyObject,
    dict: *mut ffi::PyObject,
    f: impl FnOnce(&Args<'_, 'py>) -> PyResult<R>,
) -> PyResult<R> {
    // SAFETY: a tuple's items are an array inside it.
    let positional = unsafe {
        let count = ffi::PyTuple_GET_SIZE(tuple) as usize;
        borrowed(py, (&raw const (*tuple.cast::<ffi::PyTupleObject>()).ob_item).cast(), count)
    };
    // SAFETY: the caller vouches for `dict`.
    let dict = unsafe { Borrowed::from_ptr_or_opt(py, dict) };
    match dict.as_ref().map(|d| d.cast::<PyDict>()).transpose()? {
        Some(dict) if !dict.is_empty() => {
            let mut values = positional.to_vec();
            let mut names = Vec::new();
            for (name, value) in dict.iter() {
                names.push(name);
                values.push(value);
            }
            let names = crate::objects::tuple(py, names)?;
            f(&Args::new(py, &values, positional.len(), Some(&names)))
        }
        _ => f(&Args::new(py, positional, positional.len(), None)),
    }
}
