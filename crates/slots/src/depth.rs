//! How deep native code may nest: RecursionError before the C stack ends.
//!
//! Called by `send` for machines that resume machines, by `kind` for reprs in reprs, and by `spec` for each native repr, hash and
//! comparison: the values that these look at are the program's, and may be the very object.
//!
//! What is written in Python nests on the heap and is counted against `sys.getrecursionlimit()`. Native code nests on the C
//! stack. CPython 3.11 counts that against the same limit; what 3.12 and 3.13 count has nothing to do with the stack, and 3.14
//! looks at the stack alone. So this counts too from 3.12 on, and looks at the stack.
//!
//! Invariant: what is counted on the way in is counted back on every way out.

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::prelude::*;

/// Runs `f` one level deeper in the interpreter's recursion count; RecursionError with `place` in its text at the limit.
#[inline]
pub fn recursion<R>(py: Python<'_>, place: &CStr, f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            // SAFETY: pairs with the successful enter below.
            unsafe { ffi::Py_LeaveRecursiveCall() }
        }
    }
    // SAFETY: the GIL is held, as `py` proves; a C string.
    if unsafe { ffi::Py_EnterRecursiveCall(place.as_ptr()) } != 0 {
        return Err(PyErr::fetch(py));
    }
    let _leave = Leave;
    f()
}

/// Where native code nests, as error texts call it.
pub(crate) const AWAITING: &CStr = c" while awaiting";
pub(crate) const COMPARING: &CStr = c" in comparison";
pub(crate) const HASHING: &CStr = c"";
pub(crate) const WRITING: &CStr = c" while getting the repr of an object";

/// Runs `f` one level deeper in native code that calls itself through objects of the program's.
#[inline]
pub(crate) fn deeper<R>(py: Python<'_>, place: &'static CStr, f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    #[cfg(Py_3_12)]
    let _level = level::Level::enter(place)?;
    recursion(py, place, f)
}

#[cfg(Py_3_12)]
mod level {
    use std::cell::Cell;

    use pyo3::exceptions::PyRecursionError;

    use super::*;

    /// Levels that need no look at the stack: every thread has room for so many.
    const SAFE: u32 = 64;

    /// What must be left of the stack, in bytes, for the level itself and for whatever it calls.
    const RESERVE: usize = 96 * 1024;

    thread_local! {
        static LEVELS: Cell<u32> = const { Cell::new(0) };
        /// The lowest address of this thread's stack; 0 until it was asked for, or where it is not known.
        static FLOOR: Cell<Option<usize>> = const { Cell::new(None) };
    }

    pub(super) struct Level;

    impl Level {
        #[inline]
        pub(super) fn enter(place: &'static CStr) -> PyResult<Level> {
            let levels = LEVELS.get();
            if levels >= SAFE && is_too_deep(levels) {
                return Err(PyRecursionError::new_err(format!(
                    "maximum recursion depth exceeded{}",
                    place.to_str().unwrap_or_default()
                )));
            }
            LEVELS.set(levels + 1);
            Ok(Level)
        }
    }

    impl Drop for Level {
        #[inline]
        fn drop(&mut self) {
            LEVELS.set(LEVELS.get() - 1);
        }
    }

    #[cold]
    fn is_too_deep(levels: u32) -> bool {
        // SAFETY: reads a number of the interpreter's; the GIL is held by whoever resumes a machine.
        let limit = unsafe { ffi::Py_GetRecursionLimit() };
        let floor = FLOOR.get().unwrap_or_else(|| {
            let floor = stack_floor();
            FLOOR.set(Some(floor));
            floor
        });
        let here = std::ptr::from_ref(&limit).addr();
        i64::from(levels) >= i64::from(limit) || here.saturating_sub(floor) < RESERVE
    }

    #[cfg(target_os = "linux")]
    fn stack_floor() -> usize {
        let mut low = std::ptr::null_mut();
        let mut size = 0;
        // SAFETY: the attributes are written by the first call and freed by the last; the answers go to places of ours.
        unsafe {
            let mut attributes = std::mem::zeroed();
            if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
                return 0;
            }
            libc::pthread_attr_getstack(&attributes, &mut low, &mut size);
            libc::pthread_attr_destroy(&mut attributes);
        }
        low.addr()
    }

    #[cfg(not(target_os = "linux"))]
    fn stack_floor() -> usize {
        0
    }
}
