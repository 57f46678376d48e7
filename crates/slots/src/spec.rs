//! [`Spec`]: the methods, attributes and slots of a native class, and the trampolines behind them.
//!
//! Called by `Class::define` of every room; calls the room's functions through [`crate::door`].
//!
//! A room passes plain functions (or closures that capture nothing). Each gets a C function of its own, generic over the
//! function's type, so a call costs no table and no pointer: the type has no size, and the trampoline makes a value of
//! it from nothing. That is sound because a value of that very type was handed to `Spec`, so the type is inhabited, and
//! because it is `Copy`, so a second value is no theft.
//!
//! The tables that CPython keeps pointers to are leaked once per class: type objects live as long as the process.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyModule, PyType};
use pyo3::{Borrowed, ffi};

use crate::args::{Args, Signature, arg};
use crate::class::{Native, Object, Ref, raw_new};
use crate::door;
use crate::own::{Own, borrowed};
use crate::send::{Input, Sent};

/// What a native function may answer.
pub trait Answer {
    /// A new reference to the Python object for it.
    fn answer(self, py: Python<'_>) -> PyResult<*mut ffi::PyObject>;
}

impl Answer for Own {
    #[inline]
    fn answer(self, py: Python<'_>) -> PyResult<*mut ffi::PyObject> {
        Ok(self.into_bound(py).into_ptr())
    }
}

impl Answer for () {
    #[inline]
    fn answer(self, py: Python<'_>) -> PyResult<*mut ffi::PyObject> {
        Ok(py.None().into_ptr())
    }
}

impl Answer for bool {
    #[inline]
    fn answer(self, py: Python<'_>) -> PyResult<*mut ffi::PyObject> {
        Ok(pyo3::types::PyBool::new(py, self).to_owned().into_ptr())
    }
}

impl<A: Answer> Answer for Option<A> {
    #[inline]
    fn answer(self, py: Python<'_>) -> PyResult<*mut ffi::PyObject> {
        match self {
            Some(answer) => answer.answer(py),
            None => ().answer(py),
        }
    }
}

macro_rules! answer_by_conversion {
    ($($kind:ty),*) => {$(
        impl Answer for $kind {
            fn answer(self, py: Python<'_>) -> PyResult<*mut ffi::PyObject> {
                Ok(self.into_pyobject(py)?.into_any().into_ptr())
            }
        }
    )*};
}
answer_by_conversion!(f64, i32, i64, u32, u64, usize, String, &'static str);

/// A value of a type without size, of which `Spec` was given one.
#[inline]
fn conjure<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0, "a native function must not capture anything") };
    // SAFETY: a value without size has no bytes to read; inhabited and duplicable as the module header argues: every caller is a
    // trampoline instantiated by a method below that received a value of `F`.
    unsafe { NonNull::<F>::dangling().read() }
}

/// The growing description of a class.
pub struct Spec<T> {
    methods: Vec<ffi::PyMethodDef>,
    attributes: Vec<ffi::PyGetSetDef>,
    slots: Vec<ffi::PyType_Slot>,
    vectorcall: Option<ffi::vectorcallfunc>,
    class: PhantomData<T>,
}

impl<T: Native> Spec<T> {
    pub(crate) fn new() -> Self {
        Spec { methods: Vec::new(), attributes: Vec::new(), slots: Vec::new(), vectorcall: None, class: PhantomData }
    }

    fn slot(&mut self, slot: c_int, function: *mut c_void) -> &mut Self {
        self.slots.push(ffi::PyType_Slot { slot, pfunc: function });
        self
    }

