//! Which futures and tasks wait for a future.
//!
//! Called by the graph and by `Future._asyncio_awaited_by`; looks at who is registered with the future.
//!
//! A future knows its waiters anyway, so an edge costs nothing until somebody looks: a task that awaits the future, and on
//! Pythons before 3.14 whoever waits through a gather, a task group, a race, a shield, `wait()` or `as_completed()`. From 3.14
//! on asyncio notes the latter as they are made (`tasks::awaited_by`), and so do we: there they are edges before the task
//! waits. What `future_add_to_awaited_by()` was told is an edge on every version.
//!
//! Differs from CPython: an edge to a task that awaits the future ends with the future, and not with the task's next step.

use pyo3::prelude::*;
use pyo3::types::{PyFrozenSet, PySet};
use slots::Ref;

use crate::futures::Future;
use crate::staggered::Race;
use crate::taskgroups::TaskGroup;
use crate::tasks::{AsCompleted, Countdown, GatheringFuture, Shielded, Task, awaited_by as noted};

/// Those who wait for a future, or None if nobody does.
pub fn awaited_by<'py>(future: &Ref<'py, Future>) -> PyResult<Option<Bound<'py, PyFrozenSet>>> {
    let py = future.py();
    let found = PySet::empty(py)?;
    for waiter in noted::noted(future) {
        found.add(waiter)?;
    }
    // Futures in the middle, whose waiters wait for this one too.
    let mut between = vec![future.clone()];
    let mut seen = Vec::new();
    while let Some(next) = between.pop() {
        if seen.contains(&next.any().as_ptr()) {
            continue;
        }
        seen.push(next.any().as_ptr());
        for waiter in Future::waiting(&next) {
            if let Some(task) = Ref::<Task>::cast(&waiter) {
                found.add(task.any())?;
            } else if !noted::kept() {
                through(&waiter, &found, &mut between)?;
            }
        }
    }
    if found.is_empty() { Ok(None) } else { PyFrozenSet::new(py, found.iter()).map(Some) }
}

/// What stands behind a native object that waits on behalf of others.
fn through<'py>(
    waiter: &Bound<'py, PyAny>,
    found: &Bound<'py, PySet>,
    between: &mut Vec<Ref<'py, Future>>,
) -> PyResult<()> {
    let py = waiter.py();
    if let Some(outer) = Ref::<GatheringFuture>::cast(waiter) {
        between.push(outer.base().clone());
    } else if let Some(countdown) = Ref::<Countdown>::cast(waiter) {
        between.extend(countdown.gate.get(py));
    } else if let Some(iterator) = Ref::<AsCompleted>::cast(waiter) {
        let waiters = iterator.waiters.borrow();
        between.extend(waiters.iter().filter_map(|waiter| Ref::<Future>::cast(waiter.bind(py)).cloned()));
    } else if let Some(shielded) = Ref::<Shielded>::cast(waiter) {
        let outer = shielded.outer(py);
        between.extend(outer.as_ref().and_then(|outer| Ref::<Future>::cast(outer)).cloned());
    } else {
        let group = Ref::<TaskGroup>::cast(waiter).and_then(|group| group.parent(py));
        if let Some(parent) = group.or_else(|| Ref::<Race>::cast(waiter).and_then(|race| race.parent(py))) {
            found.add(parent)?;
        }
    }
    Ok(())
}
