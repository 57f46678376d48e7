//! The client of `benches/network.py`: some connections, each with one message on its way, for some seconds.
//!
//! `echo_client KIND ADDRESS CONNECTIONS SIZE SECONDS` prints how many messages came back whole, and in how many seconds. A
//! message is one line of SIZE bytes. Content is not compared (tests do that); lengths are. KIND is
//!
//! - `tcp`: ADDRESS is a port of 127.0.0.1
//! - `unix`: ADDRESS is a path
//! - `udp`: a datagram is a message
//! - `connect`: as `tcp`, with a new connection for each message, from an address of its own for each place
//! - `idle`: as `tcp`, but nothing is sent; it says `connected` and waits until its standard input ends

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use engine::sys::{Events, Interest, Poller, Registrar, Trigger, socket};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket as new_socket, sockopt};

struct Connection {
    file: OwnedFd,
    sent: usize,
    received: usize,
}

impl Connection {
    /// Sends what the kernel takes of the message.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        while self.sent < message.len() {
            match socket::send(self.file.as_raw_fd(), &message[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn connected(kind: &str, address: &str, place: usize) -> io::Result<OwnedFd> {
    let port = || address.parse::<u16>().map_err(io::Error::other);
    let file: OwnedFd = match kind {
        "tcp" | "idle" => {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port()?))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            stream.into()
        }
        // Ports of one address would run short: a closed connection keeps its own for a minute.
        "connect" => {
            let file = new_socket(AddressFamily::INET, SocketType::STREAM, None)?;
            sockopt::set_socket_reuseaddr(&file, true)?;
            bind(&file, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, 1 + (place % 250) as u8), 0))?;
            connect(&file, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port()?))?;
            let stream = TcpStream::from(file);
            stream.set_nonblocking(true)?;
            stream.into()
        }
        "unix" => {
            let stream = UnixStream::connect(address)?;
            stream.set_nonblocking(true)?;
            stream.into()
        }
        "udp" => {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect((Ipv4Addr::LOCALHOST, port()?))?;
            socket.set_nonblocking(true)?;
            socket.into()
        }
        other => return Err(io::Error::other(format!("no such kind: {other}"))),
    };
    Ok(file)
}

fn main() -> io::Result<()> {
    let usage = || io::Error::other("echo_client tcp|unix|udp|connect|idle ADDRESS CONNECTIONS SIZE SECONDS");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, address, count, size, seconds] = &arguments[..] else { return Err(usage()) };
    let number = |text: &str| text.parse::<f64>().map_err(|_| usage());
    let mut message = vec![b'x'; number(size)? as usize];
    if let Some(last) = message.last_mut() {
        *last = b'\n';
    }
    let poller = Poller::new()?;
    let mut connections = Vec::new();
    for place in 0..number(count)? as usize {
        let file = connected(kind, address, place)?;
        poller.add(file.as_raw_fd(), place as u64, Interest::Read, Trigger::Level)?;
        connections.push(Connection { file, sent: 0, received: 0 });
    }
    if kind == "idle" {
        println!("connected");
        return io::stdin().read_to_end(&mut Vec::new()).map(drop);
    }
    let (mut events, mut buffer) = (Events::new(), vec![0; 256 * 1024]);
    for connection in &mut connections {
        connection.send(&message)?;
    }
    let (begun, mut messages) = (Instant::now(), 0u64);
    let end = Duration::from_secs_f64(number(seconds)?);
    while begun.elapsed() < end {
        poller.wait(Some(Duration::from_millis(100)), &mut events)?;
        for event in events.iter() {
            let place = event.token as usize;
            let connection = &mut connections[place];
            match socket::receive(connection.file.as_raw_fd(), &mut buffer) {
                Ok(0) => return Err(io::Error::other("the server closed a connection")),
                Ok(count) => connection.received += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            // More than was sent would be an echo of nothing.
            assert!(connection.received <= connection.sent, "more came back than was sent");
            if connection.received == message.len() {
                messages += 1;
                (connection.sent, connection.received) = (0, 0);
                if kind == "connect" {
                    connection.file = connected(kind, address, place)?;
                    poller.add(connection.file.as_raw_fd(), event.token, Interest::Read, Trigger::Level)?;
                }
            }
            connection.send(&message)?;
        }
    }
    writeln!(io::stdout(), "{messages} {}", begun.elapsed().as_secs_f64())
}
