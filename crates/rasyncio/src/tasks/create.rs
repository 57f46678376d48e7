//! Making tasks: `create_task`, `ensure_future`, eager factories, `run_coroutine_threadsafe`, `shield`.
//!
//! Called by users and by rooms that take "a future or a coroutine"; calls the running loop, whose factory has the last word.
//!
//! `shield` is two futures tied together: the inner one's end goes to the outer, the outer's cancellation goes nowhere. The
//! tie is a native callback on each side, [`Shielded`] and [`OuterTie`].

use pyo3::exceptions::{PyBaseException, PyKeyboardInterrupt, PyRuntimeError, PySystemExit, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, add_function, arg, class, kw_opt};

use crate::base_events::{create_future, create_task, names_first};
use crate::events::{get_event_loop, get_running_loop};
use crate::futures::{self, given};
use crate::{base_futures, coroutines, face, library};

use super::awaited_by;

/// `obj` if it is a future; else a task for it on the given loop, or on the caller's.
pub fn ensure_future<'py>(
    object: &Bound<'py, PyAny>,
    event_loop: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    // A coroutine of Python's is no future, and need not be asked.
    if !slots::is_exact_coroutine(object) && base_futures::isfuture(object)? {
        if let Some(event_loop) = event_loop {
            if !futures::loop_of(object)?.is(event_loop) {
                return Err(PyValueError::new_err(
                    "The future belongs to a different loop than the one specified as the loop argument",
                ));
            }
        }
        return Ok(object.clone());
    }
    let (coroutine, is_own) = if coroutines::is_coroutine(object)? {
        (object.clone(), true)
    } else if coroutines::is_awaitable(object)? {
        (face(py, "tasks")?.call_method1(intern!(py, "_wrap_awaitable"), (object,))?, false)
    } else {
        return Err(PyTypeError::new_err("An asyncio.Future, a coroutine or an awaitable is required"));
    };
    let event_loop = match event_loop {
        Some(event_loop) => event_loop.clone(),
        None => get_event_loop(py)?,
    };
    match create_task(&event_loop, &coroutine, None) {
        Err(error) if is_own && error.is_instance_of::<PyRuntimeError>(py) => {
            coroutine.call_method0(intern!(py, "close"))?;
            Err(error)
        }
        other => other,
    }
}

/// Whether it is an awaitable and no iterable of them. A generator is one of them (3.12; so on 3.11 too).
pub(super) fn is_single(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(base_futures::isfuture(given)? || (coroutines::is_coroutine(given)? && !coroutines::is_plain_generator(given)?))
}

fn create_task_function<'py>(py: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Own> {
    const PLAIN: Signature<3> = Signature::function("create_task", [arg("coro"), kw_opt("name"), kw_opt("context")]);
    const ANY: Signature<1> = Signature::function("create_task", [arg("coro")]);
    let event_loop = get_running_loop(py)?;
    if slots::VERSION >= (3, 14) || args.names("eager_start") {
        let ([Some(coroutine)], keywords) = args.parse_extra(&ANY)? else {
            return Err(PyTypeError::new_err("coro is missing"));
        };
        return create_task(&event_loop, coroutine, Some(&keywords)).map(Own::new);
    }
    let [Some(coroutine), name, context] = args.parse(&PLAIN)? else {
        return Err(PyTypeError::new_err("coro is missing"));
    };
    let context = given(&context);
    if slots::VERSION < (3, 13) {
        let keywords = slots::dict(py)?;
        if let Some(context) = context {
            keywords.set_item(intern!(py, "context"), context)?;
        }
        let Some(name) = given(&name) else {
            return create_task(&event_loop, coroutine, Some(&keywords)).map(Own::new);
        };
        if names_first(&event_loop)? {
            keywords.set_item(intern!(py, "name"), name)?;
        }
        let task = create_task(&event_loop, coroutine, Some(&keywords))?;
        set_task_name(&task, name)?;
        return Ok(task.into());
    }
    let is_plain = crate::base_events::BaseEventLoop::of(&event_loop)
        .is_some_and(|own| own.makes_plain_tasks() && name.is_none() && context.is_none());
    if is_plain {
        return create_task(&event_loop, coroutine, None).map(Own::new);
    }
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "name"), name)?;
    if let Some(context) = context {
        keywords.set_item(intern!(py, "context"), context)?;
    }
    create_task(&event_loop, coroutine, Some(&keywords)).map(Own::new)
}

/// Names a task of any class; one without `set_name` keeps its own.
pub fn set_task_name<'py>(task: &Bound<'py, PyAny>, name: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = task.py();
    match task.getattr_opt(intern!(py, "set_name"))? {
        Some(set_name) => set_name.call1((name,)).map(drop),
        None => PyErr::warn(
            py,
            &py.get_type::<pyo3::exceptions::PyDeprecationWarning>(),
            c"Task.set_name() was added in Python 3.8, the method support will be mandatory for third-party task implementations since 3.13.",
            3,
        ),
    }
}

