//! Which tasks exist, and which one runs.
//!
//! Called by `step` at both ends of every step, by `all_tasks()` and `current_task()`, and by other implementations of tasks
//! through `_register_task`, `_enter_task` and their kin; calls the stdlib's functions of the same names when the stdlib's
//! asyncio is loaded beside us, so that both tell the same.
//!
//! A loop of ours keeps its own: the current task in a slot, its tasks in a weak registry. For loops and tasks of others
//! the module's state has a dict of current tasks and a WeakSet, as the stdlib has them. The stdlib's own tasks on a loop of
//! ours are known to its registry only, which is asked where ours has nothing.
//!
//! Invariants: at most one task is current on a loop; entering a second or leaving another one is a RuntimeError. A task
//! that is done, or gone, is not in `all_tasks()`.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PySet};
use slots::intern;
use slots::{Args, Own, Ref, Signature, add_function, arg, opt};

use super::Task;
use crate::events::{LoopCore, get_running_loop, running_loop};
use crate::library;
use crate::state;

/// The current task of a loop of ours, entered.
#[inline]
pub(super) fn enter_native(core: &Ref<'_, LoopCore>, task: &Ref<'_, Task>) -> PyResult<()> {
    if core.current_task.is_set() {
        return Err(cannot_enter(task.any(), &core.current_task.get_or_none(task.py())));
    }
    core.current_task.set(task.any().clone());
    if !core.published.get() {
        return Ok(());
    }
    let told = tell_stdlib(core, task, true);
    if told.is_err() {
        core.current_task.unset();
    }
    told
}

/// The current task of a loop of ours, left.
#[inline]
pub(super) fn leave_native(core: &Ref<'_, LoopCore>, task: &Ref<'_, Task>) -> PyResult<()> {
    if !core.current_task.is(task.any()) {
        return Err(does_not_match(task.any(), &core.current_task.get_or_none(task.py())));
    }
    core.current_task.unset();
    if core.published.get() { tell_stdlib(core, task, false) } else { Ok(()) }
}

/// Tells the stdlib's asyncio that a task begins or ceases to run.
#[cold]
fn tell_stdlib(core: &Ref<'_, LoopCore>, task: &Ref<'_, Task>, enters: bool) -> PyResult<()> {
    let py = task.py();
    let state = state(py)?;
    let function = if enters { &state.stdlib_enter_task } else { &state.stdlib_leave_task };
    match function.get(py) {
        Some(function) => function.call1((core.any(), task.any())).map(drop),
        None => Ok(()),
    }
}

#[cold]
fn cannot_enter(task: &Bound<'_, PyAny>, current: &Bound<'_, PyAny>) -> PyErr {
    match (task.repr(), current.repr()) {
        (Ok(task), Ok(current)) => PyRuntimeError::new_err(format!(
            "Cannot enter into task {task} while another task {current} is being executed."
        )),
        (Err(error), _) | (_, Err(error)) => error,
    }
}

#[cold]
fn does_not_match(task: &Bound<'_, PyAny>, current: &Bound<'_, PyAny>) -> PyErr {
    match (task.repr(), current.repr()) {
        (Ok(task), Ok(current)) => {
            PyRuntimeError::new_err(format!("Leaving task {task} does not match the current task {current}."))
        }
        (Err(error), _) | (_, Err(error)) => error,
    }
}

fn foreign_current(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let state = state(py)?;
    if let Some(dict) = state.foreign_current.get(py) {
        return Ok(dict.cast_into()?);
    }
    let dict = slots::dict(py)?;
    state.foreign_current.set(dict.clone().into_any());
    Ok(dict)
}

fn foreign_tasks(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let state = state(py)?;
    if let Some(set) = state.foreign_tasks.get(py) {
        return Ok(set);
    }
    let set = library(py, "weakref")?.getattr(intern!(py, "WeakSet"))?.call0()?;
    state.foreign_tasks.set(set.clone());
    Ok(set)
}

/// The task that runs on `event_loop`.
pub(crate) fn current_of<'py>(py: Python<'py>, event_loop: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match LoopCore::of(event_loop) {
        Some(core) if core.current_task.is_set() || !core.published.get() => Ok(core.current_task.get(py)),
        // It may be one of the stdlib's tasks that runs on this loop.
        Some(core) => {
            let stdlib = state(py)?.stdlib_tasks.get_or_none(py);
            let task = stdlib.call_method1(intern!(py, "current_task"), (core.any(),))?;
            Ok((!task.is_none()).then_some(task))
        }
        None => foreign_current(py)?.get_item(event_loop),
    }
}

