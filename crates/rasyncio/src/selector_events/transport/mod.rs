//! `SocketTransport`: a stream socket under a protocol (asyncio's `_SelectorSocketTransport`).
//!
//! Called by the poller through the kinds [`READ`] and [`WRITE`], by users and by `streams`; calls the protocol, and
//! `engine::sys::socket` for the system calls.
//!
//! The kind of protocol is decided once, in `set_protocol`: a StreamReaderProtocol of ours gets its bytes straight from the
//! kernel in the reader's buffer; an SSLProtocol of ours as bytes, to decrypt them; a BufferedProtocol in its own buffer; any
//! other as a bytes object.
//!
//! States: open -> closing (no more reading; what is buffered is still sent) -> lost (connection_lost was scheduled, once) ->
//! closed (the socket is closed, everything let go). `abort` and fatal errors go to lost at once and drop what is buffered.
//! connection_lost is always called later, by the loop.
//!
//! Writing: tried at once; what the kernel does not take is copied, and sent when the socket is writable. Above the high
//! mark the protocol is paused, at the low mark resumed, once per crossing.
//!
//! Invariants: the descriptor is owned by the Python socket, which is closed exactly once, after it was released from the
//! poller; where somebody closed or detached it before, every system call fails with EBADF instead of meeting whoever has the
//! number now. No borrow of the write buffer is open during a Python call.
//!
//! Contexts, as the running version has them: from 3.15 on the loop calls the protocol in the context of the transport's creation.
//! Before, data arrives in that of whoever last called resume_reading(), the writing side is served in that of the write()
//! that had to wait, and connection_lost() comes in that of whoever closed.
//!
//! - `read`: what came from the kernel goes to the protocol.
//! - `write`: what the user sends goes to the kernel, or waits.
//! - `end`: closing, in order or at once.
//! - `names`: what it tells of its socket.
//!
//! `__class__` answers the face's class, which derives from `asyncio.Transport`: a native type cannot, its layout differs.

mod end;
mod names;
mod read;
mod write;

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::io;
use std::net::SocketAddr;

use engine::buffers::{MOST_BYTES, WriteBuffer};
use engine::sys::socket::{self, INTERNET};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use slots::intern;
use slots::{Class, Link, Own, Plain, Ref, Slot, Spec, class};

use self::end::{call_connection_lost, close, close_socket, force_close};
use self::names::{Names, extra};
use self::read::{read_ready, start_reading, stop_reading};
pub(crate) use self::write::bytes_of;
use self::write::{shutdown, write_bytes, write_lent, write_ready, writelines};
use super::BaseSelectorEventLoop;
use super::ends::{extra_info, known_of};
use super::flow::Marks;
use super::on_socket::{self, OnSocket};
use super::plain::plain;
use crate::base_events::{create_future, server};
use crate::events::core::call_soon;
use crate::events::{Kind, LoopCore};
use crate::sslproto::SslProtocol;
use crate::streams::StreamReaderProtocol;
use crate::{exceptions, face, futures};

#[derive(Clone, Copy, Default, PartialEq, Debug)]
enum Style {
    #[default]
    Plain,
    Buffered,
    Stream,
    Tls,
}

class! {
    /// A stream socket under a protocol.
    pub struct SocketTransport {
        core: Link<LoopCore>,
        socket: Slot,
        /// Extra information: a dictionary from the first look on, or from birth.
        extra: Slot,
        /// The addresses that it will have, and the socket object, once that is closed.
        names: Plain<RefCell<Names>>,
        former: Slot,
        protocol: Slot,
        server: Slot,
        empty_waiter: Slot,
        /// The contexts in which the loop calls the protocol; the last two where they are others than the first.
        context: Slot,
        writing_context: Slot,
        losing_context: Slot,
        marks: Marks,
        /// Apart, because most connections never have one.
        buffer: Plain<RefCell<Option<Box<WriteBuffer>>>>,
        fd: Cell<i32>,
        /// The socket object has the number at its front.
        direct: Cell<bool>,
        conn_lost: Cell<u32>,
        style: Cell<Style>,
        closing: Cell<bool>,
        paused: Cell<bool>,
        eof: Cell<bool>,
        connected: Cell<bool>,
        reading: Cell<bool>,
        writing: Cell<bool>,
        own_attributes: Cell<bool>,
        /// How much the last read took.
        last_read: Cell<usize>,
        /// Whether the one before took as much.
        steady: Cell<bool>,
        /// Whether contexts are those of callers (before 3.15).
        callers_contexts: Cell<bool>,
    }
}

