//! Event loop policies: which loop a thread gets that has none running (asyncio.events; deprecated by Python 3.14).
//!
//! Called by `get_event_loop()` without a running loop, by `runners` and by users; calls the policy, which users may replace.
//!
//! The global policy is the name `_event_loop_policy` of the face, because test suites and tools read and set it there. The
//! default policy keeps one loop per thread in a `threading.local`, as `_local`.
//!
//! What happens without a loop follows the running Python: made silently in the main thread (3.11), made with a
//! DeprecationWarning (3.12, 3.13), RuntimeError (3.14).
//!
//! The watcher of child processes, up to 3.13, is the policy of Unix's: see `unix_events::policy`.

use pyo3::exceptions::{PyDeprecationWarning, PyNotImplementedError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Class, Own, Ref, Signature, Slot, Spec, add_function, arg, class};

use std::cell::Cell;

use super::running::set_running_loop;
use crate::{face, library};

class! {
    /// What a policy must be able to do; every method raises NotImplementedError.
    pub struct AbstractPolicy { unused: Cell<()> }
}

impl Class for AbstractPolicy {
    const NAME: &'static std::ffi::CStr = if cfg!(Py_3_14) {
        c"rasyncio.events._AbstractEventLoopPolicy"
    } else {
        c"rasyncio.events.AbstractEventLoopPolicy"
    };
    const DOC: &'static std::ffi::CStr = if cfg!(Py_3_14) {
        c"_AbstractEventLoopPolicy()\n--\n\nWhat a policy must be able to do: tell which loop a thread has, and make new ones."
    } else {
        c"AbstractEventLoopPolicy()\n--\n\nWhat a policy must be able to do: tell which loop a thread has, and make new ones."
    };
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        fn missing<T>() -> PyResult<T> {
            Err(PyNotImplementedError::new_err(()))
        }
        spec.method0(c"get_event_loop", c"get_event_loop($self, /)\n--\n\nThe calling thread's loop.", |_| {
            missing::<()>()
        })
        .method1_named(
            c"set_event_loop",
            c"set_event_loop($self, /, loop)\n--\n\nMake loop the calling thread's.",
            || ("BaseDefaultEventLoopPolicy.set_event_loop", "loop"),
            |_, _| missing::<()>(),
        )
        .method0(c"new_event_loop", c"new_event_loop($self, /)\n--\n\nA new loop.", |_| missing::<()>());
        if !cfg!(Py_3_14) {
            spec.method0(
                c"get_child_watcher",
                c"get_child_watcher($self, /)\n--\n\nThe watcher of child processes.",
                |_| missing::<()>(),
            )
            .method1_named(
                c"set_child_watcher",
                c"set_child_watcher($self, /, watcher)\n--\n\nSet the watcher of child processes.",
                || ("AbstractEventLoopPolicy.set_child_watcher", "watcher"),
                |_, _| missing::<()>(),
            );
        }
    }
}

class! {
    /// The native half of BaseDefaultEventLoopPolicy.
    pub struct DefaultPolicy: AbstractPolicy { local: Slot }
}

fn local<'py>(this: &Ref<'py, DefaultPolicy>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(local) = this.local.get(py) {
        return Ok(local);
    }
    // `threading.local`, without the price of `threading`.
    let local = library(py, "_thread")?.getattr(intern!(py, "_local"))?.call0()?;
    this.local.set(local.clone());
    Ok(local)
}

/// Whether this is the process's main thread, as `threading` says.
pub fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = face(py, "events")?.getattr(intern!(py, "threading"))?;
    let current = threading.call_method0(intern!(py, "current_thread"))?;
    Ok(current.is(threading.call_method0(intern!(py, "main_thread"))?))
}

fn loop_of_thread<'py>(this: &Ref<'py, DefaultPolicy>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let local = local(this)?;
    let current = |local: &Bound<'py, PyAny>| -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(local.getattr_opt(intern!(py, "_loop"))?.filter(|l| !l.is_none()))
    };
    if let Some(event_loop) = current(&local)? {
        return Ok(event_loop);
    }
    let set_called = local.getattr_opt(intern!(py, "_set_called"))?.map_or(Ok(false), |c| c.is_truthy())?;
    if slots::VERSION < (3, 14) && !set_called && is_main_thread(py)? {
        if slots::VERSION >= (3, 12) {
            PyErr::warn(py, &py.get_type::<PyDeprecationWarning>(), c"There is no current event loop", 1)?;
        }
        let new = this.any().call_method0(intern!(py, "new_event_loop"))?;
        this.any().call_method1(intern!(py, "set_event_loop"), (new,))?;
        if let Some(event_loop) = current(&local)? {
            return Ok(event_loop);
        }
    }
    let threading = face(py, "events")?.getattr(intern!(py, "threading"))?;
    let name = threading.call_method0(intern!(py, "current_thread"))?.getattr(intern!(py, "name"))?;
    Err(PyRuntimeError::new_err(format!("There is no current event loop in thread {}.", name.repr()?)))
}

