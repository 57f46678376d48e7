//! `sock_recv` and `sock_sendall` of plain sockets, without a coroutine and without the socket object's methods.
//!
//! Called by the table of shells for plain calls: a loop of ours with a poller of its own, exactly a `socket.socket` as nobody
//! has patched it, exactly bytes to send. Everything else goes the way of `sock`. Calls `engine::sys::socket`, and `watch` to wait.
//!
//! A call is tried when it is first awaited. If it would block, a future waits in the watcher's place; when the descriptor is
//! ready the watcher is removed, the future done, and the task tries again. So a cancelled call has received nothing that
//! would be lost. The poller goes on watching the descriptor for the next call (`watch::add_guest`).
//!
//! States: called -> tried -> done, or waiting -> tried again.
//!
//! Invariants: while it waits, the watcher of the descriptor's direction is its future, unless somebody has put another there,
//! which stays. The descriptor is used only while the socket object has it.
//!
//! Differs from CPython: another file put under the number of a socket object between two calls (`os.dup2`, or `__init__` called again)
//! is not noticed.

use std::cell::Cell;
use std::io;

use engine::sys::socket;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt};
use slots::{Args, Class, Link, Own, Ref, Slot, Spec, class};

use super::{BaseSelectorEventLoop, core, plain, watch};
use crate::base_events::create_future;
use crate::coroutines::{self, Shell};
use crate::events::{Hook, Kind, LoopCore, running_loop};
use crate::exceptions;
use crate::futures::{Future, Next, Wait};

/// The most bytes that are received here; more are made room for by the socket object.
const MOST_BYTES: u32 = 1 << 20;

class! {
    /// A call on its way.
    pub struct Call {
        socket: Slot,
        /// What is sent.
        data: Slot,
        future: Link<Future>,
        /// How many bytes are wanted, or were sent.
        count: Cell<usize>,
        fd: Cell<i32>,
    }
}

impl Class for Call {
    const NAME: &'static std::ffi::CStr = c"rasyncio.selector_events._Call";
    const CALLABLE: bool = false;
    const FREE_LIST: usize = 256;
    fn define(_: &mut Spec<Self>) {}
}

/// The socket can be read; the object is the call.
static READABLE: Kind = Kind {
    run: |call, _| ready(call, &READABLE),
    event_loop: loop_of,
    context: |_| None,
    name: "SocketReadable",
    qualname: Some("BaseSelectorEventLoop._sock_recv"),
};

/// The socket can be written; the object is the call.
static WRITABLE: Kind = Kind {
    run: |call, _| ready(call, &WRITABLE),
    event_loop: loop_of,
    context: |_| None,
    name: "SocketWritable",
    qualname: Some("BaseSelectorEventLoop._sock_sendall"),
};

fn loop_of(call: &Bound<'_, PyAny>) -> Option<Own> {
    let py = call.py();
    Ref::<Call>::cast(call)?.future.get(py)?.event_loop(py).map(Own::new)
}

fn ready(object: &Bound<'_, PyAny>, kind: &'static Kind) -> PyResult<()> {
    let py = object.py();
    let Some(call) = Ref::<Call>::cast(object) else { return Ok(()) };
    let Some(future) = call.future.get(py) else { return Ok(()) };
    if let Some(this) = future.event_loop(py).as_ref().and_then(BaseSelectorEventLoop::of) {
        this.note_fed();
        // Somebody put a watcher in its place after the event: the handle of asyncio's call is cancelled by that.
        if !stop_watching(this, call, kind)? {
            return Ok(());
        }
    }
    if future.is_done() { Ok(()) } else { Future::set_result(&future, py.None().into_bound(py)) }
}

/// Ends the watching; answers whether it was this call's.
fn stop_watching(this: &Ref<'_, BaseSelectorEventLoop>, call: &Ref<'_, Call>, kind: &'static Kind) -> PyResult<bool> {
    let reads = std::ptr::eq(kind, &READABLE);
    // A selectors object that somebody asked for meanwhile does not say for whom it watches.
    if !this.selector.is_set() && !watch::is_watched_by(this, call.fd.get(), reads, call.any()) {
        return Ok(false);
    }
    let remove = if reads { watch::remove_reader } else { watch::remove_writer };
    remove(core(this), call.fd.get())
}

/// Waits until the descriptor is ready.
fn wait_ready<'py>(
    this: &Ref<'py, BaseSelectorEventLoop>,
    call: &Ref<'py, Call>,
    kind: &'static Kind,
) -> PyResult<Next<'py>> {
    let fd = call.fd.get();
    watch::ensure_no_transport_number(this, fd)?;
    let made = create_future(this.any())?;
    let future = match Ref::<Future>::cast_exact(&made) {
        Some(future) => future.clone(),
        None => Future::create(this.any())?,
    };
    call.future.set(future.clone());
    let socket = call.socket.get_or_none(this.py());
    watch::add_guest(this, fd, &socket, call.any().clone(), kind, std::ptr::eq(kind, &READABLE))?;
    Ok(Next::Await(future))
}

/// The descriptor, or -1 where the socket object has it no more.
fn descriptor(call: &Ref<'_, Call>) -> i32 {
    let socket = call.socket.get_or_none(call.py());
    if slots::front_number(&socket) == Some(call.fd.get()) { call.fd.get() } else { -1 }
}

fn parts<'a, 'py>(
    event_loop: &'a Bound<'py, PyAny>,
    call: &'a Bound<'py, PyAny>,
) -> Option<(&'a Ref<'py, BaseSelectorEventLoop>, &'a Ref<'py, Call>)> {
    Some((BaseSelectorEventLoop::of(event_loop)?, Ref::<Call>::cast(call)?))
}

