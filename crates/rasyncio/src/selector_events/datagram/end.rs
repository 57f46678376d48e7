//! The end of a datagram transport: closing in order, closing at once, and what the protocol hears of it.
//!
//! Called by `close`, `abort`, and by the halves when something other than the kernel fails; calls the protocol's
//! `connection_lost`.
//!
//! States: open -> closing (what waits is still sent) -> lost (`connection_lost` was scheduled, once) -> closed (the
//! socket is closed and everything let go). `abort` and fatal errors go to lost at once and drop what waits.
//!
//! Invariants: `connection_lost` is called once, and always later, by the loop. The descriptor is released from the
//! poller before the socket is closed, so that a new one of the same number is never taken for it.

use pyo3::prelude::*;
use slots::Ref;
use slots::intern;

use super::read::stop_reading;
use super::send::stop_writing;
use super::{DatagramTransport, LOST, State};
use crate::events::LoopCore;
use crate::selector_events::ends::fatal;
use crate::selector_events::on_socket::OnSocket;
use crate::selector_events::watch;

pub(super) fn close(this: &Ref<'_, DatagramTransport>) -> PyResult<()> {
    if this.is_closing() {
        return Ok(());
    }
    this.state.set(State::Closing);
    stop_reading(this)?;
    if this.has_waiting() {
        return Ok(());
    }
    this.state.set(State::Lost);
    stop_writing(this)?;
    schedule_lost(this, None)
}

pub(super) fn force_close<'py>(this: &Ref<'py, DatagramTransport>, error: Option<Bound<'py, PyAny>>) -> PyResult<()> {
    if this.state.get() >= State::Lost {
        return Ok(());
    }
    let waiting = std::mem::take(&mut *this.waiting.borrow_mut());
    drop(waiting);
    // Before 3.15 the size stays what it was.
    if slots::VERSION >= (3, 15) {
        this.waiting_size.set(0);
    }
    this.state.set(State::Lost);
    stop_writing(this)?;
    stop_reading(this)?;
    schedule_lost(this, error)
}

fn schedule_lost<'py>(this: &Ref<'py, DatagramTransport>, error: Option<Bound<'py, PyAny>>) -> PyResult<()> {
    let py = this.py();
    this.lost_context.set(slots::copy_current(py)?);
    match this.core.get(py) {
        Some(core) => {
            let error = error.unwrap_or_else(|| py.None().into_bound(py));
            LoopCore::schedule(&core, this.any().clone(), Some(error), &LOST)
        }
        None => Ok(()),
    }
}

pub(super) fn fatal_error(this: &Ref<'_, DatagramTransport>, error: PyErr, message: &str) -> PyResult<()> {
    let is_debug = DatagramTransport::is_debug(this);
    fatal(DatagramTransport::ends(this), is_debug, error, message, |exception| force_close(this, exception))
}

pub(super) fn call_connection_lost<'py>(this: &Ref<'py, DatagramTransport>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let told = match this.protocol.get(py) {
        Some(protocol) => protocol.call_method1(intern!(py, "connection_lost"), (error,)).map(drop),
        None => Ok(()),
    };
    let closed = close_socket(this);
    this.state.set(State::Closed);
    this.protocol.unset();
    for context in [&this.reading_context, &this.writing_context, &this.lost_context] {
        context.unset();
    }
    this.sender.forget();
    this.receiver.forget();
    if told.is_ok() {
        // Otherwise the loop is still needed, to hear of the error.
        this.core.unset();
    }
    told.and(closed)
}

/// Releases the descriptor from the poller and closes the socket.
pub(super) fn close_socket(this: &Ref<'_, DatagramTransport>) -> PyResult<()> {
    let py = this.py();
    let is_ours = DatagramTransport::descriptor(this) == this.fd.get();
    let Some(socket) = this.socket.take(py) else { return Ok(()) };
    if let (Some(core), true) = (this.core.get(py), is_ours) {
        this.reading.set(false);
        this.writing.set(false);
        watch::release(&core, this.fd.get())?;
    }
    socket.call_method0(intern!(py, "close")).map(drop)
}
