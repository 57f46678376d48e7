//! taskgroups: `TaskGroup`, tasks that end together (asyncio.taskgroups).
//!
//! Called by users; calls the loop to make tasks, and waits for each as a native waiter ([`MEMBER`]).
//!
//! The first error of a member, or of the body, aborts the group: all members are cancelled, and so is the parent task if it
//! is in the body still. On the way out the group waits until no member is left, however often it is cancelled meanwhile, and
//! then raises, in this order: SystemExit or KeyboardInterrupt; the cancellation that is not its own; all errors as a
//! BaseExceptionGroup. A cancellation that the group made itself is taken back (`uncancel`).
//!
//! The group follows the running Python where versions differ; `cancel()` (3.15) is there on all. A group on which `cancel()`
//! was called follows 3.15 on every Python ([`follows`]): older rules take the group's cancellation back before the exit has
//! waited, and so lose one from outside, or keep the count of one that came while it waited.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::{
    PyAssertionError, PyGeneratorExit, PyKeyboardInterrupt, PyRuntimeError, PySystemExit, PyTypeError,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyModule, PySet, PyType};
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, arg, class, kw_opt};

use crate::base_events::{BaseEventLoop, create_future, create_task, names_first};
use crate::events::{Kind, NativeCallback, get_running_loop};
use crate::exceptions;
use crate::futures::{Future, Next, Wait, given};
use crate::library;
use crate::tasks::{Options, Task, awaited_by, cancel_any, current_task};

class! {
    /// Tasks that end together.
    pub struct TaskGroup {
        event_loop: Slot,
        parent: Slot,
        tasks: Slot,
        errors: Slot,
        base_error: Slot,
        /// The future that the exit waits for.
        completed: Slot,
        /// The cancellation that is to leave the group, and the newest that came while it was aborting.
        propagate: Slot,
        pending_cancellation: Slot,
        /// What the body raised.
        body_error: Slot,
        entered: Cell<bool>,
        exiting: Cell<bool>,
        aborting: Cell<bool>,
        parent_cancel_requested: Cell<bool>,
        /// The group's cancellation of the parent is taken back.
        parent_uncancelled: Cell<bool>,
        cancel_on_enter: Cell<bool>,
        /// `cancel()` was called, whether or not it found something to cancel.
        cancelled: Cell<bool>,
    }
}

impl TaskGroup {
    /// The task in which the group was entered.
    pub fn parent<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.parent.get(py)
    }
}

/// The end of a member.
static MEMBER: Kind = Kind {
    run: |object, argument| match (Ref::<TaskGroup>::cast(object), argument) {
        (Some(group), Some(task)) => member_done(group, task),
        _ => Ok(()),
    },
    event_loop: |object| Ref::<TaskGroup>::cast(object)?.event_loop.get(object.py()).map(Own::new),
    context: |_| None,
    name: "TaskGroupMember",
    qualname: Some("TaskGroup._on_task_done"),
};

/// Whether the group has the rules that a version of Python brought.
fn follows(this: &Ref<'_, TaskGroup>, version: (u8, u8)) -> bool {
    slots::VERSION >= version || this.cancelled.get()
}

fn tasks<'py>(this: &Ref<'py, TaskGroup>) -> PyResult<Bound<'py, PySet>> {
    let py = this.py();
    match this.tasks.get(py) {
        Some(set) => Ok(set.cast_into()?),
        None => {
            let set = PySet::empty(py)?;
            this.tasks.set(set.clone().into_any());
            Ok(set)
        }
    }
}

fn errors<'py>(this: &Ref<'py, TaskGroup>) -> PyResult<Bound<'py, PyList>> {
    let py = this.py();
    match this.errors.get(py) {
        Some(list) if !list.is_none() => Ok(list.cast_into()?),
        _ => {
            let list = slots::list(py)?;
            this.errors.set(list.clone().into_any());
            Ok(list)
        }
    }
}

fn has_tasks(this: &Ref<'_, TaskGroup>) -> PyResult<bool> {
    Ok(this.tasks.is_set() && !tasks(this)?.is_empty())
}

fn has_errors(this: &Ref<'_, TaskGroup>) -> PyResult<bool> {
    Ok(this.errors.is_set() && !errors(this)?.is_empty())
}

fn is_base_error(error: &Bound<'_, PyAny>) -> bool {
    error.is_instance_of::<PySystemExit>() || error.is_instance_of::<PyKeyboardInterrupt>()
}

