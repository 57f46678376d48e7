//! Making Python objects so that no memory is an error: each function here returns `Err(MemoryError)` where PyO3's panics.
//!
//! Called by every layer above in place of `PyDict::new`, `PyList::empty`, `PyTuple::new`, `PyBytes::new`, `PyString::new` and
//! `pyo3::intern!`; calls CPython's constructors.
//!
//! PyO3 reports the MemoryError to `sys.unraisablehook` and then panics. `door` turns that panic into a second MemoryError, so
//! nothing breaks, but one error is reported twice, and a panic skips the rest of a function that has begun to change a state.
//!
//! A [`Name`] is looked up once for each place that [`intern!`](crate::intern) stands in. It is made at the first use, which is what
//! may fail, and it becomes a str only where PyO3 takes it (`getattr`, `call_method1`, ...), which returns the error.
//!
//! Invariant: a made name is never freed, and belongs to the main interpreter.

use std::cell::Cell;
use std::ptr;

use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use pyo3::{Borrowed, BoundObject, ffi};

/// An empty dict.
#[inline]
pub fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: the GIL is held, as `py` proves; the function returns a new dict, or null with an exception.
    unsafe { Ok(Bound::from_owned_ptr_or_err(py, ffi::PyDict_New())?.cast_into_unchecked()) }
}

/// An empty list.
#[inline]
pub fn list(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    // SAFETY: the GIL is held, as `py` proves; the function returns a new list, or null with an exception.
    unsafe { Ok(Bound::from_owned_ptr_or_err(py, ffi::PyList_New(0))?.cast_into_unchecked()) }
}

/// A list of `items`.
pub fn list_of<'py, T, I>(
    py: Python<'py>,
    items: impl IntoIterator<Item = T, IntoIter = I>,
) -> PyResult<Bound<'py, PyList>>
where
    T: IntoPyObject<'py>,
    I: ExactSizeIterator<Item = T>,
{
    let items = items.into_iter();
    // SAFETY: a new list, or null with an exception; `fill` writes each of its places once.
    unsafe {
        let count = items.len();
        let list = Bound::from_owned_ptr_or_err(py, ffi::PyList_New(count as ffi::Py_ssize_t))?;
        fill(py, items, count, |place, item| ffi::PyList_SET_ITEM(list.as_ptr(), place, item))?;
        Ok(list.cast_into_unchecked())
    }
}

/// A tuple of `items`.
pub fn tuple<'py, T, I>(
    py: Python<'py>,
    items: impl IntoIterator<Item = T, IntoIter = I>,
) -> PyResult<Bound<'py, PyTuple>>
where
    T: IntoPyObject<'py>,
    I: ExactSizeIterator<Item = T>,
{
    let items = items.into_iter();
    // SAFETY: a new tuple, or null with an exception; `fill` writes each of its places once.
    unsafe {
        let count = items.len();
        let tuple = Bound::from_owned_ptr_or_err(py, ffi::PyTuple_New(count as ffi::Py_ssize_t))?;
        fill(py, items, count, |place, item| ffi::PyTuple_SET_ITEM(tuple.as_ptr(), place, item))?;
        Ok(tuple.cast_into_unchecked())
    }
}

/// Makes objects of `items` and gives each to `put` with its place, from 0 on; an error unless they are `count`.
#[inline(always)]
fn fill<'py, T: IntoPyObject<'py>>(
    py: Python<'py>,
    items: impl Iterator<Item = T>,
    count: usize,
    put: impl Fn(ffi::Py_ssize_t, *mut ffi::PyObject),
) -> PyResult<()> {
    let mut filled = 0;
    for item in items.take(count) {
        put(filled, item.into_pyobject(py).map_err(Into::into)?.into_bound().into_ptr());
        filled += 1;
    }
    if filled as usize == count {
        Ok(())
    } else {
        Err(PySystemError::new_err("an iterator gave less than it promised"))
    }
}

/// The items of an iterable. PyO3's iterator, collected, is asked for its length first, and reports it where that fails.
pub fn items<'py>(iterable: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut all = Vec::new();
    for item in iterable.try_iter()? {
        all.push(item?);
    }
    Ok(all)
}

