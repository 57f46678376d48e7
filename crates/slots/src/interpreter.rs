//! Which interpreter a thread is in: a native class exists once in a process, so only the main interpreter may have it.
//!
//! Called by the extension module first of all when it is executed; calls CPython.
//!
//! Invariant: nothing that the process has once (a type cell, a free list, PyO3's cells of objects) is touched in another interpreter
//! than the main one, because the module's execution fails there before it makes anything. An interpreter with a GIL of its own does not
//! come this far: CPython refuses the module itself. One that shares the GIL, as Py_NewInterpreter makes it, does.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyModule;

/// An ImportError, CPython's own for such modules, unless this is the main interpreter.
pub fn main_only(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // SAFETY: `module` proves that the thread is attached, so it has an interpreter; both calls only read a pointer.
    if unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() } {
        return Ok(());
    }
    let name = module.name()?;
    Err(PyImportError::new_err(format!("module {name} does not support loading in subinterpreters")))
}
