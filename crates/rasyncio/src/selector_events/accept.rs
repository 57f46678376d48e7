//! Accepting connections for servers.
//!
//! Called by `Server` through `_start_serving`, and by the loop when a listening socket can be read; calls the protocol's
//! factory, and makes the transport.
//!
//! Accepting goes on until the kernel has no more connections, at most `backlog` in a turn. When the system is out of
//! descriptors or memory, the error is reported, accepting pauses for a second and begins again. Each connection has a task, which
//! calls the factory, makes the transport, and ends when the protocol knows of it.
//!
//! From a plain listening socket (`plain`) connections are taken by number, non-blocking from birth; the socket objects are
//! made of the numbers. Any other is asked by its methods.
//!
//! Differs from CPython in that an error for want of descriptors is reported, and the pause begun, once: CPython tries again at
//! once, as often as the backlog allows, with a report and a timer each time.

use std::io;
use std::net::SocketAddr;

use engine::sys::socket;
use pyo3::exceptions::{PyConnectionAbortedError, PyKeyboardInterrupt, PyOSError, PySystemExit, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use slots::intern;
use slots::{Args, Co, Kept, Own, Ref, Signature, Spec, arg, opt};

use super::datagram::address_object;
use super::plain::{self, Plain};
use super::sock::would_block;
use super::transport::{Origin, SocketTransport};
use super::{BaseSelectorEventLoop, core, watch};
use crate::base_events::{Tls, create_future, create_task, tls_options};
use crate::events::{Hook, LoopCore};
use crate::log::logger;
use crate::{exceptions, face, library};

/// `_start_serving`: watches a listening socket. The arguments are CPython's.
fn start_serving<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<()> {
    let py = this.py();
    if args.has_keywords() {
        return by_place(this, args, "_start_serving");
    }
    let [factory, socket, rest @ ..] = args.positional() else {
        return Err(PyTypeError::new_err("_start_serving() takes a protocol factory and a socket"));
    };
    let mut all = vec![
        socket.call_method0(intern!(py, "fileno"))?,
        this.any().getattr(intern!(py, "_accept_connection"))?,
        factory.clone(),
        socket.clone(),
    ];
    all.extend(rest.iter().cloned());
    this.any().call_method1(intern!(py, "_add_reader"), slots::tuple(py, all)?).map(drop)
}

/// Calls `_start_serving` or `_accept_connection` again, with all arguments by their places, up to the last that was given.
fn by_place<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>, name: &'static str) -> PyResult<()> {
    let signature = Signature::method(
        name,
        [
            arg("protocol_factory"),
            arg("sock"),
            opt("sslcontext"),
            opt("server"),
            opt("backlog"),
            opt("ssl_handshake_timeout"),
            opt("ssl_shutdown_timeout"),
            opt("context"),
        ],
    );
    let py = this.py();
    let given = args.parse(&signature)?;
    let count = given.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let (none, backlog) = (py.None().into_bound(py), 100i32.into_pyobject(py)?.into_any());
    let value = |(place, value): (usize, &Option<&Bound<'py, PyAny>>)| match value {
        Some(value) => (*value).clone(),
        None if place == 4 => backlog.clone(),
        None => none.clone(),
    };
    let all: Vec<_> = given[..count].iter().enumerate().map(value).collect();
    this.any().call_method1(slots::Text(name), slots::tuple(py, all)?).map(drop)
}

/// `_stop_serving`: the listening socket is watched no more, and closed.
pub fn stop_serving<'py>(this: &Ref<'py, BaseSelectorEventLoop>, socket: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let fd = socket.call_method0(intern!(py, "fileno"))?;
    this.any().call_method1(intern!(py, "_remove_reader"), (fd,))?;
    socket.call_method0(intern!(py, "close")).map(drop)
}

