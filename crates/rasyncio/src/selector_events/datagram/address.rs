//! Addresses of datagrams: as the kernel has them, and as Python's socket module has them.
//!
//! Called by `read` for the sender of what came, by `send` for the receiver of what goes; calls `engine::sys::datagram` for the text
//! of a host.
//!
//! IPv4 is `(host, port)`, IPv6 `(host, port, flowinfo, scope_id)`, a Unix socket a str, or bytes in Linux's abstract
//! namespace, or None for a sender without a name. The text of a host is that of `inet_ntop`.
//!
//! Most endpoints talk to few others: the last address of either direction is remembered with its Python object. One that
//! is given to be sent to is recognised by identity alone, which is sound because only tuples that cannot change are
//! remembered: of exactly a str and ints.
//!
//! What is not plainly numeric (names of hosts, ports out of range, scopes in the text) is not understood here, on purpose:
//! the socket object's own `sendto` knows it, and has the errors for it.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;

use engine::sys::datagram::{self, Address};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString, PyTuple};
use slots::{Slot, Visit, Visitor};

/// The families whose datagrams are received and sent without the socket object.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(super) enum Family {
    /// Any other, or a socket object of another class: everything goes by its methods.
    #[default]
    Foreign,
    Four,
    Six,
    Unix,
}

/// An address and the Python object for it, the last that was seen.
#[derive(Default)]
pub(super) struct Last {
    address: Cell<Option<SocketAddr>>,
    object: Slot,
}

impl Visit for Last {
    fn visit(&self, visitor: &Visitor) {
        self.object.visit(visitor);
    }
    fn clear(&self) {
        self.forget();
    }
}

impl Last {
    pub(super) fn forget(&self) {
        self.address.set(None);
        self.object.unset();
    }

    fn remember(&self, address: SocketAddr, object: &Bound<'_, PyAny>) {
        self.address.set(Some(address));
        self.object.set(object.clone());
    }

    /// The Python object for the sender of a datagram.
    pub(super) fn sender<'py>(&self, py: Python<'py>, from: Option<Address>) -> PyResult<Bound<'py, PyAny>> {
        let address = match from {
            None => return Ok(py.None().into_bound(py)),
            Some(Address::Unix(name)) if name.starts_with(b"\0") => return Ok(slots::bytes(py, &name)?.into_any()),
            Some(Address::Unix(path)) => {
                return Ok(std::ffi::OsStr::from_bytes(&path).into_pyobject(py)?.into_any());
            }
            Some(Address::Internet(address)) => address,
        };
        if self.address.get() == Some(address) {
            if let Some(object) = self.object.get(py) {
                return Ok(object);
            }
        }
        let object = match (self.address.get(), self.object.get(py)) {
            // Most come from few hosts.
            (Some(SocketAddr::V4(last)), Some(object)) if IpAddr::V4(*last.ip()) == address.ip() => {
                let host = object.cast_exact::<PyTuple>()?.get_item(0)?;
                slots::tuple(py, [host, slots::int(py, address.port().into())?])?.into_any()
            }
            _ => address_object(py, address)?,
        };
        self.remember(address, &object);
        Ok(object)
    }

    /// The address that a Python object means, which may be that of the last `sender`; None where only the socket object can tell.
    pub(super) fn receiver(&self, family: Family, object: &Bound<'_, PyAny>, sender: &Last) -> Option<SocketAddr> {
        if sender.object.is(object) {
            return sender.address.get();
        }
        if self.object.is(object) {
            return self.address.get();
        }
        let address = understand(family, object.cast_exact::<PyTuple>().ok()?)?;
        self.remember(address, object);
        Some(address)
    }
}

/// An internet address as Python's socket module shows it.
pub(in crate::selector_events) fn address_object(py: Python<'_>, address: SocketAddr) -> PyResult<Bound<'_, PyAny>> {
    let host = slots::text(py, &datagram::host(address.ip()))?.into_any();
    let int = |number: u32| slots::int(py, number.into());
    Ok(match address {
        SocketAddr::V4(four) => slots::tuple(py, [host, int(four.port().into())?])?.into_any(),
        SocketAddr::V6(six) => {
            let (port, flow, scope) = (int(six.port().into())?, int(six.flowinfo())?, int(six.scope_id())?);
            slots::tuple(py, [host, port, flow, scope])?.into_any()
        }
    })
}

fn understand(family: Family, given: &Bound<'_, PyTuple>) -> Option<SocketAddr> {
    let number = |at: usize| given.get_borrowed_item(at).ok()?.cast_exact::<PyInt>().ok()?.extract::<u32>().ok();
    let host = given.get_borrowed_item(0).ok()?;
    let host = host.cast_exact::<PyString>().ok()?;
    let host = host.to_str().ok()?;
    let port = u16::try_from(number(1)?).ok()?;
    match (family, given.len()) {
        (Family::Four, 2) => Some(SocketAddrV4::new(host.parse::<Ipv4Addr>().ok()?, port).into()),
        (Family::Six, count @ 2..=4) => {
            let flow = if count > 2 { number(2)? } else { 0 };
            let scope = if count > 3 { number(3)? } else { 0 };
            // A flow label has twenty bits.
            (flow < 1 << 20).then_some(())?;
            Some(SocketAddrV6::new(host.parse::<Ipv6Addr>().ok()?, port, flow, scope).into())
        }
        _ => None,
    }
}
