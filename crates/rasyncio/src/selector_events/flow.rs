//! Flow control: the marks of a write buffer, when the protocol is paused, and when it is resumed.
//!
//! A field of a transport, which tells it whenever the size of its buffer changes; calls the protocol. TLS has two for each connection,
//! which only say that a mark was crossed ([`Marks::crossed`]).
//!
//! States: running -> paused (the buffer grew above the high mark; under TLS: to it) -> running (it shrank to the low mark). Each
//! crossing is answered once.
//!
//! What the protocol raises then goes to the exception handler; SystemExit and KeyboardInterrupt leave the loop.
//!
//! The marks are Python numbers, and are shown as they were given; an int that is too large for a float is more than any
//! buffer holds.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Own, Signature, Slot, Visit, Visitor, opt};

use super::ends::{Ends, leaves};
use crate::futures::given;

/// The usual marks, in bytes.
const HIGH: usize = 64 * 1024;
const LOW: usize = HIGH / 4;

/// What is to be done when a mark is crossed.
pub enum Crossing {
    /// The high one.
    Pause,
    /// The low one.
    Resume,
}

/// The marks, and whether the protocol is paused.
pub struct Marks {
    high: Slot,
    low: Slot,
    high_mark: Cell<f64>,
    low_mark: Cell<f64>,
    paused: Cell<bool>,
}

impl Default for Marks {
    fn default() -> Self {
        Marks {
            high: Slot::empty(),
            low: Slot::empty(),
            high_mark: Cell::new(HIGH as f64),
            low_mark: Cell::new(LOW as f64),
            paused: Cell::new(false),
        }
    }
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

fn tell([transport, protocol, event_loop]: Ends<'_>, method: &str) -> PyResult<()> {
    let py = transport.py();
    let error = match protocol.call_method0(slots::Text(method)) {
        Ok(_) => return Ok(()),
        Err(error) if leaves(py, &error) => return Err(error),
        Err(error) => error,
    };
    slots::excepting(py, error, |error| {
        let details = slots::dict(py)?;
        details.set_item(intern!(py, "message"), format!("protocol.{method}() failed"))?;
        details.set_item(intern!(py, "exception"), error)?;
        details.set_item(intern!(py, "transport"), transport)?;
        details.set_item(intern!(py, "protocol"), protocol)?;
        event_loop.call_method1(intern!(py, "call_exception_handler"), (details,)).map(drop)
    })
}

impl Marks {
    /// Whether the protocol is paused.
    pub fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Pauses the protocol of `ends` if the buffer has grown above the high mark; `size` is what it holds now.
    #[inline]
    pub fn grown<'py>(&self, size: usize, ends: impl FnOnce() -> Ends<'py>) -> PyResult<()> {
        match size as f64 > self.high_mark.get() && !self.paused.replace(true) {
            true => tell(ends(), "pause_writing"),
            false => Ok(()),
        }
    }

    /// Resumes it if the buffer has shrunk to the low mark.
    #[inline]
    pub fn shrunk<'py>(&self, size: usize, ends: impl FnOnce() -> Ends<'py>) -> PyResult<()> {
        match size as f64 <= self.low_mark.get() && self.paused.replace(false) {
            true => tell(ends(), "resume_writing"),
            false => Ok(()),
        }
    }

    /// The marks as Python sees them: (low, high).
    pub fn limits(&self, py: Python<'_>) -> PyResult<Own> {
        let mark = |kept: &Slot, usual: usize| match kept.get(py) {
            Some(mark) => Ok(mark),
            None => usual.into_pyobject(py).map(Bound::into_any),
        };
        Ok(Own::new((mark(&self.low, LOW)?, mark(&self.high, HIGH)?).into_pyobject(py)?.into_any()))
    }

    /// What `set_write_buffer_limits(high=None, low=None)` does, but for the pause that it may call for.
    pub fn set(&self, args: &Args<'_, '_>) -> PyResult<()> {
        const LIMITS: Signature<2> = Signature::method("set_write_buffer_limits", [opt("high"), opt("low")]);
        let [high, low] = args.parse(&LIMITS)?;
        let usual = || HIGH.into_pyobject(args.py()).map(Bound::into_any).map_err(PyErr::from);
        self.put(complete(given(&high), given(&low), usual)?);
        Ok(())
    }

    /// Sets the marks: high and low.
    pub fn put(&self, [high, low]: [Bound<'_, PyAny>; 2]) {
        let mark = |number: &Bound<'_, PyAny>| number.extract::<f64>().unwrap_or(f64::INFINITY);
        self.high_mark.set(mark(&high));
        self.low_mark.set(mark(&low));
        self.high.set(high);
        self.low.set(low);
    }

    /// The mark that a size has reached: that of a pause, or that of its end.
    #[inline]
    pub fn crossed(&self, size: usize) -> Option<Crossing> {
        let (size, paused) = (size as f64, self.paused.get());
        let crossing = match paused {
            false if size >= self.high_mark.get() => Crossing::Pause,
            true if size <= self.low_mark.get() => Crossing::Resume,
            _ => return None,
        };
        self.paused.set(!paused);
        Some(crossing)
    }
}

/// The marks, high and low, where one is missing made of the other one, or of the usual high one.
pub fn complete<'py>(
    high: Option<&Bound<'py, PyAny>>,
    low: Option<&Bound<'py, PyAny>>,
    usual: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<[Bound<'py, PyAny>; 2]> {
    let high = match (high, low) {
        (Some(high), _) => high.clone(),
        (None, Some(low)) => 4_usize.into_pyobject(low.py())?.mul(low)?,
        (None, None) => usual()?,
    };
    let low = match low {
        Some(low) => low.clone(),
        None => high.floor_div(4)?,
    };
    if !(high.ge(&low)? && low.ge(0)?) {
        let (high, low) = (high.repr()?, low.repr()?);
        return Err(PyValueError::new_err(format!("high ({high}) must be >= low ({low}) must be >= 0")));
    }
    Ok([high, low])
}
