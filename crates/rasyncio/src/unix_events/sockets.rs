//! Unix sockets: `create_unix_connection` and `create_unix_server`, and removing a server's file when it is closed.
//!
//! Called by the shells, which give all arguments by position, and by `Server.close` through `_stop_serving`; calls the socket
//! module and `os` by the face's names, so that patches to them hold, the loop's `sock_connect`, and `connect_transport`.
//!
//! A name that begins with a zero byte is abstract: it is no file, so there is nothing to remove before and after. Before a server
//! is bound to a path, a socket that is there already is removed; any other file is in the way (EADDRINUSE).
//!
//! With `cleanup_socket`, which is on by default from 3.13 on, the file is removed when the server is closed, if it is
//! still the same one, by its inode. Before 3.13 asyncio has no such argument; here it can be given.
//!
//! With `mode` (3.16, here on all) the permissions of the file are changed after `bind` and before `listen`: until then a
//! connection is refused, so none is accepted under the permissions that the umask left. If that fails, the file is removed.
//!
//! Invariant: a socket made here is closed on every way out but success; one that the user gave (`sock`) is the user's
//! until it is under a transport or the server's.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use pyo3::exceptions::{PyAssertionError, PyFileNotFoundError, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};
use slots::intern;
use slots::{Args, Ref, Signature, arg};

use super::UnixSelectorEventLoop;
use crate::base_events::{Tls, connect_transport, tls_options};
use crate::log::logger;
use crate::selector_events::stop_serving;
use crate::{exceptions, face};

fn module<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    face(py, "unix_events")?.getattr(slots::Text(name))
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

fn unix_stream_expected(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = socket.py();
    let names = module(py, "socket")?;
    if socket.getattr(intern!(py, "family"))?.eq(names.getattr(intern!(py, "AF_UNIX"))?)?
        && socket.getattr(intern!(py, "type"))?.eq(names.getattr(intern!(py, "SOCK_STREAM"))?)?
    {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("A UNIX Domain Stream Socket was expected, got {}", socket.repr()?)))
}

/// Whether a name, str or bytes, is one without a file.
fn is_abstract(path: &Bound<'_, PyAny>) -> PyResult<bool> {
    let first = path.get_item(0)?;
    Ok(first.eq(0)? || first.eq(slots::Text("\0"))?)
}

fn new_socket(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let names = module(py, "socket")?;
    let family = names.getattr(intern!(py, "AF_UNIX"))?;
    names.call_method1(intern!(py, "socket"), (family, names.getattr(intern!(py, "SOCK_STREAM"))?))
}

fn log_error(py: Python<'_>, text: &str, path: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    let error = error.into_value(py).into_bound(py);
    logger(py, "unix_events")?.log("error", (text, path, error)).map(drop)
}

const CONNECTION: Signature<7> = Signature::method(
    "_UnixSelectorEventLoop.create_unix_connection",
    [
        arg("protocol_factory"),
        arg("path"),
        arg("ssl"),
        arg("sock"),
        arg("server_hostname"),
        arg("ssl_handshake_timeout"),
        arg("ssl_shutdown_timeout"),
    ],
);

pub(super) fn create_unix_connection<'py>(
    this: &Ref<'py, UnixSelectorEventLoop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let given = args.parse(&CONNECTION)?.map(|value| value.filter(|v| !v.is_none()));
    let [factory, path, ssl, socket, hostname, handshake, shutdown] = given;
    if hostname.is_some_and(|name| !name.is_instance_of::<PyString>()) {
        return Err(PyAssertionError::new_err(()));
    }
    let tls = ssl.map_or(Ok(false), |s| s.is_truthy())?;
    if tls && hostname.is_none() {
        return Err(PyValueError::new_err("you have to pass server_hostname when using ssl"));
    }
    let only_with_ssl =
        [(hostname, "server_hostname"), (handshake, "ssl_handshake_timeout"), (shutdown, "ssl_shutdown_timeout")];
    for (value, name) in only_with_ssl {
        if value.is_some() && !tls {
            return Err(PyValueError::new_err(format!("{name} is only meaningful with ssl")));
        }
    }
    let path = match (path, socket) {
        (Some(_), Some(_)) => {
            return Err(PyValueError::new_err("path and sock can not be specified at the same time"));
        }
        (Some(path), None) => Some(module(py, "os")?.call_method1(intern!(py, "fspath"), (path,))?),
        (None, Some(socket)) => {
            unix_stream_expected(socket)?;
            None
        }
        (None, None) => return Err(PyValueError::new_err("no path and sock were specified")),
    };
    let has_path = path.is_some();
    let or_none = |value: Option<&Bound<'py, PyAny>>| value.cloned().unwrap_or_else(|| none(py));
    let options = tls_options(py, Tls { context: ssl, server_side: false, hostname, handshake, shutdown })?;
    let kept = [this.any().clone(), or_none(factory), or_none(socket), path.unwrap_or_else(|| none(py)), options];
    let name = "_UnixSelectorEventLoop.create_unix_connection";
    slots::coroutine(py, name, kept, move |co, [event_loop, factory, socket, path, tls]| async move {
        if has_path {
            co.change(socket, new_socket(co.py())?);
            let connecting = co
                .get(socket)
                .call_method1(intern!(co.py(), "setblocking"), (false,))
                .and_then(|_| {
                    let address = (co.get(socket), co.get(path));
                    co.get(event_loop).call_method1(intern!(co.py(), "sock_connect"), address)
                })
                .map(|connecting| co.keep(connecting));
            let connected = match connecting {
                Ok(connecting) => co.wait(connecting).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = connected {
                co.get(socket).call_method0(intern!(co.py(), "close"))?;
                return Err(error);
            }
        }
        connect_transport(&co, [event_loop, socket, factory, tls], has_path).await
    })
}

