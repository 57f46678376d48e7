//! A BIO in front of the two MemoryBIOs of a connection: during a call of [`Channel`](super::Channel) it reads from and writes to
//! Rust's memory, otherwise it is not there.
//!
//! Called by OpenSSL, inside the functions that read, write or shake hands; calls the MemoryBIOs.
//!
//! States: passing (all goes to the MemoryBIOs, so that whoever calls `_ssl` sees what he would see without us) -> reading
//! ([`Reading`]: the MemoryBIO's bytes come first, then those of a slice) or writing ([`Writing`]: all goes to a vector) ->
//! passing, when the guard is dropped.
//!
//! Invariants: a `Port` lives as long as its BIO, which owns it and one reference of each MemoryBIO. Its fields are cells: OpenSSL may
//! call a callback of Python's, which may call OpenSSL again for the same connection.
//!
//! It answers as a MemoryBIO does: -1 and "should retry" when there is nothing; and it remembers that it did
//! ([`Reading::is_starved`]). OpenSSL's own word for that, `SSL_want`, says "reading" after any failure inside a handshake too, of those
//! that come later: a renegotiation, a request for a certificate.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::ptr;

use super::library::{Bio, Library, clipped};

/// BIO_FLAGS_RWS and BIO_FLAGS_SHOULD_RETRY.
const RETRY_FLAGS: c_int = 0x0f;
/// BIO_FLAGS_READ and BIO_FLAGS_SHOULD_RETRY.
const READ_AGAIN: c_int = 0x09;

const CTRL_EOF: c_int = 2;
const CTRL_PENDING: c_int = 10;
const CTRL_FLUSH: c_int = 11;
const CTRL_WPENDING: c_int = 13;

/// What the BIO knows.
pub(super) struct Port {
    library: &'static Library,
    incoming: *mut Bio,
    outgoing: *mut Bio,
    is_reading: Cell<bool>,
    /// The incoming MemoryBIO may have bytes, which are older than those of the slice.
    is_behind: Cell<bool>,
    source: Cell<*const u8>,
    left: Cell<usize>,
    sink: Cell<*mut Vec<u8>>,
    /// The last that OpenSSL has asked for was not there.
    is_starved: Cell<bool>,
}

impl Port {
    /// A BIO of two MemoryBIOs; null if there is no memory.
    ///
    /// # Safety
    /// Both are alive.
    pub(super) unsafe fn new_bio(library: &'static Library, incoming: *mut Bio, outgoing: *mut Bio) -> *mut Bio {
        // SAFETY: a fresh BIO of the method whose functions are below; the references are counted for it.
        unsafe {
            let bio = (library.BIO_new)(library.method());
            if bio.is_null() {
                return bio;
            }
            (library.BIO_up_ref)(incoming);
            (library.BIO_up_ref)(outgoing);
            let port = Port {
                library,
                incoming,
                outgoing,
                is_reading: Cell::new(false),
                is_behind: Cell::new(false),
                source: Cell::new(ptr::null()),
                left: Cell::new(0),
                sink: Cell::new(ptr::null_mut()),
                is_starved: Cell::new(false),
            };
            (library.BIO_set_data)(bio, Box::into_raw(Box::new(port)).cast());
            (library.BIO_set_init)(bio, 1);
            bio
        }
    }

    /// How many bytes the incoming MemoryBIO has.
    pub(super) fn incoming_pending(&self) -> usize {
        // SAFETY: alive, as the port holds a reference.
        unsafe { (self.library.BIO_ctrl_pending)(self.incoming) }
    }

    /// How many bytes the outgoing MemoryBIO has.
    pub(super) fn outgoing_pending(&self) -> usize {
        // SAFETY: alive, as the port holds a reference.
        unsafe { (self.library.BIO_ctrl_pending)(self.outgoing) }
    }

    /// Puts bytes into the outgoing MemoryBIO; answers whether it took them.
    pub(super) fn keep_outgoing(&self, bytes: &[u8]) -> bool {
        let size = clipped(bytes.len());
        // SAFETY: alive, as the port holds a reference.
        size == 0 || unsafe { (self.library.BIO_write)(self.outgoing, bytes.as_ptr().cast(), size) } == size
    }

    /// Puts bytes into the incoming MemoryBIO; answers whether it took them.
    ///
    /// # Safety
    /// `size` bytes may be read at `start`.
    pub(super) unsafe fn keep(&self, start: *const u8, size: usize) -> bool {
        // SAFETY: alive, as the port holds a reference; the caller vouches for the memory.
        size == 0 || unsafe { (self.library.BIO_write)(self.incoming, start.cast(), clipped(size)) } == clipped(size)
    }
}

/// While this lives, OpenSSL reads what the MemoryBIO has and then a slice.
pub(super) struct Reading<'a> {
    port: &'a Port,
    outer: (bool, bool, *const u8, usize, bool),
}

