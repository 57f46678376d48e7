//! `Server`: listening sockets and the connections they brought (asyncio's base_events.Server).
//!
//! Called by users; made by `create_server`. Calls the loop to watch the sockets, and the transports to close or abort them.
//!
//! States: made -> serving -> closed (no sockets). `wait_closed` waits until it is closed and the last connection is gone
//! (from 3.12.1; before that it returned at once on a closed server).
//!
//! The server has only weak references to its transports; they are a WeakSet from the first look at `_clients` on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;

use pyo3::exceptions::{PyAssertionError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyTuple, PyWeakref, PyWeakrefMethods, PyWeakrefReference};
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, Version, Visit, Visitor, arg, class, opt};

use super::create_future;
use crate::{exceptions, face, library};

class! {
    /// The native half of Server.
    pub struct Server {
        event_loop: Slot,
        sockets: Slot,
        transports: Transports,
        clients: Slot,
        protocol_factory: Slot,
        ssl_context: Slot,
        backlog: Slot,
        ssl_handshake_timeout: Slot,
        ssl_shutdown_timeout: Slot,
        /// From 3.15 on: the context of whoever made the server, of which each connection has a copy.
        context: Slot,
        serving_forever: Slot,
        /// The class, as it was when it counted connections as this one does.
        plain: Cell<Version>,
        waiters: RefCell<Vec<Own>>,
        woken: Cell<bool>,
        serving: Cell<bool>,
    }
}

/// Weak references to transports, by the address of the object.
#[derive(Default)]
struct Transports(RefCell<HashMap<usize, Own>>);

impl Visit for Transports {
    fn visit(&self, visitor: &Visitor) {
        if let Ok(all) = self.0.try_borrow() {
            all.values().for_each(|reference| reference.visit(visitor));
        }
    }
    fn clear(&self) {
        let all = self.0.take();
        drop(all);
    }
}

impl Transports {
    fn add(&self, transport: &Bound<'_, PyAny>) -> PyResult<()> {
        let reference = Own::new(PyWeakrefReference::new(transport)?.into_any());
        let replaced = self.0.borrow_mut().insert(transport.as_ptr() as usize, reference);
        drop(replaced);
        Ok(())
    }

    fn discard(&self, transport: &Bound<'_, PyAny>) {
        let removed = self.0.borrow_mut().remove(&(transport.as_ptr() as usize));
        drop(removed);
    }

    /// Those that are alive.
    fn all<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        let references: Vec<_> = self.0.borrow().values().map(|reference| reference.bind(py).clone()).collect();
        references.iter().filter_map(|reference| reference.cast::<PyWeakref>().ok()?.upgrade()).collect()
    }
}

fn clients<'py>(this: &Ref<'py, Server>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(set) = this.clients.get(py) {
        return Ok(set);
    }
    let set = library(py, "weakref")?.getattr(intern!(py, "WeakSet"))?.call0()?;
    for transport in this.transports.all(py) {
        set.call_method1(intern!(py, "add"), (transport,))?;
    }
    this.transports.clear();
    this.clients.set(set.clone());
    Ok(set)
}

fn is_idle(this: &Ref<'_, Server>) -> PyResult<bool> {
    match this.clients.get(this.py()) {
        Some(set) => Ok(set.len()? == 0),
        None => Ok(this.transports.all(this.py()).is_empty()),
    }
}

/// The native half of a server, if nobody has his own `_attach` or `_detach`.
fn native<'a, 'py>(server: &'a Bound<'py, PyAny>) -> Option<&'a Ref<'py, Server>> {
    let this = Ref::<Server>::cast(server)?;
    if !this.plain.get().is_of(this) {
        let own = slots::type_of::<Server>(server.py()).ok()?;
        let class = server.get_type();
        for name in ["_attach", "_detach"] {
            if !class.getattr(slots::Text(name)).ok()?.is(&own.getattr(slots::Text(name)).ok()?) {
                return None;
            }
        }
        this.plain.set(Version::of(server));
    }
    Some(this)
}

/// A connection has come.
pub fn attach<'py>(server: &Bound<'py, PyAny>, transport: &Bound<'py, PyAny>) -> PyResult<()> {
    match native(server) {
        Some(this) => attach_natively(this, transport),
        None => server.call_method1(intern!(server.py(), "_attach"), (transport,)).map(drop),
    }
}

/// A connection is gone.
pub fn detach<'py>(server: &Bound<'py, PyAny>, transport: &Bound<'py, PyAny>) -> PyResult<()> {
    match native(server) {
        Some(this) => detach_natively(this, transport),
        None => server.call_method1(intern!(server.py(), "_detach"), (transport,)).map(drop),
    }
}

fn attach_natively<'py>(this: &Ref<'py, Server>, transport: &Bound<'py, PyAny>) -> PyResult<()> {
    if sockets(this).is_none() {
        return Err(PyAssertionError::new_err(()));
    }
    match this.clients.get(this.py()) {
        Some(set) => set.call_method1(intern!(this.py(), "add"), (transport,)).map(drop),
        None => this.transports.add(transport),
    }
}

