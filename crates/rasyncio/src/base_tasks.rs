//! base_tasks: how a task is written, and its stack (asyncio.base_tasks).
//!
//! Called by `tasks` for the repr and by the face for the stack functions; calls `base_futures` and `coroutines`.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyModule};
use slots::intern;
use slots::{Own, Signature, add_function, arg};

use crate::library;
use crate::{base_futures, coroutines};

/// The parts of a task's repr.
pub fn repr_info<'py>(task: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let py = task.py();
    let info = base_futures::repr_info(task)?;
    let cancelling = task.call_method0(intern!(py, "cancelling"))?.is_truthy()?;
    if cancelling && !task.call_method0(intern!(py, "done"))?.is_truthy()? {
        info.set_item(0, "cancelling")?;
    }
    let name = task.call_method0(intern!(py, "get_name"))?;
    info.insert(1, format!("name={}", name.repr()?))?;
    let waits_for = task.getattr(intern!(py, "_fut_waiter"))?;
    if !waits_for.is_none() {
        info.insert(2, format!("wait_for={}", waits_for.repr()?))?;
    }
    let coroutine = task.getattr(intern!(py, "_coro"))?;
    if coroutine.is_truthy()? {
        info.insert(2, format!("coro=<{}>", coroutines::format_coroutine(&coroutine)?))?;
    }
    Ok(info)
}

/// The repr of a task.
pub fn task_repr(task: &Bound<'_, PyAny>) -> PyResult<String> {
    slots::recursive_repr(task, || base_futures::joined(task, repr_info(task)?.as_any()))
}

/// The frames of a task, outermost first; at most `limit` of them.
fn stack<'py>(task: &Bound<'py, PyAny>, limit: Option<i64>) -> PyResult<Bound<'py, PyList>> {
    let py = task.py();
    let coroutine = task.getattr(intern!(py, "_coro"))?;
    let mut frame = None;
    for name in ["cr_frame", "gi_frame", "ag_frame"] {
        if let Some(found) = coroutine.getattr_opt(slots::Text(name))? {
            frame = Some(found).filter(|f| !f.is_none());
            break;
        }
    }
    let frames = slots::list(py)?;
    let room = |frames: &Bound<'_, PyList>| limit.is_none_or(|limit| (frames.len() as i64) < limit);
    if frame.is_some() {
        while let Some(current) = frame.filter(|f| !f.is_none()) {
            if !room(&frames) {
                break;
            }
            frame = Some(current.getattr(intern!(py, "f_back"))?);
            frames.append(current)?;
        }
        frames.reverse()?;
        return Ok(frames);
    }
    let exception = task.getattr(intern!(py, "_exception"))?;
    if !exception.is_none() {
        let mut trace = exception.getattr(intern!(py, "__traceback__"))?;
        while !trace.is_none() && room(&frames) {
            frames.append(trace.getattr(intern!(py, "tb_frame"))?)?;
            trace = trace.getattr(intern!(py, "tb_next"))?;
        }
    }
    Ok(frames)
}

fn print_stack(task: &Bound<'_, PyAny>, limit: &Bound<'_, PyAny>, file: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = task.py();
    let linecache = library(py, "linecache")?;
    let traceback = library(py, "traceback")?;
    let print = |text: String, end: &str| -> PyResult<()> {
        let keywords = slots::dict(py)?;
        keywords.set_item(intern!(py, "file"), file)?;
        keywords.set_item(intern!(py, "end"), end)?;
        library(py, "builtins")?.getattr(intern!(py, "print"))?.call((text,), Some(&keywords)).map(drop)
    };
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "limit"), limit)?;
    let frames = task.getattr(intern!(py, "get_stack"))?.call((), Some(&keywords))?;
    let entries = slots::list(py)?;
    for frame in frames.try_iter()? {
        let frame = frame?;
        let code = frame.getattr(intern!(py, "f_code"))?;
        let file_name = code.getattr(intern!(py, "co_filename"))?;
        let line = frame.getattr(intern!(py, "f_lineno"))?;
        linecache.call_method1(intern!(py, "checkcache"), (&file_name,))?;
        let globals = frame.getattr(intern!(py, "f_globals"))?;
        let text = linecache.call_method1(intern!(py, "getline"), (&file_name, &line, globals))?;
        entries.append((file_name, line, code.getattr(intern!(py, "co_name"))?, text))?;
    }
    let exception = task.getattr(intern!(py, "_exception"))?;
    let repr = task.repr()?;
    let head = match (entries.is_empty(), exception.is_none()) {
        (true, _) => format!("No stack for {repr}"),
        (false, false) => format!("Traceback for {repr} (most recent call last):"),
        (false, true) => format!("Stack for {repr} (most recent call last):"),
    };
    print(head, "\n")?;
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "file"), file)?;
    traceback.getattr(intern!(py, "print_list"))?.call((entries,), Some(&keywords))?;
    if !exception.is_none() {
        let class = exception.getattr(intern!(py, "__class__"))?;
        let lines = traceback.call_method1(intern!(py, "format_exception_only"), (class, exception))?;
        for line in lines.try_iter()? {
            print(line?.extract()?, "")?;
        }
    }
    Ok(())
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(
        module,
        c"_task_repr_info",
        c"_task_repr_info(task)\n--\n\nThe parts of a task's repr.",
        |_, args| {
            const SIGNATURE: Signature<1> = Signature::function("_task_repr_info", [arg("task")]);
            let [task] = args.parse(&SIGNATURE)?;
            task.map(|task| Ok(Own::new(repr_info(task)?.into_any()))).transpose()
        },
    )?;
    add_function(module, c"_task_repr", c"_task_repr(task)\n--\n\nThe repr of a task.", |_, args| {
        const SIGNATURE: Signature<1> = Signature::function("_task_repr", [arg("task")]);
        let [task] = args.parse(&SIGNATURE)?;
        task.map(|task| task_repr(task)).transpose()
    })?;
    add_function(
        module,
        c"_task_get_stack",
        c"_task_get_stack(task, limit)\n--\n\nThe frames of a task, outermost first.",
        |_, args| {
            const SIGNATURE: Signature<2> = Signature::function("_task_get_stack", [arg("task"), arg("limit")]);
            let [task, limit] = args.parse(&SIGNATURE)?;
            let limit = limit.filter(|l| !l.is_none()).map(|l| l.extract()).transpose()?;
            task.map(|task| Ok(Own::new(stack(task, limit)?.into_any()))).transpose()
        },
    )?;
    add_function(
        module,
        c"_task_print_stack",
        c"_task_print_stack(task, limit, file)\n--\n\nPrint the stack of a task.",
        |_, args| {
            const SIGNATURE: Signature<3> =
                Signature::function("_task_print_stack", [arg("task"), arg("limit"), arg("file")]);
            match args.parse(&SIGNATURE)? {
                [Some(task), Some(limit), Some(file)] => print_stack(task, limit, file),
                _ => Ok(()),
            }
        },
    )
}
