//! base_events: `BaseEventLoop`, everything about a loop that does not depend on the operating system (asyncio.base_events,
//! PEP 3156).
//!
//! Called by users and by every room that schedules; calls `events` for the queues, `tasks` and `futures` to make things.
//! `selector_events` derives from it and brings the poller.
//!
//! - `schedule`: `call_soon`, `call_later`, `call_at`, `call_soon_threadsafe`.
//! - `run`: `run_forever`, `run_until_complete`, `stop`, `close`, and the turn itself.
//! - `report`: the exception handler.
//! - `executor`: `run_in_executor`, and shutting executors and async generators down.
//! - `create`: futures and tasks, the task factory.
//! - `connect`: connections, servers, names.
//! - `server`: Server.
//! - `subprocess`: child processes, as far as no system is needed.
//! - `sendfile`: files over sockets and transports.
//!
//! States: open -> running -> open -> ... -> closed. A closed loop refuses everything with "Event loop is closed".
//!
//! A turn is made by the function in `turn`: the general one here works by attribute (`_selector.select`,
//! `_process_events`, `time`), so that loops written in Python with a selector of their own run on it; `selector_events`
//! puts a native one in its place, which steps back to the general one as soon as something is overridden.

mod connect;
mod create;
mod executor;
pub mod preload;
mod report;
pub mod run;
mod schedule;
mod sendfile;
pub mod server;
mod subprocess;

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Class, Own, Plain, Ref, Signature, Slot, Spec, class};

use crate::events::LoopCore;
use crate::face;

pub use self::connect::{Tls, connect_transport, tls_options};
pub use self::create::{create_future, create_task, names_first};
pub use self::run::{cleanup, setup};
pub use self::schedule::{call_at_native, plain_seconds};

/// One turn of a loop.
pub type Turn = fn(&Ref<'_, BaseEventLoop>) -> PyResult<()>;

class! {
    /// The part of a loop that does not depend on the operating system.
    pub struct BaseEventLoop: LoopCore {
        default_executor: Slot,
        exception_handler: Slot,
        task_factory: Slot,
        asyncgens: Slot,
        old_asyncgen_hooks: Slot,
        current_handle: Slot,
        slow_callback_duration: Slot,
        asyncgens_shut_down: Cell<bool>,
        executor_shut_down: Cell<bool>,
        /// The depth to go back to, while origins of coroutines are tracked.
        origin_depth: Cell<Option<i32>>,
        initialized: Cell<bool>,
        pub(crate) turn: Plain<Cell<Option<Turn>>>,
        /// Python code has run that belongs to no turn: it makes the turns itself, or the loop has just begun to run, or ended.
        pub(crate) by_hand: Cell<bool>,
    }
}

impl BaseEventLoop {
    /// `object` as a loop of ours with all its parts.
    pub fn of<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Ref<'py, BaseEventLoop>> {
        Ref::<BaseEventLoop>::cast(object)
    }

    /// What `BaseEventLoop.__init__` does.
    pub fn initialize(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
        let py = this.py();
        this.clock_resolution.set(engine::clock::Clock::resolution(&engine::clock::Monotonic));
        this.initialized.set(true);
        crate::keep_modules(py)?;
        this.hosted.set(crate::events::running::is_for_stdlib(py)?);
        let debug = face(py, "coroutines")?.call_method0(intern!(py, "_is_debug_mode"))?;
        this.any().call_method1(intern!(py, "set_debug"), (debug,)).map(drop)
    }

    /// Whether `create_task(coro)` makes a plain task: no factory, no override.
    pub fn makes_plain_tasks(&self) -> bool {
        !self.task_factory.is_set()
    }

    /// Whether the loop runs.
    pub fn is_running(&self) -> bool {
        self.thread_id.get() != 0
    }

    /// What `BaseEventLoop.close` does.
    pub fn close(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
        run::close(this)
    }

    fn not_implemented(name: &str) -> PyErr {
        pyo3::exceptions::PyNotImplementedError::new_err(name.to_owned())
    }
}

fn own(value: Option<Bound<'_, PyAny>>) -> Option<Own> {
    value.map(Own::new)
}

fn put(slot: &Slot, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match value.filter(|v| !v.is_none()) {
        Some(value) => slot.set(value.clone()),
        None => slot.unset(),
    }
    Ok(())
}

