//! subprocess: child processes with streams for their pipes (asyncio.subprocess).
//!
//! Called by `create_subprocess_exec` and `create_subprocess_shell` on the face, by the process's transport and by users; calls the
//! transport and the streams.
//!
//! - `process`: `Process`, what users hold.
//!
//! Here is `SubprocessStreamProtocol`, between the transport and the streams.
//!
//! States: made -> connected (each pipe has its stream) -> exited and the reading pipes lost, in either order: then the transport is
//! closed, and let go. The writing pipe does not count: nobody need close it.

mod process;

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, arg, class};

use crate::base_events::create_future;
use crate::face;
use crate::streams::{FlowControl, StreamReader};

class! {
    /// The native half of `SubprocessStreamProtocol`.
    pub struct StreamProtocol: FlowControl {
        limit: Slot,
        stdin: Slot,
        stdout: Slot,
        stderr: Slot,
        transport: Slot,
        /// The numbers of the reading pipes that are not lost: a list.
        open: Slot,
        stdin_closed: Slot,
        exited: Cell<bool>,
    }
}

fn init<'py>(this: &Ref<'py, StreamProtocol>, args: &Args<'_, 'py>) -> PyResult<()> {
    const INIT: Signature<2> = Signature::method("SubprocessStreamProtocol.__init__", [arg("limit"), arg("loop")]);
    let py = this.py();
    let [Some(limit), Some(event_loop)] = args.parse(&INIT)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    FlowControl::initialize(this.base(), Some(event_loop).filter(|event_loop| !event_loop.is_none()))?;
    this.limit.set(limit.clone());
    this.open.set(slots::list(py)?.into_any());
    this.stdin_closed.set(create_future(&this.event_loop.get_or_none(py))?);
    Ok(())
}

fn repr(this: &Ref<'_, StreamProtocol>) -> PyResult<String> {
    let mut text = format!("<{}", this.any().get_type().name()?);
    for (name, slot) in [("stdin", &this.stdin), ("stdout", &this.stdout), ("stderr", &this.stderr)] {
        if let Some(stream) = slot.get(this.py()).filter(|stream| !stream.is_none()) {
            text.push_str(&format!(" {name}={}", stream.repr()?));
        }
    }
    Ok(text + ">")
}

fn connected<'py>(this: &Ref<'py, StreamProtocol>, transport: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    this.transport.set(transport.clone());
    let streams = face(py, "streams")?;
    let event_loop = this.event_loop.get_or_none(py);
    let pipe = |number: i32| -> PyResult<Option<Bound<'py, PyAny>>> {
        let pipe = transport.call_method1(intern!(py, "get_pipe_transport"), (number,))?;
        if pipe.is_none() { Ok(None) } else { Ok(Some(pipe)) }
    };
    for (number, slot) in [(1, &this.stdout), (2, &this.stderr)] {
        let Some(pipe) = pipe(number)? else { continue };
        let keywords = slots::dict(py)?;
        keywords.set_item(intern!(py, "limit"), this.limit.get_or_none(py))?;
        keywords.set_item(intern!(py, "loop"), &event_loop)?;
        let reader = streams.getattr(intern!(py, "StreamReader"))?.call((), Some(&keywords))?;
        reader.call_method1(intern!(py, "set_transport"), (pipe,))?;
        slot.set(reader);
        this.open.get_or_none(py).call_method1(intern!(py, "append"), (number,))?;
    }
    if let Some(pipe) = pipe(0)? {
        let writer = streams.getattr(intern!(py, "StreamWriter"))?;
        this.stdin.set(writer.call1((pipe, this.any(), py.None(), event_loop))?);
    }
    Ok(())
}

/// The reader of a pipe.
fn reader<'py>(this: &Ref<'py, StreamProtocol>, number: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let slot = match () {
        () if number.eq(1)? => &this.stdout,
        () if number.eq(2)? => &this.stderr,
        () => return Ok(None),
    };
    Ok(slot.get(this.py()).filter(|reader| !reader.is_none()))
}

/// The two arguments of what the transport calls.
fn two<'a, 'py>(args: &Args<'a, 'py>, signature: &Signature<2>) -> PyResult<[&'a Bound<'py, PyAny>; 2]> {
    match args.parse(signature)? {
        [Some(first), Some(second)] => Ok([first, second]),
        _ => Err(PyTypeError::new_err("an argument is missing")),
    }
}

fn received<'py>(this: &Ref<'py, StreamProtocol>, args: &Args<'_, 'py>) -> PyResult<()> {
    const RECEIVED: Signature<2> =
        Signature::method("SubprocessStreamProtocol.pipe_data_received", [arg("fd"), arg("data")]);
    let [number, data] = two(args, &RECEIVED)?;
    let Some(reader) = reader(this, number)? else { return Ok(()) };
    match Ref::<StreamReader>::cast_exact(&reader) {
        Some(native) => StreamReader::feed(native, data),
        None => reader.call_method1(intern!(this.py(), "feed_data"), (data,)).map(drop),
    }
}