/// What `set_event_loop` of the default policy does.
pub fn set_loop_of_thread<'py>(this: &Ref<'py, DefaultPolicy>, event_loop: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let local = local(this)?;
    local.setattr(intern!(py, "_set_called"), true)?;
    let class = face(py, "events")?.getattr(intern!(py, "AbstractEventLoop"))?;
    if !event_loop.is_none() && !event_loop.is_instance(&class)? {
        let name = event_loop.get_type().name()?;
        let text = format!("loop must be an instance of AbstractEventLoop or None, not '{name}'");
        return Err(PyTypeError::new_err(text));
    }
    super::running::adopt(event_loop);
    local.setattr(intern!(py, "_loop"), event_loop)
}

impl Class for DefaultPolicy {
    const NAME: &'static std::ffi::CStr = c"rasyncio.events._DefaultPolicy";
    const DOC: &'static std::ffi::CStr = c"_DefaultPolicy()\n--\n\nThe native half of BaseDefaultEventLoopPolicy.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.get_set(
            c"_local",
            c"What the policy keeps for each thread: `_loop`, and `_set_called` up to Python 3.13.",
            |this| {
                let local = local(this)?;
                let py = this.py();
                for (name, value) in
                    [("_loop", py.None()), ("_set_called", false.into_pyobject(py)?.to_owned().into_any().unbind())]
                {
                    if !local.hasattr(slots::Text(name))? {
                        local.setattr(slots::Text(name), value)?;
                    }
                }
                Ok(Own::new(local))
            },
            |this, value| {
                match value {
                    Some(value) => this.local.set(value.clone()),
                    None => this.local.unset(),
                }
                Ok(())
            },
        )
        .method0(
            c"get_event_loop",
            c"get_event_loop($self, /)\n--\n\nThe calling thread's loop; RuntimeError if there is none.",
            |this| loop_of_thread(this).map(Own::new),
        )
        .method1_named(
            c"set_event_loop",
            c"set_event_loop($self, /, loop)\n--\n\nMake loop (or None) the calling thread's.",
            || ("BaseDefaultEventLoopPolicy.set_event_loop", "loop"),
            set_loop_of_thread,
        )
        .method0(
            c"new_event_loop",
            c"new_event_loop($self, /)\n--\n\nA new loop of the policy's class. It is not made the thread's.",
            |this| this.any().call_method0(intern!(this.py(), "_loop_factory")).map(Own::new),
        );
    }
}

/// The global policy, made of the face's `DefaultEventLoopPolicy` when it is first asked for.
pub fn policy(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let events = face(py, "events")?;
    let policy = events.getattr(intern!(py, "_event_loop_policy"))?;
    if !policy.is_none() {
        return Ok(policy);
    }
    let name = if slots::VERSION >= (3, 14) { "_DefaultEventLoopPolicy" } else { "DefaultEventLoopPolicy" };
    let policy = face(py, "unix_events")?.getattr(slots::Text(name))?.call0()?;
    events.setattr(intern!(py, "_event_loop_policy"), &policy)?;
    Ok(policy)
}

fn set_policy<'py>(py: Python<'py>, policy: &Bound<'py, PyAny>) -> PyResult<()> {
    let events = face(py, "events")?;
    let class_name = if slots::VERSION >= (3, 14) { "_AbstractEventLoopPolicy" } else { "AbstractEventLoopPolicy" };
    if !policy.is_none() && !policy.is_instance(&events.getattr(slots::Text(class_name))?)? {
        let name = policy.get_type().name()?;
        let text = format!("policy must be an instance of AbstractEventLoopPolicy or None, not '{name}'");
        return Err(PyTypeError::new_err(text));
    }
    events.setattr(intern!(py, "_event_loop_policy"), policy)
}

