//! The client of `benches/network.py`: some connections, each with one message on its way, for some seconds.
//!
//! `echo_client PORT CONNECTIONS SIZE SECONDS` prints how many messages came back whole, and in how many seconds. A message is
//! one line of SIZE bytes. Content is not compared (tests do that); lengths are.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use engine::sys::{Events, Interest, Poller, Registrar, Trigger, socket};

struct Connection {
    stream: TcpStream,
    sent: usize,
    received: usize,
}

impl Connection {
    /// Sends what the kernel takes of the message.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        while self.sent < message.len() {
            match socket::send(self.stream.as_raw_fd(), &message[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn main() -> io::Result<()> {
    let numbers: Vec<f64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let [port, count, size, seconds] = numbers[..] else {
        return Err(io::Error::other("echo_client PORT CONNECTIONS SIZE SECONDS"));
    };
    let mut message = vec![b'x'; size as usize];
    if let Some(last) = message.last_mut() {
        *last = b'\n';
    }
    let poller = Poller::new()?;
    let mut connections = Vec::new();
    for at in 0..count as u64 {
        let stream = TcpStream::connect(("127.0.0.1", port as u16))?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        poller.add(stream.as_raw_fd(), at, Interest::Read, Trigger::Level)?;
        connections.push(Connection { stream, sent: 0, received: 0 });
    }
    let (mut events, mut buffer) = (Events::new(), vec![0; 256 * 1024]);
    for connection in &mut connections {
        connection.send(&message)?;
    }
    let (begun, mut messages) = (Instant::now(), 0u64);
    let end = Duration::from_secs_f64(seconds);
    while begun.elapsed() < end {
        poller.wait(Some(Duration::from_millis(100)), &mut events)?;
        for event in events.iter() {
            let connection = &mut connections[event.token as usize];
            match socket::receive(connection.stream.as_raw_fd(), &mut buffer) {
                Ok(0) => return Err(io::Error::other("the server closed a connection")),
                Ok(count) => connection.received += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if connection.received == message.len() {
                messages += 1;
                (connection.sent, connection.received) = (0, 0);
            }
            // More than was sent would be an echo of nothing.
            assert!(connection.received <= connection.sent, "more came back than was sent");
            connection.send(&message)?;
        }
    }
    writeln!(io::stdout(), "{messages} {}", begun.elapsed().as_secs_f64())
}
