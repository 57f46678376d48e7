//! `gather()`: one future for the results of many.
//!
//! Called by users; calls `ensure_future` for each argument, and waits on each child as a native waiter ([`CHILD`]), so that
//! a child's end costs no Python call.
//!
//! The outer future ends when the last child does, with the list of results; or, without `return_exceptions`, with the first
//! exception or cancellation, the other children going on. Cancelling it cancels the children, and it ends when they have.
//!
//! Invariant: `pending` counts distinct children; `children` has one place for each argument, in order.

use std::cell::{Cell, RefCell};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, add_function, class, kw_opt, opt};

use super::create::ensure_future;
use super::{Task, awaited_by, cancel_any};
use crate::base_events::create_future;
use crate::events::{Kind, NativeCallback, get_event_loop};
use crate::exceptions;
use crate::futures::{self, Future, State, given};

class! {
    /// The outer future of a gather.
    pub struct GatheringFuture: Future {
        children: RefCell<Vec<Own>>,
        pending: Cell<usize>,
        return_exceptions: Cell<bool>,
        cancel_requested: Cell<bool>,
        /// False until all arguments are seen: a child that ends before that is only counted.
        ready: Cell<bool>,
        waiter: Slot,
    }
}

/// A child's end, the child being the argument.
pub static CHILD: Kind = Kind {
    run: |object, argument| match (Ref::<GatheringFuture>::cast(object), argument) {
        (Some(outer), Some(child)) => child_done(outer, child),
        _ => Ok(()),
    },
    event_loop: |object| Ref::<GatheringFuture>::cast(object)?.event_loop(object.py()).map(Own::new),
    context: |_| None,
    name: "GatherChild",
    qualname: Some("gather.<locals>._done_callback"),
};

/// A future of ours, exact or a task, whose end can be read without a Python call.
fn native<'a, 'py>(child: &'a Bound<'py, PyAny>) -> Option<&'a Ref<'py, Future>> {
    match Ref::<Task>::cast_exact(child) {
        Some(task) => Some(task.base()),
        None => Ref::<Future>::cast_exact(child),
    }
}

/// How a child ended.
enum End<'py> {
    Result(Bound<'py, PyAny>),
    Exception(Bound<'py, PyAny>),
    Cancelled,
}

fn end_of<'py>(child: &Bound<'py, PyAny>) -> PyResult<End<'py>> {
    let py = child.py();
    if let Some(native) = native(child) {
        return Ok(match native.state() {
            State::Cancelled => End::Cancelled,
            _ => match Future::exception(native)? {
                Some(exception) => End::Exception(exception),
                None => End::Result(Future::outcome(native)?),
            },
        });
    }
    if child.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
        return Ok(End::Cancelled);
    }
    let exception = child.call_method0(intern!(py, "exception"))?;
    if exception.is_none() {
        return Ok(End::Result(child.call_method0(intern!(py, "result"))?));
    }
    Ok(End::Exception(exception))
}

fn cancelled_error<'py>(child: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match native(child) {
        Some(native) => Future::make_cancelled_error(native),
        None => child.call_method0(intern!(child.py(), "_make_cancelled_error")),
    }
}

