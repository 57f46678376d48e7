//! `FlowControlMixin` and `StreamReaderProtocol`: between a transport and a reader.
//!
//! Called by transports (connection_made, data_received, pause_writing, ...) and by writers that drain; calls the reader, and the
//! user's callback for a new client.
//!
//! The protocol has only a weak reference to its reader, so that a reader that nobody uses goes away with its transport;
//! until the callback of a new client has been called it holds the reader.
//!
//! States of writing: running -> paused (the transport's buffer is above its high mark; drains wait) -> running; then lost
//! (drains raise ConnectionResetError, those that wait get the error or return).

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyConnectionResetError, PyException, PyNotImplementedError};
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, arg, class, opt};

use super::StreamReader;
use crate::base_events::{create_future, create_task};
use crate::events::get_event_loop;
use crate::futures::{Future, Next, State, Wait, given};
use crate::log::logger;
use crate::mixins::{Waiters, is_done, set_result};
use crate::{coroutines, face};

class! {
    /// A protocol whose writers can wait until the transport has room.
    pub struct FlowControl {
        pub(crate) event_loop: Slot,
        drain_waiters: Waiters,
        paused: Cell<bool>,
        connection_lost: Cell<bool>,
    }
}

class! {
    /// Feeds a StreamReader from a transport.
    pub struct StreamReaderProtocol: FlowControl {
        reader: Slot,
        strong_reader: Slot,
        transport: Slot,
        task: Slot,
        callback: Slot,
        closed: Slot,
        source_traceback: Slot,
        over_ssl: Cell<bool>,
        reject_connection: Cell<bool>,
    }
}

fn log_debug(this: &Ref<'_, FlowControl>, text: &str) -> PyResult<()> {
    let py = this.py();
    if this.event_loop.get_or_none(py).call_method0(intern!(py, "get_debug"))?.is_truthy()? {
        let logger = logger(py, "streams")?;
        logger.log("debug", (text, this.any()))?;
    }
    Ok(())
}

fn drained<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = wait.py();
    let owner = wait.owner.get_or_none(py);
    if let (Some(this), Some(future)) = (Ref::<FlowControl>::cast(&owner), wait.future(py)) {
        this.drain_waiters.remove(future.any())?;
    }
    outcome?;
    Ok(Next::Return(py.None().into_bound(py)))
}

impl FlowControl {
    /// What a drain has to wait for; None if there is room.
    pub fn drain(this: &Ref<'_, FlowControl>) -> PyResult<Option<Own>> {
        if this.connection_lost.get() {
            return Err(PyConnectionResetError::new_err("Connection lost"));
        }
        if !this.paused.get() {
            return Ok(None);
        }
        let event_loop = this.event_loop.get_or_none(this.py());
        let waiter = match Ref::<Future>::cast(&create_future(&event_loop)?) {
            Some(waiter) => waiter.clone(),
            None => Future::create(&event_loop)?,
        };
        this.drain_waiters.push(waiter.any())?;
        Wait::create(&waiter, this.any().clone(), None, drained).map(Some)
    }

    fn lose<'py>(this: &Ref<'py, FlowControl>, error: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = this.py();
        this.connection_lost.set(true);
        if !this.paused.get() {
            return Ok(());
        }
        for waiter in this.drain_waiters.all(py)? {
            if is_done(&waiter)? {
                continue;
            }
            if error.is_none() {
                set_result(&waiter, py.None().into_bound(py))?;
            } else {
                waiter.call_method1(intern!(py, "set_exception"), (error,))?;
            }
        }
        Ok(())
    }

    /// What `FlowControlMixin.__init__` does.
    pub fn initialize<'py>(this: &Ref<'py, FlowControl>, event_loop: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        let event_loop = match event_loop {
            Some(event_loop) => event_loop.clone(),
            None => get_event_loop(this.py())?,
        };
        this.event_loop.set(event_loop);
        Ok(())
    }
}