fn detach_natively<'py>(this: &Ref<'py, Server>, transport: &Bound<'py, PyAny>) -> PyResult<()> {
    match this.clients.get(this.py()) {
        Some(set) => drop(set.call_method1(intern!(this.py(), "discard"), (transport,))?),
        None => this.transports.discard(transport),
    }
    if sockets(this).is_none() && !this.woken.get() && is_idle(this)? { wake(this) } else { Ok(()) }
}

fn wake(this: &Ref<'_, Server>) -> PyResult<()> {
    let py = this.py();
    this.woken.set(true);
    let waiters = std::mem::take(&mut *this.waiters.borrow_mut());
    for waiter in waiters {
        let waiter = waiter.into_bound(py);
        if !waiter.call_method0(intern!(py, "done"))?.is_truthy()? {
            waiter.call_method1(intern!(py, "set_result"), (py.None(),))?;
        }
    }
    Ok(())
}

fn sockets<'py>(this: &Ref<'py, Server>) -> Option<Bound<'py, PyAny>> {
    this.sockets.get(this.py()).filter(|s| !s.is_none())
}

fn start_serving(this: &Ref<'_, Server>) -> PyResult<()> {
    let py = this.py();
    if this.serving.replace(true) {
        return Ok(());
    }
    let event_loop = this.event_loop.get_or_none(py);
    // Of a closed server: TypeError, None cannot be iterated.
    for socket in this.sockets.get_or_none(py).try_iter()? {
        let socket = socket?;
        socket.call_method1(intern!(py, "listen"), (this.backlog.get_or_none(py),))?;
        let mut all = vec![
            this.protocol_factory.get_or_none(py),
            socket,
            this.ssl_context.get_or_none(py),
            this.any().clone(),
            this.backlog.get_or_none(py),
            this.ssl_handshake_timeout.get_or_none(py),
            this.ssl_shutdown_timeout.get_or_none(py),
        ];
        all.extend(this.context.get(py));
        event_loop.call_method1(intern!(py, "_start_serving"), slots::tuple(py, all)?)?;
    }
    Ok(())
}

fn close(this: &Ref<'_, Server>) -> PyResult<()> {
    let py = this.py();
    let Some(sockets) = sockets(this) else { return Ok(()) };
    this.sockets.unset();
    let event_loop = this.event_loop.get_or_none(py);
    for socket in sockets.try_iter()? {
        event_loop.call_method1(intern!(py, "_stop_serving"), (socket?,))?;
    }
    this.serving.set(false);
    if let Some(future) = this.serving_forever.take(py) {
        if !future.call_method0(intern!(py, "done"))?.is_truthy()? {
            future.call_method0(intern!(py, "cancel"))?;
        }
    }
    if is_idle(this)? { wake(this) } else { Ok(()) }
}

fn each_client(this: &Ref<'_, Server>, method: &str) -> PyResult<()> {
    let all = match this.clients.get(this.py()) {
        Some(set) => slots::items(&set)?,
        None => this.transports.all(this.py()),
    };
    for transport in all {
        transport.call_method0(slots::Text(method))?;
    }
    Ok(())
}

fn serve_forever<'py>(this: &Ref<'py, Server>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if this.serving_forever.is_set() {
        let text = format!("server {} is already being awaited on serve_forever()", this.any().repr()?);
        return Err(PyRuntimeError::new_err(text));
    }
    if sockets(this).is_none() {
        return Err(PyRuntimeError::new_err(format!("server {} is closed", this.any().repr()?)));
    }
    this.any().call_method0(intern!(py, "_start_serving"))?;
    let future = create_future(&this.event_loop.get_or_none(py))?;
    this.serving_forever.set(future.clone());
    slots::coroutine(py, "Server.serve_forever", [this.any().clone(), future], |co, [this, future]| async move {
        let result = match co.wait(future).await {
            Err(error) if exceptions::is_cancelled(co.py(), &error) => {
                let error = co.keep_error(error);
                let closed = {
                    let (py, this) = (co.py(), co.get(this));
                    this.call_method0(intern!(py, "close"))?;
                    if slots::VERSION >= (3, 13) {
                        this.call_method0(intern!(py, "close_clients"))?;
                    }
                    co.keep(this.call_method0(intern!(py, "wait_closed"))?)
                };
                // Whatever comes of it, the cancellation is what is raised.
                drop(co.wait(closed).await);
                Err(co.error(error))
            }
            result => result,
        };
        co.get_as::<Server>(this).serving_forever.unset();
        result
    })
}

/// What wait_closed() waits for; None if nothing.
fn close_waiter<'py>(this: &Ref<'py, Server>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = this.py();
    if this.woken.get() || (slots::VERSION < (3, 12) && sockets(this).is_none()) {
        return Ok(None);
    }
    let waiter = create_future(&this.event_loop.get_or_none(py))?;
    this.waiters.borrow_mut().push(waiter.clone().into());
    Ok(Some(waiter))
}