const SERVER: Signature<10> = Signature::method(
    "_UnixSelectorEventLoop.create_unix_server",
    [
        arg("protocol_factory"),
        arg("path"),
        arg("sock"),
        arg("backlog"),
        arg("ssl"),
        arg("ssl_handshake_timeout"),
        arg("ssl_shutdown_timeout"),
        arg("start_serving"),
        arg("cleanup_socket"),
        arg("mode"),
    ],
);

pub(super) fn create_unix_server<'py>(
    this: &Ref<'py, UnixSelectorEventLoop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let given = args.parse(&SERVER)?.map(|value| value.filter(|v| !v.is_none()));
    let [factory, path, socket, backlog, ssl, handshake, shutdown, start, cleanup, mode] = given;
    if ssl.is_some_and(|s| s.is_instance_of::<PyBool>()) {
        return Err(PyTypeError::new_err("ssl argument must be an SSLContext or None"));
    }
    for (value, name) in [(handshake, "ssl_handshake_timeout"), (shutdown, "ssl_shutdown_timeout")] {
        if value.is_some() && ssl.is_none() {
            return Err(PyValueError::new_err(format!("{name} is only meaningful with ssl")));
        }
    }
    let truth = |value: Option<&Bound<'py, PyAny>>| value.map_or(Ok(false), |v| v.is_truthy());
    let (start, cleanup) = (truth(start)?, truth(cleanup)?);
    let socket = match (path, socket) {
        (Some(_), Some(_)) => {
            return Err(PyValueError::new_err("path and sock can not be specified at the same time"));
        }
        (None, None) => return Err(PyValueError::new_err("path was not specified, and no sock specified")),
        (Some(path), None) => bind(&module(py, "os")?.call_method1(intern!(py, "fspath"), (path,))?, mode)?,
        (None, Some(socket)) => {
            if mode.is_some() {
                return Err(PyValueError::new_err("mode and sock can not be specified at the same time"));
            }
            unix_stream_expected(socket)?;
            socket.clone()
        }
    };
    if cleanup {
        remember(this, &socket)?;
    }
    socket.call_method1(intern!(py, "setblocking"), (false,))?;
    let or_none = |value: Option<&Bound<'py, PyAny>>| value.cloned().unwrap_or_else(|| none(py));
    let class = face(py, "base_events")?.getattr(intern!(py, "Server"))?;
    let sockets = slots::list_of(py, [socket])?;
    let server = class.call1((
        this.any(),
        sockets,
        or_none(factory),
        or_none(ssl),
        or_none(backlog),
        or_none(handshake),
        or_none(shutdown),
    ))?;
    slots::coroutine(py, "_UnixSelectorEventLoop.create_unix_server", [server], move |co, [server]| async move {
        if start {
            co.get(server).call_method0(intern!(co.py(), "_start_serving"))?;
            // Let the loop run once, so that the server is listening when this returns.
            co.give(none(co.py())).await?;
        }
        Ok(co.get(server).into())
    })
}