/// Warns of a function that Python 3.16 will not have.
fn deprecated(py: Python<'_>, name: &str) -> PyResult<()> {
    if slots::VERSION < (3, 14) {
        return Ok(());
    }
    let text = format!("'asyncio.{name}' is deprecated and slated for removal in Python 3.16");
    PyErr::warn(py, &py.get_type::<PyDeprecationWarning>(), &std::ffi::CString::new(text)?, 1)
}

/// What a child process does after a fork: the parent's loops are not its own, nor are their pollers, nor the descriptor that
/// signals wake them by. One that nobody runs in the parent may be run in the child; it gets a poller of its own then.
fn on_fork(py: Python<'_>) -> PyResult<()> {
    engine::sys::forked();
    let policy = face(py, "events")?.getattr(intern!(py, "_event_loop_policy"))?;
    if let Some(policy) = Ref::<DefaultPolicy>::cast(&policy) {
        policy.local.unset();
    }
    if slots::VERSION >= (3, 14) {
        crate::tasks::forget_current(py)?;
    }
    set_running_loop(py, None)?;
    library(py, "_signal")?.call_method1(intern!(py, "set_wakeup_fd"), (-1,)).map(drop)
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<AbstractPolicy>(module)?;
    slots::add_class::<DefaultPolicy>(module)?;
    add_function(
        module,
        c"_get_event_loop_policy",
        c"_get_event_loop_policy()\n--\n\nThe global event loop policy.",
        |py, _| policy(py).map(Own::new),
    )?;
    add_function(
        module,
        c"get_event_loop_policy",
        c"get_event_loop_policy()\n--\n\nThe global event loop policy. Deprecated by Python 3.14.",
        |py, _| {
            deprecated(py, "get_event_loop_policy")?;
            policy(py).map(Own::new)
        },
    )?;
    const POLICY: Signature<1> = Signature::function("set_event_loop_policy", [arg("policy")]);
    add_function(
        module,
        c"_set_event_loop_policy",
        c"_set_event_loop_policy(policy)\n--\n\nSet the global event loop policy; None for the default.",
        |py, args| {
            let [policy] = args.parse(&POLICY)?;
            policy.map_or(Ok(()), |policy| set_policy(py, policy))
        },
    )?;
    add_function(
        module,
        c"set_event_loop_policy",
        c"set_event_loop_policy(policy)\n--\n\nSet the global event loop policy; None for the default. Deprecated by Python 3.14.",
        |py, args| {
            deprecated(py, "set_event_loop_policy")?;
            let [policy] = args.parse(&POLICY)?;
            policy.map_or(Ok(()), |policy| set_policy(py, policy))
        },
    )?;
    add_function(
        module,
        c"set_event_loop",
        c"set_event_loop(loop)\n--\n\nMake loop (or None) the calling thread's, by the policy.",
        |py, args| {
            const SIGNATURE: Signature<1> = Signature::function("set_event_loop", [arg("loop")]);
            match args.parse(&SIGNATURE)? {
                [Some(event_loop)] => policy(py)?.call_method1(intern!(py, "set_event_loop"), (event_loop,)).map(drop),
                _ => Ok(()),
            }
        },
    )?;
    add_function(
        module,
        c"on_fork",
        c"on_fork()\n--\n\nForget the loops of the parent process; called in a child after a fork.",
        |py, _| on_fork(py),
    )?;
    if !cfg!(Py_3_14) {
        add_function(
            module,
            c"get_child_watcher",
            c"get_child_watcher()\n--\n\nThe policy's watcher of child processes.",
            |py, _| policy(py)?.call_method0(intern!(py, "get_child_watcher")).map(Own::new),
        )?;
        add_function(
            module,
            c"set_child_watcher",
            c"set_child_watcher(watcher)\n--\n\nSet the policy's watcher of child processes.",
            |py, args| {
                const SIGNATURE: Signature<1> = Signature::function("set_child_watcher", [arg("watcher")]);
                let [watcher] = args.parse(&SIGNATURE)?;
                policy(py)?.call_method1(intern!(py, "set_child_watcher"), (watcher,)).map(Own::new)
            },
        )?;
    }
    add_function(module, c"new_event_loop", c"new_event_loop()\n--\n\nA new event loop, by the policy.", |py, _| {
        policy(py)?.call_method0(intern!(py, "new_event_loop")).map(Own::new)
    })
}
