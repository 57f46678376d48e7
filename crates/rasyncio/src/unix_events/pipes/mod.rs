//! Pipe transports: one end of a pipe, a socket or a character device under a protocol (asyncio's `_UnixReadPipeTransport` and
//! `_UnixWritePipeTransport`).
//!
//! Called by `connect_read_pipe` and `connect_write_pipe` through the loop's hooks, by the poller and by users; calls the
//! protocol, and `engine::sys::pipe` for the system calls.
//!
//! - `read`: the reading end.
//! - `write`: the writing end.
//!
//! Here is what both share: taking the pipe over, and the end.
//!
//! States: open -> closing (no more reading; of the writing end, what is buffered is still written) -> lost
//! (connection_lost is scheduled) -> closed (the pipe is closed, everything let go).
//!
//! Invariants: the pipe object owns the descriptor, and is closed once. Where somebody closed it before, every system call fails with
//! EBADF instead of meeting whoever has the number now. connection_lost is called once; by the loop, or by the write that sends the
//! last bytes of a closing transport.
//!
//! The context of a callback is the one that was current when it was asked for, in all versions: connection_made and the first
//! data_received see that of the creation, later ones that of whoever resumed reading, connection_lost that of whoever closed.
//!
//! Hooks: `_close` and `_fatal_error` put on an instance are called in our own's place; `os.read` and `os.write` too where they are
//! somebody else's when the transport is made.
//!
//! Differs from CPython: there, abort() of a closed transport and connection_lost for the second time are AttributeErrors.
//!
//! `__class__` answers the face's class, which derives from `asyncio.ReadTransport` or its kin: a native type cannot.

mod read;
mod write;

use std::cell::Cell;
use std::ffi::CStr;
use std::io;

use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyModule};
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, add_function, arg, class, opt};

use self::read::ReadPipe;
use self::write::WritePipe;
use crate::events::core::{call_soon, call_soon_by_name};
use crate::events::{Kind, LoopCore};
use crate::face;
use crate::log::logger;
use crate::selector_events::BaseSelectorEventLoop;
use crate::selector_events::ends::{Ends, extra_info, report_end};

/// What a descriptor leads to, of the kinds that a transport takes.
#[derive(Clone, Copy, PartialEq)]
enum File {
    Pipe,
    Socket,
    Device,
}

impl File {
    /// The kind of a file's mode; the bits are the same on every Unix.
    fn of(mode: u32) -> Option<File> {
        match mode & 0o170_000 {
            0o010_000 => Some(File::Pipe),
            0o140_000 => Some(File::Socket),
            0o020_000 => Some(File::Device),
            _ => None,
        }
    }
}

class! {
    /// What both ends are: a file object under a protocol.
    pub struct PipeTransport {
        event_loop: Slot,
        pipe: Slot,
        extra: Slot,
        protocol: Slot,
        /// The context to read in.
        context: Slot,
        fd: Cell<i32>,
        /// The pipe object has the number at its front.
        direct: Cell<bool>,
        /// `os.read` and `os.write` are not the system's own.
        through_os: Cell<bool>,
        own_attributes: Cell<bool>,
        closing: Cell<bool>,
        /// connection_lost is scheduled.
        lost: Cell<bool>,
        /// The loop watches for something to read.
        reading: Cell<bool>,
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn is_would_block(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py)
}

fn loop_of(object: &Bound<'_, PyAny>) -> Option<Own> {
    Ref::<PipeTransport>::cast(object)?.event_loop.get(object.py()).map(Own::new)
}

fn context_of(object: &Bound<'_, PyAny>) -> Option<Own> {
    Ref::<PipeTransport>::cast(object)?.context.get(object.py()).map(Own::new)
}

fn os(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    face(py, "unix_events")?.getattr(intern!(py, "os"))
}

impl PipeTransport {
    /// What the constructors do first: takes the file object, if it is of a kind that a transport takes, and makes it
    /// non-blocking.
    fn begin<'py>(
        this: &Ref<'py, PipeTransport>,
        [event_loop, pipe, protocol]: [&Bound<'py, PyAny>; 3],
        extra: Option<&Bound<'py, PyAny>>,
        refusal: &'static str,
    ) -> PyResult<File> {
        let py = this.py();
        let extra = match extra {
            Some(extra) => extra.clone(),
            None => slots::dict(py)?.into_any(),
        };
        extra.set_item(intern!(py, "pipe"), pipe)?;
        this.extra.set(extra);
        this.event_loop.set(event_loop.clone());
        let number = pipe.call_method0(intern!(py, "fileno"))?;
        let fd = number.extract()?;
        this.fd.set(fd);
        this.direct.set(slots::front_number(pipe) == Some(fd));
        this.pipe.set(pipe.clone());
        let os = os(py)?;
        let mode = os.call_method1(intern!(py, "fstat"), (&number,))?.getattr(intern!(py, "st_mode"))?;
        let Some(file) = File::of(mode.extract()?) else {
            this.pipe.unset();
            return Err(PyValueError::new_err(refusal));
        };
        this.protocol.set(protocol.clone());
        os.call_method1(intern!(py, "set_blocking"), (number, false))?;
        let is_own =
            |name: &str| -> PyResult<bool> { Ok(os.getattr(slots::Text(name))?.is_instance_of::<PyCFunction>()) };
        this.through_os.set(!(is_own("read")? && is_own("write")?));
        this.context.set(slots::copy_current(py)?);
        Ok(file)
    }

