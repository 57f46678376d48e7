//! What `ssl`, `server_hostname` and the two time limits mean for a connection: options for `_make_ssl_transport`.
//!
//! Called by whatever makes a connection out of a socket; calls the loop's `_make_socket_transport` or `_make_ssl_transport`, by
//! name, since both are hooks.
//!
//! The options are None for a connection without TLS, else a pair: the context, None for the usual one, and the keywords.
//!
//! Of a server the name of the host is '', as in CPython: only clients have one to check.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};
use slots::intern;

/// How a connection is to be encrypted, as the program said it.
pub struct Tls<'a, 'py> {
    /// An SSLContext, true for the usual one, or something false for none.
    pub context: Option<&'a Bound<'py, PyAny>>,
    /// Which side this is.
    pub server_side: bool,
    /// The name of the peer; of a server's side nobody asks.
    pub hostname: Option<&'a Bound<'py, PyAny>>,
    /// Seconds for the handshake.
    pub handshake: Option<&'a Bound<'py, PyAny>>,
    /// Seconds for the end.
    pub shutdown: Option<&'a Bound<'py, PyAny>>,
}

/// The options as an object that can be kept.
pub fn tls_options<'py>(py: Python<'py>, tls: Tls<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let none = || py.None().into_bound(py);
    let context = match tls.context {
        Some(context) if context.is_truthy()? => context.clone(),
        _ => return Ok(none()),
    };
    let context = if context.is_instance_of::<PyBool>() { none() } else { context };
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "server_side"), tls.server_side)?;
    match tls.hostname {
        None if tls.server_side => keywords.set_item(intern!(py, "server_hostname"), "")?,
        hostname => keywords.set_item(intern!(py, "server_hostname"), hostname)?,
    }
    keywords.set_item(intern!(py, "ssl_handshake_timeout"), tls.handshake)?;
    keywords.set_item(intern!(py, "ssl_shutdown_timeout"), tls.shutdown)?;
    Ok(slots::tuple(py, [context, keywords.into_any()])?.into_any())
}

/// A transport for a socket, with TLS if `options` say so, whose calls are in `context` if there is one.
pub(super) fn make_transport<'py>(
    event_loop: &Bound<'py, PyAny>,
    [socket, protocol, waiter]: [&Bound<'py, PyAny>; 3],
    options: &Bound<'py, PyAny>,
    context: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let keywords = slots::dict(py)?;
    if let Some(context) = context {
        keywords.set_item(intern!(py, "context"), context)?;
    }
    if options.is_none() {
        let make = event_loop.getattr(intern!(py, "_make_socket_transport"))?;
        return make.call((socket, protocol, waiter), Some(&keywords));
    }
    let (context, options) = options.extract::<(Bound<'py, PyAny>, Bound<'py, PyDict>)>()?;
    keywords.update(options.as_mapping())?;
    let make = event_loop.getattr(intern!(py, "_make_ssl_transport"))?;
    make.call((socket, protocol, context, waiter), Some(&keywords))
}
