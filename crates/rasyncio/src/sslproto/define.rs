//! `SSLProtocol` as Python sees it: its arguments, the methods that transports call, the insides that people look at.
//!
//! Called when the class is made, and by whoever makes one: the loop, `start_tls`, a program. Calls the files beside it.
//!
//! A transport that is not the socket transport sees a BufferedProtocol: `get_buffer`, `buffer_updated`, `eof_received`, and the
//! calls of every protocol. The memory that it writes to is made at the first `get_buffer`: a socket transport needs none.
//!
//! `_sslobj`, `_incoming` and `_outgoing` may be replaced; see `object`.

use std::ffi::CStr;

use engine::tls::{App, Phase};
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyMemoryView, PyModule, PySlice};
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, add_function, arg, opt};

use super::object::{self, Part};
use super::read::MOST_BYTES;
use super::{SslProtocol, SslTransport, constant, flow, handshake, read, shutdown, ssl_module, write};
use crate::face;
use crate::futures::given;

/// The names of the usual marks, in KiB.
pub(super) const USUAL_READ: &str = "FLOW_CONTROL_HIGH_WATER_SSL_READ";
pub(super) const USUAL_WRITE: &str = "FLOW_CONTROL_HIGH_WATER_SSL_WRITE";

/// The member of `SSLProtocolState` for a phase.
pub(super) fn phase_member(py: Python<'_>, phase: Phase) -> PyResult<Bound<'_, PyAny>> {
    let name = match phase {
        Phase::Unwrapped => "UNWRAPPED",
        Phase::Handshake => "DO_HANDSHAKE",
        Phase::Wrapped => "WRAPPED",
        Phase::Flushing => "FLUSHING",
        Phase::Shutdown => "SHUTDOWN",
    };
    face(py, "sslproto")?.getattr(intern!(py, "SSLProtocolState"))?.getattr(slots::Text(name))
}

fn told_member(py: Python<'_>, told: App) -> PyResult<Bound<'_, PyAny>> {
    let name = match told {
        App::Init => "STATE_INIT",
        App::Made => "STATE_CON_MADE",
        App::Eof => "STATE_EOF",
        App::Lost => "STATE_CON_LOST",
    };
    face(py, "sslproto")?.getattr(intern!(py, "AppProtocolState"))?.getattr(slots::Text(name))
}

/// A time limit that was given, or the usual one.
fn time_limit<'py>(
    py: Python<'py>,
    value: Option<&Bound<'py, PyAny>>,
    name: &str,
    usual: &str,
) -> PyResult<Bound<'py, PyAny>> {
    match value {
        None => constant(py, usual),
        Some(value) if value.le(0)? => {
            Err(PyValueError::new_err(format!("{name} should be a positive number, got {}", value.str()?)))
        }
        Some(value) => Ok(value.clone()),
    }
}

/// `_create_transport_context`: the context of a client that gave none.
fn default_context<'py>(ssl: &Bound<'py, PyAny>, server_side: bool, named: bool) -> PyResult<Bound<'py, PyAny>> {
    if server_side {
        return Err(PyValueError::new_err("Server side SSL needs a valid SSLContext"));
    }
    let context = ssl.call_method0(intern!(ssl.py(), "create_default_context"))?;
    if !named {
        context.setattr(intern!(ssl.py(), "check_hostname"), false)?;
    }
    Ok(context)
}

