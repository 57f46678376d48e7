//! `ReadPipe`: the reading end of a pipe under a protocol.
//!
//! Called by the poller through [`READ`], by `pause_reading` and `resume_reading`; calls the protocol, or for a
//! StreamReaderProtocol of ours the reader itself.
//!
//! One read for each event. A small one goes through memory of the loop's; where the last was large, the kernel writes into
//! the bytes object itself, as for sockets.
//!
//! At the end of the stream eof_received is called, whose answer counts for nothing, and connection_lost(None) after it. An
//! exception of data_received is reported and changes nothing.

use std::cell::Cell;
use std::ffi::CStr;
use std::io;

use engine::buffers::{LARGE, MOST_BYTES, room_after};
use engine::sys::pipe;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use slots::intern;
use slots::{Class, Own, Ref, Signature, Spec, arg, class, opt};

use super::{File, PipeTransport, context_of, has_number, is_would_block, loop_of, os, would_block};
use crate::events::Kind;
use crate::selector_events::BaseSelectorEventLoop;
use crate::streams::{StreamReader, StreamReaderProtocol};
use crate::{exceptions, face};

const READ_ERROR: &str = "Fatal read error on pipe transport";
const EIO: i32 = 5;

class! {
    /// The reading end of a pipe under a protocol.
    pub struct ReadPipe: PipeTransport {
        /// How much the last read took.
        last_read: Cell<usize>,
        paused: Cell<bool>,
        /// The protocol is a StreamReaderProtocol of ours, fed without a call.
        streams: Cell<bool>,
        /// It is a pipe: a read that takes less than it could has taken all. A terminal has lines.
        gives_all: Cell<bool>,
    }
}

fn run(object: &Bound<'_, PyAny>, f: fn(&Ref<'_, ReadPipe>) -> PyResult<()>) -> PyResult<()> {
    Ref::<ReadPipe>::cast(object).map_or(Ok(()), f)
}

/// There is something to read.
static READ: Kind = Kind {
    run: |object, _| run(object, read_ready),
    event_loop: loop_of,
    // A stream reader's waiters have contexts of their own.
    context: |object| match Ref::<ReadPipe>::cast(object) {
        Some(this) if this.streams.get() => None,
        _ => context_of(object),
    },
    name: "ReadPipeReady",
    qualname: Some("_UnixReadPipeTransport._read_ready"),
};

/// Reading begins, after connection_made.
static BEGIN: Kind = Kind {
    run: |object, _| {
        run(object, |this| match is_reading(this) {
            true => PipeTransport::watch_reading(this.base(), &READ),
            false => Ok(()),
        })
    },
    event_loop: loop_of,
    context: context_of,
    name: "ReadPipeBegin",
    qualname: Some("_UnixReadPipeTransport._add_reader"),
};

fn is_reading(this: &Ref<'_, ReadPipe>) -> bool {
    !this.paused.get() && !this.closing.get()
}

fn set_protocol<'py>(this: &Ref<'py, ReadPipe>, protocol: &Bound<'py, PyAny>) -> PyResult<()> {
    let native = match Ref::<StreamReaderProtocol>::cast(protocol) {
        Some(_) => protocol.get_type().getattr(slots::Text("data_received"))?.get_type().name()? == "method_descriptor",
        None => false,
    };
    this.streams.set(native);
    this.protocol.set(protocol.clone());
    Ok(())
}

fn read_ready(this: &Ref<'_, ReadPipe>) -> PyResult<()> {
    // An event that was queued before reading was paused finds nobody.
    if !is_reading(this) || !this.pipe.is_set() {
        return Ok(());
    }
    if this.through_os.get() {
        return read_through_os(this);
    }
    match receive(this)? {
        Ok(data) if data.as_bytes().is_empty() => end(this),
        Ok(data) => {
            let all = this.gives_all.get() && data.as_bytes().len() < LARGE;
            deliver(this, data, all)
        }
        Err(error) if would_block(&error) => Ok(()),
        Err(error) => PipeTransport::fatal_error(this.base(), exceptions::os_error(this.py(), error), READ_ERROR),
    }
}

