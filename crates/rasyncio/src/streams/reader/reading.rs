//! The five ways to read from a `StreamReader`: some bytes, all, exactly so many, a line, up to a separator.
//!
//! Called by the shells (`read`, `readline`, ...), which try a read first and wait only if they must, and by the table of
//! shells ([`quick_read`] and its kin), which stands in for them when the call is a plain one. Calls the reader for its bytes.
//!
//! A read that must wait is a [`Reading`]: what is read for, and what was gathered so far. It is tried again whenever data,
//! the end, or an exception has come. A read of exactly so many bytes is woken for fewer only where the reader is over-full.
//!
//! States of a read: tried -> done, or waiting -> tried again. The end of the stream and the reader's exception are final.
//!
//! Invariant: at most one read waits; a second one raises. What a read takes leaves the buffer at once, and a paused transport
//! is resumed by the read that brings the buffer down to the limit, or that must wait.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple};
use slots::intern;
use slots::{Args, Class, Own, Ref, Slot, Spec, class};

use super::StreamReader;
use crate::base_events::create_future;
use crate::coroutines::{Shell, may_stand_in, plain};
use crate::exceptions;
use crate::futures::{Future, Next, Wait};

/// What a read is for.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum Goal {
    #[default]
    Some,
    All,
    Exactly,
    Line,
    Until,
    /// Nothing is taken: to know that there is something, or the end.
    News,
}

impl Goal {
    fn name(self) -> &'static str {
        match self {
            Goal::Some | Goal::All => "read",
            Goal::Exactly => "readexactly",
            Goal::Line | Goal::Until => "readuntil",
            Goal::News => "_wait_for_data",
        }
    }
}

class! {
    /// A read on its way.
    pub struct Reading {
        goal: Cell<Goal>,
        count: Cell<usize>,
        /// Where to look for a separator next.
        offset: Cell<usize>,
        separators: Slot,
        gathered: Slot,
    }
}

impl Class for Reading {
    const NAME: &'static CStr = c"rasyncio.streams._Reading";
    const CALLABLE: bool = false;
    const FREE_LIST: usize = 64;
    fn define(_: &mut Spec<Self>) {}
}

fn incomplete<'py>(py: Python<'py>, partial: Bound<'py, PyAny>, expected: Option<usize>) -> PyErr {
    let made = exceptions::incomplete_read_error(py).and_then(|class| class.call1((partial, expected)));
    match made {
        Ok(error) => slots::raise(&error),
        Err(error) => error,
    }
}

fn overrun(py: Python<'_>, text: &str, consumed: usize) -> PyErr {
    let made = exceptions::limit_overrun_error(py).and_then(|class| class.call1((text, consumed)));
    match made {
        Ok(error) => slots::raise(&error),
        Err(error) => error,
    }
}

/// What a search for separators found.
enum Found {
    /// The match's start and end.
    At(usize, usize),
    /// Nothing yet; look from here next time.
    Not(usize),
}

fn find<'py>(this: &Ref<'py, StreamReader>, reading: &Reading) -> PyResult<Found> {
    let py = this.py();
    let separators = reading.separators.get_or_none(py);
    let offset = reading.offset.get();
    if separators.is_none() {
        // The usual case: one line came, and nothing else.
        if let Some(piece) = StreamReader::piece(this) {
            return Ok(
                match engine::buffers::find_byte(b'\n', &piece.as_bytes()[offset.min(piece.as_bytes().len())..]) {
                    Some(at) => Found::At(offset + at, offset + at + 1),
                    None => Found::Not(piece.as_bytes().len()),
                },
            );
        }
        return StreamReader::with(this, |buffer| match buffer.find(b"\n", offset) {
            Some(at) => Found::At(at, at + 1),
            None => Found::Not(buffer.len()),
        });
    }
    let bytes = |separator: Bound<'py, PyAny>| match PyBuffer::<u8>::get(&separator) {
        Ok(buffer) => buffer.to_vec(py),
        Err(_) => {
            let name = separator.get_type().name()?;
            Err(PyTypeError::new_err(format!("argument should be integer or bytes-like object, not '{name}'")))
        }
    };
    let separators: Vec<Vec<u8>> = separators.try_iter()?.map(|s| bytes(s?)).collect::<PyResult<_>>()?;
    let longest = separators.iter().map(Vec::len).max().unwrap_or(1);
    StreamReader::with(this, |buffer| {
        let mut best: Option<(usize, usize)> = None;
        for separator in &separators {
            if let Some(at) = buffer.find(separator, offset) {
                let end = at + separator.len();
                if best.is_none_or(|(_, best_end)| end < best_end) {
                    best = Some((at, end));
                }
            }
        }
        match best {
            Some((start, end)) => Found::At(start, end),
            None => Found::Not((buffer.len() + 1).saturating_sub(longest).max(offset.min(buffer.len()))),
        }
    })
}