impl<'a> Reading<'a> {
    /// # Safety
    /// `size` bytes may be read at `source` as long as the guard lives.
    pub(super) unsafe fn new(port: &'a Port, source: *const u8, size: usize) -> Reading<'a> {
        let is_behind = port.incoming_pending() > 0;
        let outer = (
            port.is_reading.replace(true),
            port.is_behind.replace(is_behind),
            port.source.replace(source),
            port.left.replace(size),
            port.is_starved.replace(false),
        );
        Reading { port, outer }
    }

    /// Whether there is nothing more to read.
    pub(super) fn is_dry(&self) -> bool {
        self.port.left.get() == 0 && (!self.port.is_behind.get() || self.port.incoming_pending() == 0)
    }

    /// Whether OpenSSL goes on as soon as there is more.
    pub(super) fn is_starved(&self) -> bool {
        self.port.is_starved.get()
    }

    /// The part of the slice that was not read: how many bytes at its end.
    pub(super) fn left(&self) -> usize {
        self.port.left.get()
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let (is_reading, is_behind, source, left, is_starved) = self.outer;
        self.port.is_reading.set(is_reading);
        self.port.is_behind.set(is_behind);
        self.port.source.set(source);
        self.port.left.set(left);
        self.port.is_starved.set(is_starved);
    }
}

/// While this lives, OpenSSL writes to a vector.
pub(super) struct Writing<'a> {
    port: &'a Port,
    outer: (*mut Vec<u8>, bool),
}

impl<'a> Writing<'a> {
    pub(super) fn new(port: &'a Port, sink: &'a mut Vec<u8>) -> Writing<'a> {
        Writing { port, outer: (port.sink.replace(sink), port.is_starved.replace(false)) }
    }

    /// Whether OpenSSL goes on as soon as there is more to read.
    pub(super) fn is_starved(&self) -> bool {
        self.port.is_starved.get()
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let (sink, is_starved) = self.outer;
        self.port.sink.set(sink);
        self.port.is_starved.set(is_starved);
    }
}

/// The port of a BIO.
///
/// # Safety
/// The BIO is one that [`Port::new_bio`] has made, and alive.
unsafe fn port<'a>(library: &'static Library, bio: *mut Bio) -> Option<&'a Port> {
    // SAFETY: the data is the port, from birth to death, or null in between; shared references only are made of it.
    unsafe { (library.BIO_get_data)(bio).cast::<Port>().as_ref() }
}

/// `BIO_read`.
pub(super) unsafe extern "C" fn read(bio: *mut Bio, into: *mut c_char, room: c_int) -> c_int {
    let Some(library) = Library::known() else { return -1 };
    // SAFETY: OpenSSL calls this with a BIO of ours and room for so many bytes; the slice is readable as `Reading` says.
    unsafe {
        (library.BIO_clear_flags)(bio, RETRY_FLAGS);
        let Some(port) = port(library, bio) else { return -1 };
        if !port.is_reading.get() || port.is_behind.get() {
            let count = (library.BIO_read)(port.incoming, into.cast(), room);
            if count > 0 || !port.is_reading.get() {
                let again = (library.BIO_test_flags)(port.incoming, RETRY_FLAGS);
                (library.BIO_set_flags)(bio, again);
                port.is_starved.set(again != 0);
                return count;
            }
            port.is_behind.set(false);
        }
        let count = port.left.get().min(usize::try_from(room).unwrap_or(0));
        port.is_starved.set(count == 0);
        if count == 0 {
            (library.BIO_set_flags)(bio, READ_AGAIN);
            return -1;
        }
        let source = port.source.get();
        ptr::copy_nonoverlapping(source, into.cast::<u8>(), count);
        port.source.set(source.add(count));
        port.left.set(port.left.get() - count);
        clipped(count)
    }
}

/// `BIO_write`.
pub(super) unsafe extern "C" fn write(bio: *mut Bio, from: *const c_char, size: c_int) -> c_int {
    let Some(library) = Library::known() else { return -1 };
    // SAFETY: OpenSSL calls this with a BIO of ours and so many bytes; the vector is exclusively ours as `Writing` says.
    unsafe {
        (library.BIO_clear_flags)(bio, RETRY_FLAGS);
        let Some(port) = port(library, bio) else { return -1 };
        match (port.sink.get().as_mut(), usize::try_from(size)) {
            (Some(sink), Ok(count)) => {
                sink.extend_from_slice(std::slice::from_raw_parts(from.cast::<u8>(), count));
                size
            }
            _ => {
                let count = (library.BIO_write)(port.outgoing, from.cast(), size);
                (library.BIO_set_flags)(bio, (library.BIO_test_flags)(port.outgoing, RETRY_FLAGS));
                count
            }
        }
    }
}

/// `BIO_ctrl`.
pub(super) unsafe extern "C" fn control(bio: *mut Bio, command: c_int, _: c_long, _: *mut c_void) -> c_long {
    let Some(library) = Library::known() else { return 0 };
    // SAFETY: OpenSSL calls this with a BIO of ours.
    let Some(port) = (unsafe { port(library, bio) }) else { return 0 };
    let ask = |memory: *mut Bio| {
        // SAFETY: alive, as the port holds a reference; the commands take no argument.
        unsafe { (library.BIO_ctrl)(memory, command, 0, ptr::null_mut()) }
    };
    match command {
        CTRL_FLUSH => 1,
        CTRL_EOF | CTRL_PENDING => match port.left.get() {
            0 => ask(port.incoming),
            left if command == CTRL_PENDING => left as c_long + ask(port.incoming),
            _ => 0,
        },
        CTRL_WPENDING => ask(port.outgoing),
        _ => 0,
    }
}

/// The BIO's last user is gone.
pub(super) unsafe extern "C" fn destroy(bio: *mut Bio) -> c_int {
    let Some(library) = Library::known() else { return 0 };
    // SAFETY: called once; the port was boxed by `new_bio`, whose references of the MemoryBIOs are given back.
    unsafe {
        let port = (library.BIO_get_data)(bio).cast::<Port>();
        if !port.is_null() {
            (library.BIO_set_data)(bio, ptr::null_mut());
            let port = Box::from_raw(port);
            (library.BIO_free)(port.incoming);
            (library.BIO_free)(port.outgoing);
        }
    }
    1
}
