//! `_connect_pipes`: puts the ends of a new process's pipes under transports, then tells the protocol of the connection.
//!
//! Run as a task by `BaseSubprocessTransport.__init__`; calls the loop's `connect_write_pipe` and `connect_read_pipe`, then has
//! connection_made and whatever came before it scheduled, and sets the waiter.
//!
//! If that fails or is cancelled, the waiter gets the error, and the pipes are closed, those that are not under a transport yet
//! as well (as from 3.14 on).

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;
use slots::intern;
use slots::{Co, Kept, Own};

use super::Transport;
use crate::{face, library};

/// The three ends: attribute of Popen, the loop's method, the protocol's class.
const ENDS: [(&str, &str, &str); 3] = [
    ("stdin", "connect_write_pipe", "WriteSubprocessPipeProto"),
    ("stdout", "connect_read_pipe", "ReadSubprocessPipeProto"),
    ("stderr", "connect_read_pipe", "ReadSubprocessPipeProto"),
];

pub(super) fn connect<'py>(this: &Transport<'py>, waiter: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let process = this.any().getattr(intern!(py, "_proc"))?;
    let kept = [this.any().clone(), waiter.clone(), process];
    slots::coroutine(
        py,
        "BaseSubprocessTransport._connect_pipes",
        kept,
        |co, [transport, waiter, process]| async move {
            let connected = connect_all(&co, transport, process).await;
            finish(&co, [transport, waiter, process], connected)?;
            Ok(Own::new(co.py().None().into_bound(co.py())))
        },
    )
}

async fn connect_all(co: &Co, transport: Kept, process: Kept) -> PyResult<()> {
    for number in 0..ENDS.len() {
        let Some(connecting) = begin(co, transport, process, number)? else { continue };
        let connected = co.wait(connecting).await?;
        let pipe = connected.bind(co.py()).get_item(1)?;
        co.get(transport).getattr(slots::Text("_pipes"))?.set_item(number, pipe)?;
    }
    tell(co, transport)
}

/// The coroutine that connects one pipe, if there is one.
fn begin(co: &Co, transport: Kept, process: Kept, number: usize) -> PyResult<Option<Kept>> {
    let py = co.py();
    let (attribute, method, class) = ENDS[number];
    let end = co.get(process).getattr(slots::Text(attribute))?;
    if end.is_none() {
        return Ok(None);
    }
    let class = face(py, "base_subprocess")?.getattr(slots::Text(class))?;
    let partial = library(py, "_functools")?.getattr(intern!(py, "partial"))?;
    let factory = partial.call1((class, co.get(transport), number))?;
    let event_loop = co.get(transport).getattr(intern!(py, "_loop"))?;
    let connecting = event_loop.call_method1(slots::Text(method), (factory, end))?;
    Ok(Some(co.keep(connecting)))
}

/// connection_made, and what was to be told before.
fn tell(co: &Co, transport: Kept) -> PyResult<()> {
    let py = co.py();
    let transport = co.get(transport);
    let pending = transport.getattr(intern!(py, "_pending_calls"))?;
    if pending.is_none() {
        return Err(pyo3::exceptions::PyAssertionError::new_err(()));
    }
    let call_soon = transport.getattr(intern!(py, "_loop"))?.getattr(intern!(py, "call_soon"))?;
    let made = transport.getattr(intern!(py, "_protocol"))?.getattr(intern!(py, "connection_made"))?;
    call_soon.call1((made, &transport))?;
    for entry in pending.try_iter()? {
        let entry = entry?;
        let mut all = vec![entry.get_item(0)?];
        all.extend(slots::items(&entry.get_item(1)?)?);
        call_soon.call1(slots::tuple(py, all)?)?;
    }
    transport.setattr(intern!(py, "_pending_calls"), py.None())
}

fn finish(co: &Co, [transport, waiter, process]: [Kept; 3], connected: PyResult<()>) -> PyResult<()> {
    let py = co.py();
    let waiter = co.get(waiter);
    let waits = !waiter.is_none() && !waiter.call_method0(intern!(py, "cancelled"))?.is_truthy()?;
    let Err(error) = connected else {
        return if waits { waiter.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop) } else { Ok(()) };
    };
    if error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py) {
        return Err(error);
    }
    let closed = close_pipes(&co.get(transport), &co.get(process));
    if waits {
        waiter.call_method1(intern!(py, "set_exception"), (error.into_value(py),))?;
    }
    closed
}

fn close_pipes(transport: &Bound<'_, PyAny>, process: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = transport.py();
    for pipe in transport.getattr(intern!(py, "_pipes"))?.call_method0(intern!(py, "values"))?.try_iter()? {
        let pipe = pipe?;
        if !pipe.is_none() {
            pipe.getattr(intern!(py, "pipe"))?.call_method0(intern!(py, "close"))?;
        }
    }
    for (attribute, ..) in ENDS {
        let end = process.getattr(slots::Text(attribute))?;
        if !end.is_none() {
            end.call_method0(intern!(py, "close"))?;
        }
    }
    Ok(())
}