fn deliver<'py>(this: &Ref<'py, ReadPipe>, data: Bound<'py, PyBytes>, all: bool) -> PyResult<()> {
    let protocol = this.protocol.get_or_none(this.py());
    if this.streams.get() {
        let stream = Ref::<StreamReaderProtocol>::cast(&protocol);
        // A reader of a derived class may have a feed_data of its own.
        if let Some(reader) = stream.and_then(StreamReaderProtocol::native_reader).filter(Ref::is_exact) {
            let quietly = StreamReader::wakes_quietly(&reader, data.as_bytes().len());
            StreamReader::add(&reader, data)?;
            StreamReader::received(&reader)?;
            if let Some(native) =
                BaseSelectorEventLoop::of(&this.event_loop.get_or_none(this.py())).filter(|_| all && quietly)
            {
                native.note_fed();
            }
            return Ok(());
        }
    }
    protocol.call_method1(intern!(this.py(), "data_received"), (data,)).map(drop)
}

/// What the pipe has, as bytes.
fn receive<'py>(this: &Ref<'py, ReadPipe>) -> PyResult<io::Result<Bound<'py, PyBytes>>> {
    let (py, fd, last) = (this.py(), PipeTransport::descriptor(this.base()), this.last_read.get());
    let event_loop = this.event_loop.get_or_none(py);
    let room = room_after(last);
    let received = match BaseSelectorEventLoop::of(&event_loop) {
        Some(native) if last < LARGE => {
            let mut scratch = native.scratch(MOST_BYTES);
            match pipe::read(fd, &mut scratch) {
                Ok(count) => Ok(slots::bytes(py, &scratch[..count])?),
                Err(error) => Err(error),
            }
        }
        _ => slots::filled(py, room, |memory| pipe::read_raw(fd, memory))?,
    };
    if let Ok(data) = &received {
        let count = data.as_bytes().len();
        this.last_read.set(if count == room { 2 * room } else { count });
        if let Some(native) = BaseSelectorEventLoop::of(&event_loop) {
            native.bytes_read.set(native.bytes_read.get() + count);
        }
    }
    Ok(received)
}

#[cold]
fn read_through_os(this: &Ref<'_, ReadPipe>) -> PyResult<()> {
    let py = this.py();
    match os(py)?.call_method1(intern!(py, "read"), (this.fd.get(), MOST_BYTES)) {
        Ok(data) if !data.is_truthy()? => end(this),
        Ok(data) => this.protocol.get_or_none(py).call_method1(intern!(py, "data_received"), (data,)).map(drop),
        Err(error) if is_would_block(py, &error) => Ok(()),
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyOSError>(py) => {
            PipeTransport::fatal_error(this.base(), error, READ_ERROR)
        }
        Err(error) => Err(error),
    }
}

/// The end of the stream.
fn end(this: &Ref<'_, ReadPipe>) -> PyResult<()> {
    let py = this.py();
    PipeTransport::log(this.base(), "info", "%r was closed by peer")?;
    this.closing.set(true);
    PipeTransport::stop_reading(this.base())?;
    let received = this.protocol.get_or_none(py).getattr(intern!(py, "eof_received"))?;
    this.event_loop.get_or_none(py).call_method1(intern!(py, "call_soon"), (received,))?;
    let none = py.None().into_bound(py);
    PipeTransport::schedule_lost(this.base(), &none)
}

fn close_with<'py>(this: &Ref<'py, ReadPipe>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    this.closing.set(true);
    if this.lost.get() {
        return Ok(());
    }
    PipeTransport::stop_reading(this.base())?;
    PipeTransport::schedule_lost(this.base(), error)
}

/// `_close`, by attribute where the instance may have its own.
fn close_by_name<'py>(this: &Ref<'py, ReadPipe>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    match this.own_attributes.get() {
        true => this.any().call_method1(intern!(this.py(), "_close"), (error,)).map(drop),
        false => close_with(this, error),
    }
}

