//! `WritePipe`: the writing end of a pipe under a protocol.
//!
//! Called by users, by streams, and by the poller through [`WRITE`], and through [`GONE`] when the other end was closed; calls the
//! protocol to pause and resume it.
//!
//! A write is tried at once when nothing waits before it; what the kernel does not take is copied, and written when the pipe has
//! room. Above the high mark the protocol is paused; it is resumed when everything was written, if that is not above the low mark.
//!
//! A pipe or socket whose reader has gone is reported as readable: that is the end, with BrokenPipeError if bytes were
//! waiting. A character device can be readable at any time, so it is not watched for that.
//!
//! Closing writes what is buffered first. There is no other end of file for a pipe: write_eof() is close().
//!
//! Invariant: no borrow of the buffer is open during a Python call.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;

use engine::buffers::WriteBuffer;
use engine::sys::pipe;
use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyNotImplementedError, PyOSError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use slots::intern;
use slots::{Class, Own, Plain, Ref, Signature, Slot, Spec, arg, class, opt};

use super::{File, PipeTransport, is_would_block, loop_of, os, would_block};
use crate::events::Kind;
use crate::log::logger;
use crate::selector_events::ends::leaves;
use crate::selector_events::flow::Marks;
use crate::selector_events::transport::bytes_of;
use crate::selector_events::watch;
use crate::{exceptions, face};

const WRITE_ERROR: &str = "Fatal write error on pipe transport";

class! {
    /// The writing end of a pipe under a protocol.
    pub struct WritePipe: PipeTransport {
        /// The context to write what waits in.
        write_context: Slot,
        marks: Marks,
        buffer: Plain<RefCell<Option<WriteBuffer>>>,
        conn_lost: Cell<u32>,
        /// The loop watches for room.
        writing: Cell<bool>,
    }
}

fn run(object: &Bound<'_, PyAny>, f: fn(&Ref<'_, WritePipe>) -> PyResult<()>) -> PyResult<()> {
    Ref::<WritePipe>::cast(object).map_or(Ok(()), f)
}

/// The reader has gone.
static GONE: Kind = Kind {
    run: |object, _| run(object, reader_gone),
    event_loop: loop_of,
    context: super::context_of,
    name: "WritePipeGone",
    qualname: Some("_UnixWritePipeTransport._read_ready"),
};

/// The pipe has room.
static WRITE: Kind = Kind {
    run: |object, _| run(object, write_ready),
    event_loop: loop_of,
    context: |object| Ref::<WritePipe>::cast(object)?.write_context.get(object.py()).map(Own::new),
    name: "WritePipeReady",
    qualname: Some("_UnixWritePipeTransport._write_ready"),
};

/// The look-out for the reader's end begins, after connection_made.
static BEGIN: Kind = Kind {
    run: |object, _| {
        run(object, |this| match this.lost.get() {
            // A protocol that closes in connection_made leaves nothing to look out for.
            true => Ok(()),
            false => PipeTransport::watch_reading(this.base(), &GONE),
        })
    },
    event_loop: loop_of,
    context: super::context_of,
    name: "WritePipeBegin",
    qualname: Some("_UnixSelectorEventLoop._add_reader"),
};

fn buffered(this: &WritePipe) -> usize {
    this.buffer.borrow().as_ref().map_or(0, WriteBuffer::len)
}

fn clear(this: &WritePipe) {
    if let Some(buffer) = this.buffer.borrow_mut().as_mut() {
        buffer.clear();
    }
}

fn content(this: &WritePipe) -> Vec<u8> {
    this.buffer.borrow().as_ref().map_or_else(Vec::new, |buffer| buffer.iter().flatten().copied().collect())
}

fn watch_writing(this: &Ref<'_, WritePipe>) -> PyResult<()> {
    let py = this.py();
    this.write_context.set(slots::copy_current(py)?);
    this.writing.set(true);
    let event_loop = this.event_loop.get_or_none(py);
    match PipeTransport::watching(&event_loop) {
        Some(core) => watch::add_writer(&core, this.fd.get(), this.any().clone(), &WRITE),
        None => {
            let ready = this.any().getattr(intern!(py, "_write_ready"))?;
            event_loop.call_method1(intern!(py, "_add_writer"), (this.fd.get(), ready)).map(drop)
        }
    }
}

fn stop_writing(this: &Ref<'_, WritePipe>) -> PyResult<()> {
    let py = this.py();
    let was_writing = this.writing.replace(false);
    this.write_context.unset();
    let event_loop = this.event_loop.get_or_none(py);
    match PipeTransport::watching(&event_loop) {
        Some(core) if was_writing => watch::remove_writer(&core, this.fd.get()).map(drop),
        Some(_) => Ok(()),
        None => event_loop.call_method1(intern!(py, "_remove_writer"), (this.fd.get(),)).map(drop),
    }
}

