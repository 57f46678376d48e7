//! Futures of asyncio and of concurrent.futures, tied together.
//!
//! Called by `run_in_executor`, `run_coroutine_threadsafe` and users of `wrap_future`; calls both kinds by their methods, and
//! the loop's `call_soon_threadsafe` to get from one thread to another.
//!
//! The end of the source becomes the end of the destination; a cancellation of the destination cancels the source. Each
//! side has a callable ([`ChainEnd`]) among the callbacks of its future. What crosses to a loop that was closed meanwhile is
//! dropped in silence: nobody is left to hear of it.

use std::cell::Cell;

use pyo3::exceptions::{PyAssertionError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyString};
use slots::intern;
use slots::{Class, Own, Ref, Signature, Slot, Spec, add_function, arg, class, kw_opt};

use super::{Future, State, given_loop, loop_of};
use crate::base_events::create_future;
use crate::base_futures::isfuture;
use crate::events::{Kind, LoopCore, running_loop};
use crate::futures::given;
use crate::{exceptions, face, library};

#[derive(Clone, Copy, Default, PartialEq)]
enum Side {
    #[default]
    Source,
    Destination,
}

/// How a future ended.
enum End<'py> {
    Result(Bound<'py, PyAny>),
    Exception(Bound<'py, PyAny>),
    Cancelled,
}

class! {
    /// One end of the tie.
    pub struct ChainEnd {
        source: Slot,
        destination: Slot,
        source_loop: Slot,
        destination_loop: Slot,
        side: Cell<Side>,
        /// Whether the source is a job that the destination's loop counts.
        counted: Cell<bool>,
    }
}

impl Class for ChainEnd {
    const NAME: &'static std::ffi::CStr = c"rasyncio.futures._ChainEnd";
    const CALLABLE: bool = false;
    const SUBCLASSABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.call(|this, args| {
            let Some(done) = args.positional().first() else { return Ok(()) };
            match this.side.get() {
                Side::Destination => check_cancel(this, done),
                Side::Source => carry_over(this, done),
            }
        });
    }
}

fn is(future: &Bound<'_, PyAny>, method: &str) -> PyResult<bool> {
    future.call_method0(slots::Text(method))?.is_truthy()
}

/// Whether `event_loop` is none at all, or the one that runs on this thread.
fn is_here(py: Python<'_>, event_loop: &Option<Bound<'_, PyAny>>) -> bool {
    match event_loop {
        None => true,
        Some(event_loop) => running_loop(py).is_some_and(|running| running.is(event_loop)),
    }
}

/// The destination is done: if it was cancelled, so is the source.
fn check_cancel<'py>(this: &Ref<'py, ChainEnd>, destination: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    if !is(destination, "cancelled")? {
        return Ok(());
    }
    let (Some(source), source_loop) = (this.source.get(py), this.source_loop.get(py)) else { return Ok(()) };
    match source_loop {
        Some(event_loop) if !is_here(py, &Some(event_loop.clone())) => {
            // A loop that is closed has no use for a cancellation.
            if slots::VERSION >= (3, 13) && is(&event_loop, "is_closed")? {
                return Ok(());
            }
            let cancel = source.getattr(intern!(py, "cancel"))?;
            event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (cancel,)).map(drop)
        }
        _ => source.call_method0(intern!(py, "cancel")).map(drop),
    }
}

/// The source is done: its end goes to the destination, on the destination's loop.
fn carry_over<'py>(this: &Ref<'py, ChainEnd>, source: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let (Some(destination), destination_loop) = (this.destination.get(py), this.destination_loop.get(py)) else {
        return Ok(());
    };
    if this.counted.replace(false) {
        if let Some(core) = destination_loop.as_ref().and_then(|event_loop| LoopCore::of(event_loop)) {
            core.jobs.set(core.jobs.get().saturating_sub(1));
        }
    }
    if let Some(event_loop) = &destination_loop {
        if is(&destination, "cancelled")? && is(event_loop, "is_closed")? {
            return Ok(());
        }
    }
    if is_here(py, &destination_loop) {
        return set_state(&destination, source);
    }
    let Some(event_loop) = destination_loop else { return Ok(()) };
    if is(&event_loop, "is_closed")? {
        return Ok(());
    }
    static SET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let set = SET
        .get_or_try_init(py, || face(py, "_rasyncio")?.getattr(slots::Text("_set_state")).map(Bound::unbind))?
        .bind(py);
    event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (set, destination, source)).map(drop)
}