fn is_done(task: &Bound<'_, PyAny>) -> PyResult<bool> {
    match Ref::<Task>::cast_exact(task) {
        Some(task) => Ok(task.is_done()),
        None => task.call_method0(intern!(task.py(), "done"))?.is_truthy(),
    }
}

fn abort(this: &Ref<'_, TaskGroup>) -> PyResult<()> {
    this.aborting.set(true);
    let members = slots::items(tasks(this)?.as_any())?;
    for task in members {
        if !is_done(&task)? {
            cancel_any(&task, None)?;
        }
    }
    Ok(())
}

fn cancel_parent(this: &Ref<'_, TaskGroup>) -> PyResult<()> {
    match this.parent.get(this.py()) {
        Some(parent) => cancel_any(&parent, None).map(drop),
        None => Ok(()),
    }
}

fn uncancel_parent(this: &Ref<'_, TaskGroup>) -> PyResult<i64> {
    let py = this.py();
    let Some(parent) = this.parent.get(py) else { return Ok(0) };
    let left = match Ref::<Task>::cast_exact(&parent) {
        Some(parent) => Task::uncancel(parent).into(),
        None => parent.call_method0(intern!(py, "uncancel"))?.extract()?,
    };
    if let (true, Some(parent)) = (this.cancelled.get(), Ref::<Task>::cast(&parent)) {
        Task::drop_unrequested(parent);
    }
    Ok(left)
}

fn member_done<'py>(this: &Ref<'py, TaskGroup>, task: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    tasks(this)?.discard(task)?;
    if let (true, Some(parent)) = (awaited_by::kept(), this.parent.get(py)) {
        awaited_by::discard(task, &parent)?;
    }
    if !has_tasks(this)? {
        if let Some(completed) = this.completed.get(py) {
            if !completed.call_method0(intern!(py, "done"))?.is_truthy()? {
                completed.call_method1(intern!(py, "set_result"), (true,))?;
            }
        }
    }
    let exception = match Ref::<Task>::cast_exact(task) {
        Some(task) if task.state() == crate::futures::State::Cancelled => return Ok(()),
        Some(task) => Future::exception(task.base())?,
        None if task.call_method0(intern!(py, "cancelled"))?.is_truthy()? => return Ok(()),
        None => Some(task.call_method0(intern!(py, "exception"))?).filter(|e| !e.is_none()),
    };
    let Some(exception) = exception else { return Ok(()) };
    errors(this)?.append(&exception)?;
    if is_base_error(&exception) && !this.base_error.is_set() {
        this.base_error.set(exception.clone());
    }
    let parent = this.parent.get_or_none(py);
    if !parent.is_none() && is_done(&parent)? {
        let details = slots::dict(py)?;
        let text =
            format!("Task {} has errored out but its parent task {} is already completed", task.repr()?, parent.str()?);
        details.set_item(intern!(py, "message"), text)?;
        details.set_item(intern!(py, "exception"), exception)?;
        details.set_item(intern!(py, "task"), task)?;
        let event_loop = this.event_loop.get_or_none(py);
        return event_loop.call_method1(intern!(py, "call_exception_handler"), (details,)).map(drop);
    }
    if !this.aborting.get() && !this.parent_cancel_requested.get() {
        abort(this)?;
        this.parent_cancel_requested.set(true);
        cancel_parent(this)?;
    }
    Ok(())
}

fn enter(this: &Ref<'_, TaskGroup>) -> PyResult<Own> {
    let py = this.py();
    if this.entered.get() {
        return Err(PyRuntimeError::new_err(format!("TaskGroup {} has already been entered", this.any().repr()?)));
    }
    if !this.event_loop.is_set() {
        this.event_loop.set(get_running_loop(py)?);
    }
    let event_loop = this.event_loop.get_or_none(py);
    let Some(parent) = current_task(py, Some(&event_loop))? else {
        let text = format!("TaskGroup {} cannot determine the parent task", this.any().repr()?);
        return Err(PyRuntimeError::new_err(text));
    };
    this.parent.set(parent);
    this.entered.set(true);
    if this.cancel_on_enter.get() {
        // A derived class may have its own.
        match Ref::<TaskGroup>::cast_exact(this.any()) {
            Some(_) => cancel(this)?,
            None => drop(this.any().call_method0(intern!(py, "cancel"))?),
        }
    }
    Ok(this.any().clone().into())
}

