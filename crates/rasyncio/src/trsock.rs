//! trsock: `TransportSocket`, what a transport shows of its socket (asyncio.trsock).
//!
//! Called by users through `get_extra_info('socket')`; calls the real socket. Only what cannot disturb the transport is there:
//! no reading, no writing, no closing.

use std::ffi::CStr;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, arg, class};

class! {
    /// What a transport shows of its socket.
    pub struct TransportSocket { socket: Slot }
}

fn call(this: &Ref<'_, TransportSocket>, name: &str, args: &Args<'_, '_>) -> PyResult<Own> {
    let py = this.py();
    let positional = slots::tuple(py, args.positional().iter().cloned())?;
    let socket = this.socket.get_or_none(py);
    socket.getattr(slots::Text(name))?.call(positional, args.keywords()?.as_ref()).map(Own::new)
}

fn attribute(this: &Ref<'_, TransportSocket>, name: &str) -> PyResult<Own> {
    this.socket.get_or_none(this.py()).getattr(slots::Text(name)).map(Own::new)
}

impl Class for TransportSocket {
    const NAME: &'static CStr = c"rasyncio.trsock.TransportSocket";
    const DOC: &'static CStr = c"TransportSocket(sock)\n--\n\nWhat a transport shows of its socket: questions and options, no reading, writing or closing.";

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<1> = Signature::method("TransportSocket.__init__", [arg("sock")]);
        spec.init(|this, args| {
            if let [Some(socket)] = args.parse(&INIT)? {
                this.socket.set(socket.clone());
            }
            Ok(())
        })
        .get(c"family", c"The socket's family.", |this| attribute(this, "family"))
        .get(c"type", c"The socket's type.", |this| attribute(this, "type"))
        .get(c"proto", c"The socket's protocol.", |this| attribute(this, "proto"))
        .get(c"_sock", c"", |this| Ok(this.socket.get(this.py()).map(Own::new)))
        .method(c"dup", c"dup($self, /)\n--\n\nSee socket.dup().", |this, args| call(this, "dup", args))
        .method(c"fileno", c"fileno($self, /)\n--\n\nSee socket.fileno().", |this, args| call(this, "fileno", args))
        .method(c"get_inheritable", c"get_inheritable($self, /)\n--\n\nSee socket.get_inheritable().", |this, args| {
            call(this, "get_inheritable", args)
        })
        .method1_named(
            c"shutdown",
            c"shutdown($self, /, how)\n--\n\nSee socket.shutdown().",
            || ("TransportSocket.shutdown", "how"),
            |this, how| this.socket.get_or_none(this.py()).call_method1(slots::Text("shutdown"), (how,)).map(drop),
        )
        .method(
            c"getsockopt",
            c"getsockopt($self, /, *args, **kwargs)\n--\n\nSee socket.getsockopt().",
            |this, args| call(this, "getsockopt", args),
        )
        .method(
            c"setsockopt",
            c"setsockopt($self, /, *args, **kwargs)\n--\n\nSee socket.setsockopt().",
            |this, args| call(this, "setsockopt", args),
        )
        .method(c"getpeername", c"getpeername($self, /)\n--\n\nSee socket.getpeername().", |this, args| {
            call(this, "getpeername", args)
        })
        .method(c"getsockname", c"getsockname($self, /)\n--\n\nSee socket.getsockname().", |this, args| {
            call(this, "getsockname", args)
        })
        .method(c"getsockbyname", c"getsockbyname($self, /)\n--\n\nSee socket.getsockbyname().", |this, args| {
            call(this, "getsockbyname", args)
        })
        .method1_named(
            c"settimeout",
            c"settimeout($self, /, value)\n--\n\n0 is accepted: the socket is non-blocking, and stays so.",
            || ("TransportSocket.settimeout", "value"),
            |_, value| {
                if value.eq(0)? {
                    Ok(())
                } else {
                    Err(PyValueError::new_err("settimeout(): only 0 timeout is allowed on transport sockets"))
                }
            },
        )
        .method0(c"gettimeout", c"gettimeout($self, /)\n--\n\nAlways 0.", |_| Ok(0i32))
        .method1_named(
            c"setblocking",
            c"setblocking($self, /, flag)\n--\n\nFalse is accepted: the socket is non-blocking, and stays so.",
            || ("TransportSocket.setblocking", "flag"),
            |_, flag| {
                if flag.is_truthy()? {
                    Err(PyValueError::new_err("setblocking(): transport sockets cannot be blocking"))
                } else {
                    Ok(())
                }
            },
        )
        .method0(c"__getstate__", c"__getstate__($self, /)\n--\n\nAlways a TypeError.", |_| {
            Err::<(), _>(PyTypeError::new_err("Cannot serialize asyncio.TransportSocket object"))
        })
        .repr(repr);
    }
}

fn repr(this: &Ref<'_, TransportSocket>) -> PyResult<String> {
    let py = this.py();
    let socket = this.socket.get_or_none(py);
    let fd: i64 = socket.call_method0(intern!(py, "fileno"))?.extract()?;
    let mut text = format!(
        "<asyncio.TransportSocket fd={fd}, family={}, type={}, proto={}",
        socket.getattr(intern!(py, "family"))?.str()?,
        socket.getattr(intern!(py, "type"))?.str()?,
        socket.getattr(intern!(py, "proto"))?.str()?
    );
    if fd != -1 {
        for (name, method) in [("laddr", "getsockname"), ("raddr", "getpeername")] {
            match socket.call_method0(slots::Text(method)) {
                Ok(address) if address.is_truthy()? => text.push_str(&format!(", {name}={}", address.str()?)),
                Ok(_) => {}
                Err(error) if error.is_instance_of::<pyo3::exceptions::PyOSError>(py) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(text + ">")
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<TransportSocket>(module)
}
