//! `StreamReader`: bytes that came, and who waits for more.
//!
//! Called by whoever feeds: the protocol, or the socket transport straight from the kernel ([`StreamReader::add`]); by users
//! for what they ask of a reader. Calls the transport to pause and resume it.
//!
//! - `reading`: the five ways to read, and how a read waits.
//! - `target`: a large read of exactly so many bytes, which the kernel writes into the bytes object that the read answers.
//!
//! States: open -> eof (no more bytes will come) and, apart from that, an exception that every read raises. The transport is
//! paused while more than twice the limit waits to be read, and resumed when no more than the limit is left.
//!
//! What came in one piece stays one: a read that takes all of it gets that very object. Anything else copies it into the buffer.
//!
//! Invariant: at most one read waits. The buffer is not borrowed across a Python call.
//!
//! The first look at `_buffer` moves the bytes into a bytearray, where they live from then on, so that whatever is done to it is
//! done to the reader. Such a reader copies its content at each read.

mod reading;
mod target;

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use engine::buffers::ReadBuffer;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{
    PyAssertionError, PyNotImplementedError, PyOverflowError, PyStopAsyncIteration, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyInt, PySlice};
use slots::intern;
use slots::{Args, Class, Filling, Own, Plain, Ref, Signature, Slot, Spec, class, opt};

use self::reading::{Goal, begin, begin_until, simple, wait_for_news};
use super::DEFAULT_LIMIT;
use crate::events::{LoopCore, get_event_loop};
use crate::futures::{Future, given};
use crate::mixins::{is_cancelled, set_result};

pub use self::reading::{Reading, quick_read, quick_readexactly, quick_readline};

class! {
    /// Bytes that came, and who waits for more.
    pub struct StreamReader {
        buffer: Plain<RefCell<Option<ReadBuffer>>>,
        /// All the bytes that wait, where they came in one piece; the buffer is empty then.
        piece: Slot,
        /// How many those are.
        piece_size: Cell<usize>,
        /// The bytes that wait, while a large read of exactly so many is being fulfilled; piece and buffer are empty then.
        target: Plain<RefCell<Option<Filling>>>,
        /// The bytearray that holds the bytes since somebody looked at `_buffer`.
        exposed: Slot,
        event_loop: Slot,
        transport: Slot,
        exception: Slot,
        waiter: Slot,
        source_traceback: Slot,
        limit: Cell<usize>,
        /// The limit as it was given, if that was no int or a huge one.
        limit_object: Slot,
        /// How many bytes the read that waits needs at least; it is not woken for fewer.
        wanted: Cell<usize>,
        eof: Cell<bool>,
        paused: Cell<bool>,
    }
}

impl StreamReader {
    fn with<R>(this: &Ref<'_, StreamReader>, f: impl FnOnce(&mut ReadBuffer) -> R) -> PyResult<R> {
        match this.exposed.get(this.py()) {
            Some(exposed) => with_exposed(&exposed, f),
            None => {
                StreamReader::fold(this)?;
                Ok(f(this.buffer.borrow_mut().get_or_insert_with(ReadBuffer::new)))
            }
        }
    }

    /// Puts the piece into the buffer.
    fn fold(this: &Ref<'_, StreamReader>) -> PyResult<()> {
        StreamReader::drop_target(this)?;
        if let Some(piece) = this.piece.take(this.py()) {
            if let Ok(bytes) = piece.cast::<PyBytes>() {
                this.buffer.borrow_mut().get_or_insert_with(ReadBuffer::new).append(bytes.as_bytes());
            }
        }
        Ok(())
    }