fn transport<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<&'a Ref<'py, SocketTransport>> {
    Ref::<SocketTransport>::cast(object).ok_or_else(|| PyTypeError::new_err("a transport was expected"))
}

fn loop_of(object: &Bound<'_, PyAny>) -> Option<Own> {
    Ref::<SocketTransport>::cast(object)?.core.any().get(object.py()).map(Own::new)
}

fn context_of(object: &Bound<'_, PyAny>) -> Option<Own> {
    Ref::<SocketTransport>::cast(object)?.context.get(object.py()).map(Own::new)
}

fn writing_context(object: &Bound<'_, PyAny>) -> Option<Own> {
    let this = Ref::<SocketTransport>::cast(object)?;
    this.writing_context.get(object.py()).or_else(|| this.context.get(object.py())).map(Own::new)
}

fn losing_context(object: &Bound<'_, PyAny>) -> Option<Own> {
    let this = Ref::<SocketTransport>::cast(object)?;
    this.losing_context.get(object.py()).or_else(|| this.context.get(object.py())).map(Own::new)
}

/// The context to read in. None for a stream reader: what it wakes runs in contexts of its own.
fn reading_context(object: &Bound<'_, PyAny>) -> Option<Own> {
    let this = Ref::<SocketTransport>::cast(object)?;
    if this.style.get() == Style::Stream { None } else { this.context.get(object.py()).map(Own::new) }
}

/// The socket can be read.
static READ: Kind = Kind {
    run: |object, _| read_ready(transport(object)?),
    event_loop: loop_of,
    context: reading_context,
    name: "SocketTransportRead",
    qualname: Some("_SelectorSocketTransport._read_ready"),
};

/// The socket can be written.
static WRITE: Kind = Kind {
    run: |object, _| write_ready(transport(object)?),
    event_loop: loop_of,
    context: writing_context,
    name: "SocketTransportWrite",
    qualname: Some("_SelectorSocketTransport._write_ready"),
};

/// Reading begins, after connection_made.
static BEGIN: Kind = Kind {
    run: |object, _| start_reading(transport(object)?),
    event_loop: loop_of,
    context: context_of,
    name: "SocketTransportBegin",
    qualname: Some("_SelectorTransport._add_reader"),
};

/// The connection is no more; the argument is the exception, or None.
static LOST: Kind = Kind {
    run: |object, argument| {
        let none = object.py().None().into_bound(object.py());
        call_connection_lost(transport(object)?, argument.unwrap_or(&none))
    },
    event_loop: loop_of,
    context: losing_context,
    name: "SocketTransportLost",
    qualname: Some("_SelectorSocketTransport._call_connection_lost"),
};

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// What a transport is born with.
#[derive(Clone, Copy)]
pub struct Origin<'a, 'py> {
    /// A future that is done when the protocol knows of the connection.
    pub waiter: Option<&'a Bound<'py, PyAny>>,
    /// Extra information, a dictionary.
    pub extra: Option<&'a Bound<'py, PyAny>>,
    /// The address of the other end, where it is known; without `extra` then.
    pub peer: Option<SocketAddr>,
    pub server: Option<&'a Bound<'py, PyAny>>,
    /// The context for all calls of the protocol.
    pub context: Option<&'a Bound<'py, PyAny>>,
}

