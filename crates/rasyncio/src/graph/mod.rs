//! graph: who waits for whom, and where in its code (asyncio.graph, 3.14; here on every Python).
//!
//! Called by users and debuggers, and by `Future._asyncio_awaited_by`, which is the one attribute whose value this room finds;
//! looks into `futures`, `tasks`, `taskgroups` and `staggered`, which know nothing of it.
//!
//! - `edges`: which futures and tasks wait for a future.
//! - `frames`: where a coroutine is, and what stands for the frame of a native one.
//!
//! A graph is built as a list of [`Node`]s in the order in which they are written, each before those that wait for it, and
//! then turned into the objects of Python or into text. No function calls itself for that: a chain of awaits may be as long
//! as the recursion limit allows, and longer than native stacks are.
//!
//! The two classes are real dataclasses, made when somebody asks for them: `dataclasses` takes longer to import than rasyncio.
//!
//! Differs from CPython: the functions have no frame of their own, so that `print_call_graph()` begins with its caller and not
//! with itself. Coroutines in which asyncio waits inside of one of its own (`_aexit` in `TaskGroup.__aexit__`) do not exist and
//! are not shown. The frame of a coroutine that a native object stands for is an object that looks like one.

mod edges;
mod frames;

use pyo3::exceptions::{PyRecursionError, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyTuple};
use slots::intern;
use slots::{Args, Own, Ref, Signature, add_function, kw_opt, pos_opt};

use crate::base_futures::isfuture;
use crate::events::running_loop;
use crate::futures::{Future, given};
use crate::tasks::{Task, current_task};
use crate::{class_object, face, library};

pub use self::edges::awaited_by;
use self::frames::{Style, above, of_coroutine};

/// A future in a graph.
struct Node<'py> {
    future: Bound<'py, PyAny>,
    /// Innermost first.
    frames: Vec<Bound<'py, PyAny>>,
    /// Its place among the nodes of those who wait for it.
    level: usize,
    /// Where in the list those are who wait for it.
    waiting: Vec<usize>,
}

/// How many frames of each stack are wanted; None for all.
type Limit = Option<i64>;

/// TypeError unless it is a future: one of ours or of the standard library's, which is on our loops beside asyncio.
fn check(future: &Bound<'_, PyAny>) -> PyResult<()> {
    if isfuture(future)? {
        return Ok(());
    }
    let text = format!("{} object does not appear to be compatible with asyncio.Future", future.repr()?);
    Err(PyTypeError::new_err(text))
}

/// Those who wait for a future, as far as it is known.
fn waiting_for<'py>(future: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let known = match Ref::<Future>::cast(future) {
        Some(native) => awaited_by(native)?.map(Bound::into_any),
        None => future.getattr_opt(intern!(future.py(), "_asyncio_awaited_by"))?.filter(|known| !known.is_none()),
    };
    known.map_or_else(|| Ok(Vec::new()), |known| slots::items(&known))
}

/// The first (above zero) or the last (below) of the frames.
fn cut<T>(mut frames: Vec<T>, limit: Limit) -> Vec<T> {
    match limit {
        Some(limit) if limit > 0 => frames.truncate(usize::try_from(limit).unwrap_or(usize::MAX)),
        Some(limit) if limit < 0 => {
            let wanted = usize::try_from(limit.unsigned_abs()).unwrap_or(usize::MAX);
            drop(frames.drain(..frames.len().saturating_sub(wanted)));
        }
        _ => {}
    }
    frames
}

/// The frames of a future that does not run at the moment, innermost first.
fn suspended<'py>(future: &Bound<'py, PyAny>, limit: Limit) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let py = future.py();
    if limit == Some(0) {
        return Ok(Vec::new());
    }
    let coroutine = match Ref::<Task>::cast_exact(future) {
        Some(task) => task.coroutine(py),
        None => match future.getattr_opt(intern!(py, "get_coro"))? {
            Some(get_coro) => Some(get_coro.call0()?).filter(|coroutine| !coroutine.is_none()),
            None => None,
        },
    };
    let frames = coroutine.map_or_else(|| Ok(Vec::new()), of_coroutine)?;
    let mut frames = cut(frames, limit);
    frames.reverse();
    Ok(frames)
}

/// The graph of a future; `running` are the frames above it if it is the task that asks.
fn build<'py>(
    future: Bound<'py, PyAny>,
    running: Option<Vec<Bound<'py, PyAny>>>,
    limit: Limit,
) -> PyResult<Vec<Node<'py>>> {
    let py = future.py();
    let deepest: usize = library(py, "sys")?.call_method0(intern!(py, "getrecursionlimit"))?.extract()?;
    let (mut nodes, mut running) = (Vec::<Node<'py>>::new(), running);
    let mut left = vec![(future, None::<usize>)];
    while let Some((future, waited_for)) = left.pop() {
        check(&future)?;
        let level = waited_for.map_or(0, |place| nodes[place].level + 1);
        if level >= deepest {
            return Err(PyRecursionError::new_err("maximum recursion depth exceeded"));
        }
        let frames = match running.take() {
            Some(frames) => frames,
            None => suspended(&future, limit)?,
        };
        let place = nodes.len();
        if let Some(waited_for) = waited_for {
            nodes[waited_for].waiting.push(place);
        }
        let waiting = waiting_for(&future)?;
        left.extend(waiting.into_iter().rev().map(|future| (future, Some(place))));
        nodes.push(Node { future, frames, level, waiting: Vec::new() });
    }
    Ok(nodes)
}

