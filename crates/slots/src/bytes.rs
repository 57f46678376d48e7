//! Memory that somebody else writes, the kernel for one: [`filled`], a bytes object, and [`Shown`], which is used again and again.
//!
//! Called by transports for large reads, where a copy would cost as much as the read.
//!
//! Invariants: a bytes object is seen by nobody before it is written, and has then the length that was written. The memory of a
//! [`Shown`] stays where it is as long as that lives: it holds an export of the bytearray, which Python code cannot give back.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::slice;

use pyo3::buffer::PyBuffer;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PySlice};

use crate::own::Own;

/// Memory that is written from here, and shown to Python code which takes what it needs at once.
pub struct Shown {
    pin: PyBuffer<u8>,
    view: Own,
}

impl Shown {
    /// `size` bytes, all zero.
    pub fn new(py: Python<'_>, size: usize) -> PyResult<Shown> {
        let memory = PyByteArray::new_with(py, size, |_| Ok(()))?;
        let view = Own::new(PyMemoryView::from(memory.as_any())?.into_any());
        Ok(Shown { pin: PyBuffer::get(memory.as_any())?, view })
    }

    /// The memory, to be written. It is cells, since Python code may have it too.
    pub fn cells<'a>(&'a self, _py: Python<'a>) -> &'a [Cell<u8>] {
        // SAFETY: the contiguous, writable bytes of a bytearray, which cannot move while `pin` exports them, all of them
        // initialised. Whoever else writes them does so under the GIL, as we do: cells are no more than that.
        unsafe { slice::from_raw_parts(self.pin.buf_ptr().cast::<Cell<u8>>(), self.pin.len_bytes()) }
    }

    /// A memoryview of the first `count` bytes; it shows what is written later, too.
    pub fn first<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyAny>> {
        self.view.bind(py).get_item(PySlice::new(py, 0, count as isize, 1))
    }
}

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