    fn add_method(
        &mut self,
        name: &'static CStr,
        doc: &'static CStr,
        meth: ffi::PyMethodDefPointer,
        flags: c_int,
    ) -> &mut Self {
        self.methods.push(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: meth,
            ml_flags: flags,
            ml_doc: doc.as_ptr(),
        });
        self
    }

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
        self.slot(ffi::Py_tp_repr, unary::<T, F, R> as *mut c_void)
    }

    /// `__str__`.
    pub fn str<F, R>(&mut self, _f: F) -> &mut Self
    where
        F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
        R: Answer,
    {
        self.slot(ffi::Py_tp_str, unary::<T, F, R> as *mut c_void)
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
            // SAFETY: as in `method0`. -1 means failure to CPython, so a hash of -1 is given as -2, as CPython does.
            unsafe {
                door::enter(-1, |_| conjure::<F>()(Ref::from_ptr_ref(&this)).map(|h| if h == -1 { -2 } else { h }))
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
            // SAFETY: as in `method0`.
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
                    match conjure::<F>()(Ref::from_ptr_ref(&this), &Borrowed::from_ptr(py, other), op)? {
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
        self.slot(ffi::Py_tp_iter, own as *mut c_void);
        self.slot(ffi::Py_am_await, own as *mut c_void);
    }

    pub(crate) fn send_slots(&mut self, send: ffi::sendfunc, next: ffi::iternextfunc) {
        self.slot(ffi::Py_am_send, send as *mut c_void);
        self.slot(ffi::Py_tp_iternext, next as *mut c_void);
    }

    pub(crate) fn has_init(&self) -> bool {
        self.vectorcall.is_some()
    }

    pub(crate) fn vectorcall(&self) -> ffi::vectorcallfunc {
        self.vectorcall.unwrap_or_else(|| unreachable!("asked for without an init"))
    }

    pub(crate) fn lifecycle(
        &mut self,
        traverse: ffi::traverseproc,
        clear: ffi::inquiry,
        dealloc: ffi::destructor,
        finalize: Option<ffi::destructor>,
        new: ffi::newfunc,
    ) {
        self.slot(ffi::Py_tp_traverse, traverse as *mut c_void);
        self.slot(ffi::Py_tp_clear, clear as *mut c_void);
        self.slot(ffi::Py_tp_dealloc, dealloc as *mut c_void);
        if let Some(finalize) = finalize {
            self.slot(ffi::Py_tp_finalize, finalize as *mut c_void);
        }
        if T::CALLABLE {
            self.slot(ffi::Py_tp_new, new as *mut c_void);
        }
    }

    pub(crate) fn make(
        &mut self,
        py: Python<'_>,
        base: Option<Bound<'_, PyType>>,
        size: c_int,
        flags: c_uint,
    ) -> PyResult<*mut ffi::PyTypeObject> {
        let mut members = Vec::new();
        let mut member = |name: &'static CStr, offset: usize| {
            members.push(ffi::PyMemberDef {
                name: name.as_ptr(),
                type_code: ffi::Py_T_PYSSIZET,
                offset: offset as ffi::Py_ssize_t,
                flags: ffi::Py_READONLY,
                doc: ptr::null(),
            });
        };
        if base.is_none() {
            if T::DICT {
                member(c"__dictoffset__", Object::<T>::DICT);
            }
            if T::WEAK {
                member(c"__weaklistoffset__", Object::<T>::WEAK);
            }
        }
        if T::DICT && base.is_none() {
            self.attributes.push(ffi::PyGetSetDef {
                name: c"__dict__".as_ptr(),
                get: Some(ffi::PyObject_GenericGetDict),
                set: Some(ffi::PyObject_GenericSetDict),
                doc: ptr::null(),
                closure: ptr::null_mut(),
            });
        }
        members.push(ffi::PyMemberDef::default());
        self.methods.push(ffi::PyMethodDef::zeroed());
        self.attributes.push(ffi::PyGetSetDef::default());
        let members = Vec::leak(members).as_mut_ptr();
        let methods = Vec::leak(std::mem::take(&mut self.methods)).as_mut_ptr();
        let attributes = Vec::leak(std::mem::take(&mut self.attributes)).as_mut_ptr();
        self.slot(ffi::Py_tp_members, members.cast());
        self.slot(ffi::Py_tp_methods, methods.cast());
        self.slot(ffi::Py_tp_getset, attributes.cast());
        if !T::DOC.is_empty() {
            self.slot(ffi::Py_tp_doc, T::DOC.as_ptr() as *mut c_void);
        }
        self.slot(0, ptr::null_mut());
        let mut spec = ffi::PyType_Spec {
            name: T::NAME.as_ptr(),
            basicsize: size,
            itemsize: 0,
            flags,
            slots: self.slots.as_mut_ptr(),
        };
        let bases = base.map_or(ptr::null_mut(), Bound::into_ptr);
        // SAFETY: the spec and what it points to are complete and null-terminated; CPython copies the slots and keeps
        // pointers only to the leaked tables. The reference to the base is given up on purpose: types live for ever.
        unsafe {
            let kind = ffi::PyType_FromSpecWithBases(&mut spec, bases);
            if kind.is_null() { Err(PyErr::fetch(py)) } else { Ok(kind.cast()) }
        }
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

unsafe extern "C" fn unary<T: Native, F, R>(this: *mut ffi::PyObject) -> *mut ffi::PyObject
where
    F: Fn(&Ref<'_, T>) -> PyResult<R> + Copy,
    R: Answer,
{
    // SAFETY: CPython calls a slot under the GIL, with an instance of the class that has it.
    unsafe { door::enter(ptr::null_mut(), |py| conjure::<F>()(Ref::from_ptr_ref(&this))?.answer(py)) }
}

/// # Safety
/// The arguments follow the vectorcall convention and stay alive for 'a; `names` is a place that holds the tuple or null.
#[inline]
pub(crate) unsafe fn vector_args<'a, 'py>(
    py: Python<'py>,
    args: *const *mut ffi::PyObject,
    count: usize,
    names: &'a *mut ffi::PyObject,
) -> Args<'a, 'py> {
    // SAFETY: by the convention `args` holds `count` values and one more for each name.
    unsafe {
        if names.is_null() {
            return Args::new(py, borrowed(py, args, count), count, None);
        }
        let total = count + ffi::PyTuple_GET_SIZE(*names) as usize;
        Args::new(py, borrowed(py, args, total), count, Some(Bound::ref_from_ptr(py, names).cast_unchecked()))
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
            values.extend(dict.values());
            let names = dict.keys().to_tuple();
            f(&Args::new(py, &values, positional.len(), Some(&names)))
        }
        _ => f(&Args::new(py, positional, positional.len(), None)),
    }
}

pub(crate) fn conjured<F: Copy>() -> F {
    conjure::<F>()
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
