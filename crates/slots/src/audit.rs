//! Audit events (PEP 578): what hooks of `sys.addaudithook` hear of, and may refuse.
//!
//! Called by rooms that make a system call of their own where a method of CPython's would have raised an event; calls
//! `PySys_Audit`, which does nothing while there are no hooks.

use std::ffi::{CStr, c_char, c_int};

use pyo3::prelude::*;

unsafe extern "C" {
    fn PySys_Audit(event: *const c_char, format: *const c_char, ...) -> c_int;
}

/// Tells the hooks of an event with two arguments; the error is what one of them raised.
#[inline]
pub fn audit(event: &CStr, first: &Bound<'_, PyAny>, second: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: C strings, and a format that takes two objects, which live for the call.
    match unsafe { PySys_Audit(event.as_ptr(), c"OO".as_ptr(), first.as_ptr(), second.as_ptr()) } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(first.py())),
    }
}
