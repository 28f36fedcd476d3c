//! A node that does not serve yet: tells how far it is, each second in the log and, at the
//! administration port, whenever asked.
//!
//! Cores block while they recover, so a plain thread does it. Orchestrators take a port that accepts and
//! says nothing for a hung process: `/livez` is answered with 200 from the start, everything else with
//! 503 and how far it is. Once all cores have recovered, core 0 takes the port over.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use super::clock::Clock;
use super::progress::Progress;
use crate::base::{Micros, NodeId, Time};

/// How often the port is looked at.
const INTERVAL: Duration = Duration::from_millis(50);
/// How often the log is told.
const LINE_INTERVAL: Micros = Micros::from_secs(1);
/// How long somebody may take to say what he wants to know.
const REQUEST_TIME: Duration = Duration::from_millis(200);
/// Bytes of a request, at most.
const REQUEST_MAX: usize = 4096;

/// Tells how far a start is until all cores have recovered, or this is dropped.
pub(super) struct Starting {
    pub(super) progress: Arc<Progress>,
    /// Since when.
    began: Time,
    clock: Clock,
    /// Its loss ends the thread.
    _ends: Sender<()>,
}

impl Starting {
    /// Begins to tell; at `admin` too, if it is given.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(super) fn begin(
        node: NodeId,
        cores: usize,
        clock: Clock,
        admin: Option<TcpListener>,
    ) -> io::Result<Self> {
        let progress = Arc::new(Progress::new(cores));
        let (sender, ended) = channel();
        let began = clock.now();
        let teller = Teller { node, progress: progress.clone(), began, clock, admin };
        thread::Builder::new().name("starting".to_owned()).spawn(move || teller.tell(&ended))?;
        Ok(Self { progress, began, clock, _ends: sender })
    }

    /// A core has recovered. The last one says what all of it came to.
    pub(super) fn core_recovered(&self, node: NodeId) {
        if self.progress.core_recovered() {
            let since = self.clock.now().since(self.began);
            let standing = self.progress.at(since);
            tracing::info!(
                %node,
                bytes = standing.bytes(),
                took_ms = since.0 / 1_000,
                mb_per_s = standing.rate(),
                "all cores have recovered"
            );
        }
    }
}

/// What the thread has.
struct Teller {
    node: NodeId,
    progress: Arc<Progress>,
    began: Time,
    clock: Clock,
    admin: Option<TcpListener>,
}

impl Teller {
    fn tell(self, ended: &Receiver<()>) {
        let mut next_line = self.began + LINE_INTERVAL;
        while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout)
            && !self.progress.is_done()
        {
            let now = self.clock.now();
            if now >= next_line {
                next_line = now + LINE_INTERVAL;
                tracing::info!(node = %self.node, "recovering: {}", self.standing());
            }
            self.answer_all();
        }
    }

    fn standing(&self) -> String {
        self.progress.at(self.clock.now().since(self.began)).to_string()
    }

    fn answer_all(&self) {
        while let Some(admin) = &self.admin
            && let Ok((stream, address)) = admin.accept()
        {
            if let Err(error) = self.answer(stream) {
                tracing::debug!(%address, %error, "administration connection closed");
            }
        }
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(REQUEST_TIME))?;
        stream.set_write_timeout(Some(REQUEST_TIME))?;
        let path = request_path(&mut stream)?;
        let (code, body) = match path.as_deref() {
            Some("/livez") => ("200 OK", "ok\n".to_owned()),
            _ => ("503 Service Unavailable", format!("recovering: {}\n", self.standing())),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {code}\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    }
}

/// The path that is asked for, if the request is one.
fn request_path(stream: &mut impl Read) -> io::Result<Option<String>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && request.len() < REQUEST_MAX {
        let mut bytes = [0; 512];
        match stream.read(&mut bytes)? {
            0 => break,
            count => request.extend_from_slice(&bytes[..count]),
        }
    }
    let text = String::from_utf8_lossy(&request);
    Ok(text.split(' ').nth(1).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(listener: &TcpListener, request: &str) -> String {
        let mut stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("taken");
        stream.write_all(request.as_bytes()).expect("taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }

    #[test]
    fn a_node_that_recovers_is_alive_and_not_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("possible");
        let admin = Some(listener.try_clone().expect("descriptors are left"));
        let starting = Starting::begin(NodeId(1), 2, Clock::start(), admin).expect("a thread");
        starting.progress.expect(3_000_000);
        starting.progress.advance(1_000_000);
        starting.core_recovered(NodeId(1));
        let request =
            |path: &str| ask(&listener, &format!("GET {path} HTTP/1.1\r\nhost: n\r\n\r\n"));
        assert!(request("/livez").starts_with("HTTP/1.1 200 OK\r\n"));
        let ready = request("/readyz");
        assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
        assert!(ready.contains("recovering: 1 of 2 cores, 1 of 3 MB"), "{ready}");
        assert!(ask(&listener, "\r\n\r\n").starts_with("HTTP/1.1 503 "));
    }
}