/// `_accept_connection`: accepts what there is.
fn accept_connection<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<()> {
    let py = this.py();
    if args.has_keywords() {
        return by_place(this, args, "_accept_connection");
    }
    let [factory, socket, rest @ ..] = args.positional() else {
        return Err(PyTypeError::new_err("_accept_connection() takes a protocol factory and a socket"));
    };
    let backlog: usize = rest.get(2).map_or(Ok(100), |b| b.extract())?;
    for _ in 0..=backlog {
        // Asked each time: an eager task's code may have closed it, and another socket has its number.
        let plain = plain::plain(this, socket)?;
        let accepted = match plain.filter(|plain| socket::INTERNET.contains(&plain.family)) {
            Some(plain) => match accept_by_number(py, plain) {
                Ok(None) => return Ok(()),
                Ok(Some(accepted)) => Ok(accepted),
                Err(error) => Err(error),
            },
            None => accept_by_object(socket),
        };
        match accepted {
            Ok(accepted) => begin_connection(this, factory, accepted, rest)?,
            Err(error) if error.is_instance_of::<PyConnectionAbortedError>(py) => {}
            Err(error) if would_block(py, &error) => return Ok(()),
            Err(error) if error.is_instance_of::<PyOSError>(py) => {
                return slots::excepting(py, error, |error| {
                    accept_failed(this, args, PyErr::from_value(error.clone()))
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A connection that was taken from a listening socket.
struct Accepted<'py> {
    socket: Bound<'py, PyAny>,
    from: From<'py>,
}

/// Where it comes from.
enum From<'py> {
    Address(SocketAddr),
    Object(Bound<'py, PyAny>),
}

impl<'py> From<'py> {
    fn object(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            From::Address(address) => address_object(py, *address),
            From::Object(object) => Ok(object.clone()),
        }
    }
}

/// None if there is no connection.
fn accept_by_number<'py>(py: Python<'py>, listener: Plain) -> PyResult<Option<Accepted<'py>>> {
    let (owned, address) = match socket::accept(listener.fd) {
        Ok(accepted) => accepted,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(exceptions::os_error(py, error)),
    };
    let made = plain::adopt(py, owned, listener)?;
    let from = match address {
        Some(address) => From::Address(address),
        None => From::Object(made.call_method0(intern!(py, "getpeername"))?),
    };
    Ok(Some(Accepted { socket: made, from }))
}

fn accept_by_object<'py>(listener: &Bound<'py, PyAny>) -> PyResult<Accepted<'py>> {
    let py = listener.py();
    let accepted = listener.call_method0(intern!(py, "accept"))?;
    let (socket, address) = (accepted.get_item(0)?, accepted.get_item(1)?);
    socket.call_method1(intern!(py, "setblocking"), (false,))?;
    Ok(Accepted { socket, from: From::Object(address) })
}

/// Out of descriptors or memory: reported, and tried again later. Any other error is the loop's to report.
fn accept_failed<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>, error: PyErr) -> PyResult<()> {
    let py = this.py();
    let number = error.value(py).getattr(intern!(py, "errno"))?;
    let errno = library(py, "errno")?;
    let mut out_of_resource = false;
    for name in ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"] {
        out_of_resource |= number.eq(errno.getattr(slots::Text(name))?)?;
    }
    if !out_of_resource {
        return Err(error);
    }
    let [_, socket, ..] = args.positional() else { return Err(error) };
    let details = slots::dict(py)?;
    details.set_item(intern!(py, "message"), "socket.accept() out of system resource")?;
    details.set_item(intern!(py, "exception"), error.into_value(py))?;
    let wrapper = face(py, "trsock")?.getattr(intern!(py, "TransportSocket"))?;
    details.set_item(intern!(py, "socket"), wrapper.call1((socket,))?)?;
    this.any().call_method1(intern!(py, "call_exception_handler"), (details,))?;
    this.any().call_method1(intern!(py, "_remove_reader"), (socket.call_method0(intern!(py, "fileno"))?,))?;
    let mut all = vec![
        face(py, "constants")?.getattr(intern!(py, "ACCEPT_RETRY_DELAY"))?,
        this.any().getattr(intern!(py, "_start_serving"))?,
    ];
    all.extend(args.positional().iter().cloned());
    // sslcontext, server, backlog, the two time limits of TLS, and from 3.15 on the server's context.
    let constants = face(py, "constants")?;
    let defaults = [
        py.None().into_bound(py),
        py.None().into_bound(py),
        100i32.into_pyobject(py)?.into_any(),
        constants.getattr(intern!(py, "SSL_HANDSHAKE_TIMEOUT"))?,
        constants.getattr(intern!(py, "SSL_SHUTDOWN_TIMEOUT"))?,
        py.None().into_bound(py),
    ];
    let count = if slots::VERSION >= (3, 15) { 6 } else { 5 };
    let given = args.positional().len() - 2;
    all.extend(defaults.into_iter().take(count).skip(given));
    this.any().call_method1(intern!(py, "call_later"), slots::tuple(py, all)?).map(drop)
}