fn init(this: &Ref<'_, SslProtocol>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<9> = Signature::method(
        "SSLProtocol.__init__",
        [
            arg("loop"),
            arg("app_protocol"),
            arg("sslcontext"),
            arg("waiter"),
            opt("server_side"),
            opt("server_hostname"),
            opt("call_connection_made"),
            opt("ssl_handshake_timeout"),
            opt("ssl_shutdown_timeout"),
        ],
    );
    let py = this.py();
    let [event_loop, app, context, waiter, server_side, hostname, call_made, handshake, shutdown] =
        args.parse(&INIT)?;
    let (Some(event_loop), Some(app)) = (event_loop, app) else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    let Some(ssl) = ssl_module(py, "sslproto")? else {
        return Err(PyRuntimeError::new_err("stdlib ssl module not available"));
    };
    let limit = time_limit(py, given(&handshake), "ssl_handshake_timeout", "SSL_HANDSHAKE_TIMEOUT")?;
    this.handshake_timeout.set(limit);
    let limit = time_limit(py, given(&shutdown), "ssl_shutdown_timeout", "SSL_SHUTDOWN_TIMEOUT")?;
    this.shutdown_timeout.set(limit);
    let server_side = server_side.map_or(Ok(false), |v| v.is_truthy())?;
    let named = hostname.map_or(Ok(false), |v| v.is_truthy())?;
    let context = match context.map_or(Ok(false), |c| c.is_truthy())? {
        true => context.cloned().unwrap_or_else(|| py.None().into_bound(py)),
        false => default_context(&ssl, server_side, named)?,
    };
    this.server_side.set(server_side);
    if let (Some(hostname), true) = (hostname, named && !server_side) {
        this.server_hostname.set(hostname.clone());
    }
    let extra = slots::dict(py)?;
    extra.set_item(intern!(py, "sslcontext"), &context)?;
    this.extra.set(extra.into_any());
    this.context.set(context);
    if let Some(waiter) = given(&waiter) {
        this.waiter.set(waiter.clone());
    }
    this.event_loop.set(event_loop.clone());
    SslProtocol::set_app_protocol(this, app)?;
    if !call_made.map_or(Ok(true), |v| v.is_truthy())? {
        this.told.set(App::Made);
    }
    object::wrap(this, &ssl)?;
    flow::set(&this.incoming, None, None, &constant(py, USUAL_READ)?)?;
    flow::set(&this.outgoing, None, None, &constant(py, USUAL_WRITE)?)?;
    SslTransport::of(this).map(drop)
}

/// Where a transport that is not ours writes what it received.
fn get_buffer<'py>(this: &Ref<'py, SslProtocol>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(memory) = this.memory.get(py) {
        return Ok(memory);
    }
    let memory = PyByteArray::new_with(py, MOST_BYTES, |_| Ok(()))?;
    let view = PyMemoryView::from(memory.as_any())?.into_any();
    this.memory.set(view.clone());
    Ok(view)
}

fn buffer_updated<'py>(this: &Ref<'py, SslProtocol>, count: &Bound<'py, PyAny>) -> PyResult<()> {
    let count: isize = count.extract()?;
    let part = get_buffer(this)?.get_item(PySlice::new(this.py(), 0, count, 1))?;
    SslProtocol::feed(this, &part)
}

fn slot_of(slot: &Slot, py: Python<'_>) -> PyResult<Option<Own>> {
    Ok(slot.get(py).map(Own::new))
}

impl Class for SslProtocol {
    const NAME: &'static CStr = c"rasyncio.sslproto._SSLProtocol";
    const DOC: &'static CStr = c"_SSLProtocol(loop, app_protocol, sslcontext, waiter, server_side=False, server_hostname=None, call_connection_made=True, ssl_handshake_timeout=None, ssl_shutdown_timeout=None)\n--\n\n\
        The native half of SSLProtocol.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.init(init)
            .method1_named(
                c"connection_made",
                c"connection_made($self, /, transport)\n--\n\nThe transport is there; the handshake begins.",
                || ("SSLProtocol.connection_made", "transport"),
                SslProtocol::connection_made,
            )
            .method1_named(
                c"connection_lost",
                c"connection_lost($self, /, exc)\n--\n\nThe transport is no more.",
                || ("SSLProtocol.connection_lost", "exc"),
                SslProtocol::connection_lost,
            )
            .method1_named(
                c"get_buffer",
                c"get_buffer($self, /, n)\n--\n\nWhere to write what comes.",
                || ("SSLProtocol.get_buffer", "n"),
                |this, _| get_buffer(this).map(Own::new),
            )
            .method1_named(
                c"buffer_updated",
                c"buffer_updated($self, /, nbytes)\n--\n\nSo many bytes have come.",
                || ("SSLProtocol.buffer_updated", "nbytes"),
                buffer_updated,
            )
            .method0(
                c"eof_received",
                c"eof_received($self, /)\n--\n\nNothing more will come; true keeps the transport open.",
                |this| Ok(SslProtocol::end_of_input(this)?.then_some(true)),
            )
            .method0(c"pause_writing", c"pause_writing($self, /)\n--\n\nThe transport takes nothing for now.", |this| {
                match this.transport_writing_paused.replace(true) {
                    true => Err(PyAssertionError::new_err(())),
                    false => Ok(()),
                }
            })
            .method0(c"resume_writing", c"resume_writing($self, /)\n--\n\nThe transport has room again.", |this| {
                match this.transport_writing_paused.replace(false) {
                    true => write::send(this),
                    false => Err(PyAssertionError::new_err(())),
                }
            })
            .get(c"max_size", c"The most bytes that a read takes.", |_| Ok(MOST_BYTES));
        define_hooks(spec);
        define_insides(spec);
    }
}

