//! Flow control: when the program is paused, and when the transport below.
//!
//! Called whenever the size of what waits changes, and by the program for the marks; calls the program's `pause_writing` and
//! `resume_writing`, and the transport's `pause_reading` and `resume_reading`.
//!
//! States, on each side: running -> paused (the high mark is reached) -> running (the low mark is). Other than in a socket
//! transport the high mark itself pauses.
//!
//! The marks are Python numbers, and are shown as they were given; an int that is too large for a float is more than anything
//! holds.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use slots::{Args, Own, Parsed, Ref, Signature, Slot, Visit, Visitor, opt};

use super::{SslProtocol, leaves};
use crate::futures::given;

/// Two marks, and whether the side that they are for is paused.
#[derive(Default)]
pub(super) struct Marks {
    high: Slot,
    low: Slot,
    high_mark: Cell<f64>,
    low_mark: Cell<f64>,
    paused: Cell<bool>,
}

impl Visit for Marks {
    fn visit(&self, visitor: &Visitor) {
        self.high.visit(visitor);
        self.low.visit(visitor);
    }
    fn clear(&self) {
        self.high.unset();
        self.low.unset();
    }
}

enum Crossing {
    Pause,
    Resume,
}

impl Marks {
    pub(super) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// The mark that a size has crossed.
    #[inline]
    fn crossed(&self, size: usize) -> Option<Crossing> {
        let (size, paused) = (size as f64, self.paused.get());
        if !paused && size >= self.high_mark.get() {
            self.paused.set(true);
            Some(Crossing::Pause)
        } else if paused && size <= self.low_mark.get() {
            self.paused.set(false);
            Some(Crossing::Resume)
        } else {
            None
        }
    }

    /// The marks as Python sees them: (low, high).
    pub(super) fn limits(&self, py: Python<'_>) -> PyResult<Own> {
        Ok(Own::new((self.low.get_or_none(py), self.high.get_or_none(py)).into_pyobject(py)?.into_any()))
    }

    /// Sets the marks; `usual` is what the high one is if none is given, in KiB.
    pub(super) fn set<'py>(
        &self,
        high: Option<&Bound<'py, PyAny>>,
        low: Option<&Bound<'py, PyAny>>,
        usual: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let (high, low) = defaults(high, low, usual)?;
        let mark = |number: &Bound<'_, PyAny>| number.extract::<f64>().unwrap_or(f64::INFINITY);
        self.high_mark.set(mark(&high));
        self.low_mark.set(mark(&low));
        self.high.set(high);
        self.low.set(low);
        Ok(())
    }
}

/// `add_flowcontrol_defaults`: (high, low), the missing one from the other.
pub(super) fn defaults<'py>(
    high: Option<&Bound<'py, PyAny>>,
    low: Option<&Bound<'py, PyAny>>,
    usual: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let high = match (high, low) {
        (Some(high), _) => high.clone(),
        (None, Some(low)) => low.mul(4)?,
        (None, None) => usual.mul(1024)?,
    };
    let low = match low {
        Some(low) => low.clone(),
        None => high.floor_div(4)?,
    };
    if high.ge(&low)? && low.ge(0)? {
        return Ok((high, low));
    }
    let text = format!("high ({}) must be >= low ({}) must be >= 0", high.repr()?, low.repr()?);
    Err(PyValueError::new_err(text))
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
    match this.app.get_or_none(py).call_method0(method) {
        Ok(_) => Ok(()),
        Err(error) if leaves(py, &error) => Err(error),
        Err(error) => {
            let details = PyDict::new(py);
            details.set_item(intern!(py, "message"), format!("protocol.{method}() failed"))?;
            details.set_item(intern!(py, "exception"), error.into_value(py))?;
            details.set_item(intern!(py, "transport"), this.app_transport.any().get_or_none(py))?;
            details.set_item(intern!(py, "protocol"), this.any())?;
            SslProtocol::event_loop(this).call_method1(intern!(py, "call_exception_handler"), (details,)).map(drop)
        }
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