/// The stdlib's task that runs on a loop which is not ours, either.
#[cold]
fn current_in_stdlib<'py>(py: Python<'py>, event_loop: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match state(py)?.stdlib_tasks.get(py) {
        Some(stdlib) if LoopCore::of(event_loop).is_none() => {
            let task = stdlib.call_method1(intern!(py, "current_task"), (event_loop,))?;
            Ok((!task.is_none()).then_some(task))
        }
        _ => Ok(None),
    }
}

/// The task that runs on the given loop, or on the running one.
pub fn current_task<'py>(
    py: Python<'py>,
    event_loop: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let event_loop = match event_loop {
        Some(event_loop) => event_loop.clone(),
        None => get_running_loop(py)?,
    };
    match current_of(py, &event_loop)? {
        None => current_in_stdlib(py, &event_loop),
        current => Ok(current),
    }
}

/// Says that `task` runs on `event_loop` from now on.
pub fn enter_task<'py>(event_loop: &Bound<'py, PyAny>, task: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = task.py();
    if let Some(current) = current_of(py, event_loop)? {
        return Err(cannot_enter(task, &current));
    }
    set_current(event_loop, Some(task))
}

/// Says that `task` has ceased to run on `event_loop`.
pub fn leave_task<'py>(event_loop: &Bound<'py, PyAny>, task: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = task.py();
    let current = current_of(py, event_loop)?.unwrap_or_else(|| py.None().into_bound(py));
    if !current.is(task) {
        return Err(does_not_match(task, &current));
    }
    set_current(event_loop, None)
}

fn set_current<'py>(event_loop: &Bound<'py, PyAny>, task: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
    let py = event_loop.py();
    match (LoopCore::of(event_loop), task) {
        (Some(core), task) if !core.published.get() => {
            drop(core.current_task.replace(py, task.cloned()));
            Ok(())
        }
        (Some(core), task) => swap_published(core, task),
        (None, Some(task)) => foreign_current(py)?.set_item(event_loop, task),
        (None, None) => {
            let dict = foreign_current(py)?;
            if dict.contains(event_loop)? { dict.del_item(event_loop) } else { Ok(()) }
        }
    }
}

/// The same where the stdlib's asyncio is told: it alone remembers tasks that are not ours, for they come and go by its functions.
fn swap_published<'py>(core: &Ref<'py, LoopCore>, task: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
    let py = core.py();
    let ours = task.filter(|task| Ref::<Task>::cast(task).is_some());
    let before = core.current_task.replace(py, ours.cloned());
    let state = state(py)?;
    if slots::VERSION >= (3, 12) {
        let stdlib = state.stdlib_tasks.get_or_none(py);
        return stdlib.call_method1(intern!(py, "_swap_current_task"), (core.any(), task)).map(drop);
    }
    for (function, task) in [(&state.stdlib_leave_task, before.as_ref()), (&state.stdlib_enter_task, task)] {
        if let (Some(function), Some(task)) = (function.get(py), task) {
            function.call1((core.any(), task))?;
        }
    }
    Ok(())
}

/// Forgets which tasks are current: in the child of a fork nothing runs. The stdlib's asyncio forgets by itself, before or after.
pub fn forget_current(py: Python<'_>) -> PyResult<()> {
    if let Some(core) = running_loop(py).as_ref().and_then(LoopCore::of) {
        core.current_task.unset();
    }
    foreign_current(py)?.call_method0(intern!(py, "clear")).map(drop)
}

/// Puts another task in the place of the current one; answers who it was.
pub fn swap_current_task<'py>(
    event_loop: &Bound<'py, PyAny>,
    task: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let before = current_of(event_loop.py(), event_loop)?;
    set_current(event_loop, task)?;
    Ok(before)
}

/// Notes a task whose loop is not one of ours.
pub(super) fn register_foreign(task: &Ref<'_, Task>) -> PyResult<()> {
    register(task.any())
}

/// Tells the stdlib's registry of a task, if that asyncio is loaded beside us.
#[inline]
pub(super) fn tell_stdlib_registered(task: &Ref<'_, Task>) -> PyResult<()> {
    let py = task.py();
    match state(py)?.stdlib_register_task.get(py) {
        Some(register) => register.call1((task.any(),)).map(drop),
        None => Ok(()),
    }
}

fn register(task: &Bound<'_, PyAny>) -> PyResult<()> {
    foreign_tasks(task.py())?.call_method1(intern!(task.py(), "add"), (task,)).map(drop)
}

fn unregister(task: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Some(native) = Ref::<Task>::cast(task) {
        native.registration.leave();
    }
    foreign_tasks(task.py())?.call_method1(intern!(task.py(), "discard"), (task,)).map(drop)
}

