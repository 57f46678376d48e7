//! The reading half of a transport: what came from the kernel goes to the protocol.
//!
//! Called by the poller through [`READ`](super::READ), by `pause_reading` and `resume_reading`; calls the protocol, or for streams
//! the reader itself, which lets the kernel write into its buffer.
//!
//! One read for each event: a protocol that pauses inside `data_received` gets nothing more, and other connections have
//! their turn. What is left in the kernel is reported again, since the poller is level-triggered.
//!
//! Errors: would-block and interruptions are no news; any other ends the connection (`end::fatal_error`). An exception of
//! the protocol does too, but SystemExit and KeyboardInterrupt leave the loop.
//!
//! The end of the stream: `eof_received` decides whether the transport stays open for writing.

use std::io;
use std::rc::Rc;

use engine::buffers::{LARGE, MOST_BYTES, room_after};
use engine::sys::socket;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use slots::intern;
use slots::{Ref, Shown};

use super::end::{close, fatal_error};
use super::{BaseSelectorEventLoop, READ, SocketTransport, Style, would_block};
use crate::exceptions;
use crate::selector_events::ends::leaves;
use crate::selector_events::on_socket::OnSocket;
use crate::selector_events::watch;
use crate::sslproto::SslProtocol;
use crate::streams::{StreamReader, StreamReaderProtocol};

/// So many bytes are copied faster than a memoryview is made.
const LITTLE: usize = 2048;

pub(super) fn start_reading(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    if this.closing.get() || this.paused.get() || this.reading.replace(true) {
        return Ok(());
    }
    match this.core.get(this.py()) {
        Some(core) => watch::add_resident_reader(&core, this.fd.get(), this.any().clone(), &READ),
        None => Ok(()),
    }
}

pub(super) fn stop_reading(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    if this.reading.replace(false) { SocketTransport::unwatch(this, watch::remove_reader) } else { Ok(()) }
}

pub(super) fn read_ready(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    if this.conn_lost.get() > 0 || this.closing.get() || this.paused.get() {
        return Ok(());
    }
    match this.style.get() {
        Style::Stream => read_stream(this),
        Style::Plain => read_plain(this),
        Style::Buffered => read_buffered(this),
        Style::Tls => read_tls(this),
    }
}

fn read_failed(this: &Ref<'_, SocketTransport>, error: io::Error) -> PyResult<()> {
    if would_block(&error) {
        return Ok(());
    }
    fatal_error(this, exceptions::os_error(this.py(), error), "Fatal read error on socket transport")
}

/// What a protocol's method raised while it got data.
fn protocol_failed(this: &Ref<'_, SocketTransport>, error: PyErr, message: &str) -> PyResult<()> {
    if leaves(this.py(), &error) { Err(error) } else { fatal_error(this, error, message) }
}

/// What the kernel has, as bytes, and whether that is all of it: less than was asked for.
///
/// A small read goes through memory of the loop's, which is near the processor by now; where the last was large, the kernel
/// writes into the bytes object itself. That has exactly the room that is expected where the last two were equal, so that the
/// memory of one message is what the next one needs, and the allocator neither cuts it up nor asks the system for more.
fn receive<'py>(this: &Ref<'py, SocketTransport>) -> PyResult<io::Result<(Bound<'py, PyBytes>, bool)>> {
    let (py, fd) = (this.py(), SocketTransport::descriptor(this));
    let event_loop = SocketTransport::event_loop(this);
    let Some(native) = BaseSelectorEventLoop::of(&event_loop) else {
        return Ok(Err(io::ErrorKind::WouldBlock.into()));
    };
    let last = this.last_read.get();
    let mut room = MOST_BYTES;
    let received = if last < LARGE {
        let mut scratch = native.scratch(MOST_BYTES);
        match socket::receive(fd, &mut scratch) {
            Ok(count) => Ok(native.spare.bytes(py, &scratch[..count])?),
            Err(error) => Err(error),
        }
    } else if this.steady.get() {
        let mut scratch = native.scratch(MOST_BYTES - last);
        slots::filled_both(py, last, &mut scratch, |memory, beyond| socket::receive_both(fd, memory, beyond))?
    } else {
        room = room_after(last);
        slots::filled(py, room, |memory| socket::receive_raw(fd, memory))?
    };
    Ok(received.map(|data| {
        let count = data.as_bytes().len();
        this.steady.set(count == last);
        this.last_read.set(if count == room { MOST_BYTES.min(2 * room) } else { count });
        native.bytes_read.set(native.bytes_read.get() + count);
        (data, count < room)
    }))
}

