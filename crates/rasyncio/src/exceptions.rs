//! exceptions: the stdlib's exception classes, fetched once (asyncio.exceptions).
//!
//! Called by every room that raises or catches one; calls the face `rasyncio.exceptions`, which has the stdlib's own class
//! objects, so that `except asyncio.CancelledError` holds whichever asyncio the program imported.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

macro_rules! exception_classes {
    ($($(#[$meta:meta])* $function:ident = $name:literal),* $(,)?) => {$(
        $(#[$meta])*
        #[inline]
        pub fn $function(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
            static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
            let class = CLASS.get_or_try_init(py, || {
                let class = crate::face(py, "exceptions")?.getattr(slots::Text($name))?;
                class.cast_into::<PyType>().map(Bound::unbind).map_err(PyErr::from)
            })?;
            Ok(class.bind(py))
        }
    )*

    /// Fetches them all: what is raised while the interpreter ends is there then.
    pub fn keep(py: Python<'_>) -> PyResult<()> {
        $($function(py)?;)*
        Ok(())
    }};
}

exception_classes! {
    /// `CancelledError`, a BaseException.
    cancelled_error = "CancelledError",
    /// `InvalidStateError`.
    invalid_state_error = "InvalidStateError",
    /// `IncompleteReadError(partial, expected)`, an EOFError.
    incomplete_read_error = "IncompleteReadError",
    /// `LimitOverrunError(message, consumed)`.
    limit_overrun_error = "LimitOverrunError",
    /// `SendfileNotAvailableError`, a RuntimeError.
    sendfile_not_available_error = "SendfileNotAvailableError",
    /// `BrokenBarrierError`, a RuntimeError.
    broken_barrier_error = "BrokenBarrierError",
    /// `QueueEmpty`.
    queue_empty = "QueueEmpty",
    /// `QueueFull`.
    queue_full = "QueueFull",
    /// `QueueShutDown`.
    queue_shut_down = "QueueShutDown",
}

/// A new `InvalidStateError` with this text.
#[cold]
pub fn invalid_state(py: Python<'_>, text: impl Into<String>) -> PyErr {
    match invalid_state_error(py) {
        Ok(class) => PyErr::from_type(class.clone(), text.into()),
        Err(error) => error,
    }
}

/// The OSError as raised here, of the subclass that its number calls for, with the system's text. Imports nothing: connections fail while the
/// interpreter shuts down, too.
#[cold]
pub fn os_error(py: Python<'_>, error: std::io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else { return error.into() };
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text);
    // Made now: before 3.12 an error that is made when it is looked at would not know its own subclass.
    match py.get_type::<pyo3::exceptions::PyOSError>().call1((number, text)) {
        Ok(made) => slots::raise(&made),
        Err(error) => error,
    }
}

/// Whether `error` is a CancelledError.
#[inline]
pub fn is_cancelled(py: Python<'_>, error: &PyErr) -> bool {
    cancelled_error(py).is_ok_and(|class| error.is_instance(py, class))
}

/// A new CancelledError, with `message` if there is one.
pub fn cancelled<'py>(py: Python<'py>, message: Option<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    let class = cancelled_error(py)?;
    match message.filter(|m| !m.is_none()) {
        Some(message) => class.call1((message,)),
        None => class.call0(),
    }
}
