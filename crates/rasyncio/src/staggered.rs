//! staggered: `staggered_race()`, coroutines started one after another, the first success wins (asyncio.staggered).
//!
//! Called by `create_connection` for Happy Eyeballs (RFC 8305) and by users; calls the loop for tasks, `locks` for events and
//! `tasks` for the delay.
//!
//! Each coroutine function runs in a task of its own. A task first waits until its predecessor has failed or the delay is
//! over, then takes the next function, makes the task of its successor, and only then calls its function. States of the
//! race: running -> won (the winner cancels all others) or lost (no function is left) -> over, when the last task has ended.
//! The race itself waits for that last end, however often it is cancelled meanwhile; a cancellation is handed on to all
//! tasks and leaves the race at the end.
//!
//! Invariant: a task is among `running` before it starts in earnest, also an eager one, which begins inside `create_task`:
//! it waits for its `ok_to_start` event first.
//!
//! All versions behave as the newest: eager tasks work, no task is left behind, and an error of the race's own is raised
//! as an ExceptionGroup unless Python runs with -O.

use std::cell::Cell;

use pyo3::exceptions::{PyAssertionError, PyKeyboardInterrupt, PyStopIteration, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyModule, PySet, PyTuple};
use slots::intern;
use slots::{Class, Co, Kept, Own, Ref, Signature, Slot, Spec, add_function, arg, class, kw_opt};

use crate::base_events::{create_future, create_task};
use crate::events::{Kind, NativeCallback, get_running_loop};
use crate::exceptions::is_cancelled;
use crate::futures::given;
use crate::tasks::{awaited_by, cancel_any, current_task};
use crate::{face, library};

class! {
    /// A race, and how it stands.
    pub struct Race {
        event_loop: Slot,
        /// The task that waits for the race.
        parent: Slot,
        functions: Slot,
        delay: Slot,
        /// A set of tasks.
        running: Slot,
        /// A list: of each function that was started what it raised, or None.
        exceptions: Slot,
        /// A list: errors of the race's own tasks.
        unhandled: Slot,
        /// The future that the race waits for.
        completed: Slot,
        /// The newest cancellation that came while the race was on.
        cancellation: Slot,
        winner: Slot,
        winner_index: Cell<Option<usize>>,
    }
}

impl Class for Race {
    const NAME: &'static std::ffi::CStr = c"rasyncio.staggered._Race";
    const CALLABLE: bool = false;
    const SUBCLASSABLE: bool = false;

    fn define(_: &mut Spec<Self>) {}
}

impl Race {
    /// The task that waits for the race.
    pub fn parent<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.parent.get(py)
    }
}

/// The end of a task of the race.
static RUNNER: Kind = Kind {
    run: |object, argument| match (Ref::<Race>::cast(object), argument) {
        (Some(race), Some(task)) => task_done(race, task),
        _ => Ok(()),
    },
    event_loop: |object| Ref::<Race>::cast(object)?.event_loop.get(object.py()).map(Own::new),
    context: |_| None,
    name: "StaggeredRunner",
    qualname: Some("staggered_race.<locals>.task_done"),
};

fn running<'py>(race: &Ref<'py, Race>) -> PyResult<Bound<'py, PySet>> {
    Ok(race.running.get_or_none(race.py()).cast_into()?)
}

fn list<'py>(slot: &Slot, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
    Ok(slot.get_or_none(py).cast_into()?)
}

fn new_event(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    face(py, "locks")?.call_method0(intern!(py, "Event"))
}

fn task_done<'py>(race: &Ref<'py, Race>, task: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = race.py();
    running(race)?.discard(task)?;
    if let (true, Some(parent)) = (awaited_by::kept(), race.parent.get(py)) {
        awaited_by::discard(task, &parent)?;
    }
    if let Some(completed) = race.completed.get(py) {
        if running(race)?.is_empty() && !completed.call_method0(intern!(py, "done"))?.is_truthy()? {
            completed.call_method1(intern!(py, "set_result"), (py.None(),))?;
        }
    }
    if task.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
        return Ok(());
    }
    let exception = task.call_method0(intern!(py, "exception"))?;
    if exception.is_none() { Ok(()) } else { list(&race.unhandled, py)?.append(exception) }
}