/// The tasks of `event_loop` that are not done, as a set.
pub fn all_tasks<'py>(py: Python<'py>, event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let set = PySet::empty(py)?;
    if let Some(core) = LoopCore::of(event_loop) {
        for task in core.tasks.objects(py) {
            if !task.is_done() {
                set.add(task.any())?;
            }
        }
    }
    if let Some(foreign) = state(py)?.foreign_tasks.get(py) {
        let tasks = library(py, "builtins")?.getattr(intern!(py, "list"))?.call1((foreign,))?;
        for task in tasks.try_iter()? {
            let task = task?;
            if crate::futures::loop_of(&task)?.is(event_loop) && !task.call_method0(intern!(py, "done"))?.is_truthy()? {
                set.add(task)?;
            }
        }
    }
    if let Some(stdlib) = state(py)?.stdlib_tasks.get(py) {
        let theirs = stdlib.call_method1(intern!(py, "all_tasks"), (event_loop,))?;
        set.call_method1(intern!(py, "update"), (theirs,))?;
    }
    Ok(set.into_any())
}

/// Puts the registry's functions in the extension module.
pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(
        module,
        c"current_task",
        c"current_task(loop=None)\n--\n\nThe task that runs on the loop (by default the running one), or None.",
        |py, args| {
            const SIGNATURE: Signature<1> = Signature::function("current_task", [opt("loop")]);
            let [event_loop] = args.parse(&SIGNATURE)?;
            let event_loop = event_loop.filter(|l| !l.is_none());
            Ok(current_task(py, event_loop)?.map(Own::new))
        },
    )?;
    add_function(
        module,
        c"all_tasks",
        c"all_tasks(loop=None)\n--\n\nThe tasks of the loop (by default the running one) that are not done.",
        |py, args| {
            const SIGNATURE: Signature<1> = Signature::function("all_tasks", [opt("loop")]);
            let [event_loop] = args.parse(&SIGNATURE)?;
            let event_loop = match event_loop.filter(|l| !l.is_none()) {
                Some(event_loop) => event_loop.clone(),
                None => get_running_loop(py)?,
            };
            Ok(Own::new(all_tasks(py, &event_loop)?))
        },
    )?;
    add_function(
        module,
        c"_enter_task",
        c"_enter_task(loop, task)\n--\n\nSay that task runs on loop from now on. For writers of tasks.",
        |_, args| {
            let (event_loop, task) = loop_and_task(args, "_enter_task")?;
            enter_task(&event_loop, &task)
        },
    )?;
    add_function(
        module,
        c"_leave_task",
        c"_leave_task(loop, task)\n--\n\nSay that task has ceased to run on loop. For writers of tasks.",
        |_, args| {
            let (event_loop, task) = loop_and_task(args, "_leave_task")?;
            leave_task(&event_loop, &task)
        },
    )?;
    add_function(module, c"_swap_current_task", c"_swap_current_task(loop, task)\n--\n\nPut task (or None) in the place of loop's current one; answer who that was.", |_, args| {
        let (event_loop, task) = loop_and_task(args, "_swap_current_task")?;
        Ok(swap_current_task(&event_loop, Some(&task).filter(|t| !t.is_none()))?.map(Own::new))
    })?;
    add_function(
        module,
        c"_register_task",
        c"_register_task(task)\n--\n\nHave all_tasks() know task. For writers of tasks.",
        |_, args| register(&only_task(args, "_register_task")?),
    )?;
    add_function(
        module,
        c"_register_eager_task",
        c"_register_eager_task(task)\n--\n\nHave all_tasks() know a task that makes its first step.",
        |_, args| register(&only_task(args, "_register_eager_task")?),
    )?;
    add_function(
        module,
        c"_unregister_eager_task",
        c"_unregister_eager_task(task)\n--\n\nHave all_tasks() forget a task whose first step is made.",
        |_, args| unregister(&only_task(args, "_unregister_eager_task")?),
    )?;
    add_function(
        module,
        c"_unregister_task",
        c"_unregister_task(task)\n--\n\nHave all_tasks() forget task. For writers of tasks.",
        |_, args| unregister(&only_task(args, "_unregister_task")?),
    )
}

fn loop_and_task<'py>(args: &Args<'_, 'py>, name: &'static str) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let signature: Signature<2> = Signature::function(name, [arg("loop"), arg("task")]);
    match args.parse(&signature)? {
        [Some(event_loop), Some(task)] => Ok((event_loop.clone(), task.clone())),
        _ => Err(PyTypeError::new_err("an argument is missing")),
    }
}

fn only_task<'py>(args: &Args<'_, 'py>, name: &'static str) -> PyResult<Bound<'py, PyAny>> {
    let signature: Signature<1> = Signature::function(name, [arg("task")]);
    match args.parse(&signature)? {
        [Some(task)] => Ok(task.clone()),
        _ => Err(PyTypeError::new_err("an argument is missing")),
    }
}