    /// The piece, if all that waits is one.
    fn piece<'py>(this: &Ref<'py, StreamReader>) -> Option<Bound<'py, PyBytes>> {
        this.piece.get(this.py())?.cast_into().ok()
    }

    #[inline]
    fn set_piece(&self, bytes: Bound<'_, PyBytes>) {
        self.piece_size.set(bytes.as_bytes().len());
        self.piece.set(bytes.into_any());
    }

    /// Adds bytes as they came.
    pub fn add<'py>(this: &Ref<'py, StreamReader>, bytes: Bound<'py, PyBytes>) -> PyResult<()> {
        if !this.exposed.is_set() && StreamReader::is_empty(this)? {
            this.set_piece(bytes);
            return Ok(());
        }
        StreamReader::with(this, |buffer| buffer.append(bytes.as_bytes()))
    }

    /// How many bytes wait to be read.
    #[inline]
    pub fn len(this: &Ref<'_, StreamReader>) -> PyResult<usize> {
        // A piece is all that there is.
        if this.piece.is_set() {
            return Ok(this.piece_size.get());
        }
        if let Some(exposed) = this.exposed.get(this.py()) {
            return exposed.len();
        }
        Ok(match &*this.target.borrow() {
            Some(target) => target.written(),
            None => this.buffer.borrow().as_ref().map_or(0, ReadBuffer::len),
        })
    }

    /// Whether no byte waits to be read.
    pub fn is_empty(this: &Ref<'_, StreamReader>) -> PyResult<bool> {
        Ok(StreamReader::len(this)? == 0)
    }

    /// `_buffer`, a bytearray from now on.
    fn expose<'py>(this: &Ref<'py, StreamReader>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        if let Some(exposed) = this.exposed.get(py) {
            return Ok(exposed);
        }
        StreamReader::fold(this)?;
        let buffer = this.buffer.borrow_mut().take().unwrap_or_default();
        let exposed = PyByteArray::new(py, buffer.as_slice()).into_any();
        this.exposed.set(exposed.clone());
        Ok(exposed)
    }

    /// A new reader with this limit, in bytes.
    pub fn create<'py>(event_loop: &Bound<'py, PyAny>, limit: usize) -> PyResult<Ref<'py, StreamReader>> {
        let reader = Ref::create(event_loop.py(), StreamReader::default())?;
        reader.limit.set(limit);
        reader.event_loop.set(event_loop.clone());
        Ok(reader)
    }

    /// Takes `count` bytes, or as many as there are.
    fn take<'py>(this: &Ref<'py, StreamReader>, count: usize) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        StreamReader::drop_target(this)?;
        if count >= this.piece_size.get() {
            if let Some(piece) = this.piece.take(py) {
                return Ok(piece);
            }
        }
        let bytes = StreamReader::with(this, |buffer| {
            let bytes = slots::bytes(py, &buffer.as_slice()[..count.min(buffer.len())])?;
            buffer.consume(count);
            PyResult::Ok(bytes)
        })??;
        Ok(bytes.into_any())
    }

    /// Takes all bytes that wait.
    pub fn take_all<'py>(this: &Ref<'py, StreamReader>) -> PyResult<Bound<'py, PyAny>> {
        let count = StreamReader::len(this)?;
        StreamReader::take(this, count)
    }

    /// Goes on with another transport, after start_tls().
    pub fn replace_transport<'py>(this: &Ref<'py, StreamReader>, transport: &Bound<'py, PyAny>) -> PyResult<()> {
        if this.transport.get(this.py()).is_none_or(|t| t.is_none()) {
            return Err(PyAssertionError::new_err("Transport not set"));
        }
        this.transport.set(transport.clone());
        Ok(())
    }

    fn maybe_resume(this: &Ref<'_, StreamReader>) -> PyResult<()> {
        if this.paused.get() && StreamReader::len(this)? <= this.limit.get() {
            this.paused.set(false);
            this.transport.get_or_none(this.py()).call_method0(intern!(this.py(), "resume_reading"))?;
        }
        Ok(())
    }

    /// Whether to wake who waits, with `coming` bytes more, runs no code but ours. Where the transport is paused, that may be somebody's.
    #[inline]
    pub fn wakes_quietly(this: &Ref<'_, StreamReader>, coming: usize) -> bool {
        let most = this.limit.get().saturating_mul(2);
        StreamReader::len(this).is_ok_and(|count| count.saturating_add(coming) <= most)
            && this.waiter.get(this.py()).is_none_or(|waiter| Ref::<Future>::cast_exact(&waiter).is_some())
    }

    fn wake(this: &Ref<'_, StreamReader>) -> PyResult<()> {
        let py = this.py();
        match this.waiter.take(py) {
            Some(waiter) if !is_cancelled(&waiter)? => set_result(&waiter, py.None().into_bound(py)),
            _ => Ok(()),
        }
    }

    /// What is to be done when bytes have come: wake who waits, pause the transport if they are too many.
    pub fn received(this: &Ref<'_, StreamReader>) -> PyResult<()> {
        let count = StreamReader::len(this)?;
        let too_many = count > this.limit.get().saturating_mul(2);
        if count >= this.wanted.get() || too_many {
            StreamReader::wake(this)?;
        }
        if this.paused.get() || !too_many {
            return Ok(());
        }
        let py = this.py();
        let Some(transport) = this.transport.get(py) else { return Ok(()) };
        match transport.call_method0(intern!(py, "pause_reading")) {
            Ok(_) => this.paused.set(true),
            // A transport that cannot be paused is not asked again.
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => this.transport.unset(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Adds bytes.
    pub fn feed<'py>(this: &Ref<'py, StreamReader>, data: &Bound<'py, PyAny>) -> PyResult<()> {
        if this.eof.get() {
            return Err(PyAssertionError::new_err("feed_data after feed_eof"));
        }
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            if bytes.as_bytes().is_empty() {
                return Ok(());
            }
            StreamReader::add(this, bytes.clone())?;
        } else {
            if !data.is_truthy()? {
                return Ok(());
            }
            // Whatever a bytearray takes.
            let bytes = PyByteArray::new(this.py(), b"");
            bytes.call_method1(intern!(this.py(), "extend"), (data,))?;
            let bytes = bytes.to_vec();
            StreamReader::with(this, |buffer| buffer.append(&bytes))?;
        }
        StreamReader::received(this)
    }

    /// No more bytes will come.
    pub fn feed_eof(this: &Ref<'_, StreamReader>) -> PyResult<()> {
        this.eof.set(true);
        StreamReader::wake(this)
    }

    /// Every read raises this from now on.
    pub fn set_exception<'py>(this: &Ref<'py, StreamReader>, exception: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = this.py();
        this.exception.set(exception.clone());
        match this.waiter.take(py) {
            Some(waiter) if !is_cancelled(&waiter)? => {
                waiter.call_method1(intern!(py, "set_exception"), (exception,)).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The exception that every read raises.
    pub fn exception<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.exception.get(py).filter(|e| !e.is_none())
    }

    /// Where the data comes from.
    pub fn set_transport<'py>(this: &Ref<'py, StreamReader>, transport: &Bound<'py, PyAny>) -> PyResult<()> {
        if this.transport.get(this.py()).is_some_and(|t| !t.is_none()) {
            return Err(PyAssertionError::new_err("Transport already set"));
        }
        this.transport.set(transport.clone());
        Ok(())
    }

    /// The traceback of where it was made, in debug mode.
    pub fn source_traceback<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.source_traceback.get(py)
    }
}

