//! The receiving half: one datagram for each event goes to the protocol.
//!
//! Called by the poller through [`READ`](super::READ), by `pause_reading` and `resume_reading`; calls the protocol.
//!
//! One datagram for each event: a protocol that pauses inside `datagram_received` gets nothing more, and others have their
//! turn. What is left in the kernel is reported again, since the poller is level-triggered.
//!
//! Errors: would-block and interruptions are no news; an OSError is the protocol's (`error_received`); anything else, which
//! only a socket object of another class can raise, ends the transport. What the protocol raises is the loop's to report,
//! and the transport goes on.

use engine::sys::datagram;
use pyo3::prelude::*;
use slots::Ref;
use slots::intern;

use super::address::Family;
use super::end::fatal_error;
use super::{BaseSelectorEventLoop, DatagramTransport, Failure, MOST_BYTES, READ, error_received};
use crate::selector_events::on_socket::OnSocket;
use crate::selector_events::watch;

pub(super) fn start_reading(this: &Ref<'_, DatagramTransport>) -> PyResult<()> {
    if !this.is_reading() || this.reading.replace(true) {
        return Ok(());
    }
    match this.core.get(this.py()) {
        Some(core) => watch::add_resident_reader(&core, this.fd.get(), this.any().clone(), &READ),
        None => Ok(()),
    }
}

pub(super) fn stop_reading(this: &Ref<'_, DatagramTransport>) -> PyResult<()> {
    if this.reading.replace(false) { DatagramTransport::unwatch(this, watch::remove_reader) } else { Ok(()) }
}

pub(super) fn pause_reading(this: &Ref<'_, DatagramTransport>) -> PyResult<()> {
    if !this.is_reading() {
        return Ok(());
    }
    this.paused.set(true);
    stop_reading(this)?;
    DatagramTransport::log_debug(this, "%r pauses reading")
}

pub(super) fn resume_reading(this: &Ref<'_, DatagramTransport>) -> PyResult<()> {
    if this.is_closing() || !this.paused.replace(false) {
        return Ok(());
    }
    this.reading_context.set(slots::copy_current(this.py())?);
    start_reading(this)?;
    DatagramTransport::log_debug(this, "%r resumes reading")
}

pub(super) fn read_ready(this: &Ref<'_, DatagramTransport>) -> PyResult<()> {
    let py = this.py();
    if !this.is_reading() {
        return Ok(());
    }
    let received = match this.family.get() {
        Family::Foreign => receive_by_object(this),
        // Whoever sets max_size may ask for more memory than there is; the socket object raises then.
        _ if this.max_size.get() > MOST_BYTES => receive_by_object(this),
        _ => receive(this),
    };
    match received {
        Ok((data, from)) => {
            let protocol = this.protocol.get_or_none(py);
            protocol.call_method1(intern!(py, "datagram_received"), (&data, from))?;
            if let Ok(data) = data.cast_into_exact() {
                BaseSelectorEventLoop::keep_spare(&DatagramTransport::event_loop(this), data);
            }
            Ok(())
        }
        Err(Failure::Busy) => Ok(()),
        Err(Failure::System(error)) => error_received(this, error),
        Err(Failure::Other(error)) => fatal_error(this, error, "Fatal read error on datagram transport"),
    }
}

type Received<'py> = Result<(Bound<'py, PyAny>, Bound<'py, PyAny>), Failure>;

/// Receives into the loop's memory, of which the datagram's own bytes are copied.
fn receive<'py>(this: &Ref<'py, DatagramTransport>) -> Received<'py> {
    let py = this.py();
    let event_loop = DatagramTransport::event_loop(this);
    let Some(native) = BaseSelectorEventLoop::of(&event_loop) else { return Err(Failure::Busy) };
    let (fd, size) = (DatagramTransport::descriptor(this), this.max_size.get());
    let received = {
        let mut scratch = native.scratch(size);
        let received = datagram::receive_from(fd, &mut scratch);
        received.map(|(count, from)| (native.spare.bytes(py, &scratch[..count]), from))
    };
    let (data, from) = received.map_err(|error| Failure::of(py, error))?;
    let data = data.map_err(Failure::Other)?;
    native.bytes_read.set(native.bytes_read.get() + data.as_bytes().len());
    let from = this.sender.sender(py, from).map_err(Failure::Other)?;
    Ok((data.into_any(), from))
}

fn receive_by_object<'py>(this: &Ref<'py, DatagramTransport>) -> Received<'py> {
    let py = this.py();
    let received = this.socket.get_or_none(py).call_method1(intern!(py, "recvfrom"), (this.max_size.get(),));
    received.and_then(|pair| pair.extract()).map_err(|error| Failure::raised(py, error))
}