/// What the kernel has, in memory of the loop's that is used again, and how much: nothing at the end.
fn receive_shown(this: &Ref<'_, SocketTransport>) -> PyResult<io::Result<(Rc<Shown>, usize)>> {
    let (py, fd) = (this.py(), SocketTransport::descriptor(this));
    let event_loop = SocketTransport::event_loop(this);
    let Some(native) = BaseSelectorEventLoop::of(&event_loop) else {
        return Ok(Err(io::ErrorKind::WouldBlock.into()));
    };
    let known = native.shown.borrow().clone();
    let shown = match known {
        Some(shown) => shown,
        None => {
            let made = Rc::new(Shown::new(py, MOST_BYTES)?);
            *native.shown.borrow_mut() = Some(made.clone());
            made
        }
    };
    let count = match socket::receive_shared(fd, shown.cells(py)) {
        Ok(count) => count,
        Err(error) => return Ok(Err(error)),
    };
    native.bytes_read.set(native.bytes_read.get() + count);
    Ok(Ok((shown, count)))
}

/// The first `count` bytes, for somebody who copies them at once: a memoryview, unless it is little.
fn first<'py>(shown: &Shown, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyAny>> {
    if count > LITTLE {
        return shown.first(py, count);
    }
    let copy = |bytes: &mut [u8]| {
        bytes.iter_mut().zip(shown.cells(py)).for_each(|(byte, cell)| *byte = cell.get());
        Ok(())
    };
    Ok(PyBytes::new_with(py, count, copy)?.into_any())
}

fn read_stream(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    let py = this.py();
    let protocol = this.protocol.get_or_none(py);
    let Some(stream) = Ref::<StreamReaderProtocol>::cast(&protocol) else { return Ok(()) };
    // A reader of a derived class may have a feed_data of its own.
    let native = StreamReaderProtocol::native_reader(stream).filter(Ref::is_exact);
    let Some(reader) = native else { return read_plain(this) };
    if StreamReader::has_target(&reader) {
        return read_exactly(this, &reader);
    }
    match receive(this)? {
        Ok((data, _)) if data.as_bytes().is_empty() => read_eof(this),
        Ok((data, all)) => match StreamReader::add(&reader, data).and_then(|()| woken(this, &reader, all)) {
            Ok(()) => Ok(()),
            Err(error) => protocol_failed(this, error, "Fatal error: protocol.data_received() call failed."),
        },
        Err(error) => read_failed(this, error),
    }
}

/// Bytes have come for the reader, all that there were or not: wakes who waits for them.
fn woken<'py>(this: &Ref<'py, SocketTransport>, reader: &Ref<'py, StreamReader>, all: bool) -> PyResult<()> {
    let quietly = StreamReader::wakes_quietly(reader, 0);
    StreamReader::received(reader)?;
    if all && quietly {
        note_fed(this);
    }
    Ok(())
}

fn note_fed(this: &Ref<'_, SocketTransport>) {
    if let Some(native) = BaseSelectorEventLoop::of(&SocketTransport::event_loop(this)) {
        native.note_fed();
    }
}

/// A large read of exactly so many bytes waits.
fn read_exactly<'py>(this: &Ref<'py, SocketTransport>, reader: &Ref<'py, StreamReader>) -> PyResult<()> {
    let fd = SocketTransport::descriptor(this);
    let event_loop = SocketTransport::event_loop(this);
    let Some(native) = BaseSelectorEventLoop::of(&event_loop) else { return Ok(()) };
    let received = {
        let mut scratch = native.scratch(MOST_BYTES);
        StreamReader::receive(reader, fd, &mut scratch)
    };
    match received? {
        Ok(0) => read_eof(this),
        Ok(count) => {
            // What such a read takes says little of the next, and may be more than that ever takes.
            this.steady.set(false);
            this.last_read.set(count.min(MOST_BYTES));
            native.bytes_read.set(native.bytes_read.get() + count);
            match woken(this, reader, count < MOST_BYTES) {
                Ok(()) => Ok(()),
                Err(error) => protocol_failed(this, error, "Fatal error: protocol.data_received() call failed."),
            }
        }
        Err(error) => read_failed(this, error),
    }
}