/// Does to the bytearray what `f` does to a buffer of the same content.
#[cold]
fn with_exposed<R>(exposed: &Bound<'_, PyAny>, f: impl FnOnce(&mut ReadBuffer) -> R) -> PyResult<R> {
    let array = exposed.cast::<PyByteArray>()?;
    let before = array.to_vec();
    let mut buffer = ReadBuffer::new();
    buffer.append(&before);
    let result = f(&mut buffer);
    if buffer.as_slice() != before {
        let all = PySlice::full(exposed.py());
        array.set_item(all, PyByteArray::new(exposed.py(), buffer.as_slice()))?;
    }
    Ok(result)
}

fn init(this: &Ref<'_, StreamReader>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<2> = Signature::method("StreamReader.__init__", [opt("limit"), opt("loop")]);
    let py = this.py();
    let [limit, event_loop] = args.parse(&INIT)?;
    let limit = match limit {
        Some(limit) if limit.le(0)? => return Err(PyValueError::new_err("Limit cannot be <= 0")),
        Some(limit) => {
            let plain = limit.cast_exact::<PyInt>().ok().and_then(|limit| limit.extract::<usize>().ok());
            match plain {
                Some(_) => this.limit_object.unset(),
                None => this.limit_object.set(limit.clone()),
            }
            plain.map_or_else(|| limit.extract::<f64>().map(|limit| limit as usize), Ok)?
        }
        None => DEFAULT_LIMIT,
    };
    this.limit.set(limit);
    let event_loop = match given(&event_loop) {
        Some(event_loop) => event_loop.clone(),
        None => get_event_loop(py)?,
    };
    let debug = match LoopCore::of(&event_loop) {
        Some(core) => core.debug.get(),
        None => event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy()?,
    };
    if debug {
        if let Some(stack) = crate::format_helpers::extract_stack(py)? {
            this.source_traceback.set(stack);
        }
    }
    this.event_loop.set(event_loop);
    Ok(())
}