fn try_until<'py>(this: &Ref<'py, StreamReader>, reading: &Reading) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = this.py();
    let limit = this.limit.get();
    match find(this, reading)? {
        Found::At(start, _) if start > limit => {
            Err(overrun(py, "Separator is found, but chunk is longer than limit", start))
        }
        Found::At(_, end) => {
            let chunk = StreamReader::take(this, end)?;
            StreamReader::maybe_resume(this)?;
            Ok(Some(chunk))
        }
        Found::Not(offset) => {
            reading.offset.set(offset);
            if offset > limit {
                return Err(overrun(py, "Separator is not found, and chunk exceed the limit", offset));
            }
            if this.eof.get() {
                let partial = StreamReader::take(this, usize::MAX)?;
                return Err(incomplete(py, partial, None));
            }
            Ok(None)
        }
    }
}

fn try_line<'py>(this: &Ref<'py, StreamReader>, reading: &Reading) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = this.py();
    let error = match try_until(this, reading) {
        Ok(line) => return Ok(line),
        Err(error) => error,
    };
    if error.is_instance(py, exceptions::incomplete_read_error(py)?) {
        return error.value(py).getattr(intern!(py, "partial")).map(Some);
    }
    if !error.is_instance(py, exceptions::limit_overrun_error(py)?) {
        return Err(error);
    }
    let consumed: usize = error.value(py).getattr(intern!(py, "consumed"))?.extract()?;
    StreamReader::with(this, |buffer| {
        if buffer.as_slice()[consumed.min(buffer.len())..].starts_with(b"\n") {
            buffer.consume(consumed + 1);
        } else {
            buffer.clear();
        }
    })?;
    StreamReader::maybe_resume(this)?;
    let text = error.value(py).getattr(intern!(py, "args"))?.get_item(0)?;
    Err(slots::raised_from(py, error, PyValueError::new_err(text.unbind())))
}

/// The reader's exception, if it has one.
fn check_exception(this: &Ref<'_, StreamReader>) -> PyResult<()> {
    match this.exception(this.py()) {
        Some(exception) => Err(slots::raise(&exception)),
        None => Ok(()),
    }
}

/// Tries a read for the first time; None if it must wait.
fn first_attempt<'py>(this: &Ref<'py, StreamReader>, reading: &Reading) -> PyResult<Option<Bound<'py, PyAny>>> {
    check_exception(this)?;
    attempt(this, reading)
}

