//! `create_datagram_endpoint`: a datagram socket, bound, connected, both or neither, under a transport.
//!
//! Called by the shell, which gives all arguments by position; calls `_ensure_resolved` for the addresses, the loop's own
//! `sock_connect` and `_make_datagram_transport`, and the socket module by the face's name.
//!
//! Each pair of family and protocol for which all given addresses are known is tried in order; the first that can be bound and
//! connected wins. If none does, the first error is raised. With `allow_broadcast` the socket is not connected, and the remote
//! address is the transport's to send to.
//!
//! With AF_UNIX the addresses are paths; a socket file that stands where the local one is to be is removed.
//!
//! Invariant: a socket made here is closed on every way out but success, cancellation included; one that the user gave
//! (`sock`) is the user's until it is under a transport.
//!
//! Which sockets are taken is as since 3.11.9 and 3.12.3: all but stream sockets.

use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use slots::intern;
use slots::{Args, Co, Kept, Ref, Signature, arg};

use super::{BaseEventLoop, close_new, create_future, is_debug, none, set_reuse_port, socket_module};
use crate::face;
use crate::log::logger;

const ENDPOINT: Signature<9> = Signature::method(
    "BaseEventLoop.create_datagram_endpoint",
    [
        arg("protocol_factory"),
        arg("local_addr"),
        arg("remote_addr"),
        arg("family"),
        arg("proto"),
        arg("flags"),
        arg("reuse_port"),
        arg("allow_broadcast"),
        arg("sock"),
    ],
);

/// What the arguments ask of the sockets.
#[derive(Clone, Copy)]
struct Wanted {
    local: bool,
    remote: bool,
    reuse_port: bool,
    broadcast: bool,
}

/// Where the pairs of addresses come from.
#[derive(Clone, Copy)]
enum Addresses {
    Nowhere,
    Paths,
    Resolved,
}

pub(super) fn create_datagram_endpoint<'py>(
    this: &Ref<'py, BaseEventLoop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let given = args.parse(&ENDPOINT)?.map(|value| value.cloned().unwrap_or_else(|| none(py)));
    let [factory, local, remote, family, proto, flags, reuse_port, broadcast, socket] = given;
    let wanted = Wanted {
        local: local.is_truthy()?,
        remote: remote.is_truthy()?,
        reuse_port: reuse_port.is_truthy()?,
        broadcast: broadcast.is_truthy()?,
    };
    let mut source = None;
    if !socket.is_none() {
        let options = [
            ("local_addr", &local),
            ("remote_addr", &remote),
            ("family", &family),
            ("proto", &proto),
            ("flags", &flags),
            ("reuse_port", &reuse_port),
            ("allow_broadcast", &broadcast),
        ];
        check_given_socket(&socket, &options)?;
        socket.call_method1(intern!(py, "setblocking"), (false,))?;
    } else if !wanted.local && !wanted.remote {
        if family.eq(0)? {
            return Err(PyValueError::new_err("unexpected address family"));
        }
        source = Some(Addresses::Nowhere);
    } else if is_unix(&family)? {
        for path in [&local, &remote] {
            if !path.is_none() && !path.is_instance_of::<PyString>() {
                return Err(PyTypeError::new_err("string is expected"));
            }
        }
        if wanted.local && local.get_item(0)?.ne(slots::Text("\0"))? {
            remove_stale(&local)?;
        }
        source = Some(Addresses::Paths);
    } else {
        source = Some(Addresses::Resolved);
    }
    let addresses = slots::tuple(py, [local, remote])?.into_any();
    let options = slots::tuple(py, [family, proto, flags])?.into_any();
    let kept = [this.any().clone(), factory, addresses, options, socket, none(py)];
    slots::coroutine(py, "BaseEventLoop.create_datagram_endpoint", kept, move |co, kept| async move {
        let [event_loop, factory, addresses, options, socket, target] = kept;
        if let Some(source) = source {
            let pairs = match source {
                Addresses::Resolved => resolve_pairs(&co, event_loop, addresses, options, wanted).await?,
                _ => one_pair(&co, addresses, options, source)?,
            };
            open_any(&co, event_loop, pairs, [socket, target], wanted).await?;
        }
        let made = begin_transport(&co, [event_loop, factory, socket, target]);
        let [transport, protocol, waiter] = match made {
            Ok(made) => made,
            Err(error) => {
                if source.is_some() {
                    close_new(&co.get(socket))?;
                }
                return Err(error);
            }
        };
        log_created(&co, event_loop, addresses, [transport, protocol], wanted)?;
        if let Err(error) = co.wait(waiter).await {
            co.get(transport).call_method0(intern!(co.py(), "close"))?;
            return Err(error);
        }
        Ok(slots::tuple(co.py(), [co.get(transport), co.get(protocol)])?.into_any().into())
    })
}