fn read_tls(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    let py = this.py();
    let protocol = this.protocol.get_or_none(py);
    let Some(tls) = Ref::<SslProtocol>::cast(&protocol) else { return Ok(()) };
    match receive_shown(this)? {
        Ok((_, 0)) => read_eof(this),
        Ok((shown, count)) => match SslProtocol::receive(tls, &shown.cells(py)[..count]) {
            Ok(true) => {
                if SslProtocol::has_only_fed(tls) && count < MOST_BYTES {
                    note_fed(this);
                }
                Ok(())
            }
            Ok(false) => match SslProtocol::feed(tls, &first(&shown, py, count)?) {
                Ok(()) => Ok(()),
                Err(error) => protocol_failed(this, error, "Fatal error: protocol.buffer_updated() call failed."),
            },
            Err(error) => protocol_failed(this, error, "Fatal error: protocol.buffer_updated() call failed."),
        },
        Err(error) => read_failed(this, error),
    }
}

fn read_plain(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    let py = this.py();
    match receive(this)? {
        Ok((data, _)) if data.as_bytes().is_empty() => read_eof(this),
        Ok((data, _)) => {
            let protocol = this.protocol.get_or_none(py);
            match protocol.call_method1(intern!(py, "data_received"), (&data,)) {
                Ok(_) => {
                    BaseSelectorEventLoop::keep_spare(&SocketTransport::event_loop(this), data);
                    Ok(())
                }
                Err(error) => protocol_failed(this, error, "Fatal error: protocol.data_received() call failed."),
            }
        }
        Err(error) => read_failed(this, error),
    }
}

fn read_buffered(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    let py = this.py();
    let protocol = this.protocol.get_or_none(py);
    let given = protocol.call_method1(intern!(py, "get_buffer"), (-1,)).and_then(|buffer| match buffer.len()? {
        0 => Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer")),
        _ => Ok(buffer),
    });
    let buffer = match given {
        Ok(buffer) => buffer,
        Err(error) => return protocol_failed(this, error, "Fatal error: protocol.get_buffer() call failed."),
    };
    let direct = match this.direct.get() {
        // Asked for now: whoever lends the memory may run code, and close the socket.
        true => {
            slots::written_into(&buffer, |memory| socket::receive_shared(SocketTransport::descriptor(this), memory))
        }
        false => Ok(None),
    };
    let received = match direct {
        Ok(Some(Ok(count))) => Ok(count),
        Ok(Some(Err(error))) => return read_failed(this, error),
        Err(error) => Err(error),
        // The socket object knows what to say of such a buffer.
        Ok(None) => {
            this.socket.get_or_none(py).call_method1(intern!(py, "recv_into"), (&buffer,)).and_then(|n| n.extract())
        }
    };
    let count: usize = match received {
        Ok(count) => count,
        Err(error)
            if error.is_instance_of::<pyo3::exceptions::PyBlockingIOError>(py)
                || error.is_instance_of::<pyo3::exceptions::PyInterruptedError>(py) =>
        {
            return Ok(());
        }
        Err(error) => return protocol_failed(this, error, "Fatal read error on socket transport"),
    };
    if count == 0 {
        return read_eof(this);
    }
    if let Some(native) = BaseSelectorEventLoop::of(&SocketTransport::event_loop(this)) {
        native.bytes_read.set(native.bytes_read.get().saturating_add(count));
    }
    // get_buffer() may have put another protocol in this one's place.
    let protocol = this.protocol.get_or_none(py);
    match protocol.call_method1(intern!(py, "buffer_updated"), (count,)) {
        Ok(_) => Ok(()),
        Err(error) => protocol_failed(this, error, "Fatal error: protocol.buffer_updated() call failed."),
    }
}

fn read_eof(this: &Ref<'_, SocketTransport>) -> PyResult<()> {
    let py = this.py();
    SocketTransport::log_debug(this, "%r received EOF")?;
    let protocol = this.protocol.get_or_none(py);
    match protocol.call_method0(intern!(py, "eof_received")).and_then(|keep| keep.is_truthy()) {
        Ok(true) => stop_reading(this),
        Ok(false) => close(this),
        Err(error) => protocol_failed(this, error, "Fatal error: protocol.eof_received() call failed."),
    }
}
