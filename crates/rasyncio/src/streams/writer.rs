//! `StreamWriter`: writing to a transport, and waiting until it has room.
//!
//! Called by users; calls the transport, straight where it is a native one.
//!
//! The finalizer closes a transport that nobody closed, with a ResourceWarning.

use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyResourceWarning, PyTypeError};
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, arg, class, opt};

use super::{FlowControl, StreamReader};
use crate::base_events::create_future;
use crate::coroutines::{Shell, plain, stand_in};
use crate::futures::Next;
use crate::selector_events::transport::SocketTransport;
use crate::sslproto::SslTransport;

class! {
    /// Writing to a transport.
    pub struct StreamWriter { transport: Slot, protocol: Slot, reader: Slot, event_loop: Slot, complete: Slot }
}

fn init(this: &Ref<'_, StreamWriter>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<4> =
        Signature::method("StreamWriter.__init__", [arg("transport"), arg("protocol"), arg("reader"), arg("loop")]);
    let [Some(transport), Some(protocol), Some(reader), Some(event_loop)] = args.parse(&INIT)? else { return Ok(()) };
    if !reader.is_none() && Ref::<StreamReader>::cast(reader).is_none() {
        return Err(PyAssertionError::new_err(()));
    }
    this.transport.set(transport.clone());
    this.protocol.set(protocol.clone());
    this.reader.set(reader.clone());
    this.event_loop.set(event_loop.clone());
    Ok(())
}

fn transport<'py>(this: &Ref<'py, StreamWriter>) -> Bound<'py, PyAny> {
    this.transport.get_or_none(this.py())
}

fn is_closing(transport: &Bound<'_, PyAny>) -> PyResult<bool> {
    match Ref::<SocketTransport>::cast_exact(transport) {
        Some(native) => Ok(native.is_closing()),
        None if Ref::<SslTransport>::cast_exact(transport).is_some_and(|t| !t.has_own_attributes()) => {
            Ref::<SslTransport>::cast_exact(transport).map_or(Ok(true), SslTransport::is_closing)
        }
        None => transport.call_method0(intern!(transport.py(), "is_closing"))?.is_truthy(),
    }
}

/// What drain() has to wait for; None if nothing.
fn drain(this: &Ref<'_, StreamWriter>) -> PyResult<Option<Own>> {
    let py = this.py();
    if let Some(reader) = this.reader.get(py).filter(|r| !r.is_none()) {
        let exception = match Ref::<StreamReader>::cast(&reader) {
            Some(native) => native.exception(py),
            None => Some(reader.call_method0(intern!(py, "exception"))?).filter(|e| !e.is_none()),
        };
        if let Some(exception) = exception {
            return Err(slots::raise(&exception));
        }
    }
    let protocol = this.protocol.get_or_none(py);
    if is_closing(&transport(this))? {
        // Let the loop run once, so that a connection that is lost is known to be.
        return slots::coroutine(py, "StreamWriter.drain", [protocol], |co, [protocol]| async move {
            co.give(co.py().None().into_bound(co.py())).await?;
            let helper = co.get(protocol).call_method0(intern!(co.py(), "_drain_helper"))?;
            let helper = co.keep(helper);
            co.wait(helper).await
        })
        .map(|waiting| Some(waiting.into()));
    }
    match Ref::<FlowControl>::cast(&protocol) {
        Some(native) => FlowControl::drain(native),
        None => protocol.call_method0(intern!(py, "_drain_helper")).map(|waiting| Some(waiting.into())),
    }
}

static DRAIN: Shell = Shell {
    room: "streams",
    name: "StreamWriter.drain",
    begin: |wait| {
        let py = wait.py();
        let owner = wait.owner.get_or_none(py);
        match Ref::<StreamWriter>::cast(&owner).map_or(Ok(None), drain)? {
            Some(waiting) => slots::awaitable_iterator(waiting.bind(py)).map(Next::Delegate),
            None => Ok(Next::Return(py.None().into_bound(py))),
        }
    },
    then: |wait, outcome| outcome.map(|_| Next::Return(wait.py().None().into_bound(wait.py()))),
};

/// `drain()` on exactly a StreamWriter.
pub fn quick_drain<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    match plain(args) {
        Some([this]) if Ref::<StreamWriter>::cast_exact(this).is_some() => stand_in(&DRAIN, this, None),
        _ => Ok(None),
    }
}