/// What is scheduled by name, and what other code of asyncio's calls.
fn define_hooks(spec: &mut Spec<SslProtocol>) {
    const EXTRA: Signature<2> = Signature::method("SSLProtocol._get_extra_info", [arg("name"), opt("default")]);
    const FATAL: Signature<2> = Signature::method("SSLProtocol._fatal_error", [arg("exc"), opt("message")]);
    spec.method0(
        c"_check_handshake_timeout",
        c"_check_handshake_timeout($self, /)\n--\n\nThe time for the handshake is over.",
        handshake::check_timeout,
    )
    .method0(
        c"_check_shutdown_timeout",
        c"_check_shutdown_timeout($self, /)\n--\n\nThe time for the end is over.",
        shutdown::check_timeout,
    )
    .method0(c"_do_read", c"_do_read($self, /)\n--\n\nHand on what came.", read::deliver)
    .method0(c"_resume", c"_resume($self, /)\n--\n\nGo on after resume_reading().", |this| match this.phase() {
        Phase::Wrapped => read::deliver(this),
        Phase::Flushing => shutdown::flush(this),
        Phase::Shutdown => shutdown::go_on(this),
        Phase::Unwrapped | Phase::Handshake => Ok(()),
    })
    .method(
        c"_get_extra_info",
        c"_get_extra_info($self, /, name, default=None)\n--\n\nWhat is known under a name.",
        |this, args| {
            let [Some(name), default] = args.parse(&EXTRA)? else {
                return Err(PyTypeError::new_err("name is missing"));
            };
            let default = default.map_or_else(|| this.py().None().into_bound(this.py()), Clone::clone);
            SslProtocol::get_extra_info(this, name, default).map(Own::new)
        },
    )
    .method(
        c"_fatal_error",
        c"_fatal_error($self, /, exc, message='Fatal error on transport')\n--\n\nAn error that ends the connection.",
        |this, args| {
            let [Some(error), message] = args.parse(&FATAL)? else {
                return Err(PyTypeError::new_err("exc is missing"));
            };
            let message = message.map(|m| m.extract::<String>()).transpose()?;
            shutdown::fatal_error(this, error.clone(), message.as_deref().unwrap_or(shutdown::ON_TRANSPORT))
        },
    )
    .method1_named(
        c"_abort",
        c"_abort($self, /, exc)\n--\n\nThe end at once.",
        || ("SSLProtocol._abort", "exc"),
        shutdown::abort,
    );
}