/// What a server's arguments say of TLS: None, or the context and the keywords for `_make_ssl_transport`.
fn accepted_tls<'py>(py: Python<'py>, rest: &[Bound<'py, PyAny>]) -> PyResult<Bound<'py, PyAny>> {
    let tls =
        Tls { context: rest.first(), server_side: true, hostname: None, handshake: rest.get(3), shutdown: rest.get(4) };
    tls_options(py, tls)
}

/// A task that makes the protocol and the transport of a new connection; `rest` is what `_start_serving` got beside the factory
/// and the socket. With the server's context (3.15), all calls of the connection are in one copy of it.
fn begin_connection<'py>(
    this: &Ref<'py, BaseSelectorEventLoop>,
    factory: &Bound<'py, PyAny>,
    accepted: Accepted<'py>,
    rest: &[Bound<'py, PyAny>],
) -> PyResult<()> {
    let py = this.py();
    let none = py.None().into_bound(py);
    let (server, tls) = (rest.get(1).unwrap_or(&none), accepted_tls(py, rest)?);
    let context = match rest.get(5).filter(|c| !c.is_none()) {
        Some(context) => Some(context.call_method0(intern!(py, "copy"))?),
        None => None,
    };
    let own = context.clone().unwrap_or_else(|| py.None().into_bound(py));
    let Accepted { socket: connection, from } = accepted;
    if this.debug.get() {
        let logger = logger(py, "selector_events")?;
        let text = "%r got a new connection from %r: %r";
        logger.log("debug", (text, server, from.object(py)?, &connection))?;
    }
    let peer = match &from {
        From::Address(peer) if tls.is_none() && !LoopCore::overrides(core(this), Hook::MakeSocketTransport) => {
            Some(*peer)
        }
        _ => None,
    };
    let extra = match peer {
        Some(_) => none.clone(),
        None => {
            let extra = slots::dict(py)?;
            extra.set_item(intern!(py, "peername"), from.object(py)?)?;
            extra.into_any()
        }
    };
    let kept = [this.any().clone(), factory.clone(), connection, extra, server.clone(), own, tls];
    let name = "BaseSelectorEventLoop._accept_connection2";
    let making = slots::coroutine(py, name, kept, move |co, kept| async move {
        let [event_loop, _, connection, ..] = kept;
        let none = co.keep(co.py().None().into_bound(co.py()));
        let (protocol, transport) = (co.keep(co.get(none)), co.keep(co.get(none)));
        let made = make_connection(&co, kept, peer, protocol, transport).await;
        let py = co.py();
        let Err(error) = made else { return Ok(py.None().into_bound(py).into()) };
        if co.get(transport).is_none() {
            // No transport has taken the socket over.
            co.get(connection).call_method0(intern!(py, "close"))?;
        }
        if error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py) {
            return Err(error);
        }
        slots::excepting(py, error, |error| {
            let is_debug = co.get(event_loop).call_method0(intern!(py, "get_debug"))?.is_truthy()?;
            if is_debug {
                let details = slots::dict(py)?;
                details.set_item(intern!(py, "message"), "Error on transport creation for incoming connection")?;
                details.set_item(intern!(py, "exception"), error)?;
                for (name, kept) in [("protocol", protocol), ("transport", transport)] {
                    let value = co.get(kept);
                    if !value.is_none() {
                        details.set_item(name, value)?;
                    }
                }
                co.get(event_loop).call_method1(intern!(py, "call_exception_handler"), (details,))?;
            }
            Ok(py.None().into_bound(py).into())
        })
    })?;
    let Some(context) = context else { return create_task(this.any(), &making, None).map(drop) };
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "context"), context)?;
    create_task(this.any(), &making, Some(&keywords)).map(drop)
}