/// The graph of the given future or of the current task, which begins `skip` frames above the caller.
fn capture<'py>(
    py: Python<'py>,
    future: Option<&Bound<'py, PyAny>>,
    skip: i64,
    limit: Limit,
) -> PyResult<Option<Vec<Node<'py>>>> {
    let event_loop = running_loop(py);
    let current = match &event_loop {
        Some(event_loop) => current_task(py, Some(event_loop))?,
        None => None,
    };
    let task = match (future, &event_loop, current) {
        (Some(future), _, current) if !current.as_ref().is_some_and(|current| current.is(future)) => {
            return build(future.clone(), None, limit).map(Some);
        }
        (None, None, _) => {
            let text = "capture_call_graph() is called outside of a running event loop \
                        and no *future* to introspect was provided";
            return Err(PyRuntimeError::new_err(text));
        }
        (_, _, None) => return Ok(None),
        (_, _, Some(task)) => task,
    };
    check(&task)?;
    let frames = if limit == Some(0) { Vec::new() } else { above(py, skip)? };
    // Of the running task, a limit above zero leaves the frames at the far end.
    build(task, Some(cut(frames, limit.map(i64::saturating_neg))), limit).map(Some)
}

/// A graph as Python has it.
fn objects<'py>(py: Python<'py>, nodes: Vec<Node<'py>>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (graph, entry) = (class(py, "FutureCallGraph")?, class(py, "FrameCallGraphEntry")?);
    let mut made = vec![None; nodes.len()];
    for (place, node) in nodes.into_iter().enumerate().rev() {
        let frames = node.frames.into_iter().map(|frame| entry.call1((frame,))).collect::<PyResult<Vec<_>>>()?;
        let waiting: Vec<_> = node.waiting.iter().filter_map(|place| made[*place].take()).collect();
        made[place] = Some(graph.call1((node.future, slots::tuple(py, frames)?, slots::tuple(py, waiting)?))?);
    }
    Ok(made.into_iter().next().flatten())
}

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    face(py, "graph")?.getattr(slots::Text(name))
}

/// A graph as text.
fn text(nodes: &[Node<'_>]) -> PyResult<String> {
    let mut lines = Vec::new();
    for node in nodes {
        let margin = " ".repeat(node.level * 4);
        let address = format!("{:#x}", node.future.as_ptr().addr());
        lines.push(match node.future.getattr_opt(intern!(node.future.py(), "get_name"))? {
            Some(get_name) => format!("{margin}* Task(name={}, id={address})", get_name.call0()?.repr()?),
            None => format!("{margin}* Future(id={address})"),
        });
        if !node.frames.is_empty() {
            lines.push(format!("{margin}  + Call stack:"));
        }
        for frame in &node.frames {
            let py = frame.py();
            let code = frame.getattr(intern!(py, "f_code"))?;
            lines.push(format!(
                "{margin}  |   File {}, line {}, in {}{}()",
                code.getattr(intern!(py, "co_filename"))?.repr()?,
                frame.getattr(intern!(py, "f_lineno"))?,
                match Style::of(frame)? {
                    Style::Plain => "",
                    Style::Coroutine => "async ",
                    Style::AsyncGenerator => "async generator ",
                    Style::Generator => "generator ",
                },
                code.getattr(intern!(py, "co_qualname"))?,
            ));
        }
        if !node.waiting.is_empty() {
            lines.push(format!("{margin}  + Awaited by:"));
        }
    }
    Ok(lines.join("\n"))
}

/// The future given, the depth and the limit of a call.
fn parsed<'a, 'py>(args: &Args<'a, 'py>, name: &'static str) -> PyResult<(Option<&'a Bound<'py, PyAny>>, i64, Limit)> {
    let signature = Signature::function(name, [pos_opt("future"), kw_opt("depth"), kw_opt("limit")]);
    let [future, depth, limit] = args.parse(&signature)?;
    let depth = depth.map_or(Ok(1), |depth| depth.extract())?;
    Ok((given(&future), depth, given(&limit).map(|limit| limit.extract()).transpose()?))
}

fn formatted(py: Python<'_>, future: Option<&Bound<'_, PyAny>>, skip: i64, limit: Limit) -> PyResult<String> {
    capture(py, future, skip, limit)?.map_or_else(|| Ok(String::new()), |nodes| text(&nodes))
}

/// One of the two dataclasses.
fn dataclass<'py>(
    py: Python<'py>,
    name: &'static str,
    doc: &'static str,
    fields: &[(&str, Bound<'py, PyAny>)],
) -> PyResult<Bound<'py, PyAny>> {
    let module = face(py, "graph")?.getattr(intern!(py, "__name__"))?;
    let namespace = slots::dict(py)?;
    namespace.set_item(intern!(py, "__doc__"), doc)?;
    namespace.set_item(intern!(py, "__module__"), &module)?;
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "namespace"), namespace)?;
    keywords.set_item(intern!(py, "frozen"), true)?;
    keywords.set_item(intern!(py, "slots"), true)?;
    if slots::VERSION >= (3, 12) {
        keywords.set_item(intern!(py, "module"), module)?;
    }
    let fields: Vec<_> = fields.iter().map(|(name, kind)| (*name, kind)).collect();
    library(py, "dataclasses")?.getattr(intern!(py, "make_dataclass"))?.call((name, fields), Some(&keywords))
}