type Attempt = for<'py> fn(&Ref<'py, BaseSelectorEventLoop>, &Ref<'py, Call>) -> PyResult<Next<'py>>;

fn begin<'py>(wait: &Ref<'py, Wait>, attempt: Attempt) -> PyResult<Next<'py>> {
    let (owner, extra) = (wait.owner.get_or_none(wait.py()), wait.extra.get_or_none(wait.py()));
    match parts(&owner, &extra) {
        Some((this, call)) => attempt(this, call),
        None => Ok(Next::Return(extra)),
    }
}

fn woken<'py>(
    wait: &Ref<'py, Wait>,
    outcome: PyResult<Bound<'py, PyAny>>,
    kind: &'static Kind,
    attempt: Attempt,
) -> PyResult<Next<'py>> {
    let (owner, extra) = (wait.owner.get_or_none(wait.py()), wait.extra.get_or_none(wait.py()));
    let Some((this, call)) = parts(&owner, &extra) else { return outcome.map(Next::Return) };
    if let Err(error) = outcome {
        stop_watching(this, call, kind)?;
        return Err(error);
    }
    attempt(this, call)
}

fn receive<'py>(this: &Ref<'py, BaseSelectorEventLoop>, call: &Ref<'py, Call>) -> PyResult<Next<'py>> {
    let (py, fd, count) = (this.py(), descriptor(call), call.count.get());
    let received = {
        let mut scratch = this.scratch(count);
        socket::receive(fd, &mut scratch).map(|received| slots::bytes(py, &scratch[..received]))
    };
    match received {
        Ok(data) => Ok(Next::Return(data?.into_any())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_ready(this, call, &READABLE),
        Err(error) => Err(exceptions::os_error(py, error)),
    }
}

fn send<'py>(this: &Ref<'py, BaseSelectorEventLoop>, call: &Ref<'py, Call>) -> PyResult<Next<'py>> {
    let (py, fd) = (this.py(), descriptor(call));
    let data = call.data.get_or_none(py);
    let Ok(bytes) = data.cast_exact::<PyBytes>() else { return Ok(Next::Return(data)) };
    let rest = &bytes.as_bytes()[call.count.get()..];
    match socket::send(fd, rest) {
        Ok(sent) if sent == rest.len() => return Ok(Next::Return(py.None().into_bound(py))),
        Ok(sent) => call.count.set(call.count.get() + sent),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(exceptions::os_error(py, error)),
    }
    wait_ready(this, call, &WRITABLE)
}

static RECV: Shell = Shell {
    room: "selector_events",
    name: "BaseSelectorEventLoop.sock_recv",
    begin: |wait| begin(wait, receive),
    then: |wait, outcome| woken(wait, outcome, &READABLE, receive),
};

static SENDALL: Shell = Shell {
    room: "selector_events",
    name: "BaseSelectorEventLoop.sock_sendall",
    begin: |wait| begin(wait, send),
    then: |wait, outcome| woken(wait, outcome, &WRITABLE, send),
};

/// The loop, if calls on it may be answered here: it runs, polls itself, and nobody overrides how it watches.
fn plain_loop<'a, 'py>(event_loop: &'a Bound<'py, PyAny>) -> Option<&'a Ref<'py, BaseSelectorEventLoop>> {
    let this = BaseSelectorEventLoop::of(event_loop)?;
    let core = core(this);
    let plain = !core.debug.get()
        && !this.selector.is_set()
        && running_loop(event_loop.py()).is_some_and(|running| running.is(event_loop))
        && ![Hook::AddReader, Hook::AddWriter, Hook::RemoveReader, Hook::RemoveWriter]
            .into_iter()
            .any(|hook| LoopCore::overrides(core, hook));
    plain.then_some(this)
}

/// `sock_recv(sock, n)`, n above zero.
pub fn quick_recv<'py>(py: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    let Some([event_loop, sock, count]) = coroutines::plain(args) else { return Ok(None) };
    let count = count.cast_exact::<PyInt>().ok().and_then(|count| count.extract::<u32>().ok()).unwrap_or(0);
    if count == 0 || count > MOST_BYTES {
        return Ok(None);
    }
    let Some(this) = plain_loop(event_loop) else { return Ok(None) };
    let Some(fd) = plain::plain(this, sock)?.map(|plain| plain.fd) else { return Ok(None) };
    let call = Call { count: Cell::new(count as usize), ..Call::of(sock, fd) };
    Wait::called(&RECV, event_loop, Some(Ref::create(py, call)?.any())).map(Some)
}

/// `sock_sendall(sock, data)` of bytes.
pub fn quick_sendall<'py>(py: Python<'py>, args: &Args<'_, 'py>) -> PyResult<Option<Own>> {
    let Some([event_loop, sock, data]) = coroutines::plain(args) else { return Ok(None) };
    if !data.is_exact_instance_of::<PyBytes>() {
        return Ok(None);
    }
    let Some(this) = plain_loop(event_loop) else { return Ok(None) };
    let Some(fd) = plain::plain(this, sock)?.map(|plain| plain.fd) else { return Ok(None) };
    let call = Call { data: Slot::of(data.clone()), ..Call::of(sock, fd) };
    Wait::called(&SENDALL, event_loop, Some(Ref::create(py, call)?.any())).map(Some)
}

impl Call {
    fn of(sock: &Bound<'_, PyAny>, fd: i32) -> Call {
        Call { socket: Slot::of(sock.clone()), fd: Cell::new(fd), ..Call::default() }
    }
}