/// Makes the task that will run the next function, once `previous_failed` is set or the delay is over.
fn start<'py>(race: &Ref<'py, Race>, previous_failed: Bound<'py, PyAny>) -> PyResult<()> {
    let py = race.py();
    let ok_to_start = new_event(py)?;
    let kept = [race.any().clone(), ok_to_start.clone(), previous_failed];
    let coroutine = slots::coroutine(
        py,
        "staggered_race.<locals>.run_one_coro",
        kept,
        |co, [race, ok_to_start, previous_failed]| run_one(co, race, ok_to_start, previous_failed),
    )?;
    let task = create_task(&race.event_loop.get_or_none(py), &coroutine, None)?;
    if let (true, Some(parent)) = (awaited_by::kept(), race.parent.get(py)) {
        awaited_by::add(&task, &parent)?;
    }
    running(race)?.add(&task)?;
    let callback = NativeCallback::make(py, race.any().clone(), &RUNNER)?;
    task.call_method1(intern!(py, "add_done_callback"), (callback,))?;
    ok_to_start.call_method0(intern!(py, "set")).map(drop)
}

async fn run_one(co: Co, race: Kept, ok_to_start: Kept, previous_failed: Kept) -> PyResult<Own> {
    let waiting = co.get(ok_to_start).call_method0(slots::Text("wait"))?.unbind();
    let waiting = co.keep(waiting.into_bound(co.py()));
    co.wait(waiting).await?;
    if !co.get(previous_failed).is_none() {
        let waited = {
            let race = co.get_as::<Race>(race);
            let failed = co.get(previous_failed).call_method0(slots::Text("wait"))?;
            face(co.py(), "tasks")?.call_method1(slots::Text("wait_for"), (failed, race.delay.get_or_none(co.py())))?
        };
        let waited = co.keep(waited);
        match co.wait(waited).await {
            Err(error)
                if error.is_instance(co.py(), &face(co.py(), "exceptions")?.getattr(slots::Text("TimeoutError"))?) => {}
            other => drop(other?),
        }
    }
    let (index, this_failed, called) = {
        let py = co.py();
        let race = co.get_as::<Race>(race);
        let function = match race.functions.get_or_none(py).call_method0(slots::Text("__next__")) {
            Ok(function) => function,
            Err(error) if error.is_instance_of::<PyStopIteration>(py) => return Ok(Own::new(py.None().into_bound(py))),
            Err(error) => return Err(error),
        };
        let this_failed = new_event(py)?;
        start(&race, this_failed.clone())?;
        let exceptions = list(&race.exceptions, py)?;
        let index = exceptions.len();
        exceptions.append(py.None())?;
        (index, co.keep(this_failed), function.call0().map(|called| co.keep(called)))
    };
    let result = match called {
        Ok(called) => co.wait(called).await,
        Err(error) => Err(error),
    };
    let py = co.py();
    let race = co.get_as::<Race>(race);
    match result {
        Err(error) if error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py) => {
            return Err(error);
        }
        Err(error) => {
            list(&race.exceptions, py)?.set_item(index, error.into_value(py))?;
            co.get(this_failed).call_method0(slots::Text("set"))?;
        }
        Ok(result) => win(&race, index, result.into_bound(py))?,
    }
    Ok(Own::new(py.None().into_bound(py)))
}

fn win<'py>(race: &Ref<'py, Race>, index: usize, result: Bound<'py, PyAny>) -> PyResult<()> {
    let py = race.py();
    if race.winner_index.get().is_some() {
        return Err(PyAssertionError::new_err(()));
    }
    race.winner_index.set(Some(index));
    race.winner.set(result);
    let own_task = current_task(py, Some(&race.event_loop.get_or_none(py)))?;
    // Not its own task: that has no await left to end the cancellation, and would be done with it and not cancelled.
    for task in running(race)?.iter().collect::<Vec<_>>() {
        if own_task.as_ref().is_none_or(|own| !own.is(&task)) {
            cancel_any(&task, None)?;
        }
    }
    Ok(())
}