    /// What they do last: connection_made is scheduled, then reading, then the waiter.
    fn schedule<'py>(
        this: &Ref<'py, PipeTransport>,
        reading: Option<&'static Kind>,
        waiter: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = this.py();
        let event_loop = this.event_loop.get_or_none(py);
        let made = this.protocol.get_or_none(py).getattr(intern!(py, "connection_made"))?;
        call_soon(&event_loop, made, this.any(), slots::copy_current(py)?)?;
        if let Some(kind) = reading {
            match LoopCore::of(&event_loop) {
                Some(core) => LoopCore::schedule(core, this.any().clone(), None, kind)?,
                None => call_soon_by_name(&event_loop, this.any().clone(), None, kind)?,
            }
        }
        if let Some(waiter) = waiter {
            let set = face(py, "futures")?.getattr(intern!(py, "_set_result_unless_cancelled"))?;
            event_loop.call_method1(intern!(py, "call_soon"), (set, waiter, py.None()))?;
        }
        Ok(())
    }

    /// The descriptor for a system call: -1, which is none, where the pipe object has it no more.
    #[inline]
    fn descriptor(this: &Ref<'_, PipeTransport>) -> i32 {
        let (py, fd) = (this.py(), this.fd.get());
        let number = this.pipe.get(py).and_then(|pipe| match this.direct.get() {
            true => slots::front_number(&pipe),
            false => pipe.call_method0(intern!(py, "fileno")).ok()?.extract().ok(),
        });
        if number == Some(fd) { fd } else { -1 }
    }