impl Class for FlowControl {
    const NAME: &'static CStr = c"rasyncio.streams._FlowControl";
    const DOC: &'static CStr = c"_FlowControl(loop=None)\n--\n\nThe native half of FlowControlMixin.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<1> = Signature::method("FlowControlMixin.__init__", [opt("loop")]);
        spec.init(|this, args| {
            let [event_loop] = args.parse(&INIT)?;
            FlowControl::initialize(this, given(&event_loop))
        })
        .method0(c"pause_writing", c"pause_writing($self, /)\n--\n\nThe transport's buffer is full.", |this| {
            if this.paused.replace(true) {
                return Err(PyAssertionError::new_err(()));
            }
            log_debug(this, "%r pauses writing")
        })
        .method0(c"resume_writing", c"resume_writing($self, /)\n--\n\nThe transport's buffer has room again.", |this| {
            let py = this.py();
            if !this.paused.replace(false) {
                return Err(PyAssertionError::new_err(()));
            }
            log_debug(this, "%r resumes writing")?;
            for waiter in this.drain_waiters.all(py)? {
                if !is_done(&waiter)? {
                    set_result(&waiter, py.None().into_bound(py))?;
                }
            }
            Ok(())
        })
        .method1_named(
            c"connection_lost",
            c"connection_lost($self, /, exc)\n--\n\nThe connection is no more.",
            || ("StreamReaderProtocol.connection_lost", "exc"),
            FlowControl::lose,
        )
        .method0(c"_drain", c"_drain($self, /)\n--\n\nWhat a drain has to wait for, or None.", FlowControl::drain)
        .method1_named(
            c"_get_close_waiter",
            c"_get_close_waiter($self, /, stream)\n--\n\nFor derived classes.",
            || ("FlowControlMixin._get_close_waiter", "stream"),
            |_, _| Err::<(), _>(PyNotImplementedError::new_err(())),
        )
        .get_set(
            c"_paused",
            c"",
            |this| Ok(this.paused.get()),
            |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.paused.set(v))),
        )
        .get_set(
            c"_drain_waiters",
            c"",
            |this| Ok(Own::new(this.drain_waiters.expose(this.py())?)),
            |this, value| {
                this.drain_waiters.replace(value);
                Ok(())
            },
        )
        .get_set(
            c"_connection_lost",
            c"",
            |this| Ok(this.connection_lost.get()),
            |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.connection_lost.set(v))),
        )
        .get(c"_loop", c"", |this| Ok(this.event_loop.get(this.py()).map(Own::new)));
    }
}

class! {
    /// Called when the task of a client callback is done.
    pub struct ClientTask { transport: Slot, event_loop: Slot }
}

impl Class for ClientTask {
    const NAME: &'static CStr = c"rasyncio.streams._ClientTask";
    const CALLABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.call(|this, args| {
            let py = this.py();
            let (Some(task), Some(transport)) = (args.positional().first(), this.transport.take(py)) else {
                return Ok(());
            };
            if task.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
                return transport.call_method0(intern!(py, "close")).map(drop);
            }
            let exception = task.call_method0(intern!(py, "exception"))?;
            if exception.is_none() {
                return Ok(());
            }
            report(&this.event_loop.get_or_none(py), &transport, exception)
        });
    }
}

/// Reports what a client callback raised, and closes its transport.
fn report<'py>(
    event_loop: &Bound<'py, PyAny>,
    transport: &Bound<'py, PyAny>,
    exception: Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = event_loop.py();
    let details = slots::dict(py)?;
    details.set_item(intern!(py, "message"), "Unhandled exception in client_connected_cb")?;
    details.set_item(intern!(py, "exception"), exception)?;
    details.set_item(intern!(py, "transport"), transport)?;
    event_loop.call_method1(intern!(py, "call_exception_handler"), (details,))?;
    transport.call_method0(intern!(py, "close")).map(drop)
}

impl StreamReaderProtocol {
    /// The reader, if it is still there.
    pub fn reader<'py>(this: &Ref<'py, StreamReaderProtocol>) -> Option<Bound<'py, PyAny>> {
        let reference = this.reader.get(this.py())?;
        reference.cast::<PyWeakrefReference>().ok()?.upgrade()
    }

    /// The reader as a native one, if it is still there.
    pub fn native_reader<'py>(this: &Ref<'py, StreamReaderProtocol>) -> Option<Ref<'py, StreamReader>> {
        StreamReaderProtocol::reader(this).and_then(|reader| Ref::<StreamReader>::cast(&reader).cloned())
    }

    fn event_loop<'py>(this: &Ref<'py, StreamReaderProtocol>) -> Bound<'py, PyAny> {
        this.event_loop.get_or_none(this.py())
    }
}

