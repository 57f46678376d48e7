//! [`Channel`]: the keys of a TLS connection that CPython's `_ssl` holds, used without a Python call and without its MemoryBIOs.
//!
//! Made by a room when the handshake is over; calls OpenSSL's `SSL_read_ex` and `SSL_write_ex` on the very `SSL` that the
//! `_ssl._SSLSocket` has, of the user's own context.
//!
//! Only what goes well happens here. A call that OpenSSL does not end well answers [`Ended::Ask`]: then the room asks the Python object,
//! which finds the same state and the same queue of errors, and raises what it raises. What the peer's end or an alert is, and
//! what exception says so, is nothing that this file knows.
//!
//! The layout of `_ssl`'s objects is a fact about an implementation, so it is verified for each connection, from the outside in: the
//! classes are `_ssl`'s; the word behind the `SSL` is the context object that the socket answers; the first word of that object
//! is what OpenSSL says is the `SSL`'s context; the first words of the MemoryBIOs are its BIOs. If anything is not as
//! expected there is no channel. So it is where no OpenSSL can be called (`library`).
//!
//! A [`Port`] takes the place of the `SSL`'s BIOs. It hands on to the MemoryBIOs whatever is not done here, so that
//! Python code which calls the ssl module for the same connection finds everything where it expects it.
//!
//! Invariants: the `SSL` lives as long as the `_SSLSocket`, which a channel holds; one that was let go answers as if it had never
//! been. The GIL is held throughout: a record is short.

mod library;
mod port;

use std::cell::Cell;
use std::convert::Infallible;
use std::ffi::c_int;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::intern;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use self::library::{Bio, Library, Ssl};
use self::port::{Port, Reading, Writing};
use crate::bytes::{filled, is_refusal};
use crate::modules::module;
use crate::own::{Slot, Visit, Visitor};
use crate::socket::front_words;

/// SSL_READING.
const WANTS_READ: c_int = 3;

/// Bytes to be read, of whoever they are; cells may be written by others under the GIL.
#[derive(Clone, Copy)]
pub struct Octets<'a>(*const u8, usize, PhantomData<&'a [Cell<u8>]>);

impl<'a> Octets<'a> {
    /// How many there are.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.1
    }
}

impl<'a> From<&'a [u8]> for Octets<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Octets(bytes.as_ptr(), bytes.len(), PhantomData)
    }
}

impl<'a> From<&'a [Cell<u8>]> for Octets<'a> {
    fn from(cells: &'a [Cell<u8>]) -> Self {
        Octets(cells.as_ptr().cast(), cells.len(), PhantomData)
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All that was there is done.
    Whole,
    /// There is room for no more.
    Full,
    /// The rest of a record is missing.
    Again,
    /// Ask the Python object what is the matter.
    Ask,
}

struct Held {
    library: &'static Library,
    ssl: NonNull<Ssl>,
    /// The SSL's BIO, which it holds for good, has the port.
    port: NonNull<Port>,
}

/// A way to the keys of a connection. See the module's header.
pub struct Channel {
    owner: Slot,
    held: Held,
}

impl Visit for Channel {
    fn visit(&self, visitor: &Visitor) {
        self.owner.visit(visitor);
    }
    fn clear(&self) {
        self.owner.unset();
    }
}

/// The class of that name in `_ssl`, if it has one.
fn class_of_ssl<'py>(py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    module(intern!(py, "_ssl").object()?)?.getattr_opt(name)
}

/// Whether that is exactly the class of `object`.
fn is_of_ssl(object: &Bound<'_, PyAny>, name: &str) -> PyResult<bool> {
    Ok(class_of_ssl(object.py(), name)?.is_some_and(|class| object.get_type().is(&class)))
}

