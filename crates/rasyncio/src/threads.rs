//! threads: `to_thread()`, a function called in another thread (asyncio.threads).
//!
//! Called by the shell on the face; calls the running loop's `run_in_executor`. The function runs in a copy of the caller's
//! context.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Own, add_function};

use crate::events::get_running_loop;
use crate::library;

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let doc = c"_to_thread(func, /, *args, **kwargs)\n--\n\nThe future behind to_thread().";
    add_function(module, c"_to_thread", doc, |py, args| {
        let [function, rest @ ..] = args.positional() else {
            return Err(PyTypeError::new_err("to_thread() missing 1 required positional argument: 'func'"));
        };
        let event_loop = get_running_loop(py)?;
        let context = slots::copy_current(py)?;
        let mut all = vec![context.getattr(intern!(py, "run"))?, function.clone()];
        all.extend(rest.iter().cloned());
        let partial = library(py, "functools")?.getattr(intern!(py, "partial"))?;
        let call = partial.call(slots::tuple(py, all)?, args.keywords()?.as_ref())?;
        event_loop.call_method1(intern!(py, "run_in_executor"), (py.None(), call)).map(Own::new)
    })
}