class! {
    /// The tie between the two futures of a shield, on the inner side: `outer` is the future at the other end.
    pub struct Shielded {
        outer: Slot,
        /// The task that is noted as waiting for the inner future.
        waiter: Slot,
    }
}

impl Shielded {
    /// The future at the other end.
    pub fn outer<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.outer.get(py)
    }
}

impl Class for Shielded {
    const NAME: &'static std::ffi::CStr = c"rasyncio.tasks._Shielded";
    const CALLABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.call(|this, args| {
            let (Some(inner), Some(outer)) = (args.positional().first(), this.outer.get(this.py())) else {
                return Ok(());
            };
            if let Some(waiter) = this.waiter.take(this.py()) {
                awaited_by::discard(inner, &waiter)?;
            }
            inner_done(inner, &outer)
        });
    }
}

class! {
    /// The outer side of a shield: what is needed to undo the inner side.
    pub struct OuterTie { inner: Slot, callback: Slot }
}

impl Class for OuterTie {
    const NAME: &'static std::ffi::CStr = c"rasyncio.tasks._OuterTie";
    const CALLABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.call(|this, _| outer_done(this));
    }
}

fn is(future: &Bound<'_, PyAny>, method: &str) -> PyResult<bool> {
    future.call_method0(slots::Text(method))?.is_truthy()
}

/// The inner future ended: the outer ends alike, unless it was cancelled.
fn inner_done<'py>(inner: &Bound<'py, PyAny>, outer: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = inner.py();
    if is(outer, "cancelled")? {
        // Nobody is left to be told. Before 3.14 the exception is marked as seen.
        if slots::VERSION < (3, 14) && !is(inner, "cancelled")? {
            inner.call_method0(intern!(py, "exception"))?;
        }
        return Ok(());
    }
    if is(inner, "cancelled")? {
        return outer.call_method0(intern!(py, "cancel")).map(drop);
    }
    let exception = inner.call_method0(intern!(py, "exception"))?;
    if exception.is_none() {
        outer.call_method1(intern!(py, "set_result"), (inner.call_method0(intern!(py, "result"))?,))?;
    } else {
        outer.call_method1(intern!(py, "set_exception"), (exception,))?;
    }
    Ok(())
}

/// The outer future ended first: the inner need not tell it. From 3.14 on an exception is told to the loop instead, once
/// for all shields of the same future.
fn outer_done(this: &Ref<'_, OuterTie>) -> PyResult<()> {
    let py = this.py();
    let (Some(inner), Some(callback)) = (this.inner.take(py), this.callback.take(py)) else { return Ok(()) };
    if is(&inner, "done")? {
        return Ok(());
    }
    inner.call_method1(intern!(py, "remove_done_callback"), (&callback,))?;
    if slots::VERSION < (3, 14) {
        return Ok(());
    }
    let log = face(py, "tasks")?.getattr(intern!(py, "_log_on_exception"))?;
    inner.call_method1(intern!(py, "remove_done_callback"), (&log,))?;
    inner.call_method1(intern!(py, "add_done_callback"), (log,))?;
    match Ref::<Shielded>::cast(&callback).and_then(|shielded| shielded.waiter.take(py)) {
        Some(waiter) => awaited_by::discard(&inner, &waiter),
        None => Ok(()),
    }
}

/// Tells the loop of the exception of a future whose shields have all been cancelled.
fn log_on_exception(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    if is(future, "cancelled")? {
        return Ok(());
    }
    let exception = future.call_method0(intern!(py, "exception"))?;
    if exception.is_none() {
        return Ok(());
    }
    let details = slots::dict(py)?;
    let text = format!("{} exception in shielded future", exception.get_type().name()?);
    details.set_item(intern!(py, "message"), text)?;
    details.set_item(intern!(py, "exception"), exception)?;
    details.set_item(intern!(py, "future"), future)?;
    let stack = future.getattr_opt(intern!(py, "_source_traceback"))?;
    if let Some(stack) = stack.filter(|s| !s.is_none()) {
        details.set_item(intern!(py, "source_traceback"), stack)?;
    }
    futures::loop_of(future)?.call_method1(intern!(py, "call_exception_handler"), (details,)).map(drop)
}

fn shield<'py>(argument: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = argument.py();
    let inner = ensure_future(argument, None)?;
    if is(&inner, "done")? {
        return Ok(inner);
    }
    let event_loop = futures::loop_of(&inner)?;
    let outer = create_future(&event_loop)?;
    let waiter = awaited_by::add_current(&inner)?;
    let shielded = Shielded { outer: Slot::of(outer.clone()), waiter: waiter.map(Slot::of).unwrap_or_default() };
    let inner_side = Ref::create(py, shielded)?.into_any();
    let tie = OuterTie { inner: Slot::of(inner.clone()), callback: Slot::of(inner_side.clone()) };
    let outer_side = Ref::create(py, tie)?.into_any();
    inner.call_method1(intern!(py, "add_done_callback"), (inner_side,))?;
    outer.call_method1(intern!(py, "add_done_callback"), (outer_side,))?;
    Ok(outer)
}

