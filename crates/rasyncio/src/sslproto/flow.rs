//! Flow control: when the program is paused, and when the transport below.
//!
//! Called whenever the size of what waits changes, and by the program for the marks; calls the program's `pause_writing` and
//! `resume_writing`, and the transport's `pause_reading` and `resume_reading`.
//!
//! States, on each side: running -> paused (the high mark is reached) -> running (the low mark is). Other than in a socket
//! transport the high mark itself pauses.
//!
//! The marks are those of socket transports, other usual ones.

use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Parsed, Ref, Signature, opt};

use super::{SslProtocol, leaves};
use crate::futures::given;
use crate::selector_events::flow::{self, Crossing, Marks};

/// `add_flowcontrol_defaults`: high and low, the missing one from the other; `usual` is what the high one is if none is given, in
/// KiB.
pub(super) fn defaults<'py>(
    high: Option<&Bound<'py, PyAny>>,
    low: Option<&Bound<'py, PyAny>>,
    usual: &Bound<'py, PyAny>,
) -> PyResult<[Bound<'py, PyAny>; 2]> {
    flow::complete(high, low, || usual.mul(1024))
}

/// Sets marks as above.
pub(super) fn set<'py>(
    marks: &Marks,
    high: Option<&Bound<'py, PyAny>>,
    low: Option<&Bound<'py, PyAny>>,
    usual: &Bound<'py, PyAny>,
) -> PyResult<()> {
    marks.put(defaults(high, low, usual)?);
    Ok(())
}

/// The arguments of `set_write_buffer_limits` and `set_read_buffer_limits`: high and low.
pub(super) fn parse<'a, 'py>(args: &Args<'a, 'py>) -> PyResult<Parsed<'a, 'py, 2>> {
    const LIMITS: Signature<2> = Signature::method("set_write_buffer_limits", [opt("high"), opt("low")]);
    Ok(args.parse(&LIMITS)?.map(|mark| given(&mark)))
}

/// Pauses or resumes the program, now that `size` bytes wait to be sent.
pub(super) fn control_app_writing(this: &Ref<'_, SslProtocol>, size: usize) -> PyResult<()> {
    let method = match this.outgoing.crossed(size) {
        Some(Crossing::Pause) => "pause_writing",
        Some(Crossing::Resume) => "resume_writing",
        None => return Ok(()),
    };
    let py = this.py();
    match this.app.get_or_none(py).call_method0(slots::Text(method)) {
        Ok(_) => Ok(()),
        Err(error) if leaves(py, &error) => Err(error),
        Err(error) => slots::excepting(py, error, |error| {
            let details = slots::dict(py)?;
            details.set_item(intern!(py, "message"), format!("protocol.{method}() failed"))?;
            details.set_item(intern!(py, "exception"), error)?;
            details.set_item(intern!(py, "transport"), this.app_transport.any().get_or_none(py))?;
            details.set_item(intern!(py, "protocol"), this.any())?;
            SslProtocol::event_loop(this).call_method1(intern!(py, "call_exception_handler"), (details,)).map(drop)
        }),
    }
}

/// Pauses or resumes the transport below, now that `size` bytes wait to be decrypted.
pub(super) fn control_transport_reading(this: &Ref<'_, SslProtocol>, size: usize) -> PyResult<()> {
    let py = this.py();
    let method = match this.incoming.crossed(size) {
        Some(Crossing::Pause) => intern!(py, "pause_reading"),
        Some(Crossing::Resume) => intern!(py, "resume_reading"),
        None => return Ok(()),
    };
    SslProtocol::lower(this).call_method0(method).map(drop)
}
