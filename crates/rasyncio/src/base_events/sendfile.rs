//! Sending files: `sock_sendfile` and `sendfile`, and how a file is sent without the kernel's help.
//!
//! Called by the shells on the face; calls the loop's own `_sock_sendfile_native`, `_sendfile_native` and their fallbacks by
//! attribute, so that loops which override them are heeded. The native ways are those of `selector_events` and `unix_events`:
//! a loop of this room alone has none.
//!
//! The fallback reads the file in an executor's thread, a block at a time, and sends what it read. Over a transport, the
//! protocol is replaced by a [`FallbackProtocol`] meanwhile: it pauses reading, and waits where the transport says pause.
//!
//! States of a FallbackProtocol: free (a write may go on) <-> paused (a future waits for `resume_writing`) -> restored (the old
//! protocol is back). What happens to the connection is told to the old protocol in any state.
//!
//! Invariants: the file's position tells what was sent, however the sending ends, if anything was. The protocol is
//! restored on every way out, cancellation included.
//!
//! A future that was cancelled with its waiter is left alone when the transport resumes or is lost; asyncio has an
//! InvalidStateError reported there. asyncio does not restore the protocol if the file cannot be told its position.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::{PyConnectionError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyInt, PyMemoryView, PyModule, PySlice};
use slots::intern;
use slots::{Args, Class, Co, Kept, Own, Ref, Signature, Slot, Spec, arg, class};

use super::{BaseEventLoop, create_future};
use crate::{exceptions, face};

/// How much of a file is read at once for a transport; for a socket it is a name of `constants`.
const TRANSPORT_BLOCK: usize = 16 * 1024;

fn whole<'py>(args: &Args<'_, 'py>) -> PyResult<[Bound<'py, PyAny>; 4]> {
    match args.positional() {
        [target, file, offset, count] => Ok([target, file, offset, count].map(Clone::clone)),
        _ => Err(PyTypeError::new_err("a target, a file, an offset and a count are expected")),
    }
}

/// Whether sendfile is not there for this combination, by what a native way raised.
fn unavailable(co: &Co, error: &PyErr) -> bool {
    let py = co.py();
    exceptions::sendfile_not_available_error(py).is_ok_and(|class| error.is_instance(py, class))
}

/// `_check_sendfile_params`: the arguments, in asyncio's order.
fn check_parameters<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<()> {
    let py = this.py();
    const SIGNATURE: Signature<4> = Signature::method(
        "BaseEventLoop._check_sendfile_params",
        [arg("sock"), arg("file"), arg("offset"), arg("count")],
    );
    let [Some(socket), Some(file), Some(offset), Some(count)] = args.parse(&SIGNATURE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    let binary = intern!(py, "b").object()?.as_any();
    let mode = file.getattr_opt(intern!(py, "mode"))?.unwrap_or_else(|| binary.clone());
    if !mode.contains(binary)? {
        return Err(PyValueError::new_err("file should be opened in binary mode"));
    }
    let stream = face(py, "base_events")?.getattr(intern!(py, "socket"))?.getattr(intern!(py, "SOCK_STREAM"))?;
    if !socket.getattr(intern!(py, "type"))?.eq(stream)? {
        return Err(PyValueError::new_err("only SOCK_STREAM type sockets are supported"));
    }
    if !count.is_none() {
        let text = || -> PyResult<String> { Ok(format!("count must be a positive integer (got {})", count.repr()?)) };
        if !count.is_instance_of::<PyInt>() {
            return Err(PyTypeError::new_err(text()?));
        }
        if count.le(0)? {
            return Err(PyValueError::new_err(text()?));
        }
    }
    let text = || -> PyResult<String> { Ok(format!("offset must be a non-negative integer (got {})", offset.repr()?)) };
    if !offset.is_instance_of::<PyInt>() {
        return Err(PyTypeError::new_err(text()?));
    }
    if offset.lt(0)? {
        return Err(PyValueError::new_err(text()?));
    }
    Ok(())
}

/// Asks one of the loop's own ways to send, and awaits it.
async fn ask(co: &Co, event_loop: Kept, way: &'static str, given: [Kept; 4]) -> PyResult<Own> {
    let sending = {
        let [target, file, offset, count] = given.map(|kept| co.get(kept));
        co.keep(co.get(event_loop).call_method1(slots::Text(way), (target, file, offset, count))?)
    };
    co.wait(sending).await
}

/// The body of `sock_sendfile()`.
fn sock_sendfile<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [socket, file, offset, count, fallback] = args.positional() else {
        return Err(PyTypeError::new_err("_sock_sendfile() takes five arguments"));
    };
    if this.debug.get() && socket.call_method0(intern!(py, "gettimeout"))?.ne(0)? {
        return Err(PyValueError::new_err("the socket must be non-blocking"));
    }
    face(py, "base_events")?.call_method1(intern!(py, "_check_ssl_socket"), (socket,))?;
    this.any().call_method1(intern!(py, "_check_sendfile_params"), (socket, file, offset, count))?;
    let kept = [this.any(), socket, file, offset, count, fallback].map(Clone::clone);
    slots::coroutine(py, "BaseEventLoop.sock_sendfile", kept, |co, kept| async move {
        let [event_loop, socket, file, offset, count, fallback] = kept;
        let given = [socket, file, offset, count];
        match ask(&co, event_loop, "_sock_sendfile_native", given).await {
            Err(error) if unavailable(&co, &error) => {
                if !co.get(fallback).is_truthy()? {
                    return Err(error);
                }
            }
            other => return other,
        }
        ask(&co, event_loop, "_sock_sendfile_fallback", given).await
    })
}