fn child_done<'py>(outer: &Ref<'py, GatheringFuture>, child: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = outer.py();
    outer.pending.set(outer.pending.get() - 1);
    // The last child needs the task last: an outer future that is kept does not keep it.
    let is_last = outer.ready.get() && outer.pending.get() == 0;
    if let Some(waiter) = if is_last { outer.waiter.take(py) } else { outer.waiter.get(py) } {
        awaited_by::discard(child, &waiter)?;
    }
    if !outer.ready.get() || outer.is_done() {
        // Reading the exception marks it as seen.
        end_of(child)?;
        return Ok(());
    }
    if !outer.return_exceptions.get() {
        match end_of(child)? {
            End::Cancelled => {
                leave(outer)?;
                return Future::set_exception(outer.base(), &cancelled_error(child)?);
            }
            End::Exception(exception) => {
                leave(outer)?;
                return Future::set_exception(outer.base(), &exception);
            }
            End::Result(_) => {}
        }
    }
    if outer.pending.get() > 0 {
        return Ok(());
    }
    let children: Vec<Bound<'py, PyAny>> = outer.children.borrow().iter().map(|c| c.bind(py).clone()).collect();
    let mut results = Vec::with_capacity(children.len());
    for child in &children {
        results.push(match end_of(child)? {
            End::Result(value) | End::Exception(value) => value,
            End::Cancelled => {
                let message = child.getattr(intern!(py, "_cancel_message"))?;
                let message = if message.is_none() { "".into_pyobject(py)?.into_any() } else { message };
                exceptions::cancelled_error(py)?.call1((message,))?
            }
        });
    }
    if outer.cancel_requested.get() {
        let last = children.last().unwrap_or(child);
        return Future::set_exception(outer.base(), &cancelled_error(last)?);
    }
    Future::set_result(outer.base(), slots::list_of(py, results)?.into_any())
}

/// The task waits for none of the children any more; those that are not done go on.
fn leave(outer: &Ref<'_, GatheringFuture>) -> PyResult<()> {
    let py = outer.py();
    let Some(waiter) = outer.waiter.take(py) else { return Ok(()) };
    let children: Vec<Bound<'_, PyAny>> = outer.children.borrow().iter().map(|c| c.bind(py).clone()).collect();
    children.iter().try_for_each(|child| awaited_by::discard(child, &waiter))
}

fn watch<'py>(outer: &Ref<'py, GatheringFuture>, child: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = outer.py();
    if let Some(waiter) = outer.waiter.get(py) {
        awaited_by::add(child, &waiter)?;
    }
    match native(child) {
        Some(native) => Future::add_waiter(native, outer.any().clone(), &CHILD),
        None => {
            let callback = NativeCallback::make(py, outer.any().clone(), &CHILD)?;
            child.call_method1(intern!(py, "add_done_callback"), (callback,)).map(drop)
        }
    }
}

fn is_done(child: &Bound<'_, PyAny>) -> PyResult<bool> {
    match native(child) {
        Some(native) => Ok(native.is_done()),
        None => child.call_method0(intern!(child.py(), "done"))?.is_truthy(),
    }
}

fn gather<'py>(py: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Own> {
    const SIGNATURE: Signature<1> = Signature::function("gather", [kw_opt("return_exceptions")]);
    let ([return_exceptions], awaitables) = args.parse_rest(&SIGNATURE)?;
    let return_exceptions = return_exceptions.map_or(Ok(false), |r| r.is_truthy())?;
    if awaitables.is_empty() {
        let outer = create_future(&get_event_loop(py)?)?;
        outer.call_method1(intern!(py, "set_result"), (slots::list(py)?,))?;
        return Ok(outer.into());
    }
    let outer = Ref::create(py, GatheringFuture::default())?;
    outer.return_exceptions.set(return_exceptions);
    if let Some(task) = awaited_by::current(py)? {
        outer.waiter.set(task);
    }
    // Where a child is done already (an eager task), its end is looked at when all arguments are seen; 3.11 schedules it, and
    // has no eager tasks.
    let at_once = slots::VERSION >= (3, 12);
    let mut event_loop: Option<Bound<'py, PyAny>> = None;
    let mut seen: Option<Bound<'py, PyDict>> = None;
    let mut children: Vec<Bound<'py, PyAny>> = Vec::with_capacity(awaitables.len());
    let mut done = Vec::new();
    // Coroutines and our own futures are equal only to themselves: where all are such, and few, a look at those before it
    // tells whether one was given twice.
    let few = awaitables.len() <= 128 && awaitables.iter().all(|a| slots::is_exact_coroutine(a) || native(a).is_some());
    if !few {
        seen = Some(slots::dict(py)?);
    }
    let mut distinct = 0;
    for (place, awaitable) in awaitables.iter().enumerate() {
        if few {
            if let Some(first) = awaitables[..place].iter().position(|a| a.is(awaitable)) {
                children.push(children[first].clone());
                continue;
            }
        }
        if let Some(seen) = &seen {
            if let Some(child) = seen.get_item(awaitable)? {
                children.push(child);
                continue;
            }
        }
        let child = ensure_future(awaitable, event_loop.as_ref())?;
        if event_loop.is_none() {
            let own = futures::loop_of(&child)?;
            Future::set_loop(outer.base(), &own)?;
            event_loop = Some(own);
        }
        if !child.is(awaitable) {
            match Ref::<Task>::cast_exact(&child) {
                Some(task) => task.log_destroy_pending.set(false),
                None => child.setattr(intern!(py, "_log_destroy_pending"), false)?,
            }
        }
        distinct += 1;
        outer.pending.set(distinct);
        if let Some(seen) = &seen {
            seen.set_item(awaitable, &child)?;
        }
        if (at_once || !child.is(awaitable)) && is_done(&child)? {
            done.push(child.clone());
        } else {
            watch(&outer, &child)?;
        }
        children.push(child);
    }
    drop(outer.children.replace(children.into_iter().map(Own::new).collect()));
    outer.ready.set(true);
    for child in done {
        child_done(&outer, &child)?;
    }
    Ok(outer.into_any().into())
}

