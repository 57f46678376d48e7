//! The writing half of a transport: what the user sends goes to the kernel, or waits in the buffer.
//!
//! Called by `write`, `writelines`, `write_eof`, and by the poller through [`WRITE`](super::WRITE); calls the protocol to pause and
//! resume it.
//!
//! States: nothing buffered (the poller does not look at the writing side) -> buffered (it does) -> nothing buffered. A write
//! is tried at once when nothing waits before it; what the kernel does not take is copied.
//!
//! Where the socket was closed or detached behind the transport's back, a write and close() end the connection, also when
//! something waits; asyncio's would wait for ever.
//!
//! Above the high mark the protocol is paused, at the low mark resumed, once per crossing.
//!
//! Invariant: no borrow of the buffer is open during a Python call.

use std::io;

use engine::buffers::WriteBuffer;
use engine::sys::socket;
use pyo3::exceptions::{PyBufferError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};
use slots::Ref;
use slots::intern;

use super::end::{call_connection_lost, fatal_error};
use super::{SocketTransport, WRITE, would_block};
use crate::log::logger;
use crate::selector_events::ends::leaves;
use crate::selector_events::on_socket::OnSocket;
use crate::selector_events::watch;
use crate::{exceptions, face};

/// The content of any contiguous buffer as bytes, a copy unless it is bytes.
pub(crate) fn bytes_of<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        return Ok(bytes.clone());
    }
    let py = data.py();
    let view = PyMemoryView::from(data)?;
    if !view.getattr(intern!(py, "c_contiguous"))?.is_truthy()? {
        return Err(PyBufferError::new_err("memoryview: underlying buffer is not C-contiguous"));
    }
    Ok(view.call_method0(intern!(py, "tobytes"))?.cast_into()?)
}

/// A write that cannot be: the end of the connection, unless it has ended already.
#[cold]
pub(super) fn write_failed(this: &Ref<'_, SocketTransport>, error: PyErr) -> PyResult<()> {
    if this.conn_lost.get() > 0 {
        return write_lost(this);
    }
    fatal_error(this, error, "Fatal write error on socket transport")
}

/// A write to a connection that is lost: nothing but a warning, when there are many.
pub(super) fn write_lost(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    let py = this.py();
    let threshold: u32 = face(py, "constants")?.getattr(intern!(py, "LOG_THRESHOLD_FOR_CONNLOST_WRITES"))?.extract()?;
    if this.conn_lost.get() >= threshold {
        let logger = logger(py, "selector_events")?;
        logger.log("warning", ("socket.send() raised exception.",))?;
    }
    this.conn_lost.set(this.conn_lost.get() + 1);
    Ok(())
}

pub(super) fn write_bytes(this: &Ref<'_, SocketTransport>, bytes: &[u8]) -> PyResult<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    if this.conn_lost.get() > 0 {
        return write_lost(this);
    }
    let mut rest = bytes;
    let fd = SocketTransport::descriptor(this);
    // Where the socket was closed behind our back, the poller will never tell of what waits.
    if this.buffered() == 0 || fd < 0 {
        match socket::send(fd, bytes) {
            Ok(sent) if sent == bytes.len() => return Ok(()),
            Ok(sent) => rest = &bytes[sent..],
            Err(error) if would_block(&error) => {}
            Err(error) => {
                return fatal_error(
                    this,
                    exceptions::os_error(this.py(), error),
                    "Fatal write error on socket transport",
                );
            }
        }
    }
    keep(this, |buffer| buffer.push(rest))
}

/// What a send of memory that is somebody else's has come to.
enum Sent {
    All,
    /// The rest is copied.
    Part(Vec<u8>),
    Failed(io::Error),
}

/// Sends what is in any contiguous buffer: straight from there, where nothing waits before it.
pub(super) fn write_lent<'py>(this: &Ref<'py, SocketTransport>, data: &Bound<'py, PyAny>) -> PyResult<()> {
    if this.conn_lost.get() > 0 {
        return write_lost(this);
    }
    if !this.direct.get() || this.buffered() > 0 {
        return match bytes_of(data) {
            Ok(bytes) => write_bytes(this, bytes.as_bytes()),
            Err(error) => not_lent(this, error),
        };
    }
    // Whoever lends the memory may run code first, which writes or closes.
    let sent = slots::lent(data, |bytes| {
        if bytes.is_empty() {
            return Sent::All;
        }
        if this.buffered() > 0 {
            return Sent::Part(bytes.to_vec());
        }
        match socket::send(SocketTransport::descriptor(this), bytes) {
            Ok(sent) if sent == bytes.len() => Sent::All,
            Ok(sent) => Sent::Part(bytes[sent..].to_vec()),
            Err(error) if would_block(&error) => Sent::Part(bytes.to_vec()),
            Err(error) => Sent::Failed(error),
        }
    });
    let sent = match sent {
        Ok(sent) => sent,
        Err(error) => return not_lent(this, error),
    };
    match sent {
        Sent::All => Ok(()),
        // The connection was ended by whoever lent the memory.
        Sent::Part(_) if this.conn_lost.get() > 0 => write_lost(this),
        Sent::Part(rest) => keep(this, |buffer| buffer.push_owned(rest)),
        Sent::Failed(error) => {
            fatal_error(this, exceptions::os_error(this.py(), error), "Fatal write error on socket transport")
        }
    }
}

/// Memory of which the socket would not take a byte either: a memoryview that is not contiguous, or what its owner raised.
#[cold]
fn not_lent(this: &Ref<'_, SocketTransport>, error: PyErr) -> PyResult<()> {
    if leaves(this.py(), &error) { Err(error) } else { write_failed(this, error) }
}