fn is_cancellation(this: &Ref<'_, TaskGroup>, class: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = class.py();
    if class.is_none() {
        return Ok(false);
    }
    let cancelled = exceptions::cancelled_error(py)?;
    if follows(this, (3, 13)) { class.cast::<PyType>()?.is_subclass(cancelled) } else { Ok(class.is(cancelled)) }
}

/// The first part of the exit: answers what to wait for, or None when no member is left.
fn begin_exit<'py>(this: &Ref<'py, TaskGroup>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    let [class, exception] = args.positional() else {
        return Err(PyTypeError::new_err("an exception's class and value are expected"));
    };
    this.exiting.set(true);
    if !exception.is_none() {
        this.body_error.set(exception.clone());
        if is_base_error(exception) && !this.base_error.is_set() {
            this.base_error.set(exception.clone());
        }
    }
    if is_cancellation(this, class)? {
        this.propagate.set(exception.clone());
    }
    if !follows(this, (3, 13)) && this.parent_cancel_requested.get() {
        this.parent_uncancelled.set(true);
        if uncancel_parent(this)? == 0 {
            this.propagate.unset();
        }
    }
    if !class.is_none() && !this.aborting.get() {
        abort(this)?;
    }
    if !has_tasks(this)? {
        return Ok(None);
    }
    let future = next_future(this)?;
    Wait::create(&future, this.any().clone(), None, waited).map(Some)
}

fn next_future<'py>(this: &Ref<'py, TaskGroup>) -> PyResult<Ref<'py, Future>> {
    let py = this.py();
    let event_loop = this.event_loop.get_or_none(py);
    let future = match Ref::<Future>::cast(&create_future(&event_loop)?) {
        Some(future) => future.clone(),
        None => Future::create(&event_loop)?,
    };
    this.completed.set(future.any().clone());
    Ok(future)
}

fn waited<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = wait.py();
    let owner = wait.owner.get_or_none(py);
    let Some(this) = Ref::<TaskGroup>::cast(&owner) else { return outcome.map(Next::Return) };
    if let Err(error) = outcome {
        if !exceptions::is_cancelled(py, &error) {
            let_go(this);
            return Err(error);
        }
        let error = error.into_value(py).into_bound(py).into_any();
        if !this.aborting.get() {
            this.propagate.set(error);
            abort(this)?;
        } else {
            this.pending_cancellation.set(error);
        }
    }
    this.completed.unset();
    if has_tasks(this)? {
        return Ok(Next::Await(next_future(this)?));
    }
    finish_exit(this).map(|answer| Next::Return(answer.into_bound(py)))
}

/// Exceptions hold frames, which hold much else.
fn let_go(this: &Ref<'_, TaskGroup>) {
    for slot in [
        &this.parent,
        &this.errors,
        &this.base_error,
        &this.propagate,
        &this.pending_cancellation,
        &this.body_error,
        &this.completed,
    ] {
        slot.unset();
    }
}

/// The last part of the exit: raises what there is to raise; answers whether the body's exception is dealt with.
fn finish_exit(this: &Ref<'_, TaskGroup>) -> PyResult<Own> {
    let result = finish(this);
    let_go(this);
    result
}

fn finish(this: &Ref<'_, TaskGroup>) -> PyResult<Own> {
    let py = this.py();
    let newer = follows(this, (3, 13));
    if has_tasks(this)? {
        return Err(PyAssertionError::new_err(()));
    }
    if let Some(error) = this.base_error.get(py) {
        return Err(slots::raise(&error));
    }
    if newer && this.parent_cancel_requested.get() && !this.parent_uncancelled.get() {
        if uncancel_parent(this)? == 0 {
            this.propagate.unset();
        } else if !this.propagate.is_set() {
            // A cancellation that is not the group's own is left.
            if let Some(pending) = this.pending_cancellation.take(py) {
                this.propagate.set(pending);
            }
        }
    }
    if let (Some(error), false) = (this.propagate.get(py), has_errors(this)?) {
        return Err(slots::raise(&error));
    }
    let body = this.body_error.get(py);
    if let Some(body) = &body {
        if !is_cancellation(this, body.get_type().as_any())? {
            errors(this)?.append(body)?;
        }
    }
    if has_errors(this)? {
        if newer {
            if let Some(parent) = this.parent.get(py) {
                if parent.call_method0(intern!(py, "cancelling"))?.is_truthy()? {
                    // Cancelled from outside: the count stays, and the parent meets the cancellation at its next wait.
                    parent.call_method0(intern!(py, "uncancel"))?;
                    parent.call_method0(intern!(py, "cancel"))?;
                }
            }
        }
        let list = errors(this)?;
        if let Some(body) = body.filter(|b| b.is_instance_of::<PyGeneratorExit>() && follows(this, (3, 15))) {
            if list.len() == 1 {
                return Err(slots::raise(&body));
            }
        }
        let group = library(py, "builtins")?.getattr(intern!(py, "BaseExceptionGroup"))?;
        let group = group.call1(("unhandled errors in a TaskGroup", list))?;
        let raised = slots::raise(&group);
        group.setattr(intern!(py, "__cause__"), py.None())?;
        return Err(raised);
    }
    // What is left of the body's exception is a cancellation of the group's own making (3.15, and after `cancel()`).
    if follows(this, (3, 15)) {
        return Ok(pyo3::types::PyBool::new(py, true).to_owned().into_any().into());
    }
    Ok(py.None().into_bound(py).into())
}

