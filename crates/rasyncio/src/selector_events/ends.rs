//! `Ends`: a transport with its protocol and its loop, as what all transports have in common sees it.
//!
//! Called by the transports of sockets, datagrams and pipes, and by their flow control; calls the loop's exception handler, and
//! the logger of the transport's room.
//!
//! What an exception does to a transport: SystemExit and KeyboardInterrupt leave the loop; an error that belongs to the
//! business of networks ends the connection, and is news in debug mode only; any other is reported besides.

use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError, PySystemExit, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use slots::intern;
use slots::{Args, Own, Signature, Slot, arg, opt};

use crate::face;
use crate::log::logger;

/// A transport, its protocol and its loop.
pub type Ends<'py> = [Bound<'py, PyAny>; 3];

/// Whether an exception is for the loop to leave with.
pub fn leaves(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

/// Tells of an error that ends a transport: in debug mode the logger of `room` where it is an expected one, otherwise the
/// exception handler.
pub fn report_end<'py>(
    [transport, protocol, event_loop]: Ends<'py>,
    room: &'static str,
    is_debug: bool,
    exception: &Bound<'py, PyAny>,
    message: &Bound<'py, PyAny>,
    is_expected: bool,
) -> PyResult<()> {
    let py = transport.py();
    if is_expected {
        if is_debug {
            logger(py, room)?.log_error("debug", ("%r: %s", transport, message), Some(exception))?;
        }
        return Ok(());
    }
    let details = slots::dict(py)?;
    details.set_item(intern!(py, "message"), message)?;
    details.set_item(intern!(py, "exception"), exception)?;
    details.set_item(intern!(py, "transport"), transport)?;
    details.set_item(intern!(py, "protocol"), protocol)?;
    event_loop.call_method1(intern!(py, "call_exception_handler"), (details,)).map(drop)
}

/// A socket transport's fatal error: the report, and the end by force, as in the `except` clause that has caught the error.
pub fn fatal<'py>(
    ends: Ends<'py>,
    is_debug: bool,
    error: PyErr,
    message: &str,
    force_close: impl FnOnce(Option<Bound<'py, PyAny>>) -> PyResult<()>,
) -> PyResult<()> {
    let py = ends[0].py();
    if leaves(py, &error) {
        return Err(error);
    }
    slots::excepting(py, error, |exception| {
        let message = message.into_pyobject(py)?.into_any();
        let is_expected = exception.is_instance_of::<PyOSError>();
        report_end(ends, "selector_events", is_debug, exception, &message, is_expected)?;
        force_close(Some(exception.clone()))
    })
}

/// `get_extra_info(name, default=None)`, of this dict.
pub fn extra_info(extra: &Slot, args: &Args<'_, '_>) -> PyResult<Own> {
    const EXTRA: Signature<2> = Signature::method("BaseTransport.get_extra_info", [arg("name"), opt("default")]);
    let [Some(name), default] = args.parse(&EXTRA)? else {
        return Err(PyTypeError::new_err("name is missing"));
    };
    let py = args.py();
    let default = default.map_or_else(|| py.None().into_bound(py), Clone::clone);
    extra.get_or_none(py).call_method1(intern!(py, "get"), (name, default)).map(Own::new)
}

/// A socket as transports show it to users.
pub fn shown<'py>(sock: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = sock.py();
    face(py, "trsock")?.getattr(intern!(py, "TransportSocket"))?.call1((sock,))
}

/// What is known of a socket that a transport takes over: `extra`, the socket for users to see, and both addresses.
pub fn known_of<'py>(sock: &Bound<'py, PyAny>, extra: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyDict>> {
    let py = sock.py();
    let known = slots::dict(py)?;
    if let Some(extra) = extra {
        known.update(extra.cast::<PyDict>()?.as_mapping())?;
    }
    known.set_item(intern!(py, "socket"), shown(sock)?)?;
    let address = |method: &str| match sock.call_method0(slots::Text(method)) {
        Err(error) if error.is_instance_of::<PyOSError>(py) => Ok(py.None().into_bound(py)),
        answered => answered,
    };
    known.set_item(intern!(py, "sockname"), address("getsockname")?)?;
    if !known.contains(intern!(py, "peername"))? {
        known.set_item(intern!(py, "peername"), address("getpeername")?)?;
    }
    Ok(known)
}
