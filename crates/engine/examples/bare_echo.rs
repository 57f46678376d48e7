//! The limit that an event loop can come up to: an echo server of nothing but epoll and system calls.
//!
//! Started by `benches/network.py`. It prints its port, and serves until its standard input ends. One buffer for all: what
//! came is sent at once, and what the kernel does not take is waited for, as no measured client leaves that much unread.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use engine::sys::{Events, Interest, Poller, Registrar, Trigger, socket};

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

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?.port());
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let poller = Poller::new()?;
    const LISTENER: u64 = u64::MAX;
    poller.add(listener.as_raw_fd(), LISTENER, Interest::Read, Trigger::Level)?;
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let (mut events, mut buffer) = (Events::new(), vec![0; 256 * 1024]);
    loop {
        poller.wait(None, &mut events)?;
        for event in events.iter() {
            if event.token == LISTENER {
                while let Ok((connection, _)) = listener.accept() {
                    connection.set_nonblocking(true)?;
                    connection.set_nodelay(true)?;
                    let fd = connection.as_raw_fd();
                    poller.add(fd, fd as u64, Interest::Read, Trigger::Level)?;
                    connections.resize_with(connections.len().max(fd as usize + 1), || None);
                    connections[fd as usize] = Some(connection);
                }
                continue;
            }
            let fd = event.token as i32;
            match socket::receive(fd, &mut buffer) {
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
