//! Memory that somebody else writes or reads, the kernel for one: [`lent`] and [`written_into`], any object's, [`filled`], a bytes
//! object, [`Filling`], one that is written piece by piece, [`Shown`], which is used again and again, and [`Spare`], a bytes object that
//! is used again when nobody has it any more.
//!
//! Called by transports for large reads, and for writes of what is no bytes object, where a copy would cost as much as the system call.
//!
//! Invariants: a bytes object is seen by nobody before it is written, and has then the length that was written. The memory of a
//! [`Shown`] stays where it is as long as that lives: it holds an export of the bytearray, which Python code cannot give back. A
//! bytes object in a [`Spare`] has one reference, the Spare's.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::slice;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
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

/// Whether an object that was asked for its memory has said by this that it has none of the kind that was asked for.
pub(crate) fn is_refusal(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyBufferError>(py)
}

/// Has `write` write into the memory of any object that lets others write into it as contiguous bytes; None if it does not. What
/// an object's own `__buffer__` raises, unless that is a refusal, is the error.
///
/// `write` gets cells, since Python code has the memory too, and may not run any.
pub fn written_into<R>(object: &Bound<'_, PyAny>, write: impl FnOnce(&[Cell<u8>]) -> R) -> PyResult<Option<R>> {
    let py = object.py();
    let mut view = MaybeUninit::<ffi::Py_buffer>::uninit();
    // SAFETY: a live object; the view is filled where the answer is zero. By the buffer protocol (PEP 3118) its exporter keeps
    // `len` writable bytes at `buf` until it is released, which happens here, under the GIL; that they are contiguous is checked.
    unsafe {
        if ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_WRITABLE) != 0 {
            let error = PyErr::fetch(py);
            return if is_refusal(py, &error) { Ok(None) } else { Err(error) };
        }
        let mut view = view.assume_init();
        let result = if ffi::PyBuffer_IsContiguous(&view, b'C' as std::ffi::c_char) != 0 && view.len > 0 {
            Some(write(slice::from_raw_parts(view.buf.cast::<Cell<u8>>(), view.len as usize)))
        } else {
            None
        };
        ffi::PyBuffer_Release(&mut view);
        Ok(result)
    }
}

/// Has `read` read the memory of any object that shows it as contiguous bytes. What the object says that does not is the error: a
/// BufferError or TypeError as a rule.
///
/// `read` may not run Python code, which has the memory too.
pub fn lent<R>(object: &Bound<'_, PyAny>, read: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    let py = object.py();
    let mut view = MaybeUninit::<ffi::Py_buffer>::uninit();
    // SAFETY: a live object; the view is filled where the answer is zero. By the buffer protocol (PEP 3118) a simple view is of `len`
    // contiguous bytes, which stay at `buf` until it is released. That happens here, with the GIL held from the first to the last: who
    // writes the memory does so under the GIL, and Python code that calls what writes without it has a race with every reader.
    unsafe {
        if ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_SIMPLE) != 0 {
            return Err(PyErr::fetch(py));
        }
        let mut view = view.assume_init();
        let result = read(match view.len {
            0 => &[],
            len => slice::from_raw_parts(view.buf.cast::<u8>().cast_const(), len as usize),
        });
        ffi::PyBuffer_Release(&mut view);
        Ok(result)
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

/// As [`filled`], but what there is beyond the `room` goes to `beyond`, and is copied behind the rest; `fill` answers how much that
/// is, too. For who expects exactly `room` bytes, and is ready for more.
pub fn filled_both<'py, E>(
    py: Python<'py>,
    room: usize,
    beyond: &mut [u8],
    fill: impl for<'a> FnOnce(&'a mut [MaybeUninit<u8>], &mut [u8]) -> Result<(&'a mut [u8], usize), E>,
) -> PyResult<Result<Bound<'py, PyBytes>, E>> {
    let mut filling = Filling::new(py, room)?;
    let count = match filling.fill(py, |memory| fill(memory, beyond)) {
        Ok(count) => count,
        Err(error) => return Ok(Err(error)),
    };
    let first = filling.finish(py)?;
    if count == 0 {
        return Ok(Ok(first));
    }
    let (first, beyond) = (first.as_bytes(), &beyond[..count]);
    let both = PyBytes::new_with(py, first.len() + count, |memory| {
        memory[..first.len()].copy_from_slice(first);
        memory[first.len()..].copy_from_slice(beyond);
        Ok(())
    })?;
    Ok(Ok(both))
}

/// Below this Python's own allocator is as quick; above, so much memory is not kept for nothing.
const WORTH_KEEPING: std::ops::RangeInclusive<usize> = 480..=16 * 1024;

