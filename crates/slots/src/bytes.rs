//! [`filled`]: a bytes object whose content somebody else writes, the kernel for one.
//!
//! Called by transports for large reads, where a copy would cost as much as the read.
//!
//! Invariant: the object is seen by nobody before it is written, and has then the length that was written.

use std::mem::MaybeUninit;
use std::slice;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

unsafe extern "C" {
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}

/// A bytes object of what `fill` writes into the memory that it is given, `room` bytes of it; `fill` answers how many bytes it
/// has written, from the beginning on.
pub fn filled<'py, E>(
    py: Python<'py>,
    room: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, E>,
) -> PyResult<Result<Bound<'py, PyBytes>, E>> {
    // SAFETY: a fresh object of `room` bytes that nobody else has seen, whose content may be written; what is kept of it is
    // what `fill` says it has written. A failed resize has freed the object and set the exception.
    unsafe {
        let mut raw = ffi::PyBytes_FromStringAndSize(std::ptr::null(), room as ffi::Py_ssize_t);
        if raw.is_null() {
            return Err(PyErr::fetch(py));
        }
        let memory = slice::from_raw_parts_mut(ffi::PyBytes_AsString(raw).cast::<MaybeUninit<u8>>(), room);
        let written = match fill(memory) {
            Ok(written) => written.min(room),
            Err(error) => {
                ffi::Py_DECREF(raw);
                return Ok(Err(error));
            }
        };
        if written < room && _PyBytes_Resize(&mut raw, written as ffi::Py_ssize_t) != 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(Ok(Bound::from_owned_ptr(py, raw).cast_into_unchecked()))
    }
}
