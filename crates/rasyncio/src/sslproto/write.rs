//! What the program sends: encrypted at once, and given to the transport; before the handshake is over it waits.
//!
//! Called by the program's transport, by the reading side (a read may have something to answer), and when the transport below has
//! room again; calls the SSLObject, and the socket transport straight where it is ours.
//!
//! What waits is of two kinds: the backlog, not encrypted yet, and the outgoing MemoryBIO, which the transport does not take
//! while it is paused. Both together are the size of the write buffer.
//!
//! Where there is a channel and nothing waits, what is encrypted goes to the socket transport from memory of the loop's; the
//! outgoing MemoryBIO is not touched.
//!
//! Invariant: the backlog is not borrowed during a Python call.

use engine::tls::Phase;
use pyo3::exceptions::{PyException, PyIndexError, PyMemoryError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};
use slots::intern;
use slots::{Ended, Own, Ref};

use super::object::{channel, coder, is_again, is_known, outgoing, outgoing_pending};
use super::{SslProtocol, constant, flow, logger, shutdown};
use crate::selector_events::BaseSelectorEventLoop;
use crate::selector_events::transport::{SocketTransport, bytes_of};

/// The most bytes that are encrypted without letting other threads run.
const MOST_SEALED: usize = 1024 * 1024;

/// Memory for encrypted bytes of up to this size is used again.
const MOST_KEPT: usize = 320 * 1024;

/// How many bytes wait to be sent.
pub(super) fn buffered(this: &Ref<'_, SslProtocol>) -> PyResult<usize> {
    Ok(outgoing_pending(this)? + this.backlog_size.get())
}

/// Whether what the program sends is taken; if not, it is counted, and after some it is logged.
pub(super) fn is_taken(this: &Ref<'_, SslProtocol>) -> PyResult<bool> {
    if this.phase().accepts() {
        return Ok(true);
    }
    let py = this.py();
    let threshold: u32 = constant(py, "LOG_THRESHOLD_FOR_CONNLOST_WRITES")?.extract()?;
    if this.conn_lost.get() >= threshold {
        logger(py)?.log("warning", ("SSL connection is closed",))?;
    }
    this.conn_lost.set(this.conn_lost.get() + 1);
    Ok(false)
}

/// Sends what is no empty bytes-like object.
pub(super) fn write<'py>(this: &Ref<'py, SslProtocol>, data: &Bound<'py, PyAny>) -> PyResult<()> {
    if !is_taken(this)? {
        return Ok(());
    }
    let wrapped = this.phase() == Phase::Wrapped;
    let waits = !this.backlog.borrow().is_empty();
    let sent = match (wrapped, waits) {
        (false, _) => push(this, data),
        (true, false) => write_straight(this, std::slice::from_ref(data)).and_then(|done| match done {
            0 => write_through(this, data).and_then(|()| send(this)),
            _ => Ok(()),
        }),
        (true, true) => push(this, data).and_then(|()| encrypt(this)),
    };
    ended_by(this, sent)
}

/// Sends all of an iterable.
pub(super) fn writelines<'py>(this: &Ref<'py, SslProtocol>, list: &Bound<'py, PyAny>) -> PyResult<()> {
    if !is_taken(this)? {
        return Ok(());
    }
    let mut chunks = Vec::new();
    for data in list.try_iter()? {
        let data = data?;
        if data.len()? > 0 {
            chunks.push(data);
        }
    }
    let wrapped = this.phase() == Phase::Wrapped;
    let waits = !wrapped || !this.backlog.borrow().is_empty();
    let straight = if waits { Ok(0) } else { write_straight(this, &chunks) };
    let done = match straight {
        // Flow control has heard of it: where the mark is zero, each time counts.
        Ok(done) if done > 0 && done == chunks.len() => return Ok(()),
        Ok(done) => done,
        Err(error) => return ended_by(this, Err(error)),
    };
    let sent = chunks[done..].iter().try_for_each(|data| match waits {
        true => push(this, data),
        false => write_through(this, data),
    });
    let sent = sent.and_then(|()| match (wrapped, waits) {
        (false, _) => Ok(()),
        (true, true) => encrypt(this),
        (true, false) => send(this),
    });
    ended_by(this, sent)
}

fn ended_by(this: &Ref<'_, SslProtocol>, sent: PyResult<()>) -> PyResult<()> {
    match sent {
        Err(error) if error.is_instance_of::<PyException>(this.py()) => {
            shutdown::failed(this, error, "Fatal error on SSL protocol")
        }
        other => other,
    }
}

