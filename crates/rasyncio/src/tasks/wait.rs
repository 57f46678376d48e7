//! `wait()`, `wait_for()`, `as_completed()`: waiting for several futures, or with a deadline.
//!
//! Called by shells and users; waits on each future as a native waiter ([`COUNTED`]) of a [`Countdown`].
//!
//! A countdown holds a native future, the gate, that it opens when enough of the awaited futures are done, or when the time
//! is over. The task waits for the gate alone; whatever comes of that, the countdown then leaves the futures.
//!
//! `wait_for` follows the running Python: from 3.12 it is `timeout()` around the awaitable in the caller's own task, before
//! that a task of its own which is cancelled and waited for.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use pyo3::exceptions::{PyStopAsyncIteration, PyStopIteration, PyTimeoutError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyModule, PySet};
use slots::intern;
use slots::{Class, Link, Own, Ref, Signature, Slot, Spec, add_function, arg, class, kw_opt};

use super::awaited_by;
use super::create::ensure_future;
use crate::base_events::create_future;
use crate::events::{Kind, NativeCallback, get_event_loop, get_running_loop};
use crate::futures::{Future, Next, Wait, given};
use crate::{coroutines, exceptions};

/// When a countdown is over.
#[derive(Clone, Copy, Default, PartialEq)]
enum Until {
    #[default]
    All,
    First,
    FirstException,
}

class! {
    /// A gate that opens when enough futures are done.
    pub struct Countdown {
        pub(crate) gate: Link<Future>,
        futures: RefCell<Vec<Own>>,
        timer: Slot,
        task: Slot,
        left: Cell<usize>,
        until: Cell<Until>,
    }
}

/// The end of a future that a countdown waits for.
static COUNTED: Kind = Kind {
    run: |object, argument| match (Ref::<Countdown>::cast(object), argument) {
        (Some(countdown), Some(future)) => counted(countdown, future),
        _ => Ok(()),
    },
    event_loop: |object| {
        let py = object.py();
        Ref::<Countdown>::cast(object)?.gate.get(py)?.event_loop(py).map(Own::new)
    },
    context: |_| None,
    name: "Countdown",
    qualname: Some("_wait.<locals>._on_completion"),
};

fn counted<'py>(this: &Ref<'py, Countdown>, future: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    this.left.set(this.left.get().saturating_sub(1));
    if let Some(task) = this.task.get(py) {
        awaited_by::discard(future, &task)?;
    }
    let over = match this.until.get() {
        _ if this.left.get() == 0 => true,
        Until::All => false,
        Until::First => true,
        Until::FirstException => {
            !future.call_method0(intern!(py, "cancelled"))?.is_truthy()?
                && !future.call_method0(intern!(py, "exception"))?.is_none()
        }
    };
    if !over {
        return Ok(());
    }
    if let Some(timer) = this.timer.get(py) {
        timer.call_method0(intern!(py, "cancel"))?;
    }
    open(this)
}

fn open(this: &Ref<'_, Countdown>) -> PyResult<()> {
    match this.gate.get(this.py()) {
        Some(gate) if !gate.is_done() => Future::set_result(&gate, this.py().None().into_bound(this.py())),
        _ => Ok(()),
    }
}

/// Whether nobody overrides the methods of this future, so that it may be waited for natively.
fn plain<'a, 'py>(future: &'a Bound<'py, PyAny>) -> Option<&'a Ref<'py, Future>> {
    match Ref::<super::Task>::cast_exact(future) {
        Some(task) => Some(task.base()),
        None => Ref::<Future>::cast_exact(future),
    }
}

