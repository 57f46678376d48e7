//! `SslProtocol`: TLS between a transport and the program's protocol (asyncio.sslproto), by the user's own `ssl.SSLContext`.
//!
//! Called by the socket transport, which hands it what the kernel brought ([`SslProtocol::feed`]), by any other transport as
//! an ordinary BufferedProtocol, and by the program through [`SslTransport`]; calls the context's SSLObject, its two MemoryBIOs,
//! the transport below and the protocol above.
//!
//! - `handshake`: from the first byte to the keys.
//! - `read`: what came, to the program.
//! - `write`: what the program sends, to the transport.
//! - `shutdown`: the end, in order or at once, and what went wrong.
//! - `flow`: the marks, both ways.
//! - `object`: the SSLObject and its MemoryBIOs.
//! - `transport`: what the program writes to.
//! - `define`: the class as Python sees it.
//!
//! States and legal moves are `engine::tls`: of the connection ([`Phase`]) and of what the program was told ([`App`]).
//!
//! Invariants: the program's connection_made, eof_received and connection_lost are called at most once each, in this order; the
//! last one by the loop. No borrow of the backlog is open during a Python call. After connection_lost nothing of the
//! connection is held but the SSLObject, for who asks for `ssl_object`.
//!
//! Contexts are the transport's: of whatever is called here.
//!
//! Differs from CPython: bytes that must wait are copied, so that a bytearray may be changed after write(); empty ones are
//! passed over; a BufferedProtocol may answer a bytearray and gets all that came; a transport that is closed twice is closed, and
//! no AttributeError; a reader that is there learns of its new transport after start_tls() on all versions. What 3.13 mended
//! (gh-113214: the exception of an inner connection, gh-118950: is_closing() below) holds for 3.11 and 3.12 too.

mod define;
mod flow;
mod handshake;
mod object;
mod read;
mod shutdown;
mod start;
mod transport;
mod write;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use engine::tls::{App, Phase};
use pyo3::exceptions::{PyAttributeError, PyException, PyKeyboardInterrupt, PyRuntimeError, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};
use slots::intern;
use slots::{Link, Own, Plain, Ref, Slot, class};

use self::object::Objects;
use crate::events::LoopCore;
use crate::face;
use crate::log::Logger;
use crate::selector_events::flow::Marks;
use crate::streams::StreamReaderProtocol;

pub use self::start::start_tls;
pub use self::transport::SslTransport;

/// How the program's protocol gets its bytes.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
enum Style {
    #[default]
    Plain,
    Buffered,
    /// Our own StreamReaderProtocol.
    Stream,
    /// TLS inside TLS.
    Tls,
}

class! {
    /// TLS between a transport and a protocol.
    pub struct SslProtocol {
        event_loop: Slot,
        app: Slot,
        /// The transport below.
        transport: Slot,
        app_transport: Link<SslTransport>,
        waiter: Slot,
        context: Slot,
        server_hostname: Slot,
        extra: Slot,
        objects: Objects,
        /// Bytes that are not encrypted yet.
        backlog: RefCell<VecDeque<Own>>,
        backlog_size: Cell<usize>,
        handshake_timeout: Slot,
        shutdown_timeout: Slot,
        handshake_timer: Slot,
        shutdown_timer: Slot,
        handshake_began: Cell<f64>,
        outgoing: Marks,
        incoming: Marks,
        /// Where a transport that is not ours writes what it received: a memoryview of a bytearray.
        memory: Slot,
        phase: Plain<Cell<Phase>>,
        told: Plain<Cell<App>>,
        style: Cell<Style>,
        server_side: Cell<bool>,
        /// The program wants nothing to read.
        app_reading_paused: Cell<bool>,
        /// The transport takes nothing to write.
        transport_writing_paused: Cell<bool>,
        eof_received: Cell<bool>,
        /// A reader has been fed, and nothing been sent since.
        fed: Cell<bool>,
        /// Writes since the end.
        conn_lost: Cell<u32>,
    }
}

/// Whether an exception goes through everything, out of the loop.
fn leaves(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}

fn logger(py: Python<'_>) -> PyResult<Logger<'_>> {
    crate::log::logger(py, "sslproto")
}

/// What `face(name)` has for `attribute`: the ssl module, constants that people patch.
fn constant<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    face(py, "constants")?.getattr(slots::Text(name))
}

