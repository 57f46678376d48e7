//! The frame of Python code that runs.
//!
//! Called by rooms that note where something was made (debug mode), and by the call graph; calls `PyEval_GetFrame`.
//!
//! `sys._getframe()` takes for granted that its caller is a frame. Native code may have none: a finalizer that runs while CPython
//! takes a frame down finds one that is not complete on top, and an object made of it is a crash. `PyEval_GetFrame` skips such
//! frames, and returns null where no frame is left.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;

/// The innermost frame of Python code on this thread; None where there is none.
pub fn current_frame(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: under the GIL; the call returns a borrowed reference to a complete frame, or null.
    let frame = unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyEval_GetFrame().cast()) };
    if frame.is_none() {
        // Null with an exception where there was no memory for the frame object.
        drop(PyErr::take(py));
    }
    frame
}

/// The limit of `sys.getrecursionlimit()`.
pub fn recursion_limit(_py: Python<'_>) -> c_int {
    // SAFETY: reads a number; the GIL is held, as the token proves.
    unsafe { ffi::Py_GetRecursionLimit() }
}
