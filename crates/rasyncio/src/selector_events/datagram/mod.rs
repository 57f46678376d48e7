//! `DatagramTransport`: a datagram socket under a protocol (asyncio's `_SelectorDatagramTransport`).
//!
//! Called by the poller through the kinds [`READ`] and [`WRITE`], and by users; calls the protocol, and `engine::sys::datagram`
//! for the system calls, or the socket object's own methods where the family or the class of the socket is not known here.
//!
//! States: open -> closing (no more receiving; what waits is still sent) -> lost (connection_lost was scheduled, once) ->
//! closed (the socket is closed, everything let go). `abort` and fatal errors go to lost at once and drop what waits.
//!
//! Errors of the kernel are news for the protocol (`error_received`), and the transport stays open. What is no OSError is fatal.
//!
//! Contexts are asyncio's: each time that something is watched for or scheduled, the context of that moment is copied.
//!
//! Invariants: the descriptor is owned by the Python socket, which is closed exactly once, after it was released from the
//! poller; where somebody closed or detached it before, every system call fails with EBADF instead of meeting whoever has the
//! number now. No borrow of what waits is open during a Python call.
//!
//! Differs from CPython: sending after the end is never an AttributeError, but counted as for a connected socket. What
//! waits is counted in bytes, also where a memoryview has larger items.
//!
//! - `read`: one datagram for each event goes to the protocol.
//! - `send`: a datagram goes to the kernel, or waits.
//! - `end`: closing, in order or at once.
//! - `address`: addresses of the kernel and of Python.
//!
//! `__class__` answers the face's class, which derives from `asyncio.DatagramTransport`: a native type cannot, its layout differs.

mod address;
mod end;
mod read;
mod send;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyNotImplementedError, PyOSError, PyTypeError};
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Class, Link, Own, Ref, Signature, Slot, Spec, arg, class, opt};

pub(super) use self::address::address_object;
use self::address::{Family, Last};
use self::end::{call_connection_lost, close, close_socket, force_close};
use self::read::{pause_reading, read_ready, resume_reading, start_reading};
use self::send::{send_ready, sendto};
use super::BaseSelectorEventLoop;
use super::ends::{extra_info, known_of};
use super::flow::Marks;
use super::on_socket::{self, OnSocket};
use crate::events::core::call_soon;
use crate::events::{Kind, LoopCore};
use crate::library;
use crate::{exceptions, futures};

/// The most bytes that are received of one datagram.
const MOST_BYTES: usize = 256 * 1024;

/// What a datagram that waits counts beside its bytes.
const HEADER: usize = if slots::VERSION.1 >= 13 { 8 } else { 0 };

#[derive(Clone, Copy, Default, PartialEq, PartialOrd, Debug)]
enum State {
    #[default]
    Open,
    Closing,
    Lost,
    Closed,
}

class! {
    /// A datagram socket under a protocol.
    pub struct DatagramTransport {
        core: Link<LoopCore>,
        socket: Slot,
        extra: Slot,
        protocol: Slot,
        /// The address that all datagrams go to, if one was given at creation.
        address: Slot,
        /// The contexts in which the loop calls: when there is something to receive, to send, at the end.
        reading_context: Slot,
        writing_context: Slot,
        lost_context: Slot,
        marks: Marks,
        /// Datagrams that wait, and where they go.
        waiting: RefCell<VecDeque<(Own, Own)>>,
        waiting_size: Cell<usize>,
        sender: Last,
        receiver: Last,
        fd: Cell<i32>,
        /// The socket object has the number at its front.
        direct: Cell<bool>,
        family: Cell<Family>,
        max_size: Cell<usize>,
        state: Cell<State>,
        /// Datagrams sent to nowhere since the end.
        lost_datagrams: Cell<u32>,
        /// The socket is connected.
        has_peer: Cell<bool>,
        paused: Cell<bool>,
        reading: Cell<bool>,
        writing: Cell<bool>,
    }
}

fn transport<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<&'a Ref<'py, DatagramTransport>> {
    Ref::<DatagramTransport>::cast(object).ok_or_else(|| PyTypeError::new_err("a transport was expected"))
}

fn loop_of(object: &Bound<'_, PyAny>) -> Option<Own> {
    Ref::<DatagramTransport>::cast(object)?.core.any().get(object.py()).map(Own::new)
}

fn reading_context(object: &Bound<'_, PyAny>) -> Option<Own> {
    Ref::<DatagramTransport>::cast(object)?.reading_context.get(object.py()).map(Own::new)
}

/// A datagram can be received.
static READ: Kind = Kind {
    run: |object, _| read_ready(transport(object)?),
    event_loop: loop_of,
    context: reading_context,
    name: "DatagramTransportRead",
    qualname: Some("_SelectorDatagramTransport._read_ready"),
};

