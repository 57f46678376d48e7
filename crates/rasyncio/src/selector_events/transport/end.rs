//! The end of a transport: closing in order, closing at once, and what the protocol hears of it.
//!
//! Called by `close`, `abort`, and by the halves when the connection fails; calls the protocol's `connection_lost`, and the server
//! that counts its connections.
//!
//! States: open -> closing (what is buffered is still sent) -> lost (`connection_lost` was scheduled, once) -> closed (the
//! socket is closed and everything let go). `abort` and fatal errors go to lost at once and drop what is buffered.
//!
//! Invariants: `connection_lost` is called once, and always later, by the loop. The descriptor is released from the
//! poller before the socket is closed, so that a new one of the same number is never taken for it.

use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;
use slots::Ref;
use slots::intern;

use super::read::stop_reading;
use super::write::{drop_buffer, stop_writing, tell_waiter, write_ready};
use super::{LOST, SocketTransport};
use crate::base_events::server;
use crate::events::LoopCore;
use crate::selector_events::ends::fatal;
use crate::selector_events::on_socket::OnSocket;
use crate::selector_events::watch;

pub(super) fn close(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    if this.closing.replace(true) {
        return Ok(());
    }
    stop_reading(this)?;
    if this.buffered() == 0 {
        this.conn_lost.set(this.conn_lost.get() + 1);
        stop_writing(this)?;
        schedule_lost(this, None)?;
    } else if SocketTransport::descriptor(this) < 0 {
        // What waits can never be sent: this fails, and ends the connection.
        write_ready(this)?;
    }
    Ok(())
}

pub(super) fn schedule_lost<'py>(this: &Ref<'py, SocketTransport>, error: Option<Bound<'py, PyAny>>) -> PyResult<()> {
    SocketTransport::take_context(this, &this.losing_context)?;
    match this.core.get(this.py()) {
        Some(core) => {
            let error = error.unwrap_or_else(|| this.py().None().into_bound(this.py()));
            LoopCore::schedule(&core, this.any().clone(), Some(error), &LOST)
        }
        None => Ok(()),
    }
}

pub(super) fn fatal_error(this: &Ref<'_, SocketTransport>, error: PyErr, message: &str) -> PyResult<()> {
    let is_debug = SocketTransport::is_debug(this);
    fatal(SocketTransport::ends(this), is_debug, error, message, |exception| force_close(this, exception))
}

pub(super) fn force_close<'py>(this: &Ref<'py, SocketTransport>, error: Option<Bound<'py, PyAny>>) -> PyResult<()> {
    if this.conn_lost.get() > 0 {
        return Ok(());
    }
    drop_buffer(this);
    stop_writing(this)?;
    if !this.closing.replace(true) {
        stop_reading(this)?;
    }
    this.conn_lost.set(1);
    schedule_lost(this, error)
}

pub(super) fn call_connection_lost<'py>(this: &Ref<'py, SocketTransport>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let told = if this.connected.get() {
        match this.protocol.get(py) {
            Some(protocol) => protocol.call_method1(intern!(py, "connection_lost"), (error,)).map(drop),
            None => Ok(()),
        }
    } else {
        Ok(())
    };
    let closed = close_socket(this);
    let server = this.server.take(py);
    this.protocol.unset();
    // A closed transport may be kept, or be garbage until the collector runs: it keeps no values of context variables.
    for context in [&this.context, &this.writing_context, &this.losing_context] {
        context.unset();
    }
    if told.is_ok() {
        // Otherwise the loop is still needed, to hear of the error.
        this.core.unset();
    }
    let detached = match server {
        Some(server) => server::detach(&server, this.any()),
        None => Ok(()),
    };
    if this.empty_waiter.is_set() {
        let lost = PyConnectionError::new_err("Connection is closed by peer").into_value(py);
        tell_waiter(this, "set_exception", lost.into_bound(py).into_any())?;
    }
    told.and(closed).and(detached)
}

/// Releases the descriptor from the poller and closes the socket.
pub(super) fn close_socket(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    let py = this.py();
    let is_ours = SocketTransport::descriptor(this) == this.fd.get();
    let Some(socket) = this.socket.take(py) else { return Ok(()) };
    if !this.extra.is_set() {
        this.former.set(socket.clone());
    }
    if let (Some(core), true) = (this.core.get(py), is_ours) {
        this.reading.set(false);
        this.writing.set(false);
        watch::release(&core, this.fd.get())?;
    }
    socket.call_method0(intern!(py, "close")).map(drop)
}
