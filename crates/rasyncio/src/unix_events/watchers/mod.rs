//! Watchers of child processes: who calls back when a process has ended, with its exit code (asyncio.unix_events).
//!
//! Called by `_make_subprocess_transport` where a watcher was chosen by the user or patched, and by users; calls `os.waitpid`
//! through the face, which tests patch, and the callback, as `callback(pid, returncode, *args)`.
//!
//! Up to Python 3.13 a watcher is a public object that the policy holds, and there are five classes of them, deprecated by
//! 3.12. From 3.14 it is the loop's own business, and two are left under private names.
//!
//! - `pidfd`: `PidfdChildWatcher`, by a descriptor of the process in the loop's poller.
//! - `threaded`: `ThreadedChildWatcher`, by a thread for each process.
//! - `signals`: `BaseChildWatcher` and the two that a loop's handler of SIGCHLD drives, Safe and Fast.
//! - `multi_loop`: `MultiLoopChildWatcher`, by a handler of SIGCHLD for all loops.
//!
//! Here is what they share: the abstract class, the exit code, the warnings.
//!
//! A loop that nobody gave a watcher needs none: see `children`.

mod pidfd;
mod threaded;

#[cfg(not(Py_3_14))]
mod multi_loop;
#[cfg(not(Py_3_14))]
mod signals;

use pyo3::exceptions::{PyChildProcessError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyTuple};
use slots::intern;
use slots::{Args, Own, Signature, add_function, arg};

use crate::face;
use crate::log::logger;

pub use self::pidfd::PidfdChildWatcher;
pub use self::threaded::ThreadedChildWatcher;

/// What is reported of a process whose exit code somebody else has read.
pub const UNKNOWN: i32 = 255;

/// The face's `os`.
pub fn os(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    face(py, "unix_events")?.getattr(intern!(py, "os"))
}

/// Writes a warning, in logging's manner: a format and what belongs in it.
pub fn log_warning<'py>(py: Python<'py>, text: &str, values: &[&Bound<'py, PyAny>]) -> PyResult<()> {
    let logger = logger(py, "unix_events")?;
    let mut all = vec![text.into_pyobject(py)?.into_any()];
    all.extend(values.iter().map(|&value| value.clone()));
    logger.log("warning", slots::tuple(py, all)?)
}

/// In the debug mode of `event_loop`, a record of an exit.
fn log_exit<'py>(event_loop: &Bound<'py, PyAny>, pid: &Bound<'py, PyAny>, code: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = event_loop.py();
    if event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy()? {
        let logger = logger(py, "unix_events")?;
        logger.log("debug", ("process %s exited with returncode %s", pid, code))?;
    }
    Ok(())
}

/// The exit code of a status of `waitpid`, by the face's function.
fn exit_code<'py>(status: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = status.py();
    face(py, "unix_events")?.getattr(intern!(py, "waitstatus_to_exitcode"))?.call1((status,))
}

/// What `waitpid` says.
pub enum Waited<'py> {
    /// It runs.
    Running,
    /// It has ended, and is reaped.
    Ended {
        /// Its number.
        pid: Bound<'py, PyAny>,
        /// Its exit code.
        code: Bound<'py, PyAny>,
    },
    /// There is no such child, or no more.
    Unknown,
}

/// `waitpid`, with or without waiting.
pub fn wait_for<'py>(pid: &Bound<'py, PyAny>, waits: bool) -> PyResult<Waited<'py>> {
    let py = pid.py();
    let os = os(py)?;
    let options = if waits { 0i32.into_pyobject(py)?.into_any() } else { os.getattr(intern!(py, "WNOHANG"))? };
    let answer = match os.call_method1(intern!(py, "waitpid"), (pid, options)) {
        Err(error) if error.is_instance_of::<PyChildProcessError>(py) => return Ok(Waited::Unknown),
        other => other?,
    };
    let ended = answer.get_item(0)?;
    if ended.eq(0)? {
        return Ok(Waited::Running);
    }
    let code = exit_code(&answer.get_item(1)?)?;
    Ok(Waited::Ended { pid: ended, code })
}

/// `callback(pid, code, *args)`.
fn call_back<'py>(
    callback: &Bound<'py, PyAny>,
    pid: &Bound<'py, PyAny>,
    code: &Bound<'py, PyAny>,
    args: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let mut all = vec![pid.clone(), code.clone()];
    all.extend(slots::items(args)?);
    callback.call1(slots::tuple(callback.py(), all)?).map(drop)
}

/// The arguments of `add_child_handler(pid, callback, *args)`, the last as a tuple.
fn handler_args<'a, 'py>(
    signature: &Signature<2>,
    args: &Args<'a, 'py>,
) -> PyResult<(&'a Bound<'py, PyAny>, &'a Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
    match args.parse_rest(signature)? {
        ([Some(pid), Some(callback)], rest) => Ok((pid, callback, slots::tuple(args.py(), rest)?)),
        _ => Err(PyTypeError::new_err("an argument is missing")),
    }
}

/// A process number as a number that one process can have.
fn check_pid(pid: &Bound<'_, PyAny>) -> PyResult<()> {
    match pid.gt(0)? {
        true => Ok(()),
        false => Err(pyo3::exceptions::PyAssertionError::new_err(())),
    }
}

