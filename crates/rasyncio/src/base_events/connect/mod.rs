//! Making connections, servers and datagram endpoints: `create_connection`, `create_server`, `create_datagram_endpoint`,
//! `connect_accepted_socket`, `getaddrinfo`.
//!
//! Called by the shells on the face, which give all arguments by position; calls the executor for names, the socket module
//! (by the face's name `socket`, so that patches to it hold), and the loop's own methods for connecting and transports.
//!
//! - `resolve`: hosts and ports become address infos.
//! - `client`: `create_connection`: one address after another, or several at a time.
//! - `listen`: `create_server`: one socket for each address.
//! - `datagram`: `create_datagram_endpoint`: a socket for the first pair of addresses that works.
//! - `pipes`: `connect_read_pipe`, `connect_write_pipe`.
//! - `tls`: what `ssl` and its kin mean for a connection.
//!
//! Here are what they share: checks of sockets given by the user, and a transport on a socket that is connected.
//!
//! A socket that was made here is closed on every way out but success, cancellation included.

mod client;
mod datagram;
mod listen;
mod pipes;
mod resolve;
mod tls;

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Args, Co, Kept, Own, Ref, Signature, Spec, add_function, arg, opt};

use self::client::create_connection;
use self::datagram::create_datagram_endpoint;
use self::listen::create_server;
use self::pipes::{End, connect_pipe};
use self::resolve::{ensure_resolved, getaddrinfo, getaddrinfo_debug, interleave, ipaddr_info};
use self::tls::make_transport;
use super::{BaseEventLoop, create_future};
use crate::events::LoopCore;
use crate::log::logger;
use crate::sslproto::start_tls;
use crate::{face, library};

pub use self::client::Attempt;
pub use self::tls::{Tls, tls_options};

fn socket_module(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    face(py, "base_events")?.getattr(intern!(py, "socket"))
}

fn constant(py: Python<'_>, name: &str) -> PyResult<i64> {
    socket_module(py)?.getattr(slots::Text(name))?.extract()
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

fn set_nodelay(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = socket.py();
    let is = |name: &str, value: &str| socket.getattr(slots::Text(name))?.eq(constant(py, value)?);
    if (is("family", "AF_INET")? || is("family", "AF_INET6")?)
        && is("type", "SOCK_STREAM")?
        && is("proto", "IPPROTO_TCP")?
    {
        let (level, option) = (constant(py, "IPPROTO_TCP")?, constant(py, "TCP_NODELAY")?);
        socket.call_method1(intern!(py, "setsockopt"), (level, option, 1))?;
    }
    Ok(())
}

fn set_reuse_port(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = socket.py();
    let module = socket_module(py)?;
    if !module.hasattr(intern!(py, "SO_REUSEPORT"))? {
        return Err(PyValueError::new_err("reuse_port not supported by socket module"));
    }
    let (level, option) = (module.getattr(intern!(py, "SOL_SOCKET"))?, module.getattr(intern!(py, "SO_REUSEPORT"))?);
    match socket.call_method1(intern!(py, "setsockopt"), (level, option, 1)) {
        Err(error) if error.is_instance_of::<PyOSError>(py) => {
            let text = "reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented.";
            Err(slots::raised_from(py, error, PyValueError::new_err(text)))
        }
        other => other.map(drop),
    }
}

fn check_ssl_socket(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = socket.py();
    // Nobody can have an SSLSocket without the ssl module.
    let modules = library(py, "sys")?.getattr(intern!(py, "modules"))?;
    let ssl = modules.call_method1(intern!(py, "get"), ("ssl",))?;
    if !ssl.is_none() && socket.is_instance(&ssl.getattr(intern!(py, "SSLSocket"))?)? {
        return Err(PyTypeError::new_err("Socket cannot be of type SSLSocket"));
    }
    Ok(())
}

fn stream_socket_expected(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = socket.py();
    if socket.getattr(intern!(py, "type"))?.extract::<i64>()? == constant(py, "SOCK_STREAM")? {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("A Stream Socket was expected, got {}", socket.repr()?)))
}

/// Closes a socket that was made here and is not needed; an OSError of that is of no interest to anybody.
fn close_new(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    match socket.call_method0(intern!(socket.py(), "close")) {
        Err(error) if !error.is_instance_of::<PyOSError>(socket.py()) => Err(error),
        _ => Ok(()),
    }
}