fn lost<'py>(this: &Ref<'py, StreamProtocol>, args: &Args<'_, 'py>) -> PyResult<()> {
    const LOST: Signature<2> =
        Signature::method("SubprocessStreamProtocol.pipe_connection_lost", [arg("fd"), arg("exc")]);
    let py = this.py();
    let [number, error] = two(args, &LOST)?;
    if number.eq(0)? {
        return stdin_lost(this, error);
    }
    if let Some(reader) = reader(this, number)? {
        match error.is_none() {
            true => reader.call_method0(intern!(py, "feed_eof"))?,
            false => reader.call_method1(intern!(py, "set_exception"), (error,))?,
        };
    }
    let open = this.open.get_or_none(py);
    if open.contains(number)? {
        open.call_method1(intern!(py, "remove"), (number,))?;
    }
    this.any().call_method0(intern!(py, "_maybe_close_transport")).map(drop)
}

fn stdin_lost<'py>(this: &Ref<'py, StreamProtocol>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    if let Some(stdin) = this.stdin.get(py).filter(|stdin| !stdin.is_none()) {
        stdin.call_method0(intern!(py, "close"))?;
    }
    this.any().call_method1(intern!(py, "connection_lost"), (error,))?;
    let closed = this.stdin_closed.get_or_none(py);
    if error.is_none() {
        return closed.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop);
    }
    closed.call_method1(intern!(py, "set_exception"), (error,))?;
    // Nobody need ask for it.
    closed.setattr(intern!(py, "_log_traceback"), false)
}

fn maybe_close(this: &Ref<'_, StreamProtocol>) -> PyResult<()> {
    let py = this.py();
    if !this.exited.get() || this.open.get_or_none(py).is_truthy()? {
        return Ok(());
    }
    let closed = this.transport.get_or_none(py).call_method0(intern!(py, "close")).map(drop);
    this.transport.unset();
    closed
}

/// An attribute that is a slot.
macro_rules! slot {
    ($spec:expr, $name:literal, $doc:literal, $field:ident) => {
        $spec.get_set(
            $name,
            $doc,
            |this: &Ref<'_, StreamProtocol>| Ok(this.$field.get(this.py()).map(Own::new)),
            |this, value| {
                match value {
                    Some(value) => this.$field.set(value.clone()),
                    None => this.$field.unset(),
                }
                Ok(())
            },
        )
    };
}

impl Class for StreamProtocol {
    const NAME: &'static CStr = c"rasyncio.subprocess._SubprocessStreamProtocol";
    const DOC: &'static CStr =
        c"_SubprocessStreamProtocol(limit, loop)\n--\n\nThe native half of SubprocessStreamProtocol.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        slot!(spec, c"stdin", c"The writer of the process's input, or None.", stdin);
        slot!(spec, c"stdout", c"The reader of the process's output, or None.", stdout);
        slot!(spec, c"stderr", c"The reader of the process's error output, or None.", stderr);
        slot!(spec, c"_limit", c"The readers' limit in bytes.", limit);
        slot!(spec, c"_transport", c"The process's transport, until it is closed.", transport);
        slot!(spec, c"_pipe_fds", c"The numbers of the reading pipes that are not lost.", open);
        slot!(spec, c"_stdin_closed", c"A future that is done when the input is closed.", stdin_closed);
        spec.init(init)
            .repr(repr)
            .get_set(
                c"_process_exited",
                c"Whether the process has ended.",
                |this| Ok(this.exited.get()),
                |this, value| value.map_or(Ok(()), |value| value.is_truthy().map(|is| this.exited.set(is))),
            )
            .method1_named(
                c"connection_made",
                c"connection_made($self, /, transport)\n--\n\nThe process runs; its pipes get their streams.",
                || ("SubprocessStreamProtocol.connection_made", "transport"),
                connected,
            )
            .method(
                c"pipe_data_received",
                c"pipe_data_received($self, /, fd, data)\n--\n\nA pipe has brought bytes.",
                received,
            )
            .method(c"pipe_connection_lost", c"pipe_connection_lost($self, /, fd, exc)\n--\n\nA pipe is no more.", lost)
            .method0(c"process_exited", c"process_exited($self, /)\n--\n\nThe process has ended.", |this| {
                this.exited.set(true);
                this.any().call_method0(intern!(this.py(), "_maybe_close_transport")).map(drop)
            })
            .method0(
                c"_maybe_close_transport",
                c"_maybe_close_transport($self, /)\n--\n\nClose the transport when everything is over.",
                maybe_close,
            )
            .method1_named(
                c"_get_close_waiter",
                c"_get_close_waiter($self, /, stream)\n--\n\nWhat wait_closed() of the input waits for.",
                || ("SubprocessStreamProtocol._get_close_waiter", "stream"),
                |this, stream| {
                    let is_stdin = this.stdin.is(stream);
                    Ok(is_stdin.then(|| this.stdin_closed.get(this.py()).map(Own::new)).flatten())
                },
            );
    }
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<StreamProtocol>(module)?;
    slots::add_class::<process::Process>(module)
}
