//! Sockets of users (`sock_recv` and its kin), and accepting connections for servers.
//!
//! Called by the shells on the face and by `Server`; calls the socket objects' own methods, so that any socket-like object
//! works, and the loop's `_add_reader`/`_add_writer` to wait.
//!
//! A socket call is tried; if it would block, a future waits until the descriptor is ready, and the call is tried again by
//! the task itself. So a cancelled call has received nothing that would be lost, and its watcher is removed on every way out.
//!
//! Accepting goes on until the kernel has no more connections, at most `backlog` in a turn. When the system is out of
//! descriptors or memory, the error is reported, accepting pauses for a second and begins again.

use pyo3::exceptions::{
    PyBlockingIOError, PyConnectionAbortedError, PyInterruptedError, PyKeyboardInterrupt, PyOSError, PySystemExit,
    PyTypeError, PyValueError,
};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMemoryView, PyTuple};
use slots::{Args, Co, Kept, Own, Ref, Spec};

use super::BaseSelectorEventLoop;
use super::transport::SocketTransport;
use crate::base_events::{Tls, create_future, create_task, tls_options};
use crate::face;

fn would_block(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}

fn check<'py>(this: &Ref<'py, BaseSelectorEventLoop>, socket: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    face(py, "base_events")?.call_method1(intern!(py, "_check_ssl_socket"), (socket,))?;
    if this.debug.get() && socket.call_method0(intern!(py, "gettimeout"))?.ne(0)? {
        return Err(PyValueError::new_err("the socket must be non-blocking"));
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Way {
    Read,
    Write,
}

impl Way {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Way::Read => ("_add_reader", "remove_reader"),
            Way::Write => ("_add_writer", "remove_writer"),
        }
    }
}

/// Waits until the socket can be read or written.
async fn ready(co: &Co, event_loop: Kept, socket: Kept, way: Way) -> PyResult<()> {
    let (adds, removes) = way.names();
    let (fd, future, handle) = {
        let py = co.py();
        let event_loop = co.get(event_loop);
        let fd: i32 = co.get(socket).call_method0(intern!(py, "fileno"))?.extract()?;
        event_loop.call_method1(intern!(py, "_ensure_fd_no_transport"), (fd,))?;
        let future = create_future(&event_loop)?;
        let set = face(py, "futures")?.getattr(intern!(py, "_set_result_unless_cancelled"))?;
        let handle = event_loop.call_method1(adds, (fd, set, &future, py.None()))?;
        (fd, co.keep(future), co.keep(handle))
    };
    let waited = co.wait(future).await;
    let py = co.py();
    let handle = co.get(handle);
    // A handle that is cancelled was replaced by somebody else's, which stays.
    if handle.is_none() || !handle.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
        co.get(event_loop).call_method1(removes, (fd,))?;
    }
    waited.map(drop)
}

/// Calls a socket's method until it does not block.
fn retried<'py, const N: usize>(
    this: &Ref<'py, BaseSelectorEventLoop>,
    name: &'static str,
    method: &'static str,
    way: Way,
    args: &Args<'_, 'py>,
) -> PyResult<Own> {
    let [socket, rest @ ..] = args.positional() else { return Err(PyTypeError::new_err("sock is missing")) };
    if rest.len() != N {
        return Err(PyTypeError::new_err(format!("{name}() takes {} arguments", N + 1)));
    }
    check(this, socket)?;
    retried_call(this, name, method, way, socket, rest.iter().cloned())
}

