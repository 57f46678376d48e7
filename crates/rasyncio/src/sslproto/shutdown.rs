//! The end of a connection: in order, at once, or by an error.
//!
//! Called by the program's transport (`close`, `abort`), by the reading side when the peer says that it is done, and by what goes
//! wrong anywhere; calls the SSLObject's `unwrap`, the transport below, and the exception handler.
//!
//! States: Wrapped -> Flushing (what came is still handed on) -> Shutdown (`unwrap`: our close_notify goes, theirs is waited
//! for) -> the transport is closed, and its connection_lost ends it all. Where the transport has ended already, theirs is not
//! waited for. A timer ends what takes too long (`ssl_shutdown_timeout`).
//!
//! Errors: OSErrors, those of TLS among them, are told to the program by connection_lost, and logged in debug mode; others go to the
//! exception handler too.

use engine::tls::Phase;
use pyo3::exceptions::{PyOSError, PyTimeoutError};
use pyo3::prelude::*;
use slots::Ref;
use slots::intern;

use super::object::{is_again, is_ssl_error, object};
use super::{SslProtocol, cancel, logger, read, write};
use crate::exceptions;

/// What is said of an error whose place is not known better.
pub(super) const ON_TRANSPORT: &str = "Fatal error on transport";

/// The program closes the connection, or the peer has.
pub(super) fn start(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    let py = this.py();
    if !this.phase().accepts() {
        return Ok(());
    }
    if let Some(app_transport) = this.app_transport.get(py) {
        app_transport.mark_closed();
    }
    if this.phase() == Phase::Handshake {
        return abort(this, &py.None().into_bound(py));
    }
    SslProtocol::become_phase(this, Phase::Flushing)?;
    let check = this.any().getattr(intern!(py, "_check_shutdown_timeout"))?;
    let timeout = this.shutdown_timeout.get_or_none(py);
    let event_loop = SslProtocol::event_loop(this);
    this.shutdown_timer.set(event_loop.call_method1(intern!(py, "call_later"), (timeout, check))?);
    flush(this)
}

/// The time is over.
pub(super) fn check_timeout(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    if !this.phase().is_ending() {
        return Ok(());
    }
    let error = PyTimeoutError::new_err("SSL shutdown timed out").into_value(this.py());
    SslProtocol::lower(this).call_method1(intern!(this.py(), "_force_close"), (error,)).map(drop)
}

/// What came is handed on once more, then the ends are exchanged.
pub(super) fn flush(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    read::deliver(this)?;
    SslProtocol::become_phase(this, Phase::Shutdown)?;
    go_on(this)
}

pub(super) fn go_on(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    let py = this.py();
    let unwrapped = match this.eof_received.get() {
        true => Ok(()),
        false => object(this).call_method0(intern!(py, "unwrap")).map(drop),
    };
    match unwrapped {
        Ok(()) => {
            write::send(this)?;
            read::tell_eof(this)?;
            complete(this, None)
        }
        Err(error) if is_again(this, &error) => write::send(this),
        Err(error) if is_ssl_error(py, &error)? => complete(this, Some(error)),
        Err(error) => Err(error),
    }
}

fn complete(this: &Ref<'_, SslProtocol>, error: Option<PyErr>) -> PyResult<()> {
    let py = this.py();
    cancel(py, &this.shutdown_timer)?;
    if let Some(error) = error {
        return failed(this, error, ON_TRANSPORT);
    }
    let close = SslProtocol::lower(this).getattr(intern!(py, "close"))?;
    SslProtocol::event_loop(this).call_method1(intern!(py, "call_soon"), (close,)).map(drop)
}

/// The end at once; what waits is lost.
pub(super) fn abort<'py>(this: &Ref<'py, SslProtocol>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    SslProtocol::become_phase(this, Phase::Unwrapped)?;
    match this.transport.get(this.py()) {
        Some(transport) => transport.call_method1(intern!(this.py(), "_force_close"), (error,)).map(drop),
        None => Ok(()),
    }
}

/// [`fatal_error`] in the `except` clause that has caught the error.
pub(super) fn failed(this: &Ref<'_, SslProtocol>, error: PyErr, message: &str) -> PyResult<()> {
    slots::excepting(this.py(), error, |error| fatal_error(this, error.clone(), message))
}

/// An error that the connection does not survive.
pub(super) fn fatal_error<'py>(this: &Ref<'py, SslProtocol>, error: Bound<'py, PyAny>, message: &str) -> PyResult<()> {
    let py = this.py();
    if let Some(transport) = this.transport.get(py) {
        transport.call_method1(intern!(py, "_force_close"), (&error,))?;
    }
    if error.is_instance_of::<PyOSError>() {
        if SslProtocol::is_debug(this)? {
            logger(py)?.log_error("debug", ("%r: %s", this.any(), message), Some(&error))?;
        }
        return Ok(());
    }
    if error.is_instance(exceptions::cancelled_error(py)?)? {
        return Ok(());
    }
    let details = slots::dict(py)?;
    details.set_item(intern!(py, "message"), message)?;
    details.set_item(intern!(py, "exception"), &error)?;
    details.set_item(intern!(py, "transport"), this.transport.get_or_none(py))?;
    details.set_item(intern!(py, "protocol"), this.any())?;
    SslProtocol::event_loop(this).call_method1(intern!(py, "call_exception_handler"), (details,)).map(drop)
}
