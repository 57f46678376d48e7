//! What stream transports do to a socket: thin calls on a descriptor number, each an `io::Result`.
//!
//! The transports and the sock_* methods call them; the Python socket object usually owns the descriptor, so they
//! take numbers. All sockets are non-blocking, and `WouldBlock` is an answer like any other. Kernel error numbers are
//! kept, since rooms raise them as the matching `OSError` subclass.
//!
//! Every call retries `EINTR` (PEP 475; it comes before anything was transferred, so nothing is lost). Sending passes
//! `MSG_NOSIGNAL`, for programs that embed Python and so do not ignore `SIGPIPE`. Bytes received go straight into the
//! caller's memory, initialised or not.

use rustix::fd::OwnedFd;
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrAny, SocketFlags, sockopt};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::slice;

use super::{borrow, written};
use crate::sys::Descriptor;

/// The most slices one [`send_slices`] takes; the kernel's `UIO_MAXIOV`. More are left for the next call.
pub const MOST_SLICES: usize = 1024;

/// The families of IPv4 and IPv6.
pub const INTERNET: [i32; 2] = [libc::AF_INET, libc::AF_INET6];
/// The type of stream sockets.
pub const STREAM: i32 = libc::SOCK_STREAM;
/// What is added to a type to say that the socket is non-blocking.
pub const NONBLOCKING: i32 = libc::SOCK_NONBLOCK;
/// The protocol of stream sockets of the internet families.
pub const TCP: i32 = libc::IPPROTO_TCP;

/// Receive into initialised memory. Zero means the end of the stream, unless `buffer` is empty.
#[inline]
pub fn receive(fd: Descriptor, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = borrow(fd)?;
    let (received, _) = retry_on_intr(|| rustix::net::recv(fd, &mut *buffer, RecvFlags::empty()))?;
    Ok(received)
}

/// Receive into memory of any kind; answers the part of it that was written.
#[inline]
pub fn receive_raw(fd: Descriptor, memory: &mut [MaybeUninit<u8>]) -> io::Result<&mut [u8]> {
    let fd = borrow(fd)?;
    let count = retry_on_intr(|| Ok(rustix::net::recv(fd, &mut *memory, RecvFlags::empty())?.0.0.len()))?;
    // SAFETY: the kernel wrote so many bytes, from the beginning on.
    Ok(unsafe { written(memory, count) })
}

/// Receive into two places, the second for what the first has no room for; answers the part of the first that was written, and
/// how many bytes are in the second.
#[inline]
pub fn receive_both<'a>(
    fd: Descriptor,
    first: &'a mut [MaybeUninit<u8>],
    second: &mut [u8],
) -> io::Result<(&'a mut [u8], usize)> {
    let fd = borrow(fd)?;
    let slices = [
        libc::iovec { iov_base: first.as_mut_ptr().cast(), iov_len: first.len() },
        libc::iovec { iov_base: second.as_mut_ptr().cast(), iov_len: second.len() },
    ];
    let count = loop {
        // SAFETY: both slices are borrowed for writing until the call has returned; the kernel writes within their lengths.
        let count = unsafe { libc::readv(fd.as_raw_fd(), slices.as_ptr(), slices.len() as libc::c_int) };
        match usize::try_from(count) {
            Ok(count) => break count,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    };
    let in_first = count.min(first.len());
    // SAFETY: the kernel fills the first before it writes into the second.
    Ok((unsafe { written(first, in_first) }, count - in_first))
}

/// Receive into memory that somebody else has too.
#[inline]
pub fn receive_shared(fd: Descriptor, memory: &[Cell<u8>]) -> io::Result<usize> {
    let fd = borrow(fd)?;
    // SAFETY: cells are written through shared references by design, and have the layout of what is in them; they are not
    // `Sync`, and this thread does nothing else until the system call has returned.
    let memory = unsafe { slice::from_raw_parts_mut(memory.as_ptr().cast_mut().cast::<u8>(), memory.len()) };
    let (received, _) = retry_on_intr(|| rustix::net::recv(fd, &mut *memory, RecvFlags::empty()))?;
    Ok(received)
}

/// Send bytes; the count says how many the kernel took.
#[inline]
pub fn send(fd: Descriptor, bytes: &[u8]) -> io::Result<usize> {
    let fd = borrow(fd)?;
    Ok(retry_on_intr(|| rustix::net::send(fd, bytes, SendFlags::NOSIGNAL))?)
}

/// Send the slices as one stream of bytes, at most [`MOST_SLICES`] of them; the count says how many bytes the kernel
/// took.
pub fn send_slices(fd: Descriptor, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let fd = borrow(fd)?;
    let slices = &slices[..slices.len().min(MOST_SLICES)];
    Ok(retry_on_intr(|| {
        let mut nothing = SendAncillaryBuffer::default();
        rustix::net::sendmsg(fd, slices, &mut nothing, SendFlags::NOSIGNAL)
    })?)
}

/// Accept a connection; it is non-blocking and does not survive `exec`.
///
/// The address is None where the family is neither IPv4 nor IPv6 (or the peer has none).
pub fn accept(fd: Descriptor) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let fd = borrow(fd)?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (accepted, address) = retry_on_intr(|| rustix::net::acceptfrom_with(fd, flags))?;
    Ok((accepted, address.and_then(internet)))
}