fn init(this: &Ref<'_, Server>, args: &Args<'_, '_>) -> PyResult<()> {
    const INIT: Signature<7> = Signature::method(
        "Server.__init__",
        [
            arg("loop"),
            arg("sockets"),
            arg("protocol_factory"),
            arg("ssl_context"),
            arg("backlog"),
            arg("ssl_handshake_timeout"),
            opt("ssl_shutdown_timeout"),
        ],
    );
    let slots = [
        &this.event_loop,
        &this.sockets,
        &this.protocol_factory,
        &this.ssl_context,
        &this.backlog,
        &this.ssl_handshake_timeout,
        &this.ssl_shutdown_timeout,
    ];
    for (slot, value) in slots.into_iter().zip(args.parse(&INIT)?) {
        if let Some(value) = value {
            slot.set(value.clone());
        }
    }
    if slots::VERSION >= (3, 15) {
        this.context.set(slots::copy_current(this.py())?);
    }
    Ok(())
}

impl Class for Server {
    const NAME: &'static CStr = c"rasyncio.base_events._Server";
    const DOC: &'static CStr = c"_Server(loop, sockets, protocol_factory, ssl_context, backlog, ssl_handshake_timeout, ssl_shutdown_timeout=None)\n--\n\n\
        The native half of Server.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.init(init)
            .repr(|this| {
                let py = this.py();
                let sockets = this.any().getattr(intern!(py, "sockets"))?;
                Ok(format!("<{} sockets={}>", this.any().get_type().name()?, sockets.repr()?))
            })
            .method1_named(
                c"_attach",
                c"_attach($self, /, transport)\n--\n\nA connection has come.",
                || ("Server._attach", "transport"),
                attach_natively,
            )
            .method1_named(
                c"_detach",
                c"_detach($self, /, transport)\n--\n\nA connection is gone.",
                || ("Server._detach", "transport"),
                detach_natively,
            )
            .method0(c"_start_serving", c"_start_serving($self, /)\n--\n\nListen and accept.", start_serving)
            .method0(c"_wakeup", c"_wakeup($self, /)\n--\n\nWake who waits for the end.", wake)
            .method0(c"_serve_forever", c"_serve_forever($self, /)\n--\n\nThe body of serve_forever().", |this| {
                serve_forever(this).map(Own::new)
            })
            .method0(
                c"_close_waiter",
                c"_close_waiter($self, /)\n--\n\nWhat wait_closed() waits for, or None.",
                |this| Ok(close_waiter(this)?.map(Own::new)),
            )
            .method0(c"get_loop", c"get_loop($self, /)\n--\n\nThe server's loop.", |this| {
                Ok(this.event_loop.get(this.py()).map(Own::new))
            })
            .method0(c"is_serving", c"is_serving($self, /)\n--\n\nWhether new connections are accepted.", |this| {
                Ok(this.serving.get())
            })
            .method0(
                c"close",
                c"close($self, /)\n--\n\nAccept no more connections and close the listening sockets; connections stay.",
                close,
            )
            .method0(c"close_clients", c"close_clients($self, /)\n--\n\nClose all connections.", |this| {
                each_client(this, "close")
            })
            .method0(c"abort_clients", c"abort_clients($self, /)\n--\n\nAbort all connections.", |this| {
                each_client(this, "abort")
            })
            .get(c"sockets", c"The listening sockets, a tuple; empty when closed.", |this| {
                let py = this.py();
                let Some(sockets) = sockets(this) else { return Ok(Own::new(PyTuple::empty(py).into_any())) };
                let wrapper = face(py, "trsock")?.getattr(intern!(py, "TransportSocket"))?;
                let all = slots::items(&sockets)?;
                let all = all.iter().map(|socket| wrapper.call1((socket,))).collect::<PyResult<Vec<_>>>()?;
                Ok(Own::new(slots::tuple(py, all)?.into_any()))
            })
            .get(c"_sockets", c"", |this| Ok(this.sockets.get(this.py()).map(Own::new)))
            .get(c"_loop", c"", |this| Ok(this.event_loop.get(this.py()).map(Own::new)))
            .get(c"_clients", c"", |this| clients(this).map(Own::new))
            .get(c"_ssl_context", c"", |this| Ok(this.ssl_context.get(this.py()).map(Own::new)))
            .get(c"_serving_forever_fut", c"", |this| Ok(this.serving_forever.get(this.py()).map(Own::new)))
            .get(c"_serving", c"", |this| Ok(this.serving.get()))
            .get(c"_waiters", c"", |this| {
                let py = this.py();
                if this.woken.get() {
                    return Ok(None);
                }
                let all: Vec<_> = this.waiters.borrow().iter().map(|w| w.bind(py).clone()).collect();
                Ok(Some(Own::new(slots::list_of(py, all)?.into_any())))
            });
    }
}

/// Puts the server in the extension module.
pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<Server>(module)
}