/// Tries a read; None if it must wait.
fn attempt<'py>(this: &Ref<'py, StreamReader>, reading: &Reading) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = this.py();
    match reading.goal.get() {
        Goal::Some => {
            let count = reading.count.get();
            if count > 0 && StreamReader::is_empty(this)? && !this.eof.get() {
                return Ok(None);
            }
            let data = StreamReader::take(this, count)?;
            if count > 0 {
                StreamReader::maybe_resume(this)?;
            }
            Ok(Some(data))
        }
        Goal::All => {
            if !StreamReader::is_empty(this)? {
                let block = StreamReader::take(this, usize::MAX)?;
                let gathered = match reading.gathered.get(py) {
                    Some(gathered) => gathered,
                    None => {
                        let list = slots::list(py)?.into_any();
                        reading.gathered.set(list.clone());
                        list
                    }
                };
                gathered.call_method1(intern!(py, "append"), (block,))?;
                StreamReader::maybe_resume(this)?;
            }
            if !this.eof.get() {
                return Ok(None);
            }
            let empty = slots::bytes(py, b"")?;
            let Some(blocks) = reading.gathered.take(py) else { return Ok(Some(empty.into_any())) };
            empty.call_method1(intern!(py, "join"), (blocks,)).map(Some)
        }
        Goal::Exactly => {
            let count = reading.count.get();
            if count > 0 && StreamReader::len(this)? < count {
                if this.eof.get() {
                    let partial = StreamReader::take(this, usize::MAX)?;
                    return Err(incomplete(py, partial, Some(count)));
                }
                return Ok(None);
            }
            let data = StreamReader::take(this, count)?;
            if count > 0 {
                StreamReader::maybe_resume(this)?;
            }
            Ok(Some(data))
        }
        Goal::Line => try_line(this, reading),
        Goal::Until => try_until(this, reading),
        Goal::News => Ok(Some(py.None().into_bound(py))),
    }
}

/// A future for the next data, end, or exception.
fn next_waiter<'py>(this: &Ref<'py, StreamReader>, reading: &Reading) -> PyResult<Ref<'py, Future>> {
    let py = this.py();
    let goal = reading.goal.get();
    if this.waiter.is_set() {
        return Err(PyRuntimeError::new_err(format!(
            "{}() called while another coroutine is already waiting for incoming data",
            goal.name()
        )));
    }
    if this.paused.replace(false) {
        this.transport.get_or_none(py).call_method0(intern!(py, "resume_reading"))?;
    }
    let event_loop = this.event_loop.get_or_none(py);
    let waiter = match Ref::<Future>::cast(&create_future(&event_loop)?) {
        Some(waiter) => waiter.clone(),
        None => Future::create(&event_loop)?,
    };
    this.waiter.set(waiter.any().clone());
    this.wanted.set(if goal == Goal::Exactly { reading.count.get() } else { 0 });
    Ok(waiter)
}

fn woken<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = wait.py();
    let (owner, extra) = (wait.owner.get_or_none(py), wait.extra.get_or_none(py));
    let (Some(this), Some(reading)) = (Ref::<StreamReader>::cast(&owner), Ref::<Reading>::cast(&extra)) else {
        return outcome.map(Next::Return);
    };
    if wait.future(py).is_some_and(|waiter| this.waiter.is(waiter.any())) {
        this.waiter.unset();
    }
    outcome?;
    // An exception that came after the data does not take it away. Reading all is many reads, each of which looks.
    if reading.goal.get() == Goal::All {
        check_exception(this)?;
    }
    match attempt(this, reading)? {
        Some(data) => Ok(Next::Return(data)),
        None => {
            // Nobody would wake this read again.
            check_exception(this)?;
            next_waiter(this, reading).map(Next::Await)
        }
    }
}

/// A read: the bytes, or the wait for them.
pub(super) fn begin<'py>(this: &Ref<'py, StreamReader>, reading: Reading) -> PyResult<Own> {
    let py = this.py();
    match first_attempt(this, &reading)? {
        Some(data) => Ok(data.into()),
        None => {
            let waiter = next_waiter(this, &reading)?;
            let reading = Ref::create(py, reading)?.into_any();
            Wait::create(&waiter, this.any().clone(), Some(reading), woken)
        }
    }
}

/// `_wait_for_data`: the wait for whatever comes next, for code that goes by asyncio's insides.
pub(super) fn wait_for_news<'py>(this: &Ref<'py, StreamReader>, caller: &Bound<'py, PyAny>) -> PyResult<Own> {
    if this.waiter.is_set() {
        let text = "called while another coroutine is already waiting for incoming data";
        return Err(PyRuntimeError::new_err(format!("{}() {text}", caller.str()?)));
    }
    if this.eof.get() {
        return Err(PyAssertionError::new_err("_wait_for_data after EOF"));
    }
    let reading = simple(Goal::News, 0);
    let waiter = next_waiter(this, &reading)?;
    let reading = Ref::create(this.py(), reading)?.into_any();
    Wait::create(&waiter, this.any().clone(), Some(reading), woken)
}