/// Datagrams can be sent.
static WRITE: Kind = Kind {
    run: |object, _| send_ready(transport(object)?),
    event_loop: loop_of,
    context: |object| Ref::<DatagramTransport>::cast(object)?.writing_context.get(object.py()).map(Own::new),
    name: "DatagramTransportWrite",
    qualname: Some("_SelectorDatagramTransport._sendto_ready"),
};

/// Receiving begins, after connection_made.
static BEGIN: Kind = Kind {
    run: |object, _| start_reading(transport(object)?),
    event_loop: loop_of,
    context: reading_context,
    name: "DatagramTransportBegin",
    qualname: Some("_SelectorTransport._add_reader"),
};

/// The end; the argument is the exception, or None.
static LOST: Kind = Kind {
    run: |object, argument| {
        let none = object.py().None().into_bound(object.py());
        call_connection_lost(transport(object)?, argument.unwrap_or(&none))
    },
    event_loop: loop_of,
    context: |object| Ref::<DatagramTransport>::cast(object)?.lost_context.get(object.py()).map(Own::new),
    name: "DatagramTransportLost",
    qualname: Some("_SelectorTransport._call_connection_lost"),
};

/// Why a system call moved no datagram.
enum Failure {
    /// Not now.
    Busy,
    /// The kernel's answer: an OSError.
    System(PyErr),
    /// Anything else.
    Other(PyErr),
}

impl Failure {
    /// What the kernel answered.
    fn of(py: Python<'_>, error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Failure::Busy,
            _ => Failure::System(exceptions::os_error(py, error)),
        }
    }

    /// What a method of a socket object raised.
    fn raised(py: Python<'_>, error: PyErr) -> Failure {
        if error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py) {
            Failure::Busy
        } else if error.is_instance_of::<PyOSError>(py) {
            Failure::System(error)
        } else {
            Failure::Other(error)
        }
    }
}

/// The family of a socket whose datagrams need no socket object: a plain socket, which keeps its number where it is looked for.
fn family_of(socket: &Bound<'_, PyAny>, fd: i32) -> PyResult<Family> {
    let py = socket.py();
    let module = library(py, "socket")?;
    let is_plain = socket.get_type().is(&module.getattr(intern!(py, "socket"))?);
    if !is_plain || slots::front_number(socket) != Some(fd) {
        return Ok(Family::Foreign);
    }
    let number = socket.getattr(intern!(py, "family"))?;
    for (name, family) in [("AF_INET", Family::Four), ("AF_INET6", Family::Six), ("AF_UNIX", Family::Unix)] {
        if number.eq(module.getattr(slots::Text(name))?)? {
            return Ok(family);
        }
    }
    Ok(Family::Foreign)
}

impl DatagramTransport {
    /// A transport for a datagram socket; connection_made, receiving, and `waiter` are scheduled.
    pub(super) fn create<'py>(
        event_loop: &Ref<'py, BaseSelectorEventLoop>,
        sock: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        address: Option<&Bound<'py, PyAny>>,
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Ref<'py, DatagramTransport>> {
        let py = event_loop.py();
        let core = super::core(event_loop);
        let this = Ref::create(py, DatagramTransport::default())?;
        this.core.set(core.clone());
        this.max_size.set(MOST_BYTES);
        let known = known_of(sock, extra)?;
        this.has_peer.set(known.as_any().get_item(intern!(py, "peername"))?.is_truthy()?);
        this.extra.set(known.into_any());
        this.fd.set(sock.call_method0(intern!(py, "fileno"))?.extract()?);
        this.direct.set(slots::front_number(sock) == Some(this.fd.get()));
        this.family.set(family_of(sock, this.fd.get())?);
        if let Some(address) = address {
            if address.is_truthy()? {
                this.address.set(address.clone());
            }
        }
        this.protocol.set(protocol.clone());
        BaseSelectorEventLoop::note_transport(event_loop, this.fd.get(), this.any())?;
        // From here on the transport answers for the socket.
        this.socket.set(sock.clone());
        let made = protocol.getattr(intern!(py, "connection_made"))?;
        call_soon(event_loop.any(), made, this.any(), slots::copy_current(py)?)?;
        this.reading_context.set(slots::copy_current(py)?);
        LoopCore::schedule(core, this.any().clone(), None, &BEGIN)?;
        if let Some(waiter) = waiter {
            futures::settle_soon(core, waiter)?;
        }
        Ok(this)
    }

    fn has_waiting(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }
}

impl OnSocket for DatagramTransport {
    const SHOWN: &'static str = "_SelectorDatagramTransport";

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
        self.state.get() != State::Open
    }
    fn is_paused(&self) -> bool {
        self.paused.get()
    }
    fn conn_lost(&self) -> u32 {
        if self.state.get() < State::Lost { 0 } else { 1 + self.lost_datagrams.get() }
    }
    fn buffered(&self) -> usize {
        self.waiting_size.get()
    }
    fn polled(&self) -> [bool; 2] {
        [self.reading.get(), self.writing.get()]
    }
}

