//! base_subprocess: `BaseSubprocessTransport`, a child process and its pipes under one protocol (asyncio.base_subprocess).
//!
//! Called by `_make_subprocess_transport`, by the pipes' protocols, by whoever notices the exit (`_process_exited`), and by users;
//! calls the derived class's `_start`, which makes the Popen object, the loop's `connect_read_pipe` and `connect_write_pipe`, and the
//! protocol.
//!
//! Here is the life of the transport; beside it:
//! - `connect`: the task that puts the pipes under transports.
//! - `pipes`: the protocols of the pipes.
//! - `child`: the process by a descriptor of it.
//!
//! States: started -> connected (the protocol hears connection_made, then whatever happened before) -> exited and all pipes lost, in
//! either order -> connection_lost, once -> everything let go. Closing kills the process and closes the pipes; the exit is then
//! noticed as any other.
//!
//! The class adds methods only: its attributes stand in the instance's `__dict__`, under asyncio's names, because the class derives
//! from the abstract transport, whose layout is its own, and because people derive from it.
//!
//! Differs from CPython: a process is signalled by its descriptor where there is one, so that no stranger who got its number later is
//! met; once it was reaped, a signal goes nowhere (as on 3.15). What was killed by close() after the loop's end is reaped at once.

mod child;
mod connect;
mod pipes;

use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyNotImplementedError, PyPermissionError, PyProcessLookupError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyModule, PySet, PyString};
use slots::intern;
use slots::{Args, Class, Name, Own, Ref, Signature, Spec, arg, class, opt};

use crate::base_events::create_future;
use crate::futures::{Future, Next, Wait, given};
use crate::log::Logger;
use crate::mixins::{is_done, set_result};
use crate::{face, library};

pub use self::child::Child;

class! {
    /// The native half of `BaseSubprocessTransport`.
    pub struct BaseSubprocessTransport {}
}

type Transport<'py> = Ref<'py, BaseSubprocessTransport>;

/// What `subprocess.PIPE` is, in all versions.
const PIPE: i32 = -1;

fn logger(py: Python<'_>) -> PyResult<Logger<'_>> {
    crate::log::logger(py, "base_subprocess")
}

/// An attribute that is None where it is not set.
fn attribute<'py>(this: &Transport<'py>, name: Name<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(this.any().getattr_opt(name)?.filter(|value| !value.is_none()))
}

fn is_debug(event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
    event_loop.call_method0(intern!(event_loop.py(), "get_debug"))?.is_truthy()
}

fn init<'py>(this: &Transport<'py>, args: &Args<'_, 'py>) -> PyResult<()> {
    const INIT: Signature<10> = Signature::method(
        "BaseSubprocessTransport.__init__",
        [
            arg("loop"),
            arg("protocol"),
            arg("args"),
            arg("shell"),
            arg("stdin"),
            arg("stdout"),
            arg("stderr"),
            arg("bufsize"),
            opt("waiter"),
            opt("extra"),
        ],
    );
    let py = this.py();
    let (parsed, keywords) = args.parse_extra(&INIT)?;
    let [
        Some(event_loop),
        Some(protocol),
        Some(program),
        Some(shell),
        Some(stdin),
        Some(stdout),
        Some(stderr),
        Some(bufsize),
        waiter,
        extra,
    ] = parsed
    else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    let none = py.None();
    let own = this.any();
    own.setattr(
        intern!(py, "_extra"),
        match given(&extra) {
            Some(extra) => extra.clone(),
            None => slots::dict(py)?.into_any(),
        },
    )?;
    own.setattr(intern!(py, "_protocol"), protocol)?;
    own.setattr(intern!(py, "_loop"), event_loop)?;
    own.setattr(intern!(py, "_proc"), &none)?;
    own.setattr(intern!(py, "_pid"), &none)?;
    own.setattr(intern!(py, "_returncode"), &none)?;
    own.setattr(intern!(py, "_exit_waiters"), PySet::empty(py)?)?;
    own.setattr(intern!(py, "_pending_calls"), library(py, "_collections")?.getattr(slots::Text("deque"))?.call0()?)?;
    let pipes = slots::dict(py)?;
    for (number, end) in [stdin, stdout, stderr].into_iter().enumerate() {
        if end.eq(PIPE)? {
            pipes.set_item(number, &none)?;
        }
    }
    own.setattr(intern!(py, "_pipes"), pipes)?;
    own.setattr(intern!(py, "_finished"), false)?;
    // The last one: what has it is closed by the finalizer, which needs all the others.
    own.setattr(intern!(py, "_closed"), false)?;
    let named = [
        ("args", program),
        ("shell", shell),
        ("stdin", stdin),
        ("stdout", stdout),
        ("stderr", stderr),
        ("bufsize", bufsize),
    ];
    for (name, value) in named {
        keywords.set_item(slots::Text(name), value)?;
    }
    if let Err(error) = own.getattr(intern!(py, "_start"))?.call((), Some(&keywords)) {
        own.call_method0(intern!(py, "close"))?;
        return Err(error);
    }
    let process = own.getattr(intern!(py, "_proc"))?;
    own.setattr(intern!(py, "_pid"), process.getattr(intern!(py, "pid"))?)?;
    own.getattr(intern!(py, "_extra"))?.set_item(intern!(py, "subprocess"), &process)?;
    if is_debug(event_loop)? {
        let is_text = program.is_instance_of::<PyString>() || program.is_instance_of::<PyBytes>();
        let program = if is_text { program.clone() } else { program.get_item(0)? };
        let pid = own.getattr(intern!(py, "_pid"))?;
        logger(py)?.log("debug", ("process %r created: pid %s", program, pid))?;
    }
    let connecting = own.call_method1(intern!(py, "_connect_pipes"), (given(&waiter),))?;
    crate::base_events::create_task(event_loop, &connecting, None).map(drop)
}

