//! Sockets of users: `sock_recv` and its kin.
//!
//! Called by the shells on the face; calls the socket objects' own methods, so that any socket-like object
//! works, and the loop's `_add_reader`/`_add_writer` to wait.
//!
//! A socket call is tried; if it would block, a future waits until the descriptor is ready, and the call is tried again by
//! the task itself. So a cancelled call has received nothing that would be lost, and its watcher is removed on every way out.

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PyTuple};
use slots::intern;
use slots::{Args, Co, Kept, Own, Ref, Spec};

use super::BaseSelectorEventLoop;
use crate::base_events::create_future;
use crate::face;

pub(super) fn would_block(py: Python<'_>, error: &PyErr) -> bool {
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
        let handle = event_loop.call_method1(slots::Text(adds), (fd, set, &future, py.None()))?;
        (fd, co.keep(future), co.keep(handle))
    };
    let waited = co.wait(future).await;
    let py = co.py();
    let handle = co.get(handle);
    // A handle that is cancelled was replaced by somebody else's, which stays.
    if handle.is_none() || !handle.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
        co.get(event_loop).call_method1(slots::Text(removes), (fd,))?;
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
    let arguments = slots::tuple(py, arguments)?.into_any();
    let kept = [this.any().clone(), socket.clone(), arguments];
    slots::coroutine(py, name, kept, move |co, [event_loop, socket, arguments]| async move {
        loop {
            let tried = {
                let arguments = co.get(arguments).cast_into::<PyTuple>()?;
                co.get(socket).call_method1(slots::Text(method), arguments).map(Own::new)
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
            let is = |name: &str| family.eq(module.getattr(slots::Text(name))?);
            if is("AF_INET")? || is("AF_INET6")? {
                let keywords = slots::dict(py)?;
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
            return Err(slots::raise(&py.get_type::<PyOSError>().call1((error, text))?));
        }
        Ok(py.None().into_bound(py).into())
    })
    .map(Own::new)
}

pub(super) fn define(spec: &mut Spec<BaseSelectorEventLoop>) {
    spec.method(c"_sock_recv", c"_sock_recv($self, sock, n, /)\n--\n\nThe body of sock_recv().", |this, args| {
        retried::<1>(this, "BaseSelectorEventLoop.sock_recv", "recv", Way::Read, args)
    })
    .method(
        c"_sock_recv_into",
        c"_sock_recv_into($self, sock, buf, /)\n--\n\nThe body of sock_recv_into().",
        |this, args| retried::<1>(this, "BaseSelectorEventLoop.sock_recv_into", "recv_into", Way::Read, args),
    )
    .method(
        c"_sock_recvfrom",
        c"_sock_recvfrom($self, sock, bufsize, /)\n--\n\nThe body of sock_recvfrom().",
        |this, args| retried::<1>(this, "BaseSelectorEventLoop.sock_recvfrom", "recvfrom", Way::Read, args),
    )
    .method(
        c"_sock_recvfrom_into",
        c"_sock_recvfrom_into($self, sock, buf, nbytes, /)\n--\n\nThe body of sock_recvfrom_into().",
        sock_recvfrom_into,
    )
    .method(
        c"_sock_sendto",
        c"_sock_sendto($self, sock, data, address, /)\n--\n\nThe body of sock_sendto().",
        |this, args| retried::<2>(this, "BaseSelectorEventLoop.sock_sendto", "sendto", Way::Write, args),
    )
    .method(c"_sock_sendall", c"_sock_sendall($self, sock, data, /)\n--\n\nThe body of sock_sendall().", sock_sendall)
    .method(
        c"_sock_connect",
        c"_sock_connect($self, sock, address, /)\n--\n\nThe body of sock_connect().",
        sock_connect,
    )
    .method1_named(
        c"_sock_accept",
        c"_sock_accept($self, /, sock)\n--\n\nThe body of sock_accept().",
        || ("BaseSelectorEventLoop._sock_accept", "sock"),
        sock_accept,
    );
}
