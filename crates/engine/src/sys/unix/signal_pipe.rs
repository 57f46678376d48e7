//! The descriptor that Python's signal machinery writes to: one byte for each signal, its number.
//!
//! `signal.set_wakeup_fd` wants a non-blocking descriptor that takes single bytes, which an eventfd does not, so this
//! is a pair of sockets. The loop watches [`SignalPipe::fd`] like any other descriptor, which is what ends a wait for
//! a signal that came just before it, or in another thread, where no `EINTR` does. The write end never blocks: when a
//! thousand signals are unread, one more changes nothing.

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use std::io;

use super::fork::Birth;
use crate::sys::Descriptor;

/// Both ends of the pipe.
#[derive(Debug)]
pub struct SignalPipe {
    reader: OwnedFd,
    writer: OwnedFd,
    birth: Birth,
}

impl SignalPipe {
    /// A new pipe, non-blocking at both ends.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (reader, writer) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok(Self { reader, writer, birth: Birth::now() })
    }

    /// Whether it is shared with the parent process.
    pub fn is_inherited(&self) -> bool {
        self.birth.is_inherited()
    }

    /// The end for the poller.
    pub fn fd(&self) -> Descriptor {
        self.reader.as_raw_fd()
    }

    /// The end for `signal.set_wakeup_fd`.
    pub fn wakeup_fd(&self) -> Descriptor {
        self.writer.as_raw_fd()
    }

    /// Append the numbers of the signals that came since the last time, in their order.
    pub fn drain_into(&self, signals: &mut Vec<u8>) -> io::Result<()> {
        let mut bytes = [0; 256];
        loop {
            match retry_on_intr(|| recv(&self.reader, &mut bytes, RecvFlags::empty())) {
                Ok((0, _)) | Err(Errno::AGAIN) => return Ok(()),
                Ok((count, _)) => signals.extend_from_slice(&bytes[..count]),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::send;

    #[test]
    fn numbers_come_out_in_their_order_and_an_overflow_does_not_block() {
        let pipe = SignalPipe::new().unwrap();
        let mut signals = vec![1];
        pipe.drain_into(&mut signals).unwrap();
        assert_eq!(signals, [1]);
        send(pipe.wakeup_fd(), &[2]).unwrap();
        send(pipe.wakeup_fd(), &[15]).unwrap();
        pipe.drain_into(&mut signals).unwrap();
        assert_eq!(signals, [1, 2, 15]);
        let error = loop {
            if let Err(error) = send(pipe.wakeup_fd(), &[10]) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        signals.clear();
        pipe.drain_into(&mut signals).unwrap();
        assert!(signals.len() > 100 && signals.iter().all(|&signal| signal == 10));
    }
}