fn repr(this: &Transport<'_>) -> PyResult<String> {
    let py = this.py();
    let mut text = format!("<{}", this.any().get_type().name()?);
    if attribute(this, intern!(py, "_closed"))?.is_some_and(|closed| closed.is_truthy().unwrap_or(false)) {
        text.push_str(" closed");
    }
    let pid = attribute(this, intern!(py, "_pid"))?;
    if let Some(pid) = &pid {
        text.push_str(&format!(" pid={pid}"));
    }
    match (attribute(this, intern!(py, "_returncode"))?, pid) {
        (Some(code), _) => text.push_str(&format!(" returncode={code}")),
        (None, Some(_)) => text.push_str(" running"),
        (None, None) => text.push_str(" not started"),
    }
    let pipes = this.any().getattr(intern!(py, "_pipes"))?;
    let pipe = |number: i32| -> PyResult<Option<Bound<'_, PyAny>>> {
        let pipe = pipes.call_method1(intern!(py, "get"), (number,))?;
        if pipe.is_none() { Ok(None) } else { Ok(Some(pipe)) }
    };
    let transport =
        |pipe: &Bound<'_, PyAny>| -> PyResult<String> { Ok(pipe.getattr(slots::Text("pipe"))?.str()?.to_string()) };
    if let Some(stdin) = pipe(0)? {
        text.push_str(&format!(" stdin={}", transport(&stdin)?));
    }
    match (pipe(1)?, pipe(2)?) {
        (Some(stdout), Some(stderr)) if stdout.is(&stderr) => {
            text.push_str(&format!(" stdout=stderr={}", transport(&stdout)?));
        }
        (stdout, stderr) => {
            for (name, pipe) in [("stdout", stdout), ("stderr", stderr)] {
                if let Some(pipe) = pipe {
                    text.push_str(&format!(" {name}={}", transport(&pipe)?));
                }
            }
        }
    }
    Ok(text + ">")
}

fn close(this: &Transport<'_>) -> PyResult<()> {
    let py = this.py();
    let own = this.any();
    if own.getattr(intern!(py, "_closed"))?.is_truthy()? {
        return Ok(());
    }
    own.setattr(intern!(py, "_closed"), true)?;
    let event_loop = attribute(this, intern!(py, "_loop"))?;
    let is_closed = |event_loop: &Bound<'_, PyAny>| event_loop.call_method0(intern!(py, "is_closed"))?.is_truthy();
    let loop_is_over = event_loop.as_ref().map_or(Ok(true), is_closed)?;
    if !loop_is_over {
        for pipe in own.getattr(intern!(py, "_pipes"))?.call_method0(intern!(py, "values"))?.try_iter()? {
            let pipe = pipe?;
            if !pipe.is_none() {
                pipe.getattr(intern!(py, "pipe"))?.call_method0(intern!(py, "close"))?;
            }
        }
    }
    let Some(process) = attribute(this, intern!(py, "_proc"))? else { return Ok(()) };
    if attribute(this, intern!(py, "_returncode"))?.is_some() {
        return Ok(());
    }
    let child = child::of(this)?;
    let runs = match &child {
        // Asking Popen would reap it, and its exit code would be lost to us.
        Some(child) if child.is_watched() => child.is_running(),
        _ => process.call_method0(intern!(py, "poll"))?.is_none(),
    };
    if !runs {
        return Ok(());
    }
    if event_loop.as_ref().map_or(Ok(false), is_debug)? {
        logger(py)?.log("warning", ("Close running child process: kill %r", own))?;
    }
    let own_kill =
        process.getattr_opt(intern!(py, "__dict__"))?.map_or(Ok(false), |d| d.contains(slots::Text("kill")))?;
    let killed = match &child {
        Some(child) if child.is_watched() && !own_kill => child.kill(py),
        _ => process.call_method0(intern!(py, "kill")).map(drop),
    };
    match killed {
        // It has ended just now, or runs as another user.
        Err(error)
            if error.is_instance_of::<PyProcessLookupError>(py) || error.is_instance_of::<PyPermissionError>(py) => {}
        other => other?,
    }
    if loop_is_over {
        child::reap_after_loop(&process)?;
    }
    Ok(())
}

