//! The handshake: from the transport's connection_made to the program's.
//!
//! Called when the connection is made and when bytes come meanwhile; calls the SSLObject, then the program, then reads on.
//!
//! States: Unwrapped -> Handshake -> Wrapped, or back. A timer ends what takes too long (`ssl_handshake_timeout`).
//!
//! A failure is told to whoever waits for the connection, and closes the transport. Errors of TLS and of the network are logged
//! in debug mode only; others go to the exception handler. No alert is sent, as in CPython.

use engine::tls::{App, Phase};
use pyo3::exceptions::{PyConnectionAbortedError, PyException};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use slots::Ref;
use slots::intern;

use super::object::{incoming_pending, is_again, is_known, is_ssl_error, object, open_channel};
use super::{SslProtocol, SslTransport, cancel, logger, read, shutdown, ssl_module, write};

pub(super) fn start(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    let py = this.py();
    let event_loop = SslProtocol::event_loop(this);
    if SslProtocol::is_debug(this)? {
        logger(py)?.log("debug", ("%r starts SSL handshake", this.any()))?;
        this.handshake_began.set(event_loop.call_method0(intern!(py, "time"))?.extract()?);
    }
    SslProtocol::become_phase(this, Phase::Handshake)?;
    let check = this.any().getattr(intern!(py, "_check_handshake_timeout"))?;
    let timeout = this.handshake_timeout.get_or_none(py);
    this.handshake_timer.set(event_loop.call_method1(intern!(py, "call_later"), (timeout, check))?);
    // A server that has heard nothing has nothing to say; an SSLObject says so by an exception.
    if this.server_side.get() && is_known(this) && incoming_pending(this)? == 0 {
        return Ok(());
    }
    go_on(this)
}

/// The time is over.
pub(super) fn check_timeout(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    if this.phase() != Phase::Handshake {
        return Ok(());
    }
    let text = format!(
        "SSL handshake is taking longer than {} seconds: aborting the connection",
        this.handshake_timeout.get_or_none(this.py()).str()?
    );
    let error = PyConnectionAbortedError::new_err(text).into_value(this.py());
    shutdown::fatal_error(this, error.into_bound(this.py()).into_any(), shutdown::ON_TRANSPORT)
}

pub(super) fn go_on(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    let py = this.py();
    match object(this).call_method0(intern!(py, "do_handshake")) {
        Ok(_) => complete(this, None),
        Err(error) if is_again(this, &error) => write::send(this),
        Err(error) if is_ssl_error(py, &error)? => complete(this, Some(error)),
        Err(error) => Err(error),
    }
}

/// The handshake is over, well or not.
pub(super) fn complete(this: &Ref<'_, SslProtocol>, error: Option<PyErr>) -> PyResult<()> {
    let py = this.py();
    cancel(py, &this.handshake_timer)?;
    let object = object(this);
    let certificate = match error {
        Some(error) => Err(error),
        None => SslProtocol::become_phase(this, Phase::Wrapped)
            .and_then(|()| object.call_method0(intern!(py, "getpeercert"))),
    };
    let certificate = match certificate {
        Ok(certificate) => certificate,
        Err(error) if error.is_instance_of::<PyException>(py) => return failed(this, error),
        Err(error) => return Err(error),
    };
    let event_loop = SslProtocol::event_loop(this);
    if SslProtocol::is_debug(this)? {
        let now: f64 = event_loop.call_method0(intern!(py, "time"))?.extract()?;
        let took = (now - this.handshake_began.get()) * 1e3;
        logger(py)?.log("debug", ("%r: SSL handshake took %.1f ms", this.any(), took))?;
    }
    let extra = this.extra.get_or_none(py);
    let extra = extra.cast::<PyDict>()?;
    extra.set_item(intern!(py, "peercert"), certificate)?;
    extra.set_item(intern!(py, "cipher"), object.call_method0(intern!(py, "cipher"))?)?;
    extra.set_item(intern!(py, "compression"), object.call_method0(intern!(py, "compression"))?)?;
    extra.set_item(intern!(py, "ssl_object"), &object)?;
    open_channel(this)?;
    if this.told.get() == App::Init {
        this.told.set(App::Made);
        let app_transport = SslTransport::of(this)?;
        this.app.get_or_none(py).call_method1(intern!(py, "connection_made"), (app_transport.any(),))?;
    }
    SslProtocol::wake_waiter(this, None)?;
    read::deliver(this)
}

fn failed(this: &Ref<'_, SslProtocol>, error: PyErr) -> PyResult<()> {
    let py = this.py();
    SslProtocol::become_phase(this, Phase::Unwrapped)?;
    let refused = match ssl_module(py, "sslproto")? {
        Some(ssl) => error.matches(py, ssl.getattr(intern!(py, "CertificateError"))?)?,
        None => false,
    };
    let message = if refused { "SSL handshake failed on verifying the certificate" } else { "SSL handshake failed" };
    slots::excepting(py, error, |error| {
        shutdown::fatal_error(this, error.clone(), message)?;
        SslProtocol::wake_waiter(this, Some(error))
    })
}
