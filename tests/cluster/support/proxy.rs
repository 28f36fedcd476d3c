//! A proxy between clients and a node that loses replies.
//!
//! Of the replies that pass through all proxies of a cluster, every so-manieth is lost: dropped on an
//! open connection, or now and then the connection is closed in its place. What was asked for has
//! been done, and the client has not heard of it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sunstar::base::AlignedBuf;
use sunstar::base::limits::CLIENT_FRAME_BODY_MAX;
use sunstar::wire::frame::{Frame, FrameKind, Scan, scan};

use super::cluster::free_port;

/// Which replies are lost, and how many were.
#[derive(Debug)]
pub(crate) struct Losses {
    /// Every so-manieth reply is.
    every: u64,
    replies: AtomicU64,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    Dropped,
    /// The connection is closed instead.
    Cut,
}

impl Losses {
    /// Of the losses, every so-manieth takes its connection along.
    const CUT_EVERY: u64 = 4;

    pub(crate) fn every(every: u64) -> Arc<Self> {
        Arc::new(Self { every, replies: AtomicU64::new(0) })
    }

    /// Replies lost so far.
    pub(crate) fn count(&self) -> u64 {
        self.replies.load(Ordering::Relaxed) / self.every
    }

    fn of(&self, frame: &Frame<'_>) -> Fate {
        if frame.kind != FrameKind::Reply {
            return Fate::Passes;
        }
        let number = self.replies.fetch_add(1, Ordering::Relaxed) + 1;
        if !number.is_multiple_of(self.every) {
            Fate::Passes
        } else if (number / self.every).is_multiple_of(Self::CUT_EVERY) {
            Fate::Cut
        } else {
            Fate::Dropped
        }
    }
}

/// Listens in the place of one node, until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Proxy {
    /// Begins to pass on what is said to and by the node that listens at `node`, whenever it does.
    #[expect(clippy::disallowed_methods, reason = "clients do not wait for each other")]
    pub(crate) fn before(node: SocketAddr, losses: &Arc<Losses>) -> Self {
        let address = free_port();
        let listener = TcpListener::bind(address).expect("a free port");
        let is_over = Arc::new(AtomicBool::new(false));
        let (losses, over) = (Arc::clone(losses), Arc::clone(&is_over));
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let losses = Arc::clone(&losses);
                // A node that is down is one that closes at once.
                std::thread::spawn(move || {
                    TcpStream::connect(node).and_then(|node| connect(&client, &node, &losses))
                });
            }
        });
        Self { address, is_over }
    }

    /// Where clients find it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // The listener hears of it by this; if it is gone already, all is well.
        let _ = TcpStream::connect(self.address);
    }
}

/// Passes on what both say until one of them, or a loss, ends it.
fn connect(client: &TcpStream, node: &TcpStream, losses: &Losses) -> io::Result<()> {
    client.set_nodelay(true)?;
    node.set_nodelay(true)?;
    std::thread::scope(|scope| {
        scope.spawn(|| ending_both(client, node, || pass_requests(client, node)));
        ending_both(client, node, || pass_replies(node, client, losses))
    })
}

fn ending_both(
    client: &TcpStream,
    node: &TcpStream,
    pass: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let passed = pass();
    for side in [client, node] {
        // It fails if the other direction was faster, which is all right.
        let _ = side.shutdown(Shutdown::Both);
    }
    passed
}

fn pass_requests(mut client: &TcpStream, mut node: &TcpStream) -> io::Result<()> {
    io::copy(&mut client, &mut node).map(|_| ())
}

/// Returns when a connection is closed, or a loss closes it.
fn pass_replies(mut node: &TcpStream, mut client: &TcpStream, losses: &Losses) -> io::Result<()> {
    let (mut received, mut buffer) = (AlignedBuf::new(), vec![0; 64 << 10]);
    loop {
        let count = node.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        received.extend_from_slice(&buffer[..count]);
        let (mut passed, mut taken) = (Vec::new(), 0);
        let mut is_cut = false;
        while !is_cut {
            let scanned = scan(&received.as_slice()[taken..], CLIENT_FRAME_BODY_MAX);
            let Scan::Frame(frame) = scanned.expect("the server sends frames") else { break };
            taken += frame.bytes.len();
            match losses.of(&frame) {
                Fate::Passes => passed.extend_from_slice(frame.bytes),
                Fate::Dropped => {}
                Fate::Cut => is_cut = true,
            }
        }
        client.write_all(&passed)?;
        received.consume(taken);
        if is_cut {
            return Ok(());
        }
    }
}
