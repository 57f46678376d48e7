//! runners: `Runner` and `run()`, the life of a loop from start to end (asyncio.runners).
//!
//! Called by programs; calls the policy or the given factory for a loop, and the loop.
//!
//! States: created -> initialized (the loop made, at the first use) -> closed (tasks cancelled, async generators and the
//! executor shut down, the loop closed).
//!
//! Ctrl-C: if SIGINT has Python's default handler and this is the main thread, the first one cancels the main task, and
//! becomes KeyboardInterrupt when the task has ended; the second raises KeyboardInterrupt at once.

use std::cell::Cell;

use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Args, Class, Namespace, Own, Ref, Signature, Slot, Spec, add_function, arg, class, kw_opt};

use crate::base_futures::isfuture;
use crate::futures::given;
use crate::{coroutines, exceptions, face, library};

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Created,
    Initialized,
    Closed,
}

class! {
    /// The life of a loop from start to end.
    pub struct Runner {
        debug: Slot,
        factory: Slot,
        event_loop: Slot,
        context: Slot,
        interrupts: Cell<u32>,
        state: Cell<State>,
        sets_event_loop: Cell<bool>,
    }
}

class! {
    /// The handler of SIGINT while a main task runs.
    pub struct Interrupter { runner: Slot, task: Slot }
}

impl Class for Interrupter {
    const NAME: &'static std::ffi::CStr = c"rasyncio.runners._Interrupter";
    const CALLABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.call(|this, _| {
            let py = this.py();
            let (Some(runner), Some(task)) = (this.runner.get(py), this.task.get(py)) else { return Ok(()) };
            let Some(runner) = Ref::<Runner>::cast(&runner) else { return Ok(()) };
            runner.interrupts.set(runner.interrupts.get() + 1);
            if runner.interrupts.get() == 1 && !task.call_method0(intern!(py, "done"))?.is_truthy()? {
                task.call_method0(intern!(py, "cancel"))?;
                // The loop may be asleep: something to do wakes it.
                let nothing = face(py, "runners")?.getattr(intern!(py, "_do_nothing"))?;
                let event_loop = runner.event_loop.get_or_none(py);
                return event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (nothing,)).map(drop);
            }
            Err(PyKeyboardInterrupt::new_err(()))
        });
    }
}

fn lazy_init(this: &Ref<'_, Runner>) -> PyResult<()> {
    let py = this.py();
    match this.state.get() {
        State::Closed => return Err(PyRuntimeError::new_err("Runner is closed")),
        State::Initialized => return Ok(()),
        State::Created => {}
    }
    let event_loop = match this.factory.get(py) {
        Some(factory) => factory.call0()?,
        None => {
            let events = face(py, "events")?;
            let event_loop = events.call_method0(intern!(py, "new_event_loop"))?;
            if !this.sets_event_loop.get() {
                events.call_method1(intern!(py, "set_event_loop"), (&event_loop,))?;
                this.sets_event_loop.set(true);
            }
            event_loop
        }
    };
    crate::events::running::adopt(&event_loop);
    if let Some(debug) = this.debug.get(py) {
        event_loop.call_method1(intern!(py, "set_debug"), (debug,))?;
    }
    this.event_loop.set(event_loop);
    this.context.set(slots::copy_current(py)?);
    this.state.set(State::Initialized);
    Ok(())
}

fn cancel_all_tasks<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = event_loop.py();
    let tasks = face(py, "tasks")?;
    let all = tasks.call_method1(intern!(py, "all_tasks"), (event_loop,))?;
    let all = slots::items(&all)?;
    if all.is_empty() {
        return Ok(());
    }
    for task in &all {
        task.call_method0(intern!(py, "cancel"))?;
    }
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "return_exceptions"), true)?;
    let gathered = tasks.getattr(intern!(py, "gather"))?.call(slots::tuple(py, &all)?, Some(&keywords))?;
    event_loop.call_method1(intern!(py, "run_until_complete"), (gathered,))?;
    for task in all {
        if task.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
            continue;
        }
        let exception = task.call_method0(intern!(py, "exception"))?;
        if !exception.is_none() {
            let details = slots::dict(py)?;
            details.set_item(intern!(py, "message"), "unhandled exception during asyncio.run() shutdown")?;
            details.set_item(intern!(py, "exception"), exception)?;
            details.set_item(intern!(py, "task"), task)?;
            event_loop.call_method1(intern!(py, "call_exception_handler"), (details,))?;
        }
    }
    Ok(())
}

fn shut_down<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = event_loop.py();
    cancel_all_tasks(event_loop)?;
    let until = |coroutine: Bound<'py, PyAny>| event_loop.call_method1(intern!(py, "run_until_complete"), (coroutine,));
    until(event_loop.call_method0(intern!(py, "shutdown_asyncgens"))?)?;
    let executor = if slots::VERSION >= (3, 12) {
        let limit = face(py, "constants")?.getattr(intern!(py, "THREAD_JOIN_TIMEOUT"))?;
        event_loop.call_method1(intern!(py, "shutdown_default_executor"), (limit,))?
    } else {
        event_loop.call_method0(intern!(py, "shutdown_default_executor"))?
    };
    until(executor).map(drop)
}

