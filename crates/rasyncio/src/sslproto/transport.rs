//! `SslTransport`: what the program writes to, and closes (asyncio's `_SSLProtocolTransport`).
//!
//! Called by the program, and by stream writers straight ([`SslTransport::write`]); calls the [`SslProtocol`] that it belongs to
//! for everything.
//!
//! States: open -> closed (by the program, by the peer, or by the loss of the connection) -> gone: closed once more, it lets go
//! of the connection, as in CPython, and nothing is known or done from then on. An open one that is collected warns.
//!
//! TLS cannot be half closed: there is no `write_eof`.
//!
//! `__class__` answers the face's class, which derives from `asyncio.Transport`: a native type cannot, its layout differs.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::{PyNotImplementedError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use slots::intern;
use slots::{Class, Link, Own, Ref, Signature, Slot, Spec, arg, class, opt};

use super::{SslProtocol, constant, define, flow, object, shutdown, write};
use crate::face;

class! {
    /// What the program writes to.
    pub struct SslTransport {
        event_loop: Slot,
        protocol: Link<SslProtocol>,
        closed: Cell<bool>,
        own_attributes: Cell<bool>,
    }
}

impl SslTransport {
    /// The one transport of a connection, made at the first call.
    pub(super) fn of<'py>(protocol: &Ref<'py, SslProtocol>) -> PyResult<Ref<'py, SslTransport>> {
        let py = protocol.py();
        if let Some(known) = protocol.app_transport.get(py) {
            return Ok(known);
        }
        let this = Ref::create(py, SslTransport::default())?;
        this.event_loop.set(SslProtocol::event_loop(protocol));
        this.protocol.set(protocol.clone());
        protocol.app_transport.set(this.clone());
        Ok(this)
    }

    /// The connection is over, or about to be: nothing is left to close.
    pub(super) fn mark_closed(&self) {
        self.closed.set(true);
    }

    /// Whether somebody assigned to an attribute of the instance.
    pub fn has_own_attributes(&self) -> bool {
        self.own_attributes.get()
    }

    fn protocol<'py>(this: &Ref<'py, SslTransport>) -> Option<Ref<'py, SslProtocol>> {
        this.protocol.get(this.py())
    }

    /// Whether the transport is closed or being closed.
    pub fn is_closing(this: &Ref<'_, SslTransport>) -> PyResult<bool> {
        match SslTransport::protocol(this) {
            Some(protocol) if !this.closed.get() => SslProtocol::is_lower_closing(&protocol),
            _ => Ok(true),
        }
    }

    /// Sends bytes, or keeps them until they can be sent.
    pub fn write<'py>(this: &Ref<'py, SslTransport>, data: &Bound<'py, PyAny>) -> PyResult<()> {
        if !data.is_instance_of::<PyBytes>()
            && !data.is_instance_of::<PyByteArray>()
            && !data.is_instance_of::<PyMemoryView>()
        {
            let text = format!("data: expecting a bytes-like instance, got {}", data.get_type().name()?);
            return Err(PyTypeError::new_err(text));
        }
        if !data.is_truthy()? {
            return Ok(());
        }
        SslTransport::protocol(this).map_or(Ok(()), |protocol| write::write(&protocol, data))
    }

    fn force_close<'py>(this: &Ref<'py, SslTransport>, error: &Bound<'py, PyAny>) -> PyResult<()> {
        this.closed.set(true);
        match this.protocol.get(this.py()) {
            Some(protocol) => shutdown::abort(&protocol, error),
            None => Ok(()),
        }
    }
}