/// The address of the other end. None as for [`accept`]; not connected (any more) is an error.
pub fn peer_address(fd: Descriptor) -> io::Result<Option<SocketAddr>> {
    Ok(rustix::net::getpeername(borrow(fd)?)?.and_then(internet))
}

/// The address of this end. None as for [`accept`].
pub fn local_address(fd: Descriptor) -> io::Result<Option<SocketAddr>> {
    Ok(internet(rustix::net::getsockname(borrow(fd)?)?))
}

/// Send the end of the stream after what was sent so far; receiving goes on.
pub fn shutdown_write(fd: Descriptor) -> io::Result<()> {
    Ok(rustix::net::shutdown(borrow(fd)?, Shutdown::Write)?)
}

/// Send small packets at once (`TCP_NODELAY`). An error where the socket is not TCP.
pub fn set_nodelay(fd: Descriptor) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(borrow(fd)?, true)?)
}

fn internet(address: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(address).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        (near, far)
    }

    #[test]
    fn bytes_arrive_in_either_kind_of_memory() {
        let (near, far) = pair();
        let (near, far) = (near.as_raw_fd(), far.as_raw_fd());
        assert_eq!(send(near, b"hello world").unwrap(), 11);
        let mut five = [0; 5];
        assert_eq!(receive(far, &mut five).unwrap(), 5);
        assert_eq!(&five, b"hello");
        let mut room = [MaybeUninit::uninit(); 64];
        assert_eq!(receive_raw(far, &mut room).unwrap(), b" world");
        assert_eq!(receive(far, &mut five).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(receive_raw(far, &mut room).unwrap_err().kind(), ErrorKind::WouldBlock);
        shutdown_write(near).unwrap();
        assert_eq!(receive(far, &mut five).unwrap(), 0);
        assert_eq!(receive_raw(far, &mut room).unwrap(), b"");
    }

    #[test]
    fn what_has_no_room_in_one_place_goes_to_the_other() {
        let (mut near, far) = pair();
        let far = far.as_raw_fd();
        let (mut first, mut second) = ([MaybeUninit::uninit(); 4], [0; 8]);
        near.write_all(b"ab").unwrap();
        assert_eq!(receive_both(far, &mut first, &mut second).unwrap(), (b"ab".to_vec().as_mut_slice(), 0));
        near.write_all(b"abcdefg").unwrap();
        assert_eq!(receive_both(far, &mut first, &mut second).unwrap(), (b"abcd".to_vec().as_mut_slice(), 3));
        assert_eq!(&second[..3], b"efg");
        assert_eq!(receive_both(far, &mut first, &mut second).unwrap_err().kind(), ErrorKind::WouldBlock);
        shutdown_write(near.as_raw_fd()).unwrap();
        assert_eq!(receive_both(far, &mut first, &mut second).unwrap().1, 0);
    }

    #[test]
    fn slices_beyond_the_kernel_s_limit_are_left() {
        let (near, mut far) = pair();
        let bytes: Vec<u8> = (0..MOST_SLICES + 10).map(|count| count as u8).collect();
        let slices: Vec<IoSlice<'_>> = bytes.chunks(1).map(IoSlice::new).collect();
        assert_eq!(send_slices(near.as_raw_fd(), &slices).unwrap(), MOST_SLICES);
        assert_eq!(send_slices(near.as_raw_fd(), &slices[MOST_SLICES..]).unwrap(), 10);
        let mut received = vec![0; bytes.len()];
        far.read_exact(&mut received).unwrap();
        assert_eq!(received, bytes);
    }

    #[test]
    fn a_peer_that_is_gone_is_an_error_and_not_a_signal() {
        let (near, far) = pair();
        drop(far);
        let error = send(near.as_raw_fd(), b"x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
        let error = send_slices(near.as_raw_fd(), &[IoSlice::new(b"x")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn accepts_non_blocking_and_closed_on_exec() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let server = listener.as_raw_fd();
        assert_eq!(accept(server).unwrap_err().kind(), ErrorKind::WouldBlock);
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, address) = accept(server).unwrap();
        assert_eq!(address, client.local_addr().ok());
        let fd = accepted.as_raw_fd();
        assert_eq!(peer_address(fd).unwrap(), client.local_addr().ok());
        assert_eq!(local_address(fd).unwrap(), client.peer_addr().ok());
        assert_eq!(receive(fd, &mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let flags = rustix::io::fcntl_getfd(&accepted).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        set_nodelay(fd).unwrap();
        assert!(client.set_nonblocking(true).is_ok());
    }

    #[test]
    fn unix_sockets_have_no_internet_address_and_no_nodelay() {
        let (near, _far) = pair();
        assert_eq!(local_address(near.as_raw_fd()).unwrap(), None);
        assert_eq!(peer_address(near.as_raw_fd()).unwrap(), None);
        assert!(set_nodelay(near.as_raw_fd()).is_err());
    }
}