/// The ssl module as a face knows it; None where there is none.
fn ssl_module<'py>(py: Python<'py>, name: &'static str) -> PyResult<Option<Bound<'py, PyAny>>> {
    match face(py, name)?.getattr(intern!(py, "ssl")) {
        Ok(module) if module.is_none() => Ok(None),
        Ok(module) => Ok(Some(module)),
        Err(error) if error.is_instance_of::<PyAttributeError>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

impl SslProtocol {
    fn event_loop<'py>(this: &Ref<'py, SslProtocol>) -> Bound<'py, PyAny> {
        this.event_loop.get_or_none(this.py())
    }

    fn is_debug(this: &Ref<'_, SslProtocol>) -> PyResult<bool> {
        let event_loop = SslProtocol::event_loop(this);
        match LoopCore::of(&event_loop) {
            Some(core) => Ok(core.debug.get()),
            None => event_loop.call_method0(intern!(this.py(), "get_debug"))?.is_truthy(),
        }
    }

    fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Goes on to `next`; RuntimeError if that is no legal move.
    fn become_phase(this: &Ref<'_, SslProtocol>, next: Phase) -> PyResult<()> {
        if this.phase().may_become(next) {
            this.phase.set(next);
            return Ok(());
        }
        let py = this.py();
        let name = |phase| Ok::<_, PyErr>(define::phase_member(py, phase)?.str()?.to_string());
        let text = format!("cannot switch state from {} to {}", name(this.phase())?, name(next)?);
        Err(PyRuntimeError::new_err(text))
    }

    fn set_app_protocol<'py>(this: &Ref<'py, SslProtocol>, protocol: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = this.py();
        let is_native = |name: &str| -> PyResult<bool> {
            Ok(protocol.get_type().getattr(slots::Text(name))?.get_type().name()? == "method_descriptor")
        };
        let style = if Ref::<StreamReaderProtocol>::cast(protocol).is_some() && is_native("data_received")? {
            Style::Stream
        } else if Ref::<SslProtocol>::cast(protocol).is_some()
            && is_native("get_buffer")?
            && is_native("buffer_updated")?
        {
            Style::Tls
        } else if protocol.hasattr(intern!(py, "get_buffer"))?
            && protocol.is_instance(&face(py, "protocols")?.getattr(intern!(py, "BufferedProtocol"))?)?
        {
            Style::Buffered
        } else {
            Style::Plain
        };
        this.app.set(protocol.clone());
        this.style.set(style);
        Ok(())
    }

    fn wake_waiter(this: &Ref<'_, SslProtocol>, error: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let py = this.py();
        let Some(waiter) = this.waiter.take(py) else { return Ok(()) };
        if waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            return Ok(());
        }
        match error {
            Some(error) => waiter.call_method1(intern!(py, "set_exception"), (error,)),
            None => waiter.call_method1(intern!(py, "set_result"), (py.None(),)),
        }
        .map(drop)
    }

    /// The transport below; AttributeError where there is none, as of None.
    fn lower<'py>(this: &Ref<'py, SslProtocol>) -> Bound<'py, PyAny> {
        this.transport.get_or_none(this.py())
    }

    fn is_lower_closing(this: &Ref<'_, SslProtocol>) -> PyResult<bool> {
        match this.transport.get(this.py()) {
            Some(transport) => transport.call_method0(intern!(this.py(), "is_closing"))?.is_truthy(),
            None => Ok(false),
        }
    }

    fn get_extra_info<'py>(
        this: &Ref<'py, SslProtocol>,
        name: &Bound<'py, PyAny>,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let extra = this.extra.get_or_none(py);
        if let Ok(dict) = extra.cast::<PyDict>() {
            if let Some(value) = dict.get_item(name)? {
                return Ok(value);
            }
        }
        match this.transport.get(py) {
            Some(transport) => transport.call_method1(intern!(py, "get_extra_info"), (name, default)),
            None => Ok(default),
        }
    }

    /// The transport tells that there is a connection: the handshake begins.
    fn connection_made<'py>(this: &Ref<'py, SslProtocol>, transport: &Bound<'py, PyAny>) -> PyResult<()> {
        this.transport.set(transport.clone());
        handshake::start(this)
    }

    /// The transport tells that it is over.
    fn connection_lost<'py>(this: &Ref<'py, SslProtocol>, error: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = this.py();
        let backlog = std::mem::take(&mut *this.backlog.borrow_mut());
        drop(backlog);
        object::outgoing(this).call_method0(intern!(py, "read"))?;
        this.conn_lost.set(this.conn_lost.get() + 1);
        if let Some(app_transport) = this.app_transport.get(py) {
            app_transport.mark_closed();
        }
        if this.phase() != Phase::Handshake && this.told.get().is_connected() {
            this.told.set(App::Lost);
            let lost = this.app.get_or_none(py).getattr(intern!(py, "connection_lost"))?;
            SslProtocol::event_loop(this).call_method1(intern!(py, "call_soon"), (lost, error))?;
        }
        SslProtocol::become_phase(this, Phase::Unwrapped)?;
        this.transport.unset();
        this.app_transport.unset();
        this.app.unset();
        this.memory.unset();
        SslProtocol::wake_waiter(this, Some(error).filter(|e| !e.is_none()))?;
        cancel(py, &this.shutdown_timer)?;
        cancel(py, &this.handshake_timer)
    }

    /// Bytes have come from the transport, in memory that is used again; answers whether they were taken.
    pub fn receive(this: &Ref<'_, SslProtocol>, bytes: &[Cell<u8>]) -> PyResult<bool> {
        if this.phase() != Phase::Wrapped || object::channel(this).is_none() {
            return Ok(false);
        }
        this.fed.set(false);
        read::deliver_with(this, bytes.into()).map(|()| true)
    }

    /// Whether the last [`SslProtocol::receive`] did nothing but feed a reader.
    pub fn has_only_fed(this: &Ref<'_, SslProtocol>) -> bool {
        this.fed.take()
    }

    /// Bytes have come from the transport.
    pub fn feed<'py>(this: &Ref<'py, SslProtocol>, data: &Bound<'py, PyAny>) -> PyResult<()> {
        object::incoming(this).call_method1(intern!(this.py(), "write"), (data,))?;
        SslProtocol::advance(this)
    }

    /// Goes on wherever the connection is, now that there may be more to read.
    fn advance(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
        match this.phase() {
            Phase::Unwrapped => Ok(()),
            Phase::Handshake => handshake::go_on(this),
            Phase::Wrapped => read::deliver(this),
            Phase::Flushing => shutdown::flush(this),
            Phase::Shutdown => shutdown::go_on(this),
        }
    }

    /// The transport tells that nothing more will come; true keeps it open.
    fn end_of_input(this: &Ref<'_, SslProtocol>) -> PyResult<bool> {
        let py = this.py();
        this.eof_received.set(true);
        let ended = SslProtocol::end_input(this);
        if let Err(error) = &ended {
            if error.is_instance_of::<PyException>(py) {
                SslProtocol::lower(this).call_method0(intern!(py, "close"))?;
            }
        }
        ended
    }

    fn end_input(this: &Ref<'_, SslProtocol>) -> PyResult<bool> {
        let py = this.py();
        if SslProtocol::is_debug(this)? {
            logger(py)?.log("debug", ("%r received EOF", this.any()))?;
        }
        match this.phase() {
            Phase::Handshake => {
                let reset = pyo3::exceptions::PyConnectionResetError::new_err(());
                handshake::complete(this, Some(reset))?;
            }
            Phase::Wrapped => {
                SslProtocol::become_phase(this, Phase::Flushing)?;
                if this.app_reading_paused.get() {
                    return Ok(true);
                }
                shutdown::flush(this)?;
            }
            Phase::Flushing => {
                write::encrypt(this)?;
                SslProtocol::become_phase(this, Phase::Shutdown)?;
                shutdown::go_on(this)?;
            }
            Phase::Shutdown => shutdown::go_on(this)?,
            Phase::Unwrapped => {}
        }
        Ok(false)
    }
}

/// Cancels a timer, if there is one.
fn cancel(py: Python<'_>, timer: &Slot) -> PyResult<()> {
    match timer.take(py) {
        Some(timer) => timer.call_method0(intern!(py, "cancel")).map(drop),
        None => Ok(()),
    }
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<SslProtocol>(module)?;
    slots::add_class::<SslTransport>(module)?;
    define::add(module)
}
