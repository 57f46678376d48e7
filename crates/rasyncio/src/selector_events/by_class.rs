//! Transports that are made by calling asyncio's classes, `_SelectorSocketTransport(loop, sock, protocol, ...)`.
//!
//! Called by the face, where these functions are the `__new__` of the classes of those names: what they answer is the native
//! transport, whose `__class__` is the face's class. Calls what the loop's `_make_*_transport` call; the check whether the
//! descriptor is another transport's is theirs, as in asyncio.
//!
//! Where it differs from CPython: the loop must be one on a poller, ours or derived from it. A transport is native, and takes
//! no loop and no socket that only look like it.

use pyo3::exceptions::{PyNotImplementedError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::{Own, Ref, Signature, add_function, arg, opt};

use super::BaseSelectorEventLoop;
use super::datagram::DatagramTransport;
use super::transport::{Origin, SocketTransport};

fn loop_of<'a, 'py>(event_loop: &'a Bound<'py, PyAny>) -> PyResult<&'a Ref<'py, BaseSelectorEventLoop>> {
    BaseSelectorEventLoop::of(event_loop)
        .ok_or_else(|| PyTypeError::new_err("a transport of rasyncio is made for a BaseSelectorEventLoop of rasyncio"))
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(
        module,
        c"_new_selector_transport",
        c"_new_selector_transport(cls, *args)\n--\n\nNotImplementedError: only the derived classes can be made.",
        |_, _| -> PyResult<()> {
            Err(PyNotImplementedError::new_err(
                "transports are _SelectorSocketTransport and _SelectorDatagramTransport",
            ))
        },
    )?;
    add_function(
        module,
        c"_new_socket_transport",
        c"_new_socket_transport(cls, loop, sock, protocol, waiter=None, extra=None, server=None, context=None)\n--\n\n\
        A transport for a connected socket.",
        |_, args| {
            const SIGNATURE: Signature<8> = Signature::function(
                "_SelectorSocketTransport",
                [
                    arg("cls"),
                    arg("loop"),
                    arg("sock"),
                    arg("protocol"),
                    opt("waiter"),
                    opt("extra"),
                    opt("server"),
                    opt("context"),
                ],
            );
            let [_, Some(event_loop), Some(socket), Some(protocol), rest @ ..] = args.parse(&SIGNATURE)? else {
                return Err(PyTypeError::new_err("an argument is missing"));
            };
            let [waiter, extra, server, context] = rest.map(|value| value.filter(|v| !v.is_none()));
            let event_loop = loop_of(event_loop)?;
            let origin = Origin { waiter, extra, server, context, peer: None };
            let made = SocketTransport::create(event_loop, socket, protocol, origin)?;
            Ok(Own::new(made.into_any()))
        },
    )?;
    add_function(
        module,
        c"_new_datagram_transport",
        c"_new_datagram_transport(cls, loop, sock, protocol, address=None, waiter=None, extra=None)\n--\n\n\
        A transport for a datagram socket.",
        |_, args| {
            const SIGNATURE: Signature<7> = Signature::function(
                "_SelectorDatagramTransport",
                [arg("cls"), arg("loop"), arg("sock"), arg("protocol"), opt("address"), opt("waiter"), opt("extra")],
            );
            let [_, Some(event_loop), Some(socket), Some(protocol), rest @ ..] = args.parse(&SIGNATURE)? else {
                return Err(PyTypeError::new_err("an argument is missing"));
            };
            let [address, waiter, extra] = rest.map(|value| value.filter(|v| !v.is_none()));
            let made = DatagramTransport::create(loop_of(event_loop)?, socket, protocol, address, waiter, extra)?;
            Ok(Own::new(made.into_any()))
        },
    )
}