impl ReadPipe {
    /// A transport for the reading end of a pipe; connection_made, reading and the waiter are scheduled.
    pub(super) fn create<'py>(
        py: Python<'py>,
        given: [&Bound<'py, PyAny>; 3],
        waiter: Option<&Bound<'py, PyAny>>,
        extra: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let this = Ref::create(py, ReadPipe::default())?;
        let file = PipeTransport::begin(this.base(), given, extra, "Pipe transport is for pipes/sockets only.")?;
        this.gives_all.set(file == File::Pipe);
        set_protocol(&this, given[2])?;
        PipeTransport::schedule(this.base(), Some(&BEGIN), waiter)?;
        Ok(this.into_any())
    }
}

impl Class for ReadPipe {
    const NAME: &'static CStr = c"rasyncio.unix_events._UnixReadPipeTransport";
    const DOC: &'static CStr = c"The reading end of a pipe under a protocol; see asyncio's reference of transports.";
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
            Signature::method("_UnixReadPipeTransport._fatal_error", [arg("exc"), opt("message")]);
        spec.repr(|this| {
            PipeTransport::repr(this.base(), || if this.reading.get() { " polling" } else { " idle" }.to_owned())
        })
        .get(c"__class__", c"", |this| {
            face(this.py(), "unix_events")?.getattr(slots::Text("_UnixReadPipeTransport")).map(Own::new)
        })
        .method0(c"is_reading", c"is_reading($self, /)\n--\n\nWhether data is being received.", |this| {
            Ok(is_reading(this))
        })
        .method0(
            c"pause_reading",
            c"pause_reading($self, /)\n--\n\nCall data_received() no more until resume_reading().",
            |this| {
                if !is_reading(this) {
                    return Ok(());
                }
                this.paused.set(true);
                PipeTransport::stop_reading(this.base())?;
                PipeTransport::log(this.base(), "debug", "%r pauses reading")
            },
        )
        .method0(c"resume_reading", c"resume_reading($self, /)\n--\n\nReceive data again.", |this| {
            if this.closing.get() || !this.paused.replace(false) {
                return Ok(());
            }
            PipeTransport::watch_reading(this.base(), &READ)?;
            PipeTransport::log(this.base(), "debug", "%r resumes reading")
        })
        .method1_named(
            c"set_protocol",
            c"set_protocol($self, /, protocol)\n--\n\nTalk to another protocol from now on.",
            || ("_UnixReadPipeTransport.set_protocol", "protocol"),
            set_protocol,
        )
        .method0(c"close", c"close($self, /)\n--\n\nClose the pipe; connection_lost(None) is called then.", |this| {
            let none = this.py().None().into_bound(this.py());
            if this.closing.get() { Ok(()) } else { close_by_name(this, &none) }
        })
        .method1_named(
            c"_close",
            c"_close($self, /, exc)\n--\n\nclose() with an exception for connection_lost().",
            || ("_UnixReadPipeTransport._close", "exc"),
            close_with,
        )
        .method0(c"_read_ready", c"_read_ready($self, /)\n--\n\nRead what there is.", read_ready)
        .method(
            c"_fatal_error",
            c"_fatal_error($self, /, exc, message='Fatal error on pipe transport')\n--\n\nReport an error and close.",
            |this, args| {
                let py = this.py();
                let [Some(exception), message] = args.parse(&FATAL)? else { return Ok(()) };
                let usual = intern!(py, "Fatal error on pipe transport").object()?.as_any();
                // What reading from a terminal that is gone says.
                let is_expected = has_number(py, exception, EIO);
                PipeTransport::report(this.base(), exception, message.unwrap_or(usual), is_expected)?;
                close_by_name(this, exception)
            },
        )
        .get(c"max_size", c"The most bytes that one read takes.", |_| Ok(MOST_BYTES))
        .get(c"_paused", c"", |this| Ok(this.paused.get()));
    }
}
