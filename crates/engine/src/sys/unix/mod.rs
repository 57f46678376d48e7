//! Unix, which so far means Linux: epoll for readiness, an eventfd to wake, sockets by descriptor.
//!
//! Descriptors come from Python as plain integers whose owner is a Python object (or nobody: a user may pass any
//! number to `add_reader`), so they cannot be `OwnedFd`, and every call here starts with [`borrow`].

pub mod datagram;
pub mod epoll;
pub mod fork;
pub mod mapping;
pub mod pipe;
pub mod process;
pub mod signal_pipe;
pub mod socket;
pub mod waker;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::io;

use super::{Descriptor, Refusal};

impl Refusal {
    /// What an error of [`super::Registrar`] means.
    pub fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::EXIST) => Refusal::AlreadyWatched,
            Some(Errno::NOENT) => Refusal::NotWatched,
            Some(Errno::BADF) => Refusal::NotOpen,
            _ => Refusal::Other,
        }
    }
}

/// A descriptor number as the type that system calls take; negative numbers are refused as the kernel would.
fn borrow<'a>(fd: Descriptor) -> io::Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: `borrow_raw` asks for a number other than -1, which was just excluded, and for one that stays open
    // during the borrow. The second is not ours to know; nothing in memory depends on it. Every use is one system
    // call within the calling function, and the kernel itself answers EBADF for a number that is not open.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The part of `memory` that was written.
///
/// # Safety
/// The first `count` bytes are initialised.
unsafe fn written(memory: &mut [std::mem::MaybeUninit<u8>], count: usize) -> &mut [u8] {
    let part = &mut memory[..count];
    // SAFETY: initialised, says the caller; the cast changes nothing but that knowledge.
    unsafe { &mut *(std::ptr::from_mut(part) as *mut [u8]) }
}
