//! `create_server`: listening sockets, one for each address of each host.
//!
//! Called by the shell, which gives all arguments by position; calls `resolve` for the addresses, the socket module for the
//! sockets, and makes the `Server`, which begins to serve unless `start_serving` is false.
//!
//! Every address is bound or none: if one cannot be, all sockets made so far are closed and the error tells which. Families
//! that the system has not got are passed over. An IPv6 socket listens to IPv6 only, so that both families can have the
//! same port. `reuse_address` is on by default where the system's meaning of it is harmless.
//!
//! Invariant: a socket made here is closed on every way out but success; one that the user gave (`sock`) is the user's
//! until it is the server's.

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList, PySet, PyString};
use slots::intern;
use slots::{Args, Ref, Signature, arg};

use super::{BaseEventLoop, check_ssl_socket, constant, none, set_reuse_port, socket_module, stream_socket_expected};
use crate::log::logger;
use crate::{face, library};

const SERVER: Signature<14> = Signature::method(
    "BaseEventLoop.create_server",
    [
        arg("protocol_factory"),
        arg("host"),
        arg("port"),
        arg("family"),
        arg("flags"),
        arg("sock"),
        arg("backlog"),
        arg("ssl"),
        arg("reuse_address"),
        arg("reuse_port"),
        arg("keep_alive"),
        arg("ssl_handshake_timeout"),
        arg("ssl_shutdown_timeout"),
        arg("start_serving"),
    ],
);

pub(super) fn create_server<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let given = args.parse(&SERVER)?.map(|value| value.filter(|v| !v.is_none()));
    let [
        factory,
        host,
        port,
        family,
        flags,
        socket,
        backlog,
        ssl,
        reuse_address,
        reuse_port,
        keep_alive,
        handshake,
        shutdown,
        start,
    ] = given;
    if ssl.is_some_and(|s| s.is_instance_of::<PyBool>()) {
        return Err(PyTypeError::new_err("ssl argument must be an SSLContext or None"));
    }
    for (value, name) in [(handshake, "ssl_handshake_timeout"), (shutdown, "ssl_shutdown_timeout")] {
        if value.is_some() && ssl.is_none() {
            return Err(PyValueError::new_err(format!("{name} is only meaningful with ssl")));
        }
    }
    if let Some(socket) = socket {
        check_ssl_socket(socket)?;
    }
    let has_address = host.is_some() || port.is_some();
    if has_address && socket.is_some() {
        return Err(PyValueError::new_err("host/port and sock can not be specified at the same time"));
    }
    match socket {
        Some(socket) => stream_socket_expected(socket)?,
        None if !has_address => return Err(PyValueError::new_err("Neither host/port nor sock were specified")),
        None => {}
    }
    let truth = |value: Option<&Bound<'py, PyAny>>, default: bool| value.map_or(Ok(default), |v| v.is_truthy());
    let options = Options {
        reuse_address: truth(reuse_address, true)?,
        reuse_port: truth(reuse_port, false)?,
        keep_alive: truth(keep_alive, false)?,
    };
    let start = truth(start, false)?;
    let or_none = |value: Option<&Bound<'py, PyAny>>| value.cloned().unwrap_or_else(|| none(py));
    let hosts = slots::list(py)?;
    match host {
        Some(host) if host.eq(slots::Text(""))? => hosts.append(none(py))?,
        Some(host) if !host.is_instance_of::<PyString>() && host.try_iter().is_ok() => {
            for host in host.try_iter()? {
                hosts.append(host?)?;
            }
        }
        host => hosts.append(or_none(host))?,
    }
    let kept = [
        this.any().clone(),
        or_none(factory),
        hosts.into_any(),
        or_none(port),
        or_none(family),
        or_none(flags),
        or_none(socket),
        or_none(backlog),
        slots::tuple(py, [or_none(ssl), or_none(handshake), or_none(shutdown)])?.into_any(),
    ];
    slots::coroutine(py, "BaseEventLoop.create_server", kept, move |co, kept| async move {
        let [event_loop, factory, hosts, port, family, flags, socket, backlog, tls] = kept;
        let sockets = if has_address {
            let infos = {
                let py = co.py();
                let looking = slots::list(py)?;
                let keywords = slots::dict(py)?;
                keywords.set_item(intern!(py, "family"), co.get(family))?;
                keywords.set_item(intern!(py, "flags"), co.get(flags))?;
                let look = co.get(event_loop).getattr(intern!(py, "_create_server_getaddrinfo"))?;
                for host in co.get(hosts).try_iter()? {
                    looking.append(look.call((host?, co.get(port)), Some(&keywords))?)?;
                }
                co.keep(face(py, "tasks")?.getattr(intern!(py, "gather"))?.call1(looking.to_tuple())?)
            };
            let infos = co.wait(infos).await?;
            bind_all(&co.get(event_loop), infos.bind(co.py()), options)?
        } else {
            slots::list_of(co.py(), [co.get(socket)])?
        };
        let server = {
            let py = co.py();
            for socket in &sockets {
                socket.call_method1(intern!(py, "setblocking"), (false,))?;
            }
            let class = face(py, "base_events")?.getattr(intern!(py, "Server"))?;
            let (ssl, handshake, shutdown) =
                co.get(tls).extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
            let (event_loop, factory, backlog) = (co.get(event_loop), co.get(factory), co.get(backlog));
            co.keep(class.call1((event_loop, sockets, factory, ssl, backlog, handshake, shutdown))?)
        };
        if start {
            co.get(server).call_method0(intern!(co.py(), "_start_serving"))?;
            // Let the loop run once, so that the server is listening when this returns.
            co.give(co.py().None().into_bound(co.py())).await?;
        }
        let py = co.py();
        if co.get(event_loop).call_method0(intern!(py, "get_debug"))?.is_truthy()? {
            let logger = logger(py, "base_events")?;
            logger.log("info", ("%r is serving", co.get(server)))?;
        }
        Ok(co.get(server).into())
    })
}