impl Class for DatagramTransport {
    const NAME: &'static CStr = c"rasyncio.selector_events._SelectorDatagramTransport";
    const DOC: &'static CStr = c"A datagram socket under a protocol; see asyncio's reference of transports.";
    const DICT: bool = true;
    const CALLABLE: bool = false;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.socket.is_set()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let warned = slots::resource_warning(this.any(), &format!("unclosed transport {}", this.any().repr()?));
        let closed = close_socket(this);
        warned.and(closed)
    }

    fn define(spec: &mut Spec<Self>) {
        on_socket::define(spec)
            .method(
                c"sendto",
                c"sendto($self, /, data, addr=None)\n--\n\n\
                Send a datagram, or keep it until it can be sent.",
                sendto,
            )
            .method0(
                c"close",
                c"close($self, /)\n--\n\nClose the socket after what waits is sent; connection_lost(None) is called then.",
                close,
            )
            .method0(c"abort", c"abort($self, /)\n--\n\nClose the socket at once; what waits is lost.", |this| {
                force_close(this, None)
            })
            .method0(
                c"pause_reading",
                c"pause_reading($self, /)\n--\n\nCall datagram_received() no more until resume_reading().",
                pause_reading,
            )
            .method0(c"resume_reading", c"resume_reading($self, /)\n--\n\nReceive datagrams again.", resume_reading)
            .method1_named(
                c"set_protocol",
                c"set_protocol($self, /, protocol)\n--\n\nTalk to another protocol from now on.",
                || ("_SelectorTransport.set_protocol", "protocol"),
                |this, protocol| {
                    this.protocol.set(protocol.clone());
                    Ok(())
                },
            )
            .method(
                c"get_extra_info",
                c"get_extra_info($self, /, name, default=None)\n--\n\n\
                'socket', 'peername', 'sockname', or what was given at creation.",
                |this, args| extra_info(&this.extra, args),
            )
            .method(c"write", c"write($self, /, data)\n--\n\nNotImplementedError: see sendto().", no_stream)
            .method(c"writelines", c"writelines($self, /, list_of_data)\n--\n\nNotImplementedError: see sendto().", no_stream)
            .method(c"write_eof", c"write_eof($self, /)\n--\n\nNotImplementedError: datagrams have no end.", no_stream)
            .method(c"can_write_eof", c"can_write_eof($self, /)\n--\n\nNotImplementedError.", no_stream)
            .method1_named(
                c"_force_close",
                c"_force_close($self, /, exc)\n--\n\nabort() with an exception for connection_lost().",
                || ("_SelectorTransport._force_close", "exc"),
                |this, error| force_close(this, Some(error.clone()).filter(|e| !e.is_none())),
            )
            .get_set(
                c"max_size",
                c"The most bytes that are received of one datagram.",
                |this| Ok(this.max_size.get()),
                |this, value| value.map_or(Ok(()), |v| v.extract().map(|size| this.max_size.set(size))),
            )
            .get(c"_extra", c"", |this| Ok(this.extra.get(this.py()).map(Own::new)))
            .get(c"_address", c"", |this| Ok(this.address.get(this.py()).map(Own::new)))
            .get(c"_buffer_size", c"", |this| Ok(this.waiting_size.get()));
    }
}

/// The methods of stream transports, which asyncio's class inherits without an implementation.
fn no_stream(_: &Ref<'_, DatagramTransport>, _: &Args<'_, '_>) -> PyResult<()> {
    Err(PyNotImplementedError::new_err(()))
}

/// Tells the protocol of an OSError; what it raises is the caller's, as asyncio has it.
fn error_received(this: &Ref<'_, DatagramTransport>, error: PyErr) -> PyResult<()> {
    let py = this.py();
    let protocol = this.protocol.get_or_none(py);
    slots::excepting(py, error, |error| protocol.call_method1(intern!(py, "error_received"), (error,)).map(drop))
}

fn make_datagram_transport<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<Own> {
    const SIGNATURE: Signature<5> = Signature::method(
        "BaseSelectorEventLoop._make_datagram_transport",
        [arg("sock"), arg("protocol"), opt("address"), opt("waiter"), opt("extra")],
    );
    let given = args.parse(&SIGNATURE)?.map(|value| value.filter(|v| !v.is_none()));
    let [Some(socket), Some(protocol), address, waiter, extra] = given else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    this.any().call_method1(intern!(this.py(), "_ensure_fd_no_transport"), (socket,))?;
    Ok(DatagramTransport::create(this, socket, protocol, address, waiter, extra)?.into_any().into())
}

pub(super) fn define(spec: &mut Spec<BaseSelectorEventLoop>) {
    spec.method(
        c"_make_datagram_transport",
        c"_make_datagram_transport($self, sock, protocol, address=None, waiter=None, extra=None)\n--\n\n\
        A transport for a datagram socket.",
        make_datagram_transport,
    );
}
