//! `connect_read_pipe` and `connect_write_pipe`: a file object under a transport that the loop's hooks make.
//!
//! Called by the shells; calls the protocol factory, then `_make_read_pipe_transport` or `_make_write_pipe_transport`, which
//! derived loops bring, and waits until connection_made was called.
//!
//! A transport whose wait fails, by cancellation for example, is closed; the pipe is the transport's from its creation on.

use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Co, Kept, Own, Ref, Signature, arg};

use super::{BaseEventLoop, is_debug};
use crate::base_events::create_future;
use crate::log::logger;

/// Which end of a pipe.
#[derive(Clone, Copy)]
pub(super) enum End {
    Read,
    Write,
}

pub(super) fn connect_pipe<'py>(
    this: &Ref<'py, BaseEventLoop>,
    args: &Args<'_, 'py>,
    end: End,
) -> PyResult<Bound<'py, PyAny>> {
    const SIGNATURE: Signature<2> =
        Signature::method("BaseEventLoop.connect_pipe", [arg("protocol_factory"), arg("pipe")]);
    let py = this.py();
    let [Some(factory), Some(pipe)] = args.parse(&SIGNATURE)? else {
        return Err(pyo3::exceptions::PyTypeError::new_err("an argument is missing"));
    };
    let name = match end {
        End::Read => "BaseEventLoop.connect_read_pipe",
        End::Write => "BaseEventLoop.connect_write_pipe",
    };
    let kept = [this.any().clone(), factory.clone(), pipe.clone()];
    slots::coroutine(py, name, kept, move |co, [event_loop, factory, pipe]| async move {
        let [transport, protocol, waiter] = begin(&co, [event_loop, factory, pipe], end)?;
        if let Err(error) = co.wait(waiter).await {
            co.get(transport).call_method0(intern!(co.py(), "close"))?;
            return Err(error);
        }
        log_connected(&co, [event_loop, pipe, transport, protocol], end)?;
        Ok(Own::new(slots::tuple(co.py(), [co.get(transport), co.get(protocol)])?.into_any()))
    })
}

fn begin(co: &Co, [event_loop, factory, pipe]: [Kept; 3], end: End) -> PyResult<[Kept; 3]> {
    let protocol = co.get(factory).call0()?;
    let event_loop = co.get(event_loop);
    let waiter = create_future(&event_loop)?;
    let hook = match end {
        End::Read => "_make_read_pipe_transport",
        End::Write => "_make_write_pipe_transport",
    };
    let transport = event_loop.call_method1(slots::Text(hook), (co.get(pipe), &protocol, &waiter))?;
    Ok([co.keep(transport), co.keep(protocol), co.keep(waiter)])
}

/// Debug mode's record of a new transport.
fn log_connected(co: &Co, [event_loop, pipe, transport, protocol]: [Kept; 4], end: End) -> PyResult<()> {
    let py = co.py();
    if !is_debug(&co.get(event_loop)) {
        return Ok(());
    }
    let text = match end {
        End::Read => "Read pipe %r connected: (%r, %r)",
        End::Write => "Write pipe %r connected: (%r, %r)",
    };
    let number = co.get(pipe).call_method0(intern!(py, "fileno"))?;
    let logger = logger(py, "base_events")?;
    logger.log("debug", (text, number, co.get(transport), co.get(protocol))).map(drop)
}