/// A number of bytes; None if it is below zero. More than memory has is as much as memory has.
fn size(count: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    if count.lt(0)? {
        return Ok(None);
    }
    match count.extract::<usize>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(count.py()) => Ok(Some(usize::MAX)),
        other => other.map(Some),
    }
}

fn repr(this: &Ref<'_, StreamReader>) -> PyResult<String> {
    let py = this.py();
    let mut text = "<StreamReader".to_owned();
    if !StreamReader::is_empty(this)? {
        text.push_str(&format!(" {} bytes", StreamReader::len(this)?));
    }
    if this.eof.get() {
        text.push_str(" eof");
    }
    if this.limit.get() != DEFAULT_LIMIT {
        match this.limit_object.get(py) {
            Some(limit) => text.push_str(&format!(" limit={}", limit.str()?)),
            None => text.push_str(&format!(" limit={}", this.limit.get())),
        }
    }
    for (name, slot) in [("waiter", &this.waiter), ("exception", &this.exception), ("transport", &this.transport)] {
        if let Some(value) = slot.get(py).filter(|v| !v.is_none()) {
            text.push_str(&format!(" {name}={}", value.repr()?));
        }
    }
    if this.paused.get() {
        text.push_str(" paused");
    }
    Ok(text + ">")
}

impl Class for StreamReader {
    const NAME: &'static CStr = c"rasyncio.streams.StreamReader";
    const DOC: &'static CStr = c"StreamReader(limit=65536, loop=None)\n--\n\n\
        Bytes that come in, read by coroutines. limit is in bytes: the longest line, and half of what is buffered\n\
        before the transport is paused. Not thread-safe.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.init(init)
            .repr(repr)
            .async_iter(|this| Ok(Own::new(this.any().clone())))
            .method0(
                c"exception",
                c"exception($self, /)\n--\n\nThe exception that every read raises, or None.",
                |this| Ok(this.exception.get(this.py()).map(Own::new)),
            )
            .method1_named(
                c"set_exception",
                c"set_exception($self, /, exc)\n--\n\nHave every read raise exc.",
                || ("StreamReader.set_exception", "exc"),
                StreamReader::set_exception,
            )
            .method1_named(
                c"set_transport",
                c"set_transport($self, /, transport)\n--\n\nSay where the data comes from.",
                || ("StreamReader.set_transport", "transport"),
                StreamReader::set_transport,
            )
            .method1_named(
                c"_replace_transport",
                c"_replace_transport($self, /, transport)\n--\n\nSay that the data comes from another transport.",
                || ("StreamReader._replace_transport", "transport"),
                StreamReader::replace_transport,
            )
            .method1_named(
                c"feed_data",
                c"feed_data($self, /, data)\n--\n\nAdd bytes.",
                || ("StreamReader.feed_data", "data"),
                StreamReader::feed,
            )
            .method0(
                c"feed_eof",
                c"feed_eof($self, /)\n--\n\nSay that no more bytes will come.",
                StreamReader::feed_eof,
            )
            .method0(c"at_eof", c"at_eof($self, /)\n--\n\nWhether all was read and no more will come.", |this| {
                Ok(this.eof.get() && StreamReader::is_empty(this)?)
            })
            .method0(
                c"_wakeup_waiter",
                c"_wakeup_waiter($self, /)\n--\n\nWake the read that waits.",
                StreamReader::wake,
            )
            .method0(
                c"_maybe_resume_transport",
                c"_maybe_resume_transport($self, /)\n--\n\nResume the transport if enough was read.",
                StreamReader::maybe_resume,
            )
            .method1(c"_read", c"_read($self, n, /)\n--\n\nread(): the bytes, or the wait for them.", |this, count| {
                match size(count)? {
                    Some(0) if this.exception(this.py()).is_none() => {
                        Ok(Own::new(slots::bytes(this.py(), b"")?.into_any()))
                    }
                    None => begin(this, simple(Goal::All, 0)),
                    Some(count) => begin(this, simple(Goal::Some, count)),
                }
            })
            .method1(
                c"_readexactly",
                c"_readexactly($self, n, /)\n--\n\nreadexactly(): the bytes, or the wait for them.",
                |this, count| match size(count)? {
                    None => Err(PyValueError::new_err("readexactly size can not be less than zero")),
                    Some(count) => begin(this, simple(Goal::Exactly, count)),
                },
            )
            .method1(
                c"_wait_for_news",
                c"_wait_for_news($self, func_name, /)\n--\n\nThe body of _wait_for_data().",
                wait_for_news,
            )
            .method0(c"_readline", c"_readline($self, /)\n--\n\nreadline(): the bytes, or the wait for them.", |this| {
                begin(this, simple(Goal::Line, 0))
            })
            .method1(
                c"_readuntil",
                c"_readuntil($self, separator, /)\n--\n\nreaduntil(): the bytes, or the wait for them.",
                begin_until,
            )
            .method1(
                c"_next_line",
                c"_next_line($self, line, /)\n--\n\nThe line, or StopAsyncIteration if it is empty.",
                |_, line| {
                    if line.len()? == 0 { Err(PyStopAsyncIteration::new_err(())) } else { Ok(Own::new(line.clone())) }
                },
            )
            .get_set(
                c"_buffer",
                c"The bytes that wait to be read, a bytearray.",
                |this| StreamReader::expose(this).map(Own::new),
                |this, value| {
                    let Some(value) = value else { return Err(PyTypeError::new_err("cannot delete attribute")) };
                    StreamReader::drop_target(this)?;
                    this.piece.unset();
                    let old = this.buffer.borrow_mut().take();
                    drop(old);
                    match value.cast::<PyByteArray>() {
                        Ok(_) => this.exposed.set(value.clone()),
                        Err(_) => {
                            let bytes = PyBuffer::<u8>::get(value)?.to_vec(this.py())?;
                            this.exposed.set(PyByteArray::new(this.py(), &bytes).into_any());
                        }
                    }
                    Ok(())
                },
            )
            .get_set(
                c"_limit",
                c"",
                |this| Ok(this.limit.get()),
                |this, value| value.map_or(Ok(()), |v| v.extract().map(|v| this.limit.set(v))),
            )
            .get_set(
                c"_eof",
                c"",
                |this| Ok(this.eof.get()),
                |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.eof.set(v))),
            )
            .get_set(
                c"_paused",
                c"",
                |this| Ok(this.paused.get()),
                |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.paused.set(v))),
            )
            .get_set(
                c"_waiter",
                c"",
                |this| Ok(this.waiter.get(this.py()).map(Own::new)),
                |this, value| {
                    this.wanted.set(0);
                    match value.filter(|v| !v.is_none()) {
                        Some(value) => this.waiter.set(value.clone()),
                        None => this.waiter.unset(),
                    }
                    Ok(())
                },
            )
            .get_set(
                c"_transport",
                c"",
                |this| Ok(this.transport.get(this.py()).map(Own::new)),
                |this, value| {
                    match value.filter(|v| !v.is_none()) {
                        Some(value) => this.transport.set(value.clone()),
                        None => this.transport.unset(),
                    }
                    Ok(())
                },
            )
            .get(c"_exception", c"", |this| Ok(this.exception.get(this.py()).map(Own::new)))
            .get(c"_loop", c"", |this| Ok(this.event_loop.get(this.py()).map(Own::new)))
            .get(c"_source_traceback", c"", |this| Ok(this.source_traceback.get(this.py()).map(Own::new)));
    }
}
