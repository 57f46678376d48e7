//! The SSLObject and its two MemoryBIOs: made by the user's context, called by their methods.
//!
//! Called by every other file of the room. Calls `SSLContext.wrap_bio`, and of the SSLObject `read` and `write` on the native
//! object inside where it is exactly an `ssl.SSLObject` whose methods nobody has changed; otherwise by name.
//!
//! Invariant: what Python code puts in the place of one of the three (`_sslobj`, `_incoming`, `_outgoing`) is asked by name from
//! then on, and nothing is taken for granted of it.
//!
//! When the handshake is over, what is exactly the ssl module's own gets a [`Channel`]: records are then decrypted and encrypted
//! without a Python call, where nothing goes wrong; whatever does is asked of the SSLObject, which raises it. Handshakes, ends and
//! errors are always the SSLObject's. `_channels` of the face set to False keeps everything there: a switch for tests.
//!
//! "Nothing now" is an exception of the ssl module (`SSLAgainErrors`). It is dear: the reading side asks for the last piece
//! only if there may be one, which the MemoryBIO knows: OpenSSL takes whole records out of it and reads no further.

use std::cell::{Cell, OnceCell};

use pyo3::prelude::*;
use slots::intern;
use slots::{Channel, Ref, Slot, Visit, Visitor};

use super::SslProtocol;
use crate::face;

/// The objects of the ssl module that a connection has.
#[derive(Default)]
pub(super) struct Objects {
    object: Slot,
    /// What is inside `object`, where that may be asked itself.
    inner: Slot,
    incoming: Slot,
    outgoing: Slot,
    /// `SSLAgainErrors`.
    again: Slot,
    /// The straight way, once the handshake is over; not used when `inner` is gone.
    channel: OnceCell<Channel>,
    /// Somebody has put something of his own in.
    changed: Cell<bool>,
}

impl Visit for Objects {
    fn visit(&self, visitor: &Visitor) {
        for slot in [&self.object, &self.inner, &self.incoming, &self.outgoing, &self.again] {
            slot.visit(visitor);
        }
        if let Some(channel) = self.channel.get() {
            channel.visit(visitor);
        }
    }
    fn clear(&self) {
        for slot in [&self.object, &self.inner, &self.incoming, &self.outgoing, &self.again] {
            slot.unset();
        }
        if let Some(channel) = self.channel.get() {
            channel.clear();
        }
    }
}

/// One of the three that Python code may replace.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Object,
    Incoming,
    Outgoing,
}

impl Objects {
    fn slot(&self, part: Part) -> &Slot {
        match part {
            Part::Object => &self.object,
            Part::Incoming => &self.incoming,
            Part::Outgoing => &self.outgoing,
        }
    }

    pub(super) fn get<'py>(&self, py: Python<'py>, part: Part) -> Option<Bound<'py, PyAny>> {
        self.slot(part).get(py)
    }

    /// Puts somebody's own in.
    pub(super) fn put(&self, part: Part, value: Option<&Bound<'_, PyAny>>) {
        self.changed.set(true);
        self.inner.unset();
        match value {
            Some(value) => self.slot(part).set(value.clone()),
            None => self.slot(part).unset(),
        }
    }
}

/// Makes all three.
pub(super) fn wrap(this: &Ref<'_, SslProtocol>, ssl: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = this.py();
    let memory = ssl.getattr(intern!(py, "MemoryBIO"))?;
    let (incoming, outgoing) = (memory.call0()?, memory.call0()?);
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "server_side"), this.server_side.get())?;
    keywords.set_item(intern!(py, "server_hostname"), this.server_hostname.get_or_none(py))?;
    let wrap = this.context.get_or_none(py).getattr(intern!(py, "wrap_bio"))?;
    let object = wrap.call((&incoming, &outgoing), Some(&keywords))?;
    if is_plain(ssl, &object)? {
        this.objects.inner.set(object.getattr(intern!(py, "_sslobj"))?);
    }
    this.objects.object.set(object);
    this.objects.incoming.set(incoming);
    this.objects.outgoing.set(outgoing);
    this.objects.again.set(face(py, "sslproto")?.getattr(intern!(py, "SSLAgainErrors"))?);
    Ok(())
}

