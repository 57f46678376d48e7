//! coroutines: what is a coroutine, and how one is written (asyncio.coroutines).
//!
//! Called by `tasks` at every creation and by reprs; calls `collections.abc.Coroutine` for what is no coroutine of Python's.
//!
//! An exact coroutine object is recognised by its type. Other types are asked once and remembered, as CPython does, in a
//! set of at most 100 types that hangs on the face. Generators count on 3.11 and no longer afterwards.
//!
//! - `shells`: the faces' own coroutine functions, and the native objects that stand in for their coroutines.

mod shells;

pub use self::shells::{Progress, Shell, may_stand_in, plain, pose, stand_in};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFunction, PyModule, PySet, PyTuple};
use slots::intern;
use slots::{Own, Ref, Signature, add_function, arg};

use crate::futures::Wait;
use crate::{library, library_for_report};

/// Whether a task may run `object`.
#[inline]
pub fn is_coroutine(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if slots::is_exact_coroutine(object) {
        return Ok(true);
    }
    is_other_coroutine(object)
}

fn is_other_coroutine(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static KNOWN: PyOnceLock<Py<PySet>> = PyOnceLock::new();
    let py = object.py();
    let kind = object.get_type();
    let known = KNOWN.get_or_try_init(py, || PySet::empty(py).map(Bound::unbind))?.bind(py);
    if known.contains(&kind)? {
        return Ok(true);
    }
    let is = object.is_instance(&crate::face(py, "coroutines")?.getattr(intern!(py, "_COROUTINE_TYPES"))?)?;
    if is && known.len() < 100 {
        known.add(kind)?;
    }
    Ok(is)
}

/// Whether `object` is a generator that `types.coroutine()` has not made awaitable: on 3.11 a coroutine all the same.
pub fn is_plain_generator(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(slots::is_generator(object) && !is_awaitable_generator(object)?)
}

/// Whether `types.coroutine()` has made a generator's function.
fn is_awaitable_generator(generator: &Bound<'_, PyAny>) -> PyResult<bool> {
    const ITERABLE_COROUTINE: u32 = 0x100;
    let py = generator.py();
    let flags: u32 = generator.getattr(intern!(py, "gi_code"))?.getattr(intern!(py, "co_flags"))?.extract()?;
    Ok(flags & ITERABLE_COROUTINE != 0)
}

/// Whether `object` can be awaited, as `inspect.isawaitable()` tells.
pub fn is_awaitable(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if slots::is_exact_coroutine(object) || (slots::is_generator(object) && is_awaitable_generator(object)?) {
        return Ok(true);
    }
    let py = object.py();
    object.is_instance(&library(py, "_collections_abc")?.getattr(intern!(py, "Awaitable"))?)
}

/// What a task may run, `coroutines._COROUTINE_TYPES`: people add to it.
fn coroutine_types(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    let types = library(py, "types")?;
    let coroutine = library(py, "_collections_abc")?.getattr(intern!(py, "Coroutine"))?;
    let mut all = vec![types.getattr(intern!(py, "CoroutineType"))?, coroutine];
    if slots::VERSION < (3, 12) {
        all.insert(1, types.getattr(intern!(py, "GeneratorType"))?);
    }
    slots::tuple(py, all)
}

/// Whether `function`, or the function of a method, was written as `async def`: what can be known without inspect.
#[cold]
fn has_coroutine_code(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    const COROUTINE: u32 = 0x80;
    let py = function.py();
    let function = function.getattr_opt(intern!(py, "__func__"))?.unwrap_or_else(|| function.clone());
    if !function.is_instance_of::<PyFunction>() {
        return Ok(false);
    }
    let flags: u32 = function.getattr(intern!(py, "__code__"))?.getattr(intern!(py, "co_flags"))?.extract()?;
    Ok(flags & COROUTINE != 0)
}

/// Whether `function` is a coroutine function, or marked as one by a mock or an old decorator.
fn is_coroutine_function(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = function.py();
    let is = match library_for_report(py, "inspect")? {
        Some(inspect) => inspect.call_method1(intern!(py, "iscoroutinefunction"), (function,))?.is_truthy()?,
        None => has_coroutine_code(function)?,
    };
    if is {
        return Ok(true);
    }
    match function.getattr_opt(intern!(py, "_is_coroutine"))? {
        Some(mark) => Ok(mark.is(crate::face(py, "coroutines")?.getattr(intern!(py, "_is_coroutine"))?)),
        None => Ok(false),
    }
}

/// Whether loops start in debug mode.
fn is_debug_mode(py: Python<'_>) -> PyResult<bool> {
    let flags = library(py, "sys")?.getattr(intern!(py, "flags"))?;
    if flags.getattr(intern!(py, "dev_mode"))?.is_truthy()? {
        return Ok(true);
    }
    if flags.getattr(intern!(py, "ignore_environment"))?.is_truthy()? {
        return Ok(false);
    }
    let environment = library(py, "os")?.getattr(intern!(py, "environ"))?;
    environment.call_method1(intern!(py, "get"), ("PYTHONASYNCIODEBUG",))?.is_truthy()
}

