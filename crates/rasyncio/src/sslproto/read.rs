//! What came: decrypted, and handed to the program in the way its protocol takes it.
//!
//! Called when bytes came, when the program resumes reading, and before the end; calls the SSLObject, the program's protocol, or
//! the stream reader itself.
//!
//! Where there is a channel it decrypts all that is there into one place, straight from the memory that the kernel wrote to; the
//! SSLObject is asked only about what it does not decrypt.
//!
//! All that is there is handed on at once: one `data_received`, however many records. An empty answer of the SSLObject is
//! the peer's close_notify: the program hears of the end, and the connection is shut down.
//!
//! What the program raises ends the connection; so does an error of TLS, and what was decrypted before it in the same breath is
//! dropped, as in CPython.

use std::cell::Cell;

use engine::tls::App;
use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};
use slots::intern;
use slots::{Channel, Ended, Octets, Ref};

use super::object::{channel, coder, incoming_pending, is_again, is_known, object};
use super::{SslProtocol, Style, flow, leaves, logger, shutdown, write};
use crate::selector_events::BaseSelectorEventLoop;
use crate::streams::{StreamReader, StreamReaderProtocol};

/// The most bytes that are read at a time.
pub(super) const MOST_BYTES: usize = 256 * 1024;

/// No record has so many bytes: a read of so many gets all of one.
const RECORD: usize = 16 * 1024 + 1;

/// The most bytes that are decrypted into the loop's memory, from which a bytes object is made.
const LITTLE: usize = 2 * RECORD;

pub(super) fn deliver(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    deliver_with(this, (&[] as &[u8]).into())
}

/// Hands on what came before, and `source`.
pub(super) fn deliver_with(this: &Ref<'_, SslProtocol>, source: Octets<'_>) -> PyResult<()> {
    if !this.phase().delivers() {
        return Ok(());
    }
    match deliver_all(this, source) {
        Err(error) if error.is_instance_of::<PyException>(this.py()) => {
            this.fed.set(false);
            shutdown::failed(this, error, "Fatal error on SSL protocol")
        }
        other => other,
    }
}

fn deliver_all(this: &Ref<'_, SslProtocol>, source: Octets<'_>) -> PyResult<()> {
    let mut left = None;
    let style = this.style.get();
    if this.app_reading_paused.get() || style == Style::Buffered {
        keep(this, source)?;
    }
    if !this.app_reading_paused.get() {
        match style {
            Style::Buffered => deliver_buffered(this)?,
            _ => left = deliver_bytes(this, source)?,
        }
        if this.backlog.borrow().is_empty() {
            write::send(this)?;
        } else {
            this.fed.set(false);
            write::encrypt(this)?;
        }
    }
    let left = match left {
        Some(left) => left,
        None => incoming_pending(this)?,
    };
    flow::control_transport_reading(this, left)
}

/// Bytes that are not decrypted now.
fn keep(this: &Ref<'_, SslProtocol>, source: Octets<'_>) -> PyResult<()> {
    match channel(this) {
        Some(channel) if !channel.keep(this.py(), source) => Err(PyMemoryError::new_err(())),
        _ => Ok(()),
    }
}

/// Decrypts all that there is, by the channel; what it did not, if the answer says so, the SSLObject is to be asked for.
fn decrypt<'py>(
    this: &Ref<'py, SslProtocol>,
    channel: &Channel,
    source: Octets<'_>,
) -> PyResult<(Option<Bound<'py, PyBytes>>, Ended)> {
    let py = this.py();
    let most = source.len() + channel.incoming_pending(py) + channel.decrypted(py) + RECORD;
    let event_loop = SslProtocol::event_loop(this);
    let (data, ended) = match BaseSelectorEventLoop::of(&event_loop) {
        Some(native) if most <= LITTLE => {
            // Taken and not borrowed: OpenSSL may call what calls Python.
            let mut scratch = std::mem::take(&mut *native.scratch.borrow_mut());
            if scratch.len() < LITTLE {
                scratch.resize(MOST_BYTES, 0);
            }
            let (count, ended) = channel.read_into(py, source, Cell::from_mut(&mut scratch[..]).as_slice_of_cells());
            let data = (count > 0).then(|| native.spare.bytes(py, &scratch[..count]));
            *native.scratch.borrow_mut() = scratch;
            return Ok((data.transpose()?, ended));
        }
        _ => channel.read_new(py, source, most)?,
    };
    Ok((Some(data).filter(|data| !data.as_bytes().is_empty()), ended))
}

/// Answers how many bytes are left to be decrypted, if that is known.
fn deliver_bytes(this: &Ref<'_, SslProtocol>, source: Octets<'_>) -> PyResult<Option<usize>> {
    let py = this.py();
    let mut first = None;
    if let Some(channel) = channel(this) {
        let (data, ended) = decrypt(this, channel, source)?;
        if matches!(ended, Ended::Whole | Ended::Again) {
            data.map_or(Ok(()), |data| hand_on(this, data, Vec::new()))?;
            return Ok(Some(0));
        }
        first = data;
    }
    let (coder, known) = (coder(this), is_known(this));
    let most = if known { RECORD } else { MOST_BYTES };
    let mut others = Vec::new();
    let mut left = None;
    let closed = loop {
        match coder.call_method1(intern!(py, "read"), (most,)) {
            Ok(chunk) if !chunk.is_truthy()? => break true,
            Ok(chunk) => {
                let chunk = chunk.cast_into::<PyBytes>()?;
                match &first {
                    None => first = Some(chunk),
                    Some(_) => others.push(chunk),
                }
                // All of a record was given: there is more only if there is more to decrypt.
                if known && incoming_pending(this)? == 0 {
                    left = Some(0);
                    break false;
                }
            }
            Err(error) if is_again(this, &error) => break false,
            Err(error) => return Err(error),
        }
    };
    if let Some(first) = first {
        hand_on(this, first, others)?;
    }
    if closed {
        this.fed.set(false);
        tell_eof(this)?;
        shutdown::start(this)?;
    }
    Ok(left)
}