/// Gives `future` the end of `other`.
fn set_state<'py>(future: &Bound<'py, PyAny>, other: &Bound<'py, PyAny>) -> PyResult<()> {
    if isfuture(future)? { copy_state(other, future) } else { set_concurrent_state(future, other) }
}

/// An exception of concurrent.futures as asyncio's of the same name.
fn convert_exception<'py>(exception: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = exception.py();
    let module = library(py, "concurrent.futures")?;
    let class = exception.get_type();
    let own = if class.is(&module.getattr(intern!(py, "CancelledError"))?) {
        exceptions::cancelled_error(py)?
    } else if class.is(&module.getattr(intern!(py, "InvalidStateError"))?) {
        exceptions::invalid_state_error(py)?
    } else {
        return Ok(exception.clone());
    };
    let args = exception.getattr(intern!(py, "args"))?.cast_into::<pyo3::types::PyTuple>()?;
    let converted = own.call1(args)?;
    let trace = exception.getattr(intern!(py, "__traceback__"))?;
    converted.call_method1(intern!(py, "with_traceback"), (trace,))
}

/// The end of a concurrent.futures.Future of exactly that class, without its lock: what is done does not change any more.
fn concurrent_end<'py>(source: &Bound<'py, PyAny>) -> PyResult<Option<End<'py>>> {
    let py = source.py();
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let class = CLASS
        .get_or_try_init(py, || library(py, "concurrent.futures")?.getattr(slots::Text("Future")).map(Bound::unbind))?
        .bind(py);
    if !source.get_type().is(class) {
        return Ok(None);
    }
    let state = source.getattr(intern!(py, "_state"))?;
    let state = state.cast::<PyString>()?.to_str()?;
    Ok(match state {
        "CANCELLED" | "CANCELLED_AND_NOTIFIED" => Some(End::Cancelled),
        "FINISHED" => {
            let exception = source.getattr(intern!(py, "_exception"))?;
            Some(if exception.is_none() {
                End::Result(source.getattr(intern!(py, "_result"))?)
            } else {
                End::Exception(exception)
            })
        }
        _ => None,
    })
}

/// The end of any future that is done, by its methods.
fn end_of<'py>(source: &Bound<'py, PyAny>) -> PyResult<End<'py>> {
    let py = source.py();
    if is(source, "cancelled")? {
        return Ok(End::Cancelled);
    }
    let exception = source.call_method0(intern!(py, "exception"))?;
    Ok(if exception.is_none() {
        End::Result(source.call_method0(intern!(py, "result"))?)
    } else {
        End::Exception(exception)
    })
}

fn check_done(source: &Bound<'_, PyAny>) -> PyResult<()> {
    if is(source, "done")? { Ok(()) } else { Err(PyAssertionError::new_err(())) }
}

fn copy_state<'py>(source: &Bound<'py, PyAny>, destination: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = source.py();
    let end = concurrent_end(source)?;
    if end.is_none() {
        check_done(source)?;
    }
    if is(destination, "cancelled")? {
        return Ok(());
    }
    if is(destination, "done")? {
        return Err(PyAssertionError::new_err(()));
    }
    let end = match end {
        Some(end) => end,
        None => end_of(source)?,
    };
    match end {
        End::Cancelled => destination.call_method0(intern!(py, "cancel")).map(drop),
        End::Exception(exception) => {
            let exception = convert_exception(&exception)?;
            destination.call_method1(intern!(py, "set_exception"), (exception,)).map(drop)
        }
        End::Result(result) => match Ref::<Future>::cast_exact(destination) {
            Some(native) => Future::set_result(native, result),
            None => destination.call_method1(intern!(py, "set_result"), (result,)).map(drop),
        },
    }
}