/// What was not sent waits.
fn keep(this: &Ref<'_, SocketTransport>, push: impl FnOnce(&mut WriteBuffer)) -> PyResult<()> {
    push(this.buffer.borrow_mut().get_or_insert_default());
    watch_writing(this)?;
    SocketTransport::maybe_pause_protocol(this)
}

pub(super) fn watch_writing(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    if !this.writing.replace(true) {
        SocketTransport::take_context(this, &this.writing_context)?;
        if let Some(core) = this.core.get(this.py()) {
            watch::add_resident_writer(&core, this.fd.get(), this.any().clone(), &WRITE)?;
        }
    }
    Ok(())
}

pub(super) fn stop_writing(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    if this.writing.replace(false) { SocketTransport::unwatch(this, watch::remove_writer) } else { Ok(()) }
}

pub(super) fn write_ready(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    let py = this.py();
    if this.conn_lost.get() > 0 {
        return Ok(());
    }
    // Nothing may wait any more: where SystemExit left from resume_writing(), what comes after it is done now.
    let fd = SocketTransport::descriptor(this);
    let sent = match this.buffer.borrow_mut().as_mut() {
        Some(buffer) => buffer.flush_to(|slices| socket::send_slices(fd, slices)),
        None => Ok(0),
    };
    match sent {
        Ok(_) => {}
        Err(error) if would_block(&error) => return Ok(()),
        Err(error) => {
            stop_writing(this)?;
            drop_buffer(this);
            let error = exceptions::os_error(py, error);
            let instance = error.value(py).clone();
            fatal_error(this, error, "Fatal write error on socket transport")?;
            return tell_waiter(this, "set_exception", instance.into_any());
        }
    }
    // The protocol may write more when it is resumed.
    SocketTransport::maybe_resume_protocol(this)?;
    if this.buffered() > 0 {
        return Ok(());
    }
    stop_writing(this)?;
    tell_waiter(this, "set_result", py.None().into_bound(py))?;
    // Unless the protocol, being resumed, aborted: then connection_lost is scheduled already.
    if this.closing.get() && this.conn_lost.get() == 0 {
        this.conn_lost.set(1);
        let none = py.None().into_bound(py);
        return call_connection_lost(this, &none);
    }
    if this.eof.get() {
        return shutdown(this);
    }
    Ok(())
}

/// Tells whoever waits until all is sent; whoever was cancelled meanwhile, or told before, hears nothing.
pub(super) fn tell_waiter<'py>(
    this: &Ref<'py, SocketTransport>,
    method: &str,
    value: Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = this.py();
    match this.empty_waiter.get(py) {
        Some(waiter) if !waiter.call_method0(intern!(py, "done"))?.is_truthy()? => {
            waiter.call_method1(slots::Text(method), (value,)).map(drop)
        }
        _ => Ok(()),
    }
}

pub(super) fn shutdown(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    let shut = socket::shutdown_write(SocketTransport::descriptor(this));
    shut.map_err(|error| exceptions::os_error(this.py(), error))
}

pub(super) fn drop_buffer(this: &Ref<'_, SocketTransport>) {
    if let Some(buffer) = this.buffer.borrow_mut().as_mut() {
        buffer.clear();
    }
}

pub(super) fn writelines<'py>(this: &Ref<'py, SocketTransport>, list: &Bound<'py, PyAny>) -> PyResult<()> {
    if slots::VERSION < (3, 12) {
        let joined = slots::bytes(list.py(), b"")?.call_method1(intern!(list.py(), "join"), (list,))?;
        return SocketTransport::write(this, &joined);
    }
    if this.eof.get() {
        return Err(PyRuntimeError::new_err("Cannot call writelines() after write_eof()"));
    }
    if this.empty_waiter.is_set() {
        return Err(PyRuntimeError::new_err("unable to writelines; sendfile is in progress"));
    }
    if !list.is_truthy()? {
        return Ok(());
    }
    let mut chunks = Vec::new();
    for data in list.try_iter()? {
        match bytes_of(&data?) {
            Ok(bytes) => chunks.push(bytes),
            Err(error) if error.is_instance_of::<PyBufferError>(list.py()) => return write_failed(this, error),
            // What is no buffer raises before anything is sent.
            Err(error) => return Err(error),
        }
    }
    if chunks.is_empty() {
        return Ok(());
    }
    if this.conn_lost.get() > 0 {
        return write_lost(this);
    }
    let waited = this.buffered() > 0;
    if !waited {
        let slices: Vec<io::IoSlice<'_>> =
            chunks.iter().filter(|c| !c.as_bytes().is_empty()).map(|c| io::IoSlice::new(c.as_bytes())).collect();
        if slices.is_empty() {
            return Ok(());
        }
        let mut sent = match socket::send_slices(SocketTransport::descriptor(this), &slices) {
            Ok(sent) => sent,
            Err(error) if would_block(&error) => 0,
            Err(error) => {
                return fatal_error(
                    this,
                    exceptions::os_error(this.py(), error),
                    "Fatal write error on socket transport",
                );
            }
        };
        let mut buffer = this.buffer.borrow_mut();
        let buffer = buffer.get_or_insert_default();
        for chunk in &chunks {
            let bytes = chunk.as_bytes();
            let skipped = sent.min(bytes.len());
            sent -= skipped;
            buffer.push(&bytes[skipped..]);
        }
    } else {
        let mut buffer = this.buffer.borrow_mut();
        let buffer = buffer.get_or_insert_default();
        chunks.iter().for_each(|chunk| buffer.push(chunk.as_bytes()));
    }
    if waited {
        // asyncio tries at once what waits already, and this with it.
        write_ready(this)?;
    }
    if this.buffered() == 0 {
        return Ok(());
    }
    watch_writing(this)?;
    SocketTransport::maybe_pause_protocol(this)
}
