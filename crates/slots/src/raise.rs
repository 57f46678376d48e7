//! Raising exceptions as Python's statements do, with the context that a traceback shows.
//!
//! Called by rooms that raise an exception object of somebody else's, or raise where asyncio's code is in an `except` clause.
//! CPython gives an error its context where it sets one by class; PyO3's `new_err` comes to that. An exception object that Rust makes, or
//! has kept, is raised by [`raise`]. One that comes back from a call has been raised there, and passes on as it is.

use pyo3::exceptions::{PyBaseException, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::send::settled;

/// Warns of a resource that was not closed; needs no import, so it works while the interpreter shuts down.
pub fn resource_warning(source: &Bound<'_, PyAny>, text: &str) -> PyResult<()> {
    let text = std::ffi::CString::new(text.replace('\0', "\\0").replace('%', "%%"))?;
    // SAFETY: a live object, and a format string without directives.
    match unsafe { ffi::PyErr_ResourceWarning(source.as_ptr(), 1, text.as_ptr()) } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(source.py())),
    }
}

/// `raise value`: the error, with the exception being handled as its context, as a raise statement sets it.
pub fn raise(value: &Bound<'_, PyAny>) -> PyErr {
    let py = value.py();
    if !value.is_instance_of::<PyBaseException>() {
        return match value.cast::<PyType>() {
            Ok(class) if class.is_subclass_of::<PyBaseException>().unwrap_or(false) => match class.call0() {
                Ok(made) => raise(&made),
                Err(error) => error,
            },
            _ => PyTypeError::new_err("exceptions must derive from BaseException"),
        };
    }
    if handled(py).is_none() {
        return PyErr::from_value(value.clone());
    }
    // SAFETY: two live objects, the first the class of the second, an exception.
    unsafe { ffi::PyErr_SetObject(ffi::Py_TYPE(value.as_ptr()).cast(), value.as_ptr()) };
    PyErr::fetch(py)
}

/// `error` as a raise in the `except` clause that caught `context` makes it.
pub fn raised_from(py: Python<'_>, context: PyErr, error: PyErr) -> PyErr {
    let error = error.into_value(py).into_bound(py).into_any();
    excepting(py, context, |_| raise(&error))
}

/// As [`raised_from`], by `raise error from None`: a traceback does not show the context.
pub fn raised_from_none(py: Python<'_>, context: PyErr, error: PyErr) -> PyErr {
    let error = raised_from(py, context, error);
    error.set_cause(py, None);
    error
}

/// The exception that is being handled.
#[inline]
fn handled(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: under the GIL; a new reference, or null.
    unsafe { Bound::from_owned_ptr_or_opt(py, PyErr_GetHandledException()) }.filter(|handled| !handled.is_none())
}

/// Runs `f` as the body of `except BaseException as error`, with the exception that was raised here or in what was called.
pub fn excepting<'py, R>(py: Python<'py>, error: PyErr, f: impl FnOnce(&Bound<'py, PyAny>) -> R) -> R {
    let error = settled(py, error).into_value(py).into_bound(py).into_any();
    handling(&error, || f(&error))
}

unsafe extern "C" {
    fn PyErr_GetHandledException() -> *mut ffi::PyObject;
    fn PyErr_SetHandledException(exception: *mut ffi::PyObject);
}

/// Runs `f` as the body of an `except` clause that caught `error`: `sys.exc_info()` shows it.
pub fn handling<R>(error: &Bound<'_, PyAny>, f: impl FnOnce() -> R) -> R {
    struct Restore(*mut ffi::PyObject);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: what this level handled before, with the reference that was handed out; null for nothing.
            unsafe {
                PyErr_SetHandledException(self.0);
                ffi::Py_XDECREF(self.0);
            }
        }
    }
    // SAFETY: under the GIL; the first function hands a reference out, the second counts its own. What is handed out may be of a level
    // below (a generator has one of its own, as long as it runs), and is not to be put into this one: with nothing in this level, it
    // comes again.
    let _restore = unsafe {
        let mut own = PyErr_GetHandledException();
        PyErr_SetHandledException(std::ptr::null_mut());
        let below = PyErr_GetHandledException();
        if own == below {
            ffi::Py_XDECREF(own);
            own = std::ptr::null_mut();
        }
        ffi::Py_XDECREF(below);
        let restore = Restore(own);
        PyErr_SetHandledException(error.as_ptr());
        restore
    };
    f()
}

/// Writes the exception that is being handled, with its traceback, to `sys.stderr`.
pub fn display_handled(py: Python<'_>) {
    // SAFETY: under the GIL; the call hands a reference out, null or None where nothing is handled.
    let handled = unsafe { Bound::from_owned_ptr_or_opt(py, PyErr_GetHandledException()) };
    if let Some(handled) = handled.filter(|handled| !handled.is_none()) {
        PyErr::from_value(handled).display(py);
    }
}

/// Writes to `sys.stderr`, if there is one; needs no import.
pub fn write_stderr(py: Python<'_>, text: &str) -> PyResult<()> {
    let text = std::ffi::CString::new(text.replace('\0', "\\0"))?;
    // SAFETY: under the GIL; a borrowed reference, kept for the call, and a C string.
    unsafe {
        let Some(stream) = Bound::from_borrowed_ptr_or_opt(py, ffi::PySys_GetObject(c"stderr".as_ptr())) else {
            return Ok(());
        };
        if !stream.is_none() && ffi::PyFile_WriteString(text.as_ptr(), stream.as_ptr()) != 0 {
            return Err(PyErr::fetch(py));
        }
    }
    Ok(())
}