fn define_insides(spec: &mut Spec<SslProtocol>) {
    spec.get(c"_loop", c"", |this| slot_of(&this.event_loop, this.py()))
        .get(c"_app_protocol", c"", |this| slot_of(&this.app, this.py()))
        .get(c"_app_transport", c"", |this| slot_of(this.app_transport.any(), this.py()))
        .get(c"_transport", c"", |this| slot_of(&this.transport, this.py()))
        .get(c"_waiter", c"", |this| slot_of(&this.waiter, this.py()))
        .get(c"_sslcontext", c"", |this| slot_of(&this.context, this.py()))
        .get(c"_server_hostname", c"", |this| slot_of(&this.server_hostname, this.py()))
        .get(c"_server_side", c"", |this| Ok(this.server_side.get()))
        .get(c"_extra", c"", |this| slot_of(&this.extra, this.py()))
        .get(c"_ssl_handshake_timeout", c"", |this| slot_of(&this.handshake_timeout, this.py()))
        .get(c"_ssl_shutdown_timeout", c"", |this| slot_of(&this.shutdown_timeout, this.py()))
        .get(c"_handshake_timeout_handle", c"", |this| slot_of(&this.handshake_timer, this.py()))
        .get(c"_shutdown_timeout_handle", c"", |this| slot_of(&this.shutdown_timer, this.py()))
        .get(c"_state", c"", |this| phase_member(this.py(), this.phase()).map(Own::new))
        .get(c"_app_state", c"", |this| told_member(this.py(), this.told.get()).map(Own::new))
        .get(c"_conn_lost", c"", |this| Ok(this.conn_lost.get()))
        .get(c"_eof_received", c"", |this| Ok(this.eof_received.get()))
        .get(c"_app_reading_paused", c"", |this| Ok(this.app_reading_paused.get()))
        .get(c"_app_writing_paused", c"", |this| Ok(this.outgoing.is_paused()))
        .get(c"_ssl_reading_paused", c"", |this| Ok(this.incoming.is_paused()))
        .get(c"_ssl_writing_paused", c"", |this| Ok(this.transport_writing_paused.get()))
        .get(c"_has_channel", c"", |this| Ok(object::channel(this).is_some()))
        .get(c"_write_buffer_size", c"", |this| Ok(this.backlog_size.get()))
        .get_set(
            c"_sslobj",
            c"",
            |this| Ok(this.objects.get(this.py(), Part::Object).map(Own::new)),
            |this, value| {
                this.objects.put(Part::Object, value);
                Ok(())
            },
        )
        .get_set(
            c"_incoming",
            c"",
            |this| Ok(this.objects.get(this.py(), Part::Incoming).map(Own::new)),
            |this, value| {
                this.objects.put(Part::Incoming, value);
                Ok(())
            },
        )
        .get_set(
            c"_outgoing",
            c"",
            |this| Ok(this.objects.get(this.py(), Part::Outgoing).map(Own::new)),
            |this, value| {
                this.objects.put(Part::Outgoing, value);
                Ok(())
            },
        );
}

/// Puts the room's functions in the extension module.
pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(
        module,
        c"_add_flowcontrol_defaults",
        c"_add_flowcontrol_defaults(high, low, kb)\n--\n\nThe marks (high, low), what is missing from the other one or from kb KiB.",
        |py, args| {
            const SIGNATURE: Signature<3> =
                Signature::function("add_flowcontrol_defaults", [arg("high"), arg("low"), arg("kb")]);
            let [high, low, Some(usual)] = args.parse(&SIGNATURE)? else {
                return Err(PyTypeError::new_err("kb is missing"));
            };
            let [high, low] = flow::defaults(given(&high), given(&low), usual)?;
            Ok(Own::new((high, low).into_pyobject(py)?.into_any()))
        },
    )?;
    add_function(
        module,
        c"_create_transport_context",
        c"_create_transport_context(server_side, server_hostname)\n--\n\nThe SSLContext of a client that gave none.",
        |py, args| {
            const SIGNATURE: Signature<2> =
                Signature::function("_create_transport_context", [arg("server_side"), arg("server_hostname")]);
            let [Some(server_side), Some(hostname)] = args.parse(&SIGNATURE)? else {
                return Err(PyTypeError::new_err("an argument is missing"));
            };
            let Some(ssl) = ssl_module(py, "sslproto")? else {
                return Err(PyRuntimeError::new_err("stdlib ssl module not available"));
            };
            default_context(&ssl, server_side.is_truthy()?, hostname.is_truthy()?).map(Own::new)
        },
    )
}
