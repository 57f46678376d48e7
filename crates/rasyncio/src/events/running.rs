//! Which loop runs on this thread.
//!
//! Called by `base_events` when a loop starts and stops, and by whatever needs the loop of the caller; calls the policy only
//! when there is no running loop and the running Python's asyncio would.
//!
//! A loop of the stdlib's that runs is known to that asyncio alone; it is asked, where it is loaded, when the slot is empty.
//!
//! Invariant: the slot of a thread is set exactly while a loop runs there, or as long as `_set_running_loop` said so, except
//! for a loop that is not ours beside the stdlib's asyncio: that one alone keeps it, because the loop may have come by
//! `install()`, and end by the stdlib's own function, after `uninstall()`. A child process clears the slot (`on_fork`,
//! registered with `os.register_at_fork`).

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Own, Ref, Signature, ThreadSlot, add_function, pos};

use super::LoopCore;
use crate::{face, library};

const RUNNING: ThreadSlot = ThreadSlot::new(0);

/// The loop that runs on this thread.
#[inline]
pub fn running_loop(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    RUNNING.get(py).or_else(|| stdlib_running_loop(py))
}

/// The loop that the stdlib's asyncio, loaded beside us, has running on this thread.
#[cold]
fn stdlib_running_loop(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    let get = crate::state(py).ok()?.stdlib_get_running_loop.get(py)?;
    // It raises nothing: it reads a field of the thread's state.
    get.call0().ok().filter(|event_loop| !event_loop.is_none())
}

/// The loop that runs on this thread, or `RuntimeError: no running event loop`.
#[inline]
pub fn get_running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    running_loop(py).ok_or_else(|| PyRuntimeError::new_err("no running event loop"))
}

/// Sets or clears this thread's running loop, and tells the stdlib's asyncio of it where that is loaded.
pub fn set_running_loop(py: Python<'_>, event_loop: Option<Bound<'_, PyAny>>) -> PyResult<()> {
    if event_loop.is_none() {
        // Whatever fails then: no loop runs.
        RUNNING.set(py, None);
    }
    if let Some(set) = crate::state(py)?.stdlib_set_running_loop.get(py) {
        set.call1((&event_loop,))?;
        match event_loop.as_ref().and_then(|event_loop| LoopCore::of(event_loop)) {
            Some(core) => core.published.set(true),
            None => {
                RUNNING.set(py, None);
                return Ok(());
            }
        }
    }
    RUNNING.set(py, event_loop);
    Ok(())
}

/// Called when the stdlib's asyncio has been imported beside us: from now on it is told which loop and which task run,
/// and of every task, those that are there already included.
fn publish<'py>(py: Python<'py>, asyncio: &Bound<'py, PyAny>) -> PyResult<()> {
    let state = crate::state(py)?;
    let (events, tasks) = (asyncio.getattr(intern!(py, "events"))?, asyncio.getattr(intern!(py, "tasks"))?);
    state.stdlib_set_running_loop.set(events.getattr(intern!(py, "_set_running_loop"))?);
    state.stdlib_enter_task.set(tasks.getattr(intern!(py, "_enter_task"))?);
    state.stdlib_leave_task.set(tasks.getattr(intern!(py, "_leave_task"))?);
    state.stdlib_register_task.set(tasks.getattr(intern!(py, "_register_task"))?);
    state.stdlib_futures.set(asyncio.getattr(intern!(py, "futures"))?);
    state.stdlib_tasks.set(tasks);
    state.stdlib_get_running_loop.set(events.getattr(intern!(py, "_get_running_loop"))?);
    let Some(event_loop) = RUNNING.get(py) else { return Ok(()) };
    set_running_loop(py, Some(event_loop.clone()))?;
    let Some(core) = LoopCore::of(&event_loop) else { return Ok(()) };
    for task in core.tasks.objects(py) {
        state.stdlib_register_task.get_or_none(py).call1((task.any(),))?;
    }
    if let Some(task) = core.current_task.get(py) {
        state.stdlib_enter_task.get_or_none(py).call1((&event_loop, task))?;
    }
    Ok(())
}

/// Whether a loop that is made now is for the stdlib's asyncio: it is loaded, and `install()` has not replaced it.
pub fn is_for_stdlib(py: Python<'_>) -> PyResult<bool> {
    let Some(tasks) = crate::state(py)?.stdlib_tasks.get(py) else { return Ok(false) };
    let modules = library(py, "sys")?.getattr(intern!(py, "modules"))?;
    let asyncio = modules.call_method1(intern!(py, "get"), (intern!(py, "asyncio"),))?;
    Ok(asyncio.getattr_opt(intern!(py, "tasks"))?.is_some_and(|used| used.is(&tasks)))
}

/// Says that a loop belongs to rasyncio: its tasks and futures are ours, whoever else is loaded.
pub fn adopt(event_loop: &Bound<'_, PyAny>) {
    if let Some(core) = LoopCore::of(event_loop) {
        core.hosted.set(false);
    }
}

/// The stdlib's class in whose place one of ours stands, for objects of a loop that the stdlib's asyncio uses.
pub fn class_in_stdlib<'py>(core: &Ref<'py, LoopCore>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !core.hosted.get() {
        return Ok(None);
    }
    let state = crate::state(core.py())?;
    let module = if name == "Task" { &state.stdlib_tasks } else { &state.stdlib_futures };
    module.get(core.py()).map(|module| module.getattr(slots::Text(name))).transpose()
}

/// The running loop, or what the policy answers.
pub fn get_event_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    match running_loop(py) {
        Some(event_loop) => Ok(event_loop),
        None => face(py, "events")?
            .call_method0(intern!(py, "_get_event_loop_policy"))?
            .call_method0(intern!(py, "get_event_loop")),
    }
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(
        module,
        c"_get_running_loop",
        c"_get_running_loop()\n--\n\nThe loop that runs on the calling thread, or None.",
        |py, _| Ok(running_loop(py).map(Own::new)),
    )?;
    add_function(
        module,
        c"get_running_loop",
        c"get_running_loop()\n--\n\nThe loop that runs on the calling thread; RuntimeError if there is none.",
        |py, args| {
            const SIGNATURE: Signature<0> = Signature::function("get_running_loop", []);
            args.parse(&SIGNATURE)?;
            Ok(Own::new(get_running_loop(py)?))
        },
    )?;
    add_function(
        module,
        c"_set_running_loop",
        c"_set_running_loop(loop, /)\n--\n\nSay which loop runs on the calling thread; None for no loop. For writers of loops.",
        |py, args| {
            const SIGNATURE: Signature<1> = Signature::function("_set_running_loop", [pos("loop")]);
            let [event_loop] = args.parse(&SIGNATURE)?;
            set_running_loop(py, event_loop.filter(|l| !l.is_none()).cloned())
        },
    )?;
    add_function(
        module,
        c"_publish",
        c"_publish(asyncio, /)\n--\n\nTell the standard library's asyncio, from now on, which loop and task run.",
        |py, args| args.positional().first().map_or(Ok(()), |asyncio| publish(py, asyncio)),
    )?;
    add_function(
        module,
        c"get_event_loop",
        c"get_event_loop()\n--\n\nThe running loop, or without one what the event loop policy answers.",
        |py, _| Ok(Own::new(get_event_loop(py)?)),
    )
}