fn check_given_socket(socket: &Bound<'_, PyAny>, options: &[(&str, &Bound<'_, PyAny>)]) -> PyResult<()> {
    let py = socket.py();
    let stream = socket_module(py)?.getattr(intern!(py, "SOCK_STREAM"))?;
    if socket.getattr(intern!(py, "type"))?.eq(stream)? {
        let text = format!("A datagram socket was expected, got {}", socket.repr()?);
        return Err(PyValueError::new_err(text));
    }
    let mut problems = Vec::new();
    for (name, value) in options {
        if value.is_truthy()? {
            problems.push(format!("{name}={}", value.str()?));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "socket modifier keyword arguments can not be used when sock is specified. ({})",
        problems.join(", ")
    )))
}

fn is_unix(family: &Bound<'_, PyAny>) -> PyResult<bool> {
    let module = socket_module(family.py())?;
    Ok(module.hasattr(slots::Text("AF_UNIX"))? && family.eq(module.getattr(slots::Text("AF_UNIX"))?)?)
}

/// Removes the socket file of somebody who is gone. Where that cannot be, binding will tell why.
fn remove_stale(path: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = path.py();
    let base_events = face(py, "base_events")?;
    let (os, stat) = (base_events.getattr(intern!(py, "os"))?, base_events.getattr(intern!(py, "stat"))?);
    let removed = os.call_method1(intern!(py, "stat"), (path,)).and_then(|status| {
        let mode = status.getattr(intern!(py, "st_mode"))?;
        if stat.call_method1(intern!(py, "S_ISSOCK"), (mode,))?.is_truthy()? {
            os.call_method1(intern!(py, "remove"), (path,))?;
        }
        Ok(())
    });
    match removed {
        Err(error) if error.is_instance_of::<PyFileNotFoundError>(py) => Ok(()),
        Err(error) if error.is_instance_of::<PyOSError>(py) => {
            let logger = logger(py, "base_events")?;
            let text = "Unable to check or remove stale UNIX socket %r: %r";
            logger.log("error", (text, path, error.value(py))).map(drop)
        }
        other => other,
    }
}

/// The only pair there can be where nothing is to be resolved.
fn one_pair(co: &Co, addresses: Kept, options: Kept, source: Addresses) -> PyResult<Kept> {
    let py = co.py();
    let options = co.get(options);
    let key = (options.get_item(0)?, options.get_item(1)?);
    let pair = match source {
        Addresses::Nowhere => slots::tuple(py, [none(py), none(py)])?.into_any(),
        _ => co.get(addresses),
    };
    Ok(co.keep(slots::list_of(py, [(key, pair)])?.into_any()))
}

/// A list of ((family, proto), [local address, remote address]), in the order in which they were found.
async fn resolve_pairs(co: &Co, event_loop: Kept, addresses: Kept, options: Kept, wanted: Wanted) -> PyResult<Kept> {
    let known = co.keep(slots::dict(co.py())?.into_any());
    for at in 0..2usize {
        let looking = {
            let address = co.get(addresses).get_item(at)?;
            if address.is_none() {
                continue;
            }
            co.keep(resolve(&co.get(event_loop), address, &co.get(options))?)
        };
        let infos = co.wait(looking).await?;
        let known = co.get(known).cast_into::<PyDict>()?;
        note_infos(&known, infos.bind(co.py()), at)?;
    }
    let py = co.py();
    let complete = slots::list(py)?;
    for (key, pair) in co.get(known).cast_into::<PyDict>()?.iter() {
        let lacks = |at: usize| pair.get_item(at).map(|address| address.is_none());
        if !(wanted.local && lacks(0)? || wanted.remote && lacks(1)?) {
            complete.append((key, pair))?;
        }
    }
    if complete.is_empty() {
        return Err(PyValueError::new_err("can not get address information"));
    }
    Ok(co.keep(complete.into_any()))
}

fn resolve<'py>(
    event_loop: &Bound<'py, PyAny>,
    address: Bound<'py, PyAny>,
    options: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    if !address.is_instance_of::<PyTuple>() || address.len()? != 2 {
        return Err(PyTypeError::new_err("2-tuple is expected"));
    }
    let keywords = slots::dict(py)?;
    for (at, name) in ["family", "proto", "flags"].into_iter().enumerate() {
        keywords.set_item(name, options.get_item(at)?)?;
    }
    keywords.set_item(intern!(py, "type"), socket_module(py)?.getattr(intern!(py, "SOCK_DGRAM"))?)?;
    keywords.set_item(intern!(py, "loop"), event_loop)?;
    event_loop.getattr(intern!(py, "_ensure_resolved"))?.call((address,), Some(&keywords))
}