/// Whether it is an `ssl.SSLObject`, and not of a derived class, whose `read` and `write` are those of the ssl module.
fn is_plain(ssl: &Bound<'_, PyAny>, object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = ssl.py();
    let class = ssl.getattr(intern!(py, "SSLObject"))?;
    if !object.get_type().is(&class) {
        return Ok(false);
    }
    let names = ssl.getattr(intern!(py, "__dict__"))?;
    for method in [intern!(py, "read"), intern!(py, "write")] {
        match class.getattr(method)?.getattr(intern!(py, "__globals__")) {
            Ok(globals) if globals.is(&names) => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

pub(super) fn object<'py>(this: &Ref<'py, SslProtocol>) -> Bound<'py, PyAny> {
    this.objects.object.get_or_none(this.py())
}

pub(super) fn incoming<'py>(this: &Ref<'py, SslProtocol>) -> Bound<'py, PyAny> {
    this.objects.incoming.get_or_none(this.py())
}

pub(super) fn outgoing<'py>(this: &Ref<'py, SslProtocol>) -> Bound<'py, PyAny> {
    this.objects.outgoing.get_or_none(this.py())
}

/// What to ask for bytes, and to give them to.
#[inline]
pub(super) fn coder<'py>(this: &Ref<'py, SslProtocol>) -> Bound<'py, PyAny> {
    this.objects.inner.get(this.py()).unwrap_or_else(|| object(this))
}

/// Whether the objects are all the ssl module's own.
#[inline]
pub(super) fn is_known(this: &Ref<'_, SslProtocol>) -> bool {
    this.objects.inner.is_set()
}

/// Opens the channel, where there can be one; the handshake is over.
pub(super) fn open_channel(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    let py = this.py();
    let Some(inner) = this.objects.inner.get(py) else { return Ok(()) };
    if this.objects.channel.get().is_some() || !face(py, "sslproto")?.getattr(intern!(py, "_channels"))?.is_truthy()? {
        return Ok(());
    }
    // Who listens to messages may raise, a file of keys may be full: the SSLObject raises that.
    let context = inner.getattr(intern!(py, "context"))?;
    for listener in [intern!(py, "_msg_callback"), intern!(py, "keylog_filename")] {
        if context.getattr_opt(listener)?.is_some_and(|listener| !listener.is_none()) {
            return Ok(());
        }
    }
    if let Some(channel) = Channel::of(&inner, &incoming(this), &outgoing(this))? {
        let _ = this.objects.channel.set(channel);
    }
    Ok(())
}

/// The channel, where there is one.
#[inline]
pub(super) fn channel<'a>(this: &'a Ref<'_, SslProtocol>) -> Option<&'a Channel> {
    if is_known(this) { this.objects.channel.get() } else { None }
}

/// How many bytes wait to be decrypted.
#[inline]
pub(super) fn incoming_pending(this: &Ref<'_, SslProtocol>) -> PyResult<usize> {
    match channel(this) {
        Some(channel) => Ok(channel.incoming_pending(this.py())),
        None => pending(&incoming(this)),
    }
}

/// How many encrypted bytes wait.
#[inline]
pub(super) fn outgoing_pending(this: &Ref<'_, SslProtocol>) -> PyResult<usize> {
    match channel(this) {
        Some(channel) => Ok(channel.outgoing_pending(this.py())),
        None => pending(&outgoing(this)),
    }
}

/// How many bytes wait in a MemoryBIO.
#[inline]
fn pending(memory: &Bound<'_, PyAny>) -> PyResult<usize> {
    memory.getattr(intern!(memory.py(), "pending"))?.extract()
}

/// Whether an error says: nothing now.
pub(super) fn is_again(this: &Ref<'_, SslProtocol>, error: &PyErr) -> bool {
    let py = this.py();
    this.objects.again.get(py).is_some_and(|again| error.matches(py, again).unwrap_or(false))
}

/// Whether it is an error of TLS.
pub(super) fn is_ssl_error(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    match super::ssl_module(py, "sslproto")? {
        Some(ssl) => Ok(error.matches(py, ssl.getattr(intern!(py, "SSLError"))?)?),
        None => Ok(false),
    }
}