fn set_concurrent_state<'py>(promise: &Bound<'py, PyAny>, source: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = source.py();
    check_done(source)?;
    if is(source, "cancelled")? {
        promise.call_method0(intern!(py, "cancel"))?;
    }
    if !is(promise, "set_running_or_notify_cancel")? {
        return Ok(());
    }
    let exception = source.call_method0(intern!(py, "exception"))?;
    if exception.is_none() {
        promise.call_method1(intern!(py, "set_result"), (source.call_method0(intern!(py, "result"))?,)).map(drop)
    } else {
        promise.call_method1(intern!(py, "set_exception"), (convert_exception(&exception)?,)).map(drop)
    }
}

fn is_concurrent(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = future.py();
    future.is_instance(&library(py, "concurrent.futures")?.getattr(intern!(py, "Future"))?)
}

/// The future of `role`, for the end on `side`; none on its own side. A future passes itself to its callbacks, and a
/// concurrent.futures.Future keeps its callbacks for ever: an end that held its own future would be a cycle through its result.
fn other(role: Side, side: Side, future: &Bound<'_, PyAny>) -> Slot {
    if role == side { Slot::default() } else { Slot::of(future.clone()) }
}

/// Ties two futures of either kind together.
pub fn chain<'py>(source: &Bound<'py, PyAny>, destination: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = source.py();
    let (source_is, destination_is) = (isfuture(source)?, isfuture(destination)?);
    if !source_is && !is_concurrent(source)? {
        return Err(PyTypeError::new_err("A future is required for source argument"));
    }
    if !destination_is && !is_concurrent(destination)? {
        return Err(PyTypeError::new_err("A future is required for destination argument"));
    }
    let slot = |is: bool, future: &Bound<'py, PyAny>| -> PyResult<Slot> {
        Ok(if is { Slot::of(loop_of(future)?) } else { Slot::default() })
    };
    for (future, side) in [(destination, Side::Destination), (source, Side::Source)] {
        let end = ChainEnd {
            source: other(Side::Source, side, source),
            destination: other(Side::Destination, side, destination),
            source_loop: slot(source_is, source)?,
            destination_loop: slot(destination_is, destination)?,
            side: Cell::new(side),
            counted: Cell::new(false),
        };
        future.call_method1(intern!(py, "add_done_callback"), (Ref::create(py, end)?.into_any(),))?;
    }
    Ok(())
}

fn wrap<'py>(future: &Bound<'py, PyAny>, event_loop: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    let py = future.py();
    if isfuture(future)? {
        return Ok(future.clone());
    }
    if !is_concurrent(future)? {
        let text = format!("concurrent.futures.Future is expected, got {}", future.repr()?);
        return Err(PyAssertionError::new_err(text));
    }
    let new = create_future(&given_loop(py, event_loop)?)?;
    chain(future, &new)?;
    Ok(new)
}

/// A future of `core`'s for a job that an executor has just taken; the loop counts the job until it is done.
pub fn wrap_job<'py>(core: &Ref<'py, LoopCore>, job: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = job.py();
    if isfuture(job)? || !is_concurrent(job)? {
        return wrap(job, Some(core.any()));
    }
    let new = create_future(core.any())?;
    let end = |side: Side| ChainEnd {
        source: other(Side::Source, side, job),
        destination: other(Side::Destination, side, &new),
        source_loop: Slot::default(),
        destination_loop: Slot::of(core.any().clone()),
        side: Cell::new(side),
        counted: Cell::new(side == Side::Source),
    };
    let back = Ref::create(py, end(Side::Destination))?.into_any();
    new.call_method1(intern!(py, "add_done_callback"), (back,))?;
    core.jobs.set(core.jobs.get() + 1);
    let forth = Ref::create(py, end(Side::Source))?.into_any();
    job.call_method1(intern!(py, "add_done_callback"), (forth,))?;
    Ok(new)
}

/// Finishes a future unless it was cancelled.
pub fn set_result_unless_cancelled<'py>(future: &Bound<'py, PyAny>, result: &Bound<'py, PyAny>) -> PyResult<()> {
    match Ref::<Future>::cast_exact(future) {
        Some(native) if native.state() == State::Cancelled => Ok(()),
        Some(native) => Future::set_result(native, result.clone()),
        None if is(future, "cancelled")? => Ok(()),
        None => future.call_method1(intern!(future.py(), "set_result"), (result,)).map(drop),
    }
}

