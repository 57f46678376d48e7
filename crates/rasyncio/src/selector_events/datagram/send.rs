//! The sending half: a datagram goes to the kernel, or waits.
//!
//! Called by `sendto`, and by the poller through [`WRITE`](super::WRITE); calls the protocol to pause and resume it, and to tell it of
//! errors.
//!
//! States: nothing waits -> datagrams wait, in order, and the poller looks at the writing side -> nothing waits. A datagram
//! is tried at once when none waits before it. An error loses the datagram that had it; the others stay.
//!
//! A bytes object to a numeric address goes straight to the kernel; everything else by the socket object, which has
//! the errors for what is not understood here.
//!
//! From 3.13 on a datagram may be empty, and one that waits counts eight bytes for its header; before, an empty one is no
//! datagram.

use engine::sys::{datagram, socket};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use slots::intern;
use slots::{Args, Own, Ref, Signature, arg, opt};

use super::address::Family;
use super::end::{call_connection_lost, fatal_error};
use super::{DatagramTransport, Failure, HEADER, State, WRITE, error_received};
use crate::face;
use crate::log::logger;
use crate::selector_events::on_socket::OnSocket;
use crate::selector_events::watch;

const WRITE_FAILED: &str = "Fatal write error on datagram transport";

pub(super) fn sendto<'py>(this: &Ref<'py, DatagramTransport>, args: &Args<'_, 'py>) -> PyResult<()> {
    const SENDTO: Signature<2> = Signature::method("_SelectorDatagramTransport.sendto", [arg("data"), opt("addr")]);
    let py = this.py();
    let [Some(data), to] = args.parse(&SENDTO)? else { return Err(PyTypeError::new_err("data is missing")) };
    if !data.is_instance_of::<PyBytes>()
        && !data.is_instance_of::<PyByteArray>()
        && !data.is_instance_of::<PyMemoryView>()
    {
        let name = data.get_type().name()?;
        return Err(PyTypeError::new_err(format!("data argument must be a bytes-like object, not '{name}'")));
    }
    if slots::VERSION < (3, 13) && !data.is_truthy()? {
        return Ok(());
    }
    let to = to.cloned().unwrap_or_else(|| py.None().into_bound(py));
    let to = match this.address.get(py) {
        None => to,
        Some(only) => {
            if !to.is_none() && !to.is(&only) && !to.eq(&only)? {
                return Err(PyValueError::new_err(format!("Invalid address: must be None or {}", only.str()?)));
            }
            if this.state.get() >= State::Lost {
                return sent_to_nowhere(this);
            }
            only
        }
    };
    if this.state.get() == State::Closed {
        return sent_to_nowhere(this);
    }
    if !this.has_waiting() {
        match try_to_send(this, data, &to) {
            Ok(()) => return Ok(()),
            Err(Failure::Busy) => start_writing(this)?,
            Err(Failure::System(error)) => return error_received(this, error),
            Err(Failure::Other(error)) => return fatal_error(this, error, WRITE_FAILED),
        }
    }
    let kept = match data.cast_exact::<PyBytes>() {
        Ok(bytes) => bytes.clone(),
        // What waits must not change.
        Err(_) => py.get_type::<PyBytes>().call1((data,))?.cast_into()?,
    };
    let size = kept.as_bytes().len() + HEADER;
    this.waiting.borrow_mut().push_back((Own::new(kept.into_any()), Own::new(to)));
    this.waiting_size.set(this.waiting_size.get() + size);
    DatagramTransport::maybe_pause_protocol(this)
}

/// A datagram after the end: nothing but a warning, when there are many.
fn sent_to_nowhere(this: &Ref<'_, DatagramTransport>) -> PyResult<()> {
    let py = this.py();
    let threshold: u32 = face(py, "constants")?.getattr(intern!(py, "LOG_THRESHOLD_FOR_CONNLOST_WRITES"))?.extract()?;
    if this.conn_lost() >= threshold {
        let logger = logger(py, "selector_events")?;
        logger.log("warning", ("socket.send() raised exception.",))?;
    }
    this.lost_datagrams.set(this.lost_datagrams.get().saturating_add(1));
    Ok(())
}

fn try_to_send<'py>(
    this: &Ref<'py, DatagramTransport>,
    data: &Bound<'py, PyAny>,
    to: &Bound<'py, PyAny>,
) -> Result<(), Failure> {
    let py = this.py();
    let raised = |error| Failure::raised(py, error);
    let refused = |error| Failure::of(py, error);
    let object = this.socket.get_or_none(py);
    let family = this.family.get();
    if let (true, Ok(bytes)) = (family != Family::Foreign, data.cast_exact::<PyBytes>()) {
        if this.has_peer.get() {
            socket::send(DatagramTransport::descriptor(this), bytes.as_bytes()).map_err(refused)?;
            return Ok(());
        }
        if let Some(address) = this.receiver.receiver(family, to, &this.sender) {
            slots::audit(c"socket.sendto", &object, to).map_err(raised)?;
            let fd = DatagramTransport::descriptor(this);
            datagram::send_to(fd, bytes.as_bytes(), &address).map_err(refused)?;
            return Ok(());
        }
    }
    if this.has_peer.get() {
        object.call_method1(intern!(py, "send"), (data,)).map_err(raised)?;
    } else {
        object.call_method1(intern!(py, "sendto"), (data, to)).map_err(raised)?;
    }
    Ok(())
}

pub(super) fn send_ready(this: &Ref<'_, DatagramTransport>) -> PyResult<()> {
    let py = this.py();
    if this.state.get() >= State::Lost {
        return Ok(());
    }
    loop {
        let next = this.waiting.borrow_mut().pop_front();
        let Some((data, to)) = next else { break };
        let size = data.bind(py).len()? + HEADER;
        this.waiting_size.set(this.waiting_size.get().saturating_sub(size));
        match try_to_send(this, data.bind(py), to.bind(py)) {
            Ok(()) => {}
            Err(Failure::Busy) => {
                this.waiting.borrow_mut().push_front((data, to));
                this.waiting_size.set(this.waiting_size.get() + size);
                break;
            }
            Err(Failure::System(error)) => return error_received(this, error),
            Err(Failure::Other(error)) => return fatal_error(this, error, WRITE_FAILED),
        }
    }
    // The protocol may send more when it is resumed.
    DatagramTransport::maybe_resume_protocol(this)?;
    if this.has_waiting() {
        return Ok(());
    }
    stop_writing(this)?;
    // Unless the protocol, being resumed, aborted: then connection_lost is scheduled already.
    if this.state.get() == State::Closing {
        this.state.set(State::Lost);
        return call_connection_lost(this, &py.None().into_bound(py));
    }
    Ok(())
}

/// Has the poller look at the writing side, in the context of now.
fn start_writing(this: &Ref<'_, DatagramTransport>) -> PyResult<()> {
    this.writing_context.set(slots::copy_current(this.py())?);
    if !this.writing.replace(true) {
        if let Some(core) = this.core.get(this.py()) {
            watch::add_resident_writer(&core, this.fd.get(), this.any().clone(), &WRITE)?;
        }
    }
    Ok(())
}

pub(super) fn stop_writing(this: &Ref<'_, DatagramTransport>) -> PyResult<()> {
    if this.writing.replace(false) { DatagramTransport::unwatch(this, watch::remove_writer) } else { Ok(()) }
}