/// A bytes object with a copy of `content`.
#[inline]
pub fn bytes<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let (start, size) = (content.as_ptr().cast(), content.len() as ffi::Py_ssize_t);
    // SAFETY: the GIL is held; the memory is `content`'s. The function returns bytes, or null with an exception.
    unsafe { Ok(Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(start, size))?.cast_into_unchecked()) }
}

/// A str.
#[inline]
pub fn text<'py>(py: Python<'py>, content: &str) -> PyResult<Bound<'py, PyString>> {
    let (start, size) = (content.as_ptr().cast(), content.len() as ffi::Py_ssize_t);
    // SAFETY: the GIL is held; the memory is `content`'s, valid UTF-8. The function returns a str, or null with an exception.
    unsafe {
        Ok(Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_FromStringAndSize(start, size))?.cast_into_unchecked())
    }
}

/// A Rust string that becomes a str where PyO3 takes one (`getattr`, `set_item`, ...), which returns the error of making it.
pub struct Text<T>(pub T);

impl<'py, T: AsRef<str>> IntoPyObject<'py> for Text<T> {
    type Target = PyString;
    type Output = Bound<'py, PyString>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        text(py, self.0.as_ref())
    }
}

/// A float.
pub fn float(py: Python<'_>, value: f64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the GIL is held, as `py` proves; the function returns a new float, or null with an exception.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyFloat_FromDouble(value)) }
}

/// An int.
pub fn int(py: Python<'_>, value: i64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: as in `float`.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyLong_FromLongLong(value)) }
}

/// An int that is not negative.
pub fn unsigned(py: Python<'_>, value: u64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: as in `float`.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyLong_FromUnsignedLongLong(value)) }
}

/// A str of which there is one for all equal ones.
pub fn interned<'py>(py: Python<'py>, content: &str) -> PyResult<Bound<'py, PyString>> {
    let mut raw = text(py, content)?.into_ptr();
    // SAFETY: the function takes over the reference in `raw` and leaves one there: to the known str, or to this one.
    unsafe {
        ffi::PyUnicode_InternInPlace(&mut raw);
        Ok(Bound::from_owned_ptr_or_err(py, raw)?.cast_into_unchecked())
    }
}

/// A name in the program's text, as [`intern!`](crate::intern) keeps it.
pub struct Interned {
    text: &'static str,
    object: Cell<*mut ffi::PyObject>,
}

// SAFETY: every access is made under the GIL; the module refuses free-threaded interpreters and sub-interpreters.
unsafe impl Sync for Interned {}

impl Interned {
    /// A name that is not made yet.
    pub const fn new(text: &'static str) -> Interned {
        Interned { text, object: Cell::new(ptr::null_mut()) }
    }

    /// The name, for a call of PyO3.
    #[inline]
    pub fn name<'py>(&'static self, py: Python<'py>) -> Name<'py> {
        Name(self, py)
    }

    #[cold]
    fn make(&self, py: Python<'_>) -> PyResult<()> {
        let made = interned(py, self.text)?;
        // Making it may have run a collection, and that this very place.
        if self.object.get().is_null() {
            self.object.set(made.into_ptr());
        }
        Ok(())
    }
}

/// What [`intern!`](crate::intern) stands for: a str where one is taken, or the error of making it.
#[derive(Clone, Copy)]
pub struct Name<'py>(&'static Interned, Python<'py>);

impl<'py> Name<'py> {
    /// The str itself.
    #[inline]
    pub fn object(self) -> PyResult<&'py Bound<'py, PyString>> {
        if self.0.object.get().is_null() {
            self.0.make(self.1)?;
        }
        // SAFETY: the place holds a reference to a str, for ever from here on; `Bound` is a transparent non-null object pointer.
        unsafe { Ok(&*self.0.object.as_ptr().cast::<Bound<'py, PyString>>()) }
    }
}

impl<'py> IntoPyObject<'py> for Name<'py> {
    type Target = PyString;
    type Output = Borrowed<'py, 'py, PyString>;
    type Error = PyErr;

    #[inline]
    fn into_pyobject(self, _: Python<'py>) -> PyResult<Self::Output> {
        self.object().map(Bound::as_borrowed)
    }
}

/// The name `$text` as a str that is made once: a [`Name`].
#[macro_export]
macro_rules! intern {
    ($py:expr, $text:expr) => {{
        static NAME: $crate::Interned = $crate::Interned::new($text);
        NAME.name($py)
    }};
}