fn init(this: &Ref<'_, StreamReaderProtocol>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<3> = Signature::method(
        "StreamReaderProtocol.__init__",
        [arg("stream_reader"), opt("client_connected_cb"), opt("loop")],
    );
    let py = this.py();
    let [reader, callback, event_loop] = args.parse(&INIT)?;
    FlowControl::initialize(this.base(), given(&event_loop))?;
    if let Some(reader) = given(&reader) {
        this.reader.set(PyWeakrefReference::new(reader)?.into_any());
        if let Some(native) = Ref::<StreamReader>::cast(reader) {
            if let Some(stack) = native.source_traceback(py) {
                this.source_traceback.set(stack);
            }
        }
        if given(&callback).is_some() {
            this.strong_reader.set(reader.clone());
        }
    }
    if let Some(callback) = given(&callback) {
        this.callback.set(callback.clone());
    }
    this.closed.set(create_future(&StreamReaderProtocol::event_loop(this))?);
    Ok(())
}

fn connection_made<'py>(this: &Ref<'py, StreamReaderProtocol>, transport: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let event_loop = StreamReaderProtocol::event_loop(this);
    if this.reject_connection.get() {
        let details = slots::dict(py)?;
        details.set_item(
            intern!(py, "message"),
            "An open stream was garbage collected prior to establishing network connection; \
             call \"stream.close()\" explicitly.",
        )?;
        if let Some(stack) = this.source_traceback.get(py) {
            details.set_item(intern!(py, "source_traceback"), stack)?;
        }
        event_loop.call_method1(intern!(py, "call_exception_handler"), (details,))?;
        return transport.call_method0(intern!(py, "abort")).map(drop);
    }
    this.transport.set(transport.clone());
    let reader = StreamReaderProtocol::reader(this);
    if let Some(reader) = &reader {
        reader.call_method1(intern!(py, "set_transport"), (transport,))?;
    }
    let tls = transport.call_method1(intern!(py, "get_extra_info"), ("sslcontext",))?;
    this.over_ssl.set(!tls.is_none());
    let Some(callback) = this.callback.get(py) else { return Ok(()) };
    let reader = reader.unwrap_or_else(|| py.None().into_bound(py));
    let writer = face(py, "streams")?.getattr(intern!(py, "StreamWriter"))?;
    let writer = writer.call1((transport, this.any(), &reader, &event_loop))?;
    let result = match callback.call1((reader, writer)) {
        // 3.14.8 closes the connection of a plain function that raised, as that of a coroutine; 3.15.0 does not yet.
        Err(error) if slots::VERSION == (3, 14) && error.is_instance_of::<PyException>(py) => {
            slots::excepting(py, error, |error| report(&event_loop, transport, error.clone()))?;
            this.strong_reader.unset();
            return Ok(());
        }
        result => result?,
    };
    if coroutines::is_coroutine(&result)? {
        let task = create_task(&event_loop, &result, None)?;
        let done = ClientTask { transport: Slot::of(transport.clone()), event_loop: Slot::of(event_loop) };
        task.call_method1(intern!(py, "add_done_callback"), (Ref::create(py, done)?.into_any(),))?;
        this.task.set(task);
    }
    this.strong_reader.unset();
    Ok(())
}

fn connection_lost<'py>(this: &Ref<'py, StreamReaderProtocol>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    if let Some(reader) = StreamReaderProtocol::reader(this) {
        if error.is_none() {
            reader.call_method0(intern!(py, "feed_eof"))?;
        } else {
            reader.call_method1(intern!(py, "set_exception"), (error,))?;
        }
    }
    if let Some(closed) = this.closed.get(py) {
        if !is_done(&closed)? {
            if error.is_none() {
                set_result(&closed, py.None().into_bound(py))?;
            } else {
                closed.call_method1(intern!(py, "set_exception"), (error,))?;
            }
        }
    }
    FlowControl::lose(this.base(), error)?;
    for slot in [&this.reader, &this.task, &this.transport] {
        slot.unset();
    }
    Ok(())
}