impl Countdown {
    fn create<'py>(
        gate: &Ref<'py, Future>,
        futures: Vec<Bound<'py, PyAny>>,
        until: Until,
    ) -> PyResult<Ref<'py, Countdown>> {
        let py = gate.py();
        let task = awaited_by::current(py)?;
        let this = Ref::create(py, Countdown { gate: Link::of(gate.clone()), ..Countdown::default() })?;
        this.left.set(futures.len());
        this.until.set(until);
        if let Some(task) = &task {
            this.task.set(task.clone());
        }
        for future in &futures {
            if let Some(task) = &task {
                awaited_by::add(future, task)?;
            }
            match plain(future) {
                Some(native) => Future::add_waiter(native, this.any().clone(), &COUNTED)?,
                None => {
                    let callback = NativeCallback::make(py, this.any().clone(), &COUNTED)?;
                    future.call_method1(intern!(py, "add_done_callback"), (callback,))?;
                }
            }
        }
        drop(this.futures.replace(futures.into_iter().map(Own::new).collect()));
        Ok(this)
    }

    fn futures<'py>(this: &Ref<'py, Countdown>) -> Vec<Bound<'py, PyAny>> {
        this.futures.borrow().iter().map(|f| f.bind(this.py()).clone()).collect()
    }

    /// Leaves the futures and the timer.
    fn leave(this: &Ref<'_, Countdown>) -> PyResult<()> {
        let py = this.py();
        if let Some(timer) = this.timer.take(py) {
            timer.call_method0(intern!(py, "cancel"))?;
        }
        let task = this.task.take(py);
        for future in Countdown::futures(this) {
            if let Some(task) = &task {
                awaited_by::discard(&future, task)?;
            }
            match plain(&future) {
                Some(native) => {
                    Future::remove_waiter(native, this.any(), &COUNTED);
                }
                None => {
                    let callback = NativeCallback::make(py, this.any().clone(), &COUNTED)?;
                    future.call_method1(intern!(py, "remove_done_callback"), (callback,))?;
                }
            }
        }
        Ok(())
    }
}

impl Class for Countdown {
    const NAME: &'static std::ffi::CStr = c"rasyncio.tasks._Countdown";
    const CALLABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        // Called by the timer: the time is over.
        spec.call(|this, _| open(this));
    }
}

fn waited<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = wait.py();
    let owner = wait.owner.get_or_none(py);
    let Some(countdown) = Ref::<Countdown>::cast(&owner) else { return outcome.map(Next::Return) };
    Countdown::leave(countdown)?;
    outcome?;
    let (done, pending) = (PySet::empty(py)?, PySet::empty(py)?);
    for future in Countdown::futures(countdown) {
        let is_done = future.call_method0(intern!(py, "done"))?.is_truthy()?;
        if is_done { done.add(future)? } else { pending.add(future)? }
    }
    Ok(Next::Return(slots::tuple(py, [done, pending])?.into_any()))
}

fn type_name(object: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(object.get_type().name()?.to_string())
}

fn wait<'py>(
    py: Python<'py>,
    given_futures: &Bound<'py, PyAny>,
    timeout: Option<&Bound<'py, PyAny>>,
    return_when: Option<&Bound<'py, PyAny>>,
) -> PyResult<Own> {
    if super::create::is_single(given_futures)? {
        return Err(PyTypeError::new_err(format!("expect a list of futures, not {}", type_name(given_futures)?)));
    }
    if !given_futures.is_truthy()? {
        return Err(PyValueError::new_err("Set of Tasks/Futures is empty."));
    }
    let until = match return_when {
        None => Until::All,
        Some(when) if when.eq(slots::Text("ALL_COMPLETED"))? => Until::All,
        Some(when) if when.eq(slots::Text("FIRST_COMPLETED"))? => Until::First,
        Some(when) if when.eq(slots::Text("FIRST_EXCEPTION"))? => Until::FirstException,
        Some(when) => return Err(PyValueError::new_err(format!("Invalid return_when value: {}", when.str()?))),
    };
    let distinct = PySet::empty(py)?;
    for future in given_futures.try_iter()? {
        distinct.add(future?)?;
    }
    let futures = slots::items(&distinct)?;
    for future in &futures {
        if coroutines::is_coroutine(future)? {
            return Err(PyTypeError::new_err("Passing coroutines is forbidden, use tasks explicitly."));
        }
    }
    if futures.is_empty() {
        return Err(pyo3::exceptions::PyAssertionError::new_err("Set of Futures is empty."));
    }
    let event_loop = get_running_loop(py)?;
    let gate = native_gate(&event_loop)?;
    let timer = timeout.filter(|t| !t.is_none());
    let countdown = Countdown::create(&gate, futures, until)?;
    if let Some(timeout) = timer {
        countdown.timer.set(event_loop.call_method1(intern!(py, "call_later"), (timeout, countdown.any()))?);
    }
    Wait::create(&gate, countdown.into_any(), None, waited)
}