fn maybe_pause_protocol(this: &Ref<'_, WritePipe>) -> PyResult<()> {
    this.marks.grown(buffered(this), || PipeTransport::ends(this.base()))
}

fn maybe_resume_protocol(this: &Ref<'_, WritePipe>) -> PyResult<()> {
    this.marks.shrunk(buffered(this), || PipeTransport::ends(this.base()))
}

/// Writes bytes, or keeps what the kernel does not take.
fn write<'py>(this: &Ref<'py, WritePipe>, data: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    if let Ok(bytes) = data.cast_exact::<PyBytes>() {
        return write_bytes(this, bytes);
    }
    if !data.is_instance_of::<PyBytes>()
        && !data.is_instance_of::<PyByteArray>()
        && !data.is_instance_of::<PyMemoryView>()
    {
        return Err(PyAssertionError::new_err(data.repr()?.to_string()));
    }
    if !data.is_truthy()? {
        return Ok(());
    }
    match bytes_of(data) {
        Ok(bytes) => write_bytes(this, &bytes),
        Err(error) if leaves(py, &error) => Err(error),
        Err(_) if buffered(this) > 0 => {
            // What a bytearray says, which asyncio's buffer is.
            Err(PyTypeError::new_err(format!("can't concat {} to bytearray", data.get_type().name()?)))
        }
        // Of a memoryview that is not contiguous a pipe does not take a byte.
        Err(error) if this.conn_lost.get() == 0 && !this.closing.get() => write_failed(this, error),
        Err(_) => write_lost(this),
    }
}

/// A write to a pipe that is closing or gone: nothing but a warning, when there are many.
#[cold]
fn write_lost(this: &Ref<'_, WritePipe>) -> PyResult<()> {
    let py = this.py();
    let threshold: u32 = face(py, "constants")?.getattr(intern!(py, "LOG_THRESHOLD_FOR_CONNLOST_WRITES"))?.extract()?;
    if this.conn_lost.get() >= threshold {
        let logger = logger(py, "unix_events")?;
        let text = "pipe closed by peer or os.write(pipe, data) raised exception.";
        logger.log("warning", (text,))?;
    }
    this.conn_lost.set(this.conn_lost.get() + 1);
    Ok(())
}

#[cold]
fn write_failed(this: &Ref<'_, WritePipe>, error: PyErr) -> PyResult<()> {
    this.conn_lost.set(this.conn_lost.get() + 1);
    PipeTransport::fatal_error(this.base(), error, WRITE_ERROR)
}

/// One write; None if it would block. `os.write` where that is somebody's own.
fn try_write<'py>(
    this: &Ref<'py, WritePipe>,
    data: impl FnOnce() -> Bound<'py, PyAny>,
    native: impl FnOnce(i32) -> std::io::Result<usize>,
) -> PyResult<Option<usize>> {
    let py = this.py();
    if this.through_os.get() {
        return match os(py)?.call_method1(intern!(py, "write"), (this.fd.get(), data())) {
            Ok(count) => count.extract().map(Some),
            Err(error) if is_would_block(py, &error) => Ok(None),
            Err(error) => Err(error),
        };
    }
    match native(PipeTransport::descriptor(this.base())) {
        Ok(count) => Ok(Some(count)),
        Err(error) if would_block(&error) => Ok(None),
        Err(error) => Err(exceptions::os_error(py, error)),
    }
}

fn write_bytes<'py>(this: &Ref<'py, WritePipe>, data: &Bound<'py, PyBytes>) -> PyResult<()> {
    let py = this.py();
    let mut rest = data.as_bytes();
    if rest.is_empty() {
        return Ok(());
    }
    if this.conn_lost.get() > 0 || this.closing.get() {
        return write_lost(this);
    }
    if buffered(this) == 0 {
        match try_write(this, || data.clone().into_any(), |fd| pipe::write(fd, rest)) {
            Ok(Some(count)) if count >= rest.len() => return Ok(()),
            Ok(count) => rest = &rest[count.unwrap_or(0)..],
            Err(error) if leaves(py, &error) => return Err(error),
            Err(error) => return write_failed(this, error),
        }
        watch_writing(this)?;
    }
    this.buffer.borrow_mut().get_or_insert_with(WriteBuffer::new).push(rest);
    maybe_pause_protocol(this)
}