/// `tuple["name", ...]`.
fn tuple_of<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.get_type::<PyTuple>().get_item((name, py.Ellipsis()))
}

fn frame_entry(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let kind = library(py, "types")?.getattr(intern!(py, "FrameType"))?;
    dataclass(py, "FrameCallGraphEntry", "A place in a call graph: a frame of one of its stacks.", &[("frame", kind)])
}

fn future_graph(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let fields = [
        ("future", class_object::<Future>(py)?),
        ("call_stack", tuple_of(py, "FrameCallGraphEntry")?),
        ("awaited_by", tuple_of(py, "FutureCallGraph")?),
    ];
    let doc = "A future or task, the frames of its stack, innermost first, and the graphs of those that wait for it.";
    dataclass(py, "FutureCallGraph", doc, &fields)
}

/// A class that is made once.
fn once(
    py: Python<'_>,
    place: &'static PyOnceLock<Py<PyAny>>,
    make: fn(Python<'_>) -> PyResult<Bound<'_, PyAny>>,
) -> PyResult<Own> {
    place.get_or_try_init(py, || make(py).map(Bound::unbind)).map(|class| Own::new(class.bind(py).clone()))
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    frames::add(module)?;
    add_function(
        module,
        c"capture_call_graph",
        c"capture_call_graph(future=None, /, *, depth=1, limit=None)\n--\n\n\
        The call graph of a future, or of the current task: a FutureCallGraph, or None where no task runs.\n\n\
        Of the current task depth - 1 frames are left out at the near end. limit is the number of frames that each stack\n\
        keeps: from the call on if it is positive, from the far end if negative, none for 0. Without a future and outside of\n\
        a loop a RuntimeError.",
        |py, args| {
            let (future, depth, limit) = parsed(args, "capture_call_graph")?;
            let Some(nodes) = capture(py, future, depth - 1, limit)? else { return Ok(None) };
            Ok(objects(py, nodes)?.map(Own::new))
        },
    )?;
    add_function(
        module,
        c"format_call_graph",
        c"format_call_graph(future=None, /, *, depth=1, limit=None)\n--\n\n\
        What capture_call_graph() answers as text; an empty one where no task runs.",
        |py, args| {
            let (future, depth, limit) = parsed(args, "format_call_graph")?;
            formatted(py, future, depth - 1, limit)
        },
    )?;
    add_function(
        module,
        c"print_call_graph",
        c"print_call_graph(future=None, /, *, file=None, depth=1, limit=None)\n--\n\n\
        Print the text of format_call_graph() to file, by default to sys.stdout.",
        |py, args| {
            const SIGNATURE: Signature<4> = Signature::function(
                "print_call_graph",
                [pos_opt("future"), kw_opt("file"), kw_opt("depth"), kw_opt("limit")],
            );
            let [future, file, depth, limit] = args.parse(&SIGNATURE)?;
            let depth: i64 = depth.map_or(Ok(1), |depth| depth.extract())?;
            let limit = given(&limit).map(|limit| limit.extract()).transpose()?;
            // asyncio's counts itself as the first.
            let text = formatted(py, given(&future), depth - 2, limit)?;
            let keywords = slots::dict(py)?;
            keywords.set_item(intern!(py, "file"), file)?;
            let print = library(py, "builtins")?.getattr(intern!(py, "print"))?;
            print.call((text,), Some(&keywords)).map(drop)
        },
    )?;
    add_function(module, c"_frame_entry_class", c"_frame_entry_class()\n--\n\nFrameCallGraphEntry.", |py, _| {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        once(py, &CLASS, frame_entry)
    })?;
    add_function(module, c"_future_graph_class", c"_future_graph_class()\n--\n\nFutureCallGraph.", |py, _| {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        once(py, &CLASS, future_graph)
    })
}
