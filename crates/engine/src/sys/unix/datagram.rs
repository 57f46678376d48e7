//! What datagram transports do to a socket: thin calls on a descriptor number, each an `io::Result`.
//!
//! The rules are those of `socket`: numbers, because the Python socket object owns the descriptor; never blocking;
//! `EINTR` is retried; no `SIGPIPE`; the kernel's error numbers are kept. One call moves one datagram, or none.
//!
//! Addresses of Unix sockets are read here, byte by byte: the kernel reports a path that fills its whole field without the
//! closing NUL, and with a length that counts it.

use rustix::io::retry_on_intr;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrAny};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::borrow;
use crate::sys::Descriptor;

/// Where a datagram came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// IPv4 or IPv6.
    Internet(SocketAddr),
    /// A Unix socket: the bytes of its path; with a NUL at the front a name of Linux's abstract namespace; empty for a
    /// socket without a name.
    Unix(Vec<u8>),
}

/// Receive one datagram; what does not fit into `buffer` is lost.
///
/// The address is None where the sender has none, or one of another family. Zero bytes are a datagram like any other.
#[inline]
pub fn receive_from(fd: Descriptor, buffer: &mut [u8]) -> io::Result<(usize, Option<Address>)> {
    let fd = borrow(fd)?;
    let (received, _, from) = retry_on_intr(|| rustix::net::recvfrom(fd, &mut *buffer, RecvFlags::empty()))?;
    Ok((received, from.and_then(|from| address(&from))))
}

/// Send one datagram; the count says how many bytes went, which are all.
#[inline]
pub fn send_to(fd: Descriptor, bytes: &[u8], to: &SocketAddr) -> io::Result<usize> {
    let fd = borrow(fd)?;
    Ok(retry_on_intr(|| rustix::net::sendto(fd, bytes, SendFlags::NOSIGNAL, to))?)
}

/// A host as `inet_ntop` writes it, which differs from Rust for the old way to put IPv4 addresses into IPv6.
pub fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V6(six) => match six.segments() {
            [0, 0, 0, 0, 0, 0, high, _] if high != 0 => format!("::{}", Ipv4Addr::from_bits(six.to_bits() as u32)),
            _ => six.to_string(),
        },
        IpAddr::V4(four) => dotted(four.octets()),
    }
}

/// Four numbers with dots between them; the formatter of the standard library takes ten times as long.
fn dotted(octets: [u8; 4]) -> String {
    let mut text = String::with_capacity(15);
    for (place, octet) in octets.into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let leading = digits.iter().take(2).take_while(|digit| **digit == 0).count();
        text.extend(digits[leading..].iter().map(|digit| char::from(b'0' + digit)));
    }
    text
}

fn address(from: &SocketAddrAny) -> Option<Address> {
    if from.address_family() != AddressFamily::UNIX {
        return SocketAddr::try_from(from.clone()).ok().map(Address::Internet);
    }
    // SAFETY: the type keeps as many bytes initialised as its length says, and is borrowed for as long as the slice.
    let bytes = unsafe { std::slice::from_raw_parts(from.as_ptr().cast::<u8>(), from.addr_len() as usize) };
    let name = bytes.get(std::mem::offset_of!(libc::sockaddr_un, sun_path)..).unwrap_or_default();
    Some(Address::Unix(match name {
        [0, ..] => name.to_vec(),
        _ => name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};

    fn bound(host: &str) -> Option<UdpSocket> {
        let socket = UdpSocket::bind((host, 0)).ok()?;
        socket.set_nonblocking(true).unwrap();
        Some(socket)
    }

    #[test]
    fn datagrams_keep_their_bounds_and_senders() {
        for host in ["127.0.0.1", "::1"] {
            let (Some(near), Some(far)) = (bound(host), bound(host)) else { continue };
            let (to, from) = (far.local_addr().unwrap(), near.local_addr().unwrap());
            let mut buffer = [0; 4];
            assert_eq!(receive_from(far.as_raw_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            for sent in [&b"one"[..], b"", b"three"] {
                assert_eq!(send_to(near.as_raw_fd(), sent, &to).unwrap(), sent.len());
            }
            for expected in [&b"one"[..], b"", b"thre"] {
                let (count, sender) = receive_from(far.as_raw_fd(), &mut buffer).unwrap();
                assert_eq!(&buffer[..count], expected);
                assert_eq!(sender, Some(Address::Internet(from)));
            }
        }
    }

    #[test]
    fn hosts_are_written_as_inet_ntop_writes_them() {
        let four = ["127.0.0.1", "0.0.0.0", "1.20.100.255", "10.9.99.200", "109.90.101.110"];
        let old = ["::1.2.3.4", "::0.1.0.0", "::ffff:1.2.3.4"];
        let six = ["::", "::1", "fe80::1", "1:0:2:0:3:0:4:0", "::1:0:0:1", "1:0:0:2::3"];
        for text in four.into_iter().chain(old).chain(six) {
            assert_eq!(host(text.parse().unwrap()), text);
        }
    }

    #[test]
    fn an_address_of_another_family_is_refused() {
        let near = bound("127.0.0.1").unwrap();
        assert!(send_to(near.as_raw_fd(), b"x", &"[::1]:9".parse().unwrap()).is_err());
        assert_eq!(send_to(-1, b"x", &"127.0.0.1:9".parse().unwrap()).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn unix_senders_have_a_name_or_none() {
        let folder = std::env::temp_dir().join(format!("rasyncio-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let place = folder.join("far");
        let far = UnixDatagram::bind(&place).unwrap();
        let named = UnixDatagram::bind(folder.join("near")).unwrap();
        let name = format!("rasyncio\0{}", std::process::id());
        let hidden = UnixDatagram::bind_addr(&UnixAddr::from_abstract_name(&name).unwrap()).unwrap();
        let mut received = Vec::new();
        for near in [named, hidden, UnixDatagram::unbound().unwrap()] {
            near.send_to(b"x", &place).unwrap();
            let (count, from) = receive_from(far.as_raw_fd(), &mut [0; 9]).unwrap();
            assert_eq!(count, 1);
            received.push(from);
        }
        let path = folder.join("near").to_str().unwrap().as_bytes().to_vec();
        let hidden = [b"\0", name.as_bytes()].concat();
        assert_eq!(received, [Some(Address::Unix(path)), Some(Address::Unix(hidden)), None]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_path_that_fills_its_field_is_whole() {
        let folder = std::env::temp_dir();
        let room = size_of::<libc::sockaddr_un>() - std::mem::offset_of!(libc::sockaddr_un, sun_path);
        let stem = format!("{}/rasyncio-{}-", folder.display(), std::process::id());
        let path = format!("{stem}{}", "x".repeat(room - stem.len()));
        // The standard library insists on a closing NUL; the kernel does not.
        let near = UnixDatagram::unbound().unwrap();
        rustix::net::bind(&near, &rustix::net::SocketAddrUnix::new(path.as_str()).unwrap()).unwrap();
        let far = UnixDatagram::bind(format!("{stem}far")).unwrap();
        near.send_to(b"x", format!("{stem}far")).unwrap();
        let (_, from) = receive_from(far.as_raw_fd(), &mut [0; 9]).unwrap();
        assert_eq!(from, Some(Address::Unix(path.clone().into_bytes())));
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(format!("{stem}far")).unwrap();
    }
}