/// The body of `sendfile()`.
fn sendfile<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [transport, file, offset, count, fallback] = args.positional() else {
        return Err(PyTypeError::new_err("_send_file() takes five arguments"));
    };
    if transport.call_method0(intern!(py, "is_closing"))?.is_truthy()? {
        return Err(PyRuntimeError::new_err("Transport is closing"));
    }
    let modes = face(py, "constants")?.getattr(intern!(py, "_SendfileMode"))?;
    let unsupported = modes.getattr(intern!(py, "UNSUPPORTED"))?;
    let mode = transport.getattr_opt(intern!(py, "_sendfile_compatible"))?.unwrap_or_else(|| unsupported.clone());
    if mode.is(&unsupported) {
        return Err(PyRuntimeError::new_err(format!("sendfile is not supported for transport {}", transport.repr()?)));
    }
    let try_native = mode.is(&modes.getattr(intern!(py, "TRY_NATIVE"))?);
    let kept = [this.any(), transport, file, offset, count, fallback].map(Clone::clone);
    slots::coroutine(py, "BaseEventLoop.sendfile", kept, move |co, kept| async move {
        let [event_loop, transport, file, offset, count, fallback] = kept;
        let given = [transport, file, offset, count];
        if try_native {
            match ask(&co, event_loop, "_sendfile_native", given).await {
                Err(error) if unavailable(&co, &error) => {
                    if !co.get(fallback).is_truthy()? {
                        return Err(error);
                    }
                }
                other => return other,
            }
        }
        if !co.get(fallback).is_truthy()? {
            return Err(PyRuntimeError::new_err(format!(
                "fallback is disabled and native sendfile is not supported for transport {}",
                co.get(transport).repr()?
            )));
        }
        ask(&co, event_loop, "_sendfile_fallback", given).await
    })
}

/// Where a file that is read here goes.
#[derive(Clone, Copy)]
enum Target {
    Socket(Kept),
    /// A transport, and the protocol that stands in for its own.
    Transport(Kept, Kept),
}

/// A file on its way without the kernel's help.
struct Copying {
    event_loop: Kept,
    target: Target,
    file: Kept,
    count: Kept,
    block: Kept,
    buffer: Kept,
    sent: usize,
}

/// Puts the file at its beginning; answers the size of a block and the buffer for it.
fn begin<'py>(
    file: &Bound<'py, PyAny>,
    offset: &Bound<'py, PyAny>,
    count: &Bound<'py, PyAny>,
    most: Bound<'py, PyAny>,
) -> PyResult<[Bound<'py, PyAny>; 2]> {
    let py = file.py();
    // Until 3.13.10 an offset of zero meant where the file is.
    let moves = if slots::VERSION >= (3, 13) { file.hasattr(intern!(py, "seek"))? } else { offset.is_truthy()? };
    if moves {
        file.call_method1(intern!(py, "seek"), (offset,))?;
    }
    let block = if count.is_truthy()? { smaller(count, &most)? } else { most };
    let buffer = py.get_type::<PyByteArray>().call1((&block,))?;
    Ok([block, buffer])
}

