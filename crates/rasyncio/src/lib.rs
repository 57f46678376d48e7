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

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyString};
use slots::{Class, Native, Plain, Ref, Slot, Spec, class};

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
        /// The full names of faces that were asked for.
        faces: Plain<RefCell<Vec<(&'static str, Py<PyString>)>>>,
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
pub fn face<'py>(py: Python<'py>, name: &'static str) -> PyResult<Bound<'py, PyModule>> {
    let state = state(py)?;
    let place = state.faces.borrow().iter().position(|(known, _)| *known == name);
    let full = match place {
        Some(place) => state.faces.borrow()[place].1.clone_ref(py),
        None => {
            let full = PyString::intern(py, &format!("rasyncio.{name}")).unbind();
            state.faces.borrow_mut().push((name, full.clone_ref(py)));
            full
        }
    };
    slots::module(full.bind(py))
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
        format_helpers::add(module)
    }
}