fn finalize(this: &Transport<'_>) -> PyResult<()> {
    let py = this.py();
    let own = this.any();
    // Without it, __init__ was never called or has failed before anything was opened.
    match own.getattr_opt(intern!(py, "_closed"))? {
        Some(closed) if !closed.is_truthy()? => {
            let text = format!("unclosed transport {}", own.repr()?);
            let warned = slots::resource_warning(own, &text);
            own.call_method0(intern!(py, "close"))?;
            warned
        }
        _ => Ok(()),
    }
}

fn send_signal<'py>(this: &Transport<'py>, number: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    this.any().call_method0(intern!(py, "_check_proc"))?;
    if attribute(this, intern!(py, "_returncode"))?.is_some() {
        return Ok(());
    }
    let sent = match child::of(this)? {
        Some(child) if child.is_reaped() => return Ok(()),
        Some(child) if child.has_descriptor() => child.signal(py, number.extract()?),
        _ => {
            let pid = this.any().getattr(intern!(py, "_proc"))?.getattr(intern!(py, "pid"))?;
            let os = face(py, "base_subprocess")?.getattr(intern!(py, "os"))?;
            os.call_method1(intern!(py, "kill"), (pid, number)).map(drop)
        }
    };
    match sent {
        Err(error) if error.is_instance_of::<PyProcessLookupError>(py) => Ok(()),
        other => other,
    }
}

fn signal_by_name(this: &Transport<'_>, name: &str) -> PyResult<()> {
    let py = this.py();
    let number = face(py, "base_subprocess")?.getattr(intern!(py, "signal"))?.getattr(slots::Text(name))?;
    this.any().call_method1(intern!(py, "send_signal"), (number,)).map(drop)
}

fn check_process(this: &Transport<'_>) -> PyResult<()> {
    match attribute(this, intern!(this.py(), "_proc"))? {
        Some(_) => Ok(()),
        None => Err(PyProcessLookupError::new_err(())),
    }
}

/// Has the loop call `callback(*values)`; before the protocol has heard of the connection, keeps the call for then.
fn call<'py>(this: &Transport<'py>, callback: Bound<'py, PyAny>, values: &[Bound<'py, PyAny>]) -> PyResult<()> {
    let py = this.py();
    if let Some(pending) = attribute(this, intern!(py, "_pending_calls"))? {
        return pending.call_method1(intern!(py, "append"), ((callback, slots::tuple(py, values)?),)).map(drop);
    }
    let mut all = vec![callback];
    all.extend_from_slice(values);
    let event_loop = this.any().getattr(intern!(py, "_loop"))?;
    event_loop.getattr(intern!(py, "call_soon"))?.call1(slots::tuple(py, all)?).map(drop)
}

/// Has the loop call one of the protocol's methods.
fn tell<'py>(this: &Transport<'py>, method: Name<'py>, values: &[Bound<'py, PyAny>]) -> PyResult<()> {
    let protocol = this.any().getattr(intern!(this.py(), "_protocol"))?;
    this.any().call_method1(intern!(this.py(), "_call"), {
        let mut all = vec![protocol.getattr(method)?];
        all.extend_from_slice(values);
        slots::tuple(this.py(), all)?
    })?;
    Ok(())
}

fn try_finish(this: &Transport<'_>) -> PyResult<()> {
    let py = this.py();
    let own = this.any();
    if own.getattr(intern!(py, "_finished"))?.is_truthy()? {
        return Err(PyAssertionError::new_err(()));
    }
    if attribute(this, intern!(py, "_returncode"))?.is_none() {
        return Ok(());
    }
    for pipe in own.getattr(intern!(py, "_pipes"))?.call_method0(intern!(py, "values"))?.try_iter()? {
        let pipe = pipe?;
        if pipe.is_none() || !pipe.getattr(intern!(py, "disconnected"))?.is_truthy()? {
            return Ok(());
        }
    }
    own.setattr(intern!(py, "_finished"), true)?;
    let lost = own.getattr(intern!(py, "_call_connection_lost"))?;
    own.call_method1(intern!(py, "_call"), (lost, py.None())).map(drop)
}