pub(super) fn simple(goal: Goal, count: usize) -> Reading {
    Reading { goal: Cell::new(goal), count: Cell::new(count), ..Reading::default() }
}

pub(super) fn begin_until<'py>(this: &Ref<'py, StreamReader>, separator: &Bound<'py, PyAny>) -> PyResult<Own> {
    let py = this.py();
    let several = separator.is_instance_of::<PyTuple>();
    let mut separators = if several { slots::items(separator)? } else { vec![separator.clone()] };
    if separators.is_empty() {
        return Err(PyValueError::new_err("Separator should contain at least one element"));
    }
    for separator in &separators {
        if separator.len()? == 0 {
            return Err(PyValueError::new_err("Separator should be at least one-byte string"));
        }
    }
    // Of two that end at the same place the shorter one is found.
    let mut lengths = Vec::new();
    for separator in &separators {
        lengths.push(separator.len()?);
    }
    let mut order: Vec<usize> = (0..separators.len()).collect();
    order.sort_by_key(|at| lengths[*at]);
    separators = order.into_iter().map(|at| separators[at].clone()).collect();
    let reading = simple(Goal::Until, 0);
    reading.separators.set(slots::tuple(py, separators)?.into_any());
    begin(this, reading)
}

/// What a read that nobody awaited so far does: the reading is made when it was called.
fn begin_called<'py>(wait: &Ref<'py, Wait>) -> PyResult<Next<'py>> {
    let py = wait.py();
    let (owner, extra) = (wait.owner.get_or_none(py), wait.extra.get_or_none(py));
    let (Some(this), Some(reading)) = (Ref::<StreamReader>::cast(&owner), Ref::<Reading>::cast(&extra)) else {
        return Ok(Next::Return(extra));
    };
    match first_attempt(this, reading)? {
        Some(data) => Ok(Next::Return(data)),
        None => next_waiter(this, reading).map(Next::Await),
    }
}

static READ: Shell = Shell { room: "streams", name: "StreamReader.read", begin: begin_called, then: woken };
static EXACTLY: Shell = Shell { room: "streams", name: "StreamReader.readexactly", begin: begin_called, then: woken };
static LINE: Shell = Shell { room: "streams", name: "StreamReader.readline", begin: begin_called, then: woken };

fn reading<'py>(shell: &'static Shell, this: &Bound<'py, PyAny>, goal: Goal, count: usize) -> PyResult<Option<Own>> {
    if Ref::<StreamReader>::cast_exact(this).is_none() || !may_stand_in(this.py()) {
        return Ok(None);
    }
    let reading = Ref::create(this.py(), simple(goal, count))?.into_any();
    Wait::called(shell, this, Some(&reading)).map(Some)
}

/// A count of bytes above zero.
fn some(count: &Bound<'_, PyAny>) -> Option<usize> {
    count.cast_exact::<PyInt>().ok()?.extract::<usize>().ok().filter(|count| *count > 0)
}

/// `read(n)`, n above zero.
pub fn quick_read<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    match plain(args) {
        Some([this, count]) => some(count).map_or(Ok(None), |count| reading(&READ, this, Goal::Some, count)),
        None => Ok(None),
    }
}

/// `readexactly(n)`, n above zero.
pub fn quick_readexactly<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    match plain(args) {
        Some([this, count]) => some(count).map_or(Ok(None), |count| reading(&EXACTLY, this, Goal::Exactly, count)),
        None => Ok(None),
    }
}

/// `readline()`.
pub fn quick_readline<'py>(_: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    match plain(args) {
        Some([this]) => reading(&LINE, this, Goal::Line, 0),
        None => Ok(None),
    }
}