fn smaller<'py>(one: &Bound<'py, PyAny>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    Ok(if other.lt(one)? { other.clone() } else { one.clone() })
}

/// The file is told how much of it was sent, if anything was.
fn leave(co: &Co, file: Kept, offset: Kept, sent: usize) -> PyResult<()> {
    let py = co.py();
    let file = co.get(file);
    if sent > 0 && file.hasattr(intern!(py, "seek"))? {
        file.call_method1(intern!(py, "seek"), (co.get(offset).add(sent)?,))?;
    }
    Ok(())
}

impl Copying {
    /// Reads and sends until the end of the file, or until all is sent that was asked for.
    async fn run(&mut self, co: &Co) -> PyResult<()> {
        loop {
            let reading = {
                let py = co.py();
                let count = co.get(self.count);
                if count.is_truthy()? {
                    let block = smaller(&count.sub(self.sent)?, &co.get(self.block))?;
                    if block.le(0)? {
                        return Ok(());
                    }
                    co.change(self.block, block);
                }
                let view = cut(&co.get(self.buffer), co.get(self.block).extract()?)?;
                let read = co.get(self.file).getattr(intern!(py, "readinto"))?;
                let reading =
                    co.get(self.event_loop).call_method1(intern!(py, "run_in_executor"), (py.None(), read, view))?;
                co.keep(reading)
            };
            let read = {
                let read = co.wait(reading).await?;
                let read = read.bind(co.py());
                if !read.is_truthy()? {
                    return Ok(());
                }
                read.extract::<usize>()?
            };
            match self.target {
                Target::Socket(socket) => {
                    let sending = {
                        let data = cut(&co.get(self.buffer), read)?;
                        let arguments = (co.get(socket), data);
                        co.keep(co.get(self.event_loop).call_method1(intern!(co.py(), "sock_sendall"), arguments)?)
                    };
                    co.wait(sending).await?;
                }
                Target::Transport(transport, protocol) => {
                    // From 3.13.10 on the wait comes after the write that makes it necessary.
                    let waits_first = slots::VERSION < (3, 13);
                    if waits_first {
                        drain(co, protocol).await?;
                    }
                    let data = cut(&co.get(self.buffer), read)?;
                    co.get(transport).call_method1(intern!(co.py(), "write"), (data,))?;
                    if !waits_first {
                        drain(co, protocol).await?;
                    }
                }
            }
            self.sent += read;
        }
    }
}

/// The first `length` bytes of a buffer, as a view of it.
fn cut<'py>(buffer: &Bound<'py, PyAny>, length: usize) -> PyResult<Bound<'py, PyAny>> {
    PyMemoryView::from(buffer)?.get_item(PySlice::new(buffer.py(), 0, length as isize, 1))
}

async fn drain(co: &Co, protocol: Kept) -> PyResult<()> {
    let draining = co.keep(co.get(protocol).call_method0(intern!(co.py(), "drain"))?);
    co.wait(draining).await.map(drop)
}

/// `_sock_sendfile_fallback`.
fn copy_to_socket<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [socket, file, offset, count] = whole(args)?;
    let kept = [this.any().clone(), socket, file, offset, count];
    slots::coroutine(py, "BaseEventLoop._sock_sendfile_fallback", kept, |co, kept| async move {
        let [event_loop, socket, file, offset, count] = kept;
        let [block, buffer] = {
            let most = face(co.py(), "constants")?.getattr(intern!(co.py(), "SENDFILE_FALLBACK_READBUFFER_SIZE"))?;
            begin(&co.get(file), &co.get(offset), &co.get(count), most)?.map(|object| co.keep(object))
        };
        let target = Target::Socket(socket);
        let mut copying = Copying { event_loop, target, file, count, block, buffer, sent: 0 };
        let result = copying.run(&co).await;
        leave(&co, file, offset, copying.sent)?;
        result?;
        Ok(Own::new(copying.sent.into_pyobject(co.py())?.into_any()))
    })
}