impl SocketTransport {
    /// A transport for a connected socket; connection_made, reading, and the waiter are scheduled.
    pub fn create<'py>(
        event_loop: &Ref<'py, BaseSelectorEventLoop>,
        sock: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        origin: Origin<'_, 'py>,
    ) -> PyResult<Ref<'py, SocketTransport>> {
        let py = event_loop.py();
        let Origin { waiter, server, context, .. } = origin;
        let core = super::core(event_loop);
        let this = Ref::create(py, SocketTransport::default())?;
        this.core.set(core.clone());
        // A context that is given is shared by all calls; of the caller's, connection_made has a copy of its own.
        let made_context = context.map_or_else(|| slots::copy_current(py), |c| Ok(c.clone()))?;
        this.context.set(context.map_or_else(|| slots::copy_current(py), |c| Ok(c.clone()))?);
        this.callers_contexts.set(context.is_none() && slots::VERSION < (3, 15));
        let plain = plain(event_loop, sock)?;
        match plain.filter(|plain| origin.extra.is_none() && INTERNET.contains(&plain.family)) {
            Some(plain) => drop(this.names.replace(Names::of(plain.fd, origin.peer))),
            None => this.extra.set(known_of(sock, origin.extra)?.into_any()),
        }
        this.socket.set(sock.clone());
        match plain {
            Some(plain) => this.fd.set(plain.fd),
            None => this.fd.set(sock.call_method0(intern!(py, "fileno"))?.extract()?),
        }
        this.direct.set(slots::front_number(sock) == Some(this.fd.get()));
        SocketTransport::set_protocol(&this, protocol)?;
        if let Some(server) = server {
            this.server.set(server.clone());
            server::attach(server, this.any())?;
        }
        BaseSelectorEventLoop::note_transport(event_loop, this.fd.get(), this.any())?;
        match plain {
            Some(plain) if plain.is_tcp() => {
                socket::set_nodelay(plain.fd).map_err(|error| exceptions::os_error(py, error))?;
            }
            Some(_) => {}
            None => drop(face(py, "base_events")?.call_method1(intern!(py, "_set_nodelay"), (sock,))?),
        }
        let made = protocol.getattr(intern!(py, "connection_made"))?;
        call_soon(event_loop.any(), made, this.any(), made_context)?;
        LoopCore::schedule(core, this.any().clone(), None, &BEGIN)?;
        if let Some(waiter) = waiter {
            futures::settle_soon(core, waiter)?;
        }
        Ok(this)
    }

    /// Whether the transport is closed or being closed.
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Whether somebody assigned to an attribute of the instance.
    pub fn has_own_attributes(&self) -> bool {
        self.own_attributes.get()
    }

    /// The current context is the one for `place` from now on, where contexts are those of callers.
    fn take_context(this: &Ref<'_, SocketTransport>, place: &Slot) -> PyResult<()> {
        if this.callers_contexts.get() {
            place.set(slots::copy_current(this.py())?);
        }
        Ok(())
    }

    fn set_protocol<'py>(this: &Ref<'py, SocketTransport>, protocol: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = this.py();
        let is_native = |name: slots::Name<'py>| -> PyResult<bool> {
            Ok(protocol.get_type().getattr(name)?.get_type().name()? == "method_descriptor")
        };
        let style = if Ref::<StreamReaderProtocol>::cast(protocol).is_some()
            && is_native(intern!(py, "data_received"))?
            && is_native(intern!(py, "eof_received"))?
        {
            Style::Stream
        } else if Ref::<SslProtocol>::cast(protocol).is_some()
            && is_native(intern!(py, "get_buffer"))?
            && is_native(intern!(py, "buffer_updated"))?
        {
            Style::Tls
        } else if protocol.is_instance(&face(py, "protocols")?.getattr(intern!(py, "BufferedProtocol"))?)? {
            Style::Buffered
        } else {
            Style::Plain
        };
        this.style.set(style);
        this.protocol.set(protocol.clone());
        this.connected.set(true);
        Ok(())
    }

    /// Sends bytes, or keeps what the kernel does not take.
    pub fn write<'py>(this: &Ref<'py, SocketTransport>, data: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            this.check_write()?;
            return write_bytes(this, bytes.as_bytes());
        }
        if !data.is_instance_of::<PyBytes>()
            && !data.is_instance_of::<PyByteArray>()
            && !data.is_instance_of::<PyMemoryView>()
        {
            let name = data.get_type().name()?;
            let what = if slots::VERSION < (3, 13) { "bytes-like" } else { "bytes, bytearray, or memoryview" };
            return Err(PyTypeError::new_err(format!("data argument must be a {what} object, not '{name}'")));
        }
        this.check_write()?;
        // A released memoryview cannot even be asked for its length.
        if data.is_truthy()? { write_lent(this, data) } else { Ok(()) }
    }

    /// Sends bytes of somebody who has looked at what they are.
    pub fn write_slice(this: &Ref<'_, SocketTransport>, bytes: &[u8]) -> PyResult<()> {
        this.check_write()?;
        write_bytes(this, bytes)
    }

    fn check_write(&self) -> PyResult<()> {
        if self.eof.get() {
            return Err(PyRuntimeError::new_err("Cannot call write() after write_eof()"));
        }
        if self.empty_waiter.is_set() {
            return Err(PyRuntimeError::new_err("unable to write; sendfile is in progress"));
        }
        Ok(())
    }
}