fn retried_call<'py, A>(
    this: &Ref<'py, BaseSelectorEventLoop>,
    name: &'static str,
    method: &'static str,
    way: Way,
    socket: &Bound<'py, PyAny>,
    arguments: A,
) -> PyResult<Own>
where
    A: IntoIterator<Item = Bound<'py, PyAny>, IntoIter: ExactSizeIterator>,
{
    let py = this.py();
    let arguments = PyTuple::new(py, arguments)?.into_any();
    let kept = [this.any().clone(), socket.clone(), arguments];
    slots::coroutine(py, name, kept, move |co, [event_loop, socket, arguments]| async move {
        loop {
            let tried = {
                let arguments = co.get(arguments).cast_into::<PyTuple>()?;
                co.get(socket).call_method1(method, arguments).map(Own::new)
            };
            match tried {
                Err(error) if would_block(co.py(), &error) => ready(&co, event_loop, socket, way).await?,
                other => return other,
            }
        }
    })
    .map(Own::new)
}

fn sock_recvfrom_into<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<Own> {
    let [socket, buffer, count] = args.positional() else {
        return Err(PyTypeError::new_err("sock_recvfrom_into() takes sock, buf and nbytes"));
    };
    check(this, socket)?;
    // As many as fit, where no count is given.
    let count = if count.is_truthy()? { count.clone() } else { buffer.len()?.into_pyobject(this.py())?.into_any() };
    retried_call(
        this,
        "BaseSelectorEventLoop.sock_recvfrom_into",
        "recvfrom_into",
        Way::Read,
        socket,
        [buffer.clone(), count],
    )
}

fn sock_accept<'py>(this: &Ref<'py, BaseSelectorEventLoop>, socket: &Bound<'py, PyAny>) -> PyResult<Own> {
    let py = this.py();
    check(this, socket)?;
    let kept = [this.any().clone(), socket.clone()];
    slots::coroutine(py, "BaseSelectorEventLoop.sock_accept", kept, |co, [event_loop, socket]| async move {
        loop {
            let tried = co.get(socket).call_method0(intern!(co.py(), "accept")).and_then(|accepted| {
                accepted.get_item(0)?.call_method1(intern!(co.py(), "setblocking"), (false,))?;
                Ok(Own::new(accepted))
            });
            match tried {
                Err(error) if would_block(co.py(), &error) => ready(&co, event_loop, socket, Way::Read).await?,
                other => return other,
            }
        }
    })
    .map(Own::new)
}

fn sock_sendall<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<Own> {
    let py = this.py();
    let [socket, data] = args.positional() else {
        return Err(PyTypeError::new_err("sock_sendall() takes sock and data"));
    };
    check(this, socket)?;
    let kept = [this.any().clone(), socket.clone(), data.clone()];
    slots::coroutine(py, "BaseSelectorEventLoop.sock_sendall", kept, |co, [event_loop, socket, data]| async move {
        loop {
            let tried = co.get(socket).call_method1(intern!(co.py(), "send"), (co.get(data),));
            let sent = match tried.and_then(|count| count.extract::<usize>()) {
                Ok(count) => count,
                Err(error) if would_block(co.py(), &error) => 0,
                Err(error) => return Err(error),
            };
            if sent == co.get(data).len()? {
                return Ok(co.py().None().into_bound(co.py()).into());
            }
            // What the socket takes is a contiguous buffer; what is left of it is looked at byte by byte.
            let rest = {
                let py = co.py();
                let bytes = PyMemoryView::from(&co.get(data))?.call_method1(intern!(py, "cast"), ("B",))?;
                bytes.get_item(pyo3::types::PySlice::new(py, sent as isize, isize::MAX, 1))?
            };
            if rest.len()? == 0 {
                return Ok(co.py().None().into_bound(co.py()).into());
            }
            co.change(data, rest);
            ready(&co, event_loop, socket, Way::Write).await?;
        }
    })
    .map(Own::new)
}

