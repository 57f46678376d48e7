//! The exception handler: where errors go that nobody can be given.
//!
//! Called by handles, tasks, futures, transports through `loop.call_exception_handler(context)`; calls the user's handler, or
//! logs.
//!
//! SystemExit and KeyboardInterrupt pass. What a user's handler raises goes to the default one, and what that raises to the
//! log, so nothing is lost. A handler runs in the context of the task, future or handle that the report is about (3.12+).

use std::ffi::CStr;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit, PyTypeError};
use pyo3::prelude::*;
use slots::intern;
use slots::{Ref, Spec};

use super::{BaseEventLoop, own, put};
use crate::library_for_report;
use crate::log::logger;

fn leaves(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// Logs an error with the exception's traceback, through the name `logger` on the face.
fn log_error<'py>(py: Python<'py>, text: &str, info: Bound<'py, PyAny>) -> PyResult<()> {
    logger(py, "base_events")?.log_error("error", (text,), Some(&info))
}

fn exc_info<'py>(py: Python<'py>, error: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let trace = error.getattr(intern!(py, "__traceback__"))?;
    Ok(slots::tuple(py, [error.get_type().into_any(), error.clone(), trace])?.into_any())
}

fn default_handler(this: &Ref<'_, BaseEventLoop>, context: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    let get = |key: &str| context.call_method1(intern!(py, "get"), (key,));
    let message = get("message")?;
    let mut text =
        if message.is_truthy()? { message.str()?.to_string() } else { "Unhandled exception in event loop".to_owned() };
    let exception = get("exception")?;
    let info =
        if exception.is_none() { false.into_pyobject(py)?.to_owned().into_any() } else { exc_info(py, &exception)? };
    if !context.contains(slots::Text("source_traceback"))? {
        if let Some(handle) = this.current_handle.get(py) {
            let stack = handle.getattr(intern!(py, "_source_traceback"))?;
            if stack.is_truthy()? {
                context.set_item(slots::Text("handle_traceback"), stack)?;
            }
        }
    }
    let keys = slots::list_of(py, slots::items(context)?)?;
    keys.sort()?;
    for key in keys {
        let name = key.str()?.to_string();
        if name == "message" || name == "exception" {
            continue;
        }
        let value = context.get_item(&key)?;
        let stack = |what: &str| -> PyResult<String> {
            let lines = match library_for_report(py, "traceback")? {
                Some(traceback) => traceback.call_method1(intern!(py, "format_list"), (&value,))?,
                // A summary of a stack can write itself.
                None => value.call_method0(intern!(py, "format"))?,
            };
            let lines = lines.try_iter()?.map(|l| l?.extract::<String>()).collect::<PyResult<String>>()?;
            Ok(format!("{what} created at (most recent call last):\n{}", lines.trim_end()))
        };
        let value = match name.as_str() {
            "source_traceback" => stack("Object")?,
            "handle_traceback" => stack("Handle")?,
            _ => value.repr()?.to_string(),
        };
        text.push_str(&format!("\n{name}: {value}"));
    }
    log_error(py, &text, info)
}

fn call_default<'py>(this: &Ref<'py, BaseEventLoop>, context: &Bound<'py, PyAny>, failed: &str) -> PyResult<()> {
    let py = this.py();
    match this.any().call_method1(intern!(py, "default_exception_handler"), (context,)) {
        Ok(_) => Ok(()),
        Err(error) if leaves(py, &error) => Err(error),
        Err(error) => slots::excepting(py, error, |_| {
            log_error(py, failed, pyo3::types::PyBool::new(py, true).to_owned().into_any())
        }),
    }
}

fn call_handler(this: &Ref<'_, BaseEventLoop>, context: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    let Some(handler) = this.exception_handler.get(py) else {
        return call_default(this, context, "Exception in default exception handler");
    };
    let result = if slots::VERSION >= (3, 12) {
        call_in_context(this, &handler, context)
    } else {
        handler.call1((this.any(), context)).map(drop)
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) if leaves(py, &error) => Err(error),
        Err(error) => slots::excepting(py, error, |error| {
            let details = slots::dict(py)?;
            details.set_item(intern!(py, "message"), "Unhandled error in exception handler")?;
            details.set_item(intern!(py, "exception"), error)?;
            details.set_item(intern!(py, "context"), context)?;
            call_default(
                this,
                details.as_any(),
                "Exception in default exception handler while handling an unexpected error in custom exception handler",
            )
        }),
    }
}

fn call_in_context<'py>(
    this: &Ref<'py, BaseEventLoop>,
    handler: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = this.py();
    for key in ["task", "future", "handle"] {
        let thing = context.call_method1(intern!(py, "get"), (key,))?;
        if thing.is_none() {
            continue;
        }
        if let Some(get_context) = thing.getattr_opt(intern!(py, "get_context"))? {
            let variables = get_context.call0()?;
            if !variables.is_none() && variables.hasattr(intern!(py, "run"))? {
                return variables.call_method1(intern!(py, "run"), (handler, this.any(), context)).map(drop);
            }
        }
        break;
    }
    handler.call1((this.any(), context)).map(drop)
}

pub(super) fn define(spec: &mut Spec<BaseEventLoop>) {
    const CALL: &CStr = c"call_exception_handler($self, /, context)\n--\n\n\
        Report an error that nobody can be given. context is a dict with 'message' and, where they exist, 'exception',\n\
        'future', 'task', 'handle', 'protocol', 'transport', 'socket', 'source_traceback', 'asyncgen'.";
    spec.method0(c"get_exception_handler", c"get_exception_handler($self, /)\n--\n\nThe handler set, or None for the default one.", |this| {
        Ok(own(this.exception_handler.get(this.py())))
    })
    .method1_named(
        c"set_exception_handler",
        c"set_exception_handler($self, /, handler)\n--\n\nHave handler(loop, context) called for errors that nobody can be given; None for the default.", || ("BaseEventLoop.set_exception_handler", "handler"),
        |this, handler| {
            if !handler.is_none() && !handler.is_callable() {
                return Err(PyTypeError::new_err(format!("A callable object or None is expected, got {}", handler.repr()?)));
            }
            put(&this.exception_handler, Some(handler))
        },
    )
    .method1_named(
        c"default_exception_handler",
        c"default_exception_handler($self, /, context)\n--\n\nLog the error with all that context tells of it.", || ("BaseEventLoop.default_exception_handler", "context"),
        default_handler,
    )
    .method1_named(
        c"call_exception_handler",
        CALL,
        || ("BaseEventLoop.call_exception_handler", "context"),
        call_handler,
    );
}
