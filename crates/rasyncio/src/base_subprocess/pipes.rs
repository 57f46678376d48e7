//! `WriteSubprocessPipeProto` and `ReadSubprocessPipeProto`: the protocols of a child process's pipes (asyncio.base_subprocess).
//!
//! Called by the pipes' transports; call the process's transport, which tells its own protocol.
//!
//! States: made -> connected (`pipe` is the pipe's transport) -> disconnected; then the process's transport is let go.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Class, Own, Ref, Signature, Slot, Spec, arg, class};

class! {
    /// The native half of the protocols of pipes.
    pub struct PipeProtocol {
        /// The process's transport.
        process: Slot,
        /// 0, 1 or 2.
        number: Slot,
        pipe: Slot,
        disconnected: Cell<bool>,
    }
}

fn to_protocol(this: &Ref<'_, PipeProtocol>, method: &str) -> PyResult<()> {
    let py = this.py();
    let protocol = this.process.get_or_none(py).getattr(intern!(py, "_protocol"))?;
    protocol.call_method0(slots::Text(method)).map(drop)
}

fn put(slot: &Slot, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match value {
        Some(value) => slot.set(value.clone()),
        None => slot.unset(),
    }
    Ok(())
}

fn lost<'py>(this: &Ref<'py, PipeProtocol>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    this.disconnected.set(true);
    let number = this.number.get_or_none(py);
    this.process.get_or_none(py).call_method1(intern!(py, "_pipe_connection_lost"), (number, error))?;
    this.process.unset();
    Ok(())
}

impl Class for PipeProtocol {
    const NAME: &'static CStr = c"rasyncio.base_subprocess._PipeProtocol";
    const DOC: &'static CStr =
        c"_PipeProtocol(proc, fd)\n--\n\nThe native half of the protocols of a child process's pipes.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<2> = Signature::method("WriteSubprocessPipeProto.__init__", [arg("proc"), arg("fd")]);
        spec.init(|this, args| {
            let [Some(process), Some(number)] = args.parse(&INIT)? else {
                return Err(PyTypeError::new_err("an argument is missing"));
            };
            this.process.set(process.clone());
            this.number.set(number.clone());
            Ok(())
        })
        .repr(|this| {
            let py = this.py();
            let name = this.any().get_type().name()?;
            Ok(format!("<{name} fd={} pipe={}>", this.number.get_or_none(py), this.pipe.get_or_none(py).repr()?))
        })
        .method1_named(
            c"connection_made",
            c"connection_made($self, /, transport)\n--\n\nThe pipe has a transport.",
            || ("WriteSubprocessPipeProto.connection_made", "transport"),
            |this, transport| {
                this.pipe.set(transport.clone());
                Ok(())
            },
        )
        .method1_named(
            c"connection_lost",
            c"connection_lost($self, /, exc)\n--\n\nThe pipe is no more.",
            || ("WriteSubprocessPipeProto.connection_lost", "exc"),
            lost,
        )
        .method0(c"pause_writing", c"pause_writing($self, /)\n--\n\nThe pipe's buffer is full.", |this| {
            to_protocol(this, "pause_writing")
        })
        .method0(c"resume_writing", c"resume_writing($self, /)\n--\n\nThe pipe's buffer has room again.", |this| {
            to_protocol(this, "resume_writing")
        })
        .get_set(
            c"proc",
            c"The process's transport; None after the end.",
            |this| Ok(this.process.get(this.py()).map(Own::new)),
            |this, value| put(&this.process, value),
        )
        .get_set(
            c"fd",
            c"0, 1 or 2.",
            |this| Ok(this.number.get(this.py()).map(Own::new)),
            |this, value| put(&this.number, value),
        )
        .get_set(
            c"pipe",
            c"The pipe's transport.",
            |this| Ok(this.pipe.get(this.py()).map(Own::new)),
            |this, value| put(&this.pipe, value),
        )
        .get_set(
            c"disconnected",
            c"Whether the pipe is no more.",
            |this| Ok(this.disconnected.get()),
            |this, value| value.map_or(Ok(()), |value| value.is_truthy().map(|is| this.disconnected.set(is))),
        );
    }
}

class! {
    /// The native half of the protocol of a pipe to read from.
    pub struct ReadPipeProtocol: PipeProtocol {}
}

impl Class for ReadPipeProtocol {
    const NAME: &'static CStr = c"rasyncio.base_subprocess._ReadPipeProtocol";
    const DOC: &'static CStr =
        c"_ReadPipeProtocol(proc, fd)\n--\n\nThe native half of the protocol of a child process's pipe to read from.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.method1_named(
            c"data_received",
            c"data_received($self, /, data)\n--\n\nThe pipe has brought bytes.",
            || ("ReadSubprocessPipeProto.data_received", "data"),
            |this, data| {
                let py = this.py();
                let number = this.number.get_or_none(py);
                let process = this.process.get_or_none(py);
                process.call_method1(intern!(py, "_pipe_data_received"), (number, data)).map(drop)
            },
        );
    }
}

/// Puts the classes in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<PipeProtocol>(module)?;
    slots::add_class::<ReadPipeProtocol>(module)
}