fn refuse<'py>(this: &Ref<'py, TaskGroup>, coroutine: &Bound<'py, PyAny>, why: &str) -> PyErr {
    let py = this.py();
    if follows(this, (3, 13)) {
        if let Err(error) = coroutine.call_method0(intern!(py, "close")) {
            return error;
        }
    }
    match this.any().repr() {
        Ok(repr) => PyRuntimeError::new_err(format!("TaskGroup {repr} {why}")),
        Err(error) => error,
    }
}

fn make_task<'py>(
    this: &Ref<'py, TaskGroup>,
    coroutine: &Bound<'py, PyAny>,
    name: Option<&Bound<'py, PyAny>>,
    context: Option<&Bound<'py, PyAny>>,
    others: Option<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let event_loop = this.event_loop.get_or_none(py);
    if let (Some(own), None) = (BaseEventLoop::of(&event_loop), &others) {
        if own.makes_plain_tasks() {
            own.check_closed()?;
            return Ok(Task::create(coroutine, &event_loop, Options { name, context, eager: false })?.into_any());
        }
    }
    if let Some(keywords) = others {
        return create_task(&event_loop, coroutine, Some(&keywords));
    }
    let keywords = slots::dict(py)?;
    // 3.13 gives the name always; from 3.14 on what is given is among the others.
    if slots::VERSION == (3, 13) || (name.is_some() && names_first(&event_loop)?) {
        keywords.set_item(intern!(py, "name"), name)?;
    }
    if let Some(context) = context {
        keywords.set_item(intern!(py, "context"), context)?;
    }
    let task = create_task(&event_loop, coroutine, Some(&keywords))?;
    if let (true, Some(name)) = (slots::VERSION < (3, 13), name) {
        crate::tasks::set_task_name(&task, name)?;
    }
    Ok(task)
}

fn create_member<'py>(this: &Ref<'py, TaskGroup>, args: &Args<'_, 'py>) -> PyResult<Own> {
    const PLAIN: Signature<3> =
        Signature::method("TaskGroup.create_task", [arg("coro"), kw_opt("name"), kw_opt("context")]);
    const ANY: Signature<1> = Signature::method("TaskGroup.create_task", [arg("coro")]);
    let py = this.py();
    let (coroutine, name, context, others) =
        if args.has_keywords() && (slots::VERSION >= (3, 14) || args.names("eager_start")) {
            let ([coroutine], keywords) = args.parse_extra(&ANY)?;
            (coroutine, None, None, Some(keywords))
        } else {
            let [coroutine, name, context] = args.parse(&PLAIN)?;
            (coroutine, given(&name), given(&context), None)
        };
    let Some(coroutine) = coroutine else { return Err(PyTypeError::new_err("coro is missing")) };
    if !this.entered.get() {
        return Err(refuse(this, coroutine, "has not been entered"));
    }
    if this.exiting.get() && !has_tasks(this)? {
        return Err(refuse(this, coroutine, "is finished"));
    }
    if this.aborting.get() {
        return Err(refuse(this, coroutine, "is shutting down"));
    }
    let task = make_task(this, coroutine, name, context, others)?;
    if let (true, Some(parent)) = (awaited_by::kept(), this.parent.get(py)) {
        awaited_by::add(&task, &parent)?;
    }
    tasks(this)?.add(&task)?;
    match Ref::<Task>::cast_exact(&task) {
        Some(native) => Future::add_waiter(native.base(), this.any().clone(), &MEMBER)?,
        None => {
            let callback = NativeCallback::make(py, this.any().clone(), &MEMBER)?;
            task.call_method1(intern!(py, "add_done_callback"), (callback,))?;
        }
    }
    // An eager task may have cancelled the group before it was a member.
    if this.aborting.get() && !is_done(&task)? {
        cancel_any(&task, None)?;
    }
    Ok(task.into())
}

