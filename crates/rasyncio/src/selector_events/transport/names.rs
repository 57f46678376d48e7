//! What a transport tells of its socket: `get_extra_info()`.
//!
//! Called by the transport when it is made, and when somebody asks. Most never are: a dictionary, two addresses as Python has
//! them and a `TransportSocket` are more memory than all the rest of an idle connection. So the addresses are kept
//! as the kernel has them, and the dictionary is made at the first look, also after the end. A dictionary that was given, or a socket
//! that is not plain or has other addresses, has it from birth, as in CPython.

use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::RawFd;

use engine::sys::socket;
use pyo3::prelude::*;
use slots::Ref;
use slots::intern;

use super::SocketTransport;
use crate::selector_events::datagram::address_object;
use crate::selector_events::ends::shown;

/// The addresses of both ends; small, as most are of IPv4.
#[derive(Default)]
pub enum Names {
    #[default]
    Unknown,
    Four {
        own: SocketAddrV4,
        peer: SocketAddrV4,
        accepted: bool,
    },
    Other(Box<Addresses>),
}

/// Any addresses; None where there is none.
#[derive(Clone, Copy, Default)]
pub struct Addresses {
    own: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    /// The peer's was known before.
    accepted: bool,
}

impl Names {
    /// Those of a socket. The peer's address where it is known already.
    pub fn of(fd: RawFd, peer: Option<SocketAddr>) -> Names {
        let accepted = peer.is_some();
        let own = socket::local_address(fd).ok().flatten();
        match (own, peer.or_else(|| socket::peer_address(fd).ok().flatten())) {
            (Some(SocketAddr::V4(own)), Some(SocketAddr::V4(peer))) => Names::Four { own, peer, accepted },
            (own, peer) => Names::Other(Box::new(Addresses { own, peer, accepted })),
        }
    }

    fn addresses(&self) -> Addresses {
        match self {
            Names::Unknown => Addresses::default(),
            Names::Four { own, peer, accepted } => {
                Addresses { own: Some((*own).into()), peer: Some((*peer).into()), accepted: *accepted }
            }
            Names::Other(addresses) => **addresses,
        }
    }
}

/// The transport's dictionary, made now if nobody has looked yet.
pub fn extra<'py>(this: &Ref<'py, SocketTransport>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(extra) = this.extra.get(py) {
        return Ok(extra);
    }
    let names = this.names.borrow().addresses();
    let object = |address: Option<SocketAddr>| match address {
        Some(address) => address_object(py, address),
        None => Ok(py.None().into_bound(py)),
    };
    let known = slots::dict(py)?;
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
