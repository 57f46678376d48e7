//! Which socket objects are plain: their system calls may be made by number, without their methods.
//!
//! Called by what would call a method of a socket otherwise: `quick_sock`, `accept`, `transport`. A plain socket is exactly a
//! `socket.socket` whose class is as Python made it. Its number, family, type and protocol stand at its front; that
//! is a fact about an implementation, so it is checked against what the class's own attributes say, once for each state of the class
//! (`slots::Version`). Whoever patches `socket.socket` makes its sockets not plain.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFunction, PyType};
use slots::intern;
use slots::{Ref, Version, front_numbers};

use super::BaseSelectorEventLoop;

/// What a plain socket says of itself, as the system's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    pub fd: RawFd,
    pub family: i32,
    pub kind: i32,
    pub protocol: i32,
}

impl Plain {
    /// A TCP socket, be it that it says so or that it was made without a protocol, which is TCP as well. asyncio looks at the number
    /// alone, so that servers that bind their sockets themselves wait 40 ms for the second part of each answer there.
    pub fn is_tcp(&self) -> bool {
        use engine::sys::socket::{INTERNET, STREAM, TCP};
        INTERNET.contains(&self.family) && self.kind == STREAM && matches!(self.protocol, 0 | TCP)
    }
}

/// The class of plain sockets.
fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static SOCKET: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    SOCKET.import(py, "socket", "socket")
}

fn native_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static NATIVE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    NATIVE.import(py, "_socket", "socket")
}

/// A socket object for a non-blocking descriptor, of the kind that another plain one is of.
///
/// No Python code runs between the descriptor's becoming the object's and the end, which a signal's handler could leave with an
/// exception: whatever happens, exactly one closes it.
pub fn adopt<'py>(py: Python<'py>, owned: OwnedFd, like: Plain) -> PyResult<Bound<'py, PyAny>> {
    let (class, native) = (class(py)?, native_class(py)?);
    let made = class.call_method1(intern!(py, "__new__"), (class,))?;
    let kind = like.kind | engine::sys::socket::NONBLOCKING;
    let arguments = (&made, like.family, kind, like.protocol, owned.as_raw_fd());
    native.call_method1(intern!(py, "__init__"), arguments)?;
    let _ = owned.into_raw_fd();
    made.setattr(intern!(py, "_io_refs"), 0)?;
    made.setattr(intern!(py, "_closed"), false)?;
    Ok(made)
}

/// What a socket says of itself, if it is plain and open.
pub fn plain(this: &Ref<'_, BaseSelectorEventLoop>, socket: &Bound<'_, PyAny>) -> PyResult<Option<Plain>> {
    if !this.plain_socket.get().is_of_any(socket) {
        if !is_as_python_made_it(socket)? {
            return Ok(None);
        }
        this.plain_socket.set(Version::of(socket));
    }
    Ok(at_front(socket).filter(|plain| plain.fd >= 0))
}

fn at_front(socket: &Bound<'_, PyAny>) -> Option<Plain> {
    let [fd, family, kind, protocol] = front_numbers(socket)?;
    Some(Plain { fd, family, kind, protocol })
}

fn is_as_python_made_it(socket: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = socket.py();
    let (class, native) = (class(py)?, native_class(py)?);
    if !socket.get_type().is(class) {
        return Ok(false);
    }
    for name in ["recv", "send", "fileno", "setblocking", "setsockopt", "getsockname", "getpeername"] {
        if !class.getattr(slots::Text(name))?.is(&native.getattr(slots::Text(name))?) {
            return Ok(false);
        }
    }
    for name in ["__init__", "accept"] {
        let method = class.getattr(slots::Text(name))?;
        let module = method.cast::<PyFunction>().ok().and_then(|method| method.getattr(intern!(py, "__module__")).ok());
        if !module.is_some_and(|module| module.eq(slots::Text("socket")).unwrap_or(false)) {
            return Ok(false);
        }
    }
    // What its __init__ adds to the native one's, see `adopt`.
    if !class.getattr(intern!(py, "__slots__"))?.eq(["__weakref__", "_io_refs", "_closed"])? {
        return Ok(false);
    }
    let own = |name: &str| -> PyResult<i32> {
        native.getattr(slots::Text(name))?.call_method1(slots::Text("__get__"), (socket,))?.extract()
    };
    let said = Plain {
        fd: socket.call_method0(intern!(py, "fileno"))?.extract()?,
        family: own("family")?,
        kind: own("type")?,
        protocol: own("proto")?,
    };
    Ok(at_front(socket) == Some(said))
}
