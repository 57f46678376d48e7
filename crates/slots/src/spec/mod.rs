//! [`Spec`]: the methods, attributes and slots of a native class, and the trampolines behind them.
//!
//! Called by `Class::define` of every room, and by `class`, which makes the type of it; calls the room's functions through
//! [`crate::door`].
//!
//! - `methods`: methods, attributes, functions of a module.
//! - `special`: what Python itself calls: the slots of a type.
//!
//! A room passes plain functions (or closures that capture nothing). Each gets a C function of its own, generic over the
//! function's type, so a call costs no table and no pointer: the type has no size, and the trampoline makes a value of
//! it from nothing. That is sound because a value of that very type was handed to `Spec`, so the type is inhabited, and
//! because it is `Copy`, so a second value is no theft.
//!
//! The tables that CPython keeps pointers to are leaked once per class: type objects live as long as the process.

mod methods;
mod special;

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::args::Args;
use crate::class::{Native, Object};
use crate::objects;
use crate::own::{Own, borrowed};

pub use self::methods::add_function;

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
    ($($kind:ty: |$py:ident, $value:ident| $made:expr;)*) => {$(
        impl Answer for $kind {
            fn answer(self, $py: Python<'_>) -> PyResult<*mut ffi::PyObject> {
                let $value = self;
                Ok($made?.into_ptr())
            }
        }
    )*};
}
answer_by_conversion! {
    f64: |py, value| objects::float(py, value);
    i32: |py, value| objects::int(py, value.into());
    i64: |py, value| objects::int(py, value);
    u32: |py, value| objects::unsigned(py, value.into());
    u64: |py, value| objects::unsigned(py, value);
    usize: |py, value| objects::unsigned(py, value as u64);
    String: |py, value| objects::text(py, &value);
    &'static str: |py, value| objects::text(py, value);
}

/// A value of a type without size, of which `Spec` was given one.
#[inline]
fn conjure<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0, "a native function must not capture anything") };
    // SAFETY: a value without size has no bytes to read; inhabited and duplicable as the module header argues: every caller is a
    // trampoline instantiated by a function that received a value of `F`.
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
            if T::WEAK && !T::BARE {
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

pub(crate) fn conjured<F: Copy>() -> F {
    conjure::<F>()
}
