//! What pipe transports do to a descriptor: reading and writing by number, for pipes, sockets and character devices.
//!
//! The pipe transports call it; the Python file object owns the descriptor, so the functions take numbers. All
//! descriptors are non-blocking, and `WouldBlock` is an answer like any other. Kernel error numbers are kept.
//!
//! Every call retries `EINTR` (PEP 475). Writing to a pipe that nobody reads raises `SIGPIPE`, which Python ignores;
//! unlike for sockets there is no flag against it.

use rustix::io::retry_on_intr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use super::socket::MOST_SLICES;
use super::{borrow, written};
use crate::sys::Descriptor;

/// Read into initialised memory. Zero means the end, unless `buffer` is empty.
#[inline]
pub fn read(fd: Descriptor, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = borrow(fd)?;
    Ok(retry_on_intr(|| rustix::io::read(fd, &mut *buffer))?)
}

/// Read into memory that need not be initialised; the count says how much of it is from then on. Otherwise as [`read`].
#[inline]
pub fn read_raw(fd: Descriptor, memory: &mut [MaybeUninit<u8>]) -> io::Result<&mut [u8]> {
    let fd = borrow(fd)?;
    let count = retry_on_intr(|| rustix::io::read(fd, &mut *memory).map(|(read, _)| read.len()))?;
    // SAFETY: the kernel wrote so many bytes, from the beginning on.
    Ok(unsafe { written(memory, count) })
}

/// Write bytes; the count says how many the kernel took.
#[inline]
pub fn write(fd: Descriptor, bytes: &[u8]) -> io::Result<usize> {
    let fd = borrow(fd)?;
    Ok(retry_on_intr(|| rustix::io::write(fd, bytes))?)
}

/// Write the slices as one stream of bytes, at most [`MOST_SLICES`] of them; the count says how many bytes the kernel
/// took.
pub fn write_slices(fd: Descriptor, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let fd = borrow(fd)?;
    let slices = &slices[..slices.len().min(MOST_SLICES)];
    Ok(retry_on_intr(|| rustix::io::writev(fd, slices))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::os::fd::{AsRawFd, OwnedFd};

    fn pipe() -> (OwnedFd, OwnedFd) {
        let flags = rustix::pipe::PipeFlags::NONBLOCK | rustix::pipe::PipeFlags::CLOEXEC;
        rustix::pipe::pipe_with(flags).unwrap()
    }

    #[test]
    fn bytes_arrive_in_either_kind_of_memory() {
        let (reader, writer) = pipe();
        let (near, far) = (reader.as_raw_fd(), writer.as_raw_fd());
        let (mut memory, mut buffer) = ([MaybeUninit::uninit(); 5], [0; 64]);
        assert_eq!(read_raw(near, &mut memory).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(read(near, &mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(write(far, b"hello").unwrap(), 5);
        assert_eq!(write_slices(far, &[IoSlice::new(b" "), IoSlice::new(b"world")]).unwrap(), 6);
        assert_eq!(read_raw(near, &mut memory).unwrap().len(), 5);
        assert_eq!(read(near, &mut buffer).unwrap(), 6);
        assert_eq!(&buffer[..6], b" world");
        drop(writer);
        assert_eq!(read_raw(near, &mut memory).unwrap().len(), 0);
        assert_eq!(read(near, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_full_pipe_takes_what_it_holds_and_a_lone_one_nothing() {
        let (reader, writer) = pipe();
        let holds = rustix::pipe::fcntl_getpipe_size(&writer).unwrap();
        let much = vec![0; holds + 1];
        assert_eq!(write(writer.as_raw_fd(), &much).unwrap(), holds);
        assert_eq!(write(writer.as_raw_fd(), b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(reader);
        assert_eq!(write(writer.as_raw_fd(), b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(write(-1, b"x").unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
