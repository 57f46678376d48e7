//! format_helpers: how callbacks and stacks are written in reprs and logs (asyncio.format_helpers).
//!
//! Called by `events` and `base_futures` for reprs, by everything that records a source traceback in debug mode; calls
//! the stdlib's functools, reprlib and traceback, all of it off the hot paths.
//!
//! A callback is written `name()` and, if it is a Python function, ` at file:line`; arguments are shown in debug mode
//! only, since they may be secret; before 3.13 always, as those versions do. A stack is at most `constants.DEBUG_STACK_DEPTH` frames.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyFunction, PyModule, PyType};
use slots::intern;
use slots::{Own, Signature, add_function, arg, kw_opt, opt};

use crate::{library_for_report, loaded_library};

const DEBUG_STACK_DEPTH: usize = 10;

/// The function behind decorators, as `inspect.unwrap()` finds it.
fn unwrap<'py>(function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    let mut seen = vec![function.clone()];
    let mut current = function.clone();
    // From 3.13 on a class is not looked behind.
    while slots::VERSION < (3, 13) || !current.is_instance_of::<PyType>() {
        let Some(next) = current.getattr_opt(intern!(py, "__wrapped__"))? else { break };
        if seen.len() as i64 >= i64::from(slots::recursion_limit(py)) || seen.iter().any(|known| known.is(&next)) {
            let text = format!("wrapper loop when unwrapping {}", function.repr()?.to_str()?);
            return Err(PyValueError::new_err(text));
        }
        seen.push(next.clone());
        current = next;
    }
    Ok(current)
}

/// Whether `function` is a `functools.partial` or `partialmethod`. Where functools was not loaded there are none.
fn is_partial(function: &Bound<'_, PyAny>, names: &[&str]) -> PyResult<bool> {
    let Some(functools) = loaded_library(function.py(), "functools")? else { return Ok(false) };
    for name in names {
        if function.is_instance(&functools.getattr(slots::Text(*name))?)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// File and first line of the function behind `function`, if there is one.
pub fn function_source<'py>(function: &Bound<'py, PyAny>) -> PyResult<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
    let py = function.py();
    let function = unwrap(function)?;
    if function.is_instance_of::<PyFunction>() {
        let code = function.getattr(intern!(py, "__code__"))?;
        return Ok(Some((code.getattr(intern!(py, "co_filename"))?, code.getattr(intern!(py, "co_firstlineno"))?)));
    }
    if is_partial(&function, &["partial", "partialmethod"])? {
        return function_source(&function.getattr(intern!(py, "func"))?);
    }
    Ok(None)
}

/// `value` as `reprlib.repr()` shortens it; where that is not to be had, cut as it cuts what it does not know.
pub fn short_repr(value: &Bound<'_, PyAny>) -> PyResult<String> {
    const LENGTH: usize = 30;
    let py = value.py();
    if let Some(reprlib) = library_for_report(py, "reprlib")? {
        return reprlib.call_method1(intern!(py, "repr"), (value,))?.str()?.extract();
    }
    let text: String = value.repr()?.extract()?;
    let count = text.chars().count();
    if count <= LENGTH {
        return Ok(text);
    }
    let head = (LENGTH - 3) / 2;
    let tail = LENGTH - 3 - head;
    Ok(text.chars().take(head).chain("...".chars()).chain(text.chars().skip(count - tail)).collect())
}

/// `callback(args) at file:line`.
pub fn callback_source(callback: &Bound<'_, PyAny>, args: &Bound<'_, PyAny>, debug: bool) -> PyResult<String> {
    let py = callback.py();
    let mut text = format_callback(callback, args, &py.None().into_bound(py), debug, String::new())?;
    if let Some((file, line)) = function_source(callback)? {
        text.push_str(&format!(" at {}:{}", file.str()?, line.str()?));
    }
    Ok(text)
}

fn format_arguments(args: &Bound<'_, PyAny>, keywords: &Bound<'_, PyAny>, debug: bool) -> PyResult<String> {
    if !debug && slots::VERSION >= (3, 13) {
        return Ok("()".to_owned());
    }
    let py = args.py();
    let mut items = Vec::new();
    if args.is_truthy()? {
        for value in args.try_iter()? {
            items.push(short_repr(&value?)?);
        }
    }
    if keywords.is_truthy()? {
        for pair in keywords.call_method0(intern!(py, "items"))?.try_iter()? {
            let (name, value): (String, Bound<'_, PyAny>) = pair?.extract()?;
            items.push(format!("{name}={}", short_repr(&value)?));
        }
    }
    Ok(format!("({})", items.join(", ")))
}

fn format_callback<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'_, PyAny>,
    keywords: &Bound<'_, PyAny>,
    debug: bool,
    suffix: String,
) -> PyResult<String> {
    let py = function.py();
    if is_partial(function, &["partial"])? {
        let suffix = format_arguments(args, keywords, debug)? + &suffix;
        let inner = function.getattr(intern!(py, "func"))?;
        let inner_args = function.getattr(intern!(py, "args"))?;
        return format_callback(&inner, &inner_args, &function.getattr(intern!(py, "keywords"))?, debug, suffix);
    }
    let named = |name: slots::Name<'py>| -> PyResult<Option<String>> {
        match function.getattr_opt(name)? {
            Some(value) if value.is_truthy()? => Ok(Some(value.str()?.extract()?)),
            _ => Ok(None),
        }
    };
    let mut text = match named(intern!(py, "__qualname__"))? {
        Some(name) => name,
        None => match named(intern!(py, "__name__"))? {
            Some(name) => name,
            None => function.repr()?.extract()?,
        },
    };
    text.push_str(&format_arguments(args, keywords, debug)?);
    text.push_str(&suffix);
    Ok(text)
}