impl Class for SslTransport {
    const NAME: &'static CStr = c"rasyncio.sslproto._SSLProtocolTransport";
    const DOC: &'static CStr = c"A TLS connection under a protocol; see asyncio's reference of transports.";
    const DICT: bool = true;
    const CALLABLE: bool = false;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        !self.closed.get()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        this.closed.set(true);
        slots::resource_warning(this.any(), "unclosed transport <asyncio._SSLProtocolTransport object>")
    }

    fn define(spec: &mut Spec<Self>) {
        const EXTRA: Signature<2> =
            Signature::method("_SSLProtocolTransport.get_extra_info", [arg("name"), opt("default")]);
        spec.on_set_attribute(|this, _, _| {
            this.own_attributes.set(true);
            Ok(true)
        })
        .get(c"__class__", c"", |this| {
            face(this.py(), "sslproto")?.getattr(slots::Text("_SSLProtocolTransport")).map(Own::new)
        })
        .method(
            c"get_extra_info",
            c"get_extra_info($self, /, name, default=None)\n--\n\n\
            'ssl_object', 'sslcontext', 'peercert', 'cipher', 'compression', or what the transport below knows.",
            |this, args| {
                let [Some(name), default] = args.parse(&EXTRA)? else {
                    return Err(PyTypeError::new_err("name is missing"));
                };
                let default = default.map_or_else(|| this.py().None().into_bound(this.py()), Clone::clone);
                match SslTransport::protocol(this) {
                    Some(protocol) => SslProtocol::get_extra_info(&protocol, name, default).map(Own::new),
                    None => Ok(Own::new(default)),
                }
            },
        )
        .method1_named(
            c"set_protocol",
            c"set_protocol($self, /, protocol)\n--\n\nTalk to another protocol from now on.",
            || ("_SSLProtocolTransport.set_protocol", "protocol"),
            |this, app| {
                SslTransport::protocol(this).map_or(Ok(()), |protocol| SslProtocol::set_app_protocol(&protocol, app))
            },
        )
        .method0(c"get_protocol", c"get_protocol($self, /)\n--\n\nThe protocol.", |this| {
            Ok(SslTransport::protocol(this).and_then(|protocol| protocol.app.get(this.py())).map(Own::new))
        })
        .method0(
            c"is_closing",
            c"is_closing($self, /)\n--\n\nWhether it is closed or being closed.",
            SslTransport::is_closing,
        )
        .method0(
            c"close",
            c"close($self, /)\n--\n\n\
            Close the connection after what is written; connection_lost(None) is called then.",
            |this| {
                if this.closed.replace(true) {
                    this.protocol.unset();
                    return Ok(());
                }
                SslTransport::protocol(this).map_or(Ok(()), |protocol| shutdown::start(&protocol))
            },
        )
        .method0(
            c"abort",
            c"abort($self, /)\n--\n\nClose the connection at once; what is written and not sent is lost.",
            |this| SslTransport::force_close(this, &this.py().None().into_bound(this.py())),
        )
        .method1_named(
            c"_force_close",
            c"_force_close($self, /, exc)\n--\n\nabort() with an exception for connection_lost().",
            || ("_SSLProtocolTransport._force_close", "exc"),
            SslTransport::force_close,
        )
        .method0(c"is_reading", c"is_reading($self, /)\n--\n\nWhether data is being received.", |this| {
            Ok(SslTransport::protocol(this).is_some_and(|protocol| !protocol.app_reading_paused.get()))
        })
        .method0(
            c"pause_reading",
            c"pause_reading($self, /)\n--\n\nCall data_received() no more until resume_reading().",
            |this| {
                if let Some(protocol) = SslTransport::protocol(this) {
                    protocol.app_reading_paused.set(true);
                }
                Ok(())
            },
        )
        .method0(c"resume_reading", c"resume_reading($self, /)\n--\n\nReceive data again.", |this| {
            let py = this.py();
            let Some(protocol) = SslTransport::protocol(this) else { return Ok(()) };
            if !protocol.app_reading_paused.replace(false) {
                return Ok(());
            }
            let resume = protocol.any().getattr(intern!(py, "_resume"))?;
            SslProtocol::event_loop(&protocol).call_method1(intern!(py, "call_soon"), (resume,)).map(drop)
        })
        .method1_named(
            c"write",
            c"write($self, /, data)\n--\n\nSend bytes, or keep them until they can be sent.",
            || ("_SSLProtocolTransport.write", "data"),
            SslTransport::write,
        )
        .method1_named(
            c"writelines",
            c"writelines($self, /, list_of_data)\n--\n\nSend all of an iterable of bytes.",
            || ("_SSLProtocolTransport.writelines", "list_of_data"),
            |this, list| {
                SslTransport::protocol(this).map_or(Ok(()), |protocol| write::writelines(&protocol, list))
            },
        )
        .method0(
            c"write_eof",
            c"write_eof($self, /)\n--\n\nNotImplementedError: TLS cannot be half closed.",
            |_| Err::<(), _>(PyNotImplementedError::new_err(())),
        )
        .method0(
            c"can_write_eof",
            c"can_write_eof($self, /)\n--\n\nFalse: TLS cannot be half closed.",
            |_| Ok(false),
        )
        .get(c"_loop", c"", |this| Ok(this.event_loop.get(this.py()).map(Own::new)))
        .get_set(
            c"_ssl_protocol",
            c"",
            |this| Ok(this.protocol.any().get(this.py()).map(Own::new)),
            |this, value| {
                match value.and_then(Ref::<SslProtocol>::cast) {
                    Some(protocol) => this.protocol.set(protocol.clone()),
                    None => this.protocol.unset(),
                }
                Ok(())
            },
        )
        .get_set(
            c"_closed",
            c"",
            |this| Ok(this.closed.get()),
            |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.closed.set(v))),
        )
        .get(c"_protocol_paused", c"", |this| Ok(SslTransport::protocol(this).is_some_and(|p| p.outgoing.is_paused())))
        .get(c"_start_tls_compatible", c"", |_| Ok(true))
        .get(c"_sendfile_compatible", c"", |this| {
            constant(this.py(), "_SendfileMode")?.getattr(intern!(this.py(), "FALLBACK")).map(Own::new)
        })
        .method1_named(
            c"_test__append_write_backlog",
            c"_test__append_write_backlog($self, /, data)\n--\n\nFor tests: bytes that wait, without a try to send them.",
            || ("_SSLProtocolTransport._test__append_write_backlog", "data"),
            |this, data| SslTransport::protocol(this).map_or(Ok(()), |protocol| write::push(&protocol, data)),
        );
        define_marks(spec);
    }
}