/// A new socket that is bound to a name, with the mode, if one is given; a socket that was there before is removed.
fn bind<'py>(path: &Bound<'py, PyAny>, mode: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    let py = path.py();
    if is_abstract(path)? {
        if mode.is_some() {
            return Err(PyValueError::new_err("mode is not supported for abstract Unix sockets"));
        }
    } else {
        match remove_stale(path) {
            Err(error) if error.is_instance_of::<PyFileNotFoundError>(py) => {}
            // The folder may be one where sockets can be made and not removed.
            Err(error) if error.is_instance_of::<PyOSError>(py) => {
                log_error(py, "Unable to check or remove stale UNIX socket %r: %r", path, error)?;
            }
            other => other?,
        }
    }
    let socket = new_socket(py)?;
    let Err(error) = socket.call_method1(intern!(py, "bind"), (path,)) else {
        return match mode.map_or(Ok(()), |mode| set_mode(path, mode)) {
            Ok(()) => Ok(socket),
            Err(error) => {
                socket.call_method0(intern!(py, "close"))?;
                Err(error)
            }
        };
    };
    socket.call_method0(intern!(py, "close"))?;
    let in_use = module(py, "errno")?.getattr(intern!(py, "EADDRINUSE"))?;
    if error.is_instance_of::<PyOSError>(py) && error.value(py).getattr(intern!(py, "errno"))?.eq(&in_use)? {
        let text = format!("Address {} is already in use", path.repr()?);
        let new = PyErr::from_value(py.get_type::<PyOSError>().call1((in_use, text))?);
        return Err(slots::raised_from_none(py, error, new));
    }
    Err(error)
}

/// Changes the permissions of the file of a socket that was bound just now; where that fails, the file is removed.
#[cold]
fn set_mode<'py>(path: &Bound<'py, PyAny>, mode: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = path.py();
    let os = module(py, "os")?;
    let Err(error) = os.call_method1(intern!(py, "chmod"), (path, mode)) else { return Ok(()) };
    match os.call_method1(intern!(py, "unlink"), (path,)) {
        Err(failed) if failed.is_instance_of::<PyFileNotFoundError>(py) => {}
        Err(failed) if failed.is_instance_of::<PyOSError>(py) => {
            log_error(py, "Unable to clean up UNIX socket %r: %r", path, failed)?;
        }
        other => drop(other?),
    }
    Err(error)
}

fn remove_stale(path: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = path.py();
    let os = module(py, "os")?;
    let mode = os.call_method1(intern!(py, "stat"), (path,))?.getattr(intern!(py, "st_mode"))?;
    if module(py, "stat")?.call_method1(intern!(py, "S_ISSOCK"), (mode,))?.is_truthy()? {
        os.call_method1(intern!(py, "remove"), (path,))?;
    }
    Ok(())
}

/// The inode of a socket's file. Asked without Python's `os`: what looks for calls that block an event loop (blockbuster) lets
/// asyncio's own pass by the name of the function that makes them, and this one has none.
fn inode(path: &Bound<'_, PyAny>) -> PyResult<u64> {
    let file: PathBuf = path.extract()?;
    let py = path.py();
    Ok(std::fs::metadata(file).map_err(|error| exceptions::os_error(py, error))?.ino())
}

/// `_unix_server_sockets`: listening sockets whose files are to be removed, and the files' inodes.
pub(super) fn server_sockets<'py>(this: &Ref<'py, UnixSelectorEventLoop>) -> PyResult<Bound<'py, PyDict>> {
    let py = this.py();
    match this.server_sockets.get(py) {
        Some(dict) => Ok(dict.cast_into()?),
        None => {
            let dict = slots::dict(py)?;
            this.server_sockets.set(dict.clone().into_any());
            Ok(dict)
        }
    }
}

fn remember<'py>(this: &Ref<'py, UnixSelectorEventLoop>, socket: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let path = socket.call_method0(intern!(py, "getsockname"))?;
    if is_abstract(&path)? {
        return Ok(());
    }
    match inode(&path) {
        Ok(inode) => server_sockets(this)?.set_item(socket, inode),
        Err(error) if error.is_instance_of::<PyFileNotFoundError>(py) => Ok(()),
        Err(error) => Err(error),
    }
}

/// `_stop_serving`: as any server's, and the file goes, if it is still the one that was made.
pub(super) fn stop_unix_serving<'py>(
    this: &Ref<'py, UnixSelectorEventLoop>,
    socket: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = this.py();
    let remembered = match this.server_sockets.is_set() {
        true => server_sockets(this)?.get_item(socket)?,
        false => None,
    };
    let Some(remembered) = remembered else { return stop_serving(this.base(), socket) };
    let path = socket.call_method0(intern!(py, "getsockname"))?;
    stop_serving(this.base(), socket)?;
    server_sockets(this)?.del_item(socket)?;
    let removed = inode(&path).and_then(|inode| {
        if inode == remembered.extract::<u64>()? {
            std::fs::remove_file(path.extract::<PathBuf>()?).map_err(|error| exceptions::os_error(py, error))?;
        }
        Ok(())
    });
    match removed {
        Err(error) if error.is_instance_of::<PyFileNotFoundError>(py) => Ok(()),
        Err(error) if error.is_instance_of::<PyOSError>(py) => {
            log_error(py, "Unable to clean up listening UNIX socket %r: %r", &path, error)
        }
        other => other,
    }
}
