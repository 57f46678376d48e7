//! [`divert`]: a Python function whose quick cases are answered natively, before a frame is made.
//!
//! Called when the module's faces are loaded, for functions that must be true `async def`s and are called so often that the
//! coroutine of the quick case would cost more than what it does (`sleep(0)`).
//!
//! Every Python function object has a vectorcall slot. `PyFunction_SetVectorcall` (3.12+) puts another one in and keeps the
//! interpreter from inlining calls. The one put in here asks the native function first, and calls the function's own body
//! where that has no answer. To `inspect` the function is what it was. On 3.11 nothing is diverted.

use pyo3::prelude::*;

use crate::args::Args;
use crate::own::Own;

/// Has calls of `function`, which must be a Python function, ask `f` first; None means: call the function itself.
pub fn divert<F>(function: &Bound<'_, PyAny>, _f: F) -> PyResult<()>
where
    F: for<'a, 'py> Fn(Python<'py>, &Args<'a, 'py>) -> PyResult<Option<Own>> + Copy,
{
    #[cfg(Py_3_12)]
    diversion::install::<F>(function)?;
    let _ = function;
    Ok(())
}

#[cfg(Py_3_12)]
mod diversion {
    use std::ptr;
    use std::sync::OnceLock;

    use pyo3::exceptions::PyTypeError;
    use pyo3::ffi;
    use pyo3::types::PyFunction;

    use super::*;
    use crate::door;
    use crate::spec::{conjured, vector_args};

    unsafe extern "C" {
        fn PyFunction_SetVectorcall(function: *mut ffi::PyObject, vectorcall: ffi::vectorcallfunc);
    }

    /// What calls a Python function, the same for all of them; CPython does not export it by name.
    static ORIGINAL: OnceLock<ffi::vectorcallfunc> = OnceLock::new();

    unsafe extern "C" fn call<F>(
        function: *mut ffi::PyObject,
        args: *const *mut ffi::PyObject,
        count: usize,
        names: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject
    where
        F: for<'a, 'py> Fn(Python<'py>, &Args<'a, 'py>) -> PyResult<Option<Own>> + Copy,
    {
        // SAFETY: installed on a Python function only, called by CPython under the GIL with the vectorcall convention; the
        // body is called with the very same arguments.
        unsafe {
            let answer = door::enter(Err(()), |py| {
                let given = ffi::PyVectorcall_NARGS(count) as usize;
                Ok(Ok(conjured::<F>()(py, &vector_args(py, args, given, &names))?
                    .map(|own| own.into_bound(py).into_ptr())))
            });
            match answer {
                Ok(Some(answer)) => answer,
                Ok(None) => match ORIGINAL.get() {
                    Some(original) => original(function, args, count, names),
                    None => ptr::null_mut(),
                },
                Err(()) => ptr::null_mut(),
            }
        }
    }

    pub(super) fn install<F>(function: &Bound<'_, PyAny>) -> PyResult<()>
    where
        F: for<'a, 'py> Fn(Python<'py>, &Args<'a, 'py>) -> PyResult<Option<Own>> + Copy,
    {
        if !function.is_exact_instance_of::<PyFunction>() {
            return Err(PyTypeError::new_err("a Python function is expected"));
        }
        // SAFETY: a Python function, just checked; the slot's function has its signature. What stands there before is what
        // CPython gives every Python function, unless somebody else has diverted this one: then it is left alone.
        unsafe {
            let Some(original) = ffi::PyVectorcall_Function(function.as_ptr()) else { return Ok(()) };
            if *ORIGINAL.get_or_init(|| original) as usize == original as usize {
                PyFunction_SetVectorcall(function.as_ptr(), call::<F>);
            }
        }
        Ok(())
    }
}