fn sock_connect<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<Own> {
    let py = this.py();
    let [socket, address] = args.positional() else {
        return Err(PyTypeError::new_err("sock_connect() takes sock and address"));
    };
    check(this, socket)?;
    let kept = [this.any().clone(), socket.clone(), address.clone()];
    slots::coroutine(py, "BaseSelectorEventLoop.sock_connect", kept, |co, [event_loop, socket, address]| async move {
        let resolving = {
            let py = co.py();
            let module = face(py, "base_events")?.getattr(intern!(py, "socket"))?;
            let socket = co.get(socket);
            let family = socket.getattr(intern!(py, "family"))?;
            let is = |name: &str| family.eq(module.getattr(name)?);
            if is("AF_INET")? || is("AF_INET6")? {
                let keywords = PyDict::new(py);
                keywords.set_item(intern!(py, "family"), family)?;
                keywords.set_item(intern!(py, "type"), socket.getattr(intern!(py, "type"))?)?;
                keywords.set_item(intern!(py, "proto"), socket.getattr(intern!(py, "proto"))?)?;
                keywords.set_item(intern!(py, "loop"), co.get(event_loop))?;
                let resolve = co.get(event_loop).getattr(intern!(py, "_ensure_resolved"))?;
                Some(co.keep(resolve.call((co.get(address),), Some(&keywords))?))
            } else {
                None
            }
        };
        if let Some(resolving) = resolving {
            let infos = co.wait(resolving).await?;
            let resolved = infos.bind(co.py()).get_item(0)?.get_item(4)?;
            co.change(address, resolved);
        }
        let tried = co.get(socket).call_method1(intern!(co.py(), "connect"), (co.get(address),)).map(drop);
        match tried {
            Ok(()) => return Ok(co.py().None().into_bound(co.py()).into()),
            Err(error) if would_block(co.py(), &error) => {}
            Err(error) => return Err(error),
        }
        ready(&co, event_loop, socket, Way::Write).await?;
        let py = co.py();
        let module = face(py, "base_events")?.getattr(intern!(py, "socket"))?;
        let options = (module.getattr(intern!(py, "SOL_SOCKET"))?, module.getattr(intern!(py, "SO_ERROR"))?);
        let error = co.get(socket).call_method1(intern!(py, "getsockopt"), options)?;
        if error.is_truthy()? {
            let text = format!("Connect call failed {}", co.get(address).str()?);
            return Err(PyErr::from_value(py.get_type::<PyOSError>().call1((error, text))?));
        }
        Ok(py.None().into_bound(py).into())
    })
    .map(Own::new)
}

