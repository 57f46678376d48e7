//! The limit that an event loop can come up to: an echo server of nothing but epoll and system calls.
//!
//! Started by `benches/network.py` as `bare_echo [tcp | kept | udp | unix PATH]`. It prints its port or path, and serves until its
//! standard input ends. One buffer for all: what came is sent at once, and what the kernel does not take is waited for, as no
//! measured client leaves that much unread. As `kept` each connection has memory of its own, as where a program still has the last
//! message when the next one comes.

use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use engine::sys::{Events, Interest, Poller, Registrar, Trigger, socket};

const LISTENER: u64 = u64::MAX;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> io::Result<OwnedFd> {
        match self {
            Listener::Tcp(listener) => {
                let stream: TcpStream = listener.accept()?.0;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
        }
    }
}

fn send_all(fd: i32, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket::send(fd, bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn serve_datagrams(poller: &Poller) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    println!("{}", socket.local_addr()?.port());
    poller.add(socket.as_raw_fd(), LISTENER, Interest::Read, Trigger::Level)?;
    let (mut events, mut buffer) = (Events::new(), vec![0; 256 * 1024]);
    loop {
        poller.wait(None, &mut events)?;
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&buffer[..count], from)?;
        }
    }
}

fn serve_streams(poller: &Poller, listener: &Listener, kept: bool) -> io::Result<()> {
    let mut connections: Vec<Option<OwnedFd>> = Vec::new();
    let (mut events, mut buffers) = (Events::new(), vec![vec![0; 256 * 1024]]);
    loop {
        poller.wait(None, &mut events)?;
        for event in events.iter() {
            if event.token == LISTENER {
                while let Ok(connection) = listener.accept() {
                    let fd = connection.as_raw_fd();
                    poller.add(fd, fd as u64, Interest::Read, Trigger::Level)?;
                    connections.resize_with(connections.len().max(fd as usize + 1), || None);
                    connections[fd as usize] = Some(connection);
                    if kept {
                        buffers.resize_with(buffers.len().max(fd as usize + 1), || vec![0; 256 * 1024]);
                    }
                }
                continue;
            }
            let fd = event.token as i32;
            let buffer = &mut buffers[if kept { fd as usize } else { 0 }];
            match socket::receive(fd, buffer) {
                Ok(count) if count > 0 && send_all(fd, &buffer[..count]).is_ok() => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => {
                    poller.delete(fd)?;
                    connections[fd as usize] = None;
                }
            }
        }
    }
}

fn main() -> io::Result<()> {
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let poller = Poller::new()?;
    let mut arguments = std::env::args().skip(1);
    let (kind, path) = (arguments.next(), arguments.next());
    match (kind.as_deref(), path) {
        (None | Some("tcp" | "kept"), None) => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            println!("{}", listener.local_addr()?.port());
            poller.add(listener.as_raw_fd(), LISTENER, Interest::Read, Trigger::Level)?;
            serve_streams(&poller, &Listener::Tcp(listener), kind.as_deref() == Some("kept"))
        }
        (Some("unix"), Some(path)) => {
            let listener = UnixListener::bind(&path)?;
            listener.set_nonblocking(true)?;
            println!("{path}");
            poller.add(listener.as_raw_fd(), LISTENER, Interest::Read, Trigger::Level)?;
            serve_streams(&poller, &Listener::Unix(listener), false)
        }
        (Some("udp"), None) => serve_datagrams(&poller),
        _ => Err(io::Error::other("bare_echo [tcp | kept | udp | unix PATH]")),
    }
}