fn exited<'py>(this: &Transport<'py>, code: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let own = this.any();
    if code.is_none() {
        return Err(PyAssertionError::new_err(py.None()));
    }
    if let Some(known) = attribute(this, intern!(py, "_returncode"))? {
        return Err(PyAssertionError::new_err(known.unbind()));
    }
    if is_debug(&own.getattr(intern!(py, "_loop"))?)? {
        logger(py)?.log("info", ("%r exited with return code %r", own, code))?;
    }
    own.setattr(intern!(py, "_returncode"), code)?;
    let process = own.getattr(intern!(py, "_proc"))?;
    if process.getattr(intern!(py, "returncode"))?.is_none() {
        // Otherwise Popen would think that it still runs, and warn.
        process.setattr(intern!(py, "returncode"), code)?;
    }
    tell(this, intern!(py, "process_exited"), &[])?;
    own.call_method0(intern!(py, "_try_finish"))?;
    if AT_EXIT { wake_waiters(this) } else { Ok(()) }
}

/// Whether who waits for the exit code is woken at the exit (gh-119710), and not when the pipes are lost, too.
const AT_EXIT: bool = cfg!(Py_3_12);

fn wake_waiters(this: &Transport<'_>) -> PyResult<()> {
    let py = this.py();
    let Some(waiters) = attribute(this, intern!(py, "_exit_waiters"))? else { return Ok(()) };
    let code = this.any().getattr(intern!(py, "_returncode"))?;
    for waiter in slots::items(&waiters)? {
        if !is_done(&waiter)? {
            set_result(&waiter, code.clone())?;
        }
    }
    this.any().setattr(intern!(py, "_exit_waiters"), py.None())
}

fn waited<'py>(wait: &Ref<'py, Wait>, outcome: PyResult<Bound<'py, PyAny>>) -> PyResult<Next<'py>> {
    let py = wait.py();
    let waiters = wait.owner.get_or_none(py).getattr(intern!(py, "_exit_waiters"))?;
    if let (Some(future), false) = (wait.future(py), waiters.is_none()) {
        waiters.call_method1(intern!(py, "discard"), (future.any(),))?;
    }
    outcome.map(Next::Return)
}

/// What somebody who wants to know the exit code has to wait for; None if it is known.
fn exit_wait(this: &Transport<'_>) -> PyResult<Option<Own>> {
    let py = this.py();
    if attribute(this, intern!(py, "_returncode"))?.is_some() {
        return Ok(None);
    }
    let event_loop = this.any().getattr(intern!(py, "_loop"))?;
    let waiter = match Ref::<Future>::cast(&create_future(&event_loop)?) {
        Some(waiter) => waiter.clone(),
        None => Future::create(&event_loop)?,
    };
    this.any().getattr(intern!(py, "_exit_waiters"))?.call_method1(intern!(py, "add"), (waiter.any(),))?;
    Wait::create(&waiter, this.any().clone(), None, waited).map(Some)
}

fn call_connection_lost<'py>(this: &Transport<'py>, error: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let own = this.any();
    let told = own.getattr(intern!(py, "_protocol"))?.call_method1(intern!(py, "connection_lost"), (error,)).map(drop);
    let woken = if AT_EXIT { Ok(()) } else { wake_waiters(this) };
    for name in ["_loop", "_proc", "_protocol", "_child"] {
        own.setattr(slots::Text(name), py.None())?;
    }
    told.and(woken)
}

fn pipe_transport<'py>(this: &Transport<'py>, number: &Bound<'py, PyAny>) -> PyResult<Own> {
    let py = this.py();
    let pipes = this.any().getattr(intern!(py, "_pipes"))?;
    match pipes.contains(number)? {
        true => pipes.get_item(number)?.getattr(intern!(py, "pipe")).map(Own::new),
        false => Ok(Own::new(py.None().into_bound(py))),
    }
}