impl OnSocket for SocketTransport {
    const SHOWN: &'static str = "_SelectorSocketTransport";

    fn core(&self) -> &Link<LoopCore> {
        &self.core
    }
    fn socket(&self) -> &Slot {
        &self.socket
    }
    fn protocol(&self) -> &Slot {
        &self.protocol
    }
    fn marks(&self) -> &Marks {
        &self.marks
    }
    fn number(&self) -> i32 {
        self.fd.get()
    }
    fn is_direct(&self) -> bool {
        self.direct.get()
    }
    fn is_closing(&self) -> bool {
        self.closing.get()
    }
    fn is_paused(&self) -> bool {
        self.paused.get()
    }
    fn conn_lost(&self) -> u32 {
        self.conn_lost.get()
    }
    fn buffered(&self) -> usize {
        self.buffer.borrow().as_ref().map_or(0, |buffer| buffer.len())
    }
    fn polled(&self) -> [bool; 2] {
        [self.reading.get(), self.writing.get()]
    }
}

impl Class for SocketTransport {
    const NAME: &'static CStr = c"rasyncio.selector_events._SelectorSocketTransport";
    const DOC: &'static CStr = c"A stream socket under a protocol; see asyncio's reference of transports.";
    const DICT: bool = true;
    const CALLABLE: bool = false;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.socket.is_set()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let warned = slots::resource_warning(this.any(), &format!("unclosed transport {}", this.any().repr()?));
        let server = this.server.take(py);
        let closed = close_socket(this);
        if let Some(server) = server {
            server::detach(&server, this.any())?;
        }
        warned.and(closed)
    }

    fn define(spec: &mut Spec<Self>) {
        on_socket::define(spec)
            .on_set_attribute(|this, _, _| {
                this.own_attributes.set(true);
                Ok(true)
            })
            .method1_named(
                c"write",
                c"write($self, /, data)\n--\n\n\
                Send bytes, or keep them until they can be sent.",
                || ("_SelectorSocketTransport.write", "data"),
                SocketTransport::write,
            )
            .method1_named(
                c"writelines",
                c"writelines($self, /, list_of_data)\n--\n\n\
                Send all of an iterable of bytes.",
                || ("_SelectorSocketTransport.writelines", "list_of_data"),
                writelines,
            )
            .method0(
                c"write_eof",
                c"write_eof($self, /)\n--\n\nClose the writing half after what is written; reading goes on.",
                |this| {
                    if this.closing.get() || this.eof.replace(true) || this.buffered() > 0 {
                        return Ok(());
                    }
                    shutdown(this)
                },
            )
            .method0(
                c"can_write_eof",
                c"can_write_eof($self, /)\n--\n\n\
                True: a socket can close its writing half.",
                |_| Ok(true),
            )
            .method0(
                c"close",
                c"close($self, /)\n--\n\n\
                    Close the connection after what is written; connection_lost(None) is called then.",
                close,
            )
            .method0(
                c"abort",
                c"abort($self, /)\n--\n\nClose the connection at once; what is written and not sent is lost.",
                |this| force_close(this, None),
            )
            .method0(
                c"pause_reading",
                c"pause_reading($self, /)\n--\n\nCall data_received() no more until resume_reading().",
                |this| {
                    if this.closing.get() || this.paused.replace(true) {
                        return Ok(());
                    }
                    stop_reading(this)?;
                    SocketTransport::log_debug(this, "%r pauses reading")
                },
            )
            .method0(c"resume_reading", c"resume_reading($self, /)\n--\n\nReceive data again.", |this| {
                if this.closing.get() || !this.paused.replace(false) {
                    return Ok(());
                }
                SocketTransport::take_context(this, &this.context)?;
                start_reading(this)?;
                SocketTransport::log_debug(this, "%r resumes reading")
            })
            .method1_named(
                c"set_protocol",
                c"set_protocol($self, /, protocol)\n--\n\n\
                Talk to another protocol from now on.",
                || ("_SelectorSocketTransport.set_protocol", "protocol"),
                SocketTransport::set_protocol,
            )
            .method(
                c"get_extra_info",
                c"get_extra_info($self, /, name, default=None)\n--\n\n\
                    'socket', 'peername', 'sockname', or what was given at creation.",
                |this, args| {
                    extra(this)?;
                    extra_info(&this.extra, args)
                },
            )
            .method0(
                c"_make_empty_waiter",
                c"_make_empty_waiter($self, /)\n--\n\n\
                A future for the moment when all is sent.",
                |this| {
                    let py = this.py();
                    if this.empty_waiter.is_set() {
                        return Err(PyRuntimeError::new_err("Empty waiter is already set"));
                    }
                    let waiter = create_future(&SocketTransport::event_loop(this))?;
                    if this.buffered() == 0 {
                        waiter.call_method1(intern!(py, "set_result"), (py.None(),))?;
                    }
                    this.empty_waiter.set(waiter.clone());
                    Ok(Own::new(waiter))
                },
            )
            .method0(c"_reset_empty_waiter", c"_reset_empty_waiter($self, /)\n--\n\nWriting may go on.", |this| {
                this.empty_waiter.unset();
                Ok(())
            })
            .method1_named(
                c"_force_close",
                c"_force_close($self, /, exc)\n--\n\n\
                abort() with an exception for connection_lost().",
                || ("_SelectorTransport._force_close", "exc"),
                |this, error| force_close(this, Some(error.clone()).filter(|e| !e.is_none())),
            )
            .get(c"max_size", c"The most bytes that one read takes.", |_| Ok(MOST_BYTES))
            .get(c"_extra", c"", |this| extra(this).map(Own::new))
            .get(c"_server", c"", |this| Ok(this.server.get(this.py()).map(Own::new)))
            .get(c"_eof", c"", |this| Ok(this.eof.get()))
            .get(c"_start_tls_compatible", c"", |_| Ok(true))
            .get(c"_sendfile_compatible", c"", |this| {
                let modes = face(this.py(), "constants")?.getattr(slots::Text("_SendfileMode"))?;
                modes.getattr(slots::Text("TRY_NATIVE")).map(Own::new)
            });
    }
}