impl Class for StreamReaderProtocol {
    const NAME: &'static CStr = c"rasyncio.streams._StreamReaderProtocol";
    const DOC: &'static CStr = c"_StreamReaderProtocol(stream_reader, client_connected_cb=None, loop=None)\n--\n\n\
        The native half of StreamReaderProtocol.";
    const DICT: bool = true;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.closed.is_set()
    }

    /// Marks an exception of the close waiter as seen.
    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let py = this.py();
        if let Some(closed) = this.closed.get(py) {
            match Ref::<Future>::cast_exact(&closed) {
                Some(native) if native.state() == State::Finished => drop(Future::exception(native)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn define(spec: &mut Spec<Self>) {
        spec.init(init)
            .method1_named(
                c"connection_made",
                c"connection_made($self, /, transport)\n--\n\nThe connection is there; a server's callback is called.",
                || ("StreamReaderProtocol.connection_made", "transport"),
                connection_made,
            )
            .method1_named(
                c"connection_lost",
                c"connection_lost($self, /, exc)\n--\n\nThe connection is no more.",
                || ("StreamReaderProtocol.connection_lost", "exc"),
                connection_lost,
            )
            .method1_named(
                c"data_received",
                c"data_received($self, /, data)\n--\n\nBytes for the reader.",
                || ("StreamReaderProtocol.data_received", "data"),
                |this, data| match StreamReaderProtocol::reader(this) {
                    Some(reader) => reader.call_method1(intern!(this.py(), "feed_data"), (data,)).map(drop),
                    None => Ok(()),
                },
            )
            .method0(
                c"eof_received",
                c"eof_received($self, /)\n--\n\nNo more bytes for the reader; answer whether writing goes on.",
                |this| {
                    if let Some(reader) = StreamReaderProtocol::reader(this) {
                        reader.call_method0(intern!(this.py(), "feed_eof"))?;
                    }
                    Ok(!this.over_ssl.get())
                },
            )
            .method1_named(
                c"_get_close_waiter",
                c"_get_close_waiter($self, /, stream)\n--\n\nThe future of the connection's end.",
                || ("StreamReaderProtocol._get_close_waiter", "stream"),
                |this, _| Ok(this.closed.get(this.py()).map(Own::new)),
            )
            .method1_named(
                c"_replace_transport",
                c"_replace_transport($self, /, transport)\n--\n\nGo on with another transport, after start_tls().",
                || ("StreamReaderProtocol._replace_transport", "transport"),
                |this, transport| {
                    let tls = transport.call_method1(intern!(this.py(), "get_extra_info"), ("sslcontext",))?;
                    this.transport.set(transport.clone());
                    this.over_ssl.set(!tls.is_none());
                    match StreamReaderProtocol::native_reader(this) {
                        Some(reader) => StreamReader::replace_transport(&reader, transport),
                        None => Ok(()),
                    }
                },
            )
            .get(c"_stream_reader", c"", |this| Ok(StreamReaderProtocol::reader(this).map(Own::new)))
            .get(c"_stream_reader_wr", c"", |this| Ok(this.reader.get(this.py()).map(Own::new)))
            .get(c"_transport", c"", |this| Ok(this.transport.get(this.py()).map(Own::new)))
            .get(c"_task", c"", |this| Ok(this.task.get(this.py()).map(Own::new)))
            .get(c"_closed", c"", |this| Ok(this.closed.get(this.py()).map(Own::new)))
            .get(c"_client_connected_cb", c"", |this| Ok(this.callback.get(this.py()).map(Own::new)))
            .get(c"_source_traceback", c"", |this| Ok(this.source_traceback.get(this.py()).map(Own::new)))
            .get_set(
                c"_over_ssl",
                c"",
                |this| Ok(this.over_ssl.get()),
                |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.over_ssl.set(v))),
            )
            .get_set(
                c"_reject_connection",
                c"",
                |this| Ok(this.reject_connection.get()),
                |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.reject_connection.set(v))),
            );
    }
}

class! {
    /// Makes the protocol of each client of `start_server()`.
    pub struct StreamFactory { reader: Slot, protocol: Slot, callback: Slot, limit: Slot, event_loop: Slot }
}

impl Class for StreamFactory {
    const NAME: &'static CStr = c"rasyncio.streams._StreamFactory";

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<5> = Signature::method(
            "_StreamFactory",
            [arg("reader"), arg("protocol"), arg("client_connected_cb"), arg("limit"), arg("loop")],
        );
        spec.init(|this, args| {
            let slots = [&this.reader, &this.protocol, &this.callback, &this.limit, &this.event_loop];
            for (slot, value) in slots.into_iter().zip(args.parse(&INIT)?) {
                if let Some(value) = value {
                    slot.set(value.clone());
                }
            }
            Ok(())
        })
        .call(|this, _| {
            let py = this.py();
            let keywords = slots::dict(py)?;
            let event_loop = this.event_loop.get_or_none(py);
            keywords.set_item(intern!(py, "loop"), &event_loop)?;
            let reader = this.reader.get_or_none(py).call((this.limit.get_or_none(py),), Some(&keywords))?;
            let made = this.protocol.get_or_none(py).call((reader, this.callback.get_or_none(py)), Some(&keywords))?;
            Ok(Own::new(made))
        });
    }
}