fn write_ready(this: &Ref<'_, WritePipe>) -> PyResult<()> {
    let py = this.py();
    // An event that was queued before the transport was aborted finds nothing.
    if buffered(this) == 0 {
        return Ok(());
    }
    let written = try_write(
        this,
        || PyByteArray::new(py, &content(this)).into_any(),
        |fd| match this.buffer.borrow_mut().as_mut() {
            Some(buffer) => buffer.flush_to(|slices| pipe::write_slices(fd, slices)),
            None => Ok(0),
        },
    );
    match written {
        Ok(Some(count)) if this.through_os.get() => {
            if let Some(buffer) = this.buffer.borrow_mut().as_mut() {
                buffer.flush_to(|_| Ok(count))?;
            }
        }
        Ok(_) => {}
        Err(error) if leaves(py, &error) => return Err(error),
        Err(error) => {
            clear(this);
            stop_writing(this)?;
            return write_failed(this, error);
        }
    }
    if buffered(this) > 0 {
        return Ok(());
    }
    stop_writing(this)?;
    // The protocol may write more when it is resumed, or abort.
    maybe_resume_protocol(this)?;
    if this.closing.get() && !this.lost.get() {
        PipeTransport::stop_reading(this.base())?;
        let none = py.None().into_bound(py);
        return PipeTransport::call_connection_lost(this.base(), &none);
    }
    Ok(())
}

/// The other end was closed.
fn reader_gone(this: &Ref<'_, WritePipe>) -> PyResult<()> {
    let py = this.py();
    if this.lost.get() || !this.pipe.is_set() {
        return Ok(());
    }
    PipeTransport::log(this.base(), "info", "%r was closed by peer")?;
    if buffered(this) > 0 {
        let broken = PyBrokenPipeError::new_err(()).into_value(py).into_bound(py).into_any();
        return close_by_name(this, &broken);
    }
    close_by_name(this, &py.None().into_bound(py))
}

fn close_with<'py>(this: &Ref<'py, WritePipe>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    this.closing.set(true);
    if this.lost.get() || !this.event_loop.is_set() {
        return Ok(());
    }
    if buffered(this) > 0 {
        stop_writing(this)?;
        clear(this);
    }
    PipeTransport::stop_reading(this.base())?;
    PipeTransport::schedule_lost(this.base(), error)
}

/// `_close`, by attribute where the instance may have its own.
fn close_by_name<'py>(this: &Ref<'py, WritePipe>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    match this.own_attributes.get() {
        true => this.any().call_method1(intern!(this.py(), "_close"), (error,)).map(drop),
        false => close_with(this, error),
    }
}

fn write_eof(this: &Ref<'_, WritePipe>) -> PyResult<()> {
    if this.closing.get() {
        return Ok(());
    }
    if !this.pipe.is_set() {
        return Err(PyAssertionError::new_err(()));
    }
    this.closing.set(true);
    if buffered(this) > 0 {
        return Ok(());
    }
    PipeTransport::stop_reading(this.base())?;
    let none = this.py().None().into_bound(this.py());
    PipeTransport::schedule_lost(this.base(), &none)
}

fn not_implemented(_: &Ref<'_, WritePipe>) -> PyResult<()> {
    Err(PyNotImplementedError::new_err(()))
}

impl WritePipe {
    /// A transport for the writing end of a pipe; connection_made and the waiter are scheduled.
    pub(super) fn create<'py>(
        py: Python<'py>,
        given: [&Bound<'py, PyAny>; 3],
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        const REFUSAL: &str = "Pipe transport is only for pipes, sockets and character devices";
        let this = Ref::create(py, WritePipe::default())?;
        let file = PipeTransport::begin(this.base(), given, extra, REFUSAL)?;
        let reading = if file == File::Device { None } else { Some(&BEGIN) };
        PipeTransport::schedule(this.base(), reading, waiter)?;
        Ok(this.into_any())
    }
}