impl Channel {
    /// The channel of an `_ssl._SSLSocket` between two `_ssl.MemoryBIO`s whose handshake is over; None where there can be none.
    pub fn of(
        socket: &Bound<'_, PyAny>,
        incoming: &Bound<'_, PyAny>,
        outgoing: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Channel>> {
        let py = socket.py();
        let Some(library) = Library::get(py)? else { return Ok(None) };
        if !is_of_ssl(socket, "_SSLSocket")? || !is_of_ssl(incoming, "MemoryBIO")? || !is_of_ssl(outgoing, "MemoryBIO")?
        {
            return Ok(None);
        }
        let context = socket.getattr(intern!(py, "context"))?;
        match class_of_ssl(py, "_SSLContext")? {
            Some(class) if context.is_instance(&class)? => {}
            _ => return Ok(None),
        }
        let (Some([0, ssl, beside]), Some([keys]), Some([reads]), Some([writes])) =
            (front_words(socket), front_words(&context), front_words(incoming), front_words(outgoing))
        else {
            return Ok(None);
        };
        if beside != context.as_ptr() as usize {
            return Ok(None);
        }
        let Some(ssl) = NonNull::new(ssl as *mut Ssl) else { return Ok(None) };
        // SAFETY: the word before the context of an `_SSLSocket` without a Python socket is its SSL, in every CPython that has
        // one; that it is alive is the socket's affair, and that its context and its BIOs are those of the Python objects
        // is asked before it is changed. Ownership: `new_bio` answers one reference, of which the SSL takes one for each side.
        unsafe {
            let (reads, writes) = (reads as *mut Bio, writes as *mut Bio);
            let raw = ssl.as_ptr();
            let is_as_thought = (library.SSL_get_SSL_CTX)(raw) as usize == keys
                && (library.SSL_get_rbio)(raw) == reads
                && (library.SSL_get_wbio)(raw) == writes
                && (library.SSL_is_init_finished)(raw) == 1;
            if !is_as_thought {
                return Ok(None);
            }
            let bio = Port::new_bio(library, reads, writes);
            let Some(port) =
                NonNull::new(bio).and_then(|bio| NonNull::new((library.BIO_get_data)(bio.as_ptr()).cast()))
            else {
                return Ok(None);
            };
            (library.BIO_up_ref)(bio);
            (library.SSL_set0_rbio)(raw, bio);
            (library.SSL_set0_wbio)(raw, bio);
            Ok(Some(Channel { owner: Slot::of(socket.clone()), held: Held { library, ssl, port } }))
        }
    }

    /// The SSL and the port, as long as the socket is held.
    #[inline]
    fn held(&self) -> Option<(&Held, &Port)> {
        if !self.owner.is_set() {
            return None;
        }
        // SAFETY: the socket is held, so its SSL lives, and with it the BIO that owns the port.
        Some((&self.held, unsafe { self.held.port.as_ref() }))
    }

    /// How many bytes the incoming MemoryBIO has.
    #[inline]
    pub fn incoming_pending(&self, _py: Python<'_>) -> usize {
        self.held().map_or(0, |(_, port)| port.incoming_pending())
    }

    /// How many bytes the outgoing MemoryBIO has.
    #[inline]
    pub fn outgoing_pending(&self, _py: Python<'_>) -> usize {
        self.held().map_or(0, |(_, port)| port.outgoing_pending())
    }

    /// How many bytes are decrypted and were not read.
    pub fn decrypted(&self, _py: Python<'_>) -> usize {
        // SAFETY: the SSL lives, as `held` says.
        self.held().map_or(0, |(held, _)| unsafe { (held.library.SSL_pending)(held.ssl.as_ptr()) }.max(0) as usize)
    }

    /// Puts bytes into the outgoing MemoryBIO.
    pub fn keep_outgoing(&self, _py: Python<'_>, bytes: &[u8]) -> bool {
        self.held().is_some_and(|(_, port)| port.keep_outgoing(bytes))
    }

    /// Puts bytes into the incoming MemoryBIO.
    pub fn keep(&self, _py: Python<'_>, bytes: Octets<'_>) -> bool {
        // SAFETY: `Octets` may be read.
        self.held().is_some_and(|(_, port)| unsafe { port.keep(bytes.0, bytes.1) })
    }

    /// Decrypts what the incoming MemoryBIO has, and then `source`; what of that is not used goes into the MemoryBIO. Answers how
    /// many bytes of `into` were written.
    pub fn read_into(&self, py: Python<'_>, source: Octets<'_>, into: &[Cell<u8>]) -> (usize, Ended) {
        // SAFETY: cells may be written through a shared reference by who holds the GIL; `read` writes bytes only.
        let into = unsafe { std::slice::from_raw_parts_mut(into.as_ptr().cast_mut().cast(), into.len()) };
        let (written, ended) = self.read(py, source, into);
        (written.len(), ended)
    }

    /// Decrypts into a bytes object of at most `room` bytes.
    pub fn read_new<'py>(
        &self,
        py: Python<'py>,
        source: Octets<'_>,
        room: usize,
    ) -> PyResult<(Bound<'py, PyBytes>, Ended)> {
        let mut ended = Ended::Ask;
        let data = filled(py, room, |memory| {
            let (written, how) = self.read(py, source, memory);
            ended = how;
            Ok::<_, Infallible>(written)
        })?;
        match data {
            Ok(data) => Ok((data, ended)),
            Err(never) => match never {},
        }
    }