fn cancel(this: &Ref<'_, TaskGroup>) -> PyResult<()> {
    this.cancelled.set(true);
    if !this.entered.get() {
        this.cancel_on_enter.set(true);
        return Ok(());
    }
    if this.exiting.get() && !has_tasks(this)? || this.aborting.get() {
        return Ok(());
    }
    abort(this)?;
    if this.parent.is_set() && !this.parent_cancel_requested.get() {
        this.parent_cancel_requested.set(true);
        cancel_parent(this)?;
    }
    Ok(())
}

fn own(value: Option<Bound<'_, PyAny>>) -> Option<Own> {
    value.map(Own::new)
}

impl Class for TaskGroup {
    const NAME: &'static CStr = c"rasyncio.taskgroups.TaskGroup";
    const DOC: &'static CStr = c"TaskGroup()\n--\n\n\
        An asynchronous context manager for tasks that end together.\n\n\
        Tasks made by create_task() are waited for at the exit. The first that fails cancels the others and the body;\n\
        all exceptions are raised together as an ExceptionGroup.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<0> = Signature::method("TaskGroup.__init__", []);
        spec.init(|_, args| args.parse(&INIT).map(drop))
            .repr(|this| {
                let mut info = String::new();
                if has_tasks(this)? {
                    info.push_str(&format!(" tasks={}", tasks(this)?.len()));
                }
                if has_errors(this)? {
                    info.push_str(&format!(" errors={}", errors(this)?.len()));
                }
                if this.aborting.get() {
                    info.push_str(" cancelling");
                } else if this.entered.get() {
                    info.push_str(" entered");
                }
                Ok(format!("<TaskGroup{info}>"))
            })
            .method(
                c"create_task",
                c"create_task($self, /, coro, **kwargs)\n--\n\nRun a coroutine as a task of the group; name and context as for Task.\n\
                  RuntimeError if the group was not entered, is finished, or is being shut down.",
                create_member,
            )
            .method0(
                c"cancel",
                c"cancel($self, /)\n--\n\nCancel the members and the body; the group then exits without CancelledError.\n\
                  Before the entry, it is cancelled at the entry.",
                cancel,
            )
            .method0(c"_enter", c"_enter($self, /)\n--\n\nThe body of __aenter__.", enter)
            .method(c"_begin_exit", c"_begin_exit($self, et, exc, /)\n--\n\nThe first part of __aexit__: what to wait for.", begin_exit)
            .method0(c"_finish_exit", c"_finish_exit($self, /)\n--\n\nThe last part of __aexit__.", finish_exit)
            .method0(c"_abort", c"_abort($self, /)\n--\n\nCancel all members.", abort)
            .method1_named(c"_is_base_error", c"_is_base_error($self, /, exc)\n--\n\nWhether exc is SystemExit or KeyboardInterrupt.", || ("TaskGroup._is_base_error", "exc"), |_, error| {
                Ok(is_base_error(error))
            })
            .method1_named(c"_on_task_done", c"_on_task_done($self, /, task)\n--\n\nA member is done.", || ("TaskGroup._on_task_done", "task"), member_done)
            .get(c"_tasks", c"", |this| Ok(Own::new(tasks(this)?.into_any())))
            .get(c"_errors", c"", |this| match this.exiting.get() && !this.parent.is_set() {
                true => Ok(None),
                false => Ok(Some(Own::new(errors(this)?.into_any()))),
            })
            .get(c"_parent_task", c"", |this| Ok(own(this.parent.get(this.py()))))
            .get(c"_loop", c"", |this| Ok(own(this.event_loop.get(this.py()))))
            .get(c"_base_error", c"", |this| Ok(own(this.base_error.get(this.py()))))
            .get(c"_on_completed_fut", c"", |this| Ok(own(this.completed.get(this.py()))))
            .get(c"_entered", c"", |this| Ok(this.entered.get()))
            .get(c"_exiting", c"", |this| Ok(this.exiting.get()))
            .get(c"_aborting", c"", |this| Ok(this.aborting.get()))
            .get(c"_parent_cancel_requested", c"", |this| Ok(this.parent_cancel_requested.get()));
    }
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<TaskGroup>(module)
}