fn joined<'py>(first: Bound<'py, PyBytes>, others: Vec<Bound<'py, PyBytes>>) -> PyResult<Bound<'py, PyBytes>> {
    if others.is_empty() {
        return Ok(first);
    }
    let count = others.iter().fold(first.as_bytes().len(), |count, chunk| count + chunk.as_bytes().len());
    PyBytes::new_with(first.py(), count, |memory| {
        let mut at = 0;
        for chunk in std::iter::once(&first).chain(&others) {
            let bytes = chunk.as_bytes();
            memory[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
        Ok(())
    })
}

/// Gives the program the bytes.
fn hand_on<'py>(
    this: &Ref<'py, SslProtocol>,
    first: Bound<'py, PyBytes>,
    others: Vec<Bound<'py, PyBytes>>,
) -> PyResult<()> {
    let py = this.py();
    let app = this.app.get_or_none(py);
    match this.style.get() {
        Style::Stream => {
            if let Some(stream) = Ref::<StreamReaderProtocol>::cast(&app) {
                // A reader of a derived class may have a feed_data of its own.
                if let Some(reader) = StreamReaderProtocol::native_reader(stream).filter(Ref::is_exact) {
                    let data = joined(first, others)?;
                    let quietly = StreamReader::wakes_quietly(&reader, data.as_bytes().len());
                    StreamReader::feed(&reader, data.as_any())?;
                    this.fed.set(quietly);
                    return Ok(());
                }
            }
        }
        Style::Tls => {
            if let Some(inner) = Ref::<SslProtocol>::cast(&app) {
                return SslProtocol::feed(inner, joined(first, others)?.as_any());
            }
        }
        Style::Plain | Style::Buffered => {}
    }
    let data = joined(first, others)?;
    app.call_method1(intern!(py, "data_received"), (&data,))?;
    BaseSelectorEventLoop::keep_spare(&SslProtocol::event_loop(this), data);
    Ok(())
}

/// Reads into the program's own buffer, as much as goes in; the loop comes back for what is left.
fn deliver_buffered(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    let py = this.py();
    let app = this.app.get_or_none(py);
    let hint = incoming_pending(this)?;
    let buffer = app.call_method1(intern!(py, "get_buffer"), (hint,))?;
    let room = buffer.len()?;
    // Of a bytearray a slice would be a copy.
    let view = match buffer.cast_exact::<PyMemoryView>() {
        Ok(_) => buffer,
        Err(_) => PyMemoryView::from(&buffer)?.into_any(),
    };
    let object = object(this);
    let straight = match channel(this) {
        Some(channel) => slots::written_into(&view, |memory| match memory.len() == room {
            true => channel.read_into(py, (&[] as &[u8]).into(), memory),
            // Of larger items there are fewer, and so many bytes are asked for.
            false => (0, Ended::Ask),
        })?,
        None => None,
    };
    let (mut filled, mut ended) = straight.unwrap_or((0, Ended::Ask));
    let mut closed = false;
    while ended == Ended::Ask {
        let place = match filled {
            0 => view.clone(),
            _ => view.get_item(PySlice::new(py, filled as isize, room as isize, 1))?,
        };
        match object.call_method1(intern!(py, "read"), (room - filled, place)) {
            Ok(count) => match count.extract::<usize>()? {
                0 => {
                    closed = true;
                    break;
                }
                count => filled += count,
            },
            Err(error) if is_again(this, &error) => break,
            Err(error) => return Err(error),
        }
        if filled >= room {
            ended = Ended::Full;
        }
    }
    if ended == Ended::Full {
        let again = this.any().getattr(intern!(py, "_do_read"))?;
        SslProtocol::event_loop(this).call_method1(intern!(py, "call_soon"), (again,))?;
    }
    if filled > 0 {
        app.call_method1(intern!(py, "buffer_updated"), (filled,))?;
    }
    if closed {
        tell_eof(this)?;
        shutdown::start(this)?;
    }
    Ok(())
}

/// Tells the program that nothing more will come, once.
pub(super) fn tell_eof(this: &Ref<'_, SslProtocol>) -> PyResult<()> {
    let py = this.py();
    if this.told.get() != App::Made {
        return Ok(());
    }
    this.told.set(App::Eof);
    let answer = this.app.get_or_none(py).call_method0(intern!(py, "eof_received"));
    let told = answer.and_then(|answer| {
        if answer.is_truthy()? {
            let text = "returning true from eof_received() has no effect when using ssl";
            logger(py)?.log("warning", (text,))?;
        }
        Ok(())
    });
    match told {
        Err(error) if !leaves(py, &error) => shutdown::failed(this, error, "Error calling eof_received()"),
        other => other,
    }
}