fn close(this: &Ref<'_, Runner>) -> PyResult<()> {
    let py = this.py();
    if this.state.get() != State::Initialized {
        return Ok(());
    }
    let event_loop = this.event_loop.get_or_none(py);
    let result = shut_down(&event_loop);
    let unset = if this.sets_event_loop.get() {
        face(py, "events")?.call_method1(intern!(py, "set_event_loop"), (py.None(),)).map(drop)
    } else {
        Ok(())
    };
    let closed = event_loop.call_method0(intern!(py, "close")).map(drop);
    this.event_loop.unset();
    this.state.set(State::Closed);
    result.and(unset).and(closed)
}

/// The signal module: the face's `signal` if somebody has looked at it, and may have patched it; else the native half of
/// it, which needs no import of `enum`.
fn signal_module(py: Python<'_>) -> PyResult<Namespace<'_>> {
    match face(py, "runners")?.own(intern!(py, "signal"))? {
        Some(signal) => Ok(Namespace::Loaded(signal)),
        None => library(py, "_signal"),
    }
}

/// SIGINT's number, on every system that has it.
const INTERRUPT: i32 = 2;

/// Installs the handler of SIGINT, if SIGINT is Python's to handle here.
fn install_handler<'py>(this: &Ref<'py, Runner>, task: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = this.py();
    let signal = signal_module(py)?;
    let default = signal.getattr(intern!(py, "default_int_handler"))?;
    if !signal.call_method1(intern!(py, "getsignal"), (INTERRUPT,))?.is(&default) {
        return Ok(None);
    }
    let handler = Interrupter { runner: Slot::of(this.any().clone()), task: Slot::of(task.clone()) };
    let handler = Ref::create(py, handler)?.into_any();
    match signal.call_method1(intern!(py, "signal"), (INTERRUPT, &handler)) {
        Ok(_) => Ok(Some(handler)),
        // Not the main interpreter's main thread: signals are somebody else's.
        Err(error) if error.is_instance_of::<PyValueError>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_handler(handler: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = handler.py();
    let signal = signal_module(py)?;
    if signal.call_method1(intern!(py, "getsignal"), (INTERRUPT,))?.is(handler) {
        let default = signal.getattr(intern!(py, "default_int_handler"))?;
        signal.call_method1(intern!(py, "signal"), (INTERRUPT, default))?;
    }
    Ok(())
}

fn run<'py>(
    this: &Ref<'py, Runner>,
    given_main: &Bound<'py, PyAny>,
    context: Option<&Bound<'py, PyAny>>,
) -> PyResult<Own> {
    let py = this.py();
    let is_coroutine = coroutines::is_coroutine(given_main)?;
    let is_awaitable = is_coroutine || coroutines::is_awaitable(given_main)?;
    // Older Pythons refuse futures in so many words; what else can be awaited they had not thought of.
    if slots::VERSION < (3, 14) && (!is_awaitable || isfuture(given_main)?) {
        return Err(PyValueError::new_err(format!("a coroutine was expected, got {}", given_main.repr()?)));
    }
    if !face(py, "events")?.call_method0(intern!(py, "_get_running_loop"))?.is_none() {
        return Err(PyRuntimeError::new_err("Runner.run() cannot be called from a running event loop"));
    }
    lazy_init(this)?;
    let main = if is_coroutine {
        given_main.clone()
    } else if is_awaitable {
        face(py, "tasks")?.call_method1(intern!(py, "_wrap_awaitable"), (given_main,))?
    } else {
        return Err(PyTypeError::new_err("An asyncio.Future, a coroutine or an awaitable is required"));
    };
    let event_loop = this.event_loop.get_or_none(py);
    let keywords = slots::dict(py)?;
    let own_context = this.context.get(py);
    keywords.set_item(intern!(py, "context"), context.or(own_context.as_ref()))?;
    let task = event_loop.getattr(intern!(py, "create_task"))?.call((main,), Some(&keywords))?;
    let handler = install_handler(this, &task)?;
    this.interrupts.set(0);
    let result = event_loop.call_method1(intern!(py, "run_until_complete"), (&task,));
    let result = match result {
        Err(error) if exceptions::is_cancelled(py, &error) && this.interrupts.get() > 0 => {
            slots::excepting(py, error, |error| {
                let uncancel = task.getattr_opt(intern!(py, "uncancel"))?;
                match uncancel.map(|u| u.call0()).transpose()? {
                    Some(left) if left.eq(0)? => Err(slots::raise(py.get_type::<PyKeyboardInterrupt>().as_any())),
                    _ => Err(PyErr::from_value(error.clone())),
                }
            })
        }
        other => other,
    };
    if let Some(handler) = handler {
        remove_handler(&handler)?;
    }
    result.map(Own::new)
}

fn run_once<'py>(py: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Own> {
    const NEW: Signature<3> = Signature::function("run", [arg("main"), kw_opt("debug"), kw_opt("loop_factory")]);
    let [Some(main), debug, factory] = args.parse(&NEW)? else { return Err(PyTypeError::new_err("main is missing")) };
    if !face(py, "events")?.call_method0(intern!(py, "_get_running_loop"))?.is_none() {
        return Err(PyRuntimeError::new_err("asyncio.run() cannot be called from a running event loop"));
    }
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "debug"), debug)?;
    keywords.set_item(intern!(py, "loop_factory"), factory)?;
    let runner = face(py, "runners")?.getattr(intern!(py, "Runner"))?.call((), Some(&keywords))?;
    let runner = runner.call_method0(intern!(py, "__enter__"))?;
    let result = runner.call_method1(intern!(py, "run"), (main,));
    let close = || runner.call_method1(intern!(py, "__exit__"), (py.None(), py.None(), py.None()));
    match result {
        Ok(result) => close().map(|_| Own::new(result)),
        // As at the end of a `with` block: what runs now handles the error, and a newer one tells of it.
        Err(error) => slots::excepting(py, error, |error| {
            close()?;
            Err(PyErr::from_value(error.clone()))
        }),
    }
}

