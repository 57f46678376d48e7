//! `Process`: a child process as users hold it (asyncio.subprocess).
//!
//! Made by `create_subprocess_exec` and `create_subprocess_shell`; called by users; calls the process's transport and its streams.
//!
//! `communicate` is three coroutines gathered, as in asyncio: one writes the input and closes it, two read to the end. Each can be
//! overridden in a derived class. Without input the writing end is closed too, from 3.12 on.
//!
//! Its attributes stand in the instance's `__dict__`, as asyncio's do.

use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyConnectionResetError, PyTypeError};
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Class, Co, Kept, Own, Ref, Signature, Spec, arg, class};

use crate::face;
use crate::log::logger;

class! {
    /// A child process.
    pub struct Process {}
}

fn init<'py>(this: &Ref<'py, Process>, args: &Args<'_, 'py>) -> PyResult<()> {
    const INIT: Signature<3> = Signature::method("Process.__init__", [arg("transport"), arg("protocol"), arg("loop")]);
    let py = this.py();
    let [Some(transport), Some(protocol), Some(event_loop)] = args.parse(&INIT)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    let own = this.any();
    own.setattr(intern!(py, "_transport"), transport)?;
    own.setattr(intern!(py, "_protocol"), protocol)?;
    own.setattr(intern!(py, "_loop"), event_loop)?;
    for name in [intern!(py, "stdin"), intern!(py, "stdout"), intern!(py, "stderr")] {
        own.setattr(name, protocol.getattr(name)?)?;
    }
    own.setattr(intern!(py, "pid"), transport.call_method0(intern!(py, "get_pid"))?)
}

fn transport<'py>(this: &Ref<'py, Process>) -> PyResult<Bound<'py, PyAny>> {
    this.any().getattr(intern!(this.py(), "_transport"))
}

/// In debug mode, a record of what communicate() does: a format, and what belongs in it after the process.
fn log<'py>(process: &Bound<'py, PyAny>, text: &str, value: Option<Bound<'py, PyAny>>) -> PyResult<()> {
    let py = process.py();
    if !process.getattr(intern!(py, "_loop"))?.call_method0(intern!(py, "get_debug"))?.is_truthy()? {
        return Ok(());
    }
    let logger = logger(py, "subprocess")?;
    match value {
        Some(value) => logger.log("debug", (text, process, value)),
        None => logger.log("debug", (text, process)),
    }
}

/// The body of `_feed_stdin`.
fn feed<'py>(this: &Ref<'py, Process>, input: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let kept = [this.any().clone(), input.clone()];
    slots::coroutine(this.py(), "Process._feed_stdin", kept, |co, [process, input]| async move {
        let fed = match write(&co, process, input) {
            Ok(draining) => co.wait(draining).await.map(drop),
            Err(error) => Err(error),
        };
        let py = co.py();
        match fed {
            // The process need not read all of it.
            Err(error)
                if error.is_instance_of::<PyBrokenPipeError>(py)
                    || error.is_instance_of::<PyConnectionResetError>(py) =>
            {
                let error = error.into_value(py).into_bound(py).into_any();
                log(&co.get(process), "%r communicate: stdin got %r", Some(error))?;
            }
            other => other?,
        }
        log(&co.get(process), "%r communicate: close stdin", None)?;
        co.get(process).getattr(intern!(py, "stdin"))?.call_method0(intern!(py, "close"))?;
        Ok(Own::new(py.None().into_bound(py)))
    })
}

/// Writes the input; what is to be awaited then.
fn write(co: &Co, process: Kept, input: Kept) -> PyResult<Kept> {
    let py = co.py();
    let (process, input) = (co.get(process), co.get(input));
    let stdin = process.getattr(intern!(py, "stdin"))?;
    if slots::VERSION < (3, 12) || !input.is_none() {
        stdin.call_method1(intern!(py, "write"), (&input,))?;
        log(&process, "%r communicate: feed stdin (%s bytes)", Some(input.len()?.into_pyobject(py)?.into_any()))?;
    }
    Ok(co.keep(stdin.call_method0(intern!(py, "drain"))?))
}

fn stream_of<'py>(process: &Bound<'py, PyAny>, number: i32) -> PyResult<Bound<'py, PyAny>> {
    process.getattr(if number == 2 { "stderr" } else { "stdout" })
}

