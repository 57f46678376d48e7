//! The StopIteration that carries a native machine's result to `await`.
//!
//! Called by `send` when a machine that is resumed through `tp_iternext` returns (how `await` resumes it on 3.11-3.14), and
//! by `class` when such a machine is deallocated.
//!
//! Making and freeing an exception costs more than all the rest of a return, so one is kept and used again. It is changed
//! only while nobody else can see it: its one reference is ours, and no traceback, context, cause, note or attribute hangs on
//! it. Otherwise it is let go and the next is made by a call of the class.
//!
//! States of the spare: none -> in flight (raised, two references) -> settled (one reference). `await` takes the value out at
//! once and lets the exception go. It would still hold the value: [`settle`], called when the machine dies, which
//! after an `await` is immediately, takes it out. A machine that has more references than the awaiter's lives on, and
//! raises a StopIteration of its own.
//!
//! Invariant: the spare's `args` is a tuple of one element, made by StopIteration itself.

use std::cell::Cell;
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

struct Spare(Cell<*mut ffi::PyStopIterationObject>);

// SAFETY: every access is made under the GIL; the module refuses free-threaded interpreters and sub-interpreters.
unsafe impl Sync for Spare {}

static SPARE: Spare = Spare(Cell::new(ptr::null_mut()));

/// Whether nobody but the spare's place holds the exception, and nothing hangs on it.
///
/// # Safety
/// `stop` is a StopIteration that is alive; the thread holds the GIL.
unsafe fn is_sole(stop: *mut ffi::PyStopIterationObject) -> bool {
    // SAFETY: reads fields of a live object, and of its `args`, a tuple that it keeps alive.
    unsafe {
        ffi::Py_REFCNT(stop.cast()) == 1
            && (*stop).traceback.is_null()
            && (*stop).context.is_null()
            && (*stop).cause.is_null()
            && (*stop).notes.is_null()
            && (*stop).dict.is_null()
            && !(*stop).args.is_null()
            && ffi::Py_REFCNT((*stop).args) == 1
            && ffi::PyTuple_CheckExact((*stop).args) != 0
            && ffi::PyTuple_GET_SIZE((*stop).args) == 1
    }
}

/// Puts `value` in the exception.
///
/// # Safety
/// `is_sole(stop)`, and the thread holds the GIL.
unsafe fn fill(stop: *mut ffi::PyStopIterationObject, value: &Bound<'_, PyAny>) {
    // SAFETY: nobody else sees the exception or its tuple, so both may be changed; each place gets a reference of its own,
    // and what was there is released when both places are whole again, since a release may run anything. The collector
    // may have stopped tracking the tuple when there was nothing to track in it.
    unsafe {
        let args = (*stop).args;
        let old = (*stop).value;
        (*stop).value = ffi::Py_NewRef(value.as_ptr());
        // Somebody may have asked for the tuple's hash, which is kept in it from 3.14 on.
        #[cfg(Py_3_14)]
        {
            (*args.cast::<ffi::PyTupleObject>()).ob_hash = -1;
        }
        let old_argument = ffi::PyTuple_GET_ITEM(args, 0);
        ffi::PyTuple_SET_ITEM(args, 0, ffi::Py_NewRef(value.as_ptr()));
        if ffi::PyObject_GC_IsTracked(args) == 0 {
            ffi::PyObject_GC_Track(args.cast());
        }
        ffi::Py_XDECREF(old);
        ffi::Py_XDECREF(old_argument);
    }
}

/// Raises StopIteration(value).
#[cfg(Py_3_12)]
pub(crate) fn stop_with(value: Bound<'_, PyAny>) -> PyResult<()> {
    let spare = SPARE.0.replace(ptr::null_mut());
    // SAFETY: the spare is null or a StopIteration of which the place owned a reference, now ours. The exception raised gets
    // one reference and the spare's place the other.
    unsafe {
        let mut stop = spare;
        if stop.is_null() || !is_sole(stop) {
            ffi::Py_XDECREF(stop.cast());
            stop = ffi::PyObject_CallFunctionObjArgs(
                ffi::PyExc_StopIteration,
                value.as_ptr(),
                ptr::null_mut::<ffi::PyObject>(),
            )
            .cast();
            if stop.is_null() {
                return Err(PyErr::fetch(value.py()));
            }
        } else {
            fill(stop, &value);
        }
        ffi::PyErr_SetRaisedException(ffi::Py_NewRef(stop.cast()));
        let other = SPARE.0.replace(stop);
        ffi::Py_XDECREF(other.cast());
    }
    Ok(())
}

/// Takes the value out of the spare, if it is no longer in flight; lets go of one that somebody else holds.
pub(crate) fn settle(py: Python<'_>) {
    let stop = SPARE.0.get();
    if stop.is_null() {
        return;
    }
    // SAFETY: a StopIteration of which the place owns a reference, which moves to the end of this block if it is not put back.
    unsafe {
        SPARE.0.set(ptr::null_mut());
        if is_sole(stop) {
            fill(stop, &py.None().into_bound(py));
            let other = SPARE.0.replace(stop);
            ffi::Py_XDECREF(other.cast());
        } else {
            ffi::Py_DECREF(stop.cast());
        }
    }
}
