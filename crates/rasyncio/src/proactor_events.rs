//! proactor_events: the names of asyncio's completion-based loop, which is for Windows (asyncio.proactor_events).
//!
//! asyncio has this module on every system, because nothing in it imports Windows; what makes it work, a proactor over
//! completion ports, is in windows_events. Programs that run everywhere ask `isinstance(loop, BaseProactorEventLoop)`, so the
//! classes are there, with asyncio's bases, and the answer on Linux is the same: no.
//!
//! Called by the face, whose classes have [`add`]'s function for their `__new__`. No class can be made an instance of, so
//! there are no states.
//!
//! Where it differs from CPython: there a BaseProactorEventLoop can be made on any system around an object that only looks
//! like a proactor, as asyncio's own white-box tests do; here every class raises NotImplementedError, and says why.

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::add_function;

const TEXT: &str = "rasyncio has no proactor event loop: it is for Windows, where rasyncio does not run yet";

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let doc = c"_no_proactor(*args, **kwargs)\n--\n\nNotImplementedError: the proactor is for Windows.";
    add_function(module, c"_no_proactor", doc, |_, _| -> PyResult<()> { Err(PyNotImplementedError::new_err(TEXT)) })
}
