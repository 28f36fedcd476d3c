//! The fake cluster behind real sockets on loopback, served by one thread.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};

use super::cluster::{FakeCluster, Faults};
use crate::base::ConnectionId;

/// A cluster that serves until it is stopped or dropped.
pub(crate) struct Served {
    /// Where its nodes listen.
    pub(crate) addresses: Vec<String>,
    /// Closed to stop the thread.
    _stop: UnixStream,
    thread: JoinHandle<FakeCluster>,
}

impl Served {
    /// Three nodes with three groups.
    #[expect(clippy::disallowed_methods, reason = "a server of its own beside the test")]
    pub(crate) fn start(seed: u64, faults: Faults) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listeners = [listen(), listen(), listen()];
        let address =
            |listener: &TcpListener| listener.local_addr().expect("bound above").to_string();
        let addresses: Vec<String> = listeners.iter().map(address).collect();
        let mut cluster = FakeCluster::new(3, 3, seed);
        cluster.faults = faults;
        cluster.addresses.clone_from(&addresses);
        let (stop, stopped) = UnixStream::pair().expect("two descriptors");
        let thread = std::thread::spawn(move || serve(cluster, &listeners, &stopped));
        Self { addresses, _stop: stop, thread }
    }

    /// Stops and returns the cluster as it is.
    pub(crate) fn stop(self) -> FakeCluster {
        let Self { thread, _stop: stop, .. } = self;
        drop(stop);
        thread.join().expect("the server does not panic")
    }
}

fn serve(mut cluster: FakeCluster, listeners: &[TcpListener], stopped: &UnixStream) -> FakeCluster {
    let mut streams: Vec<(ConnectionId, TcpStream)> = Vec::new();
    let mut next = 1;
    loop {
        let mut waiting: Vec<PollFd<'_>> = vec![PollFd::new(stopped, PollFlags::IN)];
        waiting.extend(listeners.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
        let streams_from = waiting.len();
        waiting.extend(
            streams.iter().map(|(_, s)| PollFd::from_borrowed_fd(s.as_fd(), PollFlags::IN)),
        );
        poll(&mut waiting, None).expect("polls");
        let ready: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            return cluster;
        }
        let mut at = streams_from;
        streams.retain_mut(|(connection, stream)| {
            at += 1;
            !ready[at - 1] || answer(&mut cluster, *connection, stream)
        });
        for (listener, _) in listeners.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            let (stream, _) = listener.accept().expect("accepts");
            let address = stream.local_addr().expect("connected").to_string();
            cluster.connect(ConnectionId(next), &address);
            streams.push((ConnectionId(next), stream));
            next += 1;
        }
    }
}

/// Answers what came in; false once the connection is over.
fn answer(cluster: &mut FakeCluster, connection: ConnectionId, stream: &mut TcpStream) -> bool {
    let mut buffer = vec![0; 64 << 10];
    let count = match stream.read(&mut buffer) {
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::Interrupted => return true,
        Err(_) => 0,
    };
    let replies = cluster.receive(connection, &buffer[..count]);
    let alive = count > 0 && stream.write_all(&replies).is_ok();
    if !alive {
        cluster.disconnect(connection);
    }
    alive
}
