//! What a class's users call by name: methods, class methods, attributes; and the functions of a module.
//!
//! Called by `Class::define` of every room, through [`Spec`], and by `add` of rooms for functions; calls what it was given, through
//! [`crate::door`].
//!
//! Each method has a trampoline of its own: a C function that is generic over the type of what it calls. The four ways to
//! take arguments are CPython's: none, one object, a vector with names (parsed by a `Signature`), a vector after the class.
//! A method of one argument that may be given by name takes the vector too, and looks for names only if there are any.
//!
//! Invariant: what is pushed here points to data that lives for ever: names and texts are `'static`, the tables are leaked by
//! `Spec::make`, a function's definition by [`add_function`].

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyModule, PyType};
use pyo3::{Borrowed, ffi};

use super::{Answer, Spec, conjure, vector_args};
use crate::args::{Args, Signature, arg};
use crate::class::{Native, Ref};
use crate::door;

impl<T: Native> Spec<T> {
    /// A method without arguments.
    pub fn method0<F, R>(&mut self, name: &'static CStr, doc: &'static CStr, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
        R: Answer,
    {
        unsafe extern "C" fn call<T: Native, F, R>(
            this: *mut ffi::PyObject,
            _: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject
        where
            F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
            R: Answer,
        {
            // SAFETY: CPython calls a method under the GIL, with an instance of the class that has it.
            unsafe { door::enter(ptr::null_mut(), |py| conjure::<F>()(Ref::from_ptr_ref(&this))?.answer(py)) }
        }
        self.add_method(name, doc, ffi::PyMethodDefPointer { PyCFunction: call::<T, F, R> }, ffi::METH_NOARGS)
    }

    /// A method with exactly one positional argument.
    pub fn method1<F, R>(&mut self, name: &'static CStr, doc: &'static CStr, _f: F) -> &mut Self
    where
        F: for<'py> Fn(&Ref<'py, T>, &Bound<'py, PyAny>) -> PyResult<R> + Copy,
        R: Answer,
    {
        unsafe extern "C" fn call<T: Native, F, R>(
            this: *mut ffi::PyObject,
            arg: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject
        where
            F: for<'py> Fn(&Ref<'py, T>, &Bound<'py, PyAny>) -> PyResult<R> + Copy,
            R: Answer,
        {
            // SAFETY: as in `method0`; `arg` is alive for the call.
            unsafe {
                door::enter(ptr::null_mut(), |py| {
                    conjure::<F>()(Ref::from_ptr_ref(&this), &Borrowed::from_ptr(py, arg))?.answer(py)
                })
            }
        }
        self.add_method(name, doc, ffi::PyMethodDefPointer { PyCFunction: call::<T, F, R> }, ffi::METH_O)
    }

    /// A method with one argument, which may also be given by name; `named` answers the method's qualified name, for error
    /// texts, and the argument's.
    pub fn method1_named<F, N, R>(&mut self, name: &'static CStr, doc: &'static CStr, _named: N, _f: F) -> &mut Self
    where
        F: for<'py> Fn(&Ref<'py, T>, &Bound<'py, PyAny>) -> PyResult<R> + Copy,
        N: Fn() -> (&'static str, &'static str) + Copy,
        R: Answer,
    {
        self.method(name, doc, |this, args| {
            if let ([value], false) = (args.positional(), args.has_keywords()) {
                return conjure::<F>()(this, value);
            }
            let (method, argument) = conjure::<N>()();
            match args.parse(&Signature::method(method, [arg(argument)]))? {
                [Some(value)] => conjure::<F>()(this, value),
                [None] => Err(PyTypeError::new_err("an argument is missing")),
            }
        })
    }

    /// A method with any arguments; it parses them by a `Signature`.
    pub fn method<F, R>(&mut self, name: &'static CStr, doc: &'static CStr, _f: F) -> &mut Self
    where
        F: for<'a, 'py> Fn(&Ref<'py, T>, &Args<'a, 'py>) -> PyResult<R> + Copy,
        R: Answer,
    {
        unsafe extern "C" fn call<T: Native, F, R>(
            this: *mut ffi::PyObject,
            args: *const *mut ffi::PyObject,
            count: ffi::Py_ssize_t,
            names: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject
        where
            F: for<'a, 'py> Fn(&Ref<'py, T>, &Args<'a, 'py>) -> PyResult<R> + Copy,
            R: Answer,
        {
            // SAFETY: as in `method0`; the arguments follow the vectorcall convention.
            unsafe {
                door::enter(ptr::null_mut(), |py| {
                    conjure::<F>()(Ref::from_ptr_ref(&this), &vector_args(py, args, count as usize, &names))?.answer(py)
                })
            }
        }
        self.add_method(
            name,
            doc,
            ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: call::<T, F, R> },
            ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        )
    }

    /// A class method with any arguments.
    pub fn class_method<F, R>(&mut self, name: &'static CStr, doc: &'static CStr, _f: F) -> &mut Self
    where
        F: for<'a, 'py> Fn(&Bound<'py, PyType>, &Args<'a, 'py>) -> PyResult<R> + Copy,
        R: Answer,
    {
        unsafe extern "C" fn call<F, R>(
            this: *mut ffi::PyObject,
            args: *const *mut ffi::PyObject,
            count: ffi::Py_ssize_t,
            names: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject
        where
            F: for<'a, 'py> Fn(&Bound<'py, PyType>, &Args<'a, 'py>) -> PyResult<R> + Copy,
            R: Answer,
        {
            // SAFETY: CPython calls a class method under the GIL with a type object first.
            unsafe {
                door::enter(ptr::null_mut(), |py| {
                    let class = Borrowed::from_ptr(py, this).cast_unchecked::<PyType>();
                    conjure::<F>()(&class, &vector_args(py, args, count as usize, &names))?.answer(py)
                })
            }
        }
        self.add_method(
            name,
            doc,
            ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: call::<F, R> },
            ffi::METH_FASTCALL | ffi::METH_KEYWORDS | ffi::METH_CLASS,
        )
    }

    /// `__class_getitem__`, answering a `types.GenericAlias`.
    pub fn generic(&mut self) -> &mut Self {
        unsafe extern "C" fn call(class: *mut ffi::PyObject, item: *mut ffi::PyObject) -> *mut ffi::PyObject {
            // SAFETY: a class method's arguments, both alive.
            unsafe { ffi::Py_GenericAlias(class, item) }
        }
        self.add_method(
            c"__class_getitem__",
            c"See PEP 585.",
            ffi::PyMethodDefPointer { PyCFunction: call },
            ffi::METH_O | ffi::METH_CLASS,
        )
    }

    /// A read-only attribute.
    pub fn get<F, R>(&mut self, name: &'static CStr, doc: &'static CStr, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
        R: Answer,
    {
        self.attributes.push(ffi::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(getter::<T, F, R>),
            set: None,
            doc: doc.as_ptr(),
            closure: ptr::null_mut(),
        });
        self
    }

    /// An attribute that can be set; `set` gets None when it is deleted.
    pub fn get_set<F, R, S>(&mut self, name: &'static CStr, doc: &'static CStr, _get: F, _set: S) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
        R: Answer,
        S: for<'py> Fn(&Ref<'py, T>, Option<&Bound<'py, PyAny>>) -> PyResult<()> + Copy,
    {
        unsafe extern "C" fn set<T: Native, S>(
            this: *mut ffi::PyObject,
            value: *mut ffi::PyObject,
            _: *mut c_void,
        ) -> c_int
        where
            S: for<'py> Fn(&Ref<'py, T>, Option<&Bound<'py, PyAny>>) -> PyResult<()> + Copy,
        {
            // SAFETY: as in `method0`; `value` is alive for the call, or null for a deletion.
            unsafe {
                door::enter(-1, |py| {
                    let value = Borrowed::from_ptr_or_opt(py, value);
                    conjure::<S>()(Ref::from_ptr_ref(&this), value.as_deref())?;
                    Ok(0)
                })
            }
        }
        self.attributes.push(ffi::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(getter::<T, F, R>),
            set: Some(set::<T, S>),
            doc: doc.as_ptr(),
            closure: ptr::null_mut(),
        });
        self
    }
}

unsafe extern "C" fn getter<T: Native, F, R>(this: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject
where
    F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
    R: Answer,
{
    // SAFETY: CPython calls a getter under the GIL, with an instance of the class that has it.
    unsafe { door::enter(ptr::null_mut(), |py| conjure::<F>()(Ref::from_ptr_ref(&this))?.answer(py)) }
}

/// Adds a module function that parses its own arguments.
pub fn add_function<F, R>(module: &Bound<'_, PyModule>, name: &'static CStr, doc: &'static CStr, _f: F) -> PyResult<()>
where
    F: for<'a, 'py> Fn(Python<'py>, &Args<'a, 'py>) -> PyResult<R> + Copy,
    R: Answer,
{
    unsafe extern "C" fn call<F, R>(
        _: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject
    where
        F: for<'a, 'py> Fn(Python<'py>, &Args<'a, 'py>) -> PyResult<R> + Copy,
        R: Answer,
    {
        // SAFETY: CPython calls a function under the GIL; the arguments follow the vectorcall convention.
        unsafe {
            door::enter(ptr::null_mut(), |py| {
                conjure::<F>()(py, &vector_args(py, args, count as usize, &names))?.answer(py)
            })
        }
    }
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: call::<F, R> },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr().cast::<c_char>(),
    }));
    let py = module.py();
    let home = module.name()?;
    // SAFETY: the definition lives for ever; a null `self` is allowed; the third argument is the module's name.
    let function = unsafe {
        Bound::from_owned_ptr_or_err(py, ffi::PyCFunction_NewEx(definition, ptr::null_mut(), home.as_ptr()))?
            .cast_into_unchecked::<PyCFunction>()
    };
    module.add(name.to_str().map_err(|e| PyAttributeError::new_err(e.to_string()))?, function)
}
