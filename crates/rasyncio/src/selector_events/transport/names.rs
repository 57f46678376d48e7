//! What a transport tells of its socket: `get_extra_info()`.
//!
//! Called by the transport when it is made, and when somebody asks. Most never are: a dictionary, two addresses as Python has
//! them and a `TransportSocket` are more memory than all the rest of an idle connection. So the addresses are kept
//! as the kernel has them, and the dictionary is made at the first look, also after the end. A dictionary that was given, or a socket
//! that is not plain or has other addresses, has it from birth, as in CPython.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use engine::sys::socket;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use slots::Ref;

use super::SocketTransport;
use crate::selector_events::datagram::address_object;
use crate::selector_events::ends::shown;

/// The addresses of both ends; None where there is none.
#[derive(Clone, Copy, Default)]
pub struct Names {
    own: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    /// The peer's was known before.
    accepted: bool,
}

impl Names {
    /// Those of a socket. The peer's address where it is known already.
    pub fn of(fd: RawFd, peer: Option<SocketAddr>) -> Names {
        Names {
            own: socket::local_address(fd).ok().flatten(),
            peer: peer.or_else(|| socket::peer_address(fd).ok().flatten()),
            accepted: peer.is_some(),
        }
    }
}

/// The transport's dictionary, made now if nobody has looked yet.
pub fn extra<'py>(this: &Ref<'py, SocketTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(extra) = this.extra.get(py) {
        return Ok(extra);
    }
    let names = this.names.get();
    let object = |address: Option<SocketAddr>| match address {
        Some(address) => address_object(py, address),
        None => Ok(py.None().into_bound(py)),
    };
    let known = PyDict::new(py);
    if names.accepted {
        known.set_item(intern!(py, "peername"), object(names.peer)?)?;
    }
    if let Some(socket) = this.socket.get(py).or_else(|| this.former.get(py)) {
        known.set_item(intern!(py, "socket"), shown(&socket)?)?;
    }
    known.set_item(intern!(py, "sockname"), object(names.own)?)?;
    if !names.accepted {
        known.set_item(intern!(py, "peername"), object(names.peer)?)?;
    }
    this.extra.set(known.clone().into_any());
    this.former.unset();
    Ok(known.into_any())
}