/// `_sendfile_fallback`.
fn copy_to_transport<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [transport, file, offset, count] = whole(args)?;
    let kept = [this.any().clone(), transport, file, offset, count];
    slots::coroutine(py, "BaseEventLoop._sendfile_fallback", kept, |co, kept| async move {
        let [event_loop, transport, file, offset, count] = kept;
        let ([block, buffer], protocol) = {
            let py = co.py();
            let most = TRANSPORT_BLOCK.into_pyobject(py)?.into_any();
            let begun = begin(&co.get(file), &co.get(offset), &co.get(count), most)?;
            let class = face(py, "base_events")?.getattr(intern!(py, "_SendfileFallbackProtocol"))?;
            let protocol = class.call1((co.get(transport),))?;
            (begun.map(|object| co.keep(object)), co.keep(protocol))
        };
        let target = Target::Transport(transport, protocol);
        let mut copying = Copying { event_loop, target, file, count, block, buffer, sent: 0 };
        let result = copying.run(&co).await;
        let left = leave(&co, file, offset, copying.sent);
        let error = left.and(result).err().map(|error| co.keep_error(error));
        let restoring = co.keep(co.get(protocol).call_method0(intern!(co.py(), "restore"))?);
        co.wait(restoring).await?;
        match error {
            Some(error) => Err(co.error(error)),
            None => Ok(Own::new(copying.sent.into_pyobject(co.py())?.into_any())),
        }
    })
}

class! {
    /// Stands in for a transport's protocol while a file is sent over it.
    pub struct FallbackProtocol {
        transport: Slot,
        protocol: Slot,
        /// While the transport is paused: what a write waits for.
        writable: Slot,
        resumes_reading: Cell<bool>,
        resumes_writing: Cell<bool>,
    }
}

fn loop_of_transport<'py>(this: &Ref<'py, FallbackProtocol>) -> PyResult<Bound<'py, PyAny>> {
    this.transport.get_or_none(this.py()).getattr(intern!(this.py(), "_loop"))
}

fn init(this: &Ref<'_, FallbackProtocol>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<1> = Signature::method("_SendfileFallbackProtocol.__init__", [arg("transp")]);
    let py = this.py();
    let [Some(transport)] = args.parse(&INIT)? else { return Err(PyTypeError::new_err("transp is missing")) };
    if !transport.is_instance(&face(py, "transports")?.getattr(intern!(py, "_FlowControlMixin"))?)? {
        return Err(PyTypeError::new_err("transport should be _FlowControlMixin instance"));
    }
    this.transport.set(transport.clone());
    this.protocol.set(transport.call_method0(intern!(py, "get_protocol"))?);
    this.resumes_reading.set(transport.call_method0(intern!(py, "is_reading"))?.is_truthy()?);
    this.resumes_writing.set(transport.getattr(intern!(py, "_protocol_paused"))?.is_truthy()?);
    transport.call_method0(intern!(py, "pause_reading"))?;
    transport.call_method1(intern!(py, "set_protocol"), (this.any(),))?;
    if this.resumes_writing.get() {
        this.writable.set(create_future(&loop_of_transport(this)?)?);
    }
    Ok(())
}

/// Settles what a write waits for, unless its waiter was cancelled.
fn settle<'py>(waiter: &Bound<'py, PyAny>, method: &str, value: impl IntoPyObject<'py>) -> PyResult<()> {
    if waiter.call_method0(intern!(waiter.py(), "done"))?.is_truthy()? {
        return Ok(());
    }
    waiter.call_method1(slots::Text(method), (value,)).map(drop)
}

fn connection_lost<'py>(this: &Ref<'py, FallbackProtocol>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    if let Some(waiter) = this.writable.get(py) {
        let error = if error.is_none() {
            PyConnectionError::new_err("Connection is closed by peer").into_value(py).into_bound(py).into_any()
        } else {
            error.clone()
        };
        settle(&waiter, "set_exception", error)?;
    }
    this.protocol.get_or_none(py).call_method1(intern!(py, "connection_lost"), (error,)).map(drop)
}

fn restore(this: &Ref<'_, FallbackProtocol>) -> PyResult<()> {
    let py = this.py();
    let (transport, protocol) = (this.transport.get_or_none(py), this.protocol.get_or_none(py));
    transport.call_method1(intern!(py, "set_protocol"), (&protocol,))?;
    if this.resumes_reading.get() {
        transport.call_method0(intern!(py, "resume_reading"))?;
    }
    if let Some(waiter) = this.writable.get(py) {
        waiter.call_method0(intern!(py, "cancel"))?;
    }
    if this.resumes_writing.get() {
        protocol.call_method0(intern!(py, "resume_writing"))?;
    }
    Ok(())
}

