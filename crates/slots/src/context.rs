//! Entering `contextvars` contexts (PEP 567) by the C API.
//!
//! Called by whatever runs a user's callback; calls CPython's `PyContext_*`.
//!
//! Invariant: every successful enter is paired with an exit, also when the code inside fails or panics.

use pyo3::ffi;
use pyo3::prelude::*;

/// A copy of the current context.
#[inline]
pub fn copy_current(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: answers a new reference or null with an exception.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }
}

struct Exit<'a, 'py>(&'a Bound<'py, PyAny>);

impl Drop for Exit<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the context was entered by `enter` on this thread and everything entered inside has left.
        if unsafe { ffi::PyContext_Exit(self.0.as_ptr()) } != 0 {
            PyErr::fetch(self.0.py()).write_unraisable(self.0.py(), Some(self.0));
        }
    }
}

/// Runs `f` in `context`. Raises what CPython raises if the context is already entered or is no context.
#[inline]
pub fn enter<'py, R>(context: &Bound<'py, PyAny>, f: impl FnOnce() -> R) -> PyResult<R> {
    // SAFETY: the API checks the type of its argument itself.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
        return Err(PyErr::fetch(context.py()));
    }
    let _exit = Exit(context);
    Ok(f())
}

/// Whether `object` is a `contextvars.Context`.
pub fn is_context(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a type check of a live object.
    unsafe { ffi::PyContext_CheckExact(object.as_ptr()) != 0 }
}