    fn read<'a>(&self, _py: Python<'_>, source: Octets<'_>, into: &'a mut [MaybeUninit<u8>]) -> (&'a mut [u8], Ended) {
        let Some((held, port)) = self.held() else { return (&mut [], Ended::Ask) };
        let mut filled = 0;
        // SAFETY: `Octets` may be read, longer than the guard lives. The SSL lives, as `held` says; it writes only what it is
        // given room for, and says how much, so that so many bytes are initialised.
        unsafe {
            let reading = Reading::new(port, source.0, source.1);
            let ended = loop {
                let room = into.len() - filled;
                if room == 0 {
                    break Ended::Full;
                }
                let mut count = 0;
                let place = into.as_mut_ptr().add(filled).cast();
                if (held.library.SSL_read_ex)(held.ssl.as_ptr(), place, room, &mut count) != 1 {
                    let is_again = reading.is_starved() && (held.library.SSL_want)(held.ssl.as_ptr()) == WANTS_READ;
                    break if is_again { Ended::Again } else { Ended::Ask };
                }
                filled += count;
                // Less than there was room for is the end of a record.
                if count < room && reading.is_dry() {
                    break Ended::Whole;
                }
            };
            let left = reading.left();
            drop(reading);
            let kept = port.keep(source.0.add(source.1 - left), left);
            let written = std::slice::from_raw_parts_mut(into.as_mut_ptr().cast::<u8>(), filled);
            (written, if kept { ended } else { Ended::Ask })
        }
    }

    /// Encrypts a bytes-like object: Whole, or nothing of it and Again or Ask. What comes of it is put behind what `sink` has, which
    /// grows to about `most` bytes; of more, and of what is no plain memory, the answer is Ask. What an object's own `__buffer__` raises,
    /// unless that is a refusal, is the error.
    pub fn write(&self, data: &Bound<'_, PyAny>, sink: &mut Vec<u8>, most: usize) -> PyResult<Ended> {
        let write = |octets: Octets<'_>, sink: &mut Vec<u8>| match octets.len() + sink.len() {
            size if size > most => Ended::Ask,
            _ => self.write_octets(octets, sink),
        };
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            return Ok(write(bytes.as_bytes().into(), sink));
        }
        match PyBuffer::<u8>::get(data) {
            // The buffer stays where it is while it is exported; who writes it does so under the GIL.
            Ok(memory) if memory.is_c_contiguous() => {
                Ok(write(Octets(memory.buf_ptr().cast(), memory.len_bytes(), PhantomData), sink))
            }
            Err(error) if !is_refusal(data.py(), &error) => Err(error),
            _ => Ok(Ended::Ask),
        }
    }

    fn write_octets(&self, data: Octets<'_>, sink: &mut Vec<u8>) -> Ended {
        let Some((held, port)) = self.held() else { return Ended::Ask };
        let mut count = 0;
        // SAFETY: `Octets` may be read; the SSL lives, as `held` says. The vector is nobody else's while it is written.
        unsafe {
            let writing = Writing::new(port, sink);
            let done = (held.library.SSL_write_ex)(held.ssl.as_ptr(), data.0.cast(), data.1, &mut count);
            match done {
                1 if count == data.1 => Ended::Whole,
                0 if writing.is_starved() && (held.library.SSL_want)(held.ssl.as_ptr()) == WANTS_READ => Ended::Again,
                _ => Ended::Ask,
            }
        }
    }
}