/// How a coroutine is written in a task's repr: its name, `running` if it runs, and its place.
pub fn format_coroutine(coroutine: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = coroutine.py();
    let attribute = |names: [&str; 2]| -> PyResult<Option<Bound<'_, PyAny>>> {
        for name in names {
            if let Some(value) = coroutine.getattr_opt(slots::Text(name))? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    };
    let stands_in = Ref::<Wait>::cast_exact(coroutine).is_some_and(|wait| !wait.is_over());
    let truthy = |value: &Option<Bound<'_, PyAny>>| value.as_ref().map_or(Ok(false), |v| v.is_truthy());
    let named = |name: &str| -> PyResult<Option<String>> {
        match coroutine.getattr_opt(slots::Text(name))? {
            Some(value) if value.is_truthy()? => Ok(Some(value.str()?.to_string())),
            _ => Ok(None),
        }
    };
    let name = match named("__qualname__")? {
        Some(name) => format!("{name}()"),
        None => match named("__name__")? {
            Some(name) => format!("{name}()"),
            None => format!("<{} without __name__>()", coroutine.get_type().name()?),
        },
    };
    let running = truthy(&attribute(["cr_running", "gi_running"])?)?;
    let code = attribute(["cr_code", "gi_code"])?;
    let Some(code) = code.filter(|c| c.is_truthy().unwrap_or(false)) else {
        return Ok(if running { format!("{name} running") } else { name });
    };
    let frame = attribute(["gi_frame", "cr_frame"])?.filter(|f| !f.is_none());
    let file = code.getattr(intern!(py, "co_filename"))?;
    let file = if file.is_truthy()? { file.str()?.to_string() } else { "<empty co_filename>".to_owned() };
    Ok(match (running, frame) {
        (true, Some(frame)) => format!("{name} running at {file}:{}", frame.getattr(intern!(py, "f_lineno"))?),
        (true, None) => format!("{name} running, defined at {file}:{}", code.getattr(intern!(py, "co_firstlineno"))?),
        (false, Some(frame)) => format!("{name} running at {file}:{}", frame.getattr(intern!(py, "f_lineno"))?),
        // It has a place, though no frame to tell the line.
        (false, None) if stands_in => {
            format!("{name} running at {file}:{}", code.getattr(intern!(py, "co_firstlineno"))?)
        }
        (false, None) => format!("{name} done, defined at {file}:{}", code.getattr(intern!(py, "co_firstlineno"))?),
    })
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    shells::add(module)?;
    add_function(
        module,
        c"iscoroutine",
        c"iscoroutine(obj)\n--\n\nWhether obj is a coroutine object, one of Python's or one that stands in for it.",
        |_, args| {
            const SIGNATURE: Signature<1> = Signature::function("iscoroutine", [arg("obj")]);
            let [object] = args.parse(&SIGNATURE)?;
            object.map_or(Ok(false), |o| is_coroutine(o))
        },
    )?;
    const FUNCTION: Signature<1> = Signature::function("iscoroutinefunction", [arg("func")]);
    add_function(
        module,
        c"iscoroutinefunction",
        c"iscoroutinefunction(func)\n--\n\nWhether calling func gives a coroutine. Deprecated by Python 3.14 in favour of inspect's.",
        |py, args| {
            if slots::VERSION >= (3, 14) {
                let text = c"'asyncio.iscoroutinefunction' is deprecated and slated for removal in Python 3.16; use inspect.iscoroutinefunction() instead";
                PyErr::warn(py, &py.get_type::<pyo3::exceptions::PyDeprecationWarning>(), text, 1)?;
            }
            let [function] = args.parse(&FUNCTION)?;
            function.map_or(Ok(false), is_coroutine_function)
        },
    )?;
    add_function(
        module,
        c"_iscoroutinefunction",
        c"_iscoroutinefunction(func)\n--\n\niscoroutinefunction() without the warning.",
        |_, args| {
            let [function] = args.parse(&FUNCTION)?;
            function.map_or(Ok(false), is_coroutine_function)
        },
    )?;
    add_function(
        module,
        c"_coroutine_types",
        c"_coroutine_types()\n--\n\nThe types of coroutines, for `_COROUTINE_TYPES`.",
        |py, _| Ok(Own::new(coroutine_types(py)?.into_any())),
    )?;
    add_function(
        module,
        c"_is_debug_mode",
        c"_is_debug_mode()\n--\n\nWhether loops start in debug mode: `-X dev` or PYTHONASYNCIODEBUG.",
        |py, _| is_debug_mode(py),
    )?;
    add_function(
        module,
        c"_format_coroutine",
        c"_format_coroutine(coro)\n--\n\nHow a coroutine is written in reprs.",
        |_, args| {
            const SIGNATURE: Signature<1> = Signature::function("_format_coroutine", [arg("coro")]);
            let [coroutine] = args.parse(&SIGNATURE)?;
            coroutine.map(|c| format_coroutine(c)).transpose()
        },
    )
}
