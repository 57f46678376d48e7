//! The extension module `rasyncio._rasyncio`: all of asyncio's logic, one room for each asyncio module, bearing its name.
//!
//! Called by the faces in `python/rasyncio/`, which import everything public from here; calls `slots` for CPython's type
//! slots and `engine` for the operating system. No unsafe code on this floor.
//!
//! Rooms use each other one way, from the top of this list to the bottom of the import order in ARCHITECTURE.md.
//!
//! State that belongs to the whole module (the task counter, whether the stdlib's asyncio is loaded beside us) is in one
//! object, [`State`], made when the module is.
#![forbid(unsafe_code)]

pub mod base_events;
pub mod base_futures;
pub mod base_subprocess;
pub mod base_tasks;
pub mod coroutines;
pub mod events;
pub mod exceptions;
pub mod format_helpers;
pub mod futures;
pub mod graph;
pub mod locks;
pub mod log;
pub mod mixins;
pub mod proactor_events;
pub mod queues;
pub mod runners;
pub mod selector_events;
pub mod sslproto;
pub mod staggered;
pub mod streams;
pub mod subprocess;
pub mod taskgroups;
pub mod tasks;
pub mod threads;
pub mod timeouts;
pub mod tools;
pub mod trsock;
pub mod unix_events;

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyString};
use slots::{Class, Modules, Namespace, Native, Own, Ref, Signature, Slot, Spec, class, pos};

class! {
    /// What belongs to the whole module.
    pub struct State {
        /// The number of the newest task that was named by its number.
        pub(crate) task_number: Cell<u64>,
        /// The stdlib asyncio's `_set_running_loop`, `_enter_task`, `_leave_task` and `_register_task`, when that is loaded.
        pub(crate) stdlib_set_running_loop: Slot,
        pub(crate) stdlib_enter_task: Slot,
        pub(crate) stdlib_leave_task: Slot,
        pub(crate) stdlib_register_task: Slot,
        /// The stdlib's `asyncio.tasks` and `asyncio.futures`, when they are loaded.
        pub(crate) stdlib_tasks: Slot,
        pub(crate) stdlib_futures: Slot,
        /// Its `_get_running_loop`, asked where no loop of ours runs.
        pub(crate) stdlib_get_running_loop: Slot,
        /// Whether the modules are there that threads with a small stack cannot import.
        pub(crate) preloaded: Cell<bool>,
        /// The modules that were asked for: faces, and the standard library's.
        modules: Modules,
        /// Foreign tasks (`_register_task`): a WeakSet, made when the first comes.
        pub(crate) foreign_tasks: Slot,
        /// Current tasks of foreign loops (`_enter_task`): a dict, made when the first comes.
        pub(crate) foreign_current: Slot,
    }
}

impl Class for State {
    const NAME: &'static CStr = c"rasyncio._rasyncio._State";
    const CALLABLE: bool = false;
    fn define(_: &mut Spec<Self>) {}
}

/// The module's state.
pub fn state(py: Python<'_>) -> PyResult<Ref<'_, State>> {
    static STATE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let any = STATE.get_or_try_init(py, || Ref::create(py, State::default()).map(|s| s.into_any().unbind()))?;
    match Ref::<State>::cast_exact(any.bind(py)) {
        Some(state) => Ok(state.clone()),
        None => Err(pyo3::exceptions::PySystemError::new_err("the module's state is of another class")),
    }
}

/// A face: the Python module whose names users and tests may patch. Ask it at each use.
pub fn face<'py>(py: Python<'py>, name: &'static str) -> PyResult<Namespace<'py>> {
    state(py)?.modules.get(py, "rasyncio", name)
}

/// A module of the standard library, imported if it was not before.
pub fn library<'py>(py: Python<'py>, name: &'static str) -> PyResult<Namespace<'py>> {
    state(py)?.modules.get(py, "", name)
}

/// A module of the standard library for a report, which may not fail for want of it: None where it is not there and cannot be
/// imported, because the interpreter ends or because descriptors or memory are used up.
pub fn library_for_report<'py>(py: Python<'py>, name: &'static str) -> PyResult<Option<Namespace<'py>>> {
    slots::without(py, library(py, name))
}

/// A module of the standard library if the program has loaded it.
pub fn loaded_library<'py>(py: Python<'py>, name: &'static str) -> PyResult<Option<Namespace<'py>>> {
    state(py)?.modules.known(py, "", name)
}

/// Keeps all that is loaded now of what loops and reports use when the interpreter ends and nothing can be imported any more.
/// Called when the package is loaded, when a loop is made, and around each run.
pub fn keep_modules(py: Python<'_>) -> PyResult<()> {
    const FACES: &str = "_rasyncio base_events base_futures base_subprocess base_tasks constants coroutines events exceptions \
        format_helpers futures graph locks log mixins protocols queues runners selector_events sslproto streams subprocess \
        taskgroups tasks timeouts transports unix_events";
    const LIBRARY: &str = "_collections _collections_abc _functools _signal _thread builtins collections concurrent \
        concurrent.futures contextvars errno functools heapq inspect io linecache logging math os reprlib selectors signal socket \
        ssl stat subprocess sys threading time traceback types warnings weakref";
    let modules = &state(py)?.modules;
    modules.keep_loaded(py, "rasyncio", FACES)?;
    modules.keep_loaded(py, "", LIBRARY)?;
    exceptions::keep(py)?;
    if modules.known(py, "", "logging")?.is_some() {
        // The face makes the name at its first use, by an import.
        log::logger(py, "base_events")?;
    }
    Ok(())
}

/// The native class `T` as a Python object.
pub fn class_object<T: Native>(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    Ok(slots::type_of::<T>(py)?.into_any())
}

/// The native floor of rasyncio.
#[pymodule(gil_used = true)]
mod _rasyncio {
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        slots::main_only(module)?;
        slots::guard_ended_threads();
        slots::quiet_panics();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        events::add(module)?;
        base_events::add(module)?;
        mixins::add(module)?;
        locks::add(module)?;
        proactor_events::add(module)?;
        queues::add(module)?;
        runners::add(module)?;
        streams::add(module)?;
        base_subprocess::add(module)?;
        subprocess::add(module)?;
        threads::add(module)?;
        trsock::add(module)?;
        selector_events::add(module)?;
        sslproto::add(module)?;
        unix_events::add(module)?;
        futures::add(module)?;
        graph::add(module)?;
        staggered::add(module)?;
        taskgroups::add(module)?;
        tasks::add(module)?;
        timeouts::add(module)?;
        tools::add(module)?;
        coroutines::add(module)?;
        base_futures::add(module)?;
        base_tasks::add(module)?;
        format_helpers::add(module)?;
        let doc = c"_keep_modules()\n--\n\nKeep what loops use when the interpreter ends.";
        slots::add_function(module, c"_keep_modules", doc, |py, _| keep_modules(py))?;
        let doc =
            c"_kept(name, /)\n--\n\nThe names that were kept of a module, as a dict; None if it was never loaded.";
        slots::add_function(module, c"_kept", doc, |py, args| {
            const SIGNATURE: Signature<1> = Signature::function("_kept", [pos("name")]);
            let [name] = args.parse(&SIGNATURE)?;
            let Some(name) = name else { return Ok(None) };
            Ok(state(py)?.modules.kept(name.cast::<PyString>()?)?.map(|names| Own::new(names.into_any())))
        })
    }
}