impl Class for StreamWriter {
    const NAME: &'static CStr = c"rasyncio.streams.StreamWriter";
    const DOC: &'static CStr = c"StreamWriter(transport, protocol, reader, loop)\n--\n\n\
        Writing to a transport. Follow write() with `await drain()`. Not thread-safe.";
    const DICT: bool = true;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.transport.is_set()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let transport = transport(this);
        if is_closing(&transport)? {
            return Ok(());
        }
        let category = py.get_type::<PyResourceWarning>();
        if this.event_loop.get_or_none(py).call_method0(intern!(py, "is_closed"))?.is_truthy()? {
            return PyErr::warn(py, &category, c"loop is closed", 1);
        }
        this.any().call_method0(intern!(py, "close"))?;
        slots::resource_warning(this.any(), &format!("unclosed {}", this.any().repr()?))
    }

    fn define(spec: &mut Spec<Self>) {
        const EXTRA: Signature<2> = Signature::method("StreamWriter.get_extra_info", [arg("name"), opt("default")]);
        spec.init(init)
            .repr(|this| {
                let py = this.py();
                let name = this.any().get_type().name()?;
                let mut text = format!("<{name} transport={}", transport(this).repr()?);
                if let Some(reader) = this.reader.get(py).filter(|r| !r.is_none()) {
                    text.push_str(&format!(" reader={}", reader.repr()?));
                }
                Ok(text + ">")
            })
            .get(c"transport", c"The transport that is written to.", |this| Ok(Own::new(transport(this))))
            .method1_named(
                c"write",
                c"write($self, /, data)\n--\n\nSend bytes, or keep them until they can be sent.",
                || ("StreamWriter.write", "data"),
                |this, data| {
                    let transport = transport(this);
                    match Ref::<SocketTransport>::cast_exact(&transport) {
                        Some(native) if !native.has_own_attributes() => SocketTransport::write(native, data),
                        _ => match Ref::<SslTransport>::cast_exact(&transport) {
                            Some(native) if !native.has_own_attributes() => SslTransport::write(native, data),
                            _ => transport.call_method1(intern!(this.py(), "write"), (data,)).map(drop),
                        },
                    }
                },
            )
            .method1_named(
                c"writelines",
                c"writelines($self, /, data)\n--\n\nSend all of an iterable of bytes.",
                || ("StreamWriter.writelines", "data"),
                |this, data| transport(this).call_method1(intern!(this.py(), "writelines"), (data,)).map(drop),
            )
            .method0(
                c"write_eof",
                c"write_eof($self, /)\n--\n\nClose the writing half after what is written.",
                |this| transport(this).call_method0(intern!(this.py(), "write_eof")).map(Own::new),
            )
            .method0(
                c"can_write_eof",
                c"can_write_eof($self, /)\n--\n\nWhether the transport has a write_eof().",
                |this| transport(this).call_method0(intern!(this.py(), "can_write_eof")).map(Own::new),
            )
            .method0(c"close", c"close($self, /)\n--\n\nClose the transport after what is written.", |this| {
                transport(this).call_method0(intern!(this.py(), "close")).map(Own::new)
            })
            .method0(
                c"is_closing",
                c"is_closing($self, /)\n--\n\nWhether the transport is closed or being closed.",
                |this| is_closing(&transport(this)),
            )
            .method(
                c"get_extra_info",
                c"get_extra_info($self, /, name, default=None)\n--\n\nWhat the transport knows under a name.",
                |this, args| {
                    let [Some(name), default] = args.parse(&EXTRA)? else {
                        return Err(PyTypeError::new_err("name is missing"));
                    };
                    let py = this.py();
                    let default = default.map_or_else(|| py.None().into_bound(py), Clone::clone);
                    transport(this).call_method1(intern!(py, "get_extra_info"), (name, default)).map(Own::new)
                },
            )
            .method1_named(
                c"_replace_transport",
                c"_replace_transport($self, /, transport)\n--\n\nGo on with another transport, after start_tls().",
                || ("StreamWriter._replace_transport", "transport"),
                |this, transport| {
                    let py = this.py();
                    this.transport.set(transport.clone());
                    let protocol = this.protocol.get_or_none(py);
                    protocol.call_method1(intern!(py, "_replace_transport"), (transport,)).map(drop)
                },
            )
            .method0(c"_drain", c"_drain($self, /)\n--\n\nWhat drain() has to wait for, or None.", drain)
            .method0(c"_close_waiter", c"_close_waiter($self, /)\n--\n\nThe future of the connection's end.", |this| {
                let py = this.py();
                let protocol = this.protocol.get_or_none(py);
                protocol.call_method1(intern!(py, "_get_close_waiter"), (this.any(),)).map(Own::new)
            })
            .get_set(
                c"_transport",
                c"",
                |this| Ok(this.transport.get(this.py()).map(Own::new)),
                |this, value| {
                    match value {
                        Some(value) => this.transport.set(value.clone()),
                        None => this.transport.unset(),
                    }
                    Ok(())
                },
            )
            .get(c"_protocol", c"", |this| Ok(this.protocol.get(this.py()).map(Own::new)))
            .get(c"_reader", c"", |this| Ok(this.reader.get(this.py()).map(Own::new)))
            .get(c"_loop", c"", |this| Ok(this.event_loop.get(this.py()).map(Own::new)))
            .get(c"_complete_fut", c"", |this| {
                let py = this.py();
                if let Some(complete) = this.complete.get(py) {
                    return Ok(Own::new(complete));
                }
                let complete = create_future(&this.event_loop.get_or_none(py))?;
                complete.call_method1(intern!(py, "set_result"), (py.None(),))?;
                this.complete.set(complete.clone());
                Ok(Own::new(complete))
            });
    }
}