/// The future that a task waits for here: always a native one, on any loop.
fn native_gate<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Ref<'py, Future>> {
    match Ref::<Future>::cast(&create_future(event_loop)?) {
        Some(future) => Ok(future.clone()),
        None => Future::create(event_loop),
    }
}

/// Cancels `future` and waits until it is done, or until the caller is cancelled.
fn cancel_and_wait<'py>(py: Python<'py>, future: &Bound<'py, PyAny>) -> PyResult<Own> {
    let gate = native_gate(&get_running_loop(py)?)?;
    let countdown = Countdown::create(&gate, vec![future.clone()], Until::All)?;
    future.call_method0(intern!(py, "cancel"))?;
    fn left<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
        let owner = wait.owner.get_or_none(wait.py());
        if let Some(countdown) = Ref::<Countdown>::cast(&owner) {
            Countdown::leave(countdown)?;
        }
        outcome.map(Next::Return)
    }
    Wait::create(&gate, countdown.into_any(), None, left)
}

/// `wait_for` with a deadline that has passed already: the future gets no turn more than it needs to be cancelled.
fn wait_for_passed<'py>(py: Python<'py>, awaitable: &Bound<'py, PyAny>) -> PyResult<Own> {
    let future = ensure_future(awaitable, None)?;
    slots::coroutine(py, "wait_for", [future], |co, [future]| async move {
        let waiting = {
            let py = co.py();
            let future = co.get(future);
            if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                return future.call_method0(intern!(py, "result")).map(Own::new);
            }
            co.keep(cancel_and_wait(py, &future)?.into_bound(py))
        };
        co.wait(waiting).await?;
        let py = co.py();
        timed_out(py, co.get(future).call_method0(intern!(py, "result")))
    })
    .map(Own::new)
}

/// A result, or TimeoutError in the place of CancelledError.
fn timed_out<'py>(py: Python<'py>, result: PyResult<Bound<'py, PyAny>>) -> PyResult<Own> {
    match result {
        Err(error) if exceptions::is_cancelled(py, &error) => {
            let cancelled = error.into_value(py).into_bound(py).into_any();
            let timeout = py.get_type::<PyTimeoutError>().call0()?;
            let timeout = slots::handling(&cancelled, || slots::raise(&timeout));
            timeout.set_cause(py, Some(PyErr::from_value(cancelled)));
            Err(timeout)
        }
        other => other.map(Own::new),
    }
}

