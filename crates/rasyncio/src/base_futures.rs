//! base_futures: what makes an object a future, and how one is written (asyncio.base_futures).
//!
//! Called by `futures` and `base_tasks` for reprs, by rooms that ask `isfuture`; calls `format_helpers`.
//!
//! An object is a future if its class has `_asyncio_future_blocking` and the object's value of it is not None. The repr
//! is made from attributes, so that it is right for every future-like class.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyModule, PyTuple};
use slots::intern;
use slots::{Own, Ref, Signature, add_function, arg};

use crate::format_helpers;
use crate::futures::Future;

/// Whether `object` is a future (a native one, or duck-typed).
pub fn isfuture(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if Ref::<Future>::cast(object).is_some() {
        return Ok(true);
    }
    let name = intern!(object.py(), "_asyncio_future_blocking");
    if !object.getattr(intern!(object.py(), "__class__"))?.hasattr(name)? {
        return Ok(false);
    }
    Ok(!object.getattr(name)?.is_none())
}

fn format_callbacks(callbacks: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = callbacks.py();
    let empty = PyTuple::empty(py).into_any();
    let one = |index: isize| -> PyResult<String> {
        format_helpers::callback_source(&callbacks.get_item(index)?.get_item(0)?, &empty, false)
    };
    Ok(match callbacks.len()? {
        0 => "cb=[]".to_owned(),
        1 => format!("cb=[{}]", one(0)?),
        2 => format!("cb=[{}, {}]", one(0)?, one(1)?),
        many => format!("cb=[{}, <{} more>, {}]", one(0)?, many - 2, one(-1)?),
    })
}

/// The parts of a future's repr.
pub fn repr_info<'py>(future: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let py = future.py();
    let state: String = future.getattr(intern!(py, "_state"))?.extract()?;
    let info = slots::list_of(py, [slots::Text(state.to_lowercase())])?;
    if state == "FINISHED" {
        let exception = future.getattr(intern!(py, "_exception"))?;
        if exception.is_none() {
            let result = future.getattr(intern!(py, "_result"))?;
            info.append(slots::Text(format!("result={}", format_helpers::short_repr(&result)?)))?;
        } else {
            info.append(slots::Text(format!("exception={}", exception.repr()?)))?;
        }
    }
    let callbacks = future.getattr(intern!(py, "_callbacks"))?;
    if callbacks.is_truthy()? {
        info.append(slots::Text(format_callbacks(&callbacks)?))?;
    }
    let stack = future.getattr(intern!(py, "_source_traceback"))?;
    if stack.is_truthy()? {
        let frame = stack.get_item(-1)?;
        info.append(slots::Text(format!("created at {}:{}", frame.get_item(0)?.str()?, frame.get_item(1)?.str()?)))?;
    }
    Ok(info)
}

/// Joins the parts to `<Class parts>`.
pub fn joined(object: &Bound<'_, PyAny>, info: &Bound<'_, PyAny>) -> PyResult<String> {
    let name = object.getattr(intern!(object.py(), "__class__"))?.getattr(intern!(object.py(), "__name__"))?;
    let parts = slots::items(info)?;
    let parts = parts.iter().map(|part| Ok(part.str()?.to_string())).collect::<PyResult<Vec<_>>>()?;
    Ok(format!("<{} {}>", name.str()?, parts.join(" ")))
}

/// The repr of a future.
pub fn future_repr(future: &Bound<'_, PyAny>) -> PyResult<String> {
    slots::recursive_repr(future, || joined(future, repr_info(future)?.as_any()))
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    fn one<'a, 'py, const N: usize>(
        args: &slots::Args<'a, 'py>,
        signature: &Signature<N>,
    ) -> PyResult<&'a Bound<'py, PyAny>> {
        let values = args.parse(signature)?;
        values[0].ok_or_else(|| pyo3::exceptions::PyTypeError::new_err("an argument is missing"))
    }
    add_function(
        module,
        c"isfuture",
        c"isfuture(obj)\n--\n\nWhether obj is a Future, a Task, or an object of a class that stands in for one\n\
          (it has a `_asyncio_future_blocking` that is not None).",
        |_, args| {
            const SIGNATURE: Signature<1> = Signature::function("isfuture", [arg("obj")]);
            isfuture(one(args, &SIGNATURE)?)
        },
    )?;
    add_function(
        module,
        c"_format_callbacks",
        c"_format_callbacks(cb)\n--\n\nThe `cb=[...]` of a repr.",
        |_, args| {
            const SIGNATURE: Signature<1> = Signature::function("_format_callbacks", [arg("cb")]);
            format_callbacks(one(args, &SIGNATURE)?)
        },
    )?;
    add_function(
        module,
        c"_future_repr_info",
        c"_future_repr_info(future)\n--\n\nThe parts of a future's repr.",
        |_, args| {
            const SIGNATURE: Signature<1> = Signature::function("_future_repr_info", [arg("future")]);
            Ok(Own::new(repr_info(one(args, &SIGNATURE)?)?.into_any()))
        },
    )?;
    add_function(module, c"_future_repr", c"_future_repr(future)\n--\n\nThe repr of a future.", |_, args| {
        const SIGNATURE: Signature<1> = Signature::function("_future_repr", [arg("future")]);
        future_repr(one(args, &SIGNATURE)?)
    })
}