/// `_start_serving`: watches a listening socket. The arguments are CPython's.
fn start_serving<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<()> {
    let py = this.py();
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
    this.any().call_method1(intern!(py, "_add_reader"), PyTuple::new(py, all)?).map(drop)
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
    let [factory, socket, rest @ ..] = args.positional() else {
        return Err(PyTypeError::new_err("_accept_connection() takes a protocol factory and a socket"));
    };
    let backlog: usize = rest.get(2).map_or(Ok(100), |b| b.extract())?;
    for _ in 0..=backlog {
        let accepted = socket.call_method0(intern!(py, "accept")).and_then(|accepted| {
            accepted.get_item(0)?.call_method1(intern!(py, "setblocking"), (false,))?;
            Ok(accepted)
        });
        match accepted {
            Ok(accepted) => begin_connection(this, factory, &accepted, rest)?,
            Err(error) if error.is_instance_of::<PyConnectionAbortedError>(py) => {}
            Err(error) if would_block(py, &error) => return Ok(()),
            Err(error) if error.is_instance_of::<PyOSError>(py) => return accept_failed(this, args, error),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Out of descriptors or memory: reported, and tried again later. Any other error is the loop's to report.
fn accept_failed<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>, error: PyErr) -> PyResult<()> {
    let py = this.py();
    let number = error.value(py).getattr(intern!(py, "errno"))?;
    let errno = py.import(intern!(py, "errno"))?;
    let mut out_of_resource = false;
    for name in ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"] {
        out_of_resource |= number.eq(errno.getattr(name)?)?;
    }
    if !out_of_resource {
        return Err(error);
    }
    let [_, socket, ..] = args.positional() else { return Err(error) };
    let details = PyDict::new(py);
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
    this.any().call_method1(intern!(py, "call_later"), PyTuple::new(py, all)?).map(drop)
}

/// What a server's arguments say of TLS: None, or the context and the keywords for `_make_ssl_transport`.
fn accepted_tls<'py>(py: Python<'py>, rest: &[Bound<'py, PyAny>]) -> PyResult<Bound<'py, PyAny>> {
    let tls =
        Tls { context: rest.first(), server_side: true, hostname: None, handshake: rest.get(3), shutdown: rest.get(4) };
    tls_options(py, tls)
}

/// A task that makes the protocol and the transport of a new connection; `rest` is what `_start_serving` got beside the factory
/// and the socket. With the server's context (3.15), all calls of the
/// connection are in one copy of it.
fn begin_connection<'py>(
    this: &Ref<'py, BaseSelectorEventLoop>,
    factory: &Bound<'py, PyAny>,
    accepted: &Bound<'py, PyAny>,
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
    let (connection, address) = (accepted.get_item(0)?, accepted.get_item(1)?);
    if this.debug.get() {
        let logger = face(py, "selector_events")?.getattr(intern!(py, "logger"))?;
        let text = "%r got a new connection from %r: %r";
        logger.call_method1(intern!(py, "debug"), (text, server, &address, &connection))?;
    }
    let extra = PyDict::new(py);
    extra.set_item(intern!(py, "peername"), address)?;
    let kept = [this.any().clone(), factory.clone(), connection, extra.into_any(), server.clone(), own, tls];
    let name = "BaseSelectorEventLoop._accept_connection2";
    let making = slots::coroutine(py, name, kept, |co, kept| async move {
        let [event_loop, _, connection, ..] = kept;
        let none = co.keep(co.py().None().into_bound(co.py()));
        let (protocol, transport) = (co.keep(co.get(none)), co.keep(co.get(none)));
        let made = make_connection(&co, kept, protocol, transport).await;
        let py = co.py();
        let Err(error) = made else { return Ok(py.None().into_bound(py).into()) };
        if co.get(transport).is_none() {
            // No transport has taken the socket over.
            co.get(connection).call_method0(intern!(py, "close"))?;
        }
        if error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py) {
            return Err(error);
        }
        let is_debug = co.get(event_loop).call_method0(intern!(py, "get_debug"))?.is_truthy()?;
        if is_debug {
            let details = PyDict::new(py);
            details.set_item(intern!(py, "message"), "Error on transport creation for incoming connection")?;
            details.set_item(intern!(py, "exception"), error.into_value(py))?;
            for (name, kept) in [("protocol", protocol), ("transport", transport)] {
                let value = co.get(kept);
                if !value.is_none() {
                    details.set_item(name, value)?;
                }
            }
            co.get(event_loop).call_method1(intern!(py, "call_exception_handler"), (details,))?;
        }
        Ok(py.None().into_bound(py).into())
    })?;
    let Some(context) = context else { return create_task(this.any(), &making, None).map(drop) };
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, "context"), context)?;
    create_task(this.any(), &making, Some(&keywords)).map(drop)
}