impl Class for Runner {
    const NAME: &'static std::ffi::CStr = c"rasyncio.runners.Runner";
    const DOC: &'static std::ffi::CStr = c"Runner(*, debug=None, loop_factory=None)\n--\n\n\
        A context manager with a loop of its own, for several run() calls on the same loop and context.\n\n\
        debug sets the loop's debug mode; loop_factory makes the loop.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<2> = Signature::method("Runner.__init__", [kw_opt("debug"), kw_opt("loop_factory")]);
        const RUN: Signature<2> = Signature::method("Runner.run", [arg("coro"), kw_opt("context")]);
        spec.init(|this, args| {
            let [debug, factory] = args.parse(&INIT)?;
            if let Some(debug) = given(&debug) {
                this.debug.set(debug.clone());
            }
            if let Some(factory) = given(&factory) {
                this.factory.set(factory.clone());
            }
            Ok(())
        })
        .method0(c"__enter__", c"__enter__($self, /)\n--\n\nMake the loop.", |this| {
            this.any().call_method0(intern!(this.py(), "_lazy_init"))?;
            Ok(Own::new(this.any().clone()))
        })
        .method(c"__exit__", c"__exit__($self, /, exc_type, exc_val, exc_tb)\n--\n\nClose the runner.", |this, _| {
            this.any().call_method0(intern!(this.py(), "close")).map(drop)
        })
        .method0(
            c"close",
            c"close($self, /)\n--\n\nCancel all tasks, shut async generators and the executor down, close the loop.",
            close,
        )
        .method0(c"get_loop", c"get_loop($self, /)\n--\n\nThe runner's loop.", |this| {
            this.any().call_method0(intern!(this.py(), "_lazy_init"))?;
            Ok(this.event_loop.get(this.py()).map(Own::new))
        })
        .method(
            c"run",
            c"run($self, /, coro, *, context=None)\n--\n\nRun a coroutine to its end and answer its result. Ctrl-C cancels it.",
            |this, args| match args.parse(&RUN)? {
                [Some(main), context] => run(this, main, given(&context)),
                _ => Err(PyTypeError::new_err("coro is missing")),
            },
        )
        .method0(c"_lazy_init", c"_lazy_init($self, /)\n--\n\nMake the loop, unless it is made.", lazy_init)
        .get_set(
            c"_loop",
            c"",
            |this| Ok(this.event_loop.get(this.py()).map(Own::new)),
            |this, value| {
                match value {
                    Some(value) => this.event_loop.set(value.clone()),
                    None => this.event_loop.unset(),
                }
                Ok(())
            },
        )
        .get(c"_interrupt_count", c"", |this| Ok(this.interrupts.get()));
    }
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<Runner>(module)?;
    let doc = c"run(main, *, debug=None, loop_factory=None)\n--\n\nRun a coroutine on a loop of its own, close the loop, answer the result.\n\n\
        The main entry point of a program. debug sets the loop's debug mode; loop_factory makes the loop. Ctrl-C cancels\n\
        the coroutine. RuntimeError if a loop runs on this thread.";
    add_function(module, c"run", doc, run_once)?;
    add_function(
        module,
        c"_cancel_all_tasks",
        c"_cancel_all_tasks(loop)\n--\n\nCancel all tasks of a loop and wait for them.",
        |_, args| {
            const SIGNATURE: Signature<1> = Signature::function("_cancel_all_tasks", [arg("loop")]);
            let [event_loop] = args.parse(&SIGNATURE)?;
            event_loop.map_or(Ok(()), cancel_all_tasks)
        },
    )?;
    add_function(module, c"_do_nothing", c"_do_nothing()\n--\n\nDoes nothing: scheduled to wake a loop.", |_, _| Ok(()))
}