impl Class for WritePipe {
    const NAME: &'static CStr = c"rasyncio.unix_events._UnixWritePipeTransport";
    const DOC: &'static CStr = c"The writing end of a pipe under a protocol; see asyncio's reference of transports.";
    const DICT: bool = true;
    const CALLABLE: bool = false;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.pipe.is_set()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        PipeTransport::warn_and_close(this.base())
    }

    fn define(spec: &mut Spec<Self>) {
        const FATAL: Signature<2> =
            Signature::method("_UnixWritePipeTransport._fatal_error", [arg("exc"), opt("message")]);
        const CLOSE: Signature<1> = Signature::method("_UnixWritePipeTransport._close", [opt("exc")]);
        spec.repr(|this| {
            PipeTransport::repr(this.base(), || {
                let state = if this.writing.get() { "polling" } else { "idle" };
                format!(" {state} bufsize={}", buffered(this))
            })
        })
        .get(c"__class__", c"", |this| {
            face(this.py(), "unix_events")?.getattr(slots::Text("_UnixWritePipeTransport")).map(Own::new)
        })
        .method1_named(
            c"write",
            c"write($self, /, data)\n--\n\nWrite bytes, or keep them until they can be written.",
            || ("_UnixWritePipeTransport.write", "data"),
            write,
        )
        .method1_named(
            c"writelines",
            c"writelines($self, /, list_of_data)\n--\n\nWrite all of an iterable of bytes.",
            || ("WriteTransport.writelines", "list_of_data"),
            |this, list| {
                let py = this.py();
                let joined = slots::bytes(py, b"")?.call_method1(intern!(py, "join"), (list,))?;
                write(this, &joined)
            },
        )
        .method0(c"write_eof", c"write_eof($self, /)\n--\n\nClose the pipe after what is written.", write_eof)
        .method0(c"can_write_eof", c"can_write_eof($self, /)\n--\n\nTrue: closing a pipe is its end.", |_| Ok(true))
        .method0(
            c"close",
            c"close($self, /)\n--\n\nClose the pipe after what is written; connection_lost(None) is called then.",
            |this| {
                if !this.pipe.is_set() || this.closing.get() {
                    return Ok(());
                }
                match this.own_attributes.get() {
                    true => this.any().call_method0(intern!(this.py(), "write_eof")).map(drop),
                    false => write_eof(this),
                }
            },
        )
        .method0(c"abort", c"abort($self, /)\n--\n\nClose the pipe at once; what is not written is lost.", |this| {
            close_by_name(this, &this.py().None().into_bound(this.py()))
        })
        .method(c"_close", c"_close($self, /, exc=None)\n--\n\nabort() with an exception.", |this, args| {
            let [error] = args.parse(&CLOSE)?;
            let none = this.py().None().into_bound(this.py());
            close_with(this, error.unwrap_or(&none))
        })
        .method0(c"is_reading", c"is_reading($self, /)\n--\n\nNot for this end.", not_implemented)
        .method0(c"pause_reading", c"pause_reading($self, /)\n--\n\nNot for this end.", not_implemented)
        .method0(c"resume_reading", c"resume_reading($self, /)\n--\n\nNot for this end.", not_implemented)
        .method1_named(
            c"set_protocol",
            c"set_protocol($self, /, protocol)\n--\n\nTalk to another protocol from now on.",
            || ("_UnixWritePipeTransport.set_protocol", "protocol"),
            |this, protocol| {
                this.protocol.set(protocol.clone());
                Ok(())
            },
        )
        .method0(
            c"get_write_buffer_size",
            c"get_write_buffer_size($self, /)\n--\n\nHow many bytes wait to be written.",
            |this| Ok(buffered(this)),
        )
        .method0(
            c"get_write_buffer_limits",
            c"get_write_buffer_limits($self, /)\n--\n\nThe marks (low, high), in bytes.",
            |this| this.marks.limits(this.py()),
        )
        .method(
            c"set_write_buffer_limits",
            c"set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n\
            Above high bytes the protocol is paused; it is resumed when all is written.",
            |this, args| {
                this.marks.set(args)?;
                maybe_pause_protocol(this)
            },
        )
        .method0(c"_read_ready", c"_read_ready($self, /)\n--\n\nThe reader has gone.", reader_gone)
        .method0(c"_write_ready", c"_write_ready($self, /)\n--\n\nWrite what waits.", write_ready)
        .method(
            c"_fatal_error",
            c"_fatal_error($self, /, exc, message='Fatal error on pipe transport')\n--\n\nReport an error and close.",
            |this, args| {
                let py = this.py();
                let [Some(exception), message] = args.parse(&FATAL)? else { return Ok(()) };
                let usual = intern!(py, "Fatal error on pipe transport").object()?.as_any();
                let is_expected = exception.is_instance_of::<PyOSError>();
                PipeTransport::report(this.base(), exception, message.unwrap_or(usual), is_expected)?;
                close_by_name(this, exception)
            },
        )
        .get_set(
            c"_buffer",
            c"A copy of the bytes that wait to be written.",
            |this| Ok(Own::new(PyByteArray::new(this.py(), &content(this)).into_any())),
            |this, value| {
                let bytes = value.map(bytes_of).transpose()?;
                clear(this);
                if let Some(bytes) = bytes {
                    this.buffer.borrow_mut().get_or_insert_with(WriteBuffer::new).push(bytes.as_bytes());
                }
                Ok(())
            },
        )
        .get(c"_conn_lost", c"", |this| Ok(this.conn_lost.get()))
        .get(c"_protocol_paused", c"", |this| Ok(this.marks.is_paused()));
    }
}