async fn make_connection(
    co: &Co,
    kept: [Kept; 7],
    peer: Option<SocketAddr>,
    protocol: Kept,
    transport: Kept,
) -> PyResult<()> {
    let [event_loop, factory, connection, _, server, context, _] = kept;
    let waiter = {
        co.change(protocol, co.get(factory).call0()?);
        let event_loop = co.get(event_loop);
        let waiter = create_future(&event_loop)?;
        let made = match (BaseSelectorEventLoop::of(&event_loop), peer) {
            (Some(native), Some(_)) => {
                let (server, context) = (co.get(server), co.get(context));
                let origin = Origin {
                    peer,
                    waiter: Some(&waiter),
                    server: Some(&server).filter(|server| !server.is_none()),
                    context: Some(&context).filter(|context| !context.is_none()),
                    extra: None,
                };
                let (connection, protocol) = (co.get(connection), co.get(protocol));
                watch::ensure_no_transport(native, &connection)?;
                SocketTransport::create(native, &connection, &protocol, origin)?.into_any()
            }
            _ => make_by_name(co, kept, protocol, &waiter)?,
        };
        co.change(transport, made);
        co.keep(waiter)
    };
    if let Err(error) = co.wait(waiter).await {
        co.get(transport).call_method0(intern!(co.py(), "close"))?;
        return Err(error);
    }
    Ok(())
}

/// A transport by the loop's method for it.
fn make_by_name<'py>(
    co: &'py Co,
    kept: [Kept; 7],
    protocol: Kept,
    waiter: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let [event_loop, _, connection, extra, server, context, tls] = kept;
    let py = co.py();
    let event_loop = co.get(event_loop);
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "waiter"), waiter)?;
    keywords.set_item(intern!(py, "extra"), co.get(extra))?;
    keywords.set_item(intern!(py, "server"), co.get(server))?;
    if slots::VERSION >= (3, 15) {
        keywords.set_item(intern!(py, "context"), co.get(context))?;
    }
    let (connection, protocol) = (co.get(connection), co.get(protocol));
    match co.get(tls).extract::<(Bound<'_, PyAny>, Bound<'_, PyDict>)>() {
        Ok((context, options)) => {
            keywords.update(options.as_mapping())?;
            let make = event_loop.getattr(intern!(py, "_make_ssl_transport"))?;
            make.call((connection, protocol, context), Some(&keywords))
        }
        Err(_) => {
            let make = event_loop.getattr(intern!(py, "_make_socket_transport"))?;
            make.call((connection, protocol), Some(&keywords))
        }
    }
}

fn make_socket_transport<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<Own> {
    use slots::{Signature, arg, kw_opt, opt};
    const SIGNATURE: Signature<6> = Signature::method(
        "_make_socket_transport",
        [arg("sock"), arg("protocol"), opt("waiter"), kw_opt("extra"), kw_opt("server"), kw_opt("context")],
    );
    let given = args.parse(&SIGNATURE)?.map(|value| value.filter(|v| !v.is_none()));
    let [Some(socket), Some(protocol), waiter, extra, server, context] = given else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    this.any().call_method1(intern!(this.py(), "_ensure_fd_no_transport"), (socket,))?;
    let origin = Origin { waiter, extra, server, context, peer: None };
    Ok(SocketTransport::create(this, socket, protocol, origin)?.into_any().into())
}

