//! The modules that asyncio imports at once and rasyncio when they are needed, for threads that cannot import them.
//!
//! Called when a loop is made, and when it is run; calls `slots` for a look at the stack.
//!
//! An import runs code of the module, of the modules that that imports, and so on; where there is no compiled file, the compiler
//! too. That takes more C stack than a thread has for which `threading.stack_size()` was set to little. A program
//! that imports asyncio first pays on its main thread. So before a loop is there on such a thread, the modules are imported on
//! another one, which has an ordinary stack; once in a process.
//!
//! Differs from CPython: nothing. A module that cannot be imported is reported by the import at its use, as ever.

use pyo3::prelude::*;

use crate::state;

const MODULES: &[&str] = &[
    "collections",
    "concurrent.futures.thread",
    "contextvars",
    "functools",
    "heapq",
    "inspect",
    "linecache",
    "logging",
    "reprlib",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "traceback",
    "warnings",
    "weakref",
];

/// Imports the modules if this thread could not and no other has.
pub fn for_small_stacks(py: Python<'_>) -> PyResult<()> {
    if !slots::is_stack_small() || state(py)?.preloaded.replace(true) {
        return Ok(());
    }
    slots::on_a_large_stack(py, |py| {
        for name in MODULES {
            drop(py.import(*name));
        }
    });
    Ok(())
}