fn cancel<'py>(this: &Ref<'py, GatheringFuture>, message: Option<&Bound<'py, PyAny>>) -> PyResult<bool> {
    let py = this.py();
    if this.is_done() {
        return Ok(false);
    }
    let children: Vec<Bound<'py, PyAny>> = this.children.borrow().iter().map(|c| c.bind(py).clone()).collect();
    let mut any = false;
    for child in children {
        any |= match Ref::<GatheringFuture>::cast_exact(&child) {
            Some(inner) => slots::recursion(py, c" while cancelling a gather", || cancel(inner, message))?,
            None => cancel_any(&child, message)?,
        };
    }
    if any {
        // The children's ends bring the cancellation, with return_exceptions too.
        this.cancel_requested.set(true);
    }
    Ok(any)
}

impl Class for GatheringFuture {
    const NAME: &'static std::ffi::CStr = c"rasyncio.tasks._GatheringFuture";
    const DOC: &'static std::ffi::CStr = c"The future that gather() answers; cancelling it cancels the children.";
    const DICT: bool = true;
    const FINALIZER: bool = true;
    const FREE_LIST: usize = 512;
    const CALLABLE: bool = false;

    fn wants_finalizer(&self) -> bool {
        self.base.wants_finalizer()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        Future::finalize(this.base())
    }

    fn define(spec: &mut Spec<Self>) {
        const CANCEL: Signature<1> = Signature::method("_GatheringFuture.cancel", [opt("msg")]);
        spec.method(
            c"cancel",
            c"cancel($self, /, msg=None)\n--\n\nCancel the children that are not done; answer whether there were any.",
            |this, args| {
                let [message] = args.parse(&CANCEL)?;
                cancel(this, given(&message))
            },
        )
        .get(c"_children", c"", |this| {
            let py = this.py();
            let children: Vec<_> = this.children.borrow().iter().map(|c| c.bind(py).clone()).collect();
            Ok(Own::new(slots::list_of(py, children)?.into_any()))
        })
        .get(c"_cancel_requested", c"", |this| Ok(this.cancel_requested.get()));
    }
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<GatheringFuture>(module)?;
    let doc = c"gather(*coros_or_futures, return_exceptions=False)\n--\n\n\
        A future of the list of all results, in the order of the arguments.\n\n\
        The first exception ends it and the others go on, unless return_exceptions: then exceptions are results.\n\
        Cancelling it cancels all arguments that are not done.";
    add_function(module, c"gather", doc, gather)
}
