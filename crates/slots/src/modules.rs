//! Modules that are loaded, without the machinery of an import.
//!
//! Called by rooms that look names up in a face at each use; an import statement of a loaded module costs ten times as much.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyString};

/// The module of that name, importing it if it is not loaded.
pub fn module<'py>(name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyModule>> {
    let py = name.py();
    // SAFETY: a live str, under the GIL; the answer is a new reference, or null with or without an exception.
    let loaded = unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyImport_GetModule(name.as_ptr())) };
    match loaded.map(|module| module.cast_into::<PyModule>()) {
        Some(Ok(module)) => Ok(module),
        _ => {
            drop(PyErr::take(py));
            py.import(name)
        }
    }
}