#[derive(Clone, Copy)]
struct Options {
    reuse_address: bool,
    reuse_port: bool,
    keep_alive: bool,
}

/// Bound sockets for all address infos; none is left open if one fails.
fn bind_all<'py>(
    event_loop: &Bound<'py, PyAny>,
    lists: &Bound<'py, PyAny>,
    options: Options,
) -> PyResult<Bound<'py, PyList>> {
    let py = event_loop.py();
    let infos = PySet::empty(py)?;
    for list in lists.try_iter()? {
        for info in list?.try_iter()? {
            infos.add(info?)?;
        }
    }
    let sockets = slots::list(py)?;
    let infos = slots::items(&infos)?;
    let bound = infos.iter().try_for_each(|info| bind_one(event_loop, info, options, &sockets));
    let bound = bound.and_then(|()| {
        if !sockets.is_empty() {
            return Ok(());
        }
        let addresses = infos.iter().map(|info| info.get_item(4)).collect::<PyResult<Vec<_>>>()?;
        let list = slots::list_of(py, addresses)?;
        Err(PyOSError::new_err(format!("could not bind on any address out of {}", list.repr()?)))
    });
    match bound {
        Ok(()) => Ok(sockets),
        Err(error) => {
            for socket in &sockets {
                socket.call_method0(intern!(py, "close"))?;
            }
            Err(error)
        }
    }
}

fn bind_one<'py>(
    event_loop: &Bound<'py, PyAny>,
    info: &Bound<'py, PyAny>,
    options: Options,
    sockets: &Bound<'py, PyList>,
) -> PyResult<()> {
    let py = event_loop.py();
    let module = socket_module(py)?;
    let base_events = face(py, "base_events")?;
    let debug = event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy()?;
    let warn = |text: String| -> PyResult<()> {
        if debug {
            logger(py, "base_events")?.log("warning", (text,))?;
        }
        Ok(())
    };
    let (family, kind, proto, address) = (info.get_item(0)?, info.get_item(1)?, info.get_item(2)?, info.get_item(4)?);
    let socket = match module.call_method1(intern!(py, "socket"), (&family, &kind, &proto)) {
        Ok(socket) => socket,
        Err(error) if error.is_instance_of::<PyOSError>(py) => {
            // An address family that the system does not know.
            let text = format!(
                "create_server() failed to create socket.socket({}, {}, {})",
                family.repr()?,
                kind.repr()?,
                proto.repr()?
            );
            return warn(text);
        }
        Err(error) => return Err(error),
    };
    sockets.append(&socket)?;
    let set = |level: &str, option: &str| -> PyResult<()> {
        let (level, option) = (module.getattr(slots::Text(level))?, module.getattr(slots::Text(option))?);
        socket.call_method1(intern!(py, "setsockopt"), (level, option, true)).map(drop)
    };
    if options.reuse_address {
        set("SOL_SOCKET", "SO_REUSEADDR")?;
    }
    let number: i64 = family.extract()?;
    let is_six = number == constant(py, "AF_INET6")?;
    if options.reuse_port && (is_six || number == constant(py, "AF_INET")?) {
        set_reuse_port(&socket)?;
    }
    if options.keep_alive {
        set("SOL_SOCKET", "SO_KEEPALIVE")?;
    }
    if is_six && base_events.getattr(intern!(py, "_HAS_IPv6"))?.is_truthy()? {
        // The same port on both families needs a socket for each.
        set("IPPROTO_IPV6", "IPV6_V6ONLY")?;
    }
    let Err(error) = socket.call_method1(intern!(py, "bind"), (&address,)) else { return Ok(()) };
    if !error.is_instance_of::<PyOSError>(py) {
        return Err(error);
    }
    let reason = error.value(py).str()?.to_string().to_lowercase();
    let text = format!("error while attempting to bind on address {}: {reason}", address.repr()?);
    let errno = error.value(py).getattr(intern!(py, "errno"))?;
    let unavailable = library(py, "errno")?.getattr(intern!(py, "EADDRNOTAVAIL"))?;
    if errno.eq(unavailable)? {
        sockets.call_method0(intern!(py, "pop"))?;
        socket.call_method0(intern!(py, "close"))?;
        return warn(text);
    }
    let new = PyErr::from_value(py.get_type::<PyOSError>().call1((errno, text))?);
    Err(slots::raised_from_none(py, error, new))
}