impl Class for BaseEventLoop {
    const NAME: &'static std::ffi::CStr = c"rasyncio.base_events._BaseEventLoop";
    const DOC: &'static std::ffi::CStr = c"_BaseEventLoop()\n--\n\nThe native half of BaseEventLoop.";
    const DICT: bool = true;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.initialized.get() && !self.closed.get()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let py = this.py();
        let warned = slots::resource_warning(this.any(), &format!("unclosed event loop {}", this.any().repr()?));
        if !this.is_running() {
            this.any().call_method0(intern!(py, "close"))?;
        }
        warned
    }

    fn define(spec: &mut Spec<Self>) {
        spec.init(|this, args| {
            const SIGNATURE: Signature<0> = Signature::method("BaseEventLoop.__init__", []);
            args.parse(&SIGNATURE)?;
            BaseEventLoop::initialize(this)
        })
        .repr(|this| {
            let py = this.py();
            let name = this.any().get_type().name()?;
            let truth = |method: &str| -> PyResult<&str> {
                Ok(if this.any().call_method0(slots::Text(method))?.is_truthy()? { "True" } else { "False" })
            };
            let _ = py;
            let (running, closed, debug) = (truth("is_running")?, truth("is_closed")?, truth("get_debug")?);
            Ok(format!("<{name} running={running} closed={closed} debug={debug}>"))
        })
        .get_set(
            c"slow_callback_duration",
            c"In debug mode, a callback or step that takes longer is logged; seconds, 0.1 by default.",
            |this| match this.slow_callback_duration.get(this.py()) {
                Some(duration) => Ok(Own::new(duration)),
                None => Ok(Own::new(0.1f64.into_pyobject(this.py())?.into_any())),
            },
            |this, value| put(&this.slow_callback_duration, value),
        )
        .get_set(c"_default_executor", c"", |this| Ok(own(this.default_executor.get(this.py()))), |this, v| {
            put(&this.default_executor, v)
        })
        .get_set(c"_exception_handler", c"", |this| Ok(own(this.exception_handler.get(this.py()))), |this, v| {
            put(&this.exception_handler, v)
        })
        .get_set(c"_task_factory", c"", |this| Ok(own(this.task_factory.get(this.py()))), |this, v| put(&this.task_factory, v))
        .get_set(c"_current_handle", c"", |this| Ok(own(this.current_handle.get(this.py()))), |this, v| {
            put(&this.current_handle, v)
        })
        .get_set(c"_asyncgens", c"", |this| Ok(Own::new(executor::asyncgens(this)?)), |this, v| put(&this.asyncgens, v))
        .get_set(
            c"_asyncgens_shutdown_called",
            c"",
            |this| Ok(this.asyncgens_shut_down.get()),
            |this, v| v.map_or(Ok(()), |v| v.is_truthy().map(|v| this.asyncgens_shut_down.set(v))),
        )
        .get_set(
            c"_executor_shutdown_called",
            c"",
            |this| Ok(this.executor_shut_down.get()),
            |this, v| v.map_or(Ok(()), |v| v.is_truthy().map(|v| this.executor_shut_down.set(v))),
        )
        .method0(c"get_debug", c"get_debug($self, /)\n--\n\nWhether the loop is in debug mode.", |this| Ok(this.debug.get()))
        .method1_named(
            c"set_debug",
            c"set_debug($self, /, enabled)\n--\n\nPut the loop in debug mode: callers' threads are checked, slow callbacks are logged,\ncreation places are remembered.", || ("BaseEventLoop.set_debug", "enabled"),
            |this, enabled| {
                let py = this.py();
                this.debug.set(enabled.is_truthy()?);
                if this.is_running() {
                    let track = this.any().getattr(intern!(py, "_set_coroutine_origin_tracking"))?;
                    this.any().call_method1(intern!(py, "call_soon_threadsafe"), (track, enabled))?;
                }
                Ok(())
            },
        );
        schedule::define(spec);
        run::define(spec);
        report::define(spec);
        executor::define(spec);
        create::define(spec);
        connect::define(spec);
        sendfile::define(spec);
        subprocess::define(spec);
    }
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<BaseEventLoop>(module)?;
    slots::add_class::<connect::Attempt>(module)?;
    connect::add(module)?;
    sendfile::add(module)?;
    subprocess::add(module)?;
    server::add(module)?;
    run::add(module)
}