fn refuse_data() -> PyErr {
    PyRuntimeError::new_err("Invalid state: reading should be paused")
}

impl Class for FallbackProtocol {
    const NAME: &'static CStr = c"rasyncio.base_events._FallbackProtocol";
    const DOC: &'static CStr = c"_FallbackProtocol(transp)\n--\n\nThe native half of _SendfileFallbackProtocol.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.init(init)
            .method1_named(
                c"connection_made",
                c"connection_made($self, /, transport)\n--\n\nRuntimeError: a connection was there before.",
                || ("_SendfileFallbackProtocol.connection_made", "transport"),
                |_, _| -> PyResult<()> {
                    let text = "Invalid state: connection should have been established already.";
                    Err(PyRuntimeError::new_err(text))
                },
            )
            .method1_named(
                c"connection_lost",
                c"connection_lost($self, /, exc)\n--\n\nWhoever waits, and the old protocol, are told.",
                || ("_SendfileFallbackProtocol.connection_lost", "exc"),
                connection_lost,
            )
            .method0(c"pause_writing", c"pause_writing($self, /)\n--\n\nThe next write waits.", |this| {
                if !this.writable.is_set() {
                    this.writable.set(create_future(&loop_of_transport(this)?)?);
                }
                Ok(())
            })
            .method0(c"resume_writing", c"resume_writing($self, /)\n--\n\nWriting goes on.", |this| {
                match this.writable.take(this.py()) {
                    Some(waiter) => settle(&waiter, "set_result", false),
                    None => Ok(()),
                }
            })
            .method1_named(
                c"data_received",
                c"data_received($self, /, data)\n--\n\nRuntimeError: reading is paused.",
                || ("_SendfileFallbackProtocol.data_received", "data"),
                |_, _| -> PyResult<()> { Err(refuse_data()) },
            )
            .method0(
                c"eof_received",
                c"eof_received($self, /)\n--\n\nRuntimeError: reading is paused.",
                |_| -> PyResult<()> { Err(refuse_data()) },
            )
            .method0(c"_drained", c"_drained($self, /)\n--\n\nWhat drain() waits for, or None.", |this| {
                let py = this.py();
                if this.transport.get_or_none(py).call_method0(intern!(py, "is_closing"))?.is_truthy()? {
                    return Err(PyConnectionError::new_err("Connection closed by peer"));
                }
                Ok(this.writable.get(py).map(Own::new))
            })
            .method0(c"_restore", c"_restore($self, /)\n--\n\nThe body of restore().", restore)
            .get(c"_transport", c"", |this| Ok(this.transport.get(this.py()).map(Own::new)))
            .get(c"_proto", c"", |this| Ok(this.protocol.get(this.py()).map(Own::new)))
            .get(c"_write_ready_fut", c"", |this| Ok(this.writable.get(this.py()).map(Own::new)))
            .get(c"_should_resume_reading", c"", |this| Ok(this.resumes_reading.get()))
            .get(c"_should_resume_writing", c"", |this| Ok(this.resumes_writing.get()));
    }
}

pub(super) fn define(spec: &mut Spec<BaseEventLoop>) {
    spec.method(
        c"_sock_sendfile",
        c"_sock_sendfile($self, sock, file, offset, count, fallback, /)\n--\n\nThe body of sock_sendfile().",
        |this, args| sock_sendfile(this, args).map(Own::new),
    )
    .method(
        c"_send_file",
        c"_send_file($self, transport, file, offset, count, fallback, /)\n--\n\nThe body of sendfile().",
        |this, args| sendfile(this, args).map(Own::new),
    )
    .method(
        c"_copy_to_socket",
        c"_copy_to_socket($self, sock, file, offset, count, /)\n--\n\nThe body of _sock_sendfile_fallback().",
        |this, args| copy_to_socket(this, args).map(Own::new),
    )
    .method(
        c"_copy_to_transport",
        c"_copy_to_transport($self, transp, file, offset, count, /)\n--\n\nThe body of _sendfile_fallback().",
        |this, args| copy_to_transport(this, args).map(Own::new),
    )
    .method(
        c"_check_sendfile_params",
        c"_check_sendfile_params($self, /, sock, file, offset, count)\n--\n\nTypeError or ValueError for what cannot be sent.",
        check_parameters,
    );
}

/// Puts the protocol in the extension module.
pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<FallbackProtocol>(module)
}