fn make_ssl_transport<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<Own> {
    use slots::{Signature, arg, kw_opt, opt};
    const SIGNATURE: Signature<11> = Signature::method(
        "_make_ssl_transport",
        [
            arg("rawsock"),
            arg("protocol"),
            arg("sslcontext"),
            opt("waiter"),
            kw_opt("server_side"),
            kw_opt("server_hostname"),
            kw_opt("extra"),
            kw_opt("server"),
            kw_opt("ssl_handshake_timeout"),
            kw_opt("ssl_shutdown_timeout"),
            kw_opt("context"),
        ],
    );
    let py = this.py();
    let given = args.parse(&SIGNATURE)?.map(|value| value.filter(|v| !v.is_none()));
    let [Some(socket), Some(protocol), ssl, waiter, server_side, hostname, extra, server, handshake, shutdown, context] =
        given
    else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    this.any().call_method1(intern!(py, "_ensure_fd_no_transport"), (socket,))?;
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "ssl_handshake_timeout"), handshake)?;
    keywords.set_item(intern!(py, "ssl_shutdown_timeout"), shutdown)?;
    let server_side = server_side.map_or(Ok(false), |s| s.is_truthy())?;
    let class = face(py, "sslproto")?.getattr(intern!(py, "SSLProtocol"))?;
    let tls = class.call((this.any(), protocol, ssl, waiter, server_side, hostname), Some(&keywords))?;
    let origin = Origin { waiter: None, extra, server, context, peer: None };
    SocketTransport::create(this, socket, &tls, origin)?;
    tls.getattr(intern!(py, "_app_transport")).map(Own::new)
}

pub(super) fn define(spec: &mut Spec<BaseSelectorEventLoop>) {
    spec.method(c"_start_serving", if cfg!(Py_3_15) { c"_start_serving($self, /, protocol_factory, sock, sslcontext=None, server=None, backlog=100, ssl_handshake_timeout=60.0, ssl_shutdown_timeout=30.0, context=None)\n--\n\nAccept connections." } else { c"_start_serving($self, /, protocol_factory, sock, sslcontext=None, server=None, backlog=100, ssl_handshake_timeout=60.0, ssl_shutdown_timeout=30.0)\n--\n\nAccept connections." }, start_serving)
    .method(c"_accept_connection", if cfg!(Py_3_15) { c"_accept_connection($self, /, protocol_factory, sock, sslcontext=None, server=None, backlog=100, ssl_handshake_timeout=60.0, ssl_shutdown_timeout=30.0, context=None)\n--\n\nAccept what connections there are." } else { c"_accept_connection($self, /, protocol_factory, sock, sslcontext=None, server=None, backlog=100, ssl_handshake_timeout=60.0, ssl_shutdown_timeout=30.0)\n--\n\nAccept what connections there are." }, accept_connection)
    .method1_named(c"_stop_serving", c"_stop_serving($self, /, sock)\n--\n\nAccept no more connections, and close the socket.", || ("BaseSelectorEventLoop._stop_serving", "sock"), stop_serving)
    .method(
        c"_make_socket_transport",
        if cfg!(Py_3_15) { c"_make_socket_transport($self, sock, protocol, waiter=None, *, extra=None, server=None, context=None)\n--\n\nA transport for a connected socket." } else { c"_make_socket_transport($self, sock, protocol, waiter=None, *, extra=None, server=None)\n--\n\nA transport for a connected socket." },
        make_socket_transport,
    )
    .method(
        c"_make_ssl_transport",
        if cfg!(Py_3_15) { c"_make_ssl_transport($self, rawsock, protocol, sslcontext, waiter=None, *, server_side=False, server_hostname=None, extra=None, server=None, ssl_handshake_timeout=60.0, ssl_shutdown_timeout=30.0, context=None)\n--\n\nA transport for a connected socket, with TLS." } else { c"_make_ssl_transport($self, rawsock, protocol, sslcontext, waiter=None, *, server_side=False, server_hostname=None, extra=None, server=None, ssl_handshake_timeout=60.0, ssl_shutdown_timeout=30.0)\n--\n\nA transport for a connected socket, with TLS." },
        make_ssl_transport,
    );
}