/// The body of `_read_stream`.
fn read<'py>(this: &Ref<'py, Process>, number: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let pipe = transport(this)?.call_method1(intern!(py, "get_pipe_transport"), (number,))?;
    let number = number.extract()?;
    if !matches!(number, 1 | 2) {
        return Err(PyAssertionError::new_err(()));
    }
    let kept = [this.any().clone(), pipe];
    slots::coroutine(py, "Process._read_stream", kept, move |co, [process, pipe]| async move {
        let name = if number == 1 { "stdout" } else { "stderr" };
        log(&co.get(process), "%r communicate: read %s", Some(slots::text(co.py(), name)?.into_any()))?;
        let reading = co.keep(stream_of(&co.get(process), number)?.call_method0(intern!(co.py(), "read"))?);
        let output = co.wait(reading).await?;
        log(&co.get(process), "%r communicate: close %s", Some(slots::text(co.py(), name)?.into_any()))?;
        co.get(pipe).call_method0(intern!(co.py(), "close"))?;
        Ok(output)
    })
}

/// The body of `communicate`.
fn communicate<'py>(this: &Ref<'py, Process>, input: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let kept = [this.any().clone(), input.clone()];
    slots::coroutine(this.py(), "Process.communicate", kept, |co, [process, input]| async move {
        let gathering = gather(&co, process, input)?;
        let outputs = co.wait(gathering).await?;
        let outputs = co.keep(outputs.into_bound(co.py()));
        let waiting = co.keep(co.get(process).call_method0(intern!(co.py(), "wait"))?);
        co.wait(waiting).await?;
        let outputs = co.get(outputs);
        Ok(Own::new(slots::tuple(co.py(), [outputs.get_item(1)?, outputs.get_item(2)?])?.into_any()))
    })
}

fn gather(co: &Co, process: Kept, input: Kept) -> PyResult<Kept> {
    let py = co.py();
    let (process, input) = (co.get(process), co.get(input));
    let nothing = || process.call_method0(intern!(py, "_noop"));
    let feeds = match slots::VERSION >= (3, 12) {
        true => !process.getattr(intern!(py, "stdin"))?.is_none(),
        false => !input.is_none(),
    };
    let stdin = if feeds { process.call_method1(intern!(py, "_feed_stdin"), (input,))? } else { nothing()? };
    let output = |number: i32| match stream_of(&process, number)?.is_none() {
        true => nothing(),
        false => process.call_method1(intern!(py, "_read_stream"), (number,)),
    };
    let all = (stdin, output(1)?, output(2)?);
    Ok(co.keep(face(py, "tasks")?.getattr(intern!(py, "gather"))?.call1(all)?))
}

impl Class for Process {
    const NAME: &'static CStr = c"rasyncio.subprocess.Process";
    const DOC: &'static CStr = c"Process(transport, protocol, loop)\n--\n\n\
        A child process: pid, returncode, and stdin (a StreamWriter), stdout and stderr (StreamReaders) where they are pipes.\n\n\
        Made by create_subprocess_exec() and create_subprocess_shell().";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.init(init)
            .repr(|this| {
                let name = this.any().get_type().name()?;
                Ok(format!("<{name} {}>", this.any().getattr(intern!(this.py(), "pid"))?))
            })
            .get(
                c"returncode",
                c"The exit code, minus the number of the signal that killed the process, or None.",
                |this| transport(this)?.call_method0(intern!(this.py(), "get_returncode")).map(Own::new),
            )
            .method1_named(
                c"send_signal",
                c"send_signal($self, /, signal)\n--\n\nSend the process a signal, if it runs.",
                || ("Process.send_signal", "signal"),
                |this, signal| transport(this)?.call_method1(intern!(this.py(), "send_signal"), (signal,)).map(drop),
            )
            .method0(c"terminate", c"terminate($self, /)\n--\n\nSend the process SIGTERM.", |this| {
                transport(this)?.call_method0(intern!(this.py(), "terminate")).map(drop)
            })
            .method0(c"kill", c"kill($self, /)\n--\n\nSend the process SIGKILL.", |this| {
                transport(this)?.call_method0(intern!(this.py(), "kill")).map(drop)
            })
            .method1(
                c"_communicate",
                c"_communicate($self, input, /)\n--\n\nThe body of communicate().",
                |this, input| communicate(this, input).map(Own::new),
            )
            .method1(c"_feed", c"_feed($self, input, /)\n--\n\nThe body of _feed_stdin().", |this, input| {
                feed(this, input).map(Own::new)
            })
            .method1(c"_read", c"_read($self, fd, /)\n--\n\nThe body of _read_stream().", |this, number| {
                read(this, number).map(Own::new)
            });
    }
}
