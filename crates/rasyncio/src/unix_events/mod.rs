//! unix_events: the loop that people use on Unix, with signal handlers, Unix sockets and pipes (asyncio.unix_events).
//!
//! Called by users of `add_signal_handler` and by `runners`; calls CPython's signal module for all that signals need, and
//! `engine::sys::SignalPipe`, into which CPython's C-level handler writes the number of each signal.
//!
//! States of a signal: not handled -> handled (wakeup descriptor set, a do-nothing Python handler installed) -> not handled
//! (the default handler restored; with the last one the wakeup descriptor is given back). Closing the loop removes all.
//!
//! A handler is a Handle that the loop runs like any other callback. Only the main thread may set handlers: CPython says so.
//!
//! Here are signals; beside them:
//! - `sockets`: connections and servers on Unix sockets.
//! - `pipes`: the ends of pipes under protocols.
//! - `sendfile`: files over sockets, by the kernel.
//! - `wakeup`: the wakeup descriptor while the loop runs.
//! - `children`: child processes.
//! - `watchers`: who tells that a child process has ended.
//! - `policy`: the event loop policy of Unix.

mod children;
mod pipes;
#[cfg(not(Py_3_14))]
mod policy;
mod sendfile;
mod sockets;
mod wakeup;
mod watchers;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use engine::sys::SignalPipe;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};
use slots::intern;
use slots::{Args, Class, Own, Plain, Ref, Signature, Slot, Spec, arg, class, opt};

use crate::base_events::BaseEventLoop;
use crate::events::running::running_loop;
use crate::events::{Handle, Kind};
use crate::log::logger;
use crate::selector_events::{BaseSelectorEventLoop, core, watch};
use crate::{exceptions, face};

/// The watched processes by their descriptors.
type Children = RefCell<HashMap<i32, Own>>;

class! {
    /// The native half of `_UnixSelectorEventLoop`.
    pub struct UnixSelectorEventLoop: BaseSelectorEventLoop {
        /// Signal -> Handle: a dict, live as `_signal_handlers`.
        handlers: Slot,
        /// Where the numbers of signals go while the loop has handlers for signals.
        pipe: Plain<RefCell<Option<Rc<SignalPipe>>>>,
        /// Where they go while it runs without any: they end its wait, and no handler that is added later hears of them.
        idle_pipe: Plain<RefCell<Option<Rc<SignalPipe>>>>,
        /// The wakeup descriptor is this loop's while it runs.
        pub(crate) owns_wakeup: Cell<bool>,
        /// Listening socket -> inode of its file: a dict, live as `_unix_server_sockets`.
        server_sockets: Slot,
        /// Descriptor -> the process that the loop watches by it.
        pub(crate) children: Children,
        /// Whether the system lets us have such descriptors; None before it was asked.
        pub(crate) has_descriptors: Cell<Option<bool>>,
        /// The loop's `_watcher`, where somebody has looked at it or set it (3.14).
        pub(crate) watcher: Slot,
        /// The watcher for processes that the poller cannot watch.
        pub(crate) fallback: Slot,
    }
}

/// Signals have come.
static SIGNALS: Kind = Kind {
    run: |object, _| match Ref::<UnixSelectorEventLoop>::cast(object) {
        Some(this) => read_signals(this),
        None => Ok(()),
    },
    event_loop: |object| Some(Own::new(object.clone())),
    context: |_| None,
    name: "SignalReader",
    qualname: Some("_UnixSelectorEventLoop._read_from_self"),
};

fn read_signals(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    let pipe = this.pipe.borrow().clone();
    let Some(pipe) = pipe else { return Ok(()) };
    let mut signals = Vec::new();
    pipe.drain_into(&mut signals).map_err(|error| exceptions::os_error(this.py(), error))?;
    if signals.is_empty() {
        return Ok(());
    }
    let data = slots::bytes(this.py(), &signals)?;
    this.any().call_method1(intern!(this.py(), "_process_self_data"), (data,)).map(drop)
}

/// What `_process_self_data` does: each byte is a signal's number, but for those that only wake the loop.
fn process_data(this: &Ref<'_, UnixSelectorEventLoop>, data: &Bound<'_, PyAny>) -> PyResult<()> {
    for number in data.try_iter()? {
        let number = number?;
        if number.is_truthy()? {
            this.any().call_method1(intern!(this.py(), "_handle_signal"), (number,))?;
        }
    }
    Ok(())
}

fn signal_module(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    face(py, "unix_events")?.getattr(intern!(py, "signal"))
}

fn check_signal(given: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = given.py();
    if !given.is_instance_of::<pyo3::types::PyInt>() {
        return Err(PyTypeError::new_err(format!("sig must be an int, not {}", given.repr()?)));
    }
    let valid = signal_module(py)?.call_method0(intern!(py, "valid_signals"))?;
    if !valid.contains(given)? {
        return Err(PyValueError::new_err(format!("invalid signal number {}", given.str()?)));
    }
    Ok(())
}