#[cfg(not(Py_3_14))]
pub use self::public::{AbstractChildWatcher, deprecated};

#[cfg(not(Py_3_14))]
mod public {
    use std::ffi::{CStr, CString};

    use pyo3::exceptions::{PyDeprecationWarning, PyNotImplementedError};
    use pyo3::prelude::*;
    use slots::{Class, Spec, class};

    /// Warns of a name that Python 3.14 has no more.
    pub fn deprecated(py: Python<'_>, name: &str) -> PyResult<()> {
        if slots::VERSION < (3, 12) {
            return Ok(());
        }
        let text = format!("'{name}' is deprecated as of Python 3.12 and will be removed in Python 3.14.");
        PyErr::warn(py, &py.get_type::<PyDeprecationWarning>(), &CString::new(text)?, 1)
    }

    class! {
        /// What a watcher must be able to do; every method raises NotImplementedError.
        pub struct AbstractChildWatcher {}
    }

    impl Class for AbstractChildWatcher {
        const NAME: &'static CStr = c"rasyncio.unix_events.AbstractChildWatcher";
        const DOC: &'static CStr =
            c"AbstractChildWatcher()\n--\n\nWhat a watcher of child processes must be able to do. Processes are started in a `with` block of it.";
        const DICT: bool = true;

        fn define(spec: &mut Spec<Self>) {
            fn missing<T>() -> PyResult<T> {
                Err(PyNotImplementedError::new_err(()))
            }
            spec.class_method(
                c"__init_subclass__",
                c"__init_subclass__($type, /)\n--\n\nWarns of a class derived outside of this module.",
                |class, _| {
                    let py = class.py();
                    let module = class.getattr(slots::intern!(py, "__module__"))?;
                    if module.eq(slots::Text("rasyncio.unix_events"))? {
                        Ok(())
                    } else {
                        deprecated(py, "AbstractChildWatcher")
                    }
                },
            )
            .method(
                c"add_child_handler",
                c"add_child_handler($self, pid, callback, *args)\n--\n\n\
                Have callback(pid, returncode, *args) called, from any thread, when the process has ended.",
                |_, _| missing::<()>(),
            )
            .method1_named(
                c"remove_child_handler",
                c"remove_child_handler($self, /, pid)\n--\n\nForget a process; answer whether it was known.",
                || ("AbstractChildWatcher.remove_child_handler", "pid"),
                |_, _| missing::<()>(),
            )
            .method1_named(
                c"attach_loop",
                c"attach_loop($self, /, loop)\n--\n\nWork by this loop, or by none.",
                || ("AbstractChildWatcher.attach_loop", "loop"),
                |_, _| missing::<()>(),
            )
            .method0(c"close", c"close($self, /)\n--\n\nGive back what the watcher holds.", |_| missing::<()>())
            .method0(c"is_active", c"is_active($self, /)\n--\n\nWhether exits will be noticed.", |_| missing::<()>())
            .method0(c"__enter__", c"__enter__($self, /)\n--\n\nBegin to start processes; answers the watcher.", |_| {
                missing::<()>()
            })
            .method(
                c"__exit__",
                c"__exit__($self, /, a, b, c)\n--\n\nAll started processes have their handlers.",
                |_, _| missing::<()>(),
            );
        }
    }
}

fn waitstatus_to_exitcode<'py>(status: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = status.py();
    match os(py)?.call_method1(intern!(py, "waitstatus_to_exitcode"), (status,)) {
        Err(error) if error.is_instance_of::<PyValueError>(py) => Ok(status.clone()),
        other => other,
    }
}

/// Whether the system lets us have descriptors of processes.
fn can_use_pidfd(py: Python<'_>) -> PyResult<bool> {
    let os = os(py)?;
    let Some(open) = os.getattr_opt(intern!(py, "pidfd_open"))? else { return Ok(false) };
    let opened = open.call1((std::process::id(), 0)).and_then(|fd| os.call_method1(intern!(py, "close"), (fd,)));
    match opened {
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyOSError>(py) => Ok(false),
        other => other.map(|_| true),
    }
}

/// Puts the watchers' names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    #[cfg(not(Py_3_14))]
    {
        slots::add_class::<AbstractChildWatcher>(module)?;
        signals::add(module)?;
        slots::add_class::<multi_loop::MultiLoopChildWatcher>(module)?;
    }
    slots::add_class::<PidfdChildWatcher>(module)?;
    slots::add_class::<ThreadedChildWatcher>(module)?;
    add_function(
        module,
        c"waitstatus_to_exitcode",
        c"waitstatus_to_exitcode(status)\n--\n\nThe exit code of a status of waitpid(), or a status that is not understood.",
        |_, args| {
            const SIGNATURE: Signature<1> = Signature::function("waitstatus_to_exitcode", [arg("status")]);
            match args.parse(&SIGNATURE)? {
                [Some(status)] => waitstatus_to_exitcode(status).map(Own::new),
                [None] => Err(PyTypeError::new_err("status is missing")),
            }
        },
    )?;
    add_function(
        module,
        c"can_use_pidfd",
        c"can_use_pidfd()\n--\n\nWhether the system lets us have descriptors of processes.",
        |py, _| can_use_pidfd(py),
    )
}