/// The caller's stack, innermost frame last, cut to what debug mode shows.
///
/// None where no Python code runs, in a finalizer at the end of a thread for instance, and where `traceback` is not to be had.
pub fn extract_stack(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    extract_stack_of(py, None, None)
}

fn extract_stack_of<'py>(
    py: Python<'py>,
    frame: Option<&Bound<'py, PyAny>>,
    limit: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(frame) = frame.cloned().or_else(|| slots::current_frame(py)) else { return Ok(None) };
    let Some(traceback) = library_for_report(py, "traceback")? else { return Ok(None) };
    let keywords = slots::dict(py)?;
    match limit {
        Some(limit) => keywords.set_item(intern!(py, "limit"), limit)?,
        None => keywords.set_item(intern!(py, "limit"), DEBUG_STACK_DEPTH)?,
    }
    keywords.set_item(intern!(py, "lookup_lines"), false)?;
    let walk = traceback.call_method1(intern!(py, "walk_stack"), (frame,))?;
    let stack = traceback
        .getattr(intern!(py, "StackSummary"))?
        .getattr(intern!(py, "extract"))?
        .call((walk,), Some(&keywords))?;
    stack.call_method0(intern!(py, "reverse"))?;
    Ok(Some(stack))
}

fn given<'a, 'py>(value: &Option<&'a Bound<'py, PyAny>>) -> Option<&'a Bound<'py, PyAny>> {
    value.filter(|v| !v.is_none())
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(
        module,
        c"_get_function_source",
        c"_get_function_source(func)\n--\n\n(file, line) of the function behind func, or None.",
        |py, args| {
            const SIGNATURE: Signature<1> = Signature::function("_get_function_source", [arg("func")]);
            let [function] = args.parse(&SIGNATURE)?;
            let Some(function) = function else { return Ok(None) };
            match function_source(function)? {
                Some((file, line)) => Ok(Some(Own::new(slots::tuple(py, [file, line])?.into_any()))),
                None => Ok(None),
            }
        },
    )?;
    add_function(
        module,
        c"_format_callback_source",
        c"_format_callback_source(func, args, *, debug=False)\n--\n\nThe text for a callback in reprs and logs.",
        |_, args| {
            const SIGNATURE: Signature<3> =
                Signature::function("_format_callback_source", [arg("func"), arg("args"), kw_opt("debug")]);
            let [Some(function), Some(arguments), debug] = args.parse(&SIGNATURE)? else { return Ok(String::new()) };
            let debug = debug.map_or(Ok(false), |d| d.is_truthy())?;
            callback_source(function, arguments, debug)
        },
    )?;
    add_function(module, c"_format_callback", c"_format_callback(func, args, kwargs, *, debug=False, suffix='')\n--\n\nThe text for a callback without its place.", |_, args| {
        const SIGNATURE: Signature<5> = Signature::function(
            "_format_callback",
            [arg("func"), arg("args"), arg("kwargs"), kw_opt("debug"), kw_opt("suffix")],
        );
        let [Some(function), Some(arguments), Some(keywords), debug, suffix] = args.parse(&SIGNATURE)? else {
            return Ok(String::new());
        };
        let debug = debug.map_or(Ok(false), |d| d.is_truthy())?;
        let suffix = suffix.map_or(Ok(String::new()), |s| s.extract())?;
        format_callback(function, arguments, keywords, debug, suffix)
    })?;
    add_function(
        module,
        c"_format_args_and_kwargs",
        c"_format_args_and_kwargs(args, kwargs, *, debug=False)\n--\n\nThe text for the arguments of a callback.",
        |_, args| {
            const SIGNATURE: Signature<3> =
                Signature::function("_format_args_and_kwargs", [arg("args"), arg("kwargs"), kw_opt("debug")]);
            let [Some(arguments), Some(keywords), debug] = args.parse(&SIGNATURE)? else { return Ok(String::new()) };
            let debug = debug.map_or(Ok(false), |d| d.is_truthy())?;
            format_arguments(arguments, keywords, debug)
        },
    )?;
    add_function(
        module,
        c"extract_stack",
        c"extract_stack(f=None, limit=None)\n--\n\nThe caller's stack for debug mode, as a traceback.StackSummary.",
        |py, args| {
            const SIGNATURE: Signature<2> = Signature::function("extract_stack", [opt("f"), opt("limit")]);
            let [frame, limit] = args.parse(&SIGNATURE)?;
            Ok(extract_stack_of(py, given(&frame), given(&limit))?.map(Own::new))
        },
    )
}