async fn make_connection(co: &Co, kept: [Kept; 7], protocol: Kept, transport: Kept) -> PyResult<()> {
    let [event_loop, factory, connection, extra, server, context, tls] = kept;
    let waiter = {
        let py = co.py();
        co.change(protocol, co.get(factory).call0()?);
        let event_loop = co.get(event_loop);
        let waiter = create_future(&event_loop)?;
        let keywords = PyDict::new(py);
        keywords.set_item(intern!(py, "waiter"), &waiter)?;
        keywords.set_item(intern!(py, "extra"), co.get(extra))?;
        keywords.set_item(intern!(py, "server"), co.get(server))?;
        if slots::VERSION >= (3, 15) {
            keywords.set_item(intern!(py, "context"), co.get(context))?;
        }
        let (connection, protocol) = (co.get(connection), co.get(protocol));
        let made = match co.get(tls).extract::<(Bound<'_, PyAny>, Bound<'_, PyDict>)>() {
            Ok((context, options)) => {
                keywords.update(options.as_mapping())?;
                let make = event_loop.getattr(intern!(py, "_make_ssl_transport"))?;
                make.call((connection, protocol, context), Some(&keywords))?
            }
            Err(_) => {
                let make = event_loop.getattr(intern!(py, "_make_socket_transport"))?;
                make.call((connection, protocol), Some(&keywords))?
            }
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
    Ok(SocketTransport::create(this, socket, protocol, waiter, extra, server, context)?.into_any().into())
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
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, "ssl_handshake_timeout"), handshake)?;
    keywords.set_item(intern!(py, "ssl_shutdown_timeout"), shutdown)?;
    let server_side = server_side.map_or(Ok(false), |s| s.is_truthy())?;
    let class = face(py, "sslproto")?.getattr(intern!(py, "SSLProtocol"))?;
    let tls = class.call((this.any(), protocol, ssl, waiter, server_side, hostname), Some(&keywords))?;
    SocketTransport::create(this, socket, &tls, None, extra, server, context)?;
    tls.getattr(intern!(py, "_app_transport")).map(Own::new)
}

pub(super) fn define(spec: &mut Spec<BaseSelectorEventLoop>) {
    spec.method(c"_sock_recv", c"_sock_recv($self, sock, n, /)\n--\n\nThe body of sock_recv().", |this, args| {
        retried::<1>(this, "BaseSelectorEventLoop.sock_recv", "recv", Way::Read, args)
    })
    .method(c"_sock_recv_into", c"_sock_recv_into($self, sock, buf, /)\n--\n\nThe body of sock_recv_into().", |this, args| {
        retried::<1>(this, "BaseSelectorEventLoop.sock_recv_into", "recv_into", Way::Read, args)
    })
    .method(c"_sock_recvfrom", c"_sock_recvfrom($self, sock, bufsize, /)\n--\n\nThe body of sock_recvfrom().", |this, args| {
        retried::<1>(this, "BaseSelectorEventLoop.sock_recvfrom", "recvfrom", Way::Read, args)
    })
    .method(
        c"_sock_recvfrom_into",
        c"_sock_recvfrom_into($self, sock, buf, nbytes, /)\n--\n\nThe body of sock_recvfrom_into().",
        sock_recvfrom_into,
    )
    .method(c"_sock_sendto", c"_sock_sendto($self, sock, data, address, /)\n--\n\nThe body of sock_sendto().", |this, args| {
        retried::<2>(this, "BaseSelectorEventLoop.sock_sendto", "sendto", Way::Write, args)
    })
    .method(c"_sock_sendall", c"_sock_sendall($self, sock, data, /)\n--\n\nThe body of sock_sendall().", sock_sendall)
    .method(c"_sock_connect", c"_sock_connect($self, sock, address, /)\n--\n\nThe body of sock_connect().", sock_connect)
    .method1(c"_sock_accept", c"_sock_accept($self, sock, /)\n--\n\nThe body of sock_accept().", sock_accept)
    .method(c"_start_serving", c"_start_serving($self, protocol_factory, sock, /, *args)\n--\n\nAccept connections.", start_serving)
    .method(c"_accept_connection", c"_accept_connection($self, protocol_factory, sock, /, *args)\n--\n\nAccept what connections there are.", accept_connection)
    .method1(c"_stop_serving", c"_stop_serving($self, sock, /)\n--\n\nAccept no more connections, and close the socket.", stop_serving)
    .method(
        c"_make_socket_transport",
        c"_make_socket_transport($self, sock, protocol, waiter=None, *, extra=None, server=None, context=None)\n--\n\nA transport for a connected socket.",
        make_socket_transport,
    )
    .method(
        c"_make_ssl_transport",
        c"_make_ssl_transport($self, rawsock, protocol, sslcontext, waiter=None, *, server_side=False, server_hostname=None, extra=None, server=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None, context=None)\n--\n\nA transport for a connected socket, with TLS.",
        make_ssl_transport,
    );
}