    /// The loop's core, if the loop watches descriptors natively. The pipe may be closed by anybody: it is a visitor there.
    fn watching<'py>(event_loop: &Bound<'py, PyAny>) -> Option<Ref<'py, LoopCore>> {
        BaseSelectorEventLoop::of(event_loop).map(|this| crate::selector_events::core(this).clone())
    }

    /// Has the loop run `kind` when there is something to read, in the context that is current now.
    fn watch_reading(this: &Ref<'_, PipeTransport>, kind: &'static Kind) -> PyResult<()> {
        let py = this.py();
        this.context.set(slots::copy_current(py)?);
        this.reading.set(true);
        let event_loop = this.event_loop.get_or_none(py);
        match PipeTransport::watching(&event_loop) {
            Some(core) => crate::selector_events::watch::add_reader(&core, this.fd.get(), this.any().clone(), kind),
            None => {
                let ready = this.any().getattr(intern!(py, "_read_ready"))?;
                event_loop.call_method1(intern!(py, "_add_reader"), (this.fd.get(), ready)).map(drop)
            }
        }
    }

    fn stop_reading(this: &Ref<'_, PipeTransport>) -> PyResult<()> {
        let py = this.py();
        let was_reading = this.reading.replace(false);
        let event_loop = this.event_loop.get_or_none(py);
        match PipeTransport::watching(&event_loop) {
            Some(core) if was_reading => crate::selector_events::watch::remove_reader(&core, this.fd.get()).map(drop),
            Some(_) => Ok(()),
            None => event_loop.call_method1(intern!(py, "_remove_reader"), (this.fd.get(),)).map(drop),
        }
    }

    fn is_debug(this: &Ref<'_, PipeTransport>) -> PyResult<bool> {
        let py = this.py();
        match this.event_loop.get(py) {
            None => Ok(false),
            Some(event_loop) => match LoopCore::of(&event_loop) {
                Some(core) => Ok(core.debug.get()),
                None => event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy(),
            },
        }
    }

    /// Debug mode's record of something that has happened to the transport.
    fn log(this: &Ref<'_, PipeTransport>, level: &str, text: &str) -> PyResult<()> {
        if !PipeTransport::is_debug(this)? {
            return Ok(());
        }
        let logger = logger(this.py(), "unix_events")?;
        logger.log(level, (text, this.any())).map(drop)
    }

    /// An error that ends the transport: expected ones are debug mode's news, the others the exception handler's.
    fn report<'py>(
        this: &Ref<'py, PipeTransport>,
        exception: &Bound<'py, PyAny>,
        message: &Bound<'py, PyAny>,
        is_expected: bool,
    ) -> PyResult<()> {
        let is_debug = is_expected && PipeTransport::is_debug(this)?;
        report_end(PipeTransport::ends(this), "unix_events", is_debug, exception, message, is_expected)
    }

    fn ends<'py>(this: &Ref<'py, PipeTransport>) -> Ends<'py> {
        let py = this.py();
        [this.any().clone(), this.protocol.get_or_none(py), this.event_loop.get_or_none(py)]
    }

    /// `_fatal_error`, by attribute where the instance may have its own.
    fn fatal_error(this: &Ref<'_, PipeTransport>, error: PyErr, message: &str) -> PyResult<()> {
        let py = this.py();
        slots::excepting(py, error, |exception| {
            this.any().call_method1(intern!(py, "_fatal_error"), (exception, message)).map(drop)
        })
    }

    /// Schedules connection_lost, once.
    fn schedule_lost<'py>(this: &Ref<'py, PipeTransport>, error: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = this.py();
        if this.lost.replace(true) {
            return Ok(());
        }
        let call = this.any().getattr(intern!(py, "_call_connection_lost"))?;
        call_soon(&this.event_loop.get_or_none(py), call, error, slots::copy_current(py)?)
    }

    /// Tells the protocol, closes the pipe and lets go of everything.
    fn call_connection_lost<'py>(this: &Ref<'py, PipeTransport>, error: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = this.py();
        let (Some(pipe), Some(protocol)) = (this.pipe.get(py), this.protocol.get(py)) else { return Ok(()) };
        this.lost.set(true);
        let told = protocol.call_method1(intern!(py, "connection_lost"), (error,)).map(drop);
        let closed = pipe.call_method0(intern!(py, "close")).map(drop);
        this.pipe.unset();
        this.protocol.unset();
        this.context.unset();
        let ended = told.and(closed);
        if ended.is_ok() {
            // Otherwise the loop is still needed, to hear of the error.
            this.event_loop.unset();
        }
        ended
    }

    /// The transport's repr; `polling` is said while the loop can be asked.
    fn repr(this: &Ref<'_, PipeTransport>, polling: impl FnOnce() -> String) -> PyResult<String> {
        let py = this.py();
        let mut text = format!("<{}", this.any().getattr(intern!(py, "__class__"))?.getattr(slots::Text("__name__"))?);
        if !this.pipe.is_set() {
            text.push_str(" closed");
        } else if this.closing.get() {
            text.push_str(" closing");
        }
        text.push_str(&format!(" fd={}", this.fd.get()));
        let event_loop = this.event_loop.get_or_none(py);
        let has_selector = match BaseSelectorEventLoop::of(&event_loop) {
            Some(_) => LoopCore::of(&event_loop).is_some_and(|core| !core.closed.get()),
            None => event_loop.getattr(intern!(py, "_selector")).is_ok_and(|selector| !selector.is_none()),
        };
        match (this.pipe.is_set(), has_selector) {
            (true, true) => text.push_str(&polling()),
            (true, false) => text.push_str(" open"),
            (false, _) => text.push_str(" closed"),
        }
        Ok(text + ">")
    }

    /// What a transport that nobody closed does at its end.
    fn warn_and_close(this: &Ref<'_, PipeTransport>) -> PyResult<()> {
        let py = this.py();
        let warned = slots::resource_warning(this.any(), &format!("unclosed transport {}", this.any().repr()?));
        let closed = match this.pipe.take(py) {
            Some(pipe) => pipe.call_method0(intern!(py, "close")).map(drop),
            None => Ok(()),
        };
        warned.and(closed)
    }
}