fn handlers<'py>(this: &Ref<'py, UnixSelectorEventLoop>) -> PyResult<Bound<'py, PyDict>> {
    let py = this.py();
    match this.handlers.get(py) {
        Some(dict) => Ok(dict.cast_into()?),
        None => {
            let dict = slots::dict(py)?;
            this.handlers.set(dict.clone().into_any());
            Ok(dict)
        }
    }
}

/// The pipe in `place`, watched by the loop as `kind` says.
fn watched_pipe(
    this: &Ref<'_, UnixSelectorEventLoop>,
    place: &RefCell<Option<Rc<SignalPipe>>>,
    kind: &'static Kind,
) -> PyResult<Rc<SignalPipe>> {
    let old = place.borrow().clone();
    match old {
        // The parent process reads from it, too.
        Some(old) if old.is_inherited() => drop_pipe(this, place)?,
        Some(old) => return Ok(old),
        None => {}
    }
    let pipe = Rc::new(SignalPipe::new().map_err(|error| exceptions::os_error(this.py(), error))?);
    watch::add_reader(core(this.base()), pipe.fd(), this.any().clone(), kind)?;
    *place.borrow_mut() = Some(pipe.clone());
    this.signals_watched.set(this.signals_watched.get() + 1);
    Ok(pipe)
}

/// Watches the pipe in `place` no more, and closes it.
fn drop_pipe(this: &Ref<'_, UnixSelectorEventLoop>, place: &RefCell<Option<Rc<SignalPipe>>>) -> PyResult<()> {
    let Some(pipe) = place.borrow_mut().take() else { return Ok(()) };
    this.signals_watched.set(this.signals_watched.get() - 1);
    match core(this.base()).closed.get() {
        true => Ok(()),
        false => watch::remove_reader(core(this.base()), pipe.fd()).map(drop),
    }
}

/// The number for `signal.set_wakeup_fd` while there are handlers: the pipe's, or that of the real pair which wakes the loop.
fn wakeup_number<'py>(this: &Ref<'py, UnixSelectorEventLoop>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    match this.real_csock(py) {
        Some(socket) if this.pipe.borrow().is_none() => socket.call_method0(intern!(py, "fileno")),
        _ => Ok(watched_pipe(this, &this.pipe, &SIGNALS)?.wakeup_fd().into_pyobject(py)?.into_any()),
    }
}

/// Gives the wakeup descriptor back when no handler is left.
fn give_back(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    let py = this.py();
    if !handlers(this)?.is_empty() {
        return Ok(());
    }
    let given = signal_module(py)?.call_method1(intern!(py, "set_wakeup_fd"), (-1,));
    wakeup::keep(this)?;
    match given {
        Ok(_) => Ok(()),
        Err(error) if error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyOSError>(py) => {
            let logger = logger(py, "unix_events")?;
            logger.log("info", ("set_wakeup_fd(-1) failed: %s", error.into_value(py))).map(drop)
        }
        Err(error) => Err(error),
    }
}

/// EINVAL from `signal.signal` means a signal that cannot be caught.
fn cannot_be_caught(given: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    const EINVAL: i32 = 22;
    let py = given.py();
    let is_invalid = error.is_instance_of::<PyOSError>(py)
        && error.value(py).getattr(intern!(py, "errno")).is_ok_and(|n| n.extract::<i32>().is_ok_and(|n| n == EINVAL));
    if is_invalid {
        let text = format!("sig {} cannot be caught", given.str()?);
        return Err(slots::raised_from(py, error, PyRuntimeError::new_err(text)));
    }
    Err(error)
}