fn define_marks(spec: &mut Spec<SslTransport>) {
    spec.method0(
        c"get_write_buffer_size",
        c"get_write_buffer_size($self, /)\n--\n\nHow many bytes wait to be sent, encrypted or not.",
        |this| SslTransport::protocol(this).map_or(Ok(0), |protocol| write::buffered(&protocol)),
    )
    .method0(
        c"get_write_buffer_limits",
        c"get_write_buffer_limits($self, /)\n--\n\nThe marks (low, high), in bytes.",
        |this| SslTransport::protocol(this).map(|protocol| protocol.outgoing.limits(this.py())).transpose(),
    )
    .method(
        c"set_write_buffer_limits",
        c"set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n\
        At high bytes or more the protocol is paused, at low or less resumed.",
        |this, args| {
            let Some(protocol) = SslTransport::protocol(this) else { return Ok(()) };
            let [high, low] = flow::parse(args)?;
            flow::set(&protocol.outgoing, high, low, &constant(this.py(), define::USUAL_WRITE)?)?;
            flow::control_app_writing(&protocol, write::buffered(&protocol)?)
        },
    )
    .method0(
        c"get_read_buffer_size",
        c"get_read_buffer_size($self, /)\n--\n\nHow many bytes wait to be decrypted.",
        |this| SslTransport::protocol(this).map_or(Ok(0), |protocol| object::incoming_pending(&protocol)),
    )
    .method0(
        c"get_read_buffer_limits",
        c"get_read_buffer_limits($self, /)\n--\n\nThe marks (low, high) of what waits to be decrypted, in bytes.",
        |this| SslTransport::protocol(this).map(|protocol| protocol.incoming.limits(this.py())).transpose(),
    )
    .method(
        c"set_read_buffer_limits",
        c"set_read_buffer_limits($self, /, high=None, low=None)\n--\n\n\
        At high bytes or more the transport below is paused, at low or less resumed.",
        |this, args| {
            let Some(protocol) = SslTransport::protocol(this) else { return Ok(()) };
            let [high, low] = flow::parse(args)?;
            flow::set(&protocol.incoming, high, low, &constant(this.py(), define::USUAL_READ)?)?;
            flow::control_transport_reading(&protocol, object::incoming_pending(&protocol)?)
        },
    );
}