class! {
    /// What `run_coroutine_threadsafe` has the loop call.
    pub struct Submission { coroutine: Slot, event_loop: Slot, promise: Slot }
}

impl Class for Submission {
    const NAME: &'static std::ffi::CStr = c"rasyncio.tasks._Submission";
    const CALLABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.call(|this, _| {
            let py = this.py();
            let (Some(coroutine), Some(event_loop), Some(promise)) =
                (this.coroutine.take(py), this.event_loop.take(py), this.promise.take(py))
            else {
                return Ok(());
            };
            let chained = ensure_future(&coroutine, Some(&event_loop))
                .and_then(|task| face(py, "futures")?.call_method1(intern!(py, "_chain_future"), (task, &promise)));
            match chained {
                Ok(_) => Ok(()),
                Err(error)
                    if error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py) =>
                {
                    Err(error)
                }
                Err(error) => {
                    if promise.call_method0(intern!(py, "set_running_or_notify_cancel"))?.is_truthy()? {
                        promise.call_method1(intern!(py, "set_exception"), (error.value(py),))?;
                    }
                    debug_assert!(error.is_instance_of::<PyBaseException>(py));
                    Err(error)
                }
            }
        });
    }
}

fn run_coroutine_threadsafe<'py>(coroutine: &Bound<'py, PyAny>, event_loop: &Bound<'py, PyAny>) -> PyResult<Own> {
    let py = coroutine.py();
    if !coroutines::is_coroutine(coroutine)? {
        return Err(PyTypeError::new_err("A coroutine object is required"));
    }
    let promise = library(py, "concurrent.futures")?.call_method0(intern!(py, "Future"))?;
    let submission = Submission {
        coroutine: Slot::of(coroutine.clone()),
        event_loop: Slot::of(event_loop.clone()),
        promise: Slot::of(promise.clone()),
    };
    event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (Ref::create(py, submission)?.into_any(),))?;
    Ok(promise.into())
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let create_doc = c"create_task(coro, **kwargs)\n--\n\nRun a coroutine as a task of the running loop; name and context as for Task.\n\
        Keep a reference to the task: the loop has only a weak one.";
    add_function(module, c"create_task", create_doc, create_task_function)?;
    let ensure_doc = c"ensure_future(coro_or_future, *, loop=None)\n--\n\nThe argument if it is a future, else a task for the coroutine or awaitable.";
    add_function(module, c"ensure_future", ensure_doc, |_, args| {
        const SIGNATURE: Signature<2> = Signature::function("ensure_future", [arg("coro_or_future"), kw_opt("loop")]);
        match args.parse(&SIGNATURE)? {
            [Some(object), event_loop] => ensure_future(object, given(&event_loop)).map(Own::new),
            _ => Err(PyTypeError::new_err("coro_or_future is missing")),
        }
    })?;
    let shield_doc = c"shield(arg)\n--\n\nA future with the result of arg, whose cancellation does not reach arg.\n\
        Keep a reference to a task that you shield: the loop has only a weak one.";
    let log_doc = c"_log_on_exception(fut)\n--\n\nTell the loop of the exception of a shielded future.";
    add_function(module, c"_log_on_exception", log_doc, |_, args| {
        const SIGNATURE: Signature<1> = Signature::function("_log_on_exception", [arg("fut")]);
        args.parse(&SIGNATURE)?[0].map_or(Ok(()), log_on_exception)
    })?;
    add_function(module, c"shield", shield_doc, |_, args| {
        const SIGNATURE: Signature<1> = Signature::function("shield", [arg("arg")]);
        match args.parse(&SIGNATURE)? {
            [Some(argument)] => shield(argument).map(Own::new),
            _ => Err(PyTypeError::new_err("arg is missing")),
        }
    })?;
    let threadsafe_doc = c"run_coroutine_threadsafe(coro, loop)\n--\n\nHave loop, which runs in another thread, run the coroutine. Answers a concurrent.futures.Future.";
    add_function(module, c"run_coroutine_threadsafe", threadsafe_doc, |_, args| {
        const SIGNATURE: Signature<2> = Signature::function("run_coroutine_threadsafe", [arg("coro"), arg("loop")]);
        match args.parse(&SIGNATURE)? {
            [Some(coroutine), Some(event_loop)] => run_coroutine_threadsafe(coroutine, event_loop),
            _ => Err(PyTypeError::new_err("an argument is missing")),
        }
    })?;
    add_function(
        module,
        c"_set_task_name",
        c"_set_task_name(task, name)\n--\n\nName a task of any class.",
        |_, args| {
            const SIGNATURE: Signature<2> = Signature::function("_set_task_name", [arg("task"), arg("name")]);
            match args.parse(&SIGNATURE)? {
                [Some(task), Some(name)] if !name.is_none() => set_task_name(task, name),
                _ => Ok(()),
            }
        },
    )
}