/// Encrypts by the channel, and gives the transport what comes of it, without an object in between. Answers how many of the
/// pieces are done with.
fn write_straight<'py>(this: &Ref<'py, SslProtocol>, pieces: &[Bound<'py, PyAny>]) -> PyResult<usize> {
    let py = this.py();
    let Some(channel) = channel(this) else { return Ok(0) };
    if pieces.is_empty() || this.transport_writing_paused.get() || channel.outgoing_pending(py) > 0 {
        return Ok(0);
    }
    let (transport, event_loop) = (SslProtocol::lower(this), SslProtocol::event_loop(this));
    let (Some(transport), Some(native)) =
        (Ref::<SocketTransport>::cast_exact(&transport), BaseSelectorEventLoop::of(&event_loop))
    else {
        return Ok(0);
    };
    if transport.has_own_attributes() {
        return Ok(0);
    }
    // Taken and not borrowed: OpenSSL may call what calls Python.
    let mut sealed = std::mem::take(&mut *native.sealed.borrow_mut());
    let (mut done, mut ended, mut failed) = (0, Ended::Whole, Ok(()));
    while ended == Ended::Whole && done < pieces.len() {
        ended = channel.write(&pieces[done], &mut sealed, MOST_SEALED).unwrap_or_else(|error| {
            failed = Err(error);
            Ended::Ask
        });
        if ended == Ended::Again {
            push(this, &pieces[done])?;
        }
        done += usize::from(ended != Ended::Ask);
    }
    let sent = if sealed.is_empty() {
        Ok(())
    } else if ended == Ended::Ask {
        // An error of a later piece keeps the earlier ones from being sent.
        channel.keep_outgoing(py, &sealed).then_some(()).ok_or_else(|| PyMemoryError::new_err(()))
    } else {
        SocketTransport::write_slice(transport, &sealed)
    };
    if sealed.capacity() <= MOST_KEPT {
        sealed.clear();
        *native.sealed.borrow_mut() = sealed;
    }
    sent.and(failed)?;
    if done == pieces.len() {
        flow::control_app_writing(this, this.backlog_size.get())?;
    }
    Ok(done)
}

/// Puts bytes behind what waits.
pub(super) fn push<'py>(this: &Ref<'py, SslProtocol>, data: &Bound<'py, PyAny>) -> PyResult<()> {
    let bytes = bytes_of(data)?;
    this.backlog_size.set(this.backlog_size.get() + bytes.as_bytes().len());
    this.backlog.borrow_mut().push_back(Own::new(bytes.into_any()));
    Ok(())
}

/// Encrypts bytes that nothing waited before when the write began; what is not taken now waits.
fn write_through<'py>(this: &Ref<'py, SslProtocol>, data: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    if !this.backlog.borrow().is_empty() {
        return push(this, data);
    }
    let count = match coder(this).call_method1(intern!(py, "write"), (data,)) {
        Ok(count) => count.extract::<usize>()?,
        Err(error) if is_again(this, &error) => 0,
        Err(error) => return Err(error),
    };
    let size = match data.cast::<PyMemoryView>() {
        Ok(view) => view.getattr(intern!(py, "nbytes"))?.extract()?,
        Err(_) => data.len()?,
    };
    if count < size {
        let bytes = bytes_of(data)?;
        push(this, slots::bytes(py, &bytes.as_bytes()[count..])?.as_any())?;
    }
    Ok(())
}

/// Encrypts what waits, and sends it.
pub(super) fn encrypt(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    let py = this.py();
    loop {
        let Some(front) = this.backlog.borrow().front().map(|front| front.clone_ref(py)) else { break };
        let data = front.into_bound(py).cast_into::<PyBytes>()?;
        let count = match coder(this).call_method1(intern!(py, "write"), (&data,)) {
            Ok(count) => count.extract::<usize>()?,
            Err(error) if is_again(this, &error) => break,
            Err(error) => return Err(error),
        };
        let size = data.as_bytes().len();
        if count > size {
            return Err(PyIndexError::new_err("more bytes were written than there are"));
        }
        let rest = (count < size)
            .then(|| slots::bytes(py, &data.as_bytes()[count..]))
            .transpose()?
            .map(|rest| Own::new(rest.into_any()));
        this.backlog_size.set(this.backlog_size.get() - count);
        let mut backlog = this.backlog.borrow_mut();
        let old = backlog.pop_front();
        if let Some(rest) = rest {
            backlog.push_front(rest);
        }
        drop(backlog);
        drop(old);
    }
    send(this)
}

/// Gives the transport what is encrypted, unless it is paused.
pub(super) fn send(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    let py = this.py();
    let mut left = None;
    if !this.transport_writing_paused.get() {
        let known = is_known(this);
        if !known || outgoing_pending(this)? > 0 {
            this.fed.set(false);
            let data = outgoing(this).call_method0(intern!(py, "read"))?;
            if data.len()? > 0 {
                let transport = SslProtocol::lower(this);
                match Ref::<SocketTransport>::cast_exact(&transport) {
                    Some(native) if !native.has_own_attributes() => SocketTransport::write(native, &data)?,
                    _ => transport.call_method1(intern!(py, "write"), (data,)).map(drop)?,
                }
            }
        }
        if known {
            left = Some(this.backlog_size.get());
        }
    }
    let size = match left {
        Some(left) => left,
        None => buffered(this)?,
    };
    flow::control_app_writing(this, size)
}