/// `wait_for` as it was in 3.11: a task of its own.
fn wait_for_task<'py>(py: Python<'py>, awaitable: &Bound<'py, PyAny>, timeout: &Bound<'py, PyAny>) -> PyResult<Own> {
    let future = ensure_future(awaitable, None)?;
    let kept = [future, timeout.clone()];
    slots::coroutine(py, "wait_for", kept, |co, [future, timeout]| async move {
        let (gate, countdown) = {
            let py = co.py();
            let event_loop = get_running_loop(py)?;
            let gate = native_gate(&event_loop)?;
            let countdown = Countdown::create(&gate, vec![co.get(future)], Until::All)?;
            let timer = event_loop.call_method1(intern!(py, "call_later"), (co.get(timeout), countdown.any()))?;
            countdown.timer.set(timer);
            (co.keep(gate.into_any()), co.keep(countdown.into_any()))
        };
        let waited = co.wait(gate).await;
        let is_done = {
            let py = co.py();
            let is_done = co.get(future).call_method0(intern!(py, "done"))?.is_truthy()?;
            Countdown::leave(&co.get_as::<Countdown>(countdown))?;
            is_done
        };
        match waited {
            Err(error) if is_done && exceptions::is_cancelled(co.py(), &error) => {
                return co.get(future).call_method0(intern!(co.py(), "result")).map(Own::new);
            }
            Err(error) => {
                let error = co.keep_error(error);
                let waiting = cancel_and_wait(co.py(), &co.get(future))?;
                let waiting = co.keep(waiting.into_bound(co.py()));
                co.wait(waiting).await?;
                return Err(co.error(error));
            }
            Ok(_) if is_done => return co.get(future).call_method0(intern!(co.py(), "result")).map(Own::new),
            Ok(_) => {}
        }
        let waiting = cancel_and_wait(co.py(), &co.get(future))?;
        let waiting = co.keep(waiting.into_bound(co.py()));
        co.wait(waiting).await?;
        let py = co.py();
        timed_out(py, co.get(future).call_method0(intern!(py, "result")))
    })
    .map(Own::new)
}

class! {
    /// What `as_completed()` answers: yields awaitables in the order in which they are done.
    pub struct AsCompleted {
        /// Futures that are not done.
        todo: RefCell<Vec<Own>>,
        /// Those that are done, and None for each that was not when the time was over.
        done: RefCell<VecDeque<Own>>,
        pub(crate) waiters: RefCell<VecDeque<Own>>,
        timer: Slot,
        task: Slot,
        left: Cell<usize>,
        /// What `as_completed()` was given, until the first step: before 3.13 it is a generator, which begins there.
        awaitables: Slot,
        timeout: Slot,
    }
}

/// The end of a future that an `AsCompleted` follows.
static COMPLETED: Kind = Kind {
    run: |object, argument| match (Ref::<AsCompleted>::cast(object), argument) {
        (Some(this), Some(future)) => completed(this, future),
        _ => Ok(()),
    },
    event_loop: |_| None,
    context: |_| None,
    name: "AsCompleted",
    qualname: Some("_AsCompletedIterator._handle_completion"),
};

fn completed<'py>(this: &Ref<'py, AsCompleted>, future: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let (found, empty) = {
        let mut todo = this.todo.borrow_mut();
        let found = todo.iter().position(|f| f.is(future)).map(|at| todo.swap_remove(at));
        (found, todo.is_empty())
    };
    let Some(future) = found else { return Ok(()) };
    if let Some(task) = if empty { this.task.take(py) } else { this.task.get(py) } {
        awaited_by::discard(future.bind(py), &task)?;
    }
    if empty {
        if let Some(timer) = this.timer.take(py) {
            timer.call_method0(intern!(py, "cancel"))?;
        }
    }
    hand_over(this, future)
}

/// Puts what is done at the end, and wakes who waits longest.
fn hand_over(this: &Ref<'_, AsCompleted>, done: Own) -> PyResult<()> {
    let py = this.py();
    this.done.borrow_mut().push_back(done);
    wake_next(this, py)
}

fn wake_next(this: &Ref<'_, AsCompleted>, py: Python<'_>) -> PyResult<()> {
    loop {
        let waiter = this.waiters.borrow_mut().pop_front();
        let Some(waiter) = waiter else { return Ok(()) };
        if let Some(waiter) = Ref::<Future>::cast(waiter.bind(py)) {
            if !waiter.is_done() {
                return Future::set_result(waiter, py.None().into_bound(py));
            }
        }
    }
}