/// A bytes object that has been let go of by all who had it, for the next bytes of about its length: what a loop receives for
/// `data_received` lives for one call as a rule, and the C library's allocator takes as long as that for blocks of 1 KiB.
#[derive(Default)]
pub struct Spare(Cell<Option<Own>>);

impl Spare {
    /// A bytes object of this content.
    pub fn bytes<'py>(&self, py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let size = content.len();
        let Some(spare) = self.0.take() else { return crate::bytes(py, content) };
        let spare = spare.into_bound(py);
        let room = spare.as_ptr().cast::<ffi::PyBytesObject>();
        // SAFETY: an exact bytes object whose only reference is ours (`keep`), so that nobody can see it change; it has room for its
        // old length and a closing zero, the new length is no larger, and its hash is forgotten. Under the GIL.
        unsafe {
            let had = ffi::Py_SIZE(spare.as_ptr()) as usize;
            if !(had / 2..=had).contains(&size) {
                return crate::bytes(py, content);
            }
            (*room).ob_base.ob_size = size as ffi::Py_ssize_t;
            #[allow(deprecated)]
            {
                (*room).ob_shash = -1;
            }
            let memory = ffi::PyBytes_AsString(spare.as_ptr()).cast::<u8>();
            std::ptr::copy_nonoverlapping(content.as_ptr(), memory, size);
            memory.add(size).write(0);
            Ok(spare.cast_into_unchecked())
        }
    }

    /// Takes `bytes` back, if nobody else has it and it is worth it.
    pub fn keep(&self, bytes: Bound<'_, PyBytes>) {
        // SAFETY: a live object; its count is read under the GIL.
        let is_sole = unsafe { ffi::Py_REFCNT(bytes.as_ptr()) == 1 };
        if is_sole && bytes.is_exact_instance_of::<PyBytes>() && WORTH_KEEPING.contains(&bytes.as_bytes().len()) {
            self.0.set(Some(bytes.into_any().into()));
        }
    }
}

/// A bytes object that is written piece by piece; nobody sees it before [`Filling::finish`].
pub struct Filling {
    bytes: Own,
    size: usize,
    written: usize,
}

impl Filling {
    /// Room for `size` bytes, none of them written.
    pub fn new(py: Python<'_>, size: usize) -> PyResult<Filling> {
        // SAFETY: a new object, or null with an exception.
        let bytes = unsafe {
            let raw = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size as ffi::Py_ssize_t);
            Bound::from_owned_ptr_or_err(py, raw)?
        };
        Ok(Filling { bytes: bytes.into(), size, written: 0 })
    }

    /// How many bytes are written.
    #[inline]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Has `fill` write into the room that is left; it answers the part that it has written, from the beginning on, and anything
    /// else. Panics if that part does not begin where the room does.
    pub fn fill<R, E>(
        &mut self,
        py: Python<'_>,
        fill: impl for<'a> FnOnce(&'a mut [MaybeUninit<u8>]) -> Result<(&'a mut [u8], R), E>,
    ) -> Result<R, E> {
        // SAFETY: the object has `size` bytes, of which `written` are initialised; nobody else has a reference to it, so its
        // memory may be written, under the GIL (`py`).
        let room = unsafe {
            let start = ffi::PyBytes_AsString(self.bytes.bind(py).as_ptr()).cast::<MaybeUninit<u8>>();
            slice::from_raw_parts_mut(start.add(self.written), self.size - self.written)
        };
        let start = room.as_ptr();
        let (part, rest) = fill(room)?;
        assert!(part.is_empty() || std::ptr::addr_eq(part.as_ptr(), start), "not the beginning of the room");
        self.written += part.len();
        Ok(rest)
    }

    /// Copies `bytes` into the room that is left; what has no room is not taken.
    pub fn extend(&mut self, py: Python<'_>, bytes: &[u8]) {
        let count = bytes.len().min(self.size - self.written);
        // SAFETY: `count` bytes of memory as in `fill`, and of `bytes`, which is other memory: nobody has seen ours.
        unsafe {
            let start = ffi::PyBytes_AsString(self.bytes.bind(py).as_ptr()).cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.add(self.written), count);
        }
        self.written += count;
    }

    /// The bytes that were written.
    pub fn finish(self, py: Python<'_>) -> PyResult<Bound<'_, PyBytes>> {
        let (size, written) = (self.size, self.written);
        let mut raw = self.bytes.into_bound(py).into_ptr();
        // SAFETY: ours alone until here; shortened to what is initialised. A failed resize has freed it and set the exception.
        unsafe {
            if written < size && _PyBytes_Resize(&mut raw, written as ffi::Py_ssize_t) != 0 {
                return Err(PyErr::fetch(py));
            }
            Ok(Bound::from_owned_ptr(py, raw).cast_into_unchecked())
        }
    }
}