/// A future that is to have the result None, unless it was cancelled by then.
static SETTLE: Kind = Kind {
    run: |future, _| set_result_unless_cancelled(future, &future.py().None().into_bound(future.py())),
    event_loop: |future| Ref::<Future>::cast(future)?.event_loop(future.py()).map(Own::new),
    context: |_| None,
    name: "FutureSettle",
    qualname: Some("_set_result_unless_cancelled"),
};

/// `call_soon(_set_result_unless_cancelled, future, None)`.
pub fn settle_soon<'py>(core: &Ref<'py, LoopCore>, future: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = core.py();
    if LoopCore::is_straight(core) && Ref::<Future>::cast_exact(future).is_some() {
        return LoopCore::schedule(core, future.clone(), None, &SETTLE);
    }
    let set = face(py, "futures")?.getattr(intern!(py, "_set_result_unless_cancelled"))?;
    core.any().call_method1(intern!(py, "call_soon"), (set, future, py.None())).map(drop)
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    macro_rules! two {
        ($name:literal, $text:literal, $doc:literal, $first:literal, $second:literal, $function:expr) => {
            add_function(module, $name, $doc, |_, args| {
                const SIGNATURE: Signature<2> = Signature::function($text, [arg($first), arg($second)]);
                match args.parse(&SIGNATURE)? {
                    [Some(first), Some(second)] => $function(first, second),
                    _ => Err(PyTypeError::new_err("an argument is missing")),
                }
            })?
        };
    }
    two!(
        c"_set_result_unless_cancelled",
        "_set_result_unless_cancelled",
        c"_set_result_unless_cancelled(fut, result)\n--\n\nFinish a future with a result unless it was cancelled.",
        "fut",
        "result",
        set_result_unless_cancelled
    );
    two!(
        c"_set_concurrent_future_state",
        "_set_concurrent_future_state",
        c"_set_concurrent_future_state(concurrent, source)\n--\n\nGive a concurrent.futures.Future the end of another future.",
        "concurrent",
        "source",
        set_concurrent_state
    );
    two!(
        c"_copy_future_state",
        "_copy_future_state",
        c"_copy_future_state(source, dest)\n--\n\nGive a future the end of another one, of either kind.",
        "source",
        "dest",
        copy_state
    );
    two!(
        c"_set_state",
        "_set_state",
        c"_set_state(future, other)\n--\n\nGive a future of either kind the end of another one.",
        "future",
        "other",
        set_state
    );
    two!(
        c"_chain_future",
        "_chain_future",
        c"_chain_future(source, destination)\n--\n\nTie two futures of either kind together: ends go from source to destination, cancellation back.",
        "source",
        "destination",
        chain
    );
    add_function(
        module,
        c"_convert_future_exc",
        c"_convert_future_exc(exc)\n--\n\nAn exception of concurrent.futures as asyncio's of the same name.",
        |_, args| {
            const SIGNATURE: Signature<1> = Signature::function("_convert_future_exc", [arg("exc")]);
            let [exception] = args.parse(&SIGNATURE)?;
            exception.map(|e| convert_exception(e).map(Own::new)).transpose()
        },
    )?;
    add_function(module, c"_get_loop", c"_get_loop(fut)\n--\n\nThe loop of any future.", |_, args| {
        const SIGNATURE: Signature<1> = Signature::function("_get_loop", [arg("fut")]);
        let [future] = args.parse(&SIGNATURE)?;
        future.map(|f| loop_of(f).map(Own::new)).transpose()
    })?;
    let doc = c"wrap_future(future, *, loop=None)\n--\n\nAn asyncio future tied to a concurrent.futures.Future; an asyncio future is answered as it is.";
    add_function(module, c"wrap_future", doc, |_, args| {
        const SIGNATURE: Signature<2> = Signature::function("wrap_future", [arg("future"), kw_opt("loop")]);
        match args.parse(&SIGNATURE)? {
            [Some(future), event_loop] => wrap(future, given(&event_loop)).map(Own::new),
            _ => Err(PyTypeError::new_err("future is missing")),
        }
    })
}