fn time_over(this: &Ref<'_, AsCompleted>) -> PyResult<()> {
    let py = this.py();
    let (todo, task) = (std::mem::take(&mut *this.todo.borrow_mut()), this.task.take(py));
    for future in todo {
        let future = future.into_bound(py);
        if let Some(task) = &task {
            awaited_by::discard(&future, task)?;
        }
        match plain(&future) {
            Some(native) => {
                Future::remove_waiter(native, this.any(), &COMPLETED);
            }
            None => {
                let callback = NativeCallback::make(py, this.any().clone(), &COMPLETED)?;
                future.call_method1(intern!(py, "remove_done_callback"), (callback,))?;
            }
        }
        hand_over(this, py.None().into_bound(py).into())?;
    }
    Ok(())
}

/// A coroutine for the next that is done: the future itself, or its result.
fn wait_for_one<'py>(this: &Ref<'py, AsCompleted>, resolve: bool) -> PyResult<Own> {
    let py = this.py();
    let name = "_AsCompletedIterator._wait_for_one";
    slots::coroutine(py, name, [this.any().clone()], move |co, [this]| async move {
        loop {
            let waiter = {
                let py = co.py();
                let this = co.get_as::<AsCompleted>(this);
                let next = this.done.borrow_mut().pop_front();
                if let Some(next) = next {
                    let future = next.into_bound(py);
                    if future.is_none() {
                        return Err(PyTimeoutError::new_err(()));
                    }
                    if !resolve {
                        return Ok(future.into());
                    }
                    return future.call_method0(intern!(py, "result")).map(Own::new);
                }
                let waiter = native_gate(&get_running_loop(py)?)?;
                this.waiters.borrow_mut().push_back(waiter.any().clone().into());
                co.keep(waiter.into_any())
            };
            let waited = co.wait(waiter).await;
            if let Err(error) = waited {
                let py = co.py();
                let this = co.get_as::<AsCompleted>(this);
                let waiter = co.get(waiter);
                let gone = {
                    let mut waiters = this.waiters.borrow_mut();
                    waiters.iter().position(|w| w.is(&waiter)).and_then(|at| waiters.remove(at))
                };
                drop(gone);
                if !this.done.borrow().is_empty() {
                    wake_next(&this, py)?;
                }
                return Err(error);
            }
        }
    })
    .map(Own::new)
}

impl Class for AsCompleted {
    const NAME: &'static std::ffi::CStr = c"rasyncio.tasks._AsCompletedIterator";
    const DOC: &'static std::ffi::CStr = c"What as_completed() answers; see there.";
    const CALLABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        fn next(this: &Ref<'_, AsCompleted>, resolve: bool) -> PyResult<Option<Own>> {
            if let Some(awaitables) = this.awaitables.take(this.py()) {
                begin(this, &awaitables)?;
            }
            match this.left.get() {
                0 => Ok(None),
                left => {
                    this.left.set(left - 1);
                    wait_for_one(this, resolve).map(Some)
                }
            }
        }
        spec.iter(|this| Ok(Own::new(this.any().clone())))
            .async_iter(|this| Ok(Own::new(this.any().clone())))
            .async_next(|this| next(this, false)?.ok_or_else(|| PyStopAsyncIteration::new_err(())))
            .next(|this| next(this, true)?.ok_or_else(|| PyStopIteration::new_err(())))
            .call(|this, _| time_over(this));
    }
}

fn as_completed<'py>(
    py: Python<'py>,
    awaitables: &Bound<'py, PyAny>,
    timeout: Option<&Bound<'py, PyAny>>,
) -> PyResult<Own> {
    let this = Ref::create(py, AsCompleted::default())?;
    if let Some(timeout) = timeout {
        this.timeout.set(timeout.clone());
    }
    if slots::VERSION < (3, 13) {
        this.awaitables.set(awaitables.clone());
        return Ok(this.into_any().into());
    }
    if coroutines::is_awaitable(awaitables)? {
        return Err(PyTypeError::new_err(format!("expects an iterable of awaitables, not {}", type_name(awaitables)?)));
    }
    begin(&this, awaitables)?;
    Ok(this.into_any().into())
}

