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

/// A bytes object of what `fill` writes into the memory that it is given, `room` bytes of it; `fill` answers the part that it has
/// written, from the beginning on. Panics if it answers anything else.
pub fn filled<'py, E>(
    py: Python<'py>,
    room: usize,
    fill: impl for<'a> FnOnce(&'a mut [MaybeUninit<u8>]) -> Result<&'a mut [u8], E>,
) -> PyResult<Result<Bound<'py, PyBytes>, E>> {
    // SAFETY: a fresh object of `room` bytes that nobody else has seen, whose content may be written; what is kept of it is
    // the beginning that `fill` could answer as bytes, so it is initialised. A failed resize has freed the object and set
    // the exception.
    unsafe {
        let mut raw = ffi::PyBytes_FromStringAndSize(std::ptr::null(), room as ffi::Py_ssize_t);
        if raw.is_null() {
            return Err(PyErr::fetch(py));
        }
        let start = ffi::PyBytes_AsString(raw).cast::<MaybeUninit<u8>>();
        let written = match fill(slice::from_raw_parts_mut(start, room)) {
            Ok(part) => {
                assert!(part.is_empty() || std::ptr::addr_eq(part.as_ptr(), start), "not the beginning of the memory");
                part.len()
            }
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