fn add_handler<'py>(this: &Ref<'py, UnixSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<()> {
    const SIGNATURE: Signature<2> =
        Signature::method("_UnixSelectorEventLoop.add_signal_handler", [arg("sig"), arg("callback")]);
    let py = this.py();
    let ([Some(given), Some(callback)], rest) = args.parse_rest(&SIGNATURE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    let coroutines = face(py, "coroutines")?;
    if coroutines.call_method1(intern!(py, "iscoroutine"), (callback,))?.is_truthy()?
        || coroutines.call_method1(intern!(py, "_iscoroutinefunction"), (callback,))?.is_truthy()?
    {
        return Err(PyTypeError::new_err("coroutines cannot be used with add_signal_handler()"));
    }
    this.any().call_method1(intern!(py, "_check_signal"), (given,))?;
    this.any().call_method0(intern!(py, "_check_closed"))?;
    let signal = signal_module(py)?;
    let had_pipe = this.pipe.borrow().is_some();
    let set = wakeup_number(this).and_then(|number| signal.call_method1(intern!(py, "set_wakeup_fd"), (number,)));
    if let Err(error) = set {
        if !had_pipe {
            drop_pipe(this, &this.pipe)?;
        }
        // Not the main thread, or not a descriptor to signal's liking.
        if error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyOSError>(py) {
            let text = error.value(py).str()?.unbind();
            return Err(slots::raised_from(py, error, PyRuntimeError::new_err(text)));
        }
        return Err(error);
    }
    let handle = Handle::create(py, callback.clone(), rest, this.any().clone(), slots::copy_current(py)?)?;
    handlers(this)?.set_item(given, handle.into_any())?;
    let noop = face(py, "unix_events")?.getattr(intern!(py, "_sighandler_noop"))?;
    let installed = signal
        .call_method1(intern!(py, "signal"), (given, noop))
        .and_then(|_| signal.call_method1(intern!(py, "siginterrupt"), (given, false)));
    match installed {
        Ok(_) => Ok(()),
        Err(error) if error.is_instance_of::<PyOSError>(py) => {
            handlers(this)?.del_item(given)?;
            give_back(this)?;
            cannot_be_caught(given, error)
        }
        Err(error) => Err(error),
    }
}

fn handle_signal(this: &Ref<'_, UnixSelectorEventLoop>, given: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    let Some(handle) = handlers(this)?.get_item(given)? else { return Ok(()) };
    if handle.getattr(intern!(py, "_cancelled"))?.is_truthy()? {
        return this.any().call_method1(intern!(py, "remove_signal_handler"), (given,)).map(drop);
    }
    this.any().call_method1(intern!(py, "_add_callback_signalsafe"), (handle,)).map(drop)
}

fn remove_handler(this: &Ref<'_, UnixSelectorEventLoop>, given: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = this.py();
    this.any().call_method1(intern!(py, "_check_signal"), (given,))?;
    let handlers = handlers(this)?;
    if !handlers.contains(given)? {
        return Ok(false);
    }
    handlers.del_item(given)?;
    let signal = signal_module(py)?;
    let is_interrupt = given.eq(signal.getattr(intern!(py, "SIGINT"))?)?;
    let handler = signal.getattr(if is_interrupt { "default_int_handler" } else { "SIG_DFL" })?;
    if let Err(error) = signal.call_method1(intern!(py, "signal"), (given, handler)) {
        cannot_be_caught(given, error)?;
    }
    give_back(this)?;
    Ok(true)
}

fn close(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    BaseSelectorEventLoop::close(this.base())?;
    children::leave_all(this)?;
    let closed = close_handlers(this);
    wakeup::give_back(this)?;
    closed?;
    drop_pipe(this, &this.pipe)?;
    drop_pipe(this, &this.idle_pipe)
}

fn close_handlers(this: &Ref<'_, UnixSelectorEventLoop>) -> PyResult<()> {
    let py = this.py();
    if !this.handlers.is_set() || handlers(this)?.is_empty() {
        return Ok(());
    }
    let sys = face(py, "unix_events")?.getattr(intern!(py, "sys"))?;
    if sys.call_method0(intern!(py, "is_finalizing"))?.is_truthy()? {
        let text = format!(
            "Closing the loop {} on interpreter shutdown stage, skipping signal handlers removal",
            this.any().repr()?
        );
        slots::resource_warning(this.any(), &text)?;
        handlers(this)?.clear();
        return Ok(());
    }
    for (number, _) in handlers(this)?.copy()? {
        this.any().call_method1(intern!(py, "remove_signal_handler"), (number,))?;
    }
    Ok(())
}

impl Class for UnixSelectorEventLoop {
    const NAME: &'static std::ffi::CStr = c"rasyncio.unix_events._UnixLoop";
    const DOC: &'static std::ffi::CStr = c"_UnixLoop(selector=None)\n--\n\nThe native half of the Unix event loop.";
    const DICT: bool = true;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.base.wants_finalizer()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        BaseEventLoop::finalize(this.base().base())
    }

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<1> = Signature::method("_UnixSelectorEventLoop.__init__", [opt("selector")]);
        spec.init(|this, args| {
            let [selector] = args.parse(&INIT)?;
            this.pair_made.set(Some(wakeup::pair_made));
            BaseSelectorEventLoop::initialize(this.base(), selector.filter(|s| !s.is_none()))
        })
        .method1_named(
            c"_process_self_data",
            c"_process_self_data($self, /, data)\n--\n\nSchedule the handlers of the signals whose numbers are in data.",
            || ("_UnixSelectorEventLoop._process_self_data", "data"),
            process_data,
        )
        .method(
            c"add_signal_handler",
            c"add_signal_handler($self, sig, callback, *args)\n--\n\nHave the loop call callback(*args) when the process gets the signal. Main thread only.\n\
              ValueError for an invalid number, RuntimeError for a signal that cannot be caught.",
            add_handler,
        )
        .method1_named(
            c"remove_signal_handler",
            c"remove_signal_handler($self, /, sig)\n--\n\nRestore the signal's default handler; answer whether there was one of the loop's.", || ("_UnixSelectorEventLoop.remove_signal_handler", "sig"),
            remove_handler,
        )
        .method0(c"_run_forever_setup", c"_run_forever_setup($self, /)\n--\n\nWhat run_forever() does first; for loops that drive the turns themselves.", wakeup::begin)
        .method0(c"_run_forever_cleanup", c"_run_forever_cleanup($self, /)\n--\n\nWhat run_forever() does last.", wakeup::end)
        .method1_named(c"_handle_signal", c"_handle_signal($self, /, sig)\n--\n\nSchedule a signal's handler.", || ("_UnixSelectorEventLoop._handle_signal", "sig"), handle_signal)
        .method1_named(c"_check_signal", c"_check_signal($self, /, sig)\n--\n\nTypeError or ValueError if sig is no signal.", || ("_UnixSelectorEventLoop._check_signal", "sig"), |_, sig| check_signal(sig))
        .method0(c"close", c"close($self, /)\n--\n\nClose the loop and remove its signal handlers. It must not be running.", close)
        .method(
            c"_create_unix_connection",
            c"_create_unix_connection($self, /, *args)\n--\n\nThe body of create_unix_connection().",
            |this, args| sockets::create_unix_connection(this, args).map(Own::new),
        )
        .method(
            c"_create_unix_server",
            c"_create_unix_server($self, /, *args)\n--\n\nThe body of create_unix_server().",
            |this, args| sockets::create_unix_server(this, args).map(Own::new),
        )
        .method1_named(
            c"_stop_serving",
            c"_stop_serving($self, /, sock)\n--\n\nAccept no more connections, close the socket, remove its file.",
            || ("_UnixSelectorEventLoop._stop_serving", "sock"),
            sockets::stop_unix_serving,
        )
        .method(
            c"_make_read_pipe_transport",
            c"_make_read_pipe_transport($self, /, pipe, protocol, waiter=None, extra=None)\n--\n\n\
            A transport for a pipe to read from.",
            |this, args| pipes::make(this.any(), "_UnixReadPipeTransport", args),
        )
        .method(
            c"_make_write_pipe_transport",
            c"_make_write_pipe_transport($self, /, pipe, protocol, waiter=None, extra=None)\n--\n\n\
            A transport for a pipe to write to.",
            |this, args| pipes::make(this.any(), "_UnixWritePipeTransport", args),
        )
        .get(c"_unix_server_sockets", c"Listening socket -> inode of its file.", |this| {
            Ok(Own::new(sockets::server_sockets(this)?.into_any()))
        })
        .get(c"_signal_handlers", c"Signal -> Handle.", |this| Ok(Own::new(handlers(this)?.into_any())));
        spec.method(
            c"_make_native_subprocess_transport",
            c"_make_native_subprocess_transport($self, /, *args, **kwargs)\n--\n\nThe body of _make_subprocess_transport().",
            |this, args| children::make(this, args).map(Own::new),
        )
        .method(
            c"_child_watcher_callback",
            c"_child_watcher_callback($self, pid, returncode, transp)\n--\n\nTell the transport that its process has ended.",
            children::tell,
        );
        if cfg!(Py_3_14) {
            spec.get_set(
                c"_watcher",
                c"What notices the exits of processes; made when it is first looked at.",
                |this| children::own_watcher(this).map(Own::new),
                |this, value| {
                    match value {
                        Some(value) => this.watcher.set(value.clone()),
                        None => this.watcher.unset(),
                    }
                    Ok(())
                },
            );
        }
        sendfile::define(spec);
    }
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<UnixSelectorEventLoop>(module)?;
    pipes::add(module)?;
    watchers::add(module)?;
    slots::add_class::<children::UnixSubprocessTransport>(module)?;
    #[cfg(not(Py_3_14))]
    slots::add_class::<policy::UnixPolicy>(module)?;
    slots::add_function(
        module,
        c"_sighandler_noop",
        c"_sighandler_noop(signum, frame)\n--\n\nA signal handler that does nothing: the loop is told by the wakeup descriptor.",
        |py, _| {
            // A busy loop looks at the descriptor's other end when it knows that there is something.
            let running = running_loop(py);
            if let Some(this) = running.as_ref().and_then(|running| BaseSelectorEventLoop::of(running)) {
                this.signal_seen.set(true);
            }
            Ok(())
        },
    )
}