/// The transport and protocol for a connected socket: `_create_connection_transport`; `tls` is what `tls_options` answers. Until
/// the transport has taken it over, a socket that is `ours` is closed if something fails; from 3.14 on (gh-153133) one that
/// the user gave, too.
pub async fn connect_transport(co: &Co, [event_loop, socket, factory, tls]: [Kept; 4], ours: bool) -> PyResult<Own> {
    let (transport, protocol, waiter) = match begin_transport(co, [event_loop, socket, factory, tls]) {
        Ok([transport, protocol, waiter]) => (co.keep(transport), co.keep(protocol), co.keep(waiter)),
        Err(error) => {
            if ours || slots::VERSION >= (3, 14) {
                co.get(socket).call_method0(intern!(co.py(), "close"))?;
            }
            return Err(error);
        }
    };
    if let Err(error) = co.wait(waiter).await {
        co.get(transport).call_method0(intern!(co.py(), "close"))?;
        return Err(error);
    }
    let py = co.py();
    Ok(slots::tuple(py, [co.get(transport), co.get(protocol)])?.into_any().into())
}

fn begin_transport(co: &Co, [event_loop, socket, factory, tls]: [Kept; 4]) -> PyResult<[Bound<'_, PyAny>; 3]> {
    let py = co.py();
    co.get(socket).call_method1(intern!(py, "setblocking"), (false,))?;
    // From 3.15 on all calls of a connection are in one context.
    let context = if slots::VERSION >= (3, 15) { Some(slots::copy_current(py)?) } else { None };
    let protocol = co.get(factory).call0()?;
    let event_loop = co.get(event_loop);
    let waiter = create_future(&event_loop)?;
    let objects = [&co.get(socket), &protocol, &waiter];
    let transport = make_transport(&event_loop, objects, &co.get(tls), context)?;
    Ok([transport, protocol, waiter])
}

fn is_debug(event_loop: &Bound<'_, PyAny>) -> bool {
    LoopCore::of(event_loop).is_some_and(|core| core.debug.get())
}

/// Debug mode's record of a connection that somebody else accepted.
fn log_handled(co: &Co, event_loop: Kept, accepted: &Own) -> PyResult<()> {
    let py = co.py();
    if !is_debug(&co.get(event_loop)) {
        return Ok(());
    }
    let (transport, protocol) = accepted.bind(py).extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
    let socket = transport.call_method1(intern!(py, "get_extra_info"), (intern!(py, "socket"),))?;
    let logger = logger(py, "base_events")?;
    logger.log("debug", ("%r handled: (%r, %r)", socket, transport, protocol)).map(drop)
}

fn connect_accepted<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const SIGNATURE: Signature<5> = Signature::method(
        "BaseEventLoop.connect_accepted_socket",
        [arg("protocol_factory"), arg("sock"), arg("ssl"), arg("ssl_handshake_timeout"), arg("ssl_shutdown_timeout")],
    );
    let py = this.py();
    let [Some(factory), Some(socket), ssl, handshake, shutdown] = args.parse(&SIGNATURE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    stream_socket_expected(socket)?;
    let tls = ssl.map_or(Ok(false), |s| s.is_truthy())?;
    for (value, name) in [(handshake, "ssl_handshake_timeout"), (shutdown, "ssl_shutdown_timeout")] {
        if value.is_some_and(|v| !v.is_none()) && !tls {
            return Err(PyValueError::new_err(format!("{name} is only meaningful with ssl")));
        }
    }
    check_ssl_socket(socket)?;
    let options = Tls { context: ssl, server_side: true, hostname: None, handshake, shutdown };
    let kept = [this.any().clone(), factory.clone(), socket.clone(), tls_options(py, options)?];
    slots::coroutine(
        py,
        "BaseEventLoop.connect_accepted_socket",
        kept,
        |co, [event_loop, factory, socket, tls]| async move {
            let accepted = connect_transport(&co, [event_loop, socket, factory, tls], false).await?;
            log_handled(&co, event_loop, &accepted)?;
            Ok(accepted)
        },
    )
}

