//! `OnSocket`: what the transports of stream and of datagram sockets share (asyncio's `_SelectorTransport`).
//!
//! Implemented by `SocketTransport` and `DatagramTransport`, which say where their fields are; called by their halves; calls `watch`, and
//! the socket object for its number where that does not stand at the object's front.
//!
//! Invariant: a system call gets the descriptor only while the socket object still has it ([`OnSocket::descriptor`]), and what somebody
//! else watches under the number is left alone ([`OnSocket::unwatch`]).

use pyo3::prelude::*;
use slots::intern;
use slots::{Class, Link, Native, Own, Ref, Slot, Spec};

use super::ends::Ends;
use super::flow::Marks;
use super::watch;
use crate::events::LoopCore;
use crate::face;
use crate::log::logger;

/// Begins or ends the watching of a descriptor.
type Remove = fn(&Ref<'_, LoopCore>, i32) -> PyResult<bool>;

/// A transport of a socket.
pub(super) trait OnSocket: Class + Native {
    /// The class's name for a repr.
    const SHOWN: &'static str;

    fn core(&self) -> &Link<LoopCore>;
    fn socket(&self) -> &Slot;
    fn protocol(&self) -> &Slot;
    fn marks(&self) -> &Marks;
    /// The number that the socket had at the beginning.
    fn number(&self) -> i32;
    /// Whether the socket object has the number at its front.
    fn is_direct(&self) -> bool;
    fn is_closing(&self) -> bool;
    fn is_paused(&self) -> bool;
    /// asyncio's count: 0 while there is a connection.
    fn conn_lost(&self) -> u32;
    /// How many bytes wait to be sent.
    fn buffered(&self) -> usize;
    /// Whether the poller looks for what can be read, and for room.
    fn polled(&self) -> [bool; 2];

    fn is_reading(&self) -> bool {
        !self.is_closing() && !self.is_paused()
    }

    fn event_loop<'py>(this: &Ref<'py, Self>) -> Bound<'py, PyAny> {
        this.core().any().get_or_none(this.py())
    }

    fn ends<'py>(this: &Ref<'py, Self>) -> Ends<'py> {
        [this.any().clone(), this.protocol().get_or_none(this.py()), Self::event_loop(this)]
    }

    /// The descriptor for a system call: -1, which is none, where the socket object has it no more.
    #[inline]
    fn descriptor(this: &Ref<'_, Self>) -> i32 {
        let (py, fd) = (this.py(), this.number());
        let number = this.socket().get(py).and_then(|socket| match this.is_direct() {
            true => slots::front_number(&socket),
            false => socket.call_method0(intern!(py, "fileno")).ok()?.extract().ok(),
        });
        if number == Some(fd) { fd } else { -1 }
    }

    /// Ends what `add` began. Of a socket that was closed behind the transport's back the number may be another's by now.
    fn unwatch(this: &Ref<'_, Self>, remove: Remove) -> PyResult<()> {
        let fd = this.number();
        match this.core().get(this.py()) {
            Some(core) if Self::descriptor(this) == fd => remove(&core, fd).map(drop),
            Some(core) => watch::let_go(&core, fd, this.any(), remove),
            None => Ok(()),
        }
    }

    fn is_debug(this: &Ref<'_, Self>) -> bool {
        this.core().get(this.py()).is_some_and(|core| core.debug.get())
    }

    /// Pauses the protocol if more waits to be sent than the high mark says.
    #[inline]
    fn maybe_pause_protocol(this: &Ref<'_, Self>) -> PyResult<()> {
        this.marks().grown(this.buffered(), || Self::ends(this))
    }

    /// Resumes it if no more waits than the low mark says.
    #[inline]
    fn maybe_resume_protocol(this: &Ref<'_, Self>) -> PyResult<()> {
        this.marks().shrunk(this.buffered(), || Self::ends(this))
    }

    fn log_debug(this: &Ref<'_, Self>, text: &str) -> PyResult<()> {
        let py = this.py();
        if !Self::is_debug(this) {
            return Ok(());
        }
        let logger = logger(py, "selector_events")?;
        logger.log("debug", (text, this.any())).map(drop)
    }
}

fn repr<T: OnSocket>(this: &Ref<'_, T>) -> PyResult<String> {
    let mut text = format!("<{}", T::SHOWN);
    if !this.socket().is_set() {
        text.push_str(" closed");
    } else if this.is_closing() {
        text.push_str(" closing");
    }
    text.push_str(&format!(" fd={}", this.number()));
    if this.core().get(this.py()).is_some_and(|core| !core.closed.get()) {
        let [read, write] = this.polled().map(|polled| if polled { "polling" } else { "idle" });
        text.push_str(&format!(" read={read} write=<{write}, bufsize={}>", this.buffered()));
    }
    Ok(text + ">")
}

/// The methods and attributes that both have.
pub(super) fn define<T: OnSocket>(spec: &mut Spec<T>) -> &mut Spec<T> {
    spec.repr(repr)
        .get(c"__class__", c"", |this| face(this.py(), "selector_events")?.getattr(T::SHOWN).map(Own::new))
        .method0(c"is_closing", c"is_closing($self, /)\n--\n\nWhether it is closed or being closed.", |this| {
            Ok(this.is_closing())
        })
        .method0(c"is_reading", c"is_reading($self, /)\n--\n\nWhether data is being received.", |this| {
            Ok(this.is_reading())
        })
        .method0(c"get_protocol", c"get_protocol($self, /)\n--\n\nThe protocol.", |this| {
            Ok(this.protocol().get(this.py()).map(Own::new))
        })
        .method0(
            c"get_write_buffer_size",
            c"get_write_buffer_size($self, /)\n--\n\nHow many bytes wait to be sent.",
            |this| Ok(this.buffered()),
        )
        .method0(
            c"get_write_buffer_limits",
            c"get_write_buffer_limits($self, /)\n--\n\nThe marks (low, high), in bytes.",
            |this| this.marks().limits(this.py()),
        )
        .method(
            c"set_write_buffer_limits",
            c"set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n\
            Above high bytes the protocol is paused, at low or less resumed.",
            |this, args| {
                this.marks().set(args)?;
                T::maybe_pause_protocol(this)
            },
        )
        .get(c"_loop", c"", |this| Ok(this.core().any().get(this.py()).map(Own::new)))
        .get(c"_sock", c"", |this| Ok(this.socket().get(this.py()).map(Own::new)))
        .get(c"_sock_fd", c"", |this| Ok(this.number()))
        .get(c"_protocol", c"", |this| Ok(this.protocol().get(this.py()).map(Own::new)))
        .get(c"_closing", c"", |this| Ok(this.is_closing()))
        .get(c"_paused", c"", |this| Ok(this.is_paused()))
        .get(c"_conn_lost", c"", |this| Ok(this.conn_lost()))
        .get(c"_protocol_paused", c"", |this| Ok(this.marks().is_paused()))
}
