//! Futures and tasks made by the loop, and the task factory.
//!
//! Called by users and by rooms, which must go through the loop where it has a factory or overrides `create_future`; calls
//! `futures` and `tasks`.
//!
//! On a loop that the standard library's asyncio uses (`LoopCore::hosted`) both make objects of that library's classes, which
//! its other parts ask for by isinstance(); `rasyncio.create_task()` makes ours on any loop.
//!
//! What a factory gets follows the running Python: up to 3.13 the name is set on the task afterwards (3.11 and 3.12 know
//! no other keyword than `context`); from 3.14 the factory gets exactly the caller's keywords. An eager factory, which came
//! with 3.12, gets the name on 3.11 too, since the first step of the task is made within it.

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use slots::intern;
use slots::{Args, Own, Ref, Signature, Spec, arg};

use super::{BaseEventLoop, own, put};
use crate::events::running::class_in_stdlib;
use crate::events::{Hook, LoopCore};
use crate::futures::Future;
use crate::tasks::{Options, Task};

/// A future of the loop: native and direct where nobody overrides `create_future`.
pub fn create_future<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match LoopCore::of(event_loop) {
        Some(core) if !LoopCore::overrides(core, Hook::CreateFuture) => Ok(Future::on(core)?.into_any()),
        _ => event_loop.call_method0(intern!(event_loop.py(), "create_future")),
    }
}

/// A task of the loop, by its factory or its `create_task` where it has its own.
pub fn create_task<'py>(
    event_loop: &Bound<'py, PyAny>,
    coroutine: &Bound<'py, PyAny>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    if let Some(own) = BaseEventLoop::of(event_loop) {
        let simple = keywords.is_none_or(|k| k.is_empty());
        if simple && !own.task_factory.is_set() && !LoopCore::overrides(own.base(), Hook::CreateTask) {
            own.check_closed()?;
            return Ok(Task::create(coroutine, event_loop, Options::default())?.into_any());
        }
    }
    event_loop.getattr(intern!(py, "create_task"))?.call((coroutine,), keywords)
}

/// Whether a task's name is given to the loop's factory, and not only set afterwards: on 3.11, to an eager one.
#[cold]
pub fn names_first(event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = event_loop.py();
    if slots::VERSION > (3, 11) {
        return Ok(slots::VERSION >= (3, 13));
    }
    let factory = event_loop.call_method0(intern!(py, "get_task_factory"))?;
    let Some(code) = factory.getattr_opt(intern!(py, "__code__"))? else { return Ok(false) };
    let eager = crate::face(py, "tasks")?.getattr(intern!(py, "eager_task_factory"))?;
    Ok(eager.getattr_opt(intern!(py, "__code__"))?.is_some_and(|own| own.is(&code)))
}

fn task_by_keywords<'py>(
    this: &Ref<'py, BaseEventLoop>,
    coroutine: &Bound<'py, PyAny>,
    keywords: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let Some(factory) = this.task_factory.get(py) else {
        let own_keywords = keywords.copy()?;
        own_keywords.set_item(intern!(py, "loop"), this.any())?;
        if let Some(class) = class_in_stdlib(this.base(), "Task")? {
            return class.call((coroutine,), Some(&own_keywords));
        }
        return crate::face(py, "tasks")?.getattr(intern!(py, "Task"))?.call((coroutine,), Some(&own_keywords));
    };
    if slots::VERSION >= (3, 14) {
        return factory.call((this.any(), coroutine), Some(keywords));
    }
    let keywords = keywords.copy()?;
    let name = keywords.get_item(intern!(py, "name"))?;
    if name.is_some() && (slots::VERSION >= (3, 12) || !names_first(this.any())?) {
        keywords.del_item(intern!(py, "name"))?;
    }
    if keywords.get_item(intern!(py, "context"))?.is_some_and(|c| c.is_none()) {
        keywords.del_item(intern!(py, "context"))?;
    }
    let task = factory.call((this.any(), coroutine), Some(&keywords))?;
    if slots::VERSION >= (3, 13) {
        task.call_method1(intern!(py, "set_name"), (name,))?;
    } else if let Some(name) = name.filter(|n| !n.is_none()) {
        crate::face(py, "tasks")?.call_method1(intern!(py, "_set_task_name"), (&task, name))?;
    }
    Ok(task)
}

fn create_future_method(this: &Ref<'_, BaseEventLoop>) -> PyResult<Own> {
    let py = this.py();
    let Some(class) = class_in_stdlib(this.base(), "Future")? else {
        return Ok(Future::on(this.base())?.into_any().into());
    };
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "loop"), this.any())?;
    class.call((), Some(&keywords)).map(Own::new)
}

fn create_task_method(this: &Ref<'_, BaseEventLoop>, args: &Args<'_, '_>) -> PyResult<Own> {
    const SIGNATURE: Signature<1> = Signature::method("BaseEventLoop.create_task", [arg("coro")]);
    this.check_closed()?;
    if !args.has_keywords() && !this.task_factory.is_set() && !this.hosted.get() {
        let [coroutine] = args.parse(&SIGNATURE)?;
        let Some(coroutine) = coroutine else { return Err(PyTypeError::new_err("coro is missing")) };
        return Ok(Task::create(coroutine, this.any(), Options::default())?.into_any().into());
    }
    let ([coroutine], keywords) = args.parse_extra(&SIGNATURE)?;
    let Some(coroutine) = coroutine else { return Err(PyTypeError::new_err("coro is missing")) };
    Ok(task_by_keywords(this, coroutine, &keywords)?.into())
}

pub(super) fn define(spec: &mut Spec<BaseEventLoop>) {
    const CREATE_TASK: &CStr = c"create_task($self, /, coro, **kwargs)\n--\n\n\
        Run a coroutine as a task. name, context, eager_start and all else go to the task or to the task\n\
        factory. Answers the task. Not thread-safe.";
    spec.method0(
        c"create_future",
        c"create_future($self, /)\n--\n\nA new future of this loop.",
        create_future_method,
    )
    .method(c"create_task", CREATE_TASK, create_task_method)
    .method1_named(
        c"set_task_factory",
        c"set_task_factory($self, /, factory)\n--\n\nHave tasks made by factory(loop, coro, **kwargs); None for the Task class.", || ("BaseEventLoop.set_task_factory", "factory"),
        |this, factory| {
            if !factory.is_none() && !factory.is_callable() {
                return Err(PyTypeError::new_err("task factory must be a callable or None"));
            }
            put(&this.task_factory, Some(factory))
        },
    )
    .method0(c"get_task_factory", c"get_task_factory($self, /)\n--\n\nThe task factory, or None.", |this| {
        Ok(own(this.task_factory.get(this.py())))
    });
}