fn note_infos(known: &Bound<'_, PyDict>, infos: &Bound<'_, PyAny>, at: usize) -> PyResult<()> {
    let py = known.py();
    if !infos.is_truthy()? {
        return Err(PyOSError::new_err("getaddrinfo() returned empty list"));
    }
    for info in infos.try_iter()? {
        let info = info?;
        let key = slots::tuple(py, [info.get_item(0)?, info.get_item(2)?])?;
        let pair = match known.get_item(&key)? {
            Some(pair) => pair,
            None => {
                let pair = slots::list_of(py, [none(py), none(py)])?.into_any();
                known.set_item(key, &pair)?;
                pair
            }
        };
        pair.set_item(at, info.get_item(4)?)?;
    }
    Ok(())
}

/// Opens a socket for the first pair that works; it and the remote address are kept as `socket` and `target`.
async fn open_any(co: &Co, event_loop: Kept, pairs: Kept, [socket, target]: [Kept; 2], wanted: Wanted) -> PyResult<()> {
    let errors = co.keep(slots::list(co.py())?.into_any());
    let note = |error: PyErr| -> PyResult<()> {
        let py = co.py();
        if !error.is_instance_of::<PyOSError>(py) {
            return Err(error);
        }
        co.get(errors).call_method1(intern!(py, "append"), (error.value(py),)).map(drop)
    };
    let count = co.get(pairs).len()?;
    for at in 0..count {
        match open_socket(&co.get(pairs).get_item(at)?, wanted) {
            Ok((opened, address)) => {
                co.change(socket, opened);
                co.change(target, address);
            }
            Err(error) => {
                note(error)?;
                continue;
            }
        }
        if !wanted.remote || wanted.broadcast {
            return Ok(());
        }
        let begun = {
            let arguments = (co.get(socket), co.get(target));
            let begun = co.get(event_loop).call_method1(intern!(co.py(), "sock_connect"), arguments);
            begun.map(|connecting| co.keep(connecting))
        };
        let connected = match begun {
            Ok(connecting) => co.wait(connecting).await.map(drop),
            Err(error) => Err(error),
        };
        let Err(error) = connected else { return Ok(()) };
        close_new(&co.get(socket))?;
        note(error)?;
    }
    Err(slots::raise(&co.get(errors).get_item(0)?))
}

/// A non-blocking socket for a pair, bound if that is wanted; and the remote address, or None.
fn open_socket<'py>(pair: &Bound<'py, PyAny>, wanted: Wanted) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = pair.py();
    let (key, addresses) = (pair.get_item(0)?, pair.get_item(1)?);
    let module = socket_module(py)?;
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "family"), key.get_item(0)?)?;
    keywords.set_item(intern!(py, "type"), module.getattr(intern!(py, "SOCK_DGRAM"))?)?;
    keywords.set_item(intern!(py, "proto"), key.get_item(1)?)?;
    let socket = module.getattr(intern!(py, "socket"))?.call((), Some(&keywords))?;
    let prepared = || -> PyResult<Bound<'py, PyAny>> {
        if wanted.reuse_port {
            set_reuse_port(&socket)?;
        }
        if wanted.broadcast {
            let (level, option) =
                (module.getattr(slots::Text("SOL_SOCKET"))?, module.getattr(slots::Text("SO_BROADCAST"))?);
            socket.call_method1(intern!(py, "setsockopt"), (level, option, 1))?;
        }
        socket.call_method1(intern!(py, "setblocking"), (false,))?;
        if wanted.local {
            socket.call_method1(intern!(py, "bind"), (addresses.get_item(0)?,))?;
        }
        if wanted.remote { addresses.get_item(1) } else { Ok(none(py)) }
    };
    match prepared() {
        Ok(remote) => Ok((socket, remote)),
        Err(error) => {
            close_new(&socket)?;
            Err(error)
        }
    }
}

fn begin_transport(co: &Co, [event_loop, factory, socket, target]: [Kept; 4]) -> PyResult<[Kept; 3]> {
    let py = co.py();
    let protocol = co.get(factory).call0()?;
    let event_loop = co.get(event_loop);
    let waiter = create_future(&event_loop)?;
    let arguments = (co.get(socket), &protocol, co.get(target), &waiter);
    let transport = event_loop.call_method1(intern!(py, "_make_datagram_transport"), arguments)?;
    Ok([co.keep(transport), co.keep(protocol), co.keep(waiter)])
}

/// Debug mode's record of a new endpoint.
fn log_created(
    co: &Co,
    event_loop: Kept,
    addresses: Kept,
    [transport, protocol]: [Kept; 2],
    wanted: Wanted,
) -> PyResult<()> {
    let py = co.py();
    if !is_debug(&co.get(event_loop)) {
        return Ok(());
    }
    let (local, remote) = co.get(addresses).extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
    let (transport, protocol) = (co.get(transport), co.get(protocol));
    let logger = logger(py, "base_events")?;
    if wanted.local {
        let text = "Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)";
        return logger.log("info", (text, local, remote, transport, protocol)).map(drop);
    }
    let text = "Datagram endpoint remote_addr=%r created: (%r, %r)";
    logger.log("debug", (text, remote, transport, protocol)).map(drop)
}