/// Makes tasks of coroutines, and follows all.
fn begin<'py>(this: &Ref<'py, AsCompleted>, awaitables: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    if super::create::is_single(awaitables)? {
        return Err(PyTypeError::new_err(format!("expect an iterable of futures, not {}", type_name(awaitables)?)));
    }
    let event_loop = get_event_loop(py)?;
    let distinct = PySet::empty(py)?;
    for awaitable in awaitables.try_iter()? {
        distinct.add(awaitable?)?;
    }
    let todo = PySet::empty(py)?;
    for awaitable in slots::items(&distinct)? {
        todo.add(ensure_future(&awaitable, Some(&event_loop))?)?;
    }
    let todo = slots::items(&todo)?;
    if let Some(task) = awaited_by::current(py)? {
        this.task.set(task);
    }
    this.left.set(todo.len());
    drop(this.todo.replace(todo.iter().map(|f| f.clone().into()).collect()));
    for future in &todo {
        if let Some(task) = this.task.get(py) {
            awaited_by::add(future, &task)?;
        }
        match plain(future) {
            Some(native) => Future::add_waiter(native, this.any().clone(), &COMPLETED)?,
            None => {
                let callback = NativeCallback::make(py, this.any().clone(), &COMPLETED)?;
                future.call_method1(intern!(py, "add_done_callback"), (callback,))?;
            }
        }
    }
    if let (false, Some(timeout)) = (todo.is_empty(), this.timeout.take(py)) {
        this.timer.set(event_loop.call_method1(intern!(py, "call_later"), (timeout, this.any()))?);
    }
    Ok(())
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<Countdown>(module)?;
    slots::add_class::<AsCompleted>(module)?;
    add_function(
        module,
        c"_wait",
        c"_wait(fs, timeout, return_when)\n--\n\nThe awaitable behind wait().",
        |py, args| {
            const SIGNATURE: Signature<3> =
                Signature::function("wait", [arg("fs"), arg("timeout"), arg("return_when")]);
            match args.parse(&SIGNATURE)? {
                [Some(futures), timeout, return_when] => wait(py, futures, timeout, return_when),
                _ => Err(PyTypeError::new_err("fs is missing")),
            }
        },
    )?;
    add_function(
        module,
        c"_wait_for_passed",
        c"_wait_for_passed(fut)\n--\n\nThe awaitable behind wait_for() with a deadline that has passed.",
        |py, args| {
            const SIGNATURE: Signature<1> = Signature::function("wait_for", [arg("fut")]);
            match args.parse(&SIGNATURE)? {
                [Some(awaitable)] => wait_for_passed(py, awaitable),
                _ => Err(PyTypeError::new_err("fut is missing")),
            }
        },
    )?;
    add_function(
        module,
        c"_wait_for_task",
        c"_wait_for_task(fut, timeout)\n--\n\nThe awaitable behind wait_for() on 3.11.",
        |py, args| {
            const SIGNATURE: Signature<2> = Signature::function("wait_for", [arg("fut"), arg("timeout")]);
            match args.parse(&SIGNATURE)? {
                [Some(awaitable), Some(timeout)] => wait_for_task(py, awaitable, timeout),
                _ => Err(PyTypeError::new_err("an argument is missing")),
            }
        },
    )?;
    let doc = c"as_completed(fs, *, timeout=None)\n--\n\nIterate over awaitables in the order in which they are done.\n\n\
        As an asynchronous iterator it yields the tasks and futures given (tasks made for coroutines); as a plain one,\n\
        coroutines for the next result. TimeoutError if timeout seconds pass before all are done.";
    add_function(module, c"as_completed", doc, |py, args| {
        const SIGNATURE: Signature<2> = Signature::function("as_completed", [arg("fs"), kw_opt("timeout")]);
        match args.parse(&SIGNATURE)? {
            [Some(awaitables), timeout] => as_completed(py, awaitables, given(&timeout)),
            _ => Err(PyTypeError::new_err("fs is missing")),
        }
    })
}
