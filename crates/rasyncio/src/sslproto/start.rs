//! `loop.start_tls`: TLS on a connection that is there already.
//!
//! Called by the loop's shell, which gives all arguments by position; calls the transport by its own methods, and makes an
//! `SSLProtocol` of the face's class.
//!
//! The protocol is not told of a new connection: for it the connection goes on, under a new transport. What a server's stream
//! reader has read already is the beginning of the handshake, and moves.
//!
//! Invariant: on every way out but success the transport is closed.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Co, Kept, Ref, Signature, arg};

use super::{SslProtocol, object, ssl_module};
use crate::base_events::create_future;
use crate::face;
use crate::streams::{StreamReader, StreamReaderProtocol};

/// The body of `BaseEventLoop.start_tls`.
pub fn start_tls<'py>(event_loop: &Bound<'py, PyAny>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const SIGNATURE: Signature<7> = Signature::method(
        "BaseEventLoop.start_tls",
        [
            arg("transport"),
            arg("protocol"),
            arg("sslcontext"),
            arg("server_side"),
            arg("server_hostname"),
            arg("ssl_handshake_timeout"),
            arg("ssl_shutdown_timeout"),
        ],
    );
    let py = event_loop.py();
    let given = args.parse(&SIGNATURE)?;
    let [Some(transport), Some(protocol), Some(context), Some(server_side), Some(hostname), handshake, shutdown] =
        given
    else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    let Some(ssl) = ssl_module(py, "base_events")? else {
        return Err(PyRuntimeError::new_err("Python ssl module is not available"));
    };
    if !context.is_instance(&ssl.getattr(intern!(py, "SSLContext"))?)? {
        let text = format!("sslcontext is expected to be an instance of ssl.SSLContext, got {}", context.repr()?);
        return Err(PyTypeError::new_err(text));
    }
    let compatible = match transport.getattr(intern!(py, "_start_tls_compatible")) {
        Ok(compatible) => compatible.is_truthy()?,
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyAttributeError>(py) => false,
        Err(error) => return Err(error),
    };
    if !compatible {
        return Err(PyTypeError::new_err(format!("transport {} is not supported by start_tls()", transport.repr()?)));
    }
    let waiter = create_future(event_loop)?;
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "ssl_handshake_timeout"), handshake)?;
    keywords.set_item(intern!(py, "ssl_shutdown_timeout"), shutdown)?;
    keywords.set_item(intern!(py, "call_connection_made"), false)?;
    let class = face(py, "sslproto")?.getattr(intern!(py, "SSLProtocol"))?;
    let arguments = (event_loop, protocol, context, &waiter, server_side, hostname);
    let tls = class.call(arguments, Some(&keywords))?;
    // Bytes of the handshake must not come before connection_made.
    transport.call_method0(intern!(py, "pause_reading"))?;
    if server_side.is_truthy()? {
        move_bytes(protocol, &tls)?;
    }
    transport.call_method1(intern!(py, "set_protocol"), (&tls,))?;
    let call_soon = event_loop.getattr(intern!(py, "call_soon"))?;
    let made = call_soon.call1((tls.getattr(intern!(py, "connection_made"))?, transport))?;
    let resumed = call_soon.call1((transport.getattr(intern!(py, "resume_reading"))?,))?;
    let kept = [transport.clone(), tls, waiter, made, resumed];
    slots::coroutine(py, "BaseEventLoop.start_tls", kept, |co, [transport, tls, waiter, made, resumed]| async move {
        match co.wait(waiter).await {
            Ok(_) => Ok(co.get(tls).getattr(intern!(co.py(), "_app_transport"))?.into()),
            Err(error) => {
                give_up(&co, transport, [made, resumed])?;
                Err(error)
            }
        }
    })
}

fn give_up(co: &Co, transport: Kept, handles: [Kept; 2]) -> PyResult<()> {
    let py = co.py();
    co.get(transport).call_method0(intern!(py, "close"))?;
    for handle in handles {
        co.get(handle).call_method0(intern!(py, "cancel"))?;
    }
    Ok(())
}

/// What a stream reader has read of the handshake goes where it belongs.
fn move_bytes<'py>(protocol: &Bound<'py, PyAny>, tls: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = protocol.py();
    let Some(stream) = Ref::<StreamReaderProtocol>::cast(protocol) else { return Ok(()) };
    let (Some(reader), Some(tls)) = (StreamReaderProtocol::native_reader(stream), Ref::<SslProtocol>::cast(tls)) else {
        return Ok(());
    };
    if StreamReader::is_empty(&reader)? {
        return Ok(());
    }
    let bytes = StreamReader::take_all(&reader)?;
    object::incoming(tls).call_method1(intern!(py, "write"), (bytes,)).map(drop)
}