pub(super) fn define(spec: &mut Spec<BaseEventLoop>) {
    spec.method(
        c"_create_connection",
        c"_create_connection($self, /, *args)\n--\n\n\
        The body of create_connection().",
        |this, args| create_connection(this, args).map(Own::new),
    )
    .method(c"_create_server", c"_create_server($self, /, *args)\n--\n\nThe body of create_server().", |this, args| {
        create_server(this, args).map(Own::new)
    })
    .method(
        c"_create_datagram_endpoint",
        c"_create_datagram_endpoint($self, /, *args)\n--\n\n\
        The body of create_datagram_endpoint().",
        |this, args| create_datagram_endpoint(this, args).map(Own::new),
    )
    .method(
        c"_connect_accepted_socket",
        c"_connect_accepted_socket($self, /, *args)\n--\n\n\
        The body of connect_accepted_socket().",
        |this, args| connect_accepted(this, args).map(Own::new),
    )
    .method(c"_start_tls", c"_start_tls($self, /, *args)\n--\n\nThe body of start_tls().", |this, args| {
        start_tls(this.any(), args).map(Own::new)
    })
    .method(
        c"_connect_read_pipe",
        c"_connect_read_pipe($self, protocol_factory, pipe, /)\n--\n\nThe body of connect_read_pipe().",
        |this, args| connect_pipe(this, args, End::Read).map(Own::new),
    )
    .method(
        c"_connect_write_pipe",
        c"_connect_write_pipe($self, protocol_factory, pipe, /)\n--\n\nThe body of connect_write_pipe().",
        |this, args| connect_pipe(this, args, End::Write).map(Own::new),
    )
    .method(c"_resolve", c"_resolve($self, address, /, **kwargs)\n--\n\nAddress infos for an address.", |this, args| {
        ensure_resolved(this, args).map(Own::new)
    })
    .method(
        c"_getaddrinfo",
        c"_getaddrinfo($self, host, port, family, type, proto, flags, /)\n--\n\n\
        The future behind getaddrinfo().",
        getaddrinfo,
    )
    .method(
        c"_getaddrinfo_debug",
        c"_getaddrinfo_debug($self, /, host, port, family, type, proto, flags)\n--\n\n\
        getaddrinfo() with its time logged.",
        getaddrinfo_debug,
    )
    .method(
        c"_getnameinfo",
        c"_getnameinfo($self, sockaddr, flags, /)\n--\n\n\
        The future behind getnameinfo().",
        |this, args| {
            let py = this.py();
            let mut all = vec![none(py), socket_module(py)?.getattr(intern!(py, "getnameinfo"))?];
            all.extend(args.positional().iter().cloned());
            this.any().call_method1(intern!(py, "run_in_executor"), slots::tuple(py, all)?).map(Own::new)
        },
    );
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(
        module,
        c"_ipaddr_info",
        c"_ipaddr_info(host, port, family, type, proto, flowinfo=0, scopeid=0)\n--\n\n\
        The address info of a numeric host, or None.",
        |py, args| {
            const SIGNATURE: Signature<7> = Signature::function(
                "_ipaddr_info",
                [arg("host"), arg("port"), arg("family"), arg("type"), arg("proto"), opt("flowinfo"), opt("scopeid")],
            );
            Ok(ipaddr_info(py, &args.parse(&SIGNATURE)?)?.map(Own::new))
        },
    )?;
    add_function(
        module,
        c"_interleave_addrinfos",
        c"_interleave_addrinfos(addrinfos, first_address_family_count=1)\n--\n\n\
        Address infos with families taking turns.",
        |_, args| {
            const SIGNATURE: Signature<2> =
                Signature::function("_interleave_addrinfos", [arg("addrinfos"), opt("first_address_family_count")]);
            let [Some(infos), first] = args.parse(&SIGNATURE)? else {
                return Err(PyTypeError::new_err("addrinfos is missing"));
            };
            interleave(infos, first.map_or(Ok(1), |f| f.extract())?).map(Own::new)
        },
    )?;
    add_function(module, c"_set_nodelay", c"_set_nodelay(sock)\n--\n\nSend small packets at once.", |_, args| {
        args.positional().first().map_or(Ok(()), set_nodelay)
    })?;
    add_function(
        module,
        c"_check_ssl_socket",
        c"_check_ssl_socket(sock)\n--\n\nTypeError for an SSLSocket.",
        |_, args| args.positional().first().map_or(Ok(()), check_ssl_socket),
    )
}