impl Class for PipeTransport {
    const NAME: &'static CStr = c"rasyncio.unix_events._PipeTransport";
    const DICT: bool = true;
    const CALLABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.on_set_attribute(|this, _, _| {
            this.own_attributes.set(true);
            Ok(true)
        })
        .method0(c"is_closing", c"is_closing($self, /)\n--\n\nWhether it is closed or being closed.", |this| {
            Ok(this.closing.get())
        })
        .method0(c"get_protocol", c"get_protocol($self, /)\n--\n\nThe protocol.", |this| {
            Ok(this.protocol.get(this.py()).map(Own::new))
        })
        .method(
            c"get_extra_info",
            c"get_extra_info($self, /, name, default=None)\n--\n\n'pipe', or what was given at creation.",
            |this, args| extra_info(&this.extra, args),
        )
        .method1_named(
            c"_call_connection_lost",
            c"_call_connection_lost($self, /, exc)\n--\n\nTell the protocol and close the pipe.",
            || ("_UnixReadPipeTransport._call_connection_lost", "exc"),
            PipeTransport::call_connection_lost,
        )
        .get_set(
            c"_closing",
            c"",
            |this| Ok(this.closing.get()),
            |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.closing.set(v))),
        )
        .get(c"_loop", c"", |this| Ok(this.event_loop.get(this.py()).map(Own::new)))
        .get_set(
            c"_pipe",
            c"",
            |this| Ok(this.pipe.get(this.py()).map(Own::new)),
            |this, value| {
                match value.filter(|v| !v.is_none()) {
                    Some(pipe) => this.pipe.set(pipe.clone()),
                    None => this.pipe.unset(),
                }
                Ok(())
            },
        )
        .get(c"_fileno", c"", |this| Ok(this.fd.get()))
        .get(c"_protocol", c"", |this| Ok(this.protocol.get(this.py()).map(Own::new)))
        .get(c"_extra", c"", |this| Ok(this.extra.get(this.py()).map(Own::new)));
    }
}

/// The loop, the pipe and the protocol.
type Needed<'a, 'py> = [&'a Bound<'py, PyAny>; 3];

/// The waiter and the extra information, where they are given.
type Wanted<'a, 'py> = [Option<&'a Bound<'py, PyAny>>; 2];

/// The arguments of a transport's constructor, called as the face's class: the class, then what asyncio's takes.
fn parse<'a, 'py>(args: &Args<'a, 'py>) -> PyResult<(Needed<'a, 'py>, Wanted<'a, 'py>)> {
    const MAKE: Signature<6> = Signature::function(
        "_UnixPipeTransport.__init__",
        [arg("cls"), arg("loop"), arg("pipe"), arg("protocol"), opt("waiter"), opt("extra")],
    );
    let [Some(_), Some(event_loop), Some(pipe), Some(protocol), waiter, extra] = args.parse(&MAKE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    Ok(([event_loop, pipe, protocol], [waiter, extra].map(|value| value.filter(|v| !v.is_none()))))
}

/// The hook `_make_read_pipe_transport` or its kin: an instance of the face's class of that name.
pub(super) fn make<'py>(event_loop: &Bound<'py, PyAny>, class: &str, args: &Args<'_, 'py>) -> PyResult<Own> {
    const MAKE: Signature<4> =
        Signature::method("_make_pipe_transport", [arg("pipe"), arg("protocol"), opt("waiter"), opt("extra")]);
    let [Some(pipe), Some(protocol), waiter, extra] = args.parse(&MAKE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    face(event_loop.py(), "unix_events")?
        .getattr(slots::Text(class))?
        .call1((event_loop, pipe, protocol, waiter, extra))
        .map(Own::new)
}

/// Whether an OSError has this number.
fn has_number(py: Python<'_>, exception: &Bound<'_, PyAny>, number: i32) -> bool {
    exception.is_instance_of::<PyOSError>()
        && exception.getattr(intern!(py, "errno")).is_ok_and(|n| n.extract::<i32>().is_ok_and(|n| n == number))
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<PipeTransport>(module)?;
    slots::add_class::<ReadPipe>(module)?;
    slots::add_class::<WritePipe>(module)?;
    add_function(
        module,
        c"_new_read_pipe",
        c"_new_read_pipe(cls, loop, pipe, protocol, waiter=None, extra=None)\n--\n\nA transport for a pipe to read from.",
        |py, args| {
            let (given, [waiter, extra]) = parse(args)?;
            ReadPipe::create(py, given, waiter, extra).map(Own::new)
        },
    )?;
    add_function(
        module,
        c"_new_write_pipe",
        c"_new_write_pipe(cls, loop, pipe, protocol, waiter=None, extra=None)\n--\n\nA transport for a pipe to write to.",
        |py, args| {
            let (given, [waiter, extra]) = parse(args)?;
            WritePipe::create(py, given, waiter, extra).map(Own::new)
        },
    )
}
