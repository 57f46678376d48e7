//! Who waits for whom: the edges of the call graph (3.14+; `future_add_to_awaited_by` and its opposite).
//!
//! Called by `step` and by the functions that wait for several futures at once; read by `graph` through
//! `Future._asyncio_awaited_by`. Only native futures keep edges. On older Pythons nothing is kept and nothing is paid.
//!
//! `Future::awaited_by` holds the one waiter itself, or a set of several; a set is no future, so the two are told apart.

use pyo3::prelude::*;
use pyo3::types::{PyModule, PySet};
use slots::{Ref, Signature, add_function, pos};

use crate::events::running_loop;
use crate::futures::Future;

use super::registry::current_of;

/// Whether the running Python keeps edges.
#[inline]
pub const fn kept() -> bool {
    cfg!(Py_3_14)
}

/// Notes that `waiter` waits for `future`.
pub fn add<'py>(future: &Bound<'py, PyAny>, waiter: &Bound<'py, PyAny>) -> PyResult<()> {
    let (Some(native), Some(_)) = (Ref::<Future>::cast(future), Ref::<Future>::cast(waiter)) else { return Ok(()) };
    let py = future.py();
    let Some(known) = native.awaited_by.get(py) else {
        native.awaited_by.set(waiter.clone());
        return Ok(());
    };
    if known.is(waiter) {
        return Ok(());
    }
    if let Ok(several) = known.cast_exact::<PySet>() {
        return several.add(waiter);
    }
    let several = PySet::new(py, [&known, waiter])?;
    native.awaited_by.set(several.into_any());
    Ok(())
}

/// Those who are noted as waiting for `future`.
pub fn noted<'py>(future: &Ref<'py, Future>) -> Vec<Bound<'py, PyAny>> {
    match future.awaited_by.get(future.py()) {
        None => Vec::new(),
        Some(known) => match known.cast_exact::<PySet>() {
            Ok(several) => several.iter().collect(),
            Err(_) => vec![known],
        },
    }
}

/// Notes that `waiter` waits for `future` no longer.
pub fn discard<'py>(future: &Bound<'py, PyAny>, waiter: &Bound<'py, PyAny>) -> PyResult<()> {
    let (Some(native), Some(_)) = (Ref::<Future>::cast(future), Ref::<Future>::cast(waiter)) else { return Ok(()) };
    let Some(known) = native.awaited_by.get(future.py()) else { return Ok(()) };
    if known.is(waiter) {
        native.awaited_by.unset();
    } else if let Ok(several) = known.cast_exact::<PySet>() {
        several.discard(waiter)?;
        if several.is_empty() {
            native.awaited_by.unset();
        }
    }
    Ok(())
}

/// The task that would be noted as waiting: the current one, where edges are kept.
pub fn current<'py>(py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match running_loop(py) {
        Some(event_loop) if kept() => current_of(py, &event_loop),
        _ => Ok(None),
    }
}

/// Notes that the current task waits for `inner`; answers the task.
pub fn add_current<'py>(inner: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let task = current(inner.py())?;
    if let Some(task) = &task {
        add(inner, task)?;
    }
    Ok(task)
}

pub(super) fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(
        module,
        c"future_add_to_awaited_by",
        c"future_add_to_awaited_by(fut, waiter, /)\n--\n\nNote for call graphs that waiter waits for fut.",
        |_, args| {
            const SIGNATURE: Signature<2> =
                Signature::function("future_add_to_awaited_by", [pos("fut"), pos("waiter")]);
            match args.parse(&SIGNATURE)? {
                [Some(future), Some(waiter)] => add(future, waiter),
                _ => Ok(()),
            }
        },
    )?;
    add_function(
        module,
        c"future_discard_from_awaited_by",
        c"future_discard_from_awaited_by(fut, waiter, /)\n--\n\nNote for call graphs that waiter waits for fut no longer.",
        |_, args| {
            const SIGNATURE: Signature<2> =
                Signature::function("future_discard_from_awaited_by", [pos("fut"), pos("waiter")]);
            match args.parse(&SIGNATURE)? {
                [Some(future), Some(waiter)] => discard(future, waiter),
                _ => Ok(()),
            }
        },
    )
}