/// Hands a cancellation of the race on to its tasks.
fn cancelled<'py>(race: &Ref<'py, Race>, error: PyErr) -> PyResult<()> {
    let py = race.py();
    let error = error.into_value(py).into_bound(py).into_any();
    let args = error.getattr(intern!(py, "args"))?.cast_into::<PyTuple>()?;
    race.cancellation.set(error);
    for task in running(race)?.iter().collect::<Vec<_>>() {
        task.getattr(intern!(py, "cancel"))?.call1(&args)?;
    }
    Ok(())
}

fn result<'py>(race: &Ref<'py, Race>) -> PyResult<Bound<'py, PyAny>> {
    let py = race.py();
    let unhandled = list(&race.unhandled, py)?;
    if !unhandled.is_empty()
        && library(py, "sys")?.getattr(slots::Text("flags"))?.getattr(slots::Text("optimize"))?.eq(0)?
    {
        let group = library(py, "builtins")?.getattr(slots::Text("ExceptionGroup"))?;
        return Err(slots::raise(&group.call1(("staggered race failed", unhandled))?));
    }
    if let Some(cancellation) = race.cancellation.get(py) {
        return Err(slots::raise(&cancellation));
    }
    let answer = (race.winner.get_or_none(py), race.winner_index.get(), list(&race.exceptions, py)?);
    Ok(answer.into_pyobject(py)?.into_any())
}

async fn run(co: Co, race: Kept, functions: Kept, delay: Kept) -> PyResult<Own> {
    {
        let py = co.py();
        let race = co.get_as::<Race>(race);
        if !race.event_loop.is_set() {
            race.event_loop.set(get_running_loop(py)?);
        }
        if let Some(parent) = current_task(py, Some(&race.event_loop.get_or_none(py)))? {
            race.parent.set(parent);
        }
        race.functions.set(co.get(functions).try_iter()?.into_any());
        race.delay.set(co.get(delay));
        race.running.set(PySet::empty(py)?.into_any());
        race.exceptions.set(slots::list(py)?.into_any());
        race.unhandled.set(slots::list(py)?.into_any());
        start(&race, py.None().into_bound(py))?;
    }
    let place = co.keep(co.py().None().into_bound(co.py()));
    while !running(&co.get_as::<Race>(race))?.is_empty() {
        {
            let race = co.get_as::<Race>(race);
            let completed = create_future(&race.event_loop.get_or_none(co.py()))?;
            race.completed.set(completed.clone());
            co.change(place, completed);
        }
        let waited = co.wait(place).await;
        let race = co.get_as::<Race>(race);
        match waited {
            Ok(_) => {}
            Err(error) if is_cancelled(co.py(), &error) => cancelled(&race, error)?,
            Err(error) => return Err(error),
        }
        race.completed.unset();
    }
    let race = co.get_as::<Race>(race);
    result(&race).map(Own::new)
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    const SIGNATURE: Signature<3> =
        Signature::function("staggered_race", [arg("coro_fns"), arg("delay"), kw_opt("loop")]);
    let doc = c"_staggered_race(coro_fns, delay, *, loop=None)\n--\n\nThe coroutine behind staggered_race().";
    add_function(module, c"_staggered_race", doc, |py, args| {
        let [functions, delay, event_loop] = args.parse(&SIGNATURE)?;
        let none = py.None().into_bound(py);
        let race = Race::default();
        if let Some(event_loop) = given(&event_loop) {
            race.event_loop.set(event_loop.clone());
        }
        let race = Ref::create(py, race)?.into_any();
        let kept = [race, functions.unwrap_or(&none).clone(), delay.unwrap_or(&none).clone()];
        let coroutine = slots::coroutine(py, "staggered_race", kept, |co, [race, functions, delay]| {
            run(co, race, functions, delay)
        })?;
        Ok(Own::new(coroutine))
    })
}