impl Class for BaseSubprocessTransport {
    const NAME: &'static CStr = c"rasyncio.base_subprocess._BaseSubprocessTransport";
    const DOC: &'static CStr = c"_BaseSubprocessTransport(loop, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=None, extra=None, **kwargs)\n--\n\n\
        The native half of BaseSubprocessTransport.";
    const BARE: bool = true;
    const CALLABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.init(init)
            .repr(repr)
            .method(c"_start", c"_start($self, /, args, shell, stdin, stdout, stderr, bufsize, **kwargs)\n--\n\nFor derived classes: make the Popen object, as `_proc`.", |_, _| {
                Err::<(), _>(PyNotImplementedError::new_err(()))
            })
            .method1_named(c"set_protocol", c"set_protocol($self, /, protocol)\n--\n\nHave another protocol.", || ("BaseSubprocessTransport.set_protocol", "protocol"), |this, protocol| {
                this.any().setattr(intern!(this.py(), "_protocol"), protocol)
            })
            .method0(c"get_protocol", c"get_protocol($self, /)\n--\n\nThe protocol.", |this| {
                this.any().getattr(intern!(this.py(), "_protocol")).map(Own::new)
            })
            .method0(c"is_closing", c"is_closing($self, /)\n--\n\nWhether it is closed.", |this| {
                this.any().getattr(intern!(this.py(), "_closed")).map(Own::new)
            })
            .method0(c"close", c"close($self, /)\n--\n\nClose the pipes and kill the process, if it runs.", close)
            .method(c"__del__", c"__del__($self)\n--\n\nWarns of a transport that was not closed, and closes it.", |this, _| finalize(this))
            .method0(c"get_pid", c"get_pid($self, /)\n--\n\nThe process's number.", |this| {
                this.any().getattr(intern!(this.py(), "_pid")).map(Own::new)
            })
            .method0(c"get_returncode", c"get_returncode($self, /)\n--\n\nThe exit code, minus the number of the signal that killed the process, or None.", |this| {
                this.any().getattr(intern!(this.py(), "_returncode")).map(Own::new)
            })
            .method1_named(c"get_pipe_transport", c"get_pipe_transport($self, /, fd)\n--\n\nThe transport of 0, 1 or 2, or None.", || ("BaseSubprocessTransport.get_pipe_transport", "fd"), pipe_transport)
            .method0(c"_check_proc", c"_check_proc($self, /)\n--\n\nProcessLookupError if everything is over.", check_process)
            .method1_named(c"send_signal", c"send_signal($self, /, signal)\n--\n\nSend the process a signal, if it runs.", || ("BaseSubprocessTransport.send_signal", "signal"), send_signal)
            .method0(c"terminate", c"terminate($self, /)\n--\n\nSend the process SIGTERM.", |this| signal_by_name(this, "SIGTERM"))
            .method0(c"kill", c"kill($self, /)\n--\n\nSend the process SIGKILL.", |this| signal_by_name(this, "SIGKILL"))
            .method1(c"_connect", c"_connect($self, waiter, /)\n--\n\nThe body of _connect_pipes().", |this, waiter| {
                connect::connect(this, waiter).map(Own::new)
            })
            .method(c"_call", c"_call($self, cb, *data)\n--\n\nHave cb(*data) called, after connection_made.", |this, args| {
                const CALL: Signature<1> = Signature::method("BaseSubprocessTransport._call", [arg("cb")]);
                match args.parse_rest(&CALL)? {
                    ([Some(callback)], rest) => call(this, callback.clone(), rest),
                    _ => Ok(()),
                }
            })
            .method(c"_pipe_connection_lost", c"_pipe_connection_lost($self, fd, exc)\n--\n\nA pipe is lost.", |this, args| {
                tell(this, intern!(this.py(), "pipe_connection_lost"), args.positional())?;
                this.any().call_method0(intern!(this.py(), "_try_finish")).map(drop)
            })
            .method(c"_pipe_data_received", c"_pipe_data_received($self, fd, data)\n--\n\nA pipe has brought bytes.", |this, args| {
                tell(this, intern!(this.py(), "pipe_data_received"), args.positional())
            })
            .method1_named(c"_process_exited", c"_process_exited($self, /, returncode)\n--\n\nThe process has ended.", || ("BaseSubprocessTransport._process_exited", "returncode"), exited)
            .method0(c"_exit_wait", c"_exit_wait($self, /)\n--\n\nWhat is to be awaited for the exit code; None if it is known.", exit_wait)
            .method0(c"_try_finish", c"_try_finish($self, /)\n--\n\nSchedules connection_lost when everything is over.", try_finish)
            .method1_named(c"_call_connection_lost", c"_call_connection_lost($self, /, exc)\n--\n\nTells the protocol and lets go of everything.", || ("BaseSubprocessTransport._call_connection_lost", "exc"), call_connection_lost);
    }
}

/// Puts the room's names in the extension module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<BaseSubprocessTransport>(module)?;
    slots::add_class::<Child>(module)?;
    pipes::add(module)
}
